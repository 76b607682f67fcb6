// Tokenising beside Hugging Face's Rust library, on one core each: MB/s by kind of text and tokenizer, once the ids are known to be equal.
// Seconds are CPU time of all threads on both sides (garbage collection included), which other programs disturb least.
// The tokenizers have the pipelines of published models (test/python/tokenizer_shapes.py), trained once by that library on a part of the
// text, to their real sizes; `--tokenizer FILE` measures a real one.
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { tokenizerFromJson } from '../dist/tokenizer/index.js';
import { printTable, provenance, round, saveRecord } from './lib/machine.mjs';
import { python, root } from './lib/models.mjs';
import { readOptions } from './lib/options.mjs';
import { gatherTexts } from './lib/texts.mjs';

const USAGE = `Usage: npm run bench -- tokenize [options]

  --megabytes N      text, a third of each kind (default: 100)
  --shapes LIST      pipelines (default: gpt2,llama3,qwen2.5,o200k,deepseek-v3,llama2,gemma,unigram)
  --tokenizer FILE   a tokenizer.json instead
  --vocabulary N     size of the trained vocabularies (default: 50000)
  --repeat N         passes over the text on our side; the fastest counts (default: 3)
  --reference        measures the TypeScript encoder as well
  --gather FILE      only writes the texts, a JSON string a line
  --save             writes bench/results/tokenize.json
  --json             the record as the last line`;

const options = readOptions(USAGE, {
  megabytes: '100',
  shapes: 'gpt2,llama3,qwen2.5,o200k,deepseek-v3,llama2,gemma,unigram',
  tokenizer: undefined,
  vocabulary: '50000',
  repeat: '3',
  reference: false,
  gather: undefined,
});
const lines = (texts) => texts.map((text) => `${JSON.stringify(text)}\n`).join('');

const texts = gatherTexts(Number(options.megabytes));
if (options.gather) {
  fs.writeFileSync(options.gather, '');
  for (const list of Object.values(texts)) fs.appendFileSync(options.gather, lines(list));
  process.exit(0);
}
const temporary = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-bench-'));
process.on('exit', () => fs.rmSync(temporary, { recursive: true, force: true }));
const kinds = Object.entries(texts).map(([kind, list]) => {
  const file = path.join(temporary, `${kind}.jsonl`);
  fs.writeFileSync(file, lines(list));
  return { kind, file, list, numBytes: list.reduce((sum, text) => sum + Buffer.byteLength(text), 0) };
});
const peer = (...args) =>
  execFileSync(python(), [path.join(root, 'bench/peers/hf_tokenize.py'), ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });

/** Trained on every n-th text, 15 MB in all; kept in the user's cache. */
function trained(shape) {
  const folder = path.join(process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), '.cache'), 'continuo/bench');
  fs.mkdirSync(folder, { recursive: true });
  const file = path.join(folder, `tokenizer-${shape}-${options.vocabulary}.json`);
  if (fs.existsSync(file)) return file;
  console.error(`training ${shape}`);
  const sample = path.join(temporary, 'sample.jsonl');
  const stride = Math.max(1, Math.floor(Number(options.megabytes) / 15));
  fs.writeFileSync(sample, kinds.map(({ list }) => lines(list.filter((_, i) => i % stride === 0))).join(''));
  peer('train', shape, options.vocabulary, sample, `${file}.part`);
  fs.renameSync(`${file}.part`, file);
  return file;
}

function open(file, engine) {
  process.env.CONTINUO_KERNELS = engine;
  const json = JSON.parse(fs.readFileSync(file, 'utf8'));
  const tokenizer = tokenizerFromJson(json, { eos_token: json.added_tokens[0].content });
  // The encoder is chosen when the tokenizer is opened.
  delete process.env.CONTINUO_KERNELS;
  if (tokenizer.engine !== 'continuo') throw new Error(`${file} runs on the fallback: ${tokenizer.engineReason}`);
  return tokenizer;
}

