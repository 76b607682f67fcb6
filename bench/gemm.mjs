// Native kernels against this machine's ceiling: matrix products as training makes them (forward, gradients of inputs and weights) beside
// PyTorch's, attention, and the ops that wait for memory. Products are checked before they are timed. Needs `npm run build` and the native kernels.
import * as os from 'node:os';
import { parseArgs } from 'node:util';
import { loadNative, nativeInfo, nativeProblem } from '../dist/kernels/index.js';
import { fastest } from './lib/machine.mjs';
import { benchProducts, PRODUCTS } from './lib/products.mjs';

const MODELS = [...Object.keys(PRODUCTS), 'decode'];
const DTYPES = ['bf16', 'f32'];
const ONLY = ['gemm', 'attention', 'memory'];
const USAGE = `Usage: npm run bench -- gemm [options]

  --only NAME      ${ONLY.join(', ')} (default: all)
  --models LIST    whose products, of ${MODELS.join(', ')} (default: all)
  --dtypes LIST    of ${DTYPES.join(', ')} (default: both)
  --threads N      (default: all cores)
  --seconds S      repeats a call for so long, three times at least (default: 0.3)
  --no-peer        without PyTorch
  --save           writes bench/results/gemm.json (products); models and dtypes that were not measured are kept from the last record
  --json           the records as the last line`;

const { values: flags } = parseArgs({
  options: {
    json: { type: 'boolean' },
    save: { type: 'boolean', default: false },
    threads: { type: 'string', default: String(os.availableParallelism()) },
    only: { type: 'string' },
    models: { type: 'string', default: MODELS.join(',') },
    dtypes: { type: 'string', default: DTYPES.join(',') },
    'no-peer': { type: 'boolean', default: false },
    seconds: { type: 'string', default: '0.3' },
    help: { type: 'boolean', default: false },
  },
});
const [models, dtypes] = [flags.models.split(','), flags.dtypes.split(',')];
const known =
  models.every((name) => MODELS.includes(name)) &&
  dtypes.every((name) => DTYPES.includes(name)) &&
  (flags.only === undefined || ONLY.includes(flags.only));
if (flags.help || !known) {
  console.error(USAGE);
  process.exit(flags.help ? 0 : 2);
}
const kernels = loadNative();
if (!kernels) {
  console.error(`nothing to measure: ${nativeProblem()}`);
  process.exit(2);
}
const info = nativeInfo();
const threads = Number(flags.threads);
kernels.setNumThreads(threads);
const secondsEach = Number(flags.seconds);

function random(length, dtype) {
  const x = Float32Array.from({ length }, () => Math.random() * 2 - 1);
  if (dtype === 'f32') return x;
  const out = new Uint16Array(length);
  kernels.convert(out, x);
  return out;
}

const zeros = (length, dtype) => (dtype === 'f32' ? new Float32Array(length) : new Uint16Array(length));

/** Seconds a call, after one that does not count. */
function time(call) {
  call();
  return fastest(call, secondsEach);
}

function benchAttention(peak) {
  const rows = [];
  for (const dtype of ['bf16', 'f32'])
    for (const [batch, seqLen] of [
      [1, 1024],
      [1, 2048],
      [4, 512],
      [1, 8192],
    ]) {
      const [numHeads, numKvHeads, headDim] = [9, 3, 64];
      const width = (numHeads + 2 * numKvHeads) * headDim;
      const shape = {
        batch,
        seqLen,
        numHeads,
        numKvHeads,
        headDim,
        qStride: width,
        kStride: width,
        vStride: width,
        scale: 1 / 8,
        softcap: 0,
      };
      const t = batch * seqLen;
      const parts = (fused) =>
        [0, numHeads * headDim, (numHeads + numKvHeads) * headDim].map((at) => fused.subarray(at));
      const [q, k, v] = parts(random(t * width, dtype));
      const [dq, dk, dv] = parts(zeros(t * width, dtype));
      const [out, dOut, lse] = [
        zeros(t * numHeads * headDim, dtype),
        random(t * numHeads * headDim, dtype),
        new Float32Array(t * numHeads),
      ];
      const docStart = new Int32Array(t);
      // What the causal half needs: two products forward, five backward.
      const product = (2 * batch * numHeads * headDim * seqLen * (seqLen + 1)) / 2;
      const calls = {
        fwd: [2, () => kernels.attentionForward(out, lse, q, k, v, docStart, shape)],
        bwd: [5, () => kernels.attentionBackward(dq, dk, dv, dOut, out, lse, q, k, v, docStart, shape)],
      };
      for (const [name, [products, call]] of Object.entries(calls)) {
        const gflops = (products * product) / time(call) / 1e9;
        rows.push({
          op: `attention ${name}`,
          dtype,
          shape: `${batch}x${seqLen}, 9/3x64`,
          gflops,
          ofPeak: gflops / peak.f32,
        });
      }
    }
  return rows;
}

