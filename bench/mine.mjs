// `continuo mine` on the demo's text, multiplied: speed and memory by threads and number of examples, and whether it finds the documents
// that examples were made of. There is no peer: the tools we know embed with a model, which is another task.
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import * as zlib from 'node:zlib';
import { gib, printTable, provenance, round, saveRecord } from './lib/machine.mjs';
import { root } from './lib/models.mjs';
import { readOptions } from './lib/options.mjs';

const USAGE = `Usage: npm run bench -- mine [options]

  --megabytes N    text to search (default: 100)
  --queries LIST   numbers of examples (default: 500,20000)
  --threads LIST   (default: 1 and all cores)
  --top N          documents an example (default: 50)
  --save           writes bench/results/mine.json
  --json           the record as the last line`;

const options = readOptions(USAGE, {
  megabytes: '100',
  queries: '500,20000',
  threads: [...new Set([1, os.availableParallelism()])].join(','),
  top: '50',
});
const numbers = (list) => list.split(',').map(Number);
const temporary = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-bench-'));
process.on('exit', () => fs.rmSync(temporary, { recursive: true, force: true }));

const texts = ['english', 'postgres-docs'].flatMap((name) =>
  zlib
    .gunzipSync(fs.readFileSync(path.join(root, `data/demo/${name}.jsonl.gz`)))
    .toString()
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line).text),
);
const lines = (list) => list.map((text) => `${JSON.stringify({ text })}\n`).join('');
const half = (text, second) => {
  const middle = text.indexOf(' ', text.length >> 1);
  return second ? text.slice(middle) : text.slice(0, middle);
};

/** The texts themselves, then first halves joined to the second halves of others: no document is there twice. */
const web = path.join(temporary, 'web.jsonl');
let numBytes = 0;
for (let round = 0; numBytes < Number(options.megabytes) * 1e6; round++) {
  const documents =
    round === 0 ? texts : texts.map((text, i) => half(text, false) + half(texts[(i + round) % texts.length], true));
  numBytes += documents.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  fs.appendFileSync(web, lines(documents));
}

/** Two neighbouring sentences less every third word, so that no document holds them word for word. */
const sentences = texts.flatMap((text, document) => {
  const list = text.split(/(?<=[.!?])\s+/);
  return list.slice(1).map((sentence, i) => ({ document, text: `${list[i]} ${sentence}` }));
});
const usable = sentences
  .filter(({ text }) => text.length >= 80 && text.length <= 500)
  .map(({ document, text }) => ({
    document,
    text: text
      .split(/\s+/)
      .filter((_, i) => i % 3 < 2)
      .join(' '),
  }));

/** Runs the command in a process of its own. */
function mine(numQueries, threads) {
  const stride = Math.max(1, Math.floor(usable.length / numQueries));
  const examples = usable.filter((_, i) => i % stride === 0).slice(0, numQueries);
  const near = path.join(temporary, `qa-${numQueries}.jsonl`);
  fs.writeFileSync(near, lines(examples.map(({ text }) => text)));
  const out = path.join(temporary, 'mined.jsonl');
  const usage = path.join(temporary, 'usage');
  const preload = `import fs from 'node:fs';
    process.on('exit', () => {
      const { userCPUTime, systemCPUTime } = process.resourceUsage();
      fs.writeFileSync(${JSON.stringify(usage)}, (userCPUTime + systemCPUTime) + ' ' + fs.readFileSync('/proc/self/status'));
    });`;
  const start = performance.now();
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    [
      ...[
        '--import',
        `data:text/javascript,${encodeURIComponent(preload)}`,
        path.join(root, 'dist/cli/main.js'),
        'mine',
      ],
      ...['--near', near, '--from', web, '--out', out, '--force', '--json'],
      ...['--top', options.top, '--threads', String(threads)],
    ],
    { encoding: 'utf8' },
  );
  if (status !== 0) throw new Error(stderr);
  const seconds = (performance.now() - start) / 1000;
  const used = fs.readFileSync(usage, 'utf8');
  const peakBytes = Number(/^VmHWM:\s+(\d+) kB$/m.exec(used)[1]) * 1024;
  const summary = JSON.parse(stdout);
  const mined = fs.readFileSync(out, 'utf8');
  // The first texts.length lines of what is searched are the texts as they are.
  const found = new Set([...mined.matchAll(/"id":"[^"]*:(\d+)"/g)].map((match) => Number(match[1]) - 1));
  const sources = [...new Set(examples.map(({ document }) => document))];
  const foundShare = sources.filter((document) => found.has(document)).length / sources.length;
  if (foundShare < 0.8) throw new Error(`only ${foundShare} of the documents that examples were made of were found`);
  return {
    threads,
    numQueries: summary.numQueries,
    seconds: round(seconds, 2),
    // Of all threads: what remains comparable where other programs run.
    cpuSeconds: round(Number.parseInt(used, 10) / 1e6, 2),
    megabytesPerSecond: round(numBytes / 1e6 / seconds, 2),
    documentsPerSecond: round(summary.numDocuments / seconds, 0),
    peakBytes,
    numDocuments: summary.numDocuments,
    numMined: summary.numMined,
    foundShare: round(foundShare, 4),
  };
}

const results = numbers(options.queries).flatMap((numQueries) =>
  numbers(options.threads).map((threads) => mine(numQueries, threads)),
);
printTable([
  ['examples', 'threads', 'seconds', 'CPU s', 'MB/s', 'documents/s', 'peak', 'mined', 'sources found'],
  ...results.map((r) => [
    r.numQueries,
    r.threads,
    r.seconds,
    r.cpuSeconds,
    r.megabytesPerSecond,
    r.documentsPerSecond,
    gib(r.peakBytes),
    `${r.numMined} of ${r.numDocuments}`,
    `${round(100 * r.foundShare)} %`,
  ]),
]);
const record = { ...provenance('mine'), megabytes: round(numBytes / 1e6), top: Number(options.top), results };
if (options.save) saveRecord('mine', record);
if (options.json) console.log(JSON.stringify(record));
