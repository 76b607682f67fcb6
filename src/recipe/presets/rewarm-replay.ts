// For a strong shift (a new language, code) that shall be learned well: warm the LR up again to the peak of pretraining, decay it
// again, and pay for the forgetting with replay (Ibrahim et al. 2024, arXiv 2403.08763).
import { chosen, formatShare, pretrainingPeakLr } from '../learning-rates.ts';
import { REPLAY_BY_SHIFT, shiftOf } from '../shift.ts';
import { chooseLr, DEFAULT_MIN_STEPS, hasRole, type Preset, WITH_THE_RUN } from './preset.ts';

const SOURCE = 'Ibrahim et al. 2024';

export const rewarmReplay: Preset<'rewarm-replay'> = {
  name: 'rewarm-replay',
  title: 'warm up again to the peak of pretraining, decay again, replay (Ibrahim et al. 2024, arXiv 2403.08763)',
  design(facts, options) {
    const peak = pretrainingPeakLr(facts.model);
    const lr = chooseLr(options, {
      peak: {
        lr: peak.lr,
        why: `${peak.why}. A constant low LR learned a strong shift clearly worse (1.21 against 1.11 nats)`,
        source: peak.isRecorded ? `${SOURCE}; ${peak.source}` : peak.source,
      },
      floor: { share: 0.1, why: 'decays to a tenth of the peak', source: SOURCE },
      warmup: { share: 0.01, why: 'about 1 % of the steps; the length matters little', source: SOURCE },
    });
    const { verdict, how } = shiftOf(options.shift, facts.shift);
    const advised = options.found?.replay ?? {
      value: REPLAY_BY_SHIFT[verdict],
      why:
        verdict === 'strong'
          ? `strong shift${how}: 25 % kept the general loss at 2.33 instead of 3.56 nats. Replayed tokens replace new ones`
          : `${verdict === 'weak' ? 'weak' : 'no'} shift${how}: over a weak one 5 % kept the general loss at 2.23 instead of 2.44 nats. Replayed tokens replace new ones`,
      source: `${SOURCE}, 405M`,
    };
    const replay = chosen('general text', options.replay, advised.value, formatShare, advised.why, advised.source);
    const hasBoth = hasRole(facts, 'general') && (hasRole(facts, 'domain') || hasRole(facts, 'instruction'));
    // Documents to learn come in both roles here: this method knows no late blend.
    const learned = hasRole(facts, 'domain') ? 'domain' : 'instruction';
    const shares = { general: replay.value, domain: 0, instruction: 0, [learned]: 1 - replay.value };
    return {
      lr: { kind: 'cosine', peakLr: lr.peakLr, finalLr: lr.finalLr, warmupShare: lr.warmupShare },
      phases: [{ name: 'new text with replay', blend: { kind: 'roles', shares }, begins: WITH_THE_RUN }],
      minSteps: DEFAULT_MIN_STEPS,
      reasons: hasBoth ? [...lr.reasons, replay.reason] : lr.reasons,
      recordsPretraining: false,
    };
  },
};
