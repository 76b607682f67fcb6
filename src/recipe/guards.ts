// What holds a model to what it knew, beside replay: the values that continuo.yaml leaves open, with their reasons. docs/guards.md derives
// the methods.
import { ConfigError } from '../base/errors.ts';
import { formatCount } from '../base/units.ts';
import type { Config, DistillOn, EwcConfig, FisherPer, L2Config } from '../config/index.ts';
import { chosen, FROM_FILE, formatShare } from './learning-rates.ts';
import type { PlanInputs, Reason } from './types.ts';

/** General text that the model wrote itself, as a row of the plan. */
export function explainGenerated({ corpora }: Config): Reason[] {
  return corpora.flatMap(({ name, generated }) =>
    generated
      ? {
          what: `corpus "${name}"`,
          value: `${formatCount(generated.tokens)} tokens, written by the model itself at temperature ${generated.temperature ?? 1}`,
          why: 'what a model says unasked is a sample of what it learned: replayed where its pretraining text is not to be had',
          source: `${FROM_FILE}; Sun et al. 2020 (LAMOL, arXiv 1909.03329), Huang et al. 2024 (SSR, arXiv 2403.01244)`,
        }
      : [],
  );
}

export interface GuardPlan {
  ewc?: { strength: number; sequences: number; per: FisherPer; previous?: string; decay?: number };
  l2?: Required<L2Config>;
  /** Which corpora's tokens are drawn to what the model as it came predicts, and how. Without topK, to all of its logits. */
  distill?: { on: DistillOn; corpora: string[]; weight: number; temperature: number; topK?: number };
}

/** Of 1, 10, 100 and 1000 on the embedded base the one that kept 93 % of the gain with less than half of the forgetting (docs/LOG.md). */
const EWC_STRENGTH = 100;
/** Assumption: a Fisher of TiC-LM was measured on 100 batches (Li et al. 2025). */
const FISHER_SEQUENCES = 128;
/** Of 0.01 and 0.1 on the embedded base: the latter cost a quarter of the gain (docs/LOG.md). */
const L2_STRENGTH = 0.01;
/** Assumption: of a Fisher of ten rounds ago 60 % are left. */
const FISHER_DECAY = 0.95;

/** Measuring what to guard shall stay small beside the run. Assumption. */
const MAX_FISHER_SHARE = 0.1;

/**
 * The guards of a preset that has EWC of its own, where continuo.yaml names none.
 * @param fits whether the run with EWC has room in the memory
 */
export function usualGuard(
  { config, corpora }: Pick<PlanInputs, 'config' | 'corpora'>,
  { seqLen, totalTokens }: { seqLen: number; totalTokens: number },
  fits: () => boolean,
  reasons: Reason[],
): Config['guard'] {
  const fisherTokens = FISHER_SEQUENCES * seqLen;
  const { lora, freeze, expand } = config.training;
  const objections: [applies: () => boolean, why: string][] = [
    [() => config.model.kind === 'new', 'the model knows nothing yet'],
    [() => Boolean(lora || freeze || expand), 'most weights stay as they are'],
    [() => config.engine.name !== 'native', 'its Fisher is measured on the processor, and this run is for GPUs'],
    [() => !corpora.some(({ role }) => role === 'general'), 'it weighs weights by general text, and there is none'],
    [
      () => fisherTokens > MAX_FISHER_SHARE * totalTokens,
      `its Fisher takes ${formatCount(fisherTokens)} tokens, more than ${formatShare(MAX_FISHER_SHARE)} of the run`,
    ],
    [() => !fits(), 'its 4 bytes a parameter do not fit into the memory'],
  ];
  const against = objections.find(([applies]) => applies())?.[1];
  reasons.push({
    what: 'guard',
    value: against === undefined ? 'EWC' : 'none',
    why:
      against === undefined
        ? 'kept most of what the run learned and lost about half as much, at the same speed; guard: false takes it out'
        : `EWC is left out: ${against}`,
    source: 'experiments/forgetting',
  });
  return against === undefined ? { ewc: {} } : undefined;
}

