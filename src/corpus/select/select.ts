// Selection: of a large corpus the documents that are worth training on: as a small target is spread over topics (CRISP), by importance for
// it (DSIR), by nearness to it, or as diverse as can be (k-centre). Documents become vectors (vectors.ts), vectors clusters (kmeans.ts, on a
// sample), clusters get words (labels.ts).
//
// The corpus is read four times: to count words, for the sample, to score each document, and to fetch the texts of the chosen. Memory depends
// on the number of clusters, not on that of documents: of each, 32 bytes are remembered on disk. The result is the same for any number of
// threads; chance comes from the seed and is drawn in the order of reading.
import * as os from 'node:os';
import { entryFile } from '../../base/entry.ts';
import { ConfigError, DataError } from '../../base/errors.ts';
import { Progress } from '../../base/progress.ts';
import { Rng } from '../../base/rng.ts';
import { formatBytes, formatCount } from '../../base/units.ts';
import { mapOnWorkers } from '../../base/worker-pool.ts';
import { NUM_BUCKETS } from '../mining/features.ts';
import { shared } from '../mining/query-index.ts';
import { findInputFiles } from '../paths.ts';
import { readFiles } from '../read.ts';
import type { CorpusSpec, Document, InputFile, ReadHandlers } from '../types.ts';
import { embedInPlane } from './embed.ts';
import { addNgrams, divergence, gumbel, logRatios, NUM_NGRAMS } from './importance.ts';
import type { Centres } from './k-centre.ts';
import { assign, type Clustering, kmeans, nearest, type Points } from './kmeans.ts';
import { LabelWords } from './labels.ts';
import { type SelectionOutput, writeSelection } from './output.ts';
import { crispQuotas, effectiveNumber, roundQuotas, shares, totalVariation } from './quotas.ts';
import { DocumentRecords, findEdges, isChosen } from './records.ts';
import { DIMENSIONS, inverseFrequencies, Vectoriser, type WordCounts } from './vectors.ts';
import type { Projected, Scored, SelectTask, SpreadRequest } from './worker.ts';

export const SELECT_METHODS = ['crisp', 'dsir', 'k-centre', 'nearest'] as const;
export type SelectMethod = (typeof SELECT_METHODS)[number];

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
/** Target documents that are kept as vectors: prototypes are made of them, and some are drawn. */
const MAX_TARGET_SAMPLE = 4096;
/** Nearness to so many costs as much as the default number of clusters. */
const MAX_PROTOTYPES = 512;
/** Documents of a block of k-centre in all clusters together: 256 MiB. */
const MAX_IN_BLOCKS = 1 << 18;
/** A block may give so many times its share of what is chosen. */
const SPREAD_FACTOR = 4;
const MAP_DOCUMENTS = 900;
const MAP_TARGETS = 200;
/** Text a batch, in characters, and documents. */
const BATCH_CHARS = 1 << 19;
const BATCH_DOCUMENTS = 1024;
/** Products below which threads cost more than they save. */
const INLINE_PRODUCTS = 5e8;
const RANGE = 2048;

export interface SelectOptions {
  method: SelectMethod;
  /** The target; k-centre needs none. */
  near?: CorpusSpec;
  from: CorpusSpec;
  wanted: { unit: 'documents' | 'bytes'; amount: number };
  numClusters?: number;
  numTopics?: number;
  seed: number;
  /** Times that CRISP may write a document of a cluster of which there is too little; 1: never twice. */
  maxRepeats: number;
  /** Leaves out documents whose metadata.quality is less, or missing. */
  minQuality?: number;
  output: SelectionOutput;
  /** Lay out a map. */
  withMap?: boolean;
  /** Threads; all cores by default. Has no influence on the result. */
  numWorkers?: number;
  quiet?: boolean;
}

export interface SelectedCluster {
  cluster: number;
  topic: number;
  /** Shares of documents, or of bytes, as they are wanted. */
  corpusShare: number;
  /** Absent without a target. */
  targetShare?: number;
  /** Of what was selected. */
  selectedShare: number;
  /** targetShare / corpusShare: how much more often than by chance the target needs it. */
  ratio?: number;
  words: string[];
  /** Of the document nearest to the centroid. */
  example: string;
}

