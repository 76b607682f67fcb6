// Tiny decoders with weights large enough that every part of the model matters to the loss, and random batches with document boundaries.
import { Rng } from '../../src/base/rng.ts';
import { type Kernels, referenceKernels } from '../../src/kernels/index.ts';
import { type Batch, type Decoder, initDecoder, type Precision, prepareTraining } from '../../src/nn/index.ts';

export const VOCAB = 61;

export function tinyConfig(changes: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    model_type: 'llama',
    vocab_size: VOCAB,
    hidden_size: 32,
    intermediate_size: 40,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    max_position_embeddings: 64,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: false,
    ...changes,
  };
}

/** A decoder ready to train; the same weights for every kind of kernels. */
export function tinyDecoder(
  changes: Record<string, unknown> = {},
  precision: Precision = 'f32',
  kernels: Kernels = referenceKernels,
): Decoder {
  const decoder = initDecoder(tinyConfig(changes), 3, precision, kernels);
  const rng = new Rng(5, 'noise');
  for (const parameter of decoder.list()) {
    const master = Float32Array.from({ length: parameter.data.length }, () => rng.normal() * 0.15);
    if (parameter.isVector) for (let i = 0; i < master.length; i++) master[i]! += 1;
    if (parameter.data instanceof Float32Array) parameter.data.set(master);
    else referenceKernels.splitMaster(parameter.data, parameter.low!, master);
  }
  prepareTraining(decoder.list());
  return decoder;
}

/** `lengths`: documents of each sequence, which fill it up to its padding. */
export function makeBatch(lengths: readonly (readonly number[])[], seqLen: number, seed = 1): Batch {
  const rng = new Rng(seed, 'batch');
  const rows = lengths.length * seqLen;
  const batch: Batch = {
    batch: lengths.length,
    seqLen,
    inputs: new Int32Array(rows),
    targets: new Int32Array(rows).fill(-1),
    docStart: new Int32Array(rows),
  };
  lengths.forEach((documents, sequence) => {
    let at = 0;
    for (const length of documents) {
      for (let t = at; t < at + length; t++) {
        const row = sequence * seqLen + t;
        batch.inputs[row] = rng.below(VOCAB);
        batch.targets[row] = rng.below(VOCAB);
        batch.docStart[row] = at;
      }
      at += length;
    }
    batch.docStart.fill(at, sequence * seqLen + at, (sequence + 1) * seqLen);
  });
  return batch;
}

export function uniformWeights(batch: Batch, numTargets = batch.targets.filter((t) => t >= 0).length): Float32Array {
  return new Float32Array(batch.inputs.length).fill(1 / numTargets);
}

/** |a - b| / |b|, both as vectors. */
export function relativeError(a: Float32Array, b: Float32Array): number {
  let [difference, size] = [0, 0];
  for (let i = 0; i < b.length; i++) {
    difference += (a[i]! - b[i]!) ** 2;
    size += b[i]! ** 2;
  }
  return Math.sqrt(difference / size);
}
