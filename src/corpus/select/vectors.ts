// Documents -> vectors of a few hundred numbers, so that nearness can be computed for millions of them. A document is its words and pairs of
// neighbouring words, hashed (mining/features.ts), weighed by TF-IDF, and projected by a sparse random matrix that is never stored: each
// feature goes into SPREAD coordinates, one in each block of them, with a sign, all read from a hash of the feature (Nelson and Nguyen 2013,
// "OSNAP", arXiv 1211.1002; with SPREAD = 1 it is the signed hashing trick of Weinberger et al. 2009, arXiv 0902.2206).
//
// Cosines survive it without bias, with an error of about 1 / sqrt(DIMENSIONS) = 0.06 each: means over many documents, which clusters are,
// come out well; two single documents are told apart only where they share much. It sees shared words and names, in any language. It does
// not see that two words mean the same, nor order beyond neighbours. Of the same text every machine makes the same vector, bit for bit.
import { FeatureCounts, NUM_BUCKETS } from '../mining/features.ts';
import { shared } from '../mining/query-index.ts';
import { mixBits, WordList } from '../mining/words.ts';

export const DIMENSIONS = 256;
const SPREAD = 4;
const BLOCK = DIMENSIONS / SPREAD;
const BLOCK_BITS = Math.log2(BLOCK);
const PROJECTION_SEED = 0x5bd1e995;
/** A feature in fewer documents is in no cluster's middle: it would only add noise. */
const MIN_DOCUMENTS = 3;

/**
 * Weight of each bucket in any document: ln((1 + n) / (1 + df)), which leaves next to nothing to words that most documents have.
 * @param frequencies documents that have each bucket; @param numDocuments all of them
 * @returns in shared memory
 */
export function inverseFrequencies(frequencies: Uint32Array, numDocuments: number): Float32Array {
  const inverse = shared(Float32Array, NUM_BUCKETS);
  const least = Math.min(MIN_DOCUMENTS, Math.max(1, numDocuments / 10));
  for (let bucket = 0; bucket < NUM_BUCKETS; bucket++)
    if (frequencies[bucket] >= least) inverse[bucket] = Math.log((1 + numDocuments) / (1 + frequencies[bucket]));
  return inverse;
}

/** One text at a time: its features, and its vector. */
export class Vectoriser {
  readonly features = new FeatureCounts();
  private readonly words = new WordList();
  private readonly sums = new Float64Array(DIMENSIONS);

  read(text: string): void {
    this.words.read(text);
    this.features.count(this.words.words, 0, this.words.length);
  }

  /** Writes the vector of the text that was read last, of length 1, to `out` from `at`; false, and zeros, where no feature of it counts. */
  project(inverse: Float32Array, out: Float32Array, at: number): boolean {
    const { buckets, numBuckets, counts } = this.features;
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