export type SelectedTopic = Omit<SelectedCluster, 'cluster' | 'example'> & { clusters: number[] };

export interface MapPoint {
  x: number;
  y: number;
  cluster: number;
  topic: number;
  isTarget: boolean;
}

export interface SelectSummary {
  numDocuments: number;
  numBytes: number;
  numBadRecords: number;
  numEmptyDocuments: number;
  /** Documents none of whose words count: they are in no cluster and are not selected. */
  numWithoutCluster: number;
  /** Documents below the least quality, or without one. */
  numBelowQuality: number;
  numTargetDocuments: number;
  /** With repetitions. */
  numSelected: number;
  numBytesSelected: number;
  /** Documents of these that are repetitions. */
  numRepeated: number;
  /** Documents or bytes that were wanted and are not there. */
  shortfall: number;
  clusters: SelectedCluster[];
  topics: SelectedTopic[];
  /** DIMENSIONS a cluster, of length 1. */
  centroids: Float32Array;
  diversity: {
    /** exp of the entropy of shares over clusters. */
    corpusClusters: number;
    selectedClusters: number;
  };
  /** With a target. */
  likeness?: {
    /** Half the sum of differences between the target's shares of clusters and these. */
    corpusDistance: number;
    selectedDistance: number;
    /** Nats a hashed n-gram, from the target's distribution. */
    corpusDivergence: number;
    selectedDivergence: number;
  };
  /** Means of metadata.quality, where documents have one. */
  quality?: { corpus: number; selected: number };
  map?: MapPoint[];
}

/**
 * Writes what was selected, each document where it stood in the order of reading.
 * @throws ConfigError for paths and amounts; DataError for unreadable records, empty or too small sets, files that change meanwhile
 */
export async function selectDocuments(options: SelectOptions): Promise<SelectSummary> {
  const { files } = await findInputFiles(options.from.paths, options.from.baseFolder);
  const stage: Stage = { ...options, files, numFileBytes: files.reduce((sum, file) => sum + file.sizeBytes, 0) };
  const corpus = await countCorpus(stage);
  const numClusters = countClusters(options, corpus);
  const targetWords = options.near && (await countTarget(options.near));
  const inverse = inverseFrequencies(corpus, numClusters, targetWords);
  const sample = await clusterSample(stage, corpus, numClusters, inverse);
  const target = targetWords && (await placeTarget(stage, targetWords, inverse, sample.clustering));
  const records = new DocumentRecords(outputPath(options.output));
  try {
    const scored = await scoreDocuments(stage, corpus, sample, inverse, target, records);
    const choice = choose(stage, scored, target, records);
    return await fetchSelection(stage, { corpus, sample, target, scored, records, choice });
  } finally {
    records.close();
  }
}

interface Stage extends SelectOptions {
  files: readonly InputFile[];
  numFileBytes: number;
}

const outputPath = (output: SelectionOutput): string => ('file' in output ? output.file : output.folder);

interface Corpus extends WordCounts {
  ngrams: Float64Array;
  numBytes: number;
  numBadRecords: number;
  numEmptyDocuments: number;
}

