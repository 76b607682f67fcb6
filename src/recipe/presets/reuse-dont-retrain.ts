// The default: go on from where pretraining ended, in two phases, with general text in both (Parmar et al. 2024, "Reuse, Don't
// Retrain", arXiv 2407.07263).
//
// One difference from the paper must be known: nearly all of its text had been seen in pretraining, while a team's documents are new to
// the model. So the paper gives the schedule (start LR, floor, switch), and the shares of general text follow studies of new text.
import { ConfigError } from '../../base/errors.ts';
import type { FoundValue } from '../../config/index.ts';
import { bothSources, chosen, formatShare, pretrainingFinalLr, pretrainingMiddleLr } from '../learning-rates.ts';
import { REPLAY_BY_SHIFT, type Shift } from '../shift.ts';
import type { BlendRule, DesignPhase, Reason } from '../types.ts';
import { chooseLr, DEFAULT_MIN_STEPS, type DesignFacts, hasRole, type Preset, WITH_THE_RUN } from './preset.ts';

/** Table 8: floors of peak/10, peak/100 and 0 gave 54.8, 55.7 and 55.4. */
const FLOOR_SHARE = 1 / 100;
/** Table 9: a switch at the peak, /2, /5, /10, /50 gave 52.8, 54.7, 56.1, 55.0, 54.6. */
const SWITCH_AT = 1 / 5;
/** Question and answer data holds a tenth of the paper's second blend. */
const INSTRUCTION_SHARE = 0.1;
/** Assumption: a little less in the second phase, where what shall be learned has the word and a low LR forgets little. */
const SECOND_OVER_FIRST_REPLAY = 0.8;

export const reuseDontRetrain: Preset<'reuse-dont-retrain'> = {
  name: 'reuse-dont-retrain',
  title: "continue at pretraining's final LR, two blends, replay (Parmar et al. 2024, arXiv 2407.07263)",
  design(facts, options) {
    const peak = startLr(facts, options);
    const lr = chooseLr(options, {
      peak,
      floor: {
        share: FLOOR_SHARE,
        why: 'a hundredth of the peak was best among /10, /100 and 0 (54.8, 55.7, 55.4)',
        source: 'Parmar et al. 2024, Table 8',
      },
      warmup: {
        share: 0,
        why: 'any warm-up lowered the result when training goes on at the final LR',
        source: 'Parmar et al. 2024 (reported by a survey; table not seen)',
      },
    });
    const blends = chooseBlends(facts, options);
    const switchAt = chosen(
      'second phase begins at',
      options.switchAt,
      SWITCH_AT,
      (share) => `LR <= ${formatShare(share)} of the peak`,
      'a fifth was best among 1, 1/2, 1/5, 1/10, 1/50 of the peak (52.8, 54.7, 56.1, 55.0, 54.6): earlier wastes the second blend at a high LR, later leaves no LR to learn it',
      'Parmar et al. 2024, Table 9',
    );
    const phases: DesignPhase[] = [
      { name: 'general blend', blend: blends.first, begins: WITH_THE_RUN },
      { name: 'second blend', blend: blends.second, begins: { kind: 'lrShare', share: switchAt.value } },
    ];
    return {
      lr: { kind: 'cosine', peakLr: lr.peakLr, finalLr: lr.finalLr, warmupShare: lr.warmupShare },
      phases,
      minSteps: DEFAULT_MIN_STEPS,
      reasons: [...lr.reasons, switchAt.reason, ...blends.reasons],
      recordsPretraining: false,
    };
  },
};

type Options = Parameters<typeof reuseDontRetrain.design>[1];

/**
 * The paper starts at the final LR, on text seen before. On new text that learns slowly: at a constant final LR, German came to 1.21
 * nats, at half the peak to 1.13, at the peak to 1.11 (Ibrahim et al. 2024); and a cosine has only half of the LR area of a constant.
 * The geometric middle is an assumption.
 */
