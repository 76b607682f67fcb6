// A corpus from text to shards (filters, near copies, tokens) beside datatrove's pipeline, with the same filters, limits and tokenizer and
// two workers each: first whether both keep the same documents and make as many tokens of them, then how long each stage takes. Then how
// speed and memory go with size.
import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { debianCorpus, requireDisk } from './lib/debian-text.mjs';
import { gib, printTable, provenance, readRecord, round, saveRecord } from './lib/machine.mjs';
import { root } from './lib/models.mjs';
import { readOptions, refuse } from './lib/options.mjs';

const USAGE = `Usage: npm run bench -- corpus [options]

  --megabytes N     text of the comparison (default: 200)
  --sizes A,B,...   megabytes of text for ours alone (default: 100,1000,5000)
  --parts A,B,...   of ours, datatrove, scale (default: all)
  --datatrove PY    a Python with datatrove[processing] 0.10.1 and spacy from PyPI
  --tokenizer DIR   folder with config.json and tokenizer.json of a byte-level BPE (default: data/base-en-8m, 8,192 tokens)
  --workers N       of each side (default: 2)
  --work DIR        for what is written, at most twice the text (default: the system's temporary folder)
  --save            writes bench/results/corpus.json; parts that are not measured stay as they are there
  --json            the record as the last line`;

const options = readOptions(USAGE, {
  megabytes: '200',
  sizes: '100,1000,5000',
  parts: 'ours,datatrove,scale',
  datatrove: undefined,
  tokenizer: path.join(root, 'data/base-en-8m'),
  workers: '2',
  work: os.tmpdir(),
});
const parts = new Set(options.parts.split(','));
if (![...parts].every((part) => ['ours', 'datatrove', 'scale'].includes(part))) refuse(USAGE);
if (parts.has('datatrove') && !options.datatrove) {
  if (process.argv.some((word) => word.startsWith('--parts'))) refuse(USAGE);
  parts.delete('datatrove');
}
const temporary = fs.mkdtempSync(path.join(options.work, 'continuo-bench-'));
process.on('exit', () => fs.rmSync(temporary, { recursive: true, force: true }));

const SAMPLE_MS = 500;

/** Memory of a process and all that it started, bytes: what several share is counted once (proc(5), Pss). */
function treeMemory(pid) {
  let numBytes = 0;
  try {
    const pss = /^Pss:\s+(\d+) kB$/m.exec(fs.readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'));
    numBytes += Number(pss?.[1] ?? 0) * 1024;
    for (const task of fs.readdirSync(`/proc/${pid}/task`)) {
      const children = fs.readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').trim();
      if (children) for (const child of children.split(' ')) numBytes += treeMemory(child);
    }
  } catch {
    // It has ended.
  }
  return numBytes;
}

/** @returns what the program said in its last line, with wall seconds and the largest sample of its memory */
function run(name, command, args) {
  const child = spawn(command, args, {
    env: { ...process.env, OMP_NUM_THREADS: '1', OPENBLAS_NUM_THREADS: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const start = performance.now();
  let [stdout, stderr, sampledBytes] = ['', '', 0];
  child.stdout.on('data', (data) => {
    stdout += data;
  });
  child.stderr.on('data', (data) => {
    stderr = (stderr + data).slice(-4000);
  });
  const timer = setInterval(() => {
    sampledBytes = Math.max(sampledBytes, treeMemory(child.pid));
  }, SAMPLE_MS);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      clearInterval(timer);
      if (code !== 0) return reject(new Error(`${name}: ${stderr}`));
      resolve({
        ...JSON.parse(stdout.trimEnd().split('\n').at(-1)),
        wall: (performance.now() - start) / 1000,
        sampledBytes,
      });
    });
  });
}

function runOurs(corpus, name) {
  requireDisk(2 * corpus.numBytes, temporary);
  const request = {
    source: corpus.folder,
    work: path.join(temporary, name),
    model: path.resolve(options.tokenizer),
    threads: Number(options.workers),
  };
  return run('continuo', process.execPath, [path.join(root, 'bench/lib/corpus-side.mjs'), JSON.stringify(request)]);
}

