// Near copies by MinHash LSH beside datatrove's pipeline, with the same parameters (FineWeb's), one thread each: first whether both
// find the copies that were planted and agree about the rest, then how long they take.
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import * as zlib from 'node:zlib';
import { gib, printTable, provenance, round, saveRecord } from './lib/machine.mjs';
import { root } from './lib/models.mjs';
import { readOptions } from './lib/options.mjs';

const USAGE = `Usage: npm run bench -- dedup [options]

  --megabytes N    text to search (default: 40)
  --datatrove PY   a Python with datatrove[processing] 0.10 and spacy from PyPI; without it ours alone
  --save           writes bench/results/dedup.json
  --json           the record as the last line`;

const options = readOptions(USAGE, { megabytes: '40', datatrove: undefined });
const temporary = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-bench-'));
process.on('exit', () => fs.rmSync(temporary, { recursive: true, force: true }));

/** Always the same numbers (mulberry32). */
let state = 1;
function random() {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}

const WORDS_A_DOCUMENT = 400;
const pieces = ['english', 'postgres-docs']
  .flatMap((name) =>
    zlib
      .gunzipSync(fs.readFileSync(path.join(root, `data/demo/${name}.jsonl.gz`)))
      .toString()
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line).text.split(' ')),
  )
  .flatMap((words) =>
    Array.from({ length: Math.ceil(words.length / WORDS_A_DOCUMENT) }, (_, i) =>
      words.slice(i * WORDS_A_DOCUMENT, (i + 1) * WORDS_A_DOCUMENT),
    ),
  )
  .filter((words) => words.length >= 50);

/** The pieces, in later rounds with every third word changed, so that no 5-gram comes back; every tenth is followed by a near copy. */
const source = path.join(temporary, 'texts.jsonl');
let numBytes = 0;
let numDocuments = 0;
/** Numbers of the planted copies. */
const planted = [];
for (let turn = 0; numBytes < Number(options.megabytes) * 1e6; turn++) {
  const lines = [];
  const add = (words) => {
    const text = words.join(' ');
    lines.push(`${JSON.stringify({ text })}\n`);
    numBytes += Buffer.byteLength(text);
    return numDocuments++;
  };
  for (const [i, words] of pieces.entries()) {
    const letters = turn.toString(26).replace(/\d/g, (digit) => 'qrstuvwxyz'[digit]);
    const changed = turn === 0 ? words : words.map((word, j) => (j % 3 === 0 ? `${word}${letters}` : word));
    add(changed);
    // One word in 200: about 0.95 of the 5-grams are in both.
    if (i % 10 === 0) planted.push(add(changed.map((word) => (random() < 0.005 ? 'replaced' : word))));
  }
  fs.appendFileSync(source, lines.join(''));
}

function run(name, command, args) {
  const folder = path.join(temporary, name);
  fs.mkdirSync(folder);
  const { stdout, stderr, status } = spawnSync(command, [...args, source, folder], {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    env: { ...process.env, OMP_NUM_THREADS: '1', OPENBLAS_NUM_THREADS: '1' },
  });
  if (status !== 0) throw new Error(`${name}: ${stderr.slice(-2000)}`);
  const { removed, ...result } = JSON.parse(stdout.trimEnd().split('\n').at(-1));
  const total = result.cpuSeconds.signatures + result.cpuSeconds.search;
  return {
    name,
    ...result,
    // CPU seconds, since they compare where other programs run; each side has one thread.
    megabytesPerSecond: round(numBytes / 1e6 / total, 2),
    removed: new Set(removed),
  };
}

const sides = [run('continuo', process.execPath, [path.join(root, 'bench/lib/minhash-side.mjs')])];
if (options.datatrove)
  sides.push(run('datatrove', options.datatrove, [path.join(root, 'bench/peers/datatrove_minhash.py')]));

// A planted pair counts as found where one of the two goes: which one is the tools' choice.
const found = (removed, copy) => removed.has(copy) || removed.has(copy - 1);
const foundShare = ({ removed }) => planted.filter((copy) => found(removed, copy)).length / planted.length;
for (const side of sides)
  if (foundShare(side) < 0.98) throw new Error(`${side.name} found only ${foundShare(side)} of the planted copies`);
const agreement = sides[1] && agreementOf(sides[0].removed, sides[1].removed);
if (agreement !== undefined && agreement < 0.97)
  throw new Error(`the sides agree about ${agreement} of the documents only`);

/** Of the documents that either removes, or that are planted, those about which both say the same; a planted pair is one. */
function agreementOf(a, b) {
  const isPlanted = new Set(planted);
  const names = new Set([...a, ...b, ...planted].map((i) => (isPlanted.has(i + 1) ? i + 1 : i)));
  let same = 0;
  for (const i of names) {
    const says = (removed) => (isPlanted.has(i) ? found(removed, i) : removed.has(i));
    if (says(a) === says(b)) same++;
  }
  return same / names.size;
}

printTable([
  ['side', 'signatures CPU s', 'search CPU s', 'MB/s', 'peak', 'planted found', 'removed'],
  ...sides.map((side) => [
    side.name,
    round(side.cpuSeconds.signatures, 2),
    round(side.cpuSeconds.search, 2),
    side.megabytesPerSecond,
    gib(side.peakBytes),
    `${round(100 * foundShare(side), 2)} %`,
    side.removed.size,
  ]),
]);
if (sides[1])
  console.log(
    `${round(sides[0].megabytesPerSecond / sides[1].megabytesPerSecond)} times datatrove; both say the same of ${round(100 * agreement, 2)} % of what either removes`,
  );
const record = {
  ...provenance('dedup'),
  megabytes: round(numBytes / 1e6),
  numDocuments,
  numPlanted: planted.length,
  ...(agreement !== undefined && { agreement: round(agreement, 4) }),
  sides: sides.map(({ removed, ...side }) => ({
    ...side,
    numRemoved: removed.size,
    foundShare: round(foundShare({ removed }), 4),
  })),
};
if (options.save) saveRecord('dedup', record);
if (options.json) console.log(JSON.stringify(record));
