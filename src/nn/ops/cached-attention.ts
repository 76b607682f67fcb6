// Attention of new tokens over their slots of a key-value cache. Forward only.
import type { AttentionShape, Floats } from '../../kernels/index.ts';
import type { DecoderConfig } from '../families/index.ts';
import type { KeyValueCache } from '../generation/cache.ts';
import type { Tape } from '../tape.ts';
import type { Activation } from '../tensor.ts';

/** Consecutive rows of a batch that go to the end of a slot, whose `length` does not count them yet. */
export interface SlotRows {
  slot: number;
  length: number;
  firstRow: number;
  numRows: number;
}

/** Puts the rows' keys and values behind those of their slots and mixes what each row sees. */
export function cachedAttention(
  tape: Tape,
  qk: Activation,
  qkv: Activation,
  cache: KeyValueCache,
  rows: readonly SlotRows[],
  config: DecoderConfig,
  layerIndex: number,
): Activation {
  const out = tape.activation(qkv.rows, config.numHeads * config.headDim);
  for (const span of rows) attendSpan(tape, out, qk, qkv, cache, span, config, layerIndex);
  return out;
}

function attendSpan(
  tape: Tape,
  out: Activation,
  qk: Activation,
  qkv: Activation,
  cache: KeyValueCache,
  { slot, length, firstRow, numRows }: SlotRows,
  config: DecoderConfig,
  layerIndex: number,
): void {
  const { numHeads, numKvHeads, headDim, attentionSoftcap } = config;
  const { window, attentionScale } = config.layers[layerIndex]!;
  const { keys, values } = cache.layers[layerIndex]!;
  const [qWidth, kvWidth] = [numHeads * headDim, numKvHeads * headDim];
  const slotAt = slot * cache.capacity * kvWidth;
  const total = length + numRows;
  // Attention's queries are as many as its keys, so rows of zeros stand for the tokens before.
  const q = tape.buffer(total * qWidth, tape.precision).fill(0);
  for (let i = 0; i < numRows; i++) {
    const [qkRow, vRow] = [(firstRow + i) * qk.cols, (firstRow + i) * qkv.cols + qWidth + kvWidth];
    q.set(qk.data.subarray(qkRow, qkRow + qWidth), (length + i) * qWidth);
    const at = slotAt + (length + i) * kvWidth;
    keys.set(qk.data.subarray(qkRow + qWidth, qkRow + qWidth + kvWidth), at);
    values.set(qkv.data.subarray(vRow, vRow + kvWidth), at);
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
    scale: attentionScale,
    softcap: attentionSoftcap,
  };
  const firstSeen = Int32Array.from({ length: total }, (_, t) => (window > 0 ? Math.max(0, t - window + 1) : 0));
  const mixed = tape.buffer(total * qWidth, tape.precision);
  const lse = tape.buffer(total * numHeads, 'f32') as Float32Array;
  const from = (x: Floats) => x.subarray(slotAt, slotAt + total * kvWidth) as Floats;
  tape.kernels.attentionForward(mixed, lse, q, from(keys), from(values), firstSeen, shape);
  out.data.set(mixed.subarray(length * qWidth), firstRow * qWidth);
}
