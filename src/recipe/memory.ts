// How much memory training takes: parameters and activations as counted by the model layer, and the program, measured once.

/** Node.js with the engine's code and heap, and the kernels' own buffers: 90 to 150 MiB measured (docs/LOG.md). */
const PROGRAM_BYTES = 128 * 2 ** 20;

export interface MemoryEstimate {
  /** Weights with masters, gradients and moments: 16 bytes a parameter; the average of the weights. */
  stateBytes: number;
  /** What a forward pass keeps for its gradient, gradients of activations, a slice of logits. */
  activationBytes: number;
  programBytes: number;
  /** All of the engine's process at its peak. */
  totalBytes: number;
}

export function estimateMemory(counted: { stateBytes: number; activationBytes: number }): MemoryEstimate {
  const { stateBytes, activationBytes } = counted;
  const totalBytes = stateBytes + activationBytes + PROGRAM_BYTES;
  return { stateBytes, activationBytes, programBytes: PROGRAM_BYTES, totalBytes };
}
