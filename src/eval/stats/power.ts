// What a set of questions can show at all: before a run from its size alone, after one from how often the models disagreed.
import { criticalT, normalCdf } from './distributions.ts';
import { ALPHA } from './intervals.ts';
import { mcnemar } from './paired.ts';

/**
 * Share of the questions that exactly one of two models answers rightly, where nothing is known yet. A half is what two models that are
 * right half of the time and guess independently of each other have: the most that two models which do not contradict each other can have.
 */
export const WORST_DISCORDANCE = 0.5;

/** Chance with which a difference of `detectableDifference` is found, as is usual. */
export const POWER = 0.8;

export interface PairedDesign {
  /** Questions that both models answer. */
  numPairs: number;
  /** Share of them that exactly one answers rightly. */
  discordance?: number;
  alpha?: number;
}

/** Chance that McNemar's test finds a true difference of accuracies (Connor 1987, Biometrics 43). */
export function pairedPower(
  difference: number,
  { numPairs, discordance = WORST_DISCORDANCE, alpha = ALPHA }: PairedDesign,
): number {
  const psi = Math.max(discordance, Math.abs(difference));
  const z = criticalT(alpha);
  const spread = Math.sqrt(Math.max(psi - difference * difference, 1e-12));
  return normalCdf((Math.abs(difference) * Math.sqrt(numPairs) - z * Math.sqrt(psi)) / spread);
}

/** The smallest true difference of accuracies that is found with the chance `power`; undefined where even a difference of 1 is not. */
export function detectableDifference(design: PairedDesign, power = POWER): number | undefined {
  if (design.numPairs < 1 || pairedPower(1, design) < power) return undefined;
  let [low, high] = [0, 1];
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    if (pairedPower(middle, design) < power) low = middle;
    else high = middle;
  }
  return high;
}

/**
 * The smallest measured difference of accuracies that McNemar's mid-p test calls real when the models disagree on `numDiscordant`
 * questions: what lies below it cannot be seen in this set. With fewer disagreements than any verdict needs, the difference that the
 * fewest sufficient ones would make.
 */
export function smallestVisible(numPairs: number, numDiscordant: number, alpha = ALPHA): number {
  for (let n = Math.max(1, numDiscordant); ; n++) {
    // p falls as the sides grow apart: the first that suffices is found by halving.
    let [low, high] = [-1, Math.floor(n / 2)];
    if (mcnemar(n, 0).midP > alpha) continue;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (mcnemar(n - middle, middle).midP <= alpha) low = middle;
      else high = middle;
    }
    return (n - 2 * Math.max(0, low)) / numPairs;
  }
}

/** Before any run: what a set of `numPairs` questions can show, in words. */
export function describeResolution(numPairs: number, discordance = WORST_DISCORDANCE, alpha = ALPHA): string {
  const visible = smallestVisible(numPairs, Math.round(discordance * numPairs), alpha);
  const found = detectableDifference({ numPairs, discordance, alpha });
  const questions = numPairs === 1 ? '1 question' : `${numPairs} questions`;
  if (visible > 1) return `With ${questions} no difference can be seen.`;
  const sure =
    found === undefined ? 'none is seen with certainty' : `one of ${points(found)} is seen four times in five`;
  return `With ${questions} a difference below ${points(visible)} cannot be told from chance; ${sure}.`;
}

/** A share as percentage points: "7 points", "0.4 points". */
export function points(share: number): string {
  const value = 100 * Math.abs(share);
  const text = value >= 9.95 ? value.toFixed(0) : Number(value.toFixed(1)).toString();
  return `${text} point${text === '1' ? '' : 's'}`;
}
