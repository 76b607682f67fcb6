// The queries: an inverted index from features to queries, so that a document costs only the postings that it hits, and the table that
// finds queries which a document holds verbatim. Everything lies in shared memory: workers read it, nobody copies it.
import { FeatureCounts, featureWeight, inverseFrequency, NUM_BUCKETS } from './features.ts';
import { mixBits, type WordList } from './words.ts';

/** A feature that more documents have weighs nothing: it is of no use for ranking, and it is in every query. */
const COMMON_SHARE = 0.1;
/** Below so many documents no feature counts as common: a tenth of a handful says nothing. */
const COMMON_DOCUMENTS = 100;
/** A feature that more queries have weighs nothing: it says little about which of them a document is near, and would cost the most. */
export const MAX_POSTINGS = 2000;
/** A document that holds a query of at least so many words is contaminated; shorter ones are everyday phrases and must be all of it. */
export const MIN_CONTAINED_WORDS = 5;

/** Words of all queries, one after another; grows while they are read. */
export class QueryWords {
  readonly ids: string[] = [];
  words = new Uint32Array(1 << 16);
  private readonly ends: number[] = [];

  get numWords(): number {
    return this.ends.at(-1) ?? 0;
  }

  add(id: string, list: WordList): void {
    const start = this.numWords;
    const end = start + list.length;
    if (end > this.words.length) {
      const larger = new Uint32Array(Math.max(end, 2 * this.words.length));
      larger.set(this.words.subarray(0, start));
      this.words = larger;
    }
    this.words.set(list.words.subarray(0, list.length), start);
    this.ids.push(id);
    this.ends.push(end);
  }

  /** First word of each query, and the end of the last. */
  starts(): Uint32Array {
    return shared(Uint32Array, [0, ...this.ends]);
  }
}

export interface QueryIndex {
  numQueries: number;
  /** Weight of each bucket; 0 where it is left out. */
  inverse: Float32Array;
  /** Postings of bucket b are starts[b] to starts[b + 1]. */
  starts: Uint32Array;
  queries: Uint32Array;
  /** Weight of the bucket in the query, whose vector has length 1. */
  weights: Float32Array;
  verbatim: VerbatimTable;
}

export interface VerbatimTable {
  words: Uint32Array;
  wordStarts: Uint32Array;
  /** Open addressing: hash of MIN_CONTAINED_WORDS words, or of a whole shorter query, and query + 1 (0: free). */
  keys: Uint32Array;
  slots: Uint32Array;
  /** Where in the query the hashed words stand. */
  offsets: Uint32Array;
}

/** @param frequencies documents that have each bucket; @param numDocuments all of them */
export function buildIndex(all: QueryWords, frequencies: Uint32Array, numDocuments: number): QueryIndex {
  const wordStarts = all.starts();
  const words = shared(Uint32Array, all.words.subarray(0, all.numWords));
  const numQueries = all.ids.length;
  const counts = new FeatureCounts();
  const starts = shared(Uint32Array, NUM_BUCKETS + 1);
  const forEachBucket = (query: number, visit: (bucket: number, count: number) => void) => {
    counts.count(words, wordStarts[query], wordStarts[query + 1]);
    for (let i = 0; i < counts.numBuckets; i++) visit(counts.buckets[i], counts.counts[counts.buckets[i]]);
  };
  for (let query = 0; query < numQueries; query++) forEachBucket(query, (bucket) => starts[bucket + 1]++);

  const inverse = shared(Float32Array, NUM_BUCKETS);
  const common = Math.max(COMMON_DOCUMENTS, COMMON_SHARE * numDocuments);
  for (let bucket = 0; bucket < NUM_BUCKETS; bucket++) {
    const kept = frequencies[bucket] <= common && starts[bucket + 1] <= MAX_POSTINGS;
    if (kept) inverse[bucket] = inverseFrequency(frequencies[bucket], numDocuments);
    starts[bucket + 1] = starts[bucket] + (kept ? starts[bucket + 1] : 0);
  }

  const queries = shared(Uint32Array, starts[NUM_BUCKETS]);
  const weights = shared(Float32Array, starts[NUM_BUCKETS]);
  const next = starts.slice();
  for (let query = 0; query < numQueries; query++) {
    let squares = 0;
    forEachBucket(query, (bucket, count) => {
      squares += featureWeight(count, inverse[bucket]) ** 2;
    });
    const scale = 1 / Math.sqrt(squares);
    forEachBucket(query, (bucket, count) => {
      if (inverse[bucket] === 0) return;
      const at = next[bucket]++;
      queries[at] = query;
      weights[at] = featureWeight(count, inverse[bucket]) * scale;
    });
  }
  return { numQueries, inverse, starts, queries, weights, verbatim: buildVerbatimTable(words, wordStarts) };
}

