// k-centre over a corpus: documents gather in blocks of one cluster each, a full block is chosen from at once, and the blocks' choices are
// merged by radius (k-centre.ts).
import { mapOnWorkers } from '../../base/worker-pool.ts';
import type { Centres } from './k-centre.ts';
import { DocumentRecords, findEdges, isChosen } from './records.ts';
import type { Corpus } from './sample.ts';
import { amountOf, outputPath, pool, type Stage } from './stage.ts';
import { DIMENSIONS } from './vectors.ts';
import type { SpreadRequest } from './worker.ts';

/** Documents of a block of k-centre in all clusters together: 256 MiB. */
const MAX_IN_BLOCKS = 1 << 18;
/** A block may give so many times its share of what is chosen. */
const SPREAD_FACTOR = 4;

/** Documents in the order of reading, with the distances at which they were chosen. */
export interface Spread {
  documents: Float64Array;
  radii: Float64Array;
}

export interface Placed {
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
export async function spreadOut(
  stage: Stage,
  { numDocuments, numBytes }: Corpus,
  numClusters: number,
  placed: AsyncIterable<Placed>,
): Promise<Spread> {
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
