// Importance of a document for a target, by hashed n-grams (DSIR, Xie et al. 2023, arXiv 2302.03169): words and pairs of words fall into
// 10,000 buckets; the target and the corpus are each a distribution over buckets; a document's weight is the ratio of its probabilities under
// the two, and documents are sampled by it without replacement (Gumbel noise on the logarithms, then the largest).
//
// Two departures. The paper's target model has a floor of 1e-8, so that with a small target each unseen bucket costs a document nine nats
// whatever it is; here unseen buckets lean on the corpus (Dirichlet prior, Zhai and Lafferty 2001). And the paper weighs pieces of equal
// length, where a document's sum grows with its length until noise means nothing; here it is the mean of its features times those of a piece.
import type { FeatureCounts } from '../mining/features.ts';
import { NUM_BUCKETS } from '../mining/features.ts';

/** As in the paper. */
export const NUM_NGRAMS = 10_000;
/** Features that the corpus is worth in the target's model: one a bucket on average (assumption). */
const PRIOR = NUM_NGRAMS;
/** Features of a piece of 128 words, the paper's length. */
const PIECE_FEATURES = 255;

const ngramOf = (bucket: number): number => Math.floor((bucket * NUM_NGRAMS) / NUM_BUCKETS);

/** Adds a text's features to `counts` (NUM_NGRAMS). */
export function addNgrams({ buckets, numBuckets, counts: times }: FeatureCounts, counts: Float64Array): void {
  for (let i = 0; i < numBuckets; i++) counts[ngramOf(buckets[i])] += times[buckets[i]];
}

/** ln P(bucket | target) - ln P(bucket | corpus), from counts of NUM_NGRAMS buckets each. */
export function logRatios(target: Float64Array, corpus: Float64Array): Float64Array {
  const [numTarget, numCorpus] = [total(target), total(corpus)];
  return Float64Array.from(target, (count, i) => {
    // Half an occurrence for what the corpus lacks: no bucket is impossible.
    const general = (corpus[i] + 0.5) / (numCorpus + 0.5 * NUM_NGRAMS);
    return Math.log((count + PRIOR * general) / (numTarget + PRIOR)) - Math.log(general);
  });
}

/** Logarithm of a document's importance; 0 where it has no features. */
export function logImportance({ buckets, numBuckets, counts }: FeatureCounts, ratios: Float64Array): number {
  let sum = 0;
  let numFeatures = 0;
  for (let i = 0; i < numBuckets; i++) {
    const count = counts[buckets[i]];
    sum += count * ratios[ngramOf(buckets[i])];
    numFeatures += count;
  }
  return numFeatures === 0 ? 0 : (sum / numFeatures) * Math.min(numFeatures, PIECE_FEATURES);
}

/** Kullback-Leibler divergence of the target from `text` in nats a feature, both smoothed by one half a bucket. */
export function divergence(target: Float64Array, text: Float64Array): number {
  const [numTarget, numText] = [total(target) + 0.5 * NUM_NGRAMS, total(text) + 0.5 * NUM_NGRAMS];
  return target.reduce((sum, count, i) => {
    const p = (count + 0.5) / numTarget;
    return sum + p * (Math.log(p) - Math.log((text[i] + 0.5) / numText));
  }, 0);
}

/** Standard Gumbel noise from a number in [0, 1). */
export function gumbel(uniform: number): number {
  return -Math.log(-Math.log(uniform + 2 ** -54));
}

function total(counts: Float64Array): number {
  return counts.reduce((sum, count) => sum + count, 0);
}
