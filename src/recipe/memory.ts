// How much memory training takes: an estimate for the planner, not a measurement.
import type { ModelShape } from './types.ts';

/**
 * Weights with their masters, gradient and two moments: bf16 weight 2 + lower half of the f32 master 2 (or f32 weight 4) + f32 gradient
 * 4 + two f32 moments 8 = 16 bytes a parameter.
 */
const BYTES_A_PARAMETER = 16;
/** The output layer works on slices of the tokens: f32 logits of a slice, never of all tokens. Assumption on the slice. */
const LOGIT_ROWS = 256;

export interface MemoryShape {
  numParameters: number;
  model: ModelShape;
  seqLen: number;
  sequencesPerMicroBatch: number;
  precision: 'bf16' | 'f32';
}

/** Bytes at the peak of a step: state, activations kept for the gradient, one layer's gradients, logits. Assumes no recomputation. */
export function estimateMemoryBytes(shape: MemoryShape): number {
  const { hidden, layers, ffn, heads, kvHeads, headDim, vocab } = shape.model;
  const elementBytes = shape.precision === 'bf16' ? 2 : 4;
  const numTokens = shape.seqLen * shape.sequencesPerMicroBatch;
  // A layer keeps per token: its input, both norms' outputs and the sum between (4 hidden); q, k, v and the attention's output; gate, up
  // and their product.
  const perLayer = 4 * hidden + headDim * (2 * heads + 2 * kvHeads) + 3 * ffn;
  const logits = Math.min(numTokens, LOGIT_ROWS) * vocab * 4;
  return shape.numParameters * BYTES_A_PARAMETER + numTokens * elementBytes * perLayer * (layers + 1) + logits;
}
