// From a preset's shares to shares of corpora: inside a role by weight or by size, no corpus repeated beyond a number of epochs while
// another of its role has text left. Shares are on a grid of a millionth, so that a plan shows what is used.
import { internal } from '../base/errors.ts';
import type { Blend, BlendRule, CorpusFacts } from './types.ts';

const GRID = 1_000_000;

/** Weights -> shares above 0 whose sum, added in order, is exactly 1. Weights of 0 are left out; one at least must be above 0. */
export function normalizeWeights(weights: Readonly<Record<string, number>>): Blend {
  const entries = Object.entries(weights).filter(([, weight]) => weight > 0);
  const total = entries.reduce((sum, [, weight]) => sum + weight, 0);
  if (!(total > 0) || !Number.isFinite(total)) internal('a blend needs a weight above 0');
  const units = splitWhole(
    GRID,
    entries.map(([, weight]) => weight / total),
  );
  const kept = entries
    .map(([name], i) => [name, units[i]! / GRID] as [string, number])
    .filter(([, share]) => share > 0);
  const others = kept.slice(0, -1).reduce((sum, [, share]) => sum + share, 0);
  const last = kept.at(-1)!;
  if (others + last[1] !== 1) last[1] = 1 - others;
  return Object.fromEntries(kept);
}

/** Splits a whole number by shares that sum to 1 into whole numbers that add up to it (largest remainder, ties to the first). */
export function splitWhole(total: number, shares: readonly number[]): number[] {
  const exact = shares.map((share) => share * total);
  const whole = exact.map(Math.floor);
  let missing = total - whole.reduce((sum, n) => sum + n, 0);
  const byRemainder = exact
    .map((x, i) => ({ i, remainder: x - whole[i]! }))
    .sort((a, b) => b.remainder - a.remainder || a.i - b.i);
  for (const { i } of byRemainder) if (missing-- > 0) whole[i]!++;
  return whole;
}

/**
 * Divides `demand` in proportion to `weights`, none above its cap while another of positive weight is below; in proportion to the caps
 * where all of them together are too small. Weights and caps are not all 0.
 */
export function divideWithCaps(demand: number, weights: readonly number[], caps: readonly number[]): number[] {
  const usable = caps.map((cap, i) => (weights[i]! > 0 ? cap : 0));
  const capacity = usable.reduce((sum, cap) => sum + cap, 0);
  if (capacity <= demand) return usable.map((cap) => (capacity > 0 ? (cap / capacity) * demand : 0));
  const given = weights.map(() => 0);
  const open = new Set(Array.from(weights.keys()).filter((i) => weights[i]! > 0));
  let left = demand;
  for (;;) {
    const weight = [...open].reduce((sum, i) => sum + weights[i]!, 0);
    const full = [...open].filter((i) => (left * weights[i]!) / weight > usable[i]!);
    if (full.length === 0) {
      for (const i of open) given[i] = (left * weights[i]!) / weight;
      return given;
    }
    for (const i of full) {
      given[i] = usable[i]!;
      left -= usable[i]!;
      open.delete(i);
    }
  }
}

export interface BlendCorpus extends CorpusFacts {
  weight?: number;
  /** Passes over it beyond which its share is cut; default: as for all. */
  maxEpochs?: number;
}

export interface PhaseDemand {
  rule: BlendRule;
  numTokens: number;
  /** Factors on the corpora's weights in this phase. */
  boost?: Readonly<Record<string, number>>;
}

type TrainedRole = 'domain' | 'general' | 'instruction';
const ROLES: readonly TrainedRole[] = ['domain', 'general', 'instruction'];

/** One blend a phase. Corpora: those to train on, each with text. */
export function resolveBlends(
  phases: readonly PhaseDemand[],
  corpora: readonly BlendCorpus[],
  maxEpochs: number,
): Blend[] {
  const present = ROLES.filter((role) => corpora.some((corpus) => corpus.role === role && corpus.weight !== 0));
  const shares = phases.map(({ rule }) => (rule.kind === 'roles' ? presentShares(rule.shares, present) : undefined));
  capInstruction(shares, phases, corpora, maxEpochs, present);
  const inside = new Map(
    present.map((role) => [
      role,
      divideRole(
        phases,
        shares,
        corpora.filter((corpus) => corpus.role === role),
        role,
        maxEpochs,
      ),
    ]),
  );
  return phases.map(({ rule, numTokens, boost }, i) => {
    if (rule.kind === 'corpora') return normalizeWeights(rule.weights);
    if (rule.kind === 'natural') return normalizeWeights(divide(corpora, numTokens, maxEpochs, boost));
    const weights: Record<string, number> = {};
    for (const role of present)
      for (const [name, share] of Object.entries(inside.get(role)![i]!))
        weights[name] = share * (shares[i]![role] ?? 0);
    return normalizeWeights(weights);
  });
}