function startLr({ model }: DesignFacts, { startAt }: Options): { lr: number; why: string; source: string } {
  if (startAt === 'middle') {
    const { lr, why } = pretrainingMiddleLr(model);
    const reason = `${why}, as you asked: text new to the model is learned slowly at the final LR (1.21 nats after German, 1.13 at half the peak)`;
    return { lr, why: reason, source: 'Ibrahim et al. 2024, 405M; the middle itself: assumption' };
  }
  const { lr, why, source, isRecorded } = pretrainingFinalLr(model);
  return {
    lr,
    why: `${why}: an annealed model goes on from there, downwards. If the domain is learned too slowly, set recipe.startAt: middle`,
    source: isRecorded ? bothSources('Parmar et al. 2024', source) : source,
  };
}

/** Without a measurement the shift is taken for a strong one. */
function adviseReplay(shift: Shift | undefined): FoundValue {
  const value = REPLAY_BY_SHIFT[shift?.verdict ?? 'strong'];
  if (shift && shift.verdict !== 'strong')
    return {
      value,
      why: `the shift was measured as ${shift.verdict}: over a weak one 5 % replay kept the general loss at 2.23 instead of 2.44 nats, for 0.01 nats of the new text. Replayed tokens replace new ones`,
      source: 'Ibrahim et al. 2024, SlimPajama after Pile at 405M',
    };
  const because = shift
    ? 'the shift was measured as strong'
    : 'your documents are taken for a strong shift, because the model has not seen them';
  const otherwise = shift ? '' : " Where they are close to the model's own text, 5 % does.";
  return {
    value,
    why: `${because}: with 25 % replay its general loss rose by 0.16 instead of 1.39 nats, for 0.05 nats of domain loss.${otherwise} Replayed tokens replace new ones`,
    source: `Ibrahim et al. 2024, German after Pile at 405M${shift ? '' : '; that your text is a strong shift: assumption'}`,
  };
}

function chooseBlends(
  facts: DesignFacts,
  options: Options,
): { first: BlendRule; second: BlendRule; reasons: Reason[] } {
  const given = typeof options.replay === 'number' ? { first: options.replay, second: options.replay } : options.replay;
  const hasDomain = hasRole(facts, 'domain');
  const hasInstruction = hasRole(facts, 'instruction');
  const reasons: Reason[] = [];
  const found = options.found?.replay;
  const advised = found ?? adviseReplay(facts.shift);
  const first = chosen(
    'general text, first phase',
    given?.first,
    advised.value,
    formatShare,
    advised.why,
    advised.source,
  );
  const second = chosen(
    'general text, second phase',
    given?.second,
    found?.value ?? Number((advised.value * SECOND_OVER_FIRST_REPLAY).toPrecision(12)),
    formatShare,
    found?.why ??
      'what shall be learned is up-weighted where the LR is low; replay stays, since the model that is kept is the last one',
    found?.source ?? 'Parmar et al. 2024, Tables 4 and 9 (late up-weighting); the share itself: assumption',
  );
  const instruction = chosen(
    'instruction text, second phase',
    options.instruction,
    INSTRUCTION_SHARE,
    formatShare,
    'question and answer text held a tenth of the second blend, and was better late (54.3) than throughout (53.4)',
    'Parmar et al. 2024, Table 4',
  );
  const instructionShare = hasInstruction ? instruction.value : 0;
  if (second.value + instructionShare > 1)
    throw new ConfigError(
      `recipe: replay (${second.value}) and instruction (${instructionShare}) of the second phase are more than 1 together.`,
    );
  if (hasRole(facts, 'general') && hasDomain) reasons.push(first.reason, second.reason);
  if (hasInstruction) reasons.push(instruction.reason);
  // Without a domain corpus, general text takes its place: the paper's own case.
  const share = (general: number, qa: number) =>
    hasDomain
      ? { general, instruction: qa, domain: 1 - general - qa }
      : { general: 1 - qa, instruction: qa, domain: 0 };
  return {
    first: options.firstBlend
      ? userBlend('first blend', options.firstBlend, reasons)
      : { kind: 'roles', shares: share(first.value, 0) },
    second: options.secondBlend
      ? userBlend('second blend', options.secondBlend, reasons)
      : { kind: 'roles', shares: share(second.value, instructionShare) },
    reasons,
  };
}

function userBlend(what: string, weights: Record<string, number>, reasons: Reason[]): BlendRule {
  const value = Object.entries(weights)
    .map(([name, weight]) => `${name} ${weight}`)
    .join(', ');
  reasons.push({ what, value, why: 'as you set it', source: 'continuo.yaml' });
  return { kind: 'corpora', weights };
}
