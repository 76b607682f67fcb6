// The whole decoder's gradient: against central differences, in pieces and at once, with native kernels and with the reference, with
// documents packed and apart.
import { describe, expect, test } from 'vitest';
import { Rng } from '../../src/base/rng.ts';
import { loadNative, referenceKernels } from '../../src/kernels/index.ts';
import type { Batch, Decoder } from '../../src/nn/index.ts';
import { makeBatch, relativeError, tinyDecoder, uniformWeights } from './fixtures.ts';

const VARIANTS: [string, Record<string, unknown>][] = [
  ['grouped heads, own head', {}],
  ['tied head', { tie_word_embeddings: true }],
  ['one key head, heads wider than the model', { num_key_value_heads: 1, head_dim: 12 }],
  [
    'llama3 rope',
    {
      rope_theta: 500,
      rope_scaling: {
        rope_type: 'llama3',
        factor: 4,
        low_freq_factor: 1,
        high_freq_factor: 4,
        original_max_position_embeddings: 16,
      },
    },
  ],
];

/** Two sequences: one of two documents with padding behind, one of a single document. */
const batch = makeBatch([[5, 4], [12]], 12);

function meanLoss(decoder: Decoder, of: Batch): number {
  const numTargets = of.targets.filter((target) => target >= 0).length;
  return decoder.scoreBatch(of).reduce((sum, loss) => sum + loss, 0) / numTargets;
}

/** Coordinates with a gradient to speak of: the largest, and some among the upper half by chance. */
function pickCoordinates(grad: Float32Array, rng: Rng): number[] {
  const bySize = [...grad.keys()].sort((a, b) => Math.abs(grad[b]!) - Math.abs(grad[a]!));
  const upper = bySize.slice(0, Math.ceil(grad.filter((g) => g !== 0).length / 2));
  return [bySize[0]!, ...Array.from({ length: 4 }, () => upper[rng.below(upper.length)]!)];
}

describe.each(VARIANTS)('%s', (_name, changes) => {
  test('every parameter against central differences', () => {
    const decoder = tinyDecoder(changes);
    decoder.trainBatch(batch, uniformWeights(batch));
    const rng = new Rng(9, 'coordinates');
    for (const { parts, data, grad } of decoder.list()) {
      const weights = data as Float32Array;
      const largest = grad!.reduce((max, g) => Math.max(max, Math.abs(g)), 0);
      expect(largest, `${parts[0]!.name} has a gradient`).toBeGreaterThan(0);
      for (const i of pickCoordinates(grad!, rng)) {
        const value = weights[i]!;
        const at = (offset: number) => {
          weights[i] = value + offset;
          return meanLoss(decoder, batch);
        };
        // Two step widths cancel the error's square term (Richardson); what is left is the loss' f32 rounding over the step, about 2e-5.
        const slope = (h: number) => (at(h) - at(-h)) / (Math.fround(value + h) - Math.fround(value - h));
        const h = 1e-2;
        const numeric = (4 * slope(h) - slope(2 * h)) / 3;
        weights[i] = value;
        const tolerance = 1e-4 + 0.003 * largest;
        expect(
          Math.abs(numeric - grad![i]!),
          `${parts[0]!.name}[${i}]: ${grad![i]}, by differences ${numeric}`,
        ).toBeLessThan(tolerance);
      }
    }
  });

  test('padding has no part in it', () => {
    const clean = tinyDecoder(changes);
    const dirty = tinyDecoder(changes);
    const other = { ...batch, inputs: batch.inputs.slice() };
    for (let row = 9; row < 12; row++) other.inputs[row] = 1 + ((batch.inputs[row]! + 7) % 50);
    const losses = clean.trainBatch(batch, uniformWeights(batch));
    expect(dirty.trainBatch(other, uniformWeights(batch))).toEqual(losses);
    expect(losses.subarray(9, 12)).toEqual(new Float32Array(3));
    for (const [i, parameter] of clean.list().entries()) expect(dirty.list()[i]!.grad).toEqual(parameter.grad);
  });
});

