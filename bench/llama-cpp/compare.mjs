// Continuo's tokens and log-probabilities beside llama.cpp's, on the same GGUF file and the same token ids.
// Not a timing: nothing here is fast. On a quantised file llama.cpp also rounds activations to 8 bits before each product, which
// Continuo does not, so the two are compared a second time on the same weights written out as F32 (to_f32_gguf.py), with llama.cpp's
// key and value cache in F32 as well: what remains there is the order of sums.
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { TEXTS } from './texts.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const root = path.resolve(here, '../..');
const USAGE = `Usage: node bench/llama-cpp/compare.mjs FILE.gguf [options]
Compares tokens and log-probabilities with llama.cpp's; prints a table and, as the last line, JSON.

  --f32 FILE.gguf       the same weights as F32; made beside the system's temporary files when not given
  --python COMMAND      Python with the packages gguf and numpy, to make it (default: python3)
  --documents FILE      JSONL with a field "text": tokens of all of them are compared too
  --top N               candidates a position whose log-probabilities are compared (default: 20)
  --threads N           of both sides (default: all cores)
  --out FILE            writes the JSON there as well, with machine, date, commit and command
  --help

Once before: npm run build; cd bench/llama-cpp && npm install --omit=optional`;

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    f32: { type: 'string' },
    python: { type: 'string', default: process.env.CONTINUO_PYTHON ?? 'python3' },
    documents: { type: 'string' },
    top: { type: 'string', default: '20' },
    threads: { type: 'string', default: String(os.availableParallelism()) },
    out: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});
if (options.help) {
  process.stdout.write(`${USAGE}\n`);
  process.exit(0);
}
if (positionals.length !== 1) {
  process.stderr.write(`${USAGE}\n`);
  process.exit(2);
}
const [given] = positionals;
const numTop = Number(options.top);
const numThreads = Number(options.threads);
async function load(name, hint) {
  try {
    return await import(name);
  } catch (error) {
    if (error.code !== 'ERR_MODULE_NOT_FOUND') throw error;
    process.stderr.write(`compare: ${name} is missing. Run: ${hint}\n`);
    process.exit(2);
  }
}

/** Every 64th token of the vocabulary. */
const STRIDE = 64;
const say = (line) => process.stderr.write(`${line}\n`);
const build = 'npm run build';
const { openModel } = await load('../../dist/checkpoint/index.js', build);
const { nativeInfo, pickKernels } = await load('../../dist/kernels/index.js', build);
const { loadDecoder } = await load('../../dist/nn/index.js', build);
const { getLlama, LlamaLogLevel } = await load('node-llama-cpp', 'cd bench/llama-cpp && npm install --omit=optional');

const kernels = pickKernels();
kernels.setNumThreads(numThreads);
const llama = await getLlama({
  gpu: false,
  build: 'never',
  skipDownload: true,
  maxThreads: numThreads,
  logLevel: LlamaLogLevel.error,
});

const source = openModel(path.resolve(given));
const SAMPLE = Array.from({ length: Math.ceil(source.config.vocab_size / STRIDE) }, (_, i) => i * STRIDE);
const tokenizer = source.tokenizer();
const decoder = loadDecoder(source, 'f32', kernels);
const texts = TEXTS.map(({ name, text, special = false }) => ({
  name,
  text,
  special,
  ids: tokenizer.encode(text, { parseSpecial: special }),
}));

say(`Continuo, ${texts.reduce((sum, { ids }) => sum + ids.length, 0)} tokens in ${texts.length} texts.`);
const ourLogits = texts.map(({ ids }) =>
  decoder.logits({
    batch: 1,
    seqLen: ids.length,
    inputs: Int32Array.from(ids),
    targets: new Int32Array(ids.length).fill(-1),
    docStart: new Int32Array(ids.length),
  }),
);