const HASH_BASE = 0x9e3779b1 | 0;
/** HASH_BASE to the power of MIN_CONTAINED_WORDS: what a word weighs when it leaves the window. */
const LEAVING = Array.from({ length: MIN_CONTAINED_WORDS }).reduce((power: number) => Math.imul(power, HASH_BASE), 1);

/** Calls `visit(hash, first word)` for each window of MIN_CONTAINED_WORDS words, or once for a shorter text. `visit` returns whether to stop. */
function forEachWindow(
  words: Uint32Array,
  start: number,
  end: number,
  visit: (hash: number, first: number) => boolean,
): void {
  let hash = 0;
  for (let i = start; i < end; i++) {
    hash = (Math.imul(hash, HASH_BASE) + words[i]) | 0;
    const first = i + 1 - MIN_CONTAINED_WORDS;
    if (first > start) hash = (hash - Math.imul(LEAVING, words[first - 1])) | 0;
    if (first >= start && visit(mixBits(hash), first)) return;
  }
  if (end > start && end - start < MIN_CONTAINED_WORDS) visit(mixBits(hash), start);
}

/** Each query is entered by that of its windows which the fewest queries have: templates of questions would be found everywhere. */
function buildVerbatimTable(words: Uint32Array, wordStarts: Uint32Array): VerbatimTable {
  const numQueries = wordStarts.length - 1;
  const size = 2 ** Math.ceil(Math.log2(2 * numQueries + 2));
  // A sketch is enough to choose well: windows that share a counter only look more frequent than they are.
  const frequencies = new Uint32Array(8 * size);
  const sketch = (hash: number) => hash & (frequencies.length - 1);
  for (let query = 0; query < numQueries; query++)
    forEachWindow(words, wordStarts[query], wordStarts[query + 1], (hash) => {
      frequencies[sketch(hash)]++;
      return false;
    });
  const keys = shared(Uint32Array, size);
  const slots = shared(Uint32Array, size);
  const offsets = shared(Uint32Array, size);
  for (let query = 0; query < numQueries; query++) {
    const start = wordStarts[query];
    let best = { frequency: Number.POSITIVE_INFINITY, hash: 0, offset: 0 };
    forEachWindow(words, start, wordStarts[query + 1], (hash, first) => {
      const frequency = frequencies[sketch(hash)];
      if (frequency < best.frequency) best = { frequency, hash, offset: first - start };
      return false;
    });
    if (wordStarts[query + 1] === start) continue;
    let slot = best.hash & (size - 1);
    while (slots[slot] > 0) slot = (slot + 1) & (size - 1);
    keys[slot] = best.hash;
    slots[slot] = query + 1;
    offsets[slot] = best.offset;
  }
  return { words, wordStarts, keys, slots, offsets };
}

/** The first query found that the document of these words is or holds; -1 where there is none. */
export function findVerbatim(table: VerbatimTable, { words, length }: Pick<WordList, 'words' | 'length'>): number {
  const { keys, slots, offsets } = table;
  let found = -1;
  forEachWindow(words, 0, length, (hash, first) => {
    for (let slot = hash & (keys.length - 1); slots[slot] > 0; slot = (slot + 1) & (keys.length - 1)) {
      if (keys[slot] !== hash || !holdsAt(table, slots[slot] - 1, words, length, first - offsets[slot])) continue;
      found = slots[slot] - 1;
      return true;
    }
    return false;
  });
  return found;
}

function holdsAt(
  { words: queryWords, wordStarts }: VerbatimTable,
  query: number,
  words: Uint32Array,
  length: number,
  at: number,
): boolean {
  const start = wordStarts[query];
  const queryLength = wordStarts[query + 1] - start;
  if (at < 0 || at + queryLength > length || (queryLength < MIN_CONTAINED_WORDS && queryLength !== length))
    return false;
  for (let i = 0; i < queryLength; i++) if (words[at + i] !== queryWords[start + i]) return false;
  return true;
}

interface SharedArrayType<T> {
  new (buffer: SharedArrayBuffer): T;
  readonly BYTES_PER_ELEMENT: number;
}

/** A typed array in shared memory: of a length, or with these values. */
export function shared<T extends { set(values: ArrayLike<number>): void }>(
  type: SharedArrayType<T>,
  content: number | ArrayLike<number>,
): T {
  const length = typeof content === 'number' ? content : content.length;
  const array = new type(new SharedArrayBuffer(length * type.BYTES_PER_ELEMENT));
  if (typeof content !== 'number') array.set(content);
  return array;
}
