// Phases: where each begins, what it draws from, and how many tokens of each corpus that makes. Pure arithmetic on a design.
import { ConfigError } from '../base/errors.ts';
import { formatCount } from '../base/units.ts';
import { type BlendCorpus, normalizeWeights, type PhaseDemand, resolveBlends } from './blends.ts';
import { formatShare } from './learning-rates.ts';
import { lrAt, type Schedule, switchStep } from './schedules.ts';
import type { Blend, Design, DesignPhase, PhaseBegin, Plan, PlanPhase, Reason } from './types.ts';

/** What holds for all phases of a plan. */
export interface Blending {
  /** Passes over a corpus beyond which its share is cut in favour of others. */
  maxEpochs: number;
  /** Factors on the weights of corpora in the last phase. */
  boost?: Readonly<Record<string, number>>;
}

/** Pieces of a phase whose blend moves: each has one blend, 1/40 of the way or less from its neighbour's middle. */
const GRADUAL_PIECES = 20;

/**
 * Phases with at least one step; neighbours with equal blends become one.
 * @throws ConfigError where phases are out of order
 */
export function makePhases(
  design: Design,
  schedule: Schedule,
  tokensPerStep: number,
  corpora: readonly BlendCorpus[],
  blending: Blending,
): PlanPhase[] {
  const spans = spansOf(design.phases, schedule);
  const last = spans.at(-1);
  const demands = spans.flatMap(({ phase, numSteps }): PhaseDemand[] => {
    const boost = phase === last?.phase ? blending.boost : undefined;
    const numTokens = numSteps * tokensPerStep;
    if (!phase.to) return [{ rule: phase.blend, numTokens, boost }];
    // A blend that moves evenly from one to another draws from each as half of the phase would.
    return [phase.blend, phase.to].map((rule) => ({ rule, numTokens: numTokens / 2, boost }));
  });
  const blends = resolveBlends(demands, corpora, blending.maxEpochs);
  const phases: PlanPhase[] = [];
  let next = 0;
  for (const { phase, firstStep, numSteps } of spans) {
    const previous = phases.at(-1);
    const blend = blends[next++]!;
    const blendTo = phase.to ? blends[next++]! : undefined;
    const lrTo = lrAt(schedule, firstStep + numSteps - 1);
    const { objective, seqLen } = phase;
    const isAlike = previous?.objective === objective && previous?.seqLen === seqLen;
    if (previous && isAlike && !blendTo && !previous.blendTo && isSameBlend(previous.blend, blend)) {
      previous.numSteps += numSteps;
      previous.numTokens += numSteps * tokensPerStep;
      previous.lrTo = lrTo;
      previous.name = 'one blend';
    } else
      phases.push({
        name: phase.name,
        firstStep,
        numSteps,
        numTokens: numSteps * tokensPerStep,
        blend,
        ...(blendTo && !isSameBlend(blend, blendTo) ? { blendTo } : {}),
        ...(objective ? { objective } : {}),
        ...(seqLen === undefined ? {} : { seqLen }),
        lrFrom: lrAt(schedule, firstStep),
        lrTo,
      });
  }
  return phases;
}

function isSameBlend(a: Blend, b: Blend): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function spansOf(phases: readonly DesignPhase[], schedule: Schedule) {
  const starts = phases.map(({ begins }) => startOf(begins, schedule));
  starts.forEach((start, i) => {
    if (i > 0 && start < starts[i - 1]!)
      throw new ConfigError(
        `recipe.phases: "${phases[i]!.name}" would begin at step ${start}, before "${phases[i - 1]!.name}" at step ${starts[i - 1]}. Put them in the order in which they begin.`,
      );
  });
  return phases
    .map((phase, i) => ({
      phase,
      firstStep: starts[i]!,
      numSteps: (starts[i + 1] ?? schedule.numSteps) - starts[i]!,
    }))
    .filter((span) => span.numSteps > 0);
}

function startOf(begins: PhaseBegin, schedule: Schedule): number {
  switch (begins.kind) {
    case 'step':
      return Math.min(begins.step, schedule.numSteps);
    case 'tokens':
      return Math.min(schedule.numSteps, Math.round(begins.share * schedule.numSteps));
    case 'lrShare':
      return switchStep(schedule, begins.share);
    default:
      return begins satisfies never;
  }
}

/** Share of a corpus over a whole phase. */
export function shareInPhase({ blend, blendTo }: PlanPhase, corpus: string): number {
  const from = blend[corpus] ?? 0;
  return blendTo ? (from + (blendTo[corpus] ?? 0)) / 2 : from;
}

export function tokensOf(phases: readonly PlanPhase[], corpus: string): number {
  return phases.reduce((sum, phase) => sum + phase.numTokens * shareInPhase(phase, corpus), 0);
}

/** The blend of a phase after a share of it, 0 to 1. */
export function blendAt({ blend, blendTo }: PlanPhase, share: number): Blend {
  if (!blendTo) return blend;
  const names = [...new Set([...Object.keys(blend), ...Object.keys(blendTo)])];
  return normalizeWeights(
    Object.fromEntries(names.map((name) => [name, (blend[name] ?? 0) * (1 - share) + (blendTo[name] ?? 0) * share])),
  );
}

/** The blend that a step draws from. */
export function blendOfStep(phases: readonly PlanPhase[], step: number): Blend {
  const phase = phases.findLast(({ firstStep }) => firstStep <= step)!;
  return blendAt(phase, phase.numSteps > 1 ? (step - phase.firstStep) / (phase.numSteps - 1) : 0);
}

