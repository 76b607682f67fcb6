// The words of mixing: what a method sees of a run, and what it says. Methods are pure functions: all that they remember is in their state.

/** What happened until now, by corpus in a fixed order. */
export interface MixHistory {
  /** Steps completed. */
  step: number;
  /** First step since the last decision; 0 for the first. */
  since: number;
  /** Mean training loss, nats a token, of each corpus at each step; NaN where a step drew nothing of it. */
  losses: readonly ArrayLike<number>[];
  /** Mean of what each corpus' tokens lose more than a reference model does, nats, likewise; empty where there is no reference. */
  excess: readonly ArrayLike<number>[];
  /** Share of each corpus at each step. */
  shares: readonly ArrayLike<number>[];
  /** Of all steps. */
  lrs: ArrayLike<number>;
  /** Bits per byte of each corpus' held-out text, the oldest measurement first; NaN where a corpus has none. */
  heldOut: readonly { step: number; bitsPerByte: readonly number[] }[];
  /** Inner products of the corpora's mean gradients at steps since the last decision. */
  gradients: readonly { step: number; dots: readonly (readonly number[])[] }[];
}

/** What does not change during a run. */
export interface MixSetting {
  corpora: readonly {
    name: string;
    role: 'domain' | 'general' | 'instruction';
    /** Share of the whole run as planned. */
    prior: number;
    /** Bits per byte that its held-out text shall come to; NaN where nobody said. */
    target: number;
    /** It shall be learned (DoGE). */
    wanted: boolean;
  }[];
  rate: number;
  numSteps: number;
}

/** Weights by corpus, none negative, in any unit, and what the method needs for its next decision. Undefined: nothing can be said yet. */
export type Mixer<State> = (
  setting: MixSetting,
  history: MixHistory,
  weights: readonly number[],
  state: State | undefined,
) => { weights: number[]; state: State } | undefined;

/** Sums to 1. */
export function normalised(weights: readonly number[]): number[] {
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

/** Weights times exp(exponents), without overflow; sums to 1. */
export function tilted(weights: readonly number[], exponents: readonly number[]): number[] {
  const most = Math.max(...exponents);
  return normalised(weights.map((weight, i) => weight * Math.exp(exponents[i]! - most)));
}

/** Mean of the finite values from index `from` to before `to`; NaN where there is none. */
export function meanBetween(values: ArrayLike<number>, from: number, to: number): number {
  let [sum, count] = [0, 0];
  for (let i = from; i < Math.min(to, values.length); i++) {
    if (!Number.isFinite(values[i]!)) continue;
    sum += values[i]!;
    count++;
  }
  return count > 0 ? sum / count : Number.NaN;
}

/**
 * By corpus, the mean since the last decision; of one that was not drawn since then its last one, of one that never was the average.
 * Undefined where nothing is known of any.
 * @param last of the decision before
 */
export function latestMeans(
  columns: readonly ArrayLike<number>[],
  { since, step }: Pick<MixHistory, 'since' | 'step'>,
  last: readonly (number | null)[] | undefined,
): { means: number[]; last: (number | null)[] } | undefined {
  const latest = columns.map((column, k) => {
    const mean = meanBetween(column, since, step);
    return Number.isFinite(mean) ? mean : (last?.[k] ?? null);
  });
  const known = latest.filter((mean) => mean !== null);
  if (known.length === 0) return undefined;
  const average = known.reduce((sum, mean) => sum + mean, 0) / known.length;
  return { means: latest.map((mean) => mean ?? average), last: latest };
}
