// New shares for topics by how far each has come: the step that Llama-3-SynE makes at intervals of its continued pretraining (Chen et al.
// 2024, arXiv 2407.18743). Topics are corpora of their own. Not here: who measures, and when (a run's held-out sets; pipeline/mixture.ts).
import { ConfigError } from '../base/errors.ts';

/** Assumption: the paper's value is not known here. No share is moved by more than a factor of 3 against another in one step. */
export const DEFAULT_MIXTURE_RATE = 0.5;

export interface TopicProgress {
  name: string;
  /** Share of the mixture until now; any common scale. */
  share: number;
  /** Perplexity of its held-out text at the beginning and at the end of the interval. */
  before: number;
  after: number;
  /** How much the topic matters beside the others; 1 when left out. */
  importance?: number;
}

export interface TopicMove {
  name: string;
  /** Of all topics together; sums to 1. */
  share: number;
  /** Relative change of the perplexity. */
  change: number;
  factor: number;
  newShare: number;
}

/**
 * r_i f_i / sum_j r_j f_j with f_i = 1 + rate d_i w_i: topics whose perplexity fell least, or rose, get more. d_i is the relative change of
 * perplexity over the largest of all, by size: an assumption, since how the paper scales it was not to be read.
 * @param rate from 0 (nothing moves) to below 1
 * @throws ConfigError for fewer than two topics, and numbers that are none
 */
export function moveMixture(topics: readonly TopicProgress[], rate = DEFAULT_MIXTURE_RATE): TopicMove[] {
  if (topics.length < 2)
    throw new ConfigError(`A mixture of ${topics.length} has no shares to move: expected two topics or more.`);
  if (!(rate >= 0 && rate < 1)) throw new ConfigError(`The rate is ${rate}, expected a number from 0 to below 1.`);
  const largestImportance = Math.max(...topics.map(({ importance = 1 }) => importance));
  for (const { name, share, before, after, importance = 1 } of topics)
    if (
      !(share > 0 && before > 0 && after > 0 && importance >= 0 && Number.isFinite(share + before + after + importance))
    )
      throw new ConfigError(
        `"${name}" has share ${share}, perplexities ${before} and ${after}, importance ${importance}: expected positive numbers.`,
      );
  const total = topics.reduce((sum, { share }) => sum + share, 0);
  const changes = topics.map(({ before, after }) => (after - before) / before);
  const scale = Math.max(...changes.map(Math.abs)) * largestImportance;
  const moved = topics.map(({ share, importance = 1 }, i) => {
    const factor = scale > 0 ? 1 + (rate * changes[i]! * importance) / scale : 1;
    return { share: share / total, factor };
  });
  const sum = moved.reduce((all, { share, factor }) => all + share * factor, 0);
  return moved.map(({ share, factor }, i) => ({
    name: topics[i]!.name,
    ...{ share, change: changes[i]!, factor, newShare: (share * factor) / sum },
  }));
}
