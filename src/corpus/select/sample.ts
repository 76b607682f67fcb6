// The corpus counted, and clustered: k-means on a sample drawn evenly from all documents; topics as clusters of clusters; the words of both.
import { ConfigError, DataError } from '../../base/errors.ts';
import { Rng } from '../../base/rng.ts';
import { formatBytes, formatCount } from '../../base/units.ts';
import { mapOnWorkers } from '../../base/worker-pool.ts';
import { NUM_BUCKETS } from '../mining/features.ts';
import { shared } from '../mining/query-index.ts';
import type { Document } from '../types.ts';
import { NUM_NGRAMS } from './importance.ts';
import { assign, type Clustering, kmeans, type Points } from './kmeans.ts';
import { LabelWords } from './labels.ts';
import { batchesOf, changed, pool, type SelectOptions, type Stage, textsOf } from './stage.ts';
import { DIMENSIONS, type WordCounts } from './vectors.ts';
import type { Projected } from './worker.ts';

/** The root of the number of documents, up to this: a time a document, and a memory, that stay small. */
const MAX_DEFAULT_CLUSTERS = 512;
export const MAX_CLUSTERS = 4096;
const DEFAULT_TOPICS = 8;
/** Fewer say nothing about topics. */
const MIN_DOCUMENTS = 20;
/** Documents a cluster in the sample that centroids are made of; more make them hardly better (FAISS takes 256 at most). */
const SAMPLE_PER_CLUSTER = 128;
/** 256 MiB of vectors. */
const MAX_SAMPLE = 1 << 18;
const MAX_LABEL_DOCUMENTS = 1 << 14;
const LABEL_CHARS = 3000;
const NUM_WORDS = 8;
/** Products below which threads cost more than they save. */
const INLINE_PRODUCTS = 5e8;
const RANGE = 2048;

export interface Corpus extends WordCounts {
  ngrams: Float64Array;
  numBytes: number;
  numBadRecords: number;
  numEmptyDocuments: number;
}

export async function countCorpus(stage: Stage): Promise<Corpus> {
  const frequencies = shared(Uint32Array, NUM_BUCKETS);
  const ngrams = new Float64Array(NUM_NGRAMS);
  const counts = { numDocuments: 0, numBytes: 0, numBadRecords: 0, numEmptyDocuments: 0 };
  const count = ({ text }: Document) => {
    counts.numDocuments++;
    counts.numBytes += Buffer.byteLength(text);
    return true;
  };
  const batches = batchesOf(stage, 'counting words', count, {
    onBadRecord: () => counts.numBadRecords++,
    onEmptyDocument: () => counts.numEmptyDocuments++,
  });
  const counted = mapOnWorkers<Document[], Float64Array>(batches, textsOf, pool(stage, { kind: 'count', frequencies }));
  for await (const { result } of counted) for (let i = 0; i < NUM_NGRAMS; i++) ngrams[i] += result[i];
  if (counts.numDocuments < MIN_DOCUMENTS)
    throw new DataError(
      stage.files[0].path,
      `too few documents to select from: expected at least ${MIN_DOCUMENTS}, found ${counts.numDocuments} ` +
        `(${counts.numEmptyDocuments} empty documents, ${counts.numBadRecords} bad records).`,
    );
  const { unit, amount } = stage.wanted;
  const available = unit === 'documents' ? counts.numDocuments : counts.numBytes;
  if (amount >= available && (stage.maxRepeats === 1 || stage.method !== 'crisp'))
    throw new ConfigError(
      `There is nothing to select: ${unit === 'documents' ? `${formatCount(amount)} documents are` : `${formatBytes(amount)} of text are`} wanted, ` +
        `and the corpus has ${unit === 'documents' ? formatCount(available) : formatBytes(available)}. Ask for less, or use all of it.`,
    );
  return { frequencies, ngrams, ...counts };
}

export function countClusters({ numClusters }: SelectOptions, { numDocuments }: Corpus): number {
  const wanted = numClusters ?? Math.min(MAX_DEFAULT_CLUSTERS, Math.max(2, Math.round(Math.sqrt(numDocuments))));
  if (wanted > numDocuments / 2)
    throw new ConfigError(
      `${wanted} clusters of ${numDocuments} documents: expected at most half as many clusters as documents. Ask for fewer with --clusters.`,
    );
  return wanted;
}

export interface Sample {
  clustering: Clustering;
  /** By cluster. */
  topics: Int32Array;
  words: string[][];
  topicWords: string[][];
  points: Points;
}

