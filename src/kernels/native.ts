// The kernels in native/ as the interface of types.ts. Native code trusts its caller, so every dtype and length is checked here: a
// wrong one throws `internal:` and never reaches memory that is not ours. No arithmetic here.
import * as fs from 'node:fs';
import { createRequire } from 'node:module';
import * as path from 'node:path';
import { ConfigError, internal, nearestName } from '../base/errors.ts';
import { packageRoot } from '../base/package.ts';
import type { AdamWOptions, AttentionShape, Floats, Kernels } from './types.ts';

/** Raised with every change of a signature in native/addon.cc. */
const ABI_VERSION = 1;

const VARIANTS = ['avx512bf16', 'avx512', 'avx2', 'portable'];

type Method = (...args: (Floats | Int32Array | number | boolean | null)[]) => unknown;

interface Addon {
  abiVersion: number;
  /** Instruction sets that this machine runs, best first. */
  supported: string[];
  compiler: string;
  open(variant: string): Record<string, Method> | undefined;
  numThreads(): number;
  setNumThreads(count: number): void;
}

let addon: Addon | undefined;
let problem: string | undefined;

function loadAddon(): Addon | undefined {
  if (addon || problem) return addon;
  const file = path.join(packageRoot(), 'native', 'build', 'continuo.node');
  if (!fs.existsSync(file)) {
    problem = 'the native kernels are not built; run: npm run build:native';
    return undefined;
  }
  try {
    const loaded = createRequire(import.meta.url)(file) as Addon;
    if (loaded.abiVersion === ABI_VERSION) addon = loaded;
    else
      problem = `the native kernels are of another version (${loaded.abiVersion}, expected ${ABI_VERSION}); run: npm run build:native`;
  } catch (error) {
    problem = `the native kernels do not load (${(error as Error).message.split('\n')[0]}); run: npm run build:native`;
  }
  return addon;
}

/** Why there are no native kernels, for a message; undefined when there are. */
export function nativeProblem(): string | undefined {
  loadAddon();
  return problem;
}

/** The instruction set to use: the one asked for, else $CONTINUO_KERNELS, else the best. */
function chooseVariant(supported: string[], asked: string | undefined): string {
  const name = asked ?? process.env.CONTINUO_KERNELS;
  if (!name) return supported[0]!;
  if (supported.includes(name)) return name;
  const from = asked === undefined ? 'CONTINUO_KERNELS' : 'kernels';
  if (VARIANTS.includes(name))
    throw new ConfigError(
      `${from}: this machine cannot run ${name}; expected one of ${[...supported, 'reference'].join(', ')}.`,
    );
  const near = nearestName(name, [...supported, 'reference']);
  throw new ConfigError(
    `${from}: unknown kernels "${name}"${near ? ` (did you mean ${near}?)` : ''}; expected one of ${[...supported, 'reference'].join(', ')}.`,
  );
}

const loaded = new Map<string, Kernels>();

/**
 * The native kernels, or undefined where they are not built or do not load (nativeProblem() says why).
 * @param variant an instruction set; default $CONTINUO_KERNELS, else the best that this machine runs
 * @throws ConfigError for a variant that is unknown or that this machine cannot run
 */
export function loadNative(variant?: string): Kernels | undefined {
  const native = loadAddon();
  if (!native) return undefined;
  const name = chooseVariant(native.supported, variant);
  const kernels = loaded.get(name) ?? bind(native, name);
  loaded.set(name, kernels);
  return kernels;
}

export interface NativeInfo {
  /** The instruction set in use. */
  variant: string;
  /** Those that this machine runs, best first. */
  supported: string[];
  compiler: string;
  /** Register-only multiply-adds on all threads for `seconds`: the ceiling of gemm, in GFLOP/s. */
  measurePeak(dtype: 'f32' | 'bf16', seconds?: number): number;
}

