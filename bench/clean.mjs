// The filters of FineWeb (Gopher, C4, FineWeb) beside datatrove's, with the same limits, one thread each: how fast, and whether both decide
// the same. Then each step of the named lists by itself, and texts made to be slow.
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import * as zlib from 'node:zlib';
import { gib, peakMemoryBytes, printTable, provenance, resetPeakMemory, round, saveRecord } from './lib/machine.mjs';
import { root } from './lib/models.mjs';
import { readOptions } from './lib/options.mjs';

const USAGE = `Usage: npm run bench -- clean [options]

  --texts FILE     JSON lines with a field text (default: the demo's texts, in pieces of 4 kB)
  --megabytes N    of them at most (default: 20)
  --datatrove PY   a Python with datatrove[processing] 0.10 and spacy from PyPI; without it ours alone
  --hostile N      characters of each text made to be slow (default: 1000000; 0: none)
  --save           writes bench/results/clean.json
  --json           the record as the last line`;

const options = readOptions(USAGE, { texts: undefined, megabytes: '20', datatrove: undefined, hostile: '1000000' });
const { CLEAN_LISTS } = await import(path.join(root, 'dist/config/index.js'));
const { makeSteps, TextView } = await import(path.join(root, 'dist/corpus/index.js'));

const PIECE_CHARS = 4000;
const read = (file) =>
  (file.endsWith('.gz') ? zlib.gunzipSync(fs.readFileSync(file)) : fs.readFileSync(file)).toString().trimEnd();
const files = options.texts ? [options.texts] : [path.join(root, 'data/demo/english.jsonl.gz')];
const whole = files.flatMap((file) =>
  read(file)
    .split('\n')
    .map((line) => JSON.parse(line).text),
);
// Through bytes, so that a piece is a string of its own, as readers make them, and no window on a longer one, which is slower to read.
const piece = (text, i) => Buffer.from(text.slice(i * PIECE_CHARS, (i + 1) * PIECE_CHARS)).toString();
const pieces = whole.flatMap((text) =>
  Array.from({ length: Math.ceil(text.length / PIECE_CHARS) }, (_, i) => piece(text, i)).filter(
    (one) => one.length > PIECE_CHARS / 8,
  ),
);
const texts = [];
let numBytes = 0;
for (let turn = 0; numBytes < Number(options.megabytes) * 1e6 && turn < 100; turn++)
  for (const text of pieces) {
    if (numBytes >= Number(options.megabytes) * 1e6) break;
    texts.push(text);
    numBytes += Buffer.byteLength(text);
  }

const cpuSeconds = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

/** Runs the steps one after the other on each text, a removed one no further; the reasons, and the CPU seconds. */
function clean(steps) {
  const start = cpuSeconds();
  const reasons = texts.map((text) => {
    const view = new TextView({ id: '', source: '', text });
    for (const step of steps) {
      const result = step.apply(view);
      if (result === undefined) continue;
      if ('removed' in result) return `${step.name}: ${result.removed.reason}`;
      view.accept(result);
    }
    return null;
  });
  return { reasons, seconds: cpuSeconds() - start };
}

const REPETITIONS = 3;
/** The fastest of several, since others' load only ever adds. */
function fastestOf(steps) {
  let best;
  for (let i = 0; i < REPETITIONS; i++) {
    const one = clean(steps);
    if (best === undefined || one.seconds < best.seconds) best = one;
  }
  return best;
}

const speed = (seconds) => round(numBytes / 1e6 / seconds, 1);
const record = { ...provenance('clean'), megabytes: round(numBytes / 1e6), numDocuments: texts.length };

// The same filters on both sides: words between white space for both, and datatrove's own words for comparison.
const FILTERS = [
  { name: 'gopher-repetition', options: {} },
  { name: 'gopher-quality', options: {} },
  { name: 'c4', options: { terminalPunctuation: false } },
  { name: 'fineweb', options: {} },
];
const ours = fastestOf(await makeSteps(FILTERS));
record.filters = { megabytesPerSecond: speed(ours.seconds), numKept: ours.reasons.filter((r) => r === null).length };
const rows = [['side', 'MB/s a core', 'kept', 'agrees with ours']];
rows.push(['continuo', record.filters.megabytesPerSecond, record.filters.numKept, '']);
if (options.datatrove) {
  const temporary = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-bench-'));
  process.on('exit', () => fs.rmSync(temporary, { recursive: true, force: true }));
  const file = path.join(temporary, 'texts.jsonl');
  fs.writeFileSync(file, texts.map((text) => `${JSON.stringify({ text })}\n`).join(''));
  record.datatrove = {};
  for (const words of ['spaces', 'tokenizer']) {
    const { stdout, stderr, status } = spawnSync(
      options.datatrove,
      [path.join(root, 'bench/peers/datatrove_clean.py'), file, words],
      {
        encoding: 'utf8',
        maxBuffer: 1 << 28,
        env: { ...process.env, OMP_NUM_THREADS: '1', OPENBLAS_NUM_THREADS: '1' },
      },
    );
    if (status !== 0) throw new Error(`datatrove: ${stderr.slice(-2000)}`);
    const { cpuSeconds: seconds, kept } = JSON.parse(stdout.trimEnd().split('\n').at(-1));
    const isKept = new Set(kept);
    const agreement = texts.filter((_, i) => isKept.has(i) === (ours.reasons[i] === null)).length / texts.length;
    if (words === 'spaces' && agreement < 0.99)
      throw new Error(`the sides agree about ${agreement} of the documents only`);
    record.datatrove[words] = {
      megabytesPerSecond: speed(seconds),
      numKept: kept.length,
      agreement: round(agreement, 4),
    };
    const name = words === 'spaces' ? 'datatrove, same words' : 'datatrove, its own words';
    rows.push([name, speed(seconds), kept.length, `${round(100 * agreement, 2)} %`]);
  }
}
printTable(rows);