const f32File = options.f32 ? path.resolve(options.f32) : writeF32(path.resolve(given));
const results = [];
let tokens;
for (const [weights, file] of [
  [storedAs(source), path.resolve(given)],
  ['F32', f32File],
]) {
  const model = await llama.loadModel({ modelPath: file, gpuLayers: 0 });
  say(`llama.cpp, ${weights}.`);
  tokens ??= compareTokens(model);
  results.push({ weights, ...(await compareLogits(model)) });
  await model.dispose();
}
if (!options.f32) fs.rmSync(path.dirname(f32File), { recursive: true });
source.close();
print();
await llama.dispose();

function withoutFolder(argument) {
  return argument.includes('/') ? path.basename(argument) : argument;
}

/** The type of most matrices, e.g. "Q4_1". */
function storedAs({ tensors }) {
  const counts = new Map();
  for (const { storedAs: type, shape } of tensors.values())
    if (shape.length > 1) counts.set(type, (counts.get(type) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1])[0][0];
}

function writeF32(file) {
  const target = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-f32-')), 'f32.gguf');
  execFileSync(options.python, [path.join(here, 'to_f32_gguf.py'), file, target], { stdio: 'inherit' });
  return target;
}

function compareTokens(model) {
  const same = (text, special) => {
    const ours = tokenizer.encode(text, { parseSpecial: special });
    const theirs = model.tokenize(text, special);
    return { count: ours.length, isSame: ours.length === theirs.length && ours.every((id, i) => id === theirs[i]) };
  };
  const documents = options.documents
    ? fs
        .readFileSync(options.documents, 'utf8')
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line).text)
    : [];
  const all = [...texts.map(({ text, special }) => same(text, special)), ...documents.map((text) => same(text, false))];
  return {
    documents: all.length,
    tokens: all.reduce((sum, { count }) => sum + count, 0),
    documentsThatDiffer: all.filter(({ isSame }) => !isSame).length,
  };
}

/** @returns {Promise<{texts: object[], all: object}>} what is compared, a text at a time and over all of them */
async function compareLogits(model) {
  const context = await model.createContext({
    contextSize: 512,
    batchSize: 512,
    sequences: 1,
    threads: numThreads,
    flashAttention: false,
    experimentalKvCacheKeyType: 'F32',
    experimentalKvCacheValueType: 'F32',
  });
  const sequence = context.getSequence();
  const perText = [];
  for (const [index, { name, ids }] of texts.entries()) {
    await sequence.clearHistory();
    const sum = emptySums();
    const answers = await sequence.controlledEvaluate(ids.map((id, at) => [id, { generateNext: wanted(ids[at + 1]) }]));
    answers.forEach(({ next }, at) => {
      comparePosition(sum, next, index, at);
    });
    perText.push({ name, sum });
  }
  await context.dispose();
  const all = emptySums();
  for (const { sum } of perText) addSums(all, sum);
  return { texts: perText.map(({ name, sum }) => ({ name, ...summary(sum) })), all: summary(all) };
}

/**
 * What llama.cpp is asked for at a position: logits of its likeliest tokens, of the token that follows and of a sample of all others (every
 * one of them would be slow), and the sum that turns logits into probabilities.
 */
function wanted(following) {
  const tokens = following === undefined ? SAMPLE : [...SAMPLE, following];
  return { logits: { filter: { tokens, includeMax: true, includeTop: numTop } }, totalLogitWeight: true };
}

function emptySums() {
  return {
    positions: 0,
    numLogits: 0,
    maxLogit: 0,
    logit: 0,
    numTop: 0,
    maxTop: 0,
    top: 0,
    agree: 0,
    targets: 0,
    loss: 0,
    theirLoss: 0,
  };
}

function addSums(into, from) {
  for (const key of Object.keys(into))
    into[key] = key.startsWith('max') ? Math.max(into[key], from[key]) : into[key] + from[key];
}