async function countCorpus(stage: Stage): Promise<Corpus> {
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

function countClusters({ numClusters }: SelectOptions, { numDocuments }: Corpus): number {
  const wanted = numClusters ?? Math.min(MAX_DEFAULT_CLUSTERS, Math.max(2, Math.round(Math.sqrt(numDocuments))));
  if (wanted > numDocuments / 2)
    throw new ConfigError(
      `${wanted} clusters of ${numDocuments} documents: expected at most half as many clusters as documents. Ask for fewer with --clusters.`,
    );
  return wanted;
}

interface Sample {
  clustering: Clustering;
  /** By cluster. */
  topics: Int32Array;
  words: string[][];
  topicWords: string[][];
  points: Points;
}

/** Clusters of a sample drawn evenly from all documents, topics as clusters of clusters, and the words of both. */
async function clusterSample(
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

interface TargetWords extends WordCounts {
  spec: CorpusSpec;
  files: readonly InputFile[];
  ngrams: Float64Array;
}

/** The target is small: one thread reads it, twice. */
async function countTarget(spec: CorpusSpec): Promise<TargetWords> {
  const { files } = await findInputFiles(spec.paths, spec.baseFolder);
  const vectoriser = new Vectoriser();
  const ngrams = new Float64Array(NUM_NGRAMS);
  const frequencies = new Uint32Array(NUM_BUCKETS);
  let numDocuments = 0;
  for await (const { text } of readFiles(files, spec)) {
    numDocuments++;
    vectoriser.read(text);
    addNgrams(vectoriser.features('words and pairs'), ngrams);
    const { buckets, numBuckets } = vectoriser.features('words');
    for (let i = 0; i < numBuckets; i++) frequencies[buckets[i]]++;
  }
  if (numDocuments === 0) throw new DataError(files[0].path, 'no target: no document with text in it.');
  return { spec, files, ngrams, frequencies, numDocuments };
}

interface Target extends TargetWords {
  /** By cluster, in documents or bytes. */
  amounts: Float64Array;
  /** Of a sample. */
  vectors: Float32Array;
}

async function placeTarget(
  stage: Stage,
  words: TargetWords,
  inverse: Float32Array,
  { centroids, numClusters }: Clustering,
): Promise<Target> {
  const { files, spec, numDocuments } = words;
  const vectoriser = new Vectoriser();
  const amounts = new Float64Array(numClusters);
  const rng = new Rng(stage.seed, 'target');
  const kept = new Float32Array(Math.min(numDocuments, MAX_TARGET_SAMPLE) * DIMENSIONS);
  const vector = new Float32Array(DIMENSIONS);
  let numPlaced = 0;
  for await (const { text } of readFiles(files, spec)) {
    vectoriser.read(text);
    if (!vectoriser.project(inverse, vector, 0)) continue;
    const { index } = nearest(vector, 0, centroids, DIMENSIONS);
    amounts[index] += stage.wanted.unit === 'documents' ? 1 : Buffer.byteLength(text);
    // Reservoir sampling: each has the same chance to stay.
    const place = numPlaced < MAX_TARGET_SAMPLE ? numPlaced : rng.below(numPlaced + 1);
    if (place * DIMENSIONS < kept.length) kept.set(vector, place * DIMENSIONS);
    numPlaced++;
  }
  if (numPlaced === 0)
    throw new DataError(
      files[0].path,
      `none of the ${formatCount(numDocuments)} target documents shares a word that counts with the corpus. ` +
        'Are they of one language, and are the fields the right ones?',
    );
  return { ...words, amounts, vectors: kept.subarray(0, Math.min(numPlaced, MAX_TARGET_SAMPLE) * DIMENSIONS) };
}

interface ScoredCorpus {
  /** By cluster: in documents or bytes, of all and of those that may be selected. */
  amounts: Float64Array;
  supply: Float64Array;
  examples: string[];
  numWithoutCluster: number;
  numBelowQuality: number;
  quality: Mean;
  /** Of k-centre: documents in their order with the distances at which they were chosen. */
  centres?: { documents: Float64Array; radii: Float64Array };
}

class Mean {
  sum = 0;
  count = 0;
  add(value: number): void {
    this.sum += value;
    this.count++;
  }
  get value(): number | undefined {
    return this.count > 0 ? this.sum / this.count : undefined;
  }
}

async function scoreDocuments(
  stage: Stage,
  corpus: Corpus,
  { clustering }: Sample,
  inverse: Float32Array,
  target: Target | undefined,
  records: DocumentRecords,
): Promise<ScoredCorpus> {
  const { method } = stage;
  const { centroids, numClusters } = clustering;
  const task: SelectTask = {
    kind: 'score',
    inverse,
    centroids,
    prototypes: method === 'nearest' ? await prototypes(stage, target!) : undefined,
    ratios: method === 'dsir' ? logRatios(target!.ngrams, corpus.ngrams) : undefined,
    keepVectors: method === 'k-centre',
  };
  const rng = new Rng(stage.seed, 'keys');
  const best = new Float64Array(numClusters).fill(Number.NEGATIVE_INFINITY);
  const scored: ScoredCorpus = {
    amounts: new Float64Array(numClusters),
    supply: new Float64Array(numClusters),
    examples: new Array<string>(numClusters).fill(''),
    numWithoutCluster: 0,
    numBelowQuality: 0,
    quality: new Mean(),
  };
  const batches = batchesOf(stage, 'scoring documents');
  const results = mapOnWorkers<Document[], Scored>(batches, textsOf, pool(stage, task));

  /** Records each document; yields those that k-centre may choose. */
  async function* placed(): AsyncGenerator<Placed> {
    for await (const { batch, result } of results)
      for (let i = 0; i < batch.length; i++) {
        const { id, text, metadata } = batch[i];
        const uniform = rng.float();
        const score = result.scores[i];
        const key = method === 'crisp' ? uniform : method === 'dsir' ? score + gumbel(uniform) : score;
        const cluster = result.clusters[i];
        const numBytes = Buffer.byteLength(text);
        const amount = stage.wanted.unit === 'documents' ? 1 : numBytes;
        const quality = qualityOf(metadata);
        if (quality !== undefined) scored.quality.add(quality);
        const isBelow = stage.minQuality !== undefined && !(quality !== undefined && quality >= stage.minQuality);
        if (isBelow) scored.numBelowQuality++;
        if (cluster < 0) scored.numWithoutCluster++;
        else {
          scored.amounts[cluster] += amount;
          if (!isBelow) scored.supply[cluster] += amount;
          if (result.cosines[i] > best[cluster]) {
            best[cluster] = result.cosines[i];
            scored.examples[cluster] = id;
          }
        }
        const document = records.length;
        records.push({ key, numBytes, cluster: isBelow ? -1 : cluster, score });
        if (result.vectors && cluster >= 0 && !isBelow)
          yield {
            document,
            cluster,
            numBytes,
            cosine: result.cosines[i],
            vector: result.vectors.subarray(i * DIMENSIONS, (i + 1) * DIMENSIONS),
          };
      }
  }

  if (method === 'k-centre') scored.centres = await spreadOut(stage, corpus, numClusters, placed());
  else for await (const _ of placed());
  if (records.length !== corpus.numDocuments) throw changed(stage);
  if (stage.minQuality !== undefined && scored.quality.count === 0)
    throw new DataError(
      stage.files[0].path,
      'no document has a number in metadata.quality, and a least quality is asked for. Let a quality classifier clean the corpus first.',
    );
  return scored;
}

function qualityOf(metadata: Document['metadata']): number | undefined {
  const quality = metadata?.quality;
  return typeof quality === 'number' && Number.isFinite(quality) ? quality : undefined;
}

/** The target's documents themselves, or the centroids of their clusters where they are many. */
async function prototypes({ seed }: Stage, { vectors }: Target): Promise<Float32Array> {
  const numPoints = vectors.length / DIMENSIONS;
  if (numPoints <= MAX_PROTOTYPES) return vectors;
  return (await kmeans({ vectors, numPoints, numDims: DIMENSIONS }, MAX_PROTOTYPES, new Rng(seed, 'prototypes')))
    .centroids;
}

interface Placed {
  document: number;
  cluster: number;
  numBytes: number;
  cosine: number;
  vector: Float32Array;
}

interface Block {
  cluster: number;
  documents: number[];
  numBytes: number[];
  vectors: Float32Array[];
  /** Nearest to the centroid: the choice begins there. */
  first: number;
  cosine: number;
}

/** k-centre in blocks of one cluster each; returns what was chosen. */
async function spreadOut(
  stage: Stage,
  { numDocuments, numBytes }: Corpus,
  numClusters: number,
  placed: AsyncIterable<Placed>,
): Promise<NonNullable<ScoredCorpus['centres']>> {
  const { unit, amount } = stage.wanted;
  const chosenShare = Math.min(1, (SPREAD_FACTOR * amount) / (unit === 'documents' ? numDocuments : numBytes));
  const blockSize = Math.max(256, Math.min(4096, Math.floor(MAX_IN_BLOCKS / numClusters)));
  const open = new Map<number, Block>();
  async function* blocks(): AsyncGenerator<Block> {
    for await (const { document, cluster, numBytes: bytes, cosine, vector } of placed) {
      let block = open.get(cluster);
      if (!block) {
        block = { cluster, documents: [], numBytes: [], vectors: [], first: 0, cosine: -1 };
        open.set(cluster, block);
      }
      if (cosine > block.cosine) [block.first, block.cosine] = [block.documents.length, cosine];
      block.documents.push(document);
      block.numBytes.push(bytes);
      block.vectors.push(vector.slice());
      if (block.documents.length < blockSize) continue;
      open.delete(cluster);
      yield block;
    }
    yield* open.values();
  }
  const toRequest = ({ vectors, first }: Block): SpreadRequest => {
    const all = new Float32Array(vectors.length * DIMENSIONS);
    vectors.forEach((vector, i) => {
      all.set(vector, i * DIMENSIONS);
    });
    return { vectors: all, first, numCentres: Math.ceil(chosenShare * vectors.length) };
  };
  const candidates = new DocumentRecords(outputPath(stage.output));
  try {
    for await (const { batch, result } of mapOnWorkers<Block, Centres>(
      blocks(),
      toRequest,
      pool(stage, { kind: 'spread' }),
    ))
      result.order.forEach((index, i) => {
        // In place of a score: the document, since candidates are not in the order of reading.
        candidates.push({
          key: result.radii[i],
          numBytes: batch.numBytes[index],
          cluster: 0,
          score: batch.documents[index],
        });
      });
    const edges = findEdges(candidates, Float64Array.of(amount), () => 0, amountOf(unit));
    const chosen: [number, number][] = [];
    for (const { key, document, score } of candidates) if (isChosen(edges, 0, key, document)) chosen.push([score, key]);
    chosen.sort(([a], [b]) => a - b);
    return {
      documents: Float64Array.from(chosen, ([document]) => document),
      // The first of a block has no distance from any before it.
      radii: Float64Array.from(chosen, ([, radius]) => Math.min(radius, 2)),
    };
  } finally {
    candidates.close();
  }
}

const amountOf =
  (unit: SelectOptions['wanted']['unit']) =>
  ({ numBytes }: { numBytes: number }): number =>
    unit === 'documents' ? 1 : numBytes;

interface Choice {
  shortfall: number;
  /** How often a document is written, and the weight that is written beside it. Asked in the order of reading. */
  of(record: { document: number; key: number; cluster: number; score: number }): { numCopies: number; weight: number };
}

function choose(stage: Stage, scored: ScoredCorpus, target: Target | undefined, records: DocumentRecords): Choice {
  const { method, wanted, maxRepeats } = stage;
  const available = scored.supply.reduce((sum, supply) => sum + supply, 0);
  if (available === 0)
    throw new DataError(
      stage.files[0].path,
      `no document may be selected: ${formatCount(scored.numWithoutCluster)} have no word that counts, ${formatCount(scored.numBelowQuality)} too little quality.`,
    );
  if (method === 'k-centre') {
    const { documents, radii } = scored.centres!;
    let next = 0;
    return {
      shortfall: Math.max(0, wanted.amount - available),
      of: ({ document }) =>
        document === documents[next] ? { numCopies: 1, weight: radii[next++] } : { numCopies: 0, weight: 0 },
    };
  }
  if (method !== 'crisp') {
    const edges = findEdges(
      records,
      Float64Array.of(wanted.amount),
      ({ cluster }) => Math.min(cluster, 0),
      amountOf(wanted.unit),
    );
    return {
      shortfall: Math.max(0, wanted.amount - available),
      of: ({ document, key, cluster, score }) => ({
        numCopies: cluster >= 0 && isChosen(edges, 0, key, document) ? 1 : 0,
        weight: score,
      }),
    };
  }
  const { amounts, shortfall } = crispQuotas(target!.amounts, scored.supply, wanted.amount, maxRepeats);
  const quotas = wanted.unit === 'documents' ? roundQuotas(amounts) : amounts;
  // A quota beyond the supply: everything so many times, and once more by chance as much as is left.
  const rounds = quotas.map((quota, c) => (scored.supply[c] > 0 ? Math.floor(quota / scored.supply[c]) : 0));
  const rest = quotas.map((quota, c) => quota - rounds[c] * scored.supply[c]);
  const edges = findEdges(records, rest, ({ cluster }) => cluster, amountOf(wanted.unit));
  const corpusShares = shares(scored.amounts);
  const weights = shares(target!.amounts).map((share, c) => (corpusShares[c] > 0 ? share / corpusShares[c] : 0));
  return {
    shortfall,
    of: ({ document, key, cluster }) =>
      cluster < 0
        ? { numCopies: 0, weight: 0 }
        : { numCopies: rounds[cluster] + (isChosen(edges, cluster, key, document) ? 1 : 0), weight: weights[cluster] },
  };
}

interface Selected {
  corpus: Corpus;
  sample: Sample;
  target: Target | undefined;
  scored: ScoredCorpus;
  records: DocumentRecords;
  choice: Choice;
}

async function fetchSelection(stage: Stage, selected: Selected): Promise<SelectSummary> {
  const { corpus, sample, target, scored, records, choice } = selected;
  const { topics, topicWords, clustering } = sample;
  const taken = new Float64Array(clustering.numClusters);
  const ngrams = new Float64Array(NUM_NGRAMS);
  const vectoriser = new Vectoriser();
  const quality = new Mean();
  const counts = { numSelected: 0, numBytesSelected: 0, numRepeated: 0 };
  const progress = progressOf(stage, 'fetching texts');
  async function* chosen() {
    const remembered = records[Symbol.iterator]();
    for await (const document of readFiles(stage.files, stage.from, showing(progress))) {
      const { value: record } = remembered.next();
      const numBytes = Buffer.byteLength(document.text);
      if (!record || record.numBytes !== numBytes) throw changed(stage);
      const { numCopies, weight } = choice.of(record);
      if (numCopies === 0) continue;
      vectoriser.read(document.text);
      const known = qualityOf(document.metadata);
      const { cluster } = record;
      for (let copy = 0; copy < numCopies; copy++) {
        taken[cluster] += amountOf(stage.wanted.unit)({ numBytes });
        addNgrams(vectoriser.features('words and pairs'), ngrams);
        if (known !== undefined) quality.add(known);
        counts.numSelected++;
        counts.numBytesSelected += numBytes;
        yield { document, cluster, topic: topics[cluster], weight };
      }
      counts.numRepeated += numCopies - 1;
    }
    progress.finish();
    if (!remembered.next().done) throw changed(stage);
  }
  const corpusShares = shares(scored.amounts);
  const targetShares = target && shares(target.amounts);
  const topicShares = sumByTopic(targetShares ?? corpusShares, topics);
  await writeSelection(
    stage.output,
    chosen(),
    topicWords.map((words, topic) => ({ words, weight: topicShares[topic] })),
  );
  const takenShares = shares(taken);
  return {
    numDocuments: corpus.numDocuments,
    numBytes: corpus.numBytes,
    numBadRecords: corpus.numBadRecords,
    numEmptyDocuments: corpus.numEmptyDocuments,
    numWithoutCluster: scored.numWithoutCluster,
    numBelowQuality: scored.numBelowQuality,
    numTargetDocuments: target?.numDocuments ?? 0,
    ...counts,
    shortfall: choice.shortfall,
    ...tables(sample, scored.examples, corpusShares, targetShares, takenShares),
    centroids: clustering.centroids,
    diversity: { corpusClusters: effectiveNumber(corpusShares), selectedClusters: effectiveNumber(takenShares) },
    likeness: target && {
      corpusDistance: totalVariation(targetShares!, corpusShares),
      selectedDistance: totalVariation(targetShares!, takenShares),
      corpusDivergence: divergence(target.ngrams, corpus.ngrams),
      selectedDivergence: divergence(target.ngrams, ngrams),
    },
    quality:
      scored.quality.value !== undefined && quality.value !== undefined
        ? { corpus: scored.quality.value, selected: quality.value }
        : undefined,
    map: stage.withMap ? layOut(sample, target) : undefined,
  };
}

function sumByTopic(amounts: Float64Array, topics: Int32Array): Float64Array {
  const sums = new Float64Array(Math.max(...topics) + 1);
  amounts.forEach((amount, cluster) => {
    sums[topics[cluster]] += amount;
  });
  return sums;
}

function tables(
  { topics, words, topicWords }: Sample,
  examples: readonly string[],
  corpus: Float64Array,
  target: Float64Array | undefined,
  taken: Float64Array,
): Pick<SelectSummary, 'clusters' | 'topics'> {
  const row = (corpusShare: number, targetShare: number | undefined, selectedShare: number) => ({
    corpusShare,
    ...(targetShare !== undefined && { targetShare, ratio: corpusShare > 0 ? targetShare / corpusShare : 0 }),
    selectedShare,
  });
  const clusters = words.map((list, cluster) => ({
    cluster,
    topic: topics[cluster],
    ...row(corpus[cluster], target?.[cluster], taken[cluster]),
    words: list,
    example: examples[cluster],
  }));
  const [corpusSums, targetSums, takenSums] = [corpus, target, taken].map(
    (amounts) => amounts && sumByTopic(amounts, topics),
  );
  return {
    clusters,
    topics: topicWords.map((list, topic) => ({
      topic,
      ...row(corpusSums![topic], targetSums?.[topic], takenSums![topic]),
      words: list,
      clusters: clusters.filter((cluster) => cluster.topic === topic).map(({ cluster }) => cluster),
    })),
  };
}

/** Some documents of the sample, and some of the target, in the plane. */
function layOut({ points, clustering, topics }: Sample, target: Target | undefined): MapPoint[] {
  const { numPoints, vectors } = points;
  const numTargets = target ? target.vectors.length / DIMENSIONS : 0;
  const evenly = (n: number, most: number) =>
    Array.from({ length: Math.min(n, most) }, (_, i) => Math.floor((i * n) / Math.min(n, most)));
  const documents = evenly(numPoints, MAP_DOCUMENTS);
  const targets = evenly(numTargets, MAP_TARGETS);
  const all = new Float32Array((documents.length + targets.length) * DIMENSIONS);
  const vectorOf = (from: Float32Array, i: number) => from.subarray(i * DIMENSIONS, (i + 1) * DIMENSIONS);
  documents.forEach((point, i) => {
    all.set(vectorOf(vectors, point), i * DIMENSIONS);
  });
  targets.forEach((point, i) => {
    all.set(vectorOf(target!.vectors, point), (documents.length + i) * DIMENSIONS);
  });
  const places = embedInPlane(all, DIMENSIONS);
  return Array.from({ length: documents.length + targets.length }, (_, i) => {
    const cluster = nearest(all, i * DIMENSIONS, clustering.centroids, DIMENSIONS).index;
    return {
      x: places[2 * i],
      y: places[2 * i + 1],
      cluster,
      topic: topics[cluster],
      isTarget: i >= documents.length,
    };
  });
}

const textsOf = (batch: readonly Document[]): string[] => batch.map(({ text }) => text);

/** The corpus in batches, in order, of the documents that `takes` takes. */
async function* batchesOf(
  stage: Stage,
  label: string,
  takes: (document: Document) => boolean = () => true,
  handlers: ReadHandlers = {},
): AsyncGenerator<Document[]> {
  const progress = progressOf(stage, label);
  let batch: Document[] = [];
  let numChars = 0;
  for await (const document of readFiles(stage.files, stage.from, { ...handlers, ...showing(progress) })) {
    if (!takes(document)) continue;
    batch.push(document);
    numChars += document.text.length;
    if (numChars < BATCH_CHARS && batch.length < BATCH_DOCUMENTS) continue;
    yield batch;
    batch = [];
    numChars = 0;
  }
  if (batch.length > 0) yield batch;
  progress.finish();
}

function changed(stage: Stage): DataError {
  return new DataError(
    stage.files[0].path,
    'the documents changed while they were read (files are read four times). Run the same command again when nothing writes to them.',
  );
}

function progressOf({ numFileBytes, quiet }: Stage, label: string): Progress {
  return new Progress({ label, total: numFileBytes, unit: 'bytes', quiet });
}

function showing(progress: Progress): ReadHandlers {
  return { onProgress: ({ numBytesRead }) => progress.update(numBytesRead) };
}

function pool({ numWorkers, numFileBytes }: Stage, workerData: SelectTask) {
  return {
    file: entryFile(import.meta.url, './worker.ts'),
    workerData,
    numWorkers: Math.max(1, Math.min(numWorkers ?? os.availableParallelism(), Math.ceil(numFileBytes / BATCH_CHARS))),
    name: 'selection',
  };
}