function* linesOf(file) {
  for (const line of fs.readFileSync(file, 'utf8').split('\n')) if (line) yield JSON.parse(line);
}

/** Kept documents: "FILE:LINE" -> tokens of its text; undefined where it is held out. */
async function ourTokens({ keptFiles, shard }) {
  const { openShard } = await import(path.join(root, 'dist/shards/index.js'));
  const { hashFraction } = await import(path.join(root, 'dist/base/hash.js'));
  const reader = openShard(shard);
  const bytes = fs.readFileSync(`${shard}.hashes`);
  const hashes = new Float64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  // Without start and end.
  const lengths = new Map(Array.from(hashes, (hash, i) => [hash, reader.documentRange(i)[1] - 2]));
  reader.close();
  const kept = new Map();
  for (const file of keptFiles)
    for (const { id, text } of linesOf(file)) kept.set(path.basename(id), lengths.get(hashFraction(text)));
  return kept;
}

function theirTokens(work) {
  const sorted = (folder, ending) =>
    fs
      .readdirSync(path.join(work, folder))
      .filter((name) => name.endsWith(ending))
      .sort()
      .map((name) => path.join(work, folder, name));
  const ends = sorted('tokens', '.index').map((file) => {
    const bytes = fs.readFileSync(file);
    return new BigUint64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  });
  const kept = new Map();
  for (const [rank, file] of sorted('kept', '.jsonl').entries()) {
    let [i, before] = [0, 0];
    for (const { id } of linesOf(file)) {
      const end = Number(ends[rank][i++]);
      // Without the end.
      kept.set(id, end - before - 1);
      before = end;
    }
  }
  return kept;
}

function countCleaned(work) {
  const folder = path.join(work, 'cleaned');
  return fs.readdirSync(folder).reduce((sum, name) => sum + [...linesOf(path.join(folder, name))].length, 0);
}

const megabytesPerSecond = (numBytes, seconds) => round(numBytes / 1e6 / seconds, 2);
const total = (seconds) => Object.values(seconds).reduce((sum, one) => sum + one, 0);
const rounded = (times) => Object.fromEntries(Object.entries(times).map(([name, time]) => [name, round(time, 2)]));

const earlier = options.save ? readRecord('corpus') : undefined;
const record = {
  ...(earlier?.sides && { sides: earlier.sides, text: earlier.text }),
  ...(earlier?.scale && { scale: earlier.scale }),
  ...provenance('corpus'),
};

