// The keys under `guard:` of continuo.yaml: what holds a model to what it knew, beside replay. What cannot go together is refused here;
// values that are left out are the planner's (src/recipe/guards.ts).
import { map, number, oneOf, positive, share, text, whole } from './fields.ts';
import type { Problem } from './problems.ts';
import type { Config } from './types.ts';

export const FISHER_PER = ['sequence', 'batch'] as const;
export type FisherPer = (typeof FISHER_PER)[number];
export const L2_TARGETS = ['base', 'init'] as const;
export type L2Target = (typeof L2_TARGETS)[number];

/** Elastic weight consolidation (Kirkpatrick et al. 2017). */
export interface EwcConfig {
  /** Of the penalty; 1 counts the general text's loss, as the Fisher foretells it, as much as the loss that is trained on. */
  strength?: number;
  /** Sequences of general text that the Fisher is measured on. */
  sequences?: number;
  /** What one squared gradient is of. */
  per?: FisherPer;
  /** Folder of an earlier run, absolute: its Fisher is decayed and added (online EWC, Schwarz et al. 2018). */
  previous?: string;
  /** Share of the earlier Fisher that stays. */
  decay?: number;
}

/** Half of strength times the squared distance of all weights from where they shall stay (L2-SP, Li et al. 2018; L2-init, Kumar et al. 2023). */
export interface L2Config {
  toward: L2Target;
  strength?: number;
}

/** Which tokens are distilled: those of general corpora, of all others, or all. */
const DISTILL_ON = ['general', 'new', 'all'] as const;
export type DistillOn = (typeof DISTILL_ON)[number];

/** Most tokens of a teacher that are kept: kMaxTop of native/ops/distill.h. */
const MAX_TOP = 256;

/** Divergence from what the model predicted before the run (Hinton et al. 2015; Li & Hoiem 2017). */
export interface DistillConfig {
  on?: DistillOn;
  /** What a token's divergence counts beside its loss. */
  weight?: number;
  temperature?: number;
  /** Of the base only so many likeliest tokens are taken, and kept on disk. */
  topK?: number;
}

export interface GuardConfig {
  ewc?: EwcConfig;
  l2?: L2Config;
  distill?: DistillConfig;
}

export const guardSchema = map({
  ewc: map({
    strength: positive.optional(),
    sequences: whole.optional(),
    per: oneOf(FISHER_PER).optional(),
    previous: text('the folder of an earlier run').optional(),
    decay: share.optional(),
  }).optional(),
  l2: map({ toward: oneOf(L2_TARGETS), strength: positive.optional() }).optional(),
  distill: map({
    on: oneOf(DISTILL_ON).optional(),
    weight: positive.optional(),
    temperature: positive.optional(),
    topK: number(
      `a whole number from 1 to ${MAX_TOP}`,
      (x) => Number.isSafeInteger(x) && x >= 1 && x <= MAX_TOP,
    ).optional(),
  }).optional(),
});

/** @param guard false: none, not even what the recipe would take @param resolve from the file's folder */
export function resolveGuard(
  guard: GuardConfig | false | undefined,
  resolve: (path: string) => string,
): GuardConfig | undefined {
  if (guard === false) return {};
  if (!guard?.ewc?.previous) return guard;
  return { ...guard, ewc: { ...guard.ewc, previous: resolve(guard.ewc.previous) } };
}

/** What a guard needs, and what it does not go together with. */
export function checkGuard({ guard, training, model, corpora }: Config): Problem[] {
  const problems: Problem[] = [];
  const at = (key: string[], message: string) => problems.push({ path: ['guard', ...key], message });
  for (const key of ['ewc', 'l2'] as const)
    if (guard?.[key] && training.lora)
      at(
        [key],
        "holds all weights near where they were, but under training.lora the model's own weights do not move: take one of the two keys out",
      );
  const { ewc, l2 } = guard ?? {};
  if (ewc && model.kind === 'new')
    at(['ewc'], 'guards what a trained model knows, but model is new: take this key out, or name a trained model');
  if (ewc && !corpora.some(({ role }) => role === 'general'))
    at(
      ['ewc'],
      'measures which weights matter on general text: expected a corpus with role: general, such as one of generated text (corpora.NAME.generated)',
    );
  if (ewc?.decay !== undefined && ewc.previous === undefined)
    at(
      ['ewc', 'decay'],
      'is the share of an earlier Fisher that stays: expected guard.ewc.previous, the folder of the earlier run',
    );
  if (ewc && l2?.toward === 'init')
    at(['l2', 'toward'], 'expected base beside guard.ewc, found init: one anchor is kept a weight');
  return [...problems, ...checkDistill({ guard, model, corpora })];
}

function checkDistill({ guard, model, corpora }: Pick<Config, 'guard' | 'model' | 'corpora'>): Problem[] {
  const problems: Problem[] = [];
  if (!guard?.distill) return problems;
  const { on = 'general' } = guard.distill;
  const path = ['guard', 'distill'];
  if (model.kind === 'new')
    problems.push({
      path,
      message:
        'keeps a trained model near to what it predicted, but model is new: take this key out, or name a trained model',
    });
  const isTaught = corpora.some(({ role }) => role !== 'evaluation' && (role === 'general') === (on === 'general'));
  if (on !== 'all' && !isTaught)
    problems.push({
      path: guard.distill.on === undefined ? path : [...path, 'on'],
      message:
        on === 'general'
          ? 'is on general text, but no corpus has role: general; give one, or set on: new to distil the text that is learned'
          : 'is on new text, but all corpora have role: general; set on: general',
    });
  return problems;
}
