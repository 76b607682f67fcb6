// The part of bench/gemm.mjs about matrix products: shapes as training and decoding make them, each result checked against sums in f64
// before it is timed, on all cores and on one, beside PyTorch's matmul.
import { spawnSync } from 'node:child_process';
import * as path from 'node:path';
import { fastest, printTable, provenance, readRecord, round, saveRecord } from './machine.mjs';
import { python, root } from './models.mjs';

/** [tokens, outputs, inputs] of a step's linear layers; the last one of a model is its output layer, with the rows of a chunk of the loss. */
export const PRODUCTS = {
  '135m': [
    [2048, 960, 576],
    [2048, 576, 576],
    [2048, 3072, 576],
    [2048, 576, 1536],
    [341, 49152, 576],
  ],
  '1b': [
    [1024, 3072, 2048],
    [1024, 2048, 2048],
    [1024, 16384, 2048],
    [1024, 2048, 8192],
    [130, 128256, 2048],
  ],
  tiny: [
    [512, 384, 128],
    [512, 128, 128],
    [512, 768, 256],
    [512, 256, 256],
    [512, 1408, 256],
    [512, 256, 704],
    [512, 4096, 256],
  ],
};
/** [rows, outputs, inputs] of decoding: weights are read once. */
const DECODING = [1, 2, 4, 8].map((rows) => [rows, 128256, 2048]);

const DIRECTIONS = ['forward', 'dX', 'dW'];
const CHECKED = 64;

/** Values in [-1, 1), the same in every run; a block repeated, since a gigabyte of random numbers takes a minute. */
function values(kernels, length, dtype, seed) {
  const block = new Float32Array(Math.min(length, 1000003));
  let state = seed;
  for (let i = 0; i < block.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    block[i] = state / 2 ** 31 - 1;
  }
  const out = zeros(length, dtype);
  if (dtype === 'f32') out.set(block);
  else kernels.convert(out.subarray(0, block.length), block);
  for (let done = block.length; done < length; done *= 2) out.copyWithin(done, 0, Math.min(done, length - done));
  return out;
}

const zeros = (length, dtype) => (dtype === 'f32' ? new Float32Array(length) : new Uint16Array(length));

const word = new Uint32Array(1);
const wordAsFloat = new Float32Array(word.buffer);
function at(x, i) {
  if (x instanceof Float32Array) return x[i];
  word[0] = x[i] << 16;
  return wordAsFloat[0];
}

/** The product of a direction as kernels.gemm takes it; dW is added into f32. */
function product(kernels, direction, dtype, [tokens, out, into]) {
  const input = (length, seed) => values(kernels, length, dtype, seed);
  if (direction === 'forward')
    return {
      m: tokens,
      n: out,
      k: into,
      a: input(tokens * into, 1),
      b: input(out * into, 2),
      transA: false,
      transB: true,
    };
  const dOut = input(tokens * out, 3);
  if (direction === 'dX')
    return { m: tokens, n: into, k: out, a: dOut, b: input(out * into, 2), transA: false, transB: false };
  return { m: out, n: into, k: tokens, a: dOut, b: input(tokens * into, 1), transA: true, transB: false, adds: true };
}

/**
 * Compares elements spread over the result, its last ones among them, with sums in f64.
 * Tolerance: an f32 sum of k terms in [-1, 1] errs by some 2^-24 sqrt(k) times its partial sums' size, sqrt(k)/3; a bf16 result is in addition
 * rounded to 2^-9 of its value.
 */
function check({ m, n, k, a, b, transA, transB }, c, what) {
  for (let i = 0; i < CHECKED; i++) {
    const place = i === 0 ? m * n - 1 : (i * 2654435761) % (m * n);
    const [row, col] = [Math.floor(place / n), place % n];
    let sum = 0;
    for (let p = 0; p < k; p++)
      sum += at(a, transA ? p * m + row : row * k + p) * at(b, transB ? col * k + p : p * n + col);
    const allowed = 2 ** -22 * k + (c instanceof Float32Array ? 0 : 2 ** -8 * Math.abs(sum));
    if (!(Math.abs(at(c, place) - sum) <= allowed))
      throw new Error(`${what}: element ${place} is ${at(c, place)}, in f64 ${sum}: not timing a wrong result`);
  }
}

