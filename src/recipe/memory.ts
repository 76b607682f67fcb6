// How much memory training takes. What can be counted is counted (parameters by their bytes, activations by running the model's own code
// on buffers without memory); the rest is measured once.

/**
 * Weights with their masters, gradient and two moments: bf16 weight 2 + lower half of the f32 master 2 (or f32 weight 4) + f32 gradient
 * 4 + two f32 moments 8 = 16 bytes a parameter. The average of the weights is f32.
 */
const BYTES_A_PARAMETER = 16;
const BYTES_A_PARAMETER_OF_AVERAGE = 4;
/** Node.js with the engine's code and heap, and the kernels' own buffers: 90 to 150 MiB measured (docs/LOG.md). */
const RUNTIME_BYTES = 128 * 2 ** 20;

export interface MemoryEstimate {
  /** Weights, gradients, moments, average. */
  stateBytes: number;
  /** What a forward pass keeps for its gradient, gradients of activations, a slice of logits. */
  activationBytes: number;
  runtimeBytes: number;
}

/** @param keepsAverage of the weights (training.ema) */
export function estimateMemory(numParameters: number, keepsAverage: boolean, activationBytes: number): MemoryEstimate {
  const bytesAParameter = BYTES_A_PARAMETER + (keepsAverage ? BYTES_A_PARAMETER_OF_AVERAGE : 0);
  return { stateBytes: numParameters * bytesAParameter, activationBytes, runtimeBytes: RUNTIME_BYTES };
}

export function totalBytes({ stateBytes, activationBytes, runtimeBytes }: MemoryEstimate): number {
  return stateBytes + activationBytes + runtimeBytes;
}
