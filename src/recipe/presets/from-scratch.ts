// Pretraining of a new, small model: warm-up, cosine to a tenth, one blend. The result records its LRs, so that it can be continued by
// the default recipe from where this one ended.
import { chosen } from '../learning-rates.ts';
import type { BlendRule, Reason } from '../types.ts';
import { chooseLr, type Preset, WITH_THE_RUN } from './preset.ts';

/**
 * Assumption: peak LR = 0.5 / width, at most 3e-3. Within a fifth of the GPT-3 family's peaks from width 768 (6e-4) to 4096 (1.2e-4),
 * which are quoted from memory (unverified); the inverse dependence on the width is that of Adam under maximal update scaling.
 */
export function peakLrByWidth(hidden: number): number {
  return Number(Math.min(3e-3, 0.5 / hidden).toPrecision(2));
}

/** Assumption: small models gain from many small steps; two thousand still give the schedule a shape. */
const MIN_STEPS = 2000;

export const fromScratch: Preset<'from-scratch'> = {
  name: 'from-scratch',
  title: 'pretraining of a new model: warm-up, cosine to a tenth, one blend',
  design(facts, options) {
    const { hidden } = facts.model;
    const lr = chooseLr(options, {
      peak: {
        lr: peakLrByWidth(hidden),
        why: `0.5 / width (${hidden}), at most 3e-3: near to published peaks from width 768 to 4096`,
        source: 'assumption',
      },
      floor: {
        share: 0.1,
        why: 'a tenth of the peak; continued pretraining starts there',
        source: 'Parmar et al. 2024 (their pretraining: 4.5e-4 to 4.5e-5)',
      },
      warmup: { share: 0.02, why: 'random weights need one; 2 % is enough for small models', source: 'assumption' },
    });
    const natural: BlendRule = { kind: 'natural' };
    const blend = chosen<BlendRule>(
      'blend',
      options.blend && { kind: 'corpora', weights: options.blend },
      natural,
      (rule) =>
        rule.kind === 'corpora'
          ? Object.entries(rule.weights)
              .map(([name, weight]) => `${name} ${weight}`)
              .join(', ')
          : 'by weight, else by size',
      'each corpus by its weight in continuo.yaml, or by its tokens where none is given',
      'assumption',
    );
    const reasons: Reason[] = [...lr.reasons, blend.reason];
    return {
      lr: { kind: 'cosine', peakLr: lr.peakLr, finalLr: lr.finalLr, warmupShare: lr.warmupShare },
      phases: [{ name: 'pretraining', blend: blend.value, begins: WITH_THE_RUN }],
      minSteps: MIN_STEPS,
      reasons,
      recordsPretraining: true,
    };
  },
};
