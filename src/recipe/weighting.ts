// How the corpora of a role share its tokens: by size, by weight, by quality, evenly, or in between; and which are up-weighted because the
// model is weak in what they teach.
import { ConfigError } from '../base/errors.ts';
import type { CommonOptions, Config, CorpusConfig } from '../config/index.ts';
import type { BlendCorpus } from './blends.ts';
import { FROM_FILE } from './learning-rates.ts';
import type { CorpusFacts, Reason } from './types.ts';

/**
 * Parmar et al. 2024, Fig. 2: the area in which the base was weakest, STEM, went from 4.7 to 10.9 % of the questions. So the weakest gets
 * 2.3 times its weight; linear in the score between it and the strongest: assumption.
 */
const WEAKEST_FACTOR = 2.3;

/** Corpora with the weight by which each draws, in tokens. */
export function weighCorpora(config: Config, corpora: readonly CorpusFacts[]): BlendCorpus[] {
  const options: CommonOptions = config.recipe.options;
  const given = new Map(config.corpora.map((corpus) => [corpus.name, corpus]));
  return corpora.map((corpus) => ({
    ...corpus,
    weight: weightOf(corpus, given.get(corpus.name), options),
    maxEpochs: given.get(corpus.name)?.maxEpochs,
  }));
}

function weightOf(corpus: CorpusFacts, given: CorpusConfig | undefined, options: CommonOptions): number {
  const { weight, quality = 1 } = given ?? {};
  const { sampling = 'size', weightsBy = 'tokens' } = options;
  if (weight === undefined) return quality * sampled(corpus.numTokens, sampling);
  if (options.sampling !== undefined)
    throw new ConfigError(
      `corpora.${corpus.name}.weight: recipe.sampling says how corpora share their tokens, so weights have no meaning. Remove one of the two.`,
    );
  // A document of a corpus with long ones is more tokens.
  const perUnit = weightsBy === 'documents' ? corpus.numTokens / Math.max(1, corpus.numDocuments) : 1;
  return weight * quality * perUnit;
}

function sampled(numTokens: number, sampling: NonNullable<CommonOptions['sampling']>): number {
  if (sampling === 'size') return numTokens;
  if (sampling === 'unimax') return 1;
  return numTokens ** (1 / sampling.temperature);
}

export function explainWeights({ recipe, corpora }: Config): Reason[] {
  const options: CommonOptions = recipe.options;
  const reasons: Reason[] = [];
  const { sampling, weightsBy } = options;
  if (weightsBy)
    reasons.push({
      what: 'weights',
      value: `by ${weightsBy}`,
      why:
        weightsBy === 'tokens'
          ? "a corpus' weight is its share of its role's tokens"
          : "a corpus' weight is its share of its role's documents; corpora with longer ones get more tokens",
      source: FROM_FILE,
    });
  if (sampling === 'unimax')
    reasons.push({
      what: 'sampling',
      value: 'unimax',
      why: 'every corpus of a role gets the same, until it has been read recipe.maxEpochs times',
      source: 'Chung et al. 2023, arXiv 2304.09151 (from memory, unverified)',
    });
  else if (sampling && sampling !== 'size')
    reasons.push({
      what: 'sampling',
      value: `temperature ${sampling.temperature}`,
      why: 'shares go as size to the power of 1 / temperature: 1 is by size, large ones come near to equal shares',
      source: 'Xue et al. 2021 (mT5) and others (from memory, unverified)',
    });
  const graded = corpora.filter((corpus) => corpus.quality !== undefined);
  if (graded.length > 0)
    reasons.push({
      what: 'quality',
      value: graded.map(({ name, quality }) => `${name} x ${quality}`).join(', '),
      why: 'better sources up-weighted inside their role: general blends with more of them did better (52.5 with the better half of the web against 51.5)',
      source: `${FROM_FILE}; Parmar et al. 2024, Table 5`,
    });
  return reasons;
}

/** Factors on weights in the last phase, from the base's scores; undefined where none are given or all are equal. */
export function weaknessBoost(options: CommonOptions): Record<string, number> | undefined {
  const scores = Object.entries(options.baseScores ?? {});
  const best = Math.max(...scores.map(([, score]) => score));
  const worst = Math.min(...scores.map(([, score]) => score));
  if (scores.length < 2 || !(best > worst)) return undefined;
  return Object.fromEntries(
    scores.map(([name, score]) => [name, 1 + (WEAKEST_FACTOR - 1) * ((best - score) / (best - worst))]),
  );
}

export function explainBoost(options: CommonOptions, boost: Record<string, number> | undefined): Reason[] {
  if (!options.baseScores) return [];
  return [
    {
      what: 'weakness of the base',
      value: boost
        ? Object.entries(boost)
            .map(([name, factor]) => `${name} x ${Number(factor.toFixed(2))}`)
            .join(', ')
        : 'no corpus up-weighted',
      why: boost
        ? `in the last phase, what the model is weakest in weighs up to ${WEAKEST_FACTOR} times as much; the strongest area keeps its weight`
        : 'fewer than two scores, or all equal',
      source: 'Parmar et al. 2024, Fig. 2 (STEM, the weak area, from 4.7 to 10.9 %); in between: assumption',
    },
  ];
}
