// Documents -> vectors of a few hundred numbers, so that nearness can be computed for millions of them. A document is its words, hashed
// (mining/features.ts), weighed by TF-IDF, and projected by a sparse random matrix that is never stored: each word goes into SPREAD
// coordinates, one in each block of them, with a sign, all read from a hash of the word (Nelson and Nguyen 2013, "OSNAP", arXiv 1211.1002;
// with SPREAD = 1 it is the signed hashing trick of Weinberger et al. 2009, arXiv 0902.2206).
//
// Cosines survive it without bias, with an error of about 1 / sqrt(DIMENSIONS) = 0.06 each: means over many documents, which clusters are,
// come out well; two single documents are told apart only where they share much. It sees shared words, in any language. It does not see
// that two words mean the same, nor their order. Of the same text every machine makes the same vector, bit for bit.
//
// Which words count decides more than anything else. Clusters of 3185 pieces of 12 sources (docs/LOG.md, 2026-11-21), normalised mutual
// information with the source: words and pairs in 3 documents or more 0.26; words alone 0.56, in 10 or more 0.66, in 30 or more 0.76.
// A word in fewer documents than a cluster has holds none together; all it adds is noise. Words that the target is full of count all the
// same: what is rare in the corpus may be what is looked for.
import { FeatureCounts, NUM_BUCKETS } from '../mining/features.ts';
import { shared } from '../mining/query-index.ts';
import { mixBits, WordList } from '../mining/words.ts';

export const DIMENSIONS = 256;
const SPREAD = 4;
const BLOCK = DIMENSIONS / SPREAD;
const BLOCK_BITS = Math.log2(BLOCK);
const PROJECTION_SEED = 0x5bd1e995;
/** Below it a word is no more than chance, however small clusters are. */
const MIN_DOCUMENTS = 3;
/** Of the target's documents, for a word to count that is rare in the corpus (assumption). */
const TARGET_SHARE = 0.05;

/** In how many documents each word's bucket occurs. */
export interface WordCounts {
  frequencies: Uint32Array;
  numDocuments: number;
}

/**
 * Weight of each word in any document: ln((1 + n) / (1 + df)), which leaves next to nothing to words that most documents have; 0 to words
 * in fewer documents than a cluster has on average, unless a share of the target's documents has them.
 * @returns by bucket, in shared memory
 */
export function inverseFrequencies(
  corpus: WordCounts,
  numClusters: number,
  target: WordCounts | undefined,
): Float32Array {
  const inverse = shared(Float32Array, NUM_BUCKETS);
  const { frequencies, numDocuments } = corpus;
  const least = Math.max(MIN_DOCUMENTS, numDocuments / numClusters);
  const leastTarget = target ? Math.max(2, TARGET_SHARE * target.numDocuments) : Number.POSITIVE_INFINITY;
  for (let bucket = 0; bucket < NUM_BUCKETS; bucket++)
    if (
      frequencies[bucket] >= least ||
      (frequencies[bucket] >= MIN_DOCUMENTS && target && target.frequencies[bucket] >= leastTarget)
    )
      inverse[bucket] = Math.log((1 + numDocuments) / (1 + frequencies[bucket]));
  return inverse;
}

/** One text at a time: its features, and its vector. */
export class Vectoriser {
  private readonly words = new WordList();
  private readonly counts = new FeatureCounts();
  private readonly sums = new Float64Array(DIMENSIONS);

  read(text: string): void {
    this.words.read(text);
  }

  /** Of the text that was read last; valid until the next call of any method. */
  features(kind: 'words' | 'words and pairs'): FeatureCounts {
    this.counts.count(this.words.words, 0, this.words.length, kind === 'words and pairs');
    return this.counts;
  }

  /** Writes the vector of the text that was read last, of length 1, to `out` from `at`; false, and zeros, where no word of it counts. */
  project(inverse: Float32Array, out: Float32Array, at: number): boolean {
    const { buckets, numBuckets, counts } = this.features('words');
    const sums = this.sums.fill(0);
    for (let i = 0; i < numBuckets; i++) {
      const bucket = buckets[i];
      const rarity = inverse[bucket];
      if (rarity === 0) continue;
      const count = counts[bucket];
      const weight = count === 1 ? rarity : (1 + Math.log(count)) * rarity;
      let bits = mixBits(bucket ^ PROJECTION_SEED);
      for (let block = 0; block < DIMENSIONS; block += BLOCK) {
        const coordinate = block + (bits & (BLOCK - 1));
        sums[coordinate] += bits & BLOCK ? weight : -weight;
        bits >>>= BLOCK_BITS + 1;
      }
    }
    let squares = 0;
    for (let i = 0; i < DIMENSIONS; i++) squares += sums[i] * sums[i];
    const scale = squares > 0 ? 1 / Math.sqrt(squares) : 0;
    for (let i = 0; i < DIMENSIONS; i++) out[at + i] = sums[i] * scale;
    return squares > 0;
  }
}