/** `theirs`: llama.cpp's answer for what follows position `at` of a text. */
function comparePosition(sum, theirs, textIndex, at) {
  const vocab = decoder.config.vocabSize;
  const ours = ourLogits[textIndex].subarray(at * vocab, (at + 1) * vocab);
  const shift = logSumExp(ours);
  const ranked = [...theirs.logits].sort((a, b) => b[1] - a[1]);
  const theirShift = ranked[0][1] + Math.log(theirs.totalLogitWeight);
  for (const [id, logit] of ranked) {
    const difference = Math.abs(ours[id] - logit);
    sum.maxLogit = Math.max(sum.maxLogit, difference);
    sum.logit += difference;
    sum.numLogits++;
  }
  for (const [id, logit] of ranked.slice(0, numTop)) {
    const difference = Math.abs(ours[id] - shift - (logit - theirShift));
    sum.maxTop = Math.max(sum.maxTop, difference);
    sum.top += difference;
    sum.numTop++;
  }
  sum.positions++;
  if (likeliest(ours) === ranked[0][0]) sum.agree++;
  const target = texts[textIndex].ids[at + 1];
  if (target === undefined) return;
  sum.targets++;
  sum.loss += shift - ours[target];
  sum.theirLoss += theirShift - theirs.logits.get(target);
}

function logSumExp(logits) {
  const max = logits[likeliest(logits)];
  let total = 0;
  for (const x of logits) total += Math.exp(x - max);
  return max + Math.log(total);
}

function likeliest(logits) {
  let best = 0;
  for (let id = 1; id < logits.length; id++) if (logits[id] > logits[best]) best = id;
  return best;
}

function summary(sum) {
  return {
    positions: sum.positions,
    logits: { max: sum.maxLogit, mean: sum.logit / sum.numLogits },
    logProbabilities: { max: sum.maxTop, mean: sum.top / sum.numTop },
    sameTop1: sum.agree / sum.positions,
    perplexity: { ours: Math.exp(sum.loss / sum.targets), theirs: Math.exp(sum.theirLoss / sum.targets) },
  };
}

function print() {
  const line = (cells) => console.log(cells.map((cell, i) => (i < 2 ? cell.padEnd(10) : cell.padStart(12))).join(' '));
  const small = (x) => x.toExponential(1);
  console.log(
    `Tokens: ${tokens.tokens} in ${tokens.documents} texts, ${tokens.documentsThatDiffer} texts whose ids differ from llama.cpp's.`,
  );
  console.log(`Absolute differences of logits, over every ${STRIDE}th token of the vocabulary and llama.cpp's ${numTop} likeliest, and
of log-probabilities (nats), over the ${numTop} likeliest. llama.cpp's binding sums probabilities in f32, which
shifts all of a position's log-probabilities by some 1e-4.
`);
  line([
    'weights',
    'text',
    'positions',
    'logits max',
    'mean',
    'log p max',
    'mean',
    'same top 1',
    'ppl ours',
    'ppl theirs',
  ]);
  for (const { weights, texts: rows, all } of results)
    for (const row of [...rows, { name: 'all', ...all }])
      line([
        weights,
        row.name,
        String(row.positions),
        small(row.logits.max),
        small(row.logits.mean),
        small(row.logProbabilities.max),
        small(row.logProbabilities.mean),
        `${(row.sameTop1 * 100).toFixed(1)} %`,
        row.perplexity.ours.toFixed(4),
        row.perplexity.theirs.toFixed(4),
      ]);
  const git = (...args) => execFileSync('git', args, { cwd: root, encoding: 'utf8' }).trim();
  const json = {
    bench: 'llama-cpp-logits',
    model: path.basename(given),
    date: new Date().toISOString().slice(0, 10),
    commit: git('rev-parse', '--short', 'HEAD'),
    machine: `${os.cpus()[0].model.trim()}, ${os.availableParallelism()} cores`,
    threads: numThreads,
    kernels: kernels.variant ?? nativeInfo()?.variant,
    llamaCpp: {
      package: 'node-llama-cpp 3.22.1',
      release: llama.llamaCppRelease.release,
      cache: 'F32',
      flashAttention: false,
    },
    command: `node bench/llama-cpp/compare.mjs ${process.argv.slice(2).map(withoutFolder).join(' ')}`,
    top: numTop,
    everyNthToken: STRIDE,
    tokens,
    results,
  };
  if (options.out) fs.writeFileSync(options.out, `${JSON.stringify(json, null, 2)}\n`);
  console.log(`\n${JSON.stringify(json)}`);
}
