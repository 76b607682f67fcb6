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
  /** The same for each place in a slot. */
  firstSeenInSlot(window: number): Int32Array;
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
  const longest = spans.reduce((most, { length, numRows: count }) => Math.max(most, length + count), 0);
  const inSlot = Int32Array.from({ length: longest }, (_, t) => t + 1);
  return {
    cache,
    spans,
    numRows,
    slotStart,
    numSeen,
    firstSeen: byWindow(numSeen),
    firstSeenInSlot: byWindow(inSlot),
  };
}

/** Starts of windows that end with the tokens `numSeen` of a slot, made once for each window. */
function byWindow(numSeen: Int32Array): (window: number) => Int32Array {
  const known = new Map([[0, new Int32Array(numSeen.length)]]);
  return (window) => {
    const starts = known.get(window) ?? numSeen.map((seen) => Math.max(0, seen - window));
    known.set(window, starts);
    return starts;
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
  const qWidth = numHeads * headDim;
  const out = tape.activation(qkv.rows, qWidth);
  const shape: DecodeShape = { numHeads, numKvHeads, headDim, qStride: qk.cols, scale, softcap };
  const rowsOf = (x: Activation, width: number, first: number, count: number) =>
    x.data.subarray(first * width, (first - 1 + count) * width + qWidth) as Floats;
  const decode = (first: number, count: number) => {
    const [row, start, length] = [slotStart, layout.firstSeen(window), numSeen].map((x) =>
      x.subarray(first, first + count),
    );
    const mixed = rowsOf(out, qWidth, first, count);
    const queries = rowsOf(qk, qk.cols, first, count);
    tape.kernels.attentionDecode(mixed, queries, layer.keys, layer.values, row!, start!, length!, shape);
  };
  // Short spans beside each other go row by row in one call.
  let [from, to] = [0, 0];
  for (const span of spans) {
    if (span.numRows < MANY_ROWS) {
      to = span.firstRow + span.numRows;
      continue;
    }
    if (to > from) decode(from, to - from);
    attendSpan(tape, out, qk, layer, cache.capacity, span, shape, layout.firstSeenInSlot(window));
    from = to = span.firstRow + span.numRows;
  }
  if (to > from) decode(from, to - from);
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
  firstSeen: Int32Array,
): void {
  const [qWidth, kvWidth] = [numHeads * headDim, numKvHeads * headDim];
  const total = length + numRows;
  const shape: AttentionShape = {
    batch: 1,
    seqLen: total,
    numHeads,
    numKvHeads,
    headDim,
    qStride: qk.cols,
    kStride: kvWidth,
    vStride: kvWidth,
    scale,
    softcap,
    firstQuery: length,
  };
  const lse = tape.buffer(numRows * numHeads, 'f32') as Float32Array;
  const slotOf = (x: Floats) => x.subarray(slot * capacity * kvWidth, (slot * capacity + total) * kvWidth) as Floats;
  const mixed = out.data.subarray(firstRow * qWidth, (firstRow + numRows) * qWidth) as Floats;
  const queries = qk.data.subarray(firstRow * qk.cols, (firstRow + numRows) * qk.cols) as Floats;
  tape.kernels.attentionForward(mixed, lse, queries, slotOf(keys), slotOf(values), firstSeen.subarray(0, total), shape);
}
