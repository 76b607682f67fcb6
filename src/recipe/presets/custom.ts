// A recipe of the user's own: phases and schedule as they stand in continuo.yaml. What is left open is as in the default recipe.
import { ConfigError } from '../../base/errors.ts';
import { chosen, FROM_FILE, formatLr, formatShare, pretrainingFinalLr } from '../learning-rates.ts';
import { describeBegin } from '../phases.ts';
import type { ScheduleDesign } from '../schedules.ts';
import type { BlendRule, DesignPhase, PhaseBegin, Reason } from '../types.ts';
import { chooseLr, DEFAULT_MIN_STEPS, type Preset, WITH_THE_RUN } from './preset.ts';

export const custom: Preset<'custom'> = {
  name: 'custom',
  title: 'phases and schedule as you wrote them',
  design(facts, options) {
    const final = pretrainingFinalLr(facts.model);
    const lr = chooseLr(options, {
      peak: { lr: final.lr, why: `${final.why}: an annealed model goes on from there`, source: final.source },
      floor: {
        share: 1 / 100,
        why: 'a hundredth of the peak was best among /10, /100 and 0 (54.8, 55.7, 55.4)',
        source: 'Parmar et al. 2024, Table 8',
      },
      warmup: { share: 0, why: 'none where training goes on at the final LR', source: 'Parmar et al. 2024' },
    });
    const kind = chosen(
      'schedule',
      options.schedule,
      'cosine' as const,
      String,
      'as in the default recipe',
      'assumption',
    );
    const phases = options.phases.map(
      (phase, i): DesignPhase => ({
        name: phase.name ?? `phase ${i + 1}`,
        blend: ruleOf(phase),
        ...(phase.to ? { to: ruleOf(phase.to) } : {}),
        ...(phase.objective === 'answers' ? { objective: 'answers' as const } : {}),
        ...(phase.seqLen === undefined ? {} : { seqLen: phase.seqLen }),
        begins: i === 0 ? WITH_THE_RUN : beginOf(phase.begins ?? {}),
      }),
    );
    return {
      lr: { kind: kind.value, ...lr, ...shapeOf(kind.value, options, lr.peakLr, lr.finalLr) },
      phases,
      minSteps: DEFAULT_MIN_STEPS,
      reasons: [
        ...(kind.value === 'constant' ? lr.reasons.slice(0, 1) : lr.reasons),
        kind.reason,
        ...phases.map(explain),
      ],
      recordsPretraining: false,
    };
  },
};

type Options = Parameters<typeof custom.design>[1];
type Phase = Options['phases'][number];

function ruleOf({ blend, shares }: Pick<Phase, 'blend' | 'shares'>): BlendRule {
  if (blend) return { kind: 'corpora', weights: blend };
  return { kind: 'roles', shares: { domain: 0, general: 0, instruction: 0, ...shares } };
}

function beginOf({ lrShare, tokens, step }: NonNullable<Phase['begins']>): PhaseBegin {
  if (lrShare !== undefined) return { kind: 'lrShare', share: lrShare };
  return tokens !== undefined ? { kind: 'tokens', share: tokens } : { kind: 'step', step: step! };
}

/** What only some kinds of schedule have; a key that the kind has no use for is refused. */
function shapeOf(
  kind: ScheduleDesign['kind'],
  options: Options,
  peakLr: number,
  finalLr: number,
): Partial<ScheduleDesign> {
  const { warmupFrom, decay, decayShare, constantLr, cooldownUntil, anneal, warmup = 0 } = options;
  const needs = {
    decay: 'wsd',
    decayShare: 'wsd',
    constantLr: 'infinite',
    cooldownUntil: 'infinite',
    anneal: 'infinite',
  } as const;
  for (const [key, needed] of Object.entries(needs))
    if (options[key as keyof typeof needs] !== undefined && kind !== needed)
      throw new ConfigError(`recipe.${key}: means something for schedule: ${needed} alone, found ${kind}. Remove it.`);
  if (warmupFrom !== undefined && warmupFrom > peakLr)
    throw new ConfigError(
      `recipe.warmupFrom: expected at most the peak LR (${formatLr(peakLr)}), found ${formatLr(warmupFrom)}.`,
    );
  if ((decay === 'exponential' || kind === 'infinite') && finalLr === 0)
    throw new ConfigError('recipe.finalLr: an exponential decay never reaches 0. Give a final LR above it.');
  if (cooldownUntil !== undefined && cooldownUntil + (anneal ?? 0.1) > 1)
    throw new ConfigError(
      'recipe: the cool-down ends after the anneal begins. Lower recipe.cooldownUntil or recipe.anneal.',
    );
  return {
    ...(warmupFrom === undefined ? {} : { warmupFromLr: warmupFrom }),
    ...{ decay, decayShare, constantLr, annealShare: anneal },
    cooldownShare: cooldownUntil === undefined ? undefined : Math.max(0, cooldownUntil - warmup),
  };
}

function explain(phase: DesignPhase): Reason {
  const begins = phase.begins === WITH_THE_RUN ? 'with the run' : `at ${describeBegin(phase.begins)}`;
  return {
    what: `phase "${phase.name}"`,
    value: `${describe(phase.blend)}${phase.to ? ` -> ${describe(phase.to)}` : ''}, begins ${begins}${phase.seqLen ? `; sequences of ${phase.seqLen}` : ''}${phase.objective ? '; of conversations, the answers alone bear loss' : ''}`,
    why: phase.to ? 'as you set it; the blend moves evenly over the phase' : 'as you set it',
    source: FROM_FILE,
  };
}

function describe(rule: BlendRule): string {
  if (rule.kind === 'natural') return 'by weight, else by size';
  const weights = rule.kind === 'corpora' ? rule.weights : rule.shares;
  const total = Object.values(weights).reduce((sum, weight) => sum + weight, 0);
  return Object.entries(weights)
    .filter(([, weight]) => weight > 0)
    .map(([name, weight]) => `${name} ${formatShare(weight / total)}`)
    .join(', ');
}
