// What the laws see of a schedule: its forward area S1 and its annealing area S2 (Tissue et al. 2024, arXiv 2408.11029).
import type { PretrainingFacts } from '../types.ts';

export interface LrAreas {
  /** Sum of the LRs; index: steps done, so one more value than steps. */
  s1: Float64Array;
  /** Annealing area: positive where the LR has fallen, negative where it has risen. */
  s2: Float64Array;
}

/** Decay of a fall's momentum a step: 0.999 in the paper's fits, as in its authors' example code. */
export const ANNEALING_LAMBDA = 0.999;

/**
 * m_i = lambda m_(i-1) + (eta_(i-1) - eta_i), S2 = sum of m_i, in one pass; the LR before the first step counts as that of the first.
 * Steps of the warm-up count at the peak, as in the authors' code.
 * @param lr LR of each step
 */
export function lrAreas(lr: ArrayLike<number>, lambda = ANNEALING_LAMBDA): LrAreas {
  const numSteps = lr.length;
  const s1 = new Float64Array(numSteps + 1);
  const s2 = new Float64Array(numSteps + 1);
  const warmup = numWarmupSteps(lr);
  let before = lr[warmup] ?? 0;
  let momentum = 0;
  for (let i = 0; i < numSteps; i++) {
    const eta = lr[Math.max(i, warmup)]!;
    momentum = lambda * momentum + (before - eta);
    s1[i + 1] = s1[i]! + eta;
    s2[i + 1] = s2[i]! + momentum;
    before = eta;
  }
  return { s1, s2 };
}

/** Steps at the start after each of which the LR rises. */
export function numWarmupSteps(lr: ArrayLike<number>): number {
  let step = 0;
  while (step + 1 < lr.length && lr[step + 1]! > lr[step]!) step++;
  return step;
}

/**
 * S1 of a pretraining: its steps times the mean of peak and final LR, as of a cosine or a straight line; one that stayed at its peak has up to
 * twice as much. Undefined where a part of that is unknown.
 */
export function pretrainingArea({ tokens, batchTokens, peakLr, finalLr }: PretrainingFacts): number | undefined {
  if (!tokens || !batchTokens || !peakLr || finalLr === undefined) return undefined;
  return ((tokens / batchTokens) * (peakLr + finalLr)) / 2;
}
