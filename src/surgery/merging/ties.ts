// TIES merging (Yadav et al. 2023, arXiv 2306.01708): of each task vector (model minus base) only the largest values stay, each element's sign
// is elected by their sum, and the mean is taken of those that agree with it. Trimmed tensor by tensor, as mergekit and PEFT do; the authors
// trim the whole vector at once. Two passes find the exact threshold without holding a tensor.
import type { AlignedTensor } from '../align.ts';

/** Of |x| as f32: its upper 16 bits first, then its lower 15. */
const HIGH_BINS = 1 << 16;
const LOW_BITS = 15;
const LOW_BINS = 1 << LOW_BITS;

export interface TiesSettings {
  /** One a task vector. */
  weights: readonly number[];
  /** Multiplies what is added to the base. */
  scale: number;
  /** Share of a task vector's elements that stays. */
  density: number;
}

/** The first model is the base. */
export function* ties(tensor: AlignedTensor, { weights, scale, density }: TiesSettings): Iterable<Float32Array> {
  const numKept = Math.max(1, Math.floor(density * tensor.length));
  const limits = density < 1 ? thresholds(tensor, weights.length, numKept) : undefined;
  for (const [base, ...models] of tensor.pieces()) {
    const deltas = models.map((own) => difference(own, base!));
    if (limits) for (const [m, delta] of deltas.entries()) trim(delta, limits[m]!);
    yield electAndMerge(base!, deltas, weights, scale);
  }
}

export function difference(model: Float32Array, base: Float32Array): Float32Array {
  const delta = new Float32Array(base.length);
  for (let i = 0; i < base.length; i++) delta[i] = model[i]! - base[i]!;
  return delta;
}

/** Of element i, the weighted sum over deltas. */
export function sumAt(deltas: readonly Float32Array[], weights: readonly number[], i: number): number {
  let sum = 0;
  for (let m = 0; m < deltas.length; m++) sum += weights[m]! * deltas[m]![i]!;
  return sum;
}

/** Base plus, for each element, the weighted mean of the deltas that have the sign of their weighted sum (0 counts as positive, as in mergekit). */
export function electAndMerge(
  base: Float32Array,
  deltas: readonly Float32Array[],
  weights: readonly number[],
  scale: number,
): Float32Array {
  const out = new Float32Array(base.length);
  for (let i = 0; i < base.length; i++) {
    const isUp = sumAt(deltas, weights, i) >= 0;
    let [agreed, weight] = [0, 0];
    for (let m = 0; m < deltas.length; m++) {
      const part = weights[m]! * deltas[m]![i]!;
      if (isUp ? part <= 0 : part >= 0) continue;
      agreed += part;
      weight += weights[m]!;
    }
    out[i] = weight === 0 ? base[i]! : base[i]! + scale * (agreed / weight);
  }
  return out;
}

/** Where |delta| is cut: bits above `bits` stay, and the first `numEqual` that are equal to it. */
interface Limit {
  bits: number;
  numEqual: number;
}

function trim(delta: Float32Array, limit: Limit): void {
  const bits = new Int32Array(delta.buffer, delta.byteOffset, delta.length);
  for (let i = 0; i < delta.length; i++) {
    const magnitude = bits[i]! & 0x7fffffff;
    if (magnitude > limit.bits || (magnitude === limit.bits && limit.numEqual-- > 0)) continue;
    delta[i] = 0;
  }
}

/** Exactly `numKept` elements of each task vector lie above its limit; of equal ones the first. Bits of positive floats sort as they do. */
function thresholds(tensor: AlignedTensor, numModels: number, numKept: number): Limit[] {
  const count = (bins: number, binOf: (magnitude: number, m: number) => number): Float64Array[] => {
    const counts = Array.from({ length: numModels }, () => new Float64Array(bins));
    for (const [base, ...models] of tensor.pieces())
      models.forEach((own, m) => {
        const delta = difference(own, base!);
        const bits = new Int32Array(delta.buffer);
        const into = counts[m]!;
        for (let i = 0; i < bits.length; i++) {
          const bin = binOf(bits[i]! & 0x7fffffff, m);
          if (bin >= 0) into[bin]!++;
        }
      });
    return counts;
  };
  const high = count(HIGH_BINS, (magnitude) => magnitude >>> LOW_BITS).map((counts) => cutFrom(counts, numKept));
  const low = count(LOW_BINS, (magnitude, m) =>
    magnitude >>> LOW_BITS === high[m]!.bin ? magnitude & (LOW_BINS - 1) : -1,
  );
  return low.map((counts, m) => {
    const { bin, left } = cutFrom(counts, high[m]!.left);
    return { bits: (high[m]!.bin << LOW_BITS) | bin, numEqual: left };
  });
}

/** The bin in which the `wanted`-th largest lies, and how many of that bin are wanted. */
function cutFrom(counts: Float64Array, wanted: number): { bin: number; left: number } {
  let left = wanted;
  for (let bin = counts.length - 1; ; bin--) {
    if (bin === 0 || counts[bin]! >= left) return { bin, left };
    left -= counts[bin]!;
  }
}
