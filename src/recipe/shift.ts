// How far the text to be learned lies from what the model knows: from two measurements (src/pipeline/shift.ts takes them), a verdict, and
// from the verdict the share of replay and whether to warm the LR up again. The shares are those of Ibrahim et al. 2024; where the line
// between weak and strong runs is an assumption of ours, anchored on pairs of texts that are known to be near or far (docs/LOG.md).
import { formatCount } from '../base/units.ts';
import type { Reason } from './types.ts';

export type ShiftVerdict = 'none' | 'weak' | 'strong';

export interface CorpusShift {
  corpus: string;
  verdict: ShiftVerdict;
  /** Of the model as it comes, on held-out text. */
  bitsPerByte?: { corpus: number; general: number };
  /** Of token frequencies; absent where a corpus is too small to tell. */
  frequencies?: {
    /** Jensen-Shannon divergence from the general text, bits: 0 the same, 1 no token in common. */
    divergence: number;
    /** The same between two halves of the general text: what samples of this size differ by when there is no shift. */
    baseline: number;
    /** Tokens in each sample. */
    sampleTokens: number;
  };
}

export interface Shift {
  /** Of the corpus that lies furthest away. */
  verdict: ShiftVerdict;
  corpora: CorpusShift[];
  /** The general corpora that they were compared with. */
  general: string[];
  /** Why there are no bits per byte. */
  notScored?: string;
}

/**
 * Jensen-Shannon divergence of two distributions given as counts, bits. Its estimate is too high by an amount that depends on the sizes
 * of the samples (Shade and Altmann 2023, arXiv 2305.02457): compare samples of one size, and take a baseline.
 */
export function divergence(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const totals = [a, b].map((counts) => Array.from(counts).reduce((sum, n) => sum + n, 0));
  let bits = 0;
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    const p = (a[i] ?? 0) / totals[0]!;
    const q = (b[i] ?? 0) / totals[1]!;
    const middle = (p + q) / 2;
    if (p > 0) bits += (p / 2) * Math.log2(p / middle);
    if (q > 0) bits += (q / 2) * Math.log2(q / middle);
  }
  return Math.min(1, Math.max(0, bits));
}

/** What was measured of one corpus: one of the two at least. */
export type ShiftEvidence = Omit<CorpusShift, 'verdict'>;

/**
 * Assumptions. A wrong "strong" costs a little of the domain (0.05 nats with 25 % replay), a wrong "weak" up to a nat of the general text
 * (Ibrahim et al. 2024, German after Pile), so the lines are drawn low. Anchors (docs/LOG.md): PostgreSQL's manual after the embedded
 * base, which at 25 % replay still forgot half of what a naive run forgets, has to be strong; so do program code and German after English
 * (frequencies 0.36 and 0.53 above the halves). Single sources out of the base's own pretraining lie 0.15 to 0.23 above them.
 */
const NO_SHIFT = { bitsRatio: 1.03, excess: 0.05 };
const STRONG_SHIFT = { bitsRatio: 1.15, excess: 0.25 };

const VERDICTS = ['none', 'weak', 'strong'] as const satisfies readonly ShiftVerdict[];

function levelOf(value: number, none: number, strong: number): number {
  return value <= none ? 0 : value >= strong ? 2 : 1;
}

/**
 * What the model cannot predict decides; other words alone, in text that it predicts as well as the general text, are a weak shift at
 * most. Kinds of text differ in bits per byte without any shift (tables are easy, poems hard): hence both measurements.
 */
export function judgeShift({ frequencies, bitsPerByte }: ShiftEvidence): ShiftVerdict {
  const tokens = frequencies
    ? levelOf(frequencies.divergence - frequencies.baseline, NO_SHIFT.excess, STRONG_SHIFT.excess)
    : undefined;
  if (!bitsPerByte) return VERDICTS[tokens!]!;
  const bits = levelOf(bitsPerByte.corpus / bitsPerByte.general, NO_SHIFT.bitsRatio, STRONG_SHIFT.bitsRatio);
  return VERDICTS[bits === 0 ? Math.min(tokens ?? 0, 1) : Math.max(bits, tokens ?? 0)]!;
}

