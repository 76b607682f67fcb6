// Makes the demo's two corpora (data/demo) from the text that recipes/base-en/gather.mjs gathers.
// Usage: node recipes/demo/make-data.mjs TEXT_FOLDER NUM_HELD_OUT
// NUM_HELD_OUT: documents that the base model's run held out (heldOut.numDocuments of its manifest). They are the ones with the smallest
// content hashes, so they are held out again here: the general score is on documents that the base has never seen.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { hashFraction } from '../../dist/base/hash.js';

const [textFolder, numHeldOut] = [process.argv[2], Number(process.argv[3])];
const out = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../data/demo');
/** Public domain, or under a licence that lets us ship the text (data/demo/LICENSES.md). */
const GENERAL = ['state-of-the-union', 'moby-dick', 'wordnet', 'python-docs', 'gnome-help', 'debian-handbook'];
const GENERAL_CHARS = 2_200_000;

const read = (file) =>
  fs
    .readFileSync(file, 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
const base = fs.readdirSync(path.join(textFolder, 'base')).flatMap((file) => read(path.join(textFolder, 'base', file)));
const hashed = base
  .map((document) => ({ document, hash: hashFraction(document.text) }))
  .sort((a, b) => a.hash - b.hash);
const threshold = hashed[numHeldOut].hash;
const allowed = hashed.filter(({ document }) => GENERAL.includes(document.source));
const heldOut = allowed.filter(({ hash }) => hash < threshold);
const pool = allowed.filter(({ hash }) => hash >= threshold);
const chars = (items) => items.reduce((sum, { document }) => sum + document.text.length, 0);
const share = GENERAL_CHARS / chars(pool);
// The pool is sorted by hash, so every n-th of it is a random sample.
const sample = pool.filter((_, i) => Math.floor((i + 1) * share) > Math.floor(i * share));

function write(name, documents) {
  const text = documents.map((d) => `${JSON.stringify(d)}\n`).join('');
  fs.mkdirSync(out, { recursive: true });
  fs.writeFileSync(path.join(out, `${name}.jsonl.gz`), gzipSync(text, { level: 9 }));
  console.log(`${name}: ${documents.length} documents, ${(text.length / 1e6).toFixed(2)} MB`);
}

console.log(
  `general: ${heldOut.length} documents held out by the base's run (${(chars(heldOut) / 1e3).toFixed(0)} kB)`,
);
write(
  'english',
  [...heldOut, ...sample].map(({ document }) => document),
);
write('postgres-docs', read(path.join(textFolder, 'demo', 'postgres-docs.jsonl')));
