// The common practice of teams with documents of one field: nearly all domain text, a little general and a little instruction text, one
// cosine. The shares are what released models disclosed; the LR lies between those of two lines of work that disagree.
import { chosen, formatShare, pretrainingMiddleLr } from '../learning-rates.ts';
import type { BlendRule, DesignPhase, Reason } from '../types.ts';
import { chooseLr, DEFAULT_MIN_STEPS, type DesignFacts, hasRole, type Preset, WITH_THE_RUN } from './preset.ts';

/** ChipNeMo 9.2 %, EntiGraph 10 %; Code Llama 7 %; Meditron 1 %, SaulLM 2 %. */
const REPLAY = 0.1;
/** Assumption, inside the 1 to 5 % that the practice speaks of: enough to keep the format of questions and answers alive. */
const INSTRUCTION = 0.03;
const FLOOR_SHARE = 0.1;
const WARMUP = 0.01;

export const domainAdaptation: Preset<'domain-adaptation'> = {
  name: 'domain-adaptation',
  title: 'nearly all domain text, some general and instruction text, one cosine (practice of released domain models)',
  design(facts, options) {
    const middle = pretrainingMiddleLr(facts.model);
    const lr = chooseLr(options, {
      peak: {
        lr: middle.lr,
        why: `${middle.why}: at the final LR new text is learned slowly (1.21 nats after German; 1.13 at half the peak), at the peak more is forgotten`,
        source: `Ibrahim et al. 2024, 405M; the middle itself: assumption; ${middle.source}`,
      },
      floor: { share: FLOOR_SHARE, why: 'decays to a tenth of the peak', source: 'Ibrahim et al. 2024' },
      warmup: {
        share: WARMUP,
        why: 'the LR rises above where pretraining ended; about 1 %, the length matters little',
        source: 'Ibrahim et al. 2024',
      },
    });
    const blends = chooseBlends(facts, options);
    return {
      lr: { kind: 'cosine', peakLr: lr.peakLr, finalLr: lr.finalLr, warmupShare: lr.warmupShare },
      phases: blends.phases,
      minSteps: DEFAULT_MIN_STEPS,
      reasons: [...lr.reasons, ...blends.reasons],
      recordsPretraining: false,
      guardsByEwc: true,
    };
  },
};

type Options = Parameters<typeof domainAdaptation.design>[1];

function chooseBlends(facts: DesignFacts, options: Options): { phases: DesignPhase[]; reasons: Reason[] } {
  const hasGeneral = hasRole(facts, 'general');
  const hasInstruction = hasRole(facts, 'instruction');
  const reasons: Reason[] = [];
  const advised = options.found?.replay ?? {
    value: REPLAY,
    why: 'released domain models mixed in 1 to 10 % of general text; a tenth is at the safe end, and costs the domain little (1.13 against 1.11 nats)',
    source: 'ChipNeMo, EntiGraph (Yang et al. 2024), Code Llama, as disclosed; Ibrahim et al. 2024',
  };
  const replay = chosen('general text', options.replay, advised.value, formatShare, advised.why, advised.source);
  const instruction = chosen(
    'instruction text',
    options.instruction,
    INSTRUCTION,
    formatShare,
    'a little throughout keeps the form of questions and answers',
    'practice of released models (1 to 5 %); the share itself: assumption',
  );
  if (hasGeneral) reasons.push(replay.reason);
  if (hasInstruction) reasons.push(instruction.reason);
  const blend = (general: number): BlendRule => {
    const qa = hasInstruction ? instruction.value : 0;
    return { kind: 'roles', shares: { general, instruction: qa, domain: Math.max(0, 1 - general - qa) } };
  };
  if (options.frontLoad && hasGeneral) {
    const { until, replay: first } = options.frontLoad;
    reasons.push({
      what: 'front-loaded general text',
      value: `${formatShare(first)} in the first ${formatShare(until)} of the tokens`,
      why: 'most damage is done early: English in the first tenth alone kept as much of what the model could do in context as English throughout (42.9 against 43.4; 20.1 without)',
      source: 'arXiv 2506.00288, Llama 2 7B on Basque; continuo.yaml',
    });
    return {
      phases: [
        { name: 'front-loaded replay', blend: blend(first), begins: WITH_THE_RUN },
        { name: 'domain blend', blend: blend(replay.value), begins: { kind: 'tokens', share: until } },
      ],
      reasons,
    };
  }
  if (options.startReplay !== undefined && hasGeneral) {
    reasons.push({
      what: 'progressive blend',
      value: `general text from ${formatShare(options.startReplay)} to ${formatShare(replay.value)}`,
      why: 'the distribution changes gradually instead of at once; an abrupt change at the highest LR did worse than a late one',
      source: 'continuo.yaml; Parmar et al. 2024, Table 9 (the abrupt change); the gradual one: assumption',
    });
    return {
      phases: [
        { name: 'progressive blend', blend: blend(options.startReplay), to: blend(replay.value), begins: WITH_THE_RUN },
      ],
      reasons,
    };
  }
  return { phases: [{ name: 'domain blend', blend: blend(replay.value), begins: WITH_THE_RUN }], reasons };
}