test('packed documents are as good as separate ones', () => {
  const packed = makeBatch([[7, 9, 8]], 24);
  const separate = makeBatch([[9], [9], [9]], 9);
  separate.targets.fill(-1);
  [0, 7, 16, 24].slice(0, 3).forEach((start, document) => {
    const length = [7, 9, 8][document]!;
    separate.inputs.set(packed.inputs.subarray(start, start + length), document * 9);
    separate.targets.set(packed.targets.subarray(start, start + length), document * 9);
  });
  const [a, b] = [tinyDecoder(), tinyDecoder()];
  const together = a.trainBatch(packed, uniformWeights(packed));
  const apart = b.trainBatch(separate, uniformWeights(separate));
  const collected = [...apart].filter((_, i) => separate.targets[i]! >= 0);
  // The same sums in the same order: only the sums over rows (gradients) are ordered otherwise.
  expect([...together]).toEqual(collected);
  for (const [i, parameter] of a.list().entries())
    expect(relativeError(b.list()[i]!.grad!, parameter.grad!), parameter.parts[0]!.name).toBeLessThan(2e-6);
});

test('micro-batches add up to the batch', () => {
  const whole = makeBatch([[16], [10, 6], [3, 13], [16]], 16);
  const [once, inPieces] = [tinyDecoder(), tinyDecoder()];
  const losses = once.trainBatch(whole, uniformWeights(whole));
  const pieces: number[] = [];
  for (let sequence = 0; sequence < 4; sequence++) {
    const cut = (values: Int32Array) => values.subarray(sequence * 16, (sequence + 1) * 16);
    const micro: Batch = {
      batch: 1,
      seqLen: 16,
      inputs: cut(whole.inputs),
      targets: cut(whole.targets),
      docStart: cut(whole.docStart),
    };
    pieces.push(...inPieces.trainBatch(micro, uniformWeights(micro, 64)));
  }
  expect(pieces).toEqual([...losses]);
  for (const [i, parameter] of once.list().entries())
    expect(relativeError(inPieces.list()[i]!.grad!, parameter.grad!), parameter.parts[0]!.name).toBeLessThan(2e-6);
});

test('scoring gives the losses of training, and logits that agree with them', () => {
  const decoder = tinyDecoder();
  const scored = decoder.scoreBatch(batch);
  expect(decoder.trainBatch(batch, uniformWeights(batch))).toEqual(scored);
  const logits = decoder.logits(batch);
  for (const row of [0, 8, 12, 23]) {
    const values = [...logits.subarray(row * 61, (row + 1) * 61)];
    const logSum = Math.log(values.reduce((sum, x) => sum + Math.exp(x), 0));
    expect(scored[row]).toBeCloseTo(logSum - values[batch.targets[row]!]!, 4);
  }
});

describe.skipIf(!loadNative())('native kernels against the reference', () => {
  // f32: other orders of summation through two layers. bf16: every activation and gradient is rounded to 8 bits (2^-9 each) in both,
  // at other places of equal values, through some 20 operations.
  test.each([
    ['f32', 2e-5, 1e-5],
    ['bf16', 0.03, 0.02],
  ] as const)('%s: losses and every gradient', (precision, gradTolerance, lossTolerance) => {
    const native = loadNative()!;
    native.setNumThreads(2);
    const shape = { hidden_size: 64, intermediate_size: 176, num_attention_heads: 4, num_key_value_heads: 2 };
    const [mine, theirs] = [tinyDecoder(shape, precision, native), tinyDecoder(shape, precision, referenceKernels)];
    const large = makeBatch([[40, 24], [50]], 64, 4);
    const losses = mine.trainBatch(large, uniformWeights(large));
    const expected = theirs.trainBatch(large, uniformWeights(large));
    expect(relativeError(losses, expected)).toBeLessThan(lossTolerance);
    for (const [i, parameter] of theirs.list().entries())
      expect(relativeError(mine.list()[i]!.grad!, parameter.grad!), parameter.parts[0]!.name).toBeLessThan(
        gradTolerance,
      );
  });
});