/** @param run its sequences' length, and all its tokens */
export function planGuard(
  guard: Config['guard'],
  run: { seqLen: number; totalTokens: number; sequencesPerStep: number },
  reasons: Reason[],
): GuardPlan | undefined {
  if (!guard?.ewc && !guard?.l2) return undefined;
  const take = <T>(choice: { value: T; reason: Reason }): T => {
    reasons.push(choice.reason);
    return choice.value;
  };
  return {
    ...(guard.ewc && { ewc: planEwc(guard.ewc, run, take) }),
    ...(guard.l2 && { l2: planL2(guard.l2, take) }),
  };
}

type Take = <T>(choice: { value: T; reason: Reason }) => T;

function planEwc(
  { strength, sequences, per = 'sequence', previous, decay }: EwcConfig,
  { seqLen, totalTokens, sequencesPerStep }: { seqLen: number; totalTokens: number; sequencesPerStep: number },
  take: Take,
): GuardPlan['ewc'] {
  const numSequences = take(
    chosen(
      'EWC: Fisher from',
      sequences,
      FISHER_SEQUENCES,
      (n) =>
        `${n} sequences of general text (${formatCount(n * seqLen)} tokens, ${formatShare((n * seqLen) / totalTokens)} of the run's work), one squared gradient a ${per}`,
      per === 'sequence'
        ? 'the squared gradient of each sequence apart: the empirical Fisher'
        : 'one squared gradient a batch costs the same work and gives fewer terms, so more noise',
      'Kirkpatrick et al. 2017; their number: assumption',
    ),
  );
  if (per === 'batch' && numSequences < sequencesPerStep)
    throw new ConfigError(
      `guard.ewc.sequences: one batch has ${sequencesPerStep} sequences, found ${numSequences}. Raise it, or take per: sequence.`,
    );
  return {
    strength: take(
      chosen(
        'EWC: strength',
        strength,
        EWC_STRENGTH,
        String,
        "the general text's rise of loss, as its Fisher foretells it, counts this many times the loss that is trained on; the diagonal foretells a small part of the rise",
        'Kirkpatrick et al. 2017; docs/LOG.md',
      ),
    ),
    sequences: numSequences,
    per,
    ...(previous !== undefined && {
      previous,
      decay: take(
        chosen(
          'EWC: earlier Fisher',
          decay,
          FISHER_DECAY,
          (share) => `${formatShare(share)} of that of ${previous} is added`,
          'what was guarded before stays guarded, around the weights that this run begins with',
          'Schwarz et al. 2018 (online EWC); the share: assumption',
        ),
      ),
    }),
  };
}

function planL2({ toward, strength }: L2Config, take: Take): Required<L2Config> {
  return {
    toward,
    strength: take(
      chosen(
        'L2 penalty',
        strength,
        L2_STRENGTH,
        (value) =>
          `${value} toward ${toward === 'base' ? 'the base' : 'a fresh draw of the initialisation (exploratory: the one this model began with is not known)'}`,
        'half of it times the squared distance of all weights is added to the loss',
        toward === 'base' ? 'Li et al. 2018 (L2-SP); docs/LOG.md' : 'Kumar et al. 2023 (L2 init); docs/LOG.md',
      ),
    ),
  };
}

/** Under an L2 penalty the weights decay toward its anchor; AdamW's own decay, toward 0, would pull against it. */
export function weightDecayUnder(guard: Config['guard']): { value: number; why: string; source: string } | undefined {
  if (!guard?.l2) return undefined;
  return {
    value: 0,
    why: `none: guard.l2 lets the weights decay toward the ${guard.l2.toward === 'base' ? 'base' : 'initialisation'} instead of toward 0`,
    source: `Li et al. 2018; ${FROM_FILE}`,
  };
}

export type Penalty = 'alike' | 'fisher' | undefined;

/** What of a guard takes memory for each weight. */
export function penaltyOf(guard: GuardPlan | undefined): Penalty {
  if (guard?.ewc) return 'fisher';
  return guard?.l2 && 'alike';
}