/** Clusters of a sample drawn evenly from all documents, topics as clusters of clusters, and the words of both. */
export async function clusterSample(
  stage: Stage,
  { numDocuments }: Corpus,
  wantedClusters: number,
  inverse: Float32Array,
): Promise<Sample> {
  const { numPoints, vectors, labels, labelled } = await sampleVectors(
    stage,
    numDocuments,
    Math.min(numDocuments, SAMPLE_PER_CLUSTER * wantedClusters, MAX_SAMPLE),
    inverse,
  );
  if (numPoints < 2)
    throw new DataError(
      stage.files[0].path,
      `the documents have too few words in common to be clustered: of ${formatCount(numDocuments)} documents ${numPoints} share a word with others.`,
    );
  const points: Points = { vectors: vectors.subarray(0, numPoints * DIMENSIONS), numPoints, numDims: DIMENSIONS };
  const clustering = await kmeans(
    points,
    Math.min(wantedClusters, numPoints),
    new Rng(stage.seed, 'clusters'),
    (...args) => assignOnWorkers(stage, ...args),
  );
  const { numClusters, clusters } = clustering;
  const topics = await groupTopics(stage, clustering);
  const clusterOfLabel = labelled.map((point) => (point < 0 ? -1 : clusters[point]));
  const topicOfLabel = clusterOfLabel.map((cluster) => (cluster < 0 ? -1 : topics[cluster]));
  return {
    clustering,
    topics,
    words: labels.distinctive(clusterOfLabel, numClusters, NUM_WORDS),
    topicWords: labels.distinctive(topicOfLabel, Math.max(...topics) + 1, NUM_WORDS),
    points,
  };
}

/** `sampleSize` documents, each with the same chance; the vectors of those that have one, and the words of some. */
async function sampleVectors(stage: Stage, numDocuments: number, sampleSize: number, inverse: Float32Array) {
  const vectors = shared(Float32Array, sampleSize * DIMENSIONS);
  const labels = new LabelWords();
  /** By labelled document, its point. */
  const labelled: number[] = [];
  const labelEvery = Math.ceil(sampleSize / MAX_LABEL_DOCUMENTS);
  const rng = new Rng(stage.seed, 'sample');
  let [left, needed, numSampled, numPoints] = [numDocuments, sampleSize, 0, 0];
  // Knuth's selection sampling: of what is left, each with the chance of what is still needed.
  const batches = batchesOf(stage, 'drawing a sample', () => {
    if (rng.float() * left-- >= needed) return false;
    needed--;
    return true;
  });
  for await (const { batch, result } of mapOnWorkers<Document[], Projected>(
    batches,
    textsOf,
    pool(stage, { kind: 'project', inverse }),
  ))
    batch.forEach(({ text }, i) => {
      const vector = result.vectors.subarray(i * DIMENSIONS, (i + 1) * DIMENSIONS);
      const hasWords = vector.some((value) => value !== 0);
      if (numSampled++ % labelEvery === 0) {
        labels.add(text.slice(0, LABEL_CHARS));
        labelled.push(hasWords ? numPoints : -1);
      }
      if (hasWords) vectors.set(vector, numPoints++ * DIMENSIONS);
    });
  if (needed > 0) throw changed(stage);
  return { vectors, numPoints, labels, labelled };
}

async function assignOnWorkers(
  stage: Stage,
  points: Points,
  centroids: Float32Array,
  result: Pick<Clustering, 'clusters' | 'cosines'>,
): Promise<void> {
  const { numPoints } = points;
  if (numPoints * centroids.length < INLINE_PRODUCTS) return assign(points, centroids, 0, numPoints, result);
  const ranges = async function* () {
    for (let start = 0; start < numPoints; start += RANGE) yield { start, end: Math.min(numPoints, start + RANGE) };
  };
  const assigned = mapOnWorkers(ranges(), (range) => range, pool(stage, { kind: 'assign', points, centroids, result }));
  for await (const _ of assigned);
}

/** Clusters of centroids, weighed by their clusters' sizes; the largest topic is 0. */
async function groupTopics(stage: Stage, { centroids, clusters, numClusters }: Clustering): Promise<Int32Array> {
  const weights = new Float64Array(numClusters);
  for (const cluster of clusters) weights[cluster]++;
  const points: Points = {
    vectors: centroids,
    numPoints: numClusters,
    numDims: DIMENSIONS,
    weights: weights.map((size) => Math.max(size, 0.5)),
  };
  const numTopics = Math.min(stage.numTopics ?? DEFAULT_TOPICS, numClusters);
  const grouped = await kmeans(points, numTopics, new Rng(stage.seed, 'topics'));
  const sizes = new Float64Array(numTopics);
  grouped.clusters.forEach((topic, cluster) => {
    sizes[topic] += points.weights![cluster];
  });
  const used = [...sizes.keys()].filter((topic) => sizes[topic] > 0).sort((a, b) => sizes[b] - sizes[a] || a - b);
  return grouped.clusters.map((topic) => used.indexOf(topic));
}