function benchMemory() {
  const [t, d, f, v] = [8192, 576, 1536, 49152];
  const [x, w, y, rstd] = [random(t * d, 'bf16'), random(d, 'bf16'), zeros(t * d, 'bf16'), new Float32Array(t)];
  const [gateUp, act, dGateUp] = [random(t * 2 * f, 'bf16'), zeros(t * f, 'bf16'), zeros(t * 2 * f, 'bf16')];
  const logits = random(512 * v, 'f32');
  const [dLogits, losses] = [zeros(512 * v, 'bf16'), new Float32Array(512)];
  const targets = new Int32Array(512);
  const weights = new Float32Array(512).fill(1);
  const n = 16e6;
  const [master, g, m1, m2] = [random(n, 'f32'), random(n, 'f32'), new Float32Array(n), new Float32Array(n)];
  const [high, low, other] = [zeros(n, 'bf16'), zeros(n, 'bf16'), new Float32Array(n)];
  const options = { lr: 1e-3, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, gradScale: 1, step: 3 };
  kernels.splitMaster(high, low, master);
  const ids = Int32Array.from({ length: t }, () => Math.floor(Math.random() * v));
  const table = new Float32Array(v * d);
  const [cos, sin] = [random(8192 * 32, 'f32'), random(8192 * 32, 'f32')];
  const positions = Int32Array.from({ length: t }, (_, i) => i);
  const [dWeight, dBias, mean] = [new Float32Array(d), new Float32Array(d), new Float32Array(t)];
  const flat = gateUp.subarray(0, t * f);
  const norm = { rows: t, groups: 1, size: d, xStride: d, outStride: d };
  // Bytes that an op must read and write at least.
  const calls = [
    ['copy (memcpy)', 8 * n, () => kernels.convert(other, master)],
    ['rmsNormForward', 4 * t * d, () => kernels.rmsNormForward(y, rstd, x, w, norm, 1e-5, 0)],
    ['rmsNormBackward', 8 * t * d, () => kernels.rmsNormBackward(y, dWeight, x, x, w, rstd, x, norm, 0)],
    ['rope', 4 * t * d, () => kernels.rope(y, cos, sin, positions, t, d, 9, 64, 64, false)],
    ['gluForward silu', 6 * t * f, () => kernels.gluForward(act, gateUp, t, f, 'silu')],
    ['gluBackward silu', 10 * t * f, () => kernels.gluBackward(dGateUp, act, gateUp, t, f, 'silu')],
    ['activation gelu', 4 * t * f, () => kernels.activationForward(act, flat, 'gelu')],
    ['its gradient', 6 * t * f, () => kernels.activationBackward(act, act, flat, 'gelu')],
    ['layerNormForward', 4 * t * d, () => kernels.layerNormForward(y, mean, rstd, x, w, w, t, d, 1e-5)],
    ['layerNormBackward', 8 * t * d, () => kernels.layerNormBackward(y, dWeight, dBias, x, x, w, mean, rstd, x, t, d)],
    ['columnSums', 2 * t * d, () => kernels.columnSums(dBias, x, t, d)],
    ['crossEntropy', 6 * 512 * v, () => kernels.crossEntropy(losses, dLogits, logits, targets, weights, 512, v, 0)],
    ['adamw f32', 28 * n + 4 * n, () => kernels.adamw(master, null, g, m1, m2, options)],
    ['adamw bf16', 24 * n + 4 * n, () => kernels.adamw(high, low, g, m1, m2, options)],
    ['ema bf16', 12 * n, () => kernels.ema(other, high, low, 0.999)],
    ['sumSquares', 4 * n, () => kernels.sumSquares(master)],
    ['convert to bf16', 6 * n, () => kernels.convert(high, master)],
    ['add bf16', 6 * n, () => kernels.add(high, high, low)],
    [
      'embeddingForward',
      4 * t * d,
      () =>
        kernels.embeddingForward(
          y,
          high,
          ids.map((i) => i % 20000),
          d,
          1,
        ),
    ],
    ['embeddingBackward', 10 * t * d, () => kernels.embeddingBackward(table, y, ids, d, 1)],
  ];
  return calls.map(([op, bytes, call]) => ({ op, gbytes: bytes / time(call) / 1e9 }));
}

const loadBefore = os.loadavg()[0];
const peak = { bf16: info.measurePeak('bf16'), f32: info.measurePeak('f32') };
const wanted = (name) => flags.only === undefined || flags.only === name;
const products = wanted('gemm')
  ? benchProducts(kernels, info, {
      ...{ models, dtypes, threads },
      ...{ seconds: secondsEach, peer: !flags['no-peer'], save: flags.save },
    })
  : undefined;
const rows = [...(wanted('attention') ? benchAttention(peak) : []), ...(wanted('memory') ? benchMemory() : [])];
const machine = {
  cpu: os.cpus()[0]?.model,
  threads: kernels.numThreads,
  variant: kernels.variant,
  compiler: info.compiler,
};
if (rows.length > 0) {
  console.log(
    `${machine.cpu}, ${machine.threads} threads, ${machine.variant}, compiler ${machine.compiler}, load average ${loadBefore.toFixed(1)} before`,
  );
  console.log(`peak: bf16 ${peak.bf16.toFixed(0)} GFLOP/s, f32 ${peak.f32.toFixed(0)} GFLOP/s`);
  for (const { op, dtype = '', shape = '', gflops, ofPeak, gbytes } of rows)
    console.log(
      `${op.padEnd(18)} ${dtype.padEnd(5)} ${shape.padEnd(16)} ` +
        (gbytes === undefined
          ? `${gflops.toFixed(0).padStart(5)} GFLOP/s ${(ofPeak * 100).toFixed(0).padStart(3)} % of peak`
          : `${gbytes.toFixed(1).padStart(5)} GB/s`),
    );
}
if (flags.json) console.log(JSON.stringify({ bench: 'gemm', machine, peak, products, rows }));