/** What the native kernels are, or undefined where there are none. */
export function nativeInfo(): NativeInfo | undefined {
  const native = loadAddon();
  if (!native) return undefined;
  const variant = chooseVariant(native.supported, undefined);
  const methods = native.open(variant)!;
  return {
    variant,
    supported: [...native.supported],
    compiler: native.compiler,
    measurePeak: (dtype, seconds = 0.5) => methods.measurePeak!(dtype === 'bf16', seconds) as number,
  };
}

/** At least `length` elements, f32 or bf16. */
function floats(x: Floats, length: number, op: string, name: string): void {
  if (!(x instanceof Float32Array || x instanceof Uint16Array)) internal(`${op}: ${name} is neither f32 nor bf16`);
  atLeast(x, length, op, name);
}

function f32(x: Float32Array, length: number, op: string, name: string): void {
  if (!(x instanceof Float32Array)) internal(`${op}: ${name} is not f32`);
  atLeast(x, length, op, name);
}

function i32(x: Int32Array, length: number, op: string, name: string): void {
  if (!(x instanceof Int32Array)) internal(`${op}: ${name} is not int32`);
  atLeast(x, length, op, name);
}

function u16(x: Uint16Array | null, length: number, op: string, name: string): void {
  if (!(x instanceof Uint16Array)) internal(`${op}: ${name} is not 16 bit`);
  atLeast(x, length, op, name);
}

function atLeast(x: { length: number }, length: number, op: string, name: string): void {
  // A negative or fractional size would pass a comparison with the length.
  if (!Number.isSafeInteger(length) || length < 0) internal(`${op}: a size is negative or no integer`);
  if (x.length < length) internal(`${op}: ${name} has ${x.length} elements, expected ${length}`);
}

function sizes(op: string, ...counts: number[]): void {
  for (const count of counts)
    if (!Number.isSafeInteger(count) || count < 0) internal(`${op}: size ${count} is no count`);
}

function sameDtype(a: Floats, b: Floats | null, op: string, names: string): void {
  if (b && a instanceof Float32Array !== b instanceof Float32Array) internal(`${op}: ${names} differ in dtype`);
}

/** Elements that `rows` rows of `width`, `stride` apart, reach to. */
function extent(rows: number, stride: number, width: number): number {
  return rows === 0 ? 0 : (rows - 1) * stride + width;
}

/** Ids must lie inside the table: an id outside would read or write anywhere. */
function indices(ids: Int32Array, limit: number, op: string): void {
  for (let i = 0; i < ids.length; i++)
    if (ids[i]! < 0 || ids[i]! >= limit) internal(`${op}: index ${ids[i]} is outside 0..${limit - 1}`);
}

function checkAttention(
  op: string,
  shape: AttentionShape,
  lse: Float32Array,
  docStart: Int32Array,
  queries: Record<string, Floats>,
  keys: Record<string, Floats>,
  dense: Record<string, Floats>,
): void {
  const { batch, seqLen, numHeads, numKvHeads, headDim, qStride, kvStride } = shape;
  sizes(op, batch, seqLen, numHeads, numKvHeads, headDim, qStride, kvStride);
  if (numKvHeads === 0 || numHeads % numKvHeads !== 0)
    internal(`${op}: ${numKvHeads} key/value heads do not divide ${numHeads} heads`);
  if (qStride < numHeads * headDim || kvStride < numKvHeads * headDim)
    internal(`${op}: a stride is shorter than its row`);
  const rows = batch * seqLen;
  for (const name in queries) floats(queries[name]!, extent(rows, qStride, numHeads * headDim), op, name);
  for (const name in keys) floats(keys[name]!, extent(rows, kvStride, numKvHeads * headDim), op, name);
  for (const name in dense) floats(dense[name]!, rows * numHeads * headDim, op, name);
  f32(lse, rows * numHeads, op, 'lse');
  i32(docStart, rows, op, 'docStart');
  for (let t = 0; t < rows; t++)
    if (docStart[t]! < 0 || docStart[t]! > t % seqLen)
      internal(`${op}: docStart[${t}] = ${docStart[t]} is outside 0..${t % seqLen}`);
}

