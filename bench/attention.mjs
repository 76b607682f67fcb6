// Attention beside PyTorch's and beside this machine's ceilings: training (forward, backward) against register-only multiply-adds, decoding
// from a cache against reading memory. Only pairs of a query and a key that it sees count as work. Results are compared before timing.
import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import * as readline from 'node:readline';
import { parseArgs } from 'node:util';
import { loadNative, nativeInfo, nativeProblem } from '../dist/kernels/index.js';
import { fastest, printTable, provenance, readRecord, round, saveRecord } from './lib/machine.mjs';
import { python, root } from './lib/models.mjs';

const USAGE = `Usage: npm run bench -- attention [options]

  --threads LIST   numbers of threads, one after the other (default: 1 and all cores)
  --only TEXT      only cases whose name contains it
  --dtype D        bf16 or f32 (default: bf16)
  --alone          without PyTorch
  --flex           PyTorch's compiled flex_attention too, forward (it compiles for each shape)
  --seconds S      a side's time a case (default: 0.3)
  --save           writes bench/results/attention.json; cases that were not run are kept from the last record
  --json           the record as the last line`;

const { values: options } = parseArgs({
  options: {
    threads: { type: 'string', default: [...new Set([1, os.availableParallelism()])].join(',') },
    only: { type: 'string', default: '' },
    dtype: { type: 'string', default: 'bf16' },
    alone: { type: 'boolean', default: false },
    flex: { type: 'boolean', default: false },
    seconds: { type: 'string', default: '0.3' },
    save: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
const { dtype } = options;
const seconds = Number(options.seconds);
const threadCounts = options.threads.split(',').map(Number);
if (options.help || !['bf16', 'f32'].includes(dtype) || !threadCounts.every((n) => n >= 1) || !(seconds > 0)) {
  console.error(USAGE);
  process.exit(options.help ? 0 : 2);
}
const kernels = loadNative();
if (!kernels) {
  console.error(`nothing to measure: ${nativeProblem()}`);
  process.exit(2);
}

const training = (batch, seqLen, numHeads, numKvHeads, headDim, window = 0) => ({
  ...{ kind: 'training', batch, seqLen, numHeads, numKvHeads, headDim, window },
  name: `${batch} x ${seqLen}, ${numHeads}/${numKvHeads} x ${headDim}${window ? `, window ${window}` : ''}`,
});
const decode = (rows, length, numHeads, numKvHeads, headDim) => ({
  ...{ kind: 'decode', rows, length, numHeads, numKvHeads, headDim },
  name: `decode ${rows} x ${length}, ${numHeads}/${numKvHeads} x ${headDim}`,
});
const CASES = [
  ...[
    training(4, 512, 9, 3, 64),
    training(1, 1024, 9, 3, 64),
    training(1, 2048, 9, 3, 64),
    training(1, 8192, 9, 3, 64),
  ],
  ...[training(8, 512, 12, 12, 64), training(1, 1024, 12, 12, 64), training(1, 8192, 2, 2, 64)],
  ...[training(1, 2048, 8, 8, 80), training(1, 2048, 8, 2, 96), training(1, 2048, 32, 8, 64)],
  ...[
    training(1, 1024, 8, 1, 128),
    training(1, 8192, 4, 1, 128),
    training(1, 1024, 4, 1, 256),
    training(1, 8192, 2, 1, 256),
  ],
  training(1, 8192, 9, 3, 64, 1024),
  ...[decode(1, 1024, 9, 3, 64), decode(1, 8192, 9, 3, 64), decode(1, 8192, 8, 8, 64), decode(1, 4096, 32, 8, 64)],
  ...[decode(8, 1024, 9, 3, 64), decode(8, 2048, 32, 8, 128), decode(1, 8192, 16, 1, 256)],
].filter(({ name }) => name.includes(options.only));

/** Caches of a decode case are spread over so much memory that none is in a cache of the processor when its turn comes. */
const CACHES_BYTES = 512 * 2 ** 20;

function random(length) {
  const x = Float32Array.from({ length }, () => Math.random() * 2 - 1);
  if (dtype === 'f32') return x;
  const out = new Uint16Array(length);
  kernels.convert(out, x);
  return out;
}
const zeros = (length, like = dtype) => (like === 'f32' ? new Float32Array(length) : new Uint16Array(length));

/** Seconds a call, after one that does not count. */
function time(call) {
  call();
  return fastest(call, seconds);
}

/** Calls that attend as a model does, q, k and v beside one another in a row, and the arrays that they use. */
function trainingCalls({ batch, seqLen, numHeads, numKvHeads, headDim, window }, fill = random, like = dtype) {
  const rows = batch * seqLen;
  const width = (numHeads + 2 * numKvHeads) * headDim;
  const shape = {
    ...{ batch, seqLen, numHeads, numKvHeads, headDim, scale: 1 / Math.sqrt(headDim), softcap: 0 },
    ...{ qStride: width, kStride: width, vStride: width },
  };
  const parts = (x) => [0, numHeads * headDim, (numHeads + numKvHeads) * headDim].map((at) => x.subarray(at));
  const [[q, k, v], [dq, dk, dv]] = [parts(fill(rows * width)), parts(zeros(rows * width, like))];
  const [out, dOut] = [zeros(rows * numHeads * headDim, like), fill(rows * numHeads * headDim)];
  const lse = new Float32Array(rows * numHeads);
  const docStart = Int32Array.from({ length: rows }, (_, i) => Math.max(0, window ? (i % seqLen) - window + 1 : 0));
  return {
    arrays: { q, k, v, dq, dk, dv, out, dOut },
    width,
    pairs: docStart.reduce((sum, start, i) => sum + (i % seqLen) - start + 1, 0) * numHeads,
    forward: () => kernels.attentionForward(out, lse, q, k, v, docStart, shape),
    backward: () => kernels.attentionBackward(dq, dk, dv, dOut, out, lse, q, k, v, docStart, shape),
  };
}

/** PyTorch in a process of its own, which answers requests one by one. */
function startTorch() {
  const child = spawn(python(), [path.join(root, 'bench/peers/torch_attention.py')], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  // When it ends early, reading says so.
  child.stdin.on('error', () => {});
  const lines = readline.createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    async ask(request) {
      child.stdin.write(`${JSON.stringify(request)}\n`);
      const { value, done } = await lines.next();
      if (done) throw new Error('the PyTorch side ended early; its message is above');
      return JSON.parse(value);
    },
    end: () => child.stdin.end(),
  };
}

/** In f32 both sides differ by the order of sums only. */
async function checkAgainst(torch, c) {
  const shape = { ...c, batch: 2, seqLen: 200, numHeads: 4, numKvHeads: 2, window: c.window ? 90 : 0 };
  const calls = trainingCalls(shape, (n) => Float32Array.from({ length: n }, () => Math.random() * 4 - 2), 'f32');
  calls.forward();
  calls.backward();
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'attention-'));
  for (const [name, x] of Object.entries(calls.arrays)) {
    const columns = (/[kv]$/.test(name) ? shape.numKvHeads : shape.numHeads) * shape.headDim;
    const stride = name === 'out' || name === 'dOut' ? columns : calls.width;
    const dense = new Float32Array(400 * columns);
    for (let r = 0; r < 400; r++) dense.set(x.subarray(r * stride, r * stride + columns), r * columns);
    fs.writeFileSync(path.join(folder, name), dense);
  }
  const { worst } = await torch.ask({ kind: 'check', threads: kernels.numThreads, folder, shape });
  fs.rmSync(folder, { recursive: true });
  if (!(worst < 1e-5))
    throw new Error(`${c.name}: differs from PyTorch by ${worst}, relative: not timing a wrong result`);
}

async function runTraining(c, torch, peak) {
  const { pairs, forward, backward } = trainingCalls(c);
  const ours = { forward: time(forward), backward: time(backward) };
  const request = { kind: 'training', threads: kernels.numThreads, shape: c, dtype, seconds, with_flex: options.flex };
  const theirs = torch && (await torch.ask(request));
  // Two products forward, five backward.
  const gflops = (products, s) => (2 * products * pairs * c.headDim) / s / 1e9;
  return ['forward', 'backward'].map((pass) => {
    const products = pass === 'forward' ? 2 : 5;
    return {
      ...{ case: c.name, pass, dtype, threads: kernels.numThreads, ms: round(ours[pass] * 1000, 3) },
      gflops: round(gflops(products, ours[pass])),
      ofPeak: round(gflops(products, ours[pass]) / peak, 3),
      ...(theirs && {
        torchMs: round(theirs[pass] * 1000, 3),
        torchBy: pass === 'forward' ? theirs.by : 'sdpa',
        timesTorch: round(theirs[pass] / ours[pass], 2),
      }),
    };
  });
}

async function runDecode(c, torch, bandwidth) {
  const { rows, length, numHeads, numKvHeads, headDim } = c;
  const perRow = numKvHeads * headDim;
  const bytes = 2 * rows * length * perRow * (dtype === 'f32' ? 4 : 2);
  const slots = Math.max(2, Math.floor(CACHES_BYTES / bytes));
  const [keys, values] = [0, 1].map(() => zeros(slots * rows * length * perRow));
  for (const cache of [keys, values]) {
    const piece = random(Math.min(cache.length, 1 << 20));
    for (let at = 0; at < cache.length; at += piece.length) cache.set(piece.subarray(0, cache.length - at), at);
  }
  const [q, out] = [random(rows * numHeads * headDim), zeros(rows * numHeads * headDim)];
  const shape = {
    numHeads,
    numKvHeads,
    headDim,
    qStride: numHeads * headDim,
    scale: 1 / Math.sqrt(headDim),
    softcap: 0,
  };
  const [start, lengths, row] = [new Int32Array(rows), new Int32Array(rows).fill(length), new Int32Array(rows)];
  let turn = 0;
  const ours = time(() => {
    for (let r = 0; r < rows; r++) row[r] = ((turn % slots) * rows + r) * length;
    turn++;
    kernels.attentionDecode(out, q, keys, values, row, start, lengths, shape);
  });
  const request = { kind: 'decode', threads: kernels.numThreads, shape: c, dtype, seconds, slots };
  const theirs = torch && (await torch.ask(request));
  return [
    {
      ...{ case: c.name, pass: 'decode', dtype, threads: kernels.numThreads, ms: round(ours * 1000, 4) },
      gbytes: round(bytes / ours / 1e9),
      ofBandwidth: round(bytes / ours / 1e9 / bandwidth, 3),
      ...(theirs && {
        torchMs: round(theirs.forward * 1000, 4),
        torchBy: 'sdpa',
        timesTorch: round(theirs.forward / ours, 2),
      }),
    },
  ];
}

const torch = options.alone ? undefined : startTorch();
const info = nativeInfo();
const ceilings = [];
const rows = [];
if (torch) for (const c of CASES.filter(({ kind }) => kind === 'training')) await checkAgainst(torch, c);
for (const threads of threadCounts) {
  kernels.setNumThreads(threads);
  const [peak, bandwidth] = [info.measurePeak('f32'), info.measureBandwidth(CACHES_BYTES)];
  ceilings.push({ threads, peakGflops: round(peak), bandwidthGBs: round(bandwidth) });
  for (const c of CASES)
    rows.push(...(c.kind === 'training' ? await runTraining(c, torch, peak) : await runDecode(c, torch, bandwidth)));
}
torch?.end();

const key = (row) => [row.case, row.pass, row.dtype, row.threads].join();
const measured = new Set(rows.map(key));
const kept = options.save ? (readRecord('attention')?.rows ?? []).filter((row) => !measured.has(key(row))) : [];
const record = {
  bench: 'attention',
  ...provenance('attention'),
  variant: kernels.variant,
  ceilings,
  rows: [...kept, ...rows],
};
printTable([
  ['case', 'pass', 'threads', 'ms', 'rate', 'of the ceiling', 'PyTorch ms', 'times PyTorch'],
  ...rows.map((r) => [
    ...[r.case, `${r.pass} ${r.dtype}`, r.threads, r.ms],
    ...[
      r.gflops === undefined ? `${r.gbytes} GB/s` : `${r.gflops} GFLOP/s`,
      `${round((r.ofPeak ?? r.ofBandwidth) * 100)} %`,
    ],
    ...[r.torchMs === undefined ? '' : `${r.torchMs} (${r.torchBy})`, r.timesTorch ?? ''],
  ]),
]);
for (const { threads, peakGflops, bandwidthGBs } of ceilings)
  console.log(`ceilings, ${threads} threads: ${peakGflops} GFLOP/s in f32, ${bandwidthGBs} GB/s read`);
if (options.save) saveRecord('attention', record);
if (options.json) console.log(JSON.stringify(record));
