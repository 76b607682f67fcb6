// A worker thread of mining: counts in how many documents features occur, or scores documents against the queries. A document's result
// depends on nothing but the document and the index, so it does not matter which worker has which batch.
import { workerData } from 'node:worker_threads';
import { hashFraction } from '../../base/hash.ts';
import { serveBatches } from '../../base/worker-pool.ts';
import { FeatureCounts, featureWeight } from './features.ts';
import { SCORE_SCALE } from './nearest.ts';
import { findVerbatim, type QueryIndex } from './query-index.ts';
import { WordList } from './words.ts';

export type MineTask =
  /** Adds to `frequencies` (shared) the documents that have each bucket. */
  | { kind: 'count'; frequencies: Uint32Array }
  /** `thresholds` (shared): by query, the score that must be reached to matter, times SCORE_SCALE. */
  | { kind: 'score'; index: QueryIndex; thresholds: Int32Array };

export interface ScoredBatch {
  /** By document: the query that it is or holds; -1 where there is none. */
  verbatim: Int32Array;
  /** By document: content hash; 0 where it is near no query. */
  hashes: Float64Array;
  /** By document: how many of the following are its. */
  numNear: Uint32Array;
  queries: Uint32Array;
  scores: Float64Array;
  /** Of all documents, near or not. */
  bestScore: number;
}

const words = new WordList();
const counts = new FeatureCounts();
const task = workerData as MineTask;
if (task.kind === 'count') serveBatches(countFeatures(task.frequencies));
else serveBatches(scoreBatch(task.index, task.thresholds));

function countFeatures(frequencies: Uint32Array) {
  return (texts: string[]) => {
    for (const text of texts) {
      words.read(text);
      counts.count(words.words, 0, words.length);
      for (let i = 0; i < counts.numBuckets; i++) Atomics.add(frequencies, counts.buckets[i], 1);
    }
    return { result: undefined };
  };
}

function scoreBatch(index: QueryIndex, thresholds: Int32Array) {
  const sums = new Float64Array(index.numQueries);
  const hits = new Uint32Array(index.numQueries);

  /** Adds the products of the document's weights and the queries' to `sums`; lists in `hits` the queries that share a feature with it. */
  function accumulate(): { numHits: number; norm: number } {
    let numHits = 0;
    let squares = 0;
    for (let i = 0; i < counts.numBuckets; i++) {
      const bucket = counts.buckets[i];
      const weight = featureWeight(counts.counts[bucket], index.inverse[bucket]);
      if (weight === 0) continue;
      squares += weight * weight;
      const end = index.starts[bucket + 1];
      for (let at = index.starts[bucket]; at < end; at++) {
        const query = index.queries[at];
        if (sums[query] === 0) hits[numHits++] = query;
        sums[query] += weight * index.weights[at];
      }
    }
    return { numHits, norm: Math.sqrt(squares) };
  }

  return (texts: string[]) => {
    const verbatim = new Int32Array(texts.length);
    const hashes = new Float64Array(texts.length);
    const numNear = new Uint32Array(texts.length);
    const queries: number[] = [];
    const scores: number[] = [];
    let bestScore = 0;
    texts.forEach((text, document) => {
      words.read(text);
      verbatim[document] = findVerbatim(index.verbatim, words);
      if (verbatim[document] >= 0) return;
      counts.count(words.words, 0, words.length);
      const { numHits, norm } = accumulate();
      for (let i = 0; i < numHits; i++) {
        const query = hits[i];
        const score = sums[query] / norm;
        sums[query] = 0;
        if (score > bestScore) bestScore = score;
        if (Math.floor(score * SCORE_SCALE) < Atomics.load(thresholds, query)) continue;
        queries.push(query);
        scores.push(score);
        numNear[document]++;
      }
      if (numNear[document] > 0) hashes[document] = hashFraction(text);
    });
    const result: ScoredBatch = {
      verbatim,
      hashes,
      numNear,
      queries: Uint32Array.from(queries),
      scores: Float64Array.from(scores),
      bestScore,
    };
    return { result };
  };
}