/**
 * Shares inside a role by phase. Phases with the same factors are divided together, so that the caps hold for all of them; those with
 * factors get what the others leave.
 */
function divideRole(
  phases: readonly PhaseDemand[],
  shares: readonly (Partial<Record<TrainedRole, number>> | undefined)[],
  corpora: readonly BlendCorpus[],
  role: TrainedRole,
  maxEpochs: number,
): Record<string, number>[] {
  const plain = Array.from(phases.keys()).filter((i) => !phases[i]!.boost);
  const boosted = Array.from(phases.keys()).filter((i) => phases[i]!.boost);
  const result: Record<string, number>[] = [];
  let used: Record<string, number> = {};
  for (const group of [plain, boosted]) {
    const demand = group.reduce((sum, i) => sum + phases[i]!.numTokens * (shares[i]?.[role] ?? 0), 0);
    const divided = divide(
      corpora,
      demand,
      maxEpochs,
      group === boosted ? phases[group[0] ?? 0]?.boost : undefined,
      used,
    );
    for (const i of group) result[i] = divided;
    used = Object.fromEntries(Object.entries(divided).map(([name, share]) => [name, share * demand]));
  }
  return result;
}

/** Shares of the roles that have a corpus, summing to 1. */
function presentShares(
  wanted: Record<TrainedRole, number>,
  present: readonly TrainedRole[],
): Partial<Record<TrainedRole, number>> {
  const total = present.reduce((sum, role) => sum + wanted[role], 0);
  return Object.fromEntries(present.map((role) => [role, total > 0 ? wanted[role] / total : 1 / present.length]));
}

/** Question and answer text is short of supply: beyond its epochs its share goes to the domain, or to general text. */
function capInstruction(
  shares: (Partial<Record<TrainedRole, number>> | undefined)[],
  phases: readonly PhaseDemand[],
  corpora: readonly BlendCorpus[],
  maxEpochs: number,
  present: readonly TrainedRole[],
): void {
  const heir = present.find((role) => role !== 'instruction');
  if (!heir || !present.includes('instruction')) return;
  const supply = corpora
    .filter((corpus) => corpus.role === 'instruction')
    .reduce((sum, corpus) => sum + capOf(corpus, maxEpochs), 0);
  const demand = phases.reduce((sum, phase, i) => sum + phase.numTokens * (shares[i]?.instruction ?? 0), 0);
  if (demand <= supply) return;
  for (const share of shares) {
    if (!share) continue;
    const kept = (share.instruction ?? 0) * (supply / demand);
    share[heir] = (share[heir] ?? 0) + (share.instruction ?? 0) - kept;
    share.instruction = kept;
  }
}

/** Shares of some corpora, summing to 1, by name. @param used tokens of each that are spoken for */
function divide(
  corpora: readonly BlendCorpus[],
  demand: number,
  maxEpochs: number,
  boost: Readonly<Record<string, number>> = {},
  used: Readonly<Record<string, number>> = {},
): Record<string, number> {
  const weights = corpora.map(({ name, weight, numTokens }) => (weight ?? numTokens) * (boost[name] ?? 1));
  const amount = demand > 0 ? demand : 1;
  const whole = corpora.map((corpus) => capOf(corpus, maxEpochs));
  const rest = whole.map((cap, i) => Math.max(0, cap - (used[corpora[i]!.name] ?? 0)));
  const hasRest = rest.some((cap, i) => cap > 0 && weights[i]! > 0);
  const divided = divideWithCaps(amount, weights, hasRest ? rest : whole);
  return Object.fromEntries(corpora.map((corpus, i) => [corpus.name, divided[i]! / amount]));
}

/** Tokens that may be drawn from a corpus. */
function capOf(corpus: BlendCorpus, maxEpochs: number): number {
  // The cap that explainCaps lifts is lifted for all.
  return corpus.numTokens * (Number.isFinite(maxEpochs) ? (corpus.maxEpochs ?? maxEpochs) : maxEpochs);
}