if (parts.has('ours') || parts.has('datatrove')) {
  const corpus = await debianCorpus(Number(options.megabytes));
  const { numBytes, numDocuments, numRealBytes } = corpus;
  const text = { megabytes: round(numBytes / 1e6), numDocuments, realMegabytes: round(numRealBytes / 1e6) };
  if (record.text && JSON.stringify(record.text) !== JSON.stringify(text)) record.sides = {};
  Object.assign(record, { text, sides: record.sides ?? {} });
  let ours;
  if (parts.has('ours')) {
    const { seconds, cpuSeconds, peakBytes, keptFiles, shard, ...result } = await runOurs(corpus, 'ours');
    ours = await ourTokens({ keptFiles, shard });
    fs.rmSync(path.join(temporary, 'ours'), { recursive: true });
    record.sides.continuo = {
      seconds: rounded(seconds),
      cpuSeconds: round(total(cpuSeconds), 2),
      peakBytes,
      numCleaned: result.numCleaned,
      numKept: result.numKept,
      numTokens: result.numTokens,
    };
  }
  if (parts.has('datatrove')) {
    // With the same words the filters should decide the same; with its own, it is what its users run.
    for (const [name, words] of Object.entries({ 'datatrove, same words': 'spaces', datatrove: 'tokenizer' })) {
      const { side, kept } = await runDatatrove(corpus, words);
      record.sides[name] = side;
      if (ours) side.agreement = agreementOf(corpus, ours, kept);
    }
  }
  const sides = Object.entries(record.sides);
  console.log(`${text.megabytes} MB, ${numDocuments} documents; MB/s of this text, ${options.workers} workers each`);
  const row = (name, of) => [name, ...sides.map(([, side]) => of(side))];
  const stage = (name) => row(name, ({ seconds }) => megabytesPerSecond(numBytes, seconds[name]));
  const { continuo } = record.sides;
  const times = (theirs, own) => (continuo ? `${round(theirs / own)} x` : '');
  printTable([
    row('', () => '').map((cell, i) => (i === 0 ? cell : sides[i - 1][0])),
    ...['clean', 'deduplicate', 'tokenize'].map(stage),
    row('text to shards', ({ seconds }) => megabytesPerSecond(numBytes, total(seconds))),
    row('continuo is faster', ({ seconds }) => times(total(seconds), total(continuo?.seconds ?? {}))),
    row('CPU seconds', ({ cpuSeconds }) => cpuSeconds),
    row('peak memory', ({ peakBytes }) => gib(peakBytes)),
    row('cleaned', ({ numCleaned }) => numCleaned),
    row('kept', ({ numKept }) => numKept),
    row('keeps of ours', ({ agreement }) => (agreement ? percent(agreement.oursInTheirs) : '')),
    row('ours keeps of it', ({ agreement }) => (agreement ? percent(agreement.theirsInOurs) : '')),
    row('of ours, or a copy', ({ agreement }) => (agreement ? percent(agreement.oursOrCopyInTheirs) : '')),
    row('of it, or a copy', ({ agreement }) => (agreement ? percent(agreement.theirsOrCopyInOurs) : '')),
    row('as many tokens', ({ agreement }) => (agreement ? percent(agreement.sameTokens) : '')),
  ]);
  // Behind the table, which says by how much; nothing is saved. The filters must keep as many. Of near copies the sides may keep different
  // ones, since a group depends on words that differ a little (docs/duplicates.md), so fewer are the same documents.
  const theirs = record.sides['datatrove, same words'];
  if (theirs?.agreement && continuo) {
    const { oursOrCopyInTheirs, theirsOrCopyInOurs, sameTokens } = theirs.agreement;
    const [few, many] = [continuo.numCleaned, theirs.numCleaned].sort((a, b) => a - b);
    if (Math.min(few / many, sameTokens) < 0.97 || Math.min(oursOrCopyInTheirs, theirsOrCopyInOurs) < 0.92)
      throw new Error(`the sides do not do the same: ${JSON.stringify(theirs.agreement)}`);
  }
}

async function runDatatrove({ folder, numBytes }, words) {
  requireDisk(2 * numBytes, temporary);
  const work = path.join(temporary, `datatrove-${words}`);
  fs.mkdirSync(work);
  const { seconds, cpuSeconds, sampledBytes } = await run('datatrove', options.datatrove, [
    ...[path.join(root, 'bench/peers/datatrove_pipeline.py'), folder, work],
    ...[path.join(options.tokenizer, 'tokenizer.json'), options.workers, words],
  ]);
  const kept = theirTokens(work);
  const { clean, signatures, buckets, cluster, filter, tokenize } = seconds;
  const side = {
    seconds: rounded({ clean, deduplicate: signatures + buckets + cluster + filter, tokenize }),
    deduplicateSeconds: rounded({ signatures, buckets, cluster, filter }),
    cpuSeconds: round(total(cpuSeconds), 2),
    peakBytes: sampledBytes,
    numCleaned: countCleaned(work),
    numKept: kept.size,
    numTokens: [...kept.values()].reduce((sum, one) => sum + one, 0),
  };
  fs.rmSync(work, { recursive: true });
  return { side, kept };
}

function percent(share) {
  return `${round(100 * share, 2)} %`;
}

