// For a strong shift (a new language, code) that shall be learned well: warm the LR up again to the peak of pretraining, decay it
// again, and pay for the forgetting with replay (Ibrahim et al. 2024, arXiv 2403.08763).
import { chosen, formatShare, pretrainingPeakLr } from '../learning-rates.ts';
import { chooseLr, DEFAULT_MIN_STEPS, hasRole, type Preset, WITH_THE_RUN } from './preset.ts';

const SOURCE = 'Ibrahim et al. 2024';
const REPLAY = { weak: 0.05, strong: 0.25 };

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
    const shift = options.shift ?? 'strong';
    const replay = chosen(
      'general text',
      options.replay,
      REPLAY[shift],
      formatShare,
      shift === 'strong'
        ? `strong shift${options.shift ? '' : ' (assumed; shift: weak takes 5 %)'}: 25 % kept the general loss at 2.33 instead of 3.56 nats. Replayed tokens replace new ones`
        : 'weak shift: 5 % kept the general loss at 2.23 instead of 2.44 nats. Replayed tokens replace new ones',
      `${SOURCE}, 405M`,
    );
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
