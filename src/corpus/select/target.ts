// The target: its words, and where its documents lie among the corpus' clusters.
import { DataError } from '../../base/errors.ts';
import { Rng } from '../../base/rng.ts';
import { formatCount } from '../../base/units.ts';
import { NUM_BUCKETS } from '../mining/features.ts';
import { findInputFiles } from '../paths.ts';
import { readFiles } from '../read.ts';
import type { CorpusSpec, InputFile } from '../types.ts';
import { addNgrams, NUM_NGRAMS } from './importance.ts';
import { type Clustering, kmeans, nearest } from './kmeans.ts';
import type { Stage } from './stage.ts';
import { DIMENSIONS, Vectoriser, type WordCounts } from './vectors.ts';

/** Target documents that are kept as vectors: prototypes are made of them, and some are drawn. */
const MAX_TARGET_SAMPLE = 4096;
/** Nearness to so many costs as much as the default number of clusters. */
const MAX_PROTOTYPES = 512;

export interface TargetWords extends WordCounts {
  spec: CorpusSpec;
  files: readonly InputFile[];
  ngrams: Float64Array;
}

/** The target is small: one thread reads it, twice. */
export async function countTarget(spec: CorpusSpec): Promise<TargetWords> {
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

export interface Target extends TargetWords {
  /** By cluster, in documents or bytes. */
  amounts: Float64Array;
  /** Of a sample. */
  vectors: Float32Array;
}

export async function placeTarget(
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

/** The target's documents themselves, or the centroids of their clusters where they are many. */
export async function prototypes({ seed }: Stage, { vectors }: Target): Promise<Float32Array> {
  const numPoints = vectors.length / DIMENSIONS;
  if (numPoints <= MAX_PROTOTYPES) return vectors;
  return (await kmeans({ vectors, numPoints, numDims: DIMENSIONS }, MAX_PROTOTYPES, new Rng(seed, 'prototypes')))
    .centroids;
}
