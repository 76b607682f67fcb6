// Rotary position embedding and causal attention inside documents, over rows that hold [queries | keys | values].
import type { AttentionShape, Floats } from '../../kernels/index.ts';
import type { RopeTable } from '../rope.ts';
import type { Tape } from '../tape.ts';
import type { Activation } from '../tensor.ts';

export interface AttentionSizes {
  numHeads: number;
  numKvHeads: number;
  headDim: number;
}

/** Where each token stands; both arrays have one entry a row. */
export interface Layout {
  batch: number;
  seqLen: number;
  /** Index inside the sequence where the token's document begins. */
  docStart: Int32Array;
  /** Distance from there. */
  positions: Int32Array;
}

/** Rotates queries and keys in place. */
export function rotary(tape: Tape, qkv: Activation, table: RopeTable, layout: Layout, sizes: AttentionSizes): void {
  const numHeads = sizes.numHeads + sizes.numKvHeads;
  const rotate = (x: Floats, inverse: boolean) =>
    tape.kernels.rope(
      x,
      table.cos,
      table.sin,
      layout.positions,
      qkv.rows,
      qkv.cols,
      numHeads,
      sizes.headDim,
      sizes.headDim,
      inverse,
    );
  rotate(qkv.data, false);
  tape.record(undefined, [], () => rotate(qkv.grad!, true));
}

export function attention(tape: Tape, qkv: Activation, layout: Layout, sizes: AttentionSizes): Activation {
  const { numHeads, numKvHeads, headDim } = sizes;
  const shape: AttentionShape = {
    batch: layout.batch,
    seqLen: layout.seqLen,
    numHeads,
    numKvHeads,
    headDim,
    qStride: qkv.cols,
    kStride: qkv.cols,
    vStride: qkv.cols,
    scale: 1 / Math.sqrt(headDim),
    softcap: 0,
  };
  const split = (x: Floats) => {
    const kAt = numHeads * headDim;
    return [x, x.subarray(kAt) as Floats, x.subarray(kAt + numKvHeads * headDim) as Floats] as const;
  };
  const out = tape.activation(qkv.rows, numHeads * headDim);
  const lse = tape.buffer(qkv.rows * numHeads, 'f32') as Float32Array;
  const [q, k, v] = split(qkv.data);
  tape.kernels.attentionForward(out.data, lse, q, k, v, layout.docStart, shape);
  tape.record(out, [lse], () => {
    const [dq, dk, dv] = split(tape.newGrad(qkv));
    tape.kernels.attentionBackward(dq, dk, dv, out.grad!, out.data, lse, q, k, v, layout.docStart, shape);
  });
  return out;
}
