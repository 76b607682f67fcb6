// Documents -> full sequences. Training concatenates and cuts: every sequence is filled exactly and the rest of a document goes on in the
// corpus's next sequence. That wastes nothing and uses each (input, target) pair once an epoch; the price is that some documents are
// seen in two pieces. Held-out sets are packed first-fit instead, so that no document is cut other than at seqLen.
import { DataError } from '../base/errors.ts';
import { Rng } from '../base/rng.ts';
import type { ShardReader } from './megatron.ts';
import type { Segment } from './types.ts';

/** One shard of a corpus, with its index in the job's list. */
export interface CorpusShard {
  shard: number;
  reader: ShardReader;
}

/**
 * An endless, shuffled stream of a corpus's pairs. Its units are documents, and the consecutive pieces of seqLen pairs of longer ones;
 * each epoch is another seeded permutation of the units. Memory: 16 bytes a document and 4 a unit.
 */
export class CorpusStream {
  readonly corpus: string;
  readonly numPairsPerEpoch: number;
  numPairsUsed = 0;
  private readonly seqLen: number;
  private readonly seed: number;
  private readonly shards: readonly CorpusShard[];
  /** Documents of all shards in a row: where shard k's begin. */
  private readonly shardStarts: number[] = [0];
  /** Units before document d, for all documents in a row, and the total. */
  private readonly unitStarts: Float64Array;
  private permutation: Uint32Array;
  private epoch = -1;
  private nextUnit = 0;
  private current: Segment = { shard: 0, first: 0, length: 0 };

  /** @throws DataError when the corpus has no pair to learn from */
  constructor(corpus: string, shards: readonly CorpusShard[], seqLen: number, seed: number) {
    this.corpus = corpus;
    this.shards = shards;
    this.seqLen = seqLen;
    this.seed = seed;
    for (const { reader } of shards) this.shardStarts.push(this.shardStarts.at(-1)! + reader.numDocuments);
    this.unitStarts = new Float64Array(this.shardStarts.at(-1)! + 1);
    let numPairs = 0;
    let d = 0;
    for (const { reader } of shards)
      for (let i = 0; i < reader.numDocuments; i++, d++) {
        const pairs = Math.max(0, reader.documentRange(i)[1] - 1);
        numPairs += pairs;
        this.unitStarts[d + 1] = this.unitStarts[d] + Math.ceil(pairs / seqLen);
      }
    this.numPairsPerEpoch = numPairs;
    if (numPairs === 0)
      throw new DataError(
        shards[0]?.reader.prefix ?? corpus,
        `corpus "${corpus}" has no document of two tokens or more: nothing to learn.`,
      );
    const numUnits = this.unitStarts[d];
    if (numUnits >= 2 ** 32)
      throw new DataError(
        shards[0].reader.prefix,
        `corpus "${corpus}" has ${numUnits} pieces, at most 2^32 are supported.`,
      );
    this.permutation = new Uint32Array(numUnits);
  }

  get numEpochs(): number {
    return this.numPairsUsed / this.numPairsPerEpoch;
  }

  /** Emits segments of `numPairs` pairs in all. */
  take(numPairs: number, emit: (segment: Segment) => void): void {
    let left = numPairs;
    while (left > 0) {
      if (this.current.length === 0) this.current = this.unit(this.advance());
      const { shard, first } = this.current;
      const length = Math.min(left, this.current.length);
      emit({ shard, first, length });
      this.current = { shard, first: first + length, length: this.current.length - length };
      left -= length;
    }
    this.numPairsUsed += numPairs;
  }

  private advance(): number {
    if (this.epoch < 0 || this.nextUnit === this.permutation.length) {
      this.epoch++;
      this.nextUnit = 0;
      for (let i = 0; i < this.permutation.length; i++) this.permutation[i] = i;
      new Rng(this.seed, 'order', this.corpus, this.epoch).shuffle(this.permutation);
    }
    return this.permutation[this.nextUnit++];
  }

  private unit(u: number): Segment {
    const document = lastAtMost(this.unitStarts, u);
    let k = 0;
    while (this.shardStarts[k + 1] <= document) k++;
    const { shard, reader } = this.shards[k];
    const [first, length] = reader.documentRange(document - this.shardStarts[k]);
    const skipped = (u - this.unitStarts[document]) * this.seqLen;
    return { shard, first: first + skipped, length: Math.min(this.seqLen, length - 1 - skipped) };
  }
}

/** The last i with starts[i] <= value; where several are equal (empty documents) the one that holds the unit. */
function lastAtMost(starts: Float64Array, value: number): number {
  let low = 0;
  let high = starts.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    if (starts[middle] <= value) low = middle;
    else high = middle;
  }
  return low;
}

/**
 * Windows of at most seqLen pairs, first-fit: each goes into the first sequence with room, in order.
 * @param ranges [first token, number of tokens] of each document
 */
export function packFirstFit(ranges: Iterable<readonly [number, number]>, shard: number, seqLen: number): Segment[][] {
  const sequences: Segment[][] = [];
  const room: number[] = [];
  let firstOpen = 0;
  for (const [first, length] of ranges)
    for (let done = 0; done < length - 1; done += seqLen) {
      const segment = { shard, first: first + done, length: Math.min(seqLen, length - 1 - done) };
      let i = firstOpen;
      while (i < room.length && room[i] < segment.length) i++;
      if (i === room.length) {
        sequences.push([]);
        room.push(seqLen);
      }
      sequences[i].push(segment);
      room[i] -= segment.length;
      while (firstOpen < room.length && room[firstOpen] === 0) firstOpen++;
    }
  return sequences;
}
