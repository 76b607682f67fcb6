// For a model that will be continued again and again: the LR cools down to a constant that needs no re-warming when the next documents
// come, and only the last part anneals. The checkpoint before the anneal is kept for ever: the next run goes on from it (Singh et al.
// 2025, arXiv 2503.02844).
import { ConfigError } from '../../base/errors.ts';
import { chosen, formatLr, formatShare, pretrainingPeakLr } from '../learning-rates.ts';
import { REPLAY_BY_SHIFT, shiftOf } from '../shift.ts';
import { chooseLr, DEFAULT_MIN_STEPS, hasRole, type Preset, WITH_THE_RUN } from './preset.ts';

const SOURCE = 'Singh et al. 2025';
/** The values of an example with this schedule (Thérien et al. 2025): 3e-4, 1.65e-4, 3e-5; 1 % warm-up, cool-down to 70 %, anneal from 80 %. */
const EXAMPLE = 'Thérien et al. 2025, arXiv 2503.05029 (3e-4, 1.65e-4, 3e-5)';
const CONSTANT_SHARE = 0.55;
const FLOOR_SHARE = 0.1;
const WARMUP = 0.01;
const COOLDOWN_UNTIL = 0.7;
const ANNEAL = 0.2;

export const infiniteLr: Preset<'infinite-lr'> = {
  name: 'infinite-lr',
  title:
    'warm-up, cool-down, a constant LR to come back to, an anneal at the end (Singh et al. 2025, arXiv 2503.02844)',
  design(facts, options) {
    const peak = pretrainingPeakLr(facts.model);
    const lr = chooseLr(options, {
      peak: { lr: peak.lr, why: peak.why, source: `${SOURCE}; ${peak.source}` },
      floor: { share: FLOOR_SHARE, why: 'the anneal ends at a tenth of the peak', source: EXAMPLE },
      warmup: { share: WARMUP, why: 'about 1 % of the steps', source: EXAMPLE },
    });
    const constantLr = chosen(
      'constant LR',
      options.constantLr,
      Number((lr.peakLr * CONSTANT_SHARE).toPrecision(3)),
      formatLr,
      'the LR at which the next documents will come in, without warming up again',
      EXAMPLE,
    );
    const cooldown = chosen(
      'cool-down ends at',
      options.cooldownUntil,
      COOLDOWN_UNTIL,
      (share) => `${formatShare(share)} of the run`,
      'from there on the LR is constant',
      EXAMPLE,
    );
    const anneal = chosen(
      'anneal',
      options.anneal,
      ANNEAL,
      (share) => `the last ${formatShare(share)} of the run`,
      'exponential; the checkpoint before it is kept, for the next run to go on from',
      EXAMPLE,
    );
    if (constantLr.value > lr.peakLr || constantLr.value < lr.finalLr)
      throw new ConfigError(
        `recipe.constantLr: expected between the final LR (${formatLr(lr.finalLr)}) and the peak LR (${formatLr(lr.peakLr)}), found ${formatLr(constantLr.value)}.`,
      );
    if (cooldown.value + anneal.value > 1)
      throw new ConfigError(
        `recipe: the cool-down ends at ${cooldown.value} of the run, after the anneal begins (at ${Number((1 - anneal.value).toFixed(6))}). Lower recipe.cooldownUntil or recipe.anneal.`,
      );
    const { verdict, how } = shiftOf(options.shift, facts.shift);
    const advised = options.found?.replay ?? {
      value: REPLAY_BY_SHIFT[verdict],
      why: `${verdict === 'none' ? 'no' : verdict} shift${how}`,
      source: 'Ibrahim et al. 2024, 405M',
    };
    const replay = chosen('general text', options.replay, advised.value, formatShare, advised.why, advised.source);
    const learned = hasRole(facts, 'domain') ? 'domain' : 'instruction';
    const shares = { general: replay.value, domain: 0, instruction: 0, [learned]: 1 - replay.value };
    return {
      lr: {
        kind: 'infinite',
        ...{ peakLr: lr.peakLr, finalLr: lr.finalLr, warmupShare: lr.warmupShare },
        ...{ constantLr: constantLr.value, annealShare: anneal.value },
        cooldownShare: Math.max(0, cooldown.value - lr.warmupShare),
      },
      phases: [{ name: 'new text with replay', blend: { kind: 'roles', shares }, begins: WITH_THE_RUN }],
      minSteps: DEFAULT_MIN_STEPS,
      reasons: [
        ...lr.reasons,
        constantLr.reason,
        cooldown.reason,
        anneal.reason,
        ...(hasRole(facts, 'general') ? [replay.reason] : []),
      ],
      recordsPretraining: false,
    };
  },
};
