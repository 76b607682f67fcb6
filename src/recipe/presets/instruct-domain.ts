// New documents for a model that was taught to follow instructions, without unteaching it: a low LR, few tokens, and instruction text
// beside the documents from the first step. The other way, continuing the base and adding what instruction tuning had changed (the
// residual, arXiv 2410.10739), needs a merge of checkpoints.
import { chosen, formatLr, formatShare, pretrainingFinalLr } from '../learning-rates.ts';
import type { DesignFacts } from './preset.ts';
import { chooseLr, DEFAULT_MIN_STEPS, hasRole, type Preset, WITH_THE_RUN } from './preset.ts';

/** EntiGraph, ChipNeMo and others trained 7-8B models of annealed weights at this LR. */
const USUAL_LR = 5e-6;
const AT_PARAMETERS = 8e9;
/** The exponent of the peak LRs of pretraining by size (learning-rates.ts); that it holds here: assumption. */
const EXPONENT = 0.4;
/** Assumption: joint training kept the abilities that plain continuing lost; no study gives the least share that does. */
const INSTRUCTION = 0.25;
const REPLAY = 0.1;

export const instructDomain: Preset<'instruct-domain'> = {
  name: 'instruct-domain',
  title: 'documents and instructions together, at a low LR, for an instruct model',
  design(facts, options) {
    const peak = lowLr(facts);
    const lr = chooseLr(options, {
      peak,
      floor: {
        share: 0.1,
        why: 'decays to a tenth of the peak',
        source: 'assumption',
      },
      warmup: {
        share: 0.05,
        why: 'the optimizer starts empty, and this model is easily disturbed',
        source: 'Yang et al. 2024 (EntiGraph: 5 %)',
      },
    });
    const replay = chosen(
      'general text',
      options.replay,
      REPLAY,
      formatShare,
      'a tenth of general text beside the documents',
      'Yang et al. 2024 (EntiGraph)',
    );
    const instruction = chosen(
      'instruction text',
      options.instruction,
      INSTRUCTION,
      formatShare,
      'raw text alone unteaches an instruct model (MT-Bench 7.89 to about 1); trained jointly with instructions it kept its score',
      'FinDAP; the share itself: assumption',
    );
    const objective = chosen(
      'loss of conversations',
      options.objective,
      'answers' as const,
      (value) => (value === 'answers' ? 'on the answers alone' : 'on every token'),
      'as instruction tuning does: the model shall learn to answer, not to ask',
      'Jiang et al. 2024; Ovadia et al. 2025',
    );
    const shares = {
      general: hasRole(facts, 'general') ? replay.value : 0,
      instruction: hasRole(facts, 'instruction') ? instruction.value : 0,
      domain: 0,
    };
    shares.domain = Math.max(0, 1 - shares.general - shares.instruction);
    return {
      lr: { kind: 'cosine', peakLr: lr.peakLr, finalLr: lr.finalLr, warmupShare: lr.warmupShare },
      phases: [
        {
          name: 'documents and instructions',
          blend: { kind: 'roles', shares },
          ...(objective.value === 'answers' && shares.instruction > 0 ? { objective: 'answers' as const } : {}),
          begins: WITH_THE_RUN,
        },
      ],
      minSteps: DEFAULT_MIN_STEPS,
      reasons: [
        ...lr.reasons,
        ...(shares.general > 0 ? [replay.reason] : []),
        ...(shares.instruction > 0 ? [instruction.reason, objective.reason] : []),
      ],
      recordsPretraining: false,
    };
  },
};

/** What instruct models of a size are continued at. */
export function usualInstructLr(numParameters: number): number {
  return Number((USUAL_LR * (AT_PARAMETERS / Math.max(1, numParameters)) ** EXPONENT).toPrecision(2));
}

function lowLr({ model }: DesignFacts): { lr: number; why: string; source: string } {
  const usual = usualInstructLr(model.numParameters);
  const final = pretrainingFinalLr(model);
  if (final.isRecorded && final.lr > 0 && final.lr < usual)
    return { lr: final.lr, why: `${final.why}; lower than what is usual for this size`, source: final.source };
  return {
    lr: usual,
    why: `5e-6 is what 7 to 8 B models were continued at with small corpora (at 3e-4 ChipNeMo fell from 44.6 to 26.6 on MMLU); ${formatLr(usual)} at this size`,
    source: 'Yang et al. 2024 (EntiGraph); ChipNeMo; by size: assumption',
  };
}
