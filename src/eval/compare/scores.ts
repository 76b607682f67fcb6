// What a sample of a task scored, as numbers that can be compared in pairs.
import type { Sample, TaskResult } from '../types.ts';

/** What the numbers of a comparison mean. */
export type Unit = 'points' | 'bits per byte' | 'bits per word' | 'nats an answer' | 'score';

export interface PairedScores {
  unit: Unit;
  metric: string;
  filter: string;
  higherIsBetter: boolean;
  /** Every score is 0 or 1. */
  isBinary: boolean;
  pairs: { base: Sample; tuned: Sample; baseScore: number; tunedScore: number; size: number }[];
  /** Samples of one side alone. */
  numUnpaired: number;
}

/**
 * Scores of the samples that both sides have, paired by document. The metric is the first of `wanted` (the task's own order) that both
 * sides' samples bear.
 * @returns undefined where no metric can be had by document
 */
export function pairScores(
  task: TaskResult,
  base: readonly Sample[],
  tuned: readonly Sample[],
  wanted: readonly { metric: string; filter: string; higherIsBetter: boolean }[] = task.metrics,
): PairedScores | undefined {
  const matched = match(base, tuned);
  const numUnpaired = base.length + tuned.length - 2 * matched.length;
  for (const { metric, filter, higherIsBetter } of wanted) {
    const measure = measureOf(metric);
    const key = `${metric},${filter}`;
    const pairs = matched.flatMap(([first, second]) => {
      const [a, b] = [measure(first.scores[key]), measure(second.scores[key])];
      if (!a || !b) return [];
      return [{ base: first, tuned: second, baseScore: a.value, tunedScore: b.value, size: a.size }];
    });
    if (pairs.length === 0) continue;
    const values = pairs.flatMap(({ baseScore, tunedScore }) => [baseScore, tunedScore]);
    const isBinary = values.every((value) => value === 0 || value === 1);
    const unit = UNITS[metric] ?? (values.every((value) => value >= 0 && value <= 1) ? 'points' : 'score');
    // What is summed as a cost stays one, whichever way the metric itself counts.
    return {
      unit,
      metric,
      filter,
      higherIsBetter: UNITS[metric] ? false : higherIsBetter,
      isBinary,
      pairs,
      numUnpaired,
    };
  }
  return undefined;
}

/** Metrics that are no means over documents: compared by what they are made from. */
const UNITS: Readonly<Record<string, Unit>> = {
  bits_per_byte: 'bits per byte',
  byte_perplexity: 'bits per byte',
  word_perplexity: 'bits per word',
  perplexity: 'nats an answer',
};

type Measure = (score: unknown) => { value: number; size: number } | undefined;

/** (log-likelihood, bytes or words) of a text; the log-likelihood of an answer; any other score as it is. */
function measureOf(metric: string): Measure {
  const number = (value: unknown): number | undefined =>
    typeof value === 'boolean'
      ? Number(value)
      : typeof value === 'number' && Number.isFinite(value)
        ? value
        : undefined;
  if (UNITS[metric] === 'nats an answer')
    return (score) => {
      const value = number(score);
      return value === undefined ? undefined : { value: -value, size: 1 };
    };
  if (UNITS[metric])
    return (score) => {
      const [logLikelihood, size] = Array.isArray(score) ? score.map(number) : [];
      return logLikelihood === undefined || !size ? undefined : { value: -logLikelihood, size };
    };
  return (score) => {
    const value = number(score);
    return value === undefined ? undefined : { value, size: 1 };
  };
}

/** By the documents' fingerprints; a document that stands in a set several times is paired in its order. */
function match(base: readonly Sample[], tuned: readonly Sample[]): [Sample, Sample][] {
  const waiting = new Map<string, Sample[]>();
  for (const sample of tuned.toSorted((a, b) => a.docId - b.docId))
    waiting.set(sample.docHash, [...(waiting.get(sample.docHash) ?? []), sample]);
  return base
    .toSorted((a, b) => a.docId - b.docId)
    .flatMap((sample) => {
      const found = waiting.get(sample.docHash)?.shift();
      return found ? [[sample, found] as [Sample, Sample]] : [];
    });
}

/** Fields of documents in which several questions share a text, in the formats of common tasks. */
const PASSAGE_FIELDS = ['passage', 'context', 'article', 'story', 'paragraph', 'background', 'document', 'text'];
/** Characters from which a shared text is a passage and not a label. */
const MIN_PASSAGE = 80;

/** The field whose text several of the documents share, and each document's; undefined where each stands alone. */
export function passagesOf(
  documents: readonly Record<string, unknown>[],
): { field: string; clusters: string[] } | undefined {
  for (const field of PASSAGE_FIELDS) {
    const texts = documents.map((doc) => doc[field]);
    if (!texts.every((text) => typeof text === 'string' && text.length >= MIN_PASSAGE)) continue;
    const numTexts = new Set(texts).size;
    if (numTexts > 1 && numTexts < texts.length) return { field, clusters: texts as string[] };
  }
  return undefined;
}
