// DARE (Yu et al. 2023, arXiv 2311.03099): each element of a task vector is dropped with probability p, the others are divided by 1 - p, so that
// the expected change stays what it was. Which ones is a hash of seed, model, tensor and position: the same on every machine, for any pieces.
import { Rng } from '../../base/rng.ts';
import type { AlignedTensor } from '../align.ts';
import { difference, electAndMerge, sumAt } from './ties.ts';

export interface DareSettings {
  /** One a task vector. */
  weights: readonly number[];
  /** Multiplies what is added to the base. */
  scale: number;
  /** Probability of being dropped. */
  drop: number;
  seed: number;
  /** Signs are elected as in TIES and the mean is taken of those that agree, instead of the sum. */
  elect: boolean;
}

/** The first model is the base. */
export function* dare(
  tensor: AlignedTensor,
  { weights, scale, drop, seed, elect }: DareSettings,
): Iterable<Float32Array> {
  const keys = weights.map((_, m) => new Rng(seed, 'dare', m, tensor.name).uint32());
  let at = 0;
  for (const [base, ...models] of tensor.pieces()) {
    const deltas = models.map((own, m) => thinned(difference(own, base!), at, keys[m]!, drop));
    yield elect ? electAndMerge(base!, deltas, weights, scale) : added(base!, deltas, weights, scale);
    at += base!.length;
  }
}

/** In place. @param first position of the first element in its tensor */
function thinned(delta: Float32Array, first: number, key: number, drop: number): Float32Array {
  const limit = drop * 2 ** 32;
  for (let i = 0; i < delta.length; i++) delta[i] = hash(first + i, key) < limit ? 0 : delta[i]! / (1 - drop);
  return delta;
}

/** Uniform 32 bits of a position. */
function hash(position: number, key: number): number {
  let x = Math.imul(position, 0x9e3779b1) ^ key;
  x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
  x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
  return (x ^ (x >>> 15)) >>> 0;
}

function added(
  base: Float32Array,
  deltas: readonly Float32Array[],
  weights: readonly number[],
  scale: number,
): Float32Array {
  return base.map((value, i) => value + scale * sumAt(deltas, weights, i));
}
