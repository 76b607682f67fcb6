// Runs from one base beside each other, and what follows from their figures: what a careful run kept of a reference run's gain on
// the domain, and how much of its loss on the general text it took.
import type { RunSummary } from './types.ts';

export interface ComparisonRow {
  label: string;
  domain: number | undefined;
  general: number | undefined;
  /** Relative to the base, percent; undefined for the base itself. */
  domainPercent: number | undefined;
  generalPercent: number | undefined;
  tokens: number | undefined;
  tokensPerSecond: number | undefined;
  trainSeconds: number | undefined;
}

export interface Verdict {
  /** Candidate's fall in domain bits per byte over the reference's; undefined when the reference did not gain. */
  gainShare: number | undefined;
  /** Candidate's rise in general bits per byte over the reference's; undefined when the reference lost nothing. */
  lossShare: number | undefined;
  /** Both thresholds hold. */
  holds: boolean;
  sentence: string;
}

/** What the demo promises of a recipe against naive training (docs/LOG.md has the measurements). */
export const MIN_GAIN_SHARE = 0.95;
export const MAX_LOSS_SHARE = 0.2;

/** A row for the base (as the first run scored it before training) and one for each run. */
export function compareRuns(
  baseLabel: string,
  runs: readonly { label: string; summary: RunSummary }[],
): ComparisonRow[] {
  const first = runs[0]?.summary;
  const base: ComparisonRow = {
    label: baseLabel,
    domain: first?.domain?.first,
    general: first?.general?.first,
    domainPercent: undefined,
    generalPercent: undefined,
    tokens: undefined,
    tokensPerSecond: undefined,
    trainSeconds: undefined,
  };
  return [
    base,
    ...runs.map(({ label, summary }) => ({
      label,
      domain: summary.domain?.last,
      general: summary.general?.last,
      domainPercent: summary.domain?.deltaPercent,
      generalPercent: summary.general?.deltaPercent,
      tokens: summary.tokens,
      tokensPerSecond: summary.tokensPerSecond,
      trainSeconds: summary.trainSeconds,
    })),
  ];
}

/** Judges `candidate` against `reference`. Losses are counted from zero: a run that improves on the general text has lost nothing. */
export function judge(
  reference: { label: string; summary: RunSummary },
  candidate: { label: string; summary: RunSummary },
): Verdict {
  const [a, b] = [reference.summary, candidate.summary];
  if (!a.domain || !a.general || !b.domain || !b.general)
    return {
      gainShare: undefined,
      lossShare: undefined,
      holds: false,
      sentence: 'No verdict: a run lacks domain or general scores.',
    };
  const gains = [-a.domain.delta, -b.domain.delta] as const;
  const losses = [Math.max(0, a.general.delta), Math.max(0, b.general.delta)] as const;
  const gainShare = gains[0] > 0 ? gains[1] / gains[0] : undefined;
  const lossShare = losses[0] > 0 ? losses[1] / losses[0] : undefined;
  const gainHolds = gainShare === undefined ? gains[1] >= gains[0] : gainShare >= MIN_GAIN_SHARE;
  const lossHolds = lossShare === undefined ? losses[1] === 0 : lossShare <= MAX_LOSS_SHARE;
  const holds = gainHolds && lossHolds;
  return {
    gainShare,
    lossShare,
    holds,
    sentence: verdictSentence(reference.label, candidate.label, { gains, losses, gainShare, lossShare, holds }),
  };
}

interface Figures {
  gains: readonly [number, number];
  losses: readonly [number, number];
  gainShare: number | undefined;
  lossShare: number | undefined;
  holds: boolean;
}

function verdictSentence(
  reference: string,
  candidate: string,
  { gains, losses, gainShare, lossShare, holds }: Figures,
): string {
  const gain =
    gainShare === undefined
      ? `${reference} gained nothing on the domain; ${candidate} ${gains[1] > 0 ? `gained ${gains[1].toFixed(3)}` : 'neither'}`
      : gainShare > 0
        ? `${candidate} has ${percent(gainShare)} of the gain of ${reference} on the domain (${gains[1].toFixed(3)} of ${gains[0].toFixed(3)} bits per byte)`
        : `${candidate} gained nothing on the domain, ${reference} ${gains[0].toFixed(3)} bits per byte`;
  const loss =
    lossShare === undefined
      ? `${reference} lost nothing on the general text${losses[1] > 0 ? `, ${candidate} ${losses[1].toFixed(3)}` : ', nor did it'}`
      : lossShare > 0
        ? `${percent(lossShare)} of its loss on the general text (${losses[1].toFixed(3)} of ${losses[0].toFixed(3)})`
        : `none of its loss on the general text (${losses[0].toFixed(3)})`;
  const asked = `asked for: at least ${percent(MIN_GAIN_SHARE)} of the gain, at most ${percent(MAX_LOSS_SHARE)} of the loss`;
  return `${holds ? 'Holds' : 'Does not hold'}: ${gain}, and ${loss}; ${asked}.`;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(0)} %`;
}
