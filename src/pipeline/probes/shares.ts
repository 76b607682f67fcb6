// What searches for shares have in common: the corpora whose shares there are, and a probe with given ones.
import { ConfigError } from '../../base/errors.ts';
import { formatShare, normalizeWeights, type Plan, priorsOf, probePlan } from '../../recipe/index.ts';
import type { Probe } from './series.ts';

export interface MixedCorpora {
  names: string[];
  /** Of the whole run as planned, in their order; they sum to 1. */
  planned: number[];
}

/** @throws ConfigError for fewer than two */
export function mixedCorpora({ corpora, phases }: Plan): MixedCorpora {
  const blended = corpora.filter(({ name }) => phases.some(({ blend }) => (blend[name] ?? 0) > 0));
  if (blended.length < 2) throw new ConfigError('corpora: one is trained on, so there are no shares to find.');
  return { names: blended.map(({ name }) => name), planned: priorsOf(blended, phases) };
}

/** The same shares in every phase. */
export function probeWithShares(
  plan: Plan,
  names: readonly string[],
  shares: readonly number[],
  numSteps: number,
): Probe {
  const blend = normalizeWeights(Object.fromEntries(names.map((name, k) => [name, shares[k]!])));
  const label = Object.entries(blend).map(([name, share]) => `${name} ${formatShare(share)}`);
  const probe = probePlan(plan, { name: 'mix', numSteps });
  const phases = probe.phases.map(({ blendTo: _moves, ...phase }) => ({ ...phase, blend }));
  return { label: label.join(', '), plan: { ...probe, phases } };
}