const shapeNumbers = (s: AttentionShape) =>
  [s.batch, s.seqLen, s.numHeads, s.numKvHeads, s.headDim, s.qStride, s.kvStride, s.scale] as const;

function bind(native: Addon, variant: string): Kernels {
  const n = native.open(variant)!;
  return {
    variant,
    get numThreads() {
      return native.numThreads();
    },
    setNumThreads(count) {
      if (!Number.isInteger(count) || count < 1) internal(`setNumThreads: ${count} is no number of threads`);
      native.setNumThreads(count);
    },

    gemm(c, a, b, rows, cols, depth, transA, transB, addend) {
      sizes('gemm', rows, cols, depth);
      floats(c, rows * cols, 'gemm', 'C');
      floats(a, rows * depth, 'gemm', 'A');
      floats(b, cols * depth, 'gemm', 'B');
      if (addend) floats(addend, rows * cols, 'gemm', 'addend');
      sameDtype(a, b, 'gemm', 'A and B');
      sameDtype(c, addend, 'gemm', 'C and addend');
      n.gemm!(c, a, b, rows, cols, depth, transA, transB, addend);
    },

    embeddingForward(out, table, ids, d) {
      sizes('embeddingForward', d);
      floats(table, 0, 'embeddingForward', 'table');
      floats(out, ids.length * d, 'embeddingForward', 'out');
      i32(ids, 0, 'embeddingForward', 'ids');
      indices(ids, Math.floor(table.length / Math.max(1, d)), 'embeddingForward');
      n.embeddingForward!(out, table, ids, ids.length, d);
    },
    embeddingBackward(dTable, dOut, ids, d) {
      sizes('embeddingBackward', d);
      f32(dTable, 0, 'embeddingBackward', 'dTable');
      floats(dOut, ids.length * d, 'embeddingBackward', 'dOut');
      i32(ids, 0, 'embeddingBackward', 'ids');
      indices(ids, Math.floor(dTable.length / Math.max(1, d)), 'embeddingBackward');
      n.embeddingBackward!(dTable, dOut, ids, ids.length, d);
    },

    rmsNormForward(out, rstd, x, weight, t, d, eps) {
      sizes('rmsNormForward', t, d);
      floats(out, t * d, 'rmsNormForward', 'out');
      f32(rstd, t, 'rmsNormForward', 'rstd');
      floats(x, t * d, 'rmsNormForward', 'x');
      floats(weight, d, 'rmsNormForward', 'weight');
      n.rmsNormForward!(out, rstd, x, weight, t, d, eps);
    },
    rmsNormBackward(dx, dWeight, dOut, x, weight, rstd, dResidual, t, d) {
      sizes('rmsNormBackward', t, d);
      floats(dx, t * d, 'rmsNormBackward', 'dx');
      f32(dWeight, d, 'rmsNormBackward', 'dWeight');
      floats(dOut, t * d, 'rmsNormBackward', 'dOut');
      floats(x, t * d, 'rmsNormBackward', 'x');
      floats(weight, d, 'rmsNormBackward', 'weight');
      f32(rstd, t, 'rmsNormBackward', 'rstd');
      if (dResidual) floats(dResidual, t * d, 'rmsNormBackward', 'dResidual');
      n.rmsNormBackward!(dx, dWeight, dOut, x, weight, rstd, dResidual, t, d);
    },

    rope(x, cos, sin, positions, t, rowStride, numHeads, headDim, inverse) {
      sizes('rope', t, rowStride, numHeads, headDim);
      if (headDim % 2 !== 0) internal(`rope: head size ${headDim} is odd`);
      if (rowStride < numHeads * headDim) internal('rope: the stride is shorter than the row');
      floats(x, extent(t, rowStride, numHeads * headDim), 'rope', 'x');
      f32(cos, 0, 'rope', 'cos');
      f32(sin, cos.length, 'rope', 'sin');
      i32(positions, t, 'rope', 'positions');
      indices(positions, Math.floor((2 * cos.length) / Math.max(2, headDim)), 'rope');
      n.rope!(x, cos, sin, positions, t, rowStride, numHeads, headDim, inverse);
    },

    attentionForward(out, lse, q, k, v, docStart, shape) {
      checkAttention('attentionForward', shape, lse, docStart, { q }, { k, v }, { out });
      n.attentionForward!(out, lse, q, k, v, docStart, ...shapeNumbers(shape));
    },
    attentionBackward(dq, dk, dv, dOut, out, lse, q, k, v, docStart, shape) {
      checkAttention('attentionBackward', shape, lse, docStart, { q, dq }, { k, v, dk, dv }, { out, dOut });
      n.attentionBackward!(dq, dk, dv, dOut, out, lse, q, k, v, docStart, ...shapeNumbers(shape));
    },

    swigluForward(out, gateUp, t, f) {
      sizes('swigluForward', t, f);
      floats(out, t * f, 'swigluForward', 'out');
      floats(gateUp, 2 * t * f, 'swigluForward', 'gateUp');
      n.swigluForward!(out, gateUp, t, f);
    },
    swigluBackward(dGateUp, dOut, gateUp, t, f) {
      sizes('swigluBackward', t, f);
      floats(dGateUp, 2 * t * f, 'swigluBackward', 'dGateUp');
      floats(dOut, t * f, 'swigluBackward', 'dOut');
      floats(gateUp, 2 * t * f, 'swigluBackward', 'gateUp');
      n.swigluBackward!(dGateUp, dOut, gateUp, t, f);
    },

    crossEntropy(losses, dLogits, logits, targets, weights, t, v) {
      sizes('crossEntropy', t, v);
      f32(losses, t, 'crossEntropy', 'losses');
      if (dLogits) floats(dLogits, t * v, 'crossEntropy', 'dLogits');
      f32(logits, t * v, 'crossEntropy', 'logits');
      i32(targets, t, 'crossEntropy', 'targets');
      f32(weights, t, 'crossEntropy', 'weights');
      for (let i = 0; i < t; i++)
        if (targets[i]! >= v) internal(`crossEntropy: target ${targets[i]} is outside 0..${v - 1}`);
      n.crossEntropy!(losses, dLogits, logits, targets, weights, t, v);
    },

    adamw(w, low, g, m, v, options: AdamWOptions) {
      const count = w.length;
      floats(w, count, 'adamw', 'w');
      if (w instanceof Uint16Array) u16(low, count, 'adamw', 'low');
      f32(g, count, 'adamw', 'g');
      f32(m, count, 'adamw', 'm');
      f32(v, count, 'adamw', 'v');
      const { lr, beta1, beta2, eps, weightDecay, gradScale, step } = options;
      n.adamw!(w, low, g, m, v, count, lr, beta1, beta2, eps, weightDecay, gradScale, step);
    },
    splitMaster(w, low, master) {
      u16(w, master.length, 'splitMaster', 'w');
      u16(low, master.length, 'splitMaster', 'low');
      f32(master, 0, 'splitMaster', 'master');
      n.splitMaster!(w, low, master, master.length);
    },
    joinMaster(master, w, low) {
      f32(master, 0, 'joinMaster', 'master');
      u16(w, master.length, 'joinMaster', 'w');
      u16(low, master.length, 'joinMaster', 'low');
      n.joinMaster!(master, w, low, master.length);
    },

    sumSquares(x) {
      f32(x, 0, 'sumSquares', 'x');
      return n.sumSquares!(x, x.length) as number;
    },
    convert(out, x) {
      floats(x, 0, 'convert', 'x');
      floats(out, x.length, 'convert', 'out');
      n.convert!(out, x, x.length);
    },
    add(out, a, b) {
      floats(out, 0, 'add', 'out');
      floats(a, out.length, 'add', 'a');
      floats(b, out.length, 'add', 'b');
      n.add!(out, a, b, out.length);
    },
  };
}