record.lists = {};
const listRows = [['list or step', 'MB/s a core', 'kept']];
for (const [name, list] of Object.entries(CLEAN_LISTS)) {
  const { seconds, reasons } = fastestOf(await makeSteps(list));
  record.lists[name] = { megabytesPerSecond: speed(seconds), numKept: reasons.filter((r) => r === null).length };
  listRows.push([name, speed(seconds), record.lists[name].numKept]);
}
record.steps = {};
for (const step of [...CLEAN_LISTS.web, { name: 'symbols', options: {} }, { name: 'code', options: {} }]) {
  const { seconds, reasons } = fastestOf(await makeSteps([step]));
  record.steps[step.name] = speed(seconds);
  listRows.push([`  ${step.name}`, speed(seconds), reasons.filter((r) => r === null).length]);
}
console.log();
printTable(listRows);

// One line without end, of what each rule looks for. Limits are off, so that every rule reads it all.
const size = Number(options.hostile);
if (size > 0) {
  const HOSTILE = [
    ...[
      'a',
      ' ',
      'word ',
      '\n',
      '.',
      'a@',
      'a.b@c.d',
      '1.2.3.',
      '2001:',
      '4',
      'sk-',
      'xoxb-',
      'eyJaaaaaaaaaa.',
      'DE89 3704 ',
      '+49 221 ',
    ],
    ...[
      '-----BEGIN PRIVATE KEY-----',
      'aws secret ',
      '[',
      '[1]]',
      'Ã©',
      'Ð¿',
      'â€',
      '\u200d',
      '\u0301',
      '\u00ad',
      'ab ',
      '\\u0041',
      'QUJD',
    ],
    ...[
      'cookies ',
      'copyright ',
      'share this ',
      'İ',
      '😀',
      '今天很好。',
      'ab\n',
      'abc def.\n\n',
      '#',
      'A. ',
      'jane@corp.de ',
    ],
  ];
  const steps = await makeSteps([
    ...['unicode', 'boilerplate', 'language', 'symbols'].map((name) => ({ name, options: {} })),
    { name: 'pii', options: { phones: true } },
    { name: 'c4', options: { terminalPunctuation: false, minSentences: 1e9, curlyBracket: false } },
    { name: 'fineweb', options: { minLinePunctuation: 0, maxShortLines: 1, maxDuplicateLineChars: 1 } },
    { name: 'gopher-quality', options: { minWords: 0, maxWords: 1e9, minMeanWordLength: 0, maxMeanWordLength: 1e9 } },
    {
      name: 'gopher-repetition',
      options: {
        ...{ maxDuplicateLines: 1, maxDuplicateLineChars: 1, maxDuplicateParagraphs: 1, maxDuplicateParagraphChars: 1 },
        ...{ topNgrams: { 2: 1e9, 4: 1e9 }, duplicateNgrams: { 5: 2, 10: 2 } },
      },
    },
    { name: 'code', options: { maxLineLength: 1e12, maxMeanLineLength: 1e12, minLetters: 0, maxLines: 1e12 } },
  ]);
  resetPeakMemory();
  const slowest = steps.map((step) => {
    const times = HOSTILE.map((part) => {
      const text = part.repeat(Math.ceil(size / part.length)).slice(0, size);
      const start = cpuSeconds();
      step.apply(new TextView({ id: '', source: '', text }));
      return { part, seconds: cpuSeconds() - start };
    }).sort((a, b) => b.seconds - a.seconds);
    return { step: step.name, ...times[0] };
  });
  record.hostile = {
    characters: size,
    peakBytes: peakMemoryBytes(),
    nanosecondsPerCharacter: Object.fromEntries(
      slowest.map(({ step, part, seconds }) => [step, { text: part, ns: round((1e9 * seconds) / size) }]),
    ),
  };
  console.log();
  printTable([
    ['step', 'ns a character', 'in its slowest text of'],
    ...slowest.map(({ step, part, seconds }) => [step, round((1e9 * seconds) / size), JSON.stringify(part)]),
  ]);
  console.log(`peak memory ${gib(record.hostile.peakBytes)}`);
}
if (options.save) saveRecord('clean', record);
if (options.json) console.log(JSON.stringify(record));
