// The control: domain text only, one constant LR, no replay. What people do first, and what every recipe here is compared with. It
// takes the start LR of the default recipe, so that the two differ in schedule and blend alone.
import { chosen, formatLr, pretrainingFinalLr } from '../learning-rates.ts';
import { DEFAULT_MIN_STEPS, hasRole, type Preset, WITH_THE_RUN } from './preset.ts';

export const naive: Preset<'naive'> = {
  name: 'naive',
  title: 'THE CONTROL, not a recommendation: domain text only, constant LR, no replay',
  design(facts, options) {
    const peak = pretrainingFinalLr(facts.model);
    const lr = chosen('LR', options.peakLr, peak.lr, formatLr, `${peak.why}; held constant`, `control; ${peak.source}`);
    const role = (['domain', 'instruction', 'general'] as const).find((one) => hasRole(facts, one))!;
    const shares = { domain: 0, general: 0, instruction: 0, [role]: 1 };
    return {
      lr: { kind: 'constant', peakLr: lr.value, finalLr: lr.value, warmupShare: 0 },
      phases: [{ name: `${role} only`, blend: { kind: 'roles', shares }, begins: WITH_THE_RUN }],
      minSteps: DEFAULT_MIN_STEPS,
      reasons: [
        lr.reason,
        { what: 'blend', value: `${role} only`, why: 'the control has no replay', source: 'control' },
      ],
      recordsPretraining: false,
    };
  },
};