/** @param evidence one entry at least */
export function assessShift(evidence: readonly ShiftEvidence[], general: string[], notScored?: string): Shift {
  const corpora = evidence.map((one) => ({ ...one, verdict: judgeShift(one) }));
  const verdict = VERDICTS.findLast((level) => corpora.some((one) => one.verdict === level))!;
  return { verdict, corpora, general, ...(notScored === undefined ? {} : { notScored }) };
}

/** The measurements of the corpus that decided, as a part of a sentence. */
export function shiftEvidence({ verdict, corpora }: Shift): string {
  const { corpus, bitsPerByte, frequencies } = corpora.find((one) => one.verdict === verdict)!;
  const parts = [
    ...(bitsPerByte
      ? [
          `${bitsPerByte.corpus.toFixed(3)} bits per byte against ${bitsPerByte.general.toFixed(3)} on the general text (x ${(bitsPerByte.corpus / bitsPerByte.general).toFixed(2)})`,
        ]
      : []),
    ...(frequencies
      ? [
          `token frequencies ${frequencies.divergence.toFixed(3)} bits apart where halves of the general text are ${frequencies.baseline.toFixed(3)} apart (${formatCount(frequencies.sampleTokens)} tokens each)`,
        ]
      : []),
  ];
  return `${corpus}: ${parts.join(', ')}`;
}

/** What the plan's page says: the verdict, then the evidence of every corpus. */
export function explainShift(shift: Shift): string[] {
  const { verdict, corpora, general, notScored } = shift;
  return [
    `${verdict === 'none' ? 'No shift' : `A ${verdict} shift`} between the text to learn and what the model knows (${general.join(', ')} stands for that).`,
    ...corpora.map((one) => `${shiftEvidence({ ...shift, verdict: one.verdict, corpora: [one] })}: ${one.verdict}.`),
    ...(notScored ? [`${notScored[0]!.toUpperCase()}${notScored.slice(1)}.`] : []),
  ];
}

/** Share of general text that kept the general loss, by shift (Ibrahim et al. 2024, 405M). No shift: as a weak one, the least that was good. */
export const REPLAY_BY_SHIFT: Record<ShiftVerdict, number> = { none: 0.05, weak: 0.05, strong: 0.25 };

/** What holds: the user's word, else the measurement, else the assumption that new documents are a strong one; and how it is known. */
export function shiftOf(
  given: 'weak' | 'strong' | undefined,
  measured: Shift | undefined,
): { verdict: ShiftVerdict; how: string } {
  if (given) return { verdict: given, how: '' };
  if (measured) return { verdict: measured.verdict, how: ' (measured)' };
  return { verdict: 'strong', how: ' (assumed; shift: weak takes 5 %)' };
}

const REWARMING: Record<ShiftVerdict, { value: string; why: string; source: string }> = {
  none: {
    value: 'not advised',
    why: 'the text is what the model knows: an annealed model goes on from its final LR, and any warm-up lowered the result',
    source: 'Parmar et al. 2024 (reported by a survey; table not seen)',
  },
  weak: {
    value: 'not advised',
    why: 'over a weak shift re-warming gained 0.05 nats on the new text (2.55 to 2.50) and cost 0.02 on the old',
    source: 'Ibrahim et al. 2024, 405M, SlimPajama after Pile',
  },
  strong: {
    value: 'advised where the domain must be learned well',
    why: 'over a strong shift the final LR learned clearly worse than the re-warmed peak (1.21 against 1.11 nats) and forgot less (3.22 against 3.56 without replay): recipe.startAt: middle, or the recipe rewarm-replay',
    source: 'Ibrahim et al. 2024, 405M, German after Pile',
  },
};

/** The verdict with its evidence, and what it says about warming the LR up again. */
export function shiftReasons(shift: Shift): Reason[] {
  const { value, why, source } = REWARMING[shift.verdict];
  const unscored = shift.notScored ? `; ${shift.notScored}` : '';
  return [
    {
      what: 'distribution shift',
      value: `${shift.verdict}, measured`,
      why: `${shiftEvidence(shift)}${unscored}`,
      source: `measured; that x ${STRONG_SHIFT.bitsRatio} bits per byte or ${STRONG_SHIFT.excess} bits above the halves are strong, x ${NO_SHIFT.bitsRatio} and ${NO_SHIFT.excess} none: assumptions`,
    },
    { what: 're-warming', value, why, source },
  ];
}