/** Lower-case 5-grams of words, as numbers. */
function fiveGrams(text) {
  const words = text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
  const grams = new Set();
  for (let i = 0; i + 5 <= words.length; i++) {
    let hash = 0;
    for (let k = i; k < i + 5; k++)
      for (const letter of `${words[k]} `) hash = (Math.imul(hash, 0x01000193) ^ letter.codePointAt(0)) >>> 0;
    grams.add(hash);
  }
  return grams;
}

/** Of the documents `lone`, how many share at least half of all 5-grams with one of `others`. */
function countCopies({ folder }, lone, others) {
  const files = fs.readdirSync(folder).filter((name) => name.endsWith('.jsonl'));
  const sizes = [];
  const byGram = new Map();
  for (const name of files)
    for (const { id, text } of linesOf(path.join(folder, name))) {
      if (!lone.has(id)) continue;
      const grams = fiveGrams(text);
      for (const gram of grams) byGram.set(gram, [...(byGram.get(gram) ?? []), sizes.length]);
      sizes.push(grams.size);
    }
  const found = new Set();
  for (const name of files)
    for (const { id, text } of linesOf(path.join(folder, name))) {
      if (!others.has(id)) continue;
      const grams = fiveGrams(text);
      const shared = new Map();
      for (const gram of grams) for (const i of byGram.get(gram) ?? []) shared.set(i, (shared.get(i) ?? 0) + 1);
      for (const [i, count] of shared) if (count >= (sizes[i] + grams.size - count) / 2) found.add(i);
    }
  return found.size;
}

/**
 * Shares of the documents that both keep, or of which the other keeps a near copy (of a group of copies the sides may keep different
 * ones); of those that both keep, of those with as many tokens.
 */
function agreementOf(corpus, ours, theirs) {
  const both = [...ours.keys()].filter((id) => theirs.has(id));
  const compared = both.filter((id) => ours.get(id) !== undefined);
  const without = (kept, other) => new Set([...kept.keys()].filter((id) => !other.has(id)));
  const share = (count, kept) => round(count / kept.size, 4);
  return {
    oursInTheirs: share(both.length, ours),
    theirsInOurs: share(both.length, theirs),
    oursOrCopyInTheirs: share(both.length + countCopies(corpus, without(ours, theirs), theirs), ours),
    theirsOrCopyInOurs: share(both.length + countCopies(corpus, without(theirs, ours), ours), theirs),
    numCompared: compared.length,
    sameTokens: round(compared.filter((id) => ours.get(id) === theirs.get(id)).length / compared.length, 4),
  };
}

if (parts.has('scale')) {
  record.scale = [];
  for (const size of options.sizes.split(',').map(Number)) {
    const corpus = await debianCorpus(size);
    const { seconds, cpuSeconds, peakBytes, numKept } = await runOurs(corpus, `scale-${size}`);
    fs.rmSync(path.join(temporary, `scale-${size}`), { recursive: true });
    record.scale.push({
      megabytes: round(corpus.numBytes / 1e6),
      numDocuments: corpus.numDocuments,
      numKept,
      seconds: rounded(seconds),
      megabytesPerSecond: megabytesPerSecond(corpus.numBytes, total(seconds)),
      cpuSecondsPerGigabyte: round(total(cpuSeconds) / (corpus.numBytes / 1e9), 1),
      peakBytes,
    });
  }
  console.log();
  printTable([
    ['size', 'clean', 'deduplicate', 'tokenize', 'text to shards', 'CPU s/GB', 'peak', 'kept'],
    ...record.scale.map(
      ({ megabytes, seconds, megabytesPerSecond: all, cpuSecondsPerGigabyte, peakBytes, numKept, numDocuments }) => [
        `${megabytes} MB`,
        ...['clean', 'deduplicate', 'tokenize'].map((name) => `${round(megabytes / seconds[name])} MB/s`),
        `${all} MB/s`,
        cpuSecondsPerGigabyte,
        gib(peakBytes),
        percent(numKept / numDocuments),
      ],
    ),
  ]);
}
if (options.save) saveRecord('corpus', record);
if (options.json) console.log(JSON.stringify(record));
