// A worker thread of selection. A document's result depends on nothing but the document and what the task says, so it does not matter which
// worker has which batch.
import { workerData } from 'node:worker_threads';
import { serveBatches } from '../../base/worker-pool.ts';
import { addNgrams, logImportance, NUM_NGRAMS } from './importance.ts';
import { farthestFirst } from './k-centre.ts';
import { assign, type Clustering, nearest, type Points } from './kmeans.ts';
import { DIMENSIONS, Vectoriser } from './vectors.ts';

export type SelectTask =
  /** Adds to `frequencies` (shared) the documents that have each word's bucket. */
  | { kind: 'count'; frequencies: Uint32Array }
  | { kind: 'project'; inverse: Float32Array }
  | { kind: 'assign'; points: Points; centroids: Float32Array; result: Pick<Clustering, 'clusters' | 'cosines'> }
  | {
      kind: 'score';
      inverse: Float32Array;
      centroids: Float32Array;
      /** Nearness to the nearest of these is the score. */
      prototypes?: Float32Array;
      /** Importance by these is the score. */
      ratios?: Float64Array;
      /** Hands the vectors back. */
      keepVectors: boolean;
    }
  | { kind: 'spread' };

export interface Projected {
  /** DIMENSIONS a text, zeros where no feature of it counts. */
  vectors: Float32Array;
}

export interface Scored {
  /** -1 where no feature of the text counts. */
  clusters: Int32Array;
  /** With the centroid. */
  cosines: Float32Array;
  scores: Float64Array;
  vectors?: Float32Array;
}

export interface SpreadRequest {
  vectors: Float32Array;
  first: number;
  numCentres: number;
}

const vectoriser = new Vectoriser();
const task = workerData as SelectTask;
switch (task.kind) {
  case 'count':
    serveBatches((texts: string[]) => countFeatures(texts, task.frequencies));
    break;
  case 'project':
    serveBatches((texts: string[]) => {
      const vectors = project(texts, task.inverse);
      return { result: { vectors } satisfies Projected, transfer: [vectors.buffer as ArrayBuffer] };
    });
    break;
  case 'assign':
    serveBatches(({ start, end }: { start: number; end: number }) => {
      assign(task.points, task.centroids, start, end, task.result);
      return { result: undefined };
    });
    break;
  case 'score':
    serveBatches((texts: string[]) => score(texts, task));
    break;
  case 'spread':
    serveBatches(({ vectors, first, numCentres }: SpreadRequest) => ({
      result: farthestFirst(vectors, DIMENSIONS, first, numCentres),
    }));
    break;
  default:
    task satisfies never;
}

function countFeatures(texts: string[], frequencies: Uint32Array) {
  const ngrams = new Float64Array(NUM_NGRAMS);
  for (const text of texts) {
    vectoriser.read(text);
    addNgrams(vectoriser.features('words and pairs'), ngrams);
    const { buckets, numBuckets } = vectoriser.features('words');
    for (let i = 0; i < numBuckets; i++) Atomics.add(frequencies, buckets[i], 1);
  }
  return { result: ngrams, transfer: [ngrams.buffer] };
}

function project(texts: string[], inverse: Float32Array): Float32Array {
  const vectors = new Float32Array(texts.length * DIMENSIONS);
  texts.forEach((text, i) => {
    vectoriser.read(text);
    vectoriser.project(inverse, vectors, i * DIMENSIONS);
  });
  return vectors;
}

function score(
  texts: string[],
  { inverse, centroids, prototypes, ratios, keepVectors }: SelectTask & { kind: 'score' },
) {
  const vectors = new Float32Array(texts.length * DIMENSIONS);
  const result: Scored = {
    clusters: new Int32Array(texts.length).fill(-1),
    cosines: new Float32Array(texts.length),
    scores: new Float64Array(texts.length),
  };
  texts.forEach((text, i) => {
    vectoriser.read(text);
    if (ratios) result.scores[i] = logImportance(vectoriser.features('words and pairs'), ratios);
    if (!vectoriser.project(inverse, vectors, i * DIMENSIONS)) return;
    const { index, cosine } = nearest(vectors, i * DIMENSIONS, centroids, DIMENSIONS);
    result.clusters[i] = index;
    result.cosines[i] = cosine;
    if (prototypes) result.scores[i] = nearest(vectors, i * DIMENSIONS, prototypes, DIMENSIONS).cosine;
  });
  return keepVectors ? { result: { ...result, vectors }, transfer: [vectors.buffer as ArrayBuffer] } : { result };
}
