// Two models on the same examples. What both find easy or hard cancels, so that a difference is seen that two separate errors would hide.
import { Rng } from '../../base/rng.ts';
import { binomialCdf, binomialProbability, criticalT, twoSidedP } from './distributions.ts';
import { ALPHA, type Interval, mean, standardError } from './intervals.ts';

export interface Difference extends Interval {
  /** Second minus first. */
  difference: number;
  stderr: number;
  /** Two-sided, of no difference. */
  p: number;
  numPairs: number;
  /** Where examples share passages: how many there are. The test has that many less one degrees of freedom. */
  numClusters?: number;
}

/**
 * Mean difference of pairs with its standard error over the pairs' own differences (Miller 2024, arXiv 2411.00640, section 4.2), and the
 * t test and interval of it.
 * @param clusters one name a pair, where examples share passages
 */
export function pairedDifference(
  first: ArrayLike<number>,
  second: ArrayLike<number>,
  { clusters, alpha = ALPHA }: { clusters?: readonly string[]; alpha?: number } = {},
): Difference {
  const differences = differencesOf(first, second);
  const numClusters = clusters && new Set(clusters).size;
  return testOf(mean(differences), standardError(differences, clusters), differences.length, numClusters, alpha);
}

/** A text that two models were scored on. */
export interface ScoredPair {
  /** Nats over the whole text. */
  first: number;
  second: number;
  /** Bytes of UTF-8 (or words, for a measure by the word). */
  size: number;
  cluster?: string;
}

/**
 * Difference of bits per byte of two models on the same documents. It is a ratio of sums, so its error is that of the ratio's
 * linearisation over documents (Cochran 1977, Sampling Techniques, 6.4): a long document counts by its bytes.
 */
export function pairedBitsPerByte(documents: readonly ScoredPair[], alpha = ALPHA): Difference {
  const size = documents.reduce((sum, document) => sum + document.size, 0);
  const bits = documents.map(({ first, second }) => (second - first) / Math.LN2);
  const difference = bits.reduce((sum, value) => sum + value, 0) / size;
  const n = documents.length;
  const clustered = documents.some(({ cluster }) => cluster !== undefined);
  const clusters = clustered ? documents.map(({ cluster }, i) => cluster ?? `#${i}`) : undefined;
  const residuals = documents.map((document, i) => ((bits[i]! - difference * document.size) * n) / size);
  const numClusters = clusters && new Set(clusters).size;
  return testOf(difference, standardError(residuals, clusters), n, numClusters, alpha);
}

function testOf(
  difference: number,
  stderr: number,
  numPairs: number,
  numClusters: number | undefined,
  alpha: number,
): Difference {
  const df = Math.max(1, (numClusters ?? numPairs) - 1);
  const half = stderr === 0 ? 0 : criticalT(alpha, df) * stderr;
  const p = stderr === 0 ? (difference === 0 ? 1 : 0) : twoSidedP(difference / stderr, df);
  // One example, or one passage, shows nothing about the others.
  const known = (numClusters ?? numPairs) > 1;
  return {
    difference,
    stderr,
    low: known ? difference - half : -Infinity,
    high: known ? difference + half : Infinity,
    p: known ? p : 1,
    numPairs,
    ...(numClusters !== undefined && { numClusters }),
  };
}

/**
 * McNemar's test of two models' right and wrong answers to the same questions: only those that one alone answers count, and of those each
 * side has half where the models are equally good (McNemar 1947). Exact, and with half the probability of the outcome itself: the mid-p
 * value, which holds its level in nearly all cases without the exact test's waste (Fagerland, Lydersen and Laake 2013).
 */
export function mcnemar(numLearned: number, numForgotten: number): { exact: number; midP: number } {
  const n = numLearned + numForgotten;
  if (n === 0) return { exact: 1, midP: 1 };
  const fewer = Math.min(numLearned, numForgotten);
  const exact = Math.min(1, 2 * binomialCdf(fewer, n, 0.5));
  const own = binomialProbability(fewer, n, 0.5);
  // With equal counts both tails hold the outcome, and together all of it.
  const midP = numLearned === numForgotten ? 1 - own / 2 : exact - own;
  return { exact, midP };
}

/**
 * Interval of the difference of two accuracies on the same questions: Wald's with one answer added on each side (Bonett and Price 2012), so
 * that models which never disagreed on a few questions are not called equal on all.
 */
export function accuracyInterval(numLearned: number, numForgotten: number, numPairs: number, alpha = ALPHA): Interval {
  const learned = (numLearned + 1) / (numPairs + 2);
  const forgotten = (numForgotten + 1) / (numPairs + 2);
  const half = criticalT(alpha) * Math.sqrt((learned + forgotten - (learned - forgotten) ** 2) / (numPairs + 2));
  return { low: Math.max(-1, learned - forgotten - half), high: Math.min(1, learned - forgotten + half) };
}

/**
 * Paired bootstrap (Efron and Tibshirani 1993, chapters 13 and 16): pairs, or whole clusters of them, are drawn again with replacement.
 * The interval holds the middle of the resampled differences; p is the share of resamples that lie as far from the measured difference as
 * that lies from 0, with one added on both sides so that it is never 0.
 * @param seed the same seed gives the same result everywhere
 */
export function pairedBootstrap(
  first: ArrayLike<number>,
  second: ArrayLike<number>,
  {
    seed = 0,
    numResamples = 10_000,
    clusters,
    alpha = ALPHA,
  }: { seed?: number; numResamples?: number; clusters?: readonly string[]; alpha?: number } = {},
): Difference {
  const differences = differencesOf(first, second);
  const groups = groupsOf(differences, clusters);
  const difference = mean(differences);
  const rng = new Rng(seed, 'paired-bootstrap');
  const means = new Float64Array(numResamples);
  let numFar = 0;
  for (let i = 0; i < numResamples; i++) {
    let [sum, count] = [0, 0];
    for (let k = 0; k < groups.length; k++) {
      const group = groups[rng.below(groups.length)]!;
      sum += group.sum;
      count += group.count;
    }
    means[i] = sum / count;
    // Sums in another order differ in their last bits; such a difference is none.
    if (Math.abs(means[i]! - difference) >= Math.abs(difference) * (1 - 1e-12)) numFar++;
  }
  const stderr = standardError(means) * Math.sqrt(numResamples);
  means.sort();
  const at = (share: number): number => means[Math.min(numResamples - 1, Math.floor(share * numResamples))]!;
  const known = groups.length > 1;
  return {
    difference,
    stderr,
    low: known ? at(alpha / 2) : -Infinity,
    high: known ? at(1 - alpha / 2) : Infinity,
    p: known ? (numFar + 1) / (numResamples + 1) : 1,
    numPairs: differences.length,
    ...(clusters && { numClusters: groups.length }),
  };
}

function groupsOf(values: Float64Array, clusters: readonly string[] | undefined): { sum: number; count: number }[] {
  if (!clusters) return Array.from(values, (sum) => ({ sum, count: 1 }));
  const groups = new Map<string, { sum: number; count: number }>();
  values.forEach((value, i) => {
    const group = groups.get(clusters[i]!) ?? { sum: 0, count: 0 };
    group.sum += value;
    group.count++;
    groups.set(clusters[i]!, group);
  });
  return [...groups.values()];
}

function differencesOf(first: ArrayLike<number>, second: ArrayLike<number>): Float64Array {
  return Float64Array.from({ length: first.length }, (_, i) => second[i]! - first[i]!);
}
