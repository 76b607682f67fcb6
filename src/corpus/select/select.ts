// Selection: of a large corpus the documents that are worth training on: as a small target is spread over topics (CRISP), by importance for
// it (DSIR), by nearness to it, or as diverse as can be (k-centre). Documents become vectors (vectors.ts), vectors clusters (kmeans.ts, on a
// sample), clusters get words (labels.ts).
//
// The corpus is read four times: to count words, for the sample, to score each document, and to fetch the texts of the chosen. Memory depends
// on the number of clusters, not on that of documents: of each, 32 bytes are remembered on disk. The result is the same for any number of
// threads; chance comes from the seed and is drawn in the order of reading.
import { findInputFiles } from '../paths.ts';
import { type Choice, choose } from './choose.ts';
import { embedInPlane } from './embed.ts';
import { addNgrams, divergence, NUM_NGRAMS } from './importance.ts';
import { nearest } from './kmeans.ts';
import { writeSelection } from './output.ts';
import { effectiveNumber, shares, totalVariation } from './quotas.ts';
import { DocumentRecords } from './records.ts';
import { type Corpus, clusterSample, countClusters, countCorpus, type Sample } from './sample.ts';
import { Mean, type ScoredCorpus, scoreDocuments } from './score.ts';
import {
  amountOf,
  changed,
  documentsOf,
  outputPath,
  progressOf,
  qualityOf,
  type SelectOptions,
  type Stage,
  showing,
} from './stage.ts';
import { countTarget, placeTarget, type Target } from './target.ts';
import { DIMENSIONS, inverseFrequencies, Vectoriser } from './vectors.ts';

const MAP_DOCUMENTS = 900;
const MAP_TARGETS = 200;

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
  /** For ifd: documents without an answer to score, or whose question does not help with it. */
  numUndecided: number;
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
    for await (const document of documentsOf(stage, showing(progress))) {
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
    numUndecided: scored.numUndecided,
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
