// What learning rates a model was pretrained with: recorded or published facts first, an assumption by size otherwise, and which of them
// it is.
import { formatCount } from '../base/units.ts';
import type { ModelFactsForPlan, Reason } from './types.ts';

export interface LrFact {
  lr: number;
  /** Read from the model's own files, or published by those who trained it. */
  isRecorded: boolean;
  why: string;
  source: string;
}

/** Final over peak LR of a pretraining, where only one is known: a tenth, as in Parmar et al. 2024 (4.5e-4 to 4.5e-5) and most others. */
const FINAL_OVER_PEAK = 0.1;

/**
 * Assumption. Peak LR of a pretraining by size: the power law through two peaks of the GPT-3 family, 6e-4 at 125M and 1.2e-4 at 6.7B
 * parameters (quoted from memory, unverified). A tenth of it gives 1.2e-5 at 7B, inside the 5e-6 to 3e-5 that continued pretraining of
 * annealed 7-8B models uses (PIT, EntiGraph, SynE, ChipNeMo, UltraLong), and 3.8e-5 at 405M, where Ibrahim et al. 2024 had 3e-5.
 */
export function assumedPeakLr(numParameters: number): number {
  const lr = 6e-4 * (125e6 / Math.max(numParameters, 1)) ** 0.4;
  return Number(Math.min(3e-3, Math.max(3e-5, lr)).toPrecision(2));
}

export function pretrainingPeakLr(model: ModelFactsForPlan): LrFact {
  const { peakLr, finalLr, source = '' } = model.pretraining ?? {};
  if (peakLr) return { lr: peakLr, isRecorded: true, why: `the peak LR of pretraining, as ${found(model)}`, source };
  if (finalLr)
    return {
      lr: finalLr / FINAL_OVER_PEAK,
      isRecorded: false,
      why: `ten times the recorded final LR of pretraining (${formatLr(finalLr)}); the peak itself is not recorded`,
      source: 'assumption',
    };
  return {
    lr: assumedPeakLr(model.numParameters),
    isRecorded: false,
    why: `ASSUMED: ${unknown(model)} the LRs of its pretraining; this is a usual peak at ${formatCount(model.numParameters)} parameters`,
    source: 'assumption',
  };
}

export function pretrainingFinalLr(model: ModelFactsForPlan): LrFact {
  const { peakLr, finalLr, source = '' } = model.pretraining ?? {};
  if (finalLr)
    return {
      lr: finalLr,
      isRecorded: true,
      why: `the LR at which pretraining ended, as ${found(model)}`,
      source,
    };
  if (peakLr && finalLr === 0) return afterZero(model, peakLr);
  if (peakLr)
    return {
      lr: rounded(peakLr * FINAL_OVER_PEAK),
      isRecorded: false,
      why: `a tenth of the ${model.pretraining?.published ? 'published' : 'recorded'} peak LR of pretraining (${formatLr(peakLr)}); the final LR itself is not ${model.pretraining?.published ? 'published' : 'recorded'}`,
      source: model.pretraining?.published ? `assumption. Peak: ${source}` : 'assumption',
    };
  return {
    lr: Number((assumedPeakLr(model.numParameters) * FINAL_OVER_PEAK).toPrecision(2)),
    isRecorded: false,
    why:
      `ASSUMED: ${unknown(model)} the LR at which its pretraining ended; this is a tenth of a usual peak at ` +
      `${formatCount(model.numParameters)} parameters. If you know the true one, set recipe.peakLr to it`,
    source: 'assumption',
  };
}

/**
 * Pretraining ended at an LR of 0. A tenth of its peak, for steps of its size; for smaller ones, less by the square root of their size
 * (Malladi et al. 2022), but not below what is usual at this number of parameters, where the rule would leave too little to learn with.
 */
function afterZero(model: ModelFactsForPlan, peakLr: number): LrFact {
  const { pretraining, stepTokens, numParameters } = model;
  const tenth = peakLr * FINAL_OVER_PEAK;
  const before = pretraining?.batchTokens;
  const why =
    `pretraining ended at an LR of 0, from which nothing can go on. A tenth of its peak (${formatLr(peakLr)}) is where most schedules end, ` +
    'and what the training of SmolLM3 on longer sequences took after such an end (peak 2e-4, then 2e-5)';
  const source = `huggingface/smollm, smollm3/long_context_4k_to_32k.yaml; that it is right for your text: assumption. Peak: ${pretraining?.source}`;
  if (!before || !stepTokens || stepTokens >= before) return { lr: rounded(tenth), isRecorded: false, why, source };
  const scaled = tenth * Math.sqrt(stepTokens / before);
  const usual = Math.min(tenth, assumedPeakLr(numParameters) * FINAL_OVER_PEAK);
  const rule = `with steps of ${formatCount(stepTokens)} tokens instead of ${formatCount(before)}, Adam wants the square root of that less`;
  return {
    lr: Number(Math.max(scaled, usual).toPrecision(2)),
    isRecorded: false,
    why:
      scaled >= usual
        ? `${why}: ${formatLr(tenth)}; ${rule}`
        : `${why}: ${formatLr(tenth)}; ${rule} (${formatLr(Number(scaled.toPrecision(2)))}), but this is usual at ${formatCount(numParameters)} parameters`,
    source: `Malladi et al. 2022 (arXiv 2205.10287); ${source}`,
  };
}

function found({ pretraining }: ModelFactsForPlan): string {
  return pretraining?.published ? 'published' : 'recorded with the model';
}

/** "the model does not record", or whose authors do not publish it. */
function unknown({ known }: ModelFactsForPlan): string {
  return known ? `the authors of ${known.names.join(' or ')} do not publish` : 'the model does not record';
}

/** A tenth of a decimal without the noise of binary fractions. */
function rounded(lr: number): number {
  return Number(lr.toPrecision(12));
}

/** The geometric middle of final and peak LR. */
export function pretrainingMiddleLr(model: ModelFactsForPlan): LrFact {
  const final = pretrainingFinalLr(model);
  const peak = pretrainingPeakLr(model);
  return {
    lr: Number(Math.sqrt(final.lr * peak.lr).toPrecision(2)),
    isRecorded: final.isRecorded && peak.isRecorded,
    why: `between the final LR (${formatLr(final.lr)}) and the peak LR (${formatLr(peak.lr)}) of pretraining`,
    source: final.isRecorded ? final.source : peak.source,
  };
}

/** 0.000045 -> "4.5e-5". */
export function formatLr(lr: number): string {
  return lr === 0
    ? '0'
    : lr
        .toExponential(2)
        .replace(/\.?0+e/, 'e')
        .replace('e+0', '');
}

export function formatShare(share: number): string {
  const percent = share * 100;
  return `${Number(percent.toFixed(percent < 10 ? 1 : 0))} %`;
}

export const FROM_FILE = 'continuo.yaml';

/** The value the user gave, or the derived one; and the reason for it. */
export function chosen<T>(
  what: string,
  given: T | undefined,
  derived: T,
  format: (value: T) => string,
  why: string,
  source: string,
): { value: T; reason: Reason } {
  if (given !== undefined)
    return { value: given, reason: { what, value: format(given), why: 'as you set it', source: FROM_FILE } };
  return { value: derived, reason: { what, value: format(derived), why, source } };
}

/** Two sources in one; one where they are the same. */
export function bothSources(first: string, second: string): string {
  return first === second ? first : `${first}; ${second}`;
}
