// Attention of new tokens over their slots of a key-value cache. Forward only.
import type { AttentionShape, DecodeShape, Floats } from '../../kernels/index.ts';
import type { DecoderConfig } from '../families/index.ts';
import type { KeyValueCache, LayerCache } from '../generation/cache.ts';
import type { Tape } from '../tape.ts';
import type { Activation } from '../tensor.ts';

/** Consecutive rows of a batch that go to the end of a slot, which holds `length` tokens before them. */
export interface SlotSpan {
  slot: number;
  length: number;
  firstRow: number;
  numRows: number;
}

/** Where the rows of a batch stand in the cache. */
export interface CacheLayout {
  cache: KeyValueCache;
  spans: readonly SlotSpan[];
  numRows: number;
  /** First row of each row's slot in the cache, and the tokens that the row may see there, itself included. */
  slotStart: Int32Array;
  numSeen: Int32Array;
  /** First token of its slot that each row sees, by the layer's window (0: none). */
  firstSeen(window: number): Int32Array;
}

export function cacheLayoutOf(cache: KeyValueCache, spans: readonly SlotSpan[]): CacheLayout {
  const numRows = spans.reduce((sum, span) => sum + span.numRows, 0);
  const slotStart = new Int32Array(numRows);
  const numSeen = new Int32Array(numRows);
  for (const { slot, length, firstRow, numRows: count } of spans)
    for (let i = 0; i < count; i++) {
      slotStart[firstRow + i] = slot * cache.capacity;
      numSeen[firstRow + i] = length + i + 1;
    }
  const byWindow = new Map([[0, new Int32Array(numRows)]]);
  return {
    cache,
    spans,
    numRows,
    slotStart,
    numSeen,
    firstSeen(window) {
      const known = byWindow.get(window);
      if (known) return known;
      const starts = numSeen.map((seen) => Math.max(0, seen - window));
      byWindow.set(window, starts);
      return starts;
    },
  };
}

/** Rows of a span from which attention by tiles of queries is faster than row by row. */
const MANY_ROWS = 16;

/** Puts the rows' keys and values behind those of their slots and mixes what each row sees. */
export function cachedAttention(
  tape: Tape,
  qk: Activation,
  qkv: Activation,
  layout: CacheLayout,
  config: DecoderConfig,
  layerIndex: number,
): Activation {
  const { numHeads, numKvHeads, headDim, attentionSoftcap: softcap } = config;
  const { window, attentionScale: scale } = config.layers[layerIndex]!;
  const { cache, spans, slotStart, numSeen } = layout;
  const layer = cache.layers[layerIndex]!;
  append(layer, qk, qkv, layout, numHeads * headDim, numKvHeads * headDim);
  const out = tape.activation(qkv.rows, numHeads * headDim);
  const shape: DecodeShape = { numHeads, numKvHeads, headDim, qStride: qk.cols, scale, softcap };
  if (spans.every((span) => span.numRows < MANY_ROWS)) {
    const starts = layout.firstSeen(window);
    tape.kernels.attentionDecode(out.data, qk.data, layer.keys, layer.values, slotStart, starts, numSeen, shape);
  } else for (const span of spans) attendSpan(tape, out, qk, layer, cache.capacity, span, shape, window);
  return out;
}

function append(
  { keys, values }: LayerCache,
  qk: Activation,
  qkv: Activation,
  { slotStart, numSeen, numRows }: CacheLayout,
  qWidth: number,
  kvWidth: number,
): void {
  for (let row = 0; row < numRows; row++) {
    const at = (slotStart[row]! + numSeen[row]! - 1) * kvWidth;
    const kAt = row * qk.cols + qWidth;
    const vAt = row * qkv.cols + qWidth + kvWidth;
    keys.set(qk.data.subarray(kAt, kAt + kvWidth), at);
    values.set(qkv.data.subarray(vAt, vAt + kvWidth), at);
  }
}

function attendSpan(
  tape: Tape,
  out: Activation,
  qk: Activation,
  { keys, values }: LayerCache,
  capacity: number,
  { slot, length, firstRow, numRows }: SlotSpan,
  { numHeads, numKvHeads, headDim, scale, softcap }: DecodeShape,
  window: number,
): void {
  const [qWidth, kvWidth] = [numHeads * headDim, numKvHeads * headDim];
  const total = length + numRows;
  // Attention's queries are as many as its keys, so rows of zeros stand for the tokens before.
  const q = tape.buffer(total * qWidth, tape.precision).fill(0);
  for (let i = 0; i < numRows; i++) {
    const at = (firstRow + i) * qk.cols;
    q.set(qk.data.subarray(at, at + qWidth), (length + i) * qWidth);
  }
  const shape: AttentionShape = {
    batch: 1,
    seqLen: total,
    numHeads,
    numKvHeads,
    headDim,
    qStride: qWidth,
    kStride: kvWidth,
    vStride: kvWidth,
    scale,
    softcap,
  };
  const firstSeen = Int32Array.from({ length: total }, (_, t) => (window > 0 ? Math.max(0, t - window + 1) : 0));
  const mixed = tape.buffer(total * qWidth, tape.precision);
  const lse = tape.buffer(total * numHeads, 'f32') as Float32Array;
  const slotOf = (x: Floats) => x.subarray(slot * capacity * kvWidth, (slot * capacity + total) * kvWidth) as Floats;
  tape.kernels.attentionForward(mixed, lse, q, slotOf(keys), slotOf(values), firstSeen, shape);
  out.data.set(mixed.subarray(length * qWidth), firstRow * qWidth);
}