export interface Batch {
  seqLen: number;
  sequencesPerStep: number;
  sequencesPerMicroBatch: number;
}

/** The steps of a run cut into sequences of a length: as many tokens a step, and no more of them a pass where a sequence is none itself. */
export function cutSteps(run: Batch, seqLen: number): Batch {
  const sequencesPerStep = (run.sequencesPerStep * run.seqLen) / seqLen;
  let sequencesPerMicroBatch = Math.max(1, Math.floor((run.sequencesPerMicroBatch * run.seqLen) / seqLen));
  while (sequencesPerStep % sequencesPerMicroBatch !== 0) sequencesPerMicroBatch--;
  return { seqLen, sequencesPerStep, sequencesPerMicroBatch };
}

/** Tokens of the longest sequence of the run. */
export function longestSeqLen({ seqLen, phases }: Pick<Plan, 'seqLen' | 'phases'>): number {
  return phases.reduce((longest, phase) => Math.max(longest, phase.seqLen ?? seqLen), 0);
}

/** Tokens a sequence, on average over the run's tokens. */
export function meanSeqLen({ seqLen, phases }: Pick<Plan, 'seqLen' | 'phases'>): number {
  const sum = (value: (phase: PlanPhase) => number) => phases.reduce((total, phase) => total + value(phase), 0);
  return sum((phase) => phase.numTokens * (phase.seqLen ?? seqLen)) / sum((phase) => phase.numTokens);
}

export interface JobPhase extends Pick<PlanPhase, 'name' | 'firstStep' | 'numSteps' | 'blend' | 'objective'> {
  batch?: Batch;
}

/** The phases as an engine's job has them: each with one blend. A blend that moves is cut into pieces. */
export function jobPhases(plan: Batch & Pick<Plan, 'phases'>): JobPhase[] {
  return plan.phases.flatMap((phase) => {
    const { name, firstStep, numSteps, blend } = phase;
    const more = {
      ...(phase.objective ? { objective: phase.objective } : {}),
      ...(phase.seqLen === undefined ? {} : { batch: cutSteps(plan, phase.seqLen) }),
    };
    if (!phase.blendTo) return [{ name, firstStep, numSteps, blend, ...more }];
    const pieces = Math.min(GRADUAL_PIECES, numSteps);
    return Array.from({ length: pieces }, (_, i) => {
      const from = Math.floor((i * numSteps) / pieces);
      const to = Math.floor(((i + 1) * numSteps) / pieces);
      return {
        name: `${name}, ${i + 1} of ${pieces}`,
        firstStep: firstStep + from,
        numSteps: to - from,
        blend: blendAt(phase, (from + to) / 2 / numSteps),
        ...more,
      };
    });
  });
}

/** More capped corpora than this are told of together. */
const MAX_CAPS = 10;

/** Says where a corpus got less than its weight or size would give, because it would have been repeated too often. */
export function explainCaps(
  design: Design,
  schedule: Schedule,
  tokensPerStep: number,
  phases: readonly PlanPhase[],
  corpora: readonly BlendCorpus[],
  blending: Blending,
): Reason[] {
  const uncapped = makePhases(design, schedule, tokensPerStep, corpora, {
    ...blending,
    maxEpochs: Number.POSITIVE_INFINITY,
  });
  const capped = corpora.flatMap(({ name, maxEpochs }) => {
    const got = tokensOf(phases, name);
    const wanted = tokensOf(uncapped, name);
    return got < wanted * 0.999 ? [{ name, maxEpochs, got, wanted }] : [];
  });
  const source = 'Muennighoff et al. 2023 (from memory, unverified)';
  if (capped.length > MAX_CAPS) {
    const sum = (key: 'got' | 'wanted') => formatCount(capped.reduce((total, one) => total + one[key], 0));
    return [
      {
        what: `shares of ${capped.length} corpora`,
        value: `${sum('got')} instead of ${sum('wanted')} tokens`,
        why: `none is repeated more than ${blending.maxEpochs} times (recipe.maxEpochs), or its own maxEpochs, while others have text left`,
        source,
      },
    ];
  }
  return capped.map(({ name, maxEpochs, got, wanted }) => ({
    what: `share of ${name}`,
    value: `${formatCount(got)} instead of ${formatCount(wanted)} tokens`,
    why: `not repeated more than ${maxEpochs ?? blending.maxEpochs} times while others have text left (${maxEpochs === undefined ? 'recipe.maxEpochs' : `corpora.${name}.maxEpochs`})`,
    source,
  }));
}

/** "LR <= 20 % of the peak". */
export function describeBegin(begins: PhaseBegin): string {
  switch (begins.kind) {
    case 'step':
      return `step ${begins.step}`;
    case 'tokens':
      return `${formatShare(begins.share)} of the tokens`;
    case 'lrShare':
      return `LR <= ${formatShare(begins.share)} of the peak`;
    default:
      return begins satisfies never;
  }
}

type Cut = Pick<Plan, 'phases' | 'seqLen' | 'tokensPerStep' | 'sequencesPerStep'>;

/** Tokens of the sequences of every phase. */
export const stepLengths = ({ phases, seqLen }: Cut): number[] => [
  seqLen,
  ...phases.map((phase) => phase.seqLen ?? seqLen),
];

/** Sequences of a step that cannot be divided among so many processes; undefined where all can. */
export function unevenStep(plan: Cut, ranks: number): number | undefined {
  const counts = [plan.sequencesPerStep, ...stepLengths(plan).map((length) => plan.tokensPerStep / length)];
  return counts.find((count) => count % ranks !== 0);
}
