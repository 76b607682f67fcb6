// Rotary position embedding and causal attention inside documents, over rows that hold [queries | keys | values].
import type { AttentionShape, Floats } from '../../kernels/index.ts';
import type { DecoderConfig } from '../families/index.ts';
import type { RopeTable } from '../rope.ts';
import type { Tape } from '../tape.ts';
import type { Activation } from '../tensor.ts';

/** Where each token stands; all arrays have one entry a row. */
export interface Layout {
  batch: number;
  seqLen: number;
  /** Distance from the start of the token's document. */
  positions: Int32Array;
  /** First token of the sequence that a token sees, by the layer's window (0: none). */
  firstSeen(window: number): Int32Array;
}

/** @param docStart index inside the sequence where each row's document begins */
export function layoutOf(batch: number, seqLen: number, docStart: Int32Array): Layout {
  const byWindow = new Map([[0, docStart]]);
  return {
    batch,
    seqLen,
    positions: docStart.map((start, row) => (row % seqLen) - start),
    firstSeen(window) {
      const known = byWindow.get(window);
      if (known) return known;
      const starts = docStart.map((start, row) => Math.max(start, (row % seqLen) - window + 1));
      byWindow.set(window, starts);
      return starts;
    },
  };
}

/** Rotates queries and keys in place: the first `numHeads` + `numKvHeads` heads of each row. */
export function rotary(
  tape: Tape,
  x: Activation,
  table: RopeTable,
  rotaryDim: number,
  positions: Int32Array,
  config: DecoderConfig,
): void {
  const numHeads = config.numHeads + config.numKvHeads;
  const rotate = (values: Floats, inverse: boolean) =>
    tape.kernels.rope(
      values,
      table.cos,
      table.sin,
      positions,
      x.rows,
      x.cols,
      numHeads,
      config.headDim,
      rotaryDim,
      inverse,
    );
  rotate(x.data, false);
  tape.record(undefined, [], () => rotate(x.grad!, true));
}

/** @param qk rows [queries | keys | ...]: `qkv` itself, or queries and keys after their norms; values are always read from `qkv` */
export function attention(
  tape: Tape,
  qk: Activation,
  qkv: Activation,
  layout: Layout,
  config: DecoderConfig,
  layer: DecoderConfig['layers'][number],
): Activation {
  const { numHeads, numKvHeads, headDim } = config;
  const shape: AttentionShape = {
    batch: layout.batch,
    seqLen: layout.seqLen,
    numHeads,
    numKvHeads,
    headDim,
    qStride: qk.cols,
    kStride: qk.cols,
    vStride: qkv.cols,
    scale: layer.attentionScale,
    softcap: config.attentionSoftcap,
  };
  const kAt = numHeads * headDim;
  const vAt = kAt + numKvHeads * headDim;
  const from = (x: Floats, at: number) => x.subarray(at) as Floats;
  const firstSeen = layout.firstSeen(layer.window);
  const out = tape.activation(qkv.rows, numHeads * headDim);
  const lse = tape.buffer(qkv.rows * numHeads, 'f32') as Float32Array;
  const [q, k, v] = [qk.data, from(qk.data, kAt), from(qkv.data, vAt)];
  tape.kernels.attentionForward(out.data, lse, q, k, v, firstSeen, shape);
  tape.record(out, [lse], () => {
    const dqk = tape.newGrad(qk);
    const dqkv = qk === qkv ? dqk : tape.newGrad(qkv);
    const [dk, dv] = [from(dqk, kAt), from(dqkv, vAt)];
    tape.kernels.attentionBackward(dqk, dk, dv, out.grad!, out.data, lse, q, k, v, firstSeen, shape);
  });
  return out;
}