/** Seconds of each product by PyTorch, [shape][direction]. */
function torchSeconds(shapes, directions, dtype, threads, seconds) {
  const script = path.join(root, 'bench/peers/torch_matmul.py');
  const spec = JSON.stringify({ shapes, directions, dtype, threads, seconds });
  const run = spawnSync(python(), [script, spec], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  if (run.status !== 0) throw new Error(`torch_matmul.py ended with ${run.signal ?? `code ${run.status}`}`);
  return JSON.parse(run.stdout.trim().split('\n').at(-1));
}

/** Rows of a record: a shape, dtype and direction each. */
function measure(kernels, info, { model, shapes, directions, dtype, threads, seconds, peer }) {
  const peaks = {};
  for (const cores of new Set([threads, 1])) {
    kernels.setNumThreads(cores);
    peaks[cores] = info.measurePeak(dtype);
  }
  const torch = peer ? torchSeconds(shapes, directions, dtype, threads, seconds) : undefined;
  const rows = [];
  for (const [i, shape] of shapes.entries())
    for (const [j, direction] of directions.entries()) {
      const p = product(kernels, direction, dtype, shape);
      const c = zeros(p.m * p.n, p.adds || (direction === 'forward' && model === 'decode') ? 'f32' : dtype);
      const call = () => kernels.gemm(c, p.a, p.b, p.m, p.n, p.k, p.transA, p.transB, p.adds ? c : null, null);
      kernels.setNumThreads(threads);
      call();
      check(p, c, `${direction} ${shape.join('x')} ${dtype}`);
      const flops = 2 * p.m * p.n * p.k;
      const row = { model, dtype, shape: shape.join('x'), direction };
      for (const cores of new Set([threads, 1])) {
        kernels.setNumThreads(cores);
        const took = fastest(call, seconds);
        const name = cores === 1 ? 'oneCore' : 'allCores';
        row[name] = { gflops: round(flops / took / 1e9), ofPeak: round(flops / took / 1e9 / peaks[cores], 3) };
        if (cores === threads) row.seconds = took;
        row.allCores ??= row[name];
      }
      if (torch) row.torchGflops = round(flops / torch[i][j] / 1e9);
      if (torch) row.ratioToTorch = round(torch[i][j] / row.seconds, 2);
      if (model === 'decode') {
        kernels.setNumThreads(threads);
        const bytes = p.b.byteLength;
        const bandwidth = info.measureBandwidth(bytes, 0.3);
        Object.assign(row, {
          gbPerSecond: round(bytes / row.seconds / 1e9),
          ofBandwidth: round(bytes / row.seconds / 1e9 / bandwidth, 3),
        });
      }
      delete row.seconds;
      rows.push(row);
    }
  return { peaks, rows };
}

const percent = (x) => (x === undefined ? '' : `${(x * 100).toFixed(1)} %`);

/**
 * Measures, prints and, if asked, saves bench/results/gemm.json; rows of other models and dtypes are kept from the last record.
 * @param models names of PRODUCTS, or "decode"
 */
export function benchProducts(kernels, info, { models, dtypes, threads, seconds, peer, save }) {
  const record = { bench: 'gemm', ...provenance('gemm'), kernels: kernels.variant, threads, peakGFlops: {}, rows: [] };
  for (const model of models)
    for (const dtype of model === 'decode' ? ['bf16'] : dtypes) {
      const decode = model === 'decode';
      const work = { shapes: decode ? DECODING : PRODUCTS[model], directions: decode ? ['forward'] : DIRECTIONS };
      const { peaks, rows } = measure(kernels, info, { model, dtype, threads, seconds, peer, ...work });
      record.peakGFlops = { allCores: round(peaks[threads]), oneCore: round(peaks[1]) };
      record.rows.push(...rows);
    }
  kernels.setNumThreads(threads);
  const { machine, date, commit } = record;
  console.log(
    `${machine}; ${record.kernels}, ${threads} threads; ${date}, ${commit}; peak ${record.peakGFlops.allCores} GFLOP/s`,
  );
  printTable([
    [
      'model',
      'dtype',
      'tokens x out x in',
      '',
      'GFLOP/s',
      'of peak',
      'one core',
      'of peak',
      'PyTorch',
      'ratio',
      'GB/s',
      'of memory',
    ],
    ...record.rows.map((r) => [
      r.model,
      r.dtype,
      r.shape,
      r.direction,
      r.allCores.gflops,
      percent(r.allCores.ofPeak),
      r.oneCore.gflops,
      percent(r.oneCore.ofPeak),
      r.torchGflops ?? '',
      r.ratioToTorch ?? '',
      r.gbPerSecond ?? '',
      percent(r.ofBandwidth),
    ]),
  ]);
  if (save) {
    const measured = new Set(record.rows.map((r) => `${r.model} ${r.dtype}`));
    const kept = (readRecord('gemm')?.rows ?? []).filter((r) => !measured.has(`${r.model} ${r.dtype}`));
    const own = record.rows.map((r) => ({ ...r, date, commit }));
    saveRecord('gemm', { ...record, rows: [...kept, ...own] });
  }
  return record;
}