function ours(tokenizer, { list, numBytes }, expected) {
  let best = Infinity;
  let first;
  for (let i = 0; i < Number(options.repeat); i++) {
    const start = process.cpuUsage();
    const check = i === 0 && expected;
    for (const text of list) {
      const ids = tokenizer.encodeArray(text);
      if (check) expected.compare(ids);
    }
    const { user, system } = process.cpuUsage(start);
    const seconds = (user + system) / 1e6;
    first ??= seconds;
    if (!check) best = Math.min(best, seconds);
  }
  return { mbps: numBytes / 1e6 / Math.min(best, first) };
}

/** Compares the ids of one text after another with the file of the peer; throws at the first difference. */
function expectation(file, numTexts) {
  const bytes = fs.readFileSync(file);
  const all = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  let text = 0;
  let at = numTexts;
  return {
    numIds: all.length - numTexts,
    compare(ids) {
      const wanted = all.subarray(at, at + all[text]);
      const isSame = ids.length === wanted.length && Buffer.compare(asBytes(ids), asBytes(wanted)) === 0;
      if (!isSame) throw new Error(`text ${text} has other ids than Hugging Face tokenizers gives`);
      at += all[text++];
    },
  };
}
const asBytes = (ids) => Buffer.from(ids.buffer, ids.byteOffset, ids.byteLength);

const results = [];
for (const name of options.tokenizer ? [path.basename(options.tokenizer)] : options.shapes.split(',')) {
  const file = options.tokenizer ?? trained(name);
  const native = open(file, '');
  const reference = options.reference ? open(file, 'reference') : undefined;
  for (const kind of kinds) {
    const ids = path.join(temporary, 'ids');
    const theirs = JSON.parse(peer('encode', file, kind.file, ids));
    const expected = expectation(ids, kind.list.length);
    results.push({
      tokenizer: name,
      text: kind.kind,
      megabytes: round(kind.numBytes / 1e6),
      isNative: native.isNative,
      bytesPerToken: round(kind.numBytes / expected.numIds, 2),
      mbps: round(ours(native, kind, expected).mbps),
      ...(reference && { referenceMbps: round(ours(reference, kind, expectation(ids, kind.list.length)).mbps) }),
      peerMbps: round(theirs.bytes / 1e6 / theirs.seconds, 2),
    });
  }
}
/** All kinds together: bytes over seconds. */
const totals = [...new Set(results.map((r) => r.tokenizer))].map((tokenizer) => {
  const own = results.filter((r) => r.tokenizer === tokenizer);
  const sum = (of) => own.reduce((total, r) => total + of(r), 0);
  const overall = (key) => sum((r) => r.megabytes) / sum((r) => r.megabytes / r[key]);
  const [mbps, peerMbps] = [overall('mbps'), overall('peerMbps')];
  return { tokenizer, mbps: round(mbps), peerMbps: round(peerMbps, 2), ratio: round(mbps / peerMbps) };
});
printTable([
  ['tokenizer', 'text', 'MB', 'bytes/token', 'MB/s', ...(options.reference ? ['TypeScript'] : []), 'Rust', 'ratio'],
  ...results.map((r) => [
    r.tokenizer,
    r.text,
    r.megabytes,
    r.bytesPerToken,
    r.mbps,
    ...(options.reference ? [r.referenceMbps] : []),
    r.peerMbps,
    `${round(r.mbps / r.peerMbps)}x`,
  ]),
  ...totals.map((t) => [
    t.tokenizer,
    'all',
    '',
    '',
    t.mbps,
    ...(options.reference ? [''] : []),
    t.peerMbps,
    `${t.ratio}x`,
  ]),
]);
const record = { ...provenance('tokenize'), peer: 'tokenizers 0.23.3 (Rust), one thread', results, totals };
if (options.save) saveRecord('tokenize', record);
if (options.json) console.log(JSON.stringify(record));
