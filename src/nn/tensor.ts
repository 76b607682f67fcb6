// What flows through a model: activations (with a gradient while one is needed) and parameters (with optimiser state).
// Both are plain rows x columns over typed arrays; the batch and sequence axes are folded into rows.
import type { Floats } from '../kernels/index.ts';

export type Precision = 'bf16' | 'f32';

export function allocateFloats(precision: Precision, length: number): Floats {
  return precision === 'bf16' ? new Uint16Array(length) : new Float32Array(length);
}

/** An intermediate result, [rows, cols]. `grad` is set by its consumers during the backward pass. */
export interface Activation {
  data: Floats;
  grad: Floats | undefined;
  rows: number;
  cols: number;
}

/** A tensor of the checkpoint inside a parameter: `rows` consecutive rows, in order. */
export interface ParameterPart {
  name: string;
  rows: number;
}

/**
 * A trained matrix or vector, [rows, cols]. Matrices that read the same input (q, k, v; gate, up) are stacked by rows into one parameter;
 * `parts` names the checkpoint's tensors in it. With bf16, `data` is the weight as the model uses it and `low` the rest of its f32 master.
 */
export interface Parameter {
  parts: ParameterPart[];
  rows: number;
  cols: number;
  /** Shape of each part in a checkpoint: vectors have one axis. */
  isVector: boolean;
  data: Floats;
  low: Uint16Array | null;
  grad: Float32Array | null;
  /** AdamW's moments; null until training begins. */
  m: Float32Array | null;
  v: Float32Array | null;
}
