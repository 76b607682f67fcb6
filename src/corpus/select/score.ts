// Each document scored, by the method; what is remembered of it goes to disk.
import { DataError } from '../../base/errors.ts';
import { Rng } from '../../base/rng.ts';
import { mapOnWorkers } from '../../base/worker-pool.ts';
import type { Document } from '../types.ts';
import { gumbel, logRatios } from './importance.ts';
import type { DocumentRecords } from './records.ts';
import type { Corpus, Sample } from './sample.ts';
import { type Placed, type Spread, spreadOut } from './spread.ts';
import { batchesOf, changed, difficultyOf, pool, qualityOf, type Stage, textsOf } from './stage.ts';
import { prototypes, type Target } from './target.ts';
import { DIMENSIONS } from './vectors.ts';
import type { Scored, SelectTask } from './worker.ts';

export interface ScoredCorpus {
  /** By cluster: in documents or bytes, of all and of those that may be selected. */
  amounts: Float64Array;
  supply: Float64Array;
  examples: string[];
  numWithoutCluster: number;
  numBelowQuality: number;
  numUndecided: number;
  quality: Mean;
  /** Of k-centre. */
  centres?: Spread;
}

export class Mean {
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

export async function scoreDocuments(
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
    numUndecided: 0,
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
        const difficulty = method === 'ifd' ? difficultyOf(metadata) : undefined;
        const score = difficulty ?? result.scores[i];
        const key = method === 'crisp' ? uniform : method === 'dsir' ? score + gumbel(uniform) : score;
        const cluster = result.clusters[i];
        const numBytes = Buffer.byteLength(text);
        const amount = stage.wanted.unit === 'documents' ? 1 : numBytes;
        const quality = qualityOf(metadata);
        if (quality !== undefined) scored.quality.add(quality);
        const isBelow = stage.minQuality !== undefined && !(quality !== undefined && quality >= stage.minQuality);
        // Where the question makes the answer less likely, they hardly belong together (Li et al. 2023).
        const isUndecided = method === 'ifd' && !(difficulty !== undefined && difficulty < 1);
        const isOut = isBelow || isUndecided;
        if (isBelow) scored.numBelowQuality++;
        else if (isUndecided) scored.numUndecided++;
        if (cluster < 0) scored.numWithoutCluster++;
        else {
          scored.amounts[cluster] += amount;
          if (!isOut) scored.supply[cluster] += amount;
          if (result.cosines[i] > best[cluster]) {
            best[cluster] = result.cosines[i];
            scored.examples[cluster] = id;
          }
        }
        const document = records.length;
        records.push({ key, numBytes, cluster: isOut ? -1 : cluster, score });
        if (result.vectors && cluster >= 0 && !isOut)
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
