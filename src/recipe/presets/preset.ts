// The shape that every preset file has.

import { ConfigError } from '../../base/errors.ts';
import type { FoundName, FoundValue, PresetName, PresetOptions } from '../../config/index.ts';
import { chosen, formatLr, formatShare } from '../learning-rates.ts';
import type { Shift } from '../shift.ts';
import type { CorpusFacts, Design, ModelFactsForPlan, PhaseBegin, Reason } from '../types.ts';

export interface DesignFacts {
  model: ModelFactsForPlan;
  /** Those to train on (no role evaluation). */
  corpora: readonly CorpusFacts[];
  /** Where it was measured. */
  shift?: Shift;
}

export interface Preset<N extends PresetName> {
  name: N;
  /** One line: what it does, and the paper. */
  title: string;
  design: (facts: DesignFacts, options: PresetOptions<N>) => Design;
}

/** Passes over one corpus: up to four cost little against fresh text (Muennighoff et al. 2023, from memory, unverified); RegMix caps at 4 as well. */
export const DEFAULT_MAX_EPOCHS = 4;

/** How the first phase begins. */
export const WITH_THE_RUN: PhaseBegin = { kind: 'step', step: 0 };

/** A shorter run decays over so few steps that each is a large part of the schedule. */
export const DEFAULT_MIN_STEPS = 200;

export function hasRole(facts: DesignFacts, role: CorpusFacts['role']): boolean {
  return facts.corpora.some((corpus) => corpus.role === role);
}

export interface LrRules {
  peak: { lr: number; why: string; source: string };
  /** Floor as a share of the peak. */
  floor: { share: number; why: string; source: string };
  warmup: { share: number; why: string; source: string };
}

interface LrOptions {
  peakLr?: number;
  finalLr?: number;
  warmup?: number;
  found?: Partial<Record<FoundName, FoundValue>>;
}

/**
 * Peak, floor and warm-up: the user's where given, else what probes found, else by the rules; with a reason each.
 * @throws ConfigError for a floor above the peak
 */
export function chooseLr(options: LrOptions, rules: LrRules) {
  const { floor, warmup } = rules;
  const found = options.found?.peakLr;
  const peak = found ? { ...found, lr: found.value } : rules.peak;
  const peakLr = chosen('peak LR', options.peakLr, peak.lr, formatLr, peak.why, peak.source);
  const finalLr = chosen(
    'final LR',
    options.finalLr,
    Number((peakLr.value * floor.share).toPrecision(12)),
    formatLr,
    floor.why,
    floor.source,
  );
  const warmupShare = chosen(
    'warm-up',
    options.warmup,
    warmup.share,
    (x) => (x === 0 ? 'none' : `${formatShare(x)} of the steps`),
    warmup.why,
    warmup.source,
  );
  if (finalLr.value > peakLr.value)
    throw new ConfigError(
      `recipe.finalLr: expected at most the peak LR (${formatLr(peakLr.value)}), found ${formatLr(finalLr.value)}.`,
    );
  const reasons: Reason[] = [peakLr.reason, finalLr.reason, warmupShare.reason];
  return { peakLr: peakLr.value, finalLr: finalLr.value, warmupShare: warmupShare.value, reasons };
}
