// Words -> features: unigrams and bigrams of words, hashed into a fixed number of buckets (the hashing trick, Weinberger et al. 2009,
// arXiv 0902.2206, without signs). Features that share a bucket are one feature, everywhere.
import { mixBits } from './words.ts';

const BUCKET_BITS = 22;
/** 4.2 million: a table of 16 MiB, whatever the corpus. */
export const NUM_BUCKETS = 1 << BUCKET_BITS;

/** How often each bucket occurs in one text at a time. The size is fixed; only buckets that were touched are cleared. */
export class FeatureCounts {
  /** Touched buckets in the order of their first occurrence, so that sums over them come out the same everywhere. */
  buckets = new Int32Array(1 << 12);
  numBuckets = 0;
  readonly counts = new Uint32Array(NUM_BUCKETS);

  /** @param withPairs words alone where false */
  count(words: Uint32Array, start: number, end: number, withPairs = true): void {
    for (let i = 0; i < this.numBuckets; i++) this.counts[this.buckets[i]] = 0;
    this.numBuckets = 0;
    for (let i = start; i < end; i++) {
      this.add(words[i] >>> (32 - BUCKET_BITS));
      if (withPairs && i > start) this.add(mixBits(Math.imul(words[i - 1], 31) + words[i]) >>> (32 - BUCKET_BITS));
    }
  }

  private add(bucket: number): void {
    if (this.counts[bucket]++ > 0) return;
    if (this.numBuckets === this.buckets.length) {
      const larger = new Int32Array(2 * this.numBuckets);
      larger.set(this.buckets);
      this.buckets = larger;
    }
    this.buckets[this.numBuckets++] = bucket;
  }
}

/**
 * Weight of a bucket that `numWith` of `numDocuments` have: ln((1 + n) / (1 + df)) + 1, scikit-learn's smoothed inverse document frequency.
 */
export function inverseFrequency(numWith: number, numDocuments: number): number {
  return Math.log((1 + numDocuments) / (1 + numWith)) + 1;
}

/** Weight of a feature in a text that has it `count` times, its inverse frequency given: 1 + ln(count) times that. */
export function featureWeight(count: number, inverse: number): number {
  return count === 1 ? inverse : (1 + Math.log(count)) * inverse;
}
