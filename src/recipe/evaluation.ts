// How much a run measures on held-out text, for everything that reckons with its cost.
import type { CorpusFacts, Plan } from './types.ts';

/** A forward pass is a third of a training step: one product of three. */
export const FORWARD_SHARE = 1 / 3;

/** Tokens of all held-out sets that are scored in one measurement. */
export function heldOutTokens(corpora: readonly CorpusFacts[], tokensPerSet: number): number {
  return corpora.reduce((sum, { heldOut }) => sum + Math.min(heldOut.numTokens, tokensPerSet), 0);
}

/** How often the model's writing is sampled: before the first step, on the way, and after the last. */
export function numSamplings({ numSteps, evaluation: { samples } }: Pick<Plan, 'numSteps' | 'evaluation'>): number {
  return samples ? 1 + Math.ceil(numSteps / samples.everySteps) : 0;
}

/** Measurements of a run: before the first step, on the way, and after the last. */
export function numEvaluations({ numSteps, evaluation }: Pick<Plan, 'numSteps' | 'evaluation'>): number {
  return 1 + Math.ceil(numSteps / evaluation.everySteps);
}
