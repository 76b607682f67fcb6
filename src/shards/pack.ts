// Documents -> sequences, in one of four ways. Held-out sets are packed first-fit, so that no document is cut other than at seqLen.
//
// fill: a piece of exactly seqLen pairs is a sequence by itself, with all of its context; shorter ones are concatenated, and what does not
// fit goes on in the corpus's next such sequence. That wastes nothing and uses each pair once an epoch; some short pieces are seen in two.
// best-fit: short pieces are never cut; each goes into the fullest sequence with room for it, longest first, and what stays free is
// padding (Ding et al. 2024, arXiv 2404.10830). concatenate: documents in a row, cut every seqLen pairs: the usual way, which cuts nearly
// every document. seamless: as best-fit, but where a long document's last piece is nearly full its windows overlap evenly instead, by at
// most MAX_OVERLAP of a sequence each (Yin et al. 2025, arXiv 2505.22018, whose bins are filled somewhat over, which drops some text).
import { DataError } from '../base/errors.ts';
import { Rng } from '../base/rng.ts';
import type { Packing } from '../config/index.ts';
import type { ShardReader } from './megatron.ts';
import type { Segment } from './types.ts';

/** r_max of Yin et al. 2025. */
const MAX_OVERLAP = 0.3;
/** Pieces that are packed together: with more of them hardly less is padding. */
const PACKED_AT_ONCE = 4096;

/** One shard of a corpus, with its index in the job's list. */
export interface CorpusShard {
  shard: number;
  reader: ShardReader;
  /** 1 for each document that is left out: another corpus of the job holds the same text out. */
  copies?: Uint8Array;
}

/** Pieces of cut units that are shuffled among each other: enough to part those of one document, few enough to hold for each corpus. */
const PIECES_AT_ONCE = 2048;

/**
 * An endless, shuffled stream of a corpus's pairs. Its units are documents, and the consecutive parts of longer ones, each of as many
 * pairs as the longest sequence takes; each epoch is another seeded permutation of the units. For shorter sequences a few units at a time
 * are cut into pieces, so that whole ones are left for the longer sequences of a later phase. Memory: 12 bytes a document, 4 a unit.
 */
export class CorpusStream {
  readonly corpus: string;
  readonly numPairsPerEpoch: number;
  /** What is left out because another corpus holds it out. */
  readonly heldOutElsewhere = { numDocuments: 0, numTokens: 0 };
  numPairsUsed = 0;
  /** Places of sequences that hold nothing; pairs that were in a sequence before, in the same epoch; pieces that were cut in two. */
  readonly losses = { numPadding: 0, numRepeated: 0, numCuts: 0 };
  /** Pairs of the longest unit. */
  private readonly maxUnit: number;
  private readonly seed: number;
  private readonly packing: Packing;
  private readonly inOrder: boolean;
  private readonly shards: readonly CorpusShard[];
  /** Documents of all shards in a row: where shard k's begin. */
  private readonly shardStarts: number[] = [0];
  /** Units before document d, for all documents in a row, and the total. */
  private readonly unitStarts: Uint32Array;
  private permutation: Uint32Array;
  private epoch = -1;
  private nextUnit = 0;
  /** Pairs of the sequences that are being taken. */
  private seqLen: number;
  /** Of units up to nextUnit, none longer than seqLen, in their order; the first ones are used. */
  private pieces: Segment[] = [];
  private nextPiece = 0;
  /** What the last concatenated sequence had no room for. */
  private rest: Segment | undefined;
  /** Pieces of seqLen that were drawn while a sequence of short ones was being filled. */
  private readonly whole: Segment[] = [];
  /** Packed sequences that wait to be taken. */
  private packed: Segment[][] = [];

  /**
   * @param maxSeqLen the longest sequence that will be taken
   * @param inOrder units as they lie instead of shuffled, but for what packing needs: pieces of PACKED_AT_ONCE are in the order of their
   * sequences' first pieces, and a whole piece comes before the short ones of its neighbourhood
   * @throws DataError when the corpus has no pair to learn from
   */
  constructor(
    corpus: string,
    shards: readonly CorpusShard[],
    maxSeqLen: number,
    seed: number,
    packing: Packing = 'fill',
    inOrder = false,
  ) {
    this.corpus = corpus;
    this.shards = shards;
    // Ways that look at whole documents have no smaller units.
    this.maxUnit = packing === 'concatenate' || packing === 'seamless' ? Number.MAX_SAFE_INTEGER : maxSeqLen;
    this.seqLen = maxSeqLen;
    this.packing = packing;
    this.inOrder = inOrder;
    this.seed = seed;
    for (const { reader } of shards) this.shardStarts.push(this.shardStarts.at(-1)! + reader.numDocuments);
    this.unitStarts = new Uint32Array(this.shardStarts.at(-1)! + 1);
    let numPairs = 0;
    let numUnits = 0;
    let d = 0;
    for (const { reader, copies } of shards)
      for (let i = 0; i < reader.numDocuments; i++) {
        const pairs = this.numPairsOf(reader.documentRange(i)[1], copies?.[i] === 1);
        numPairs += pairs;
        numUnits += Math.ceil(pairs / this.maxUnit);
        this.unitStarts[++d] = numUnits;
      }
    this.numPairsPerEpoch = numPairs;
    if (numPairs === 0) throw this.nothingToLearn();
    if (numUnits >= 2 ** 32)
      throw new DataError(
        shards[0].reader.prefix,
        `corpus "${corpus}" has ${numUnits} pieces, at most 2^32 are supported.`,
      );
    this.permutation = new Uint32Array(numUnits);
  }

  private numPairsOf(numTokens: number, isCopy: boolean): number {
    if (!isCopy) return Math.max(0, numTokens - 1);
    this.heldOutElsewhere.numDocuments++;
    this.heldOutElsewhere.numTokens += numTokens;
    return 0;
  }

  private nothingToLearn(): DataError {
    const { numDocuments } = this.heldOutElsewhere;
    const reason =
      numDocuments > 0
        ? `${numDocuments} of corpus "${this.corpus}"'s ${this.shardStarts.at(-1)} documents are copies of what other corpora of this job ` +
          'hold out or are evaluated on, and the rest has nothing to learn. Is one file listed under two corpora?'
        : `corpus "${this.corpus}" has no document of two tokens or more: nothing to learn.`;
    return new DataError(this.shards[0]?.reader.prefix ?? this.corpus, reason);
  }

  get numEpochs(): number {
    return this.numPairsUsed / this.numPairsPerEpoch;
  }

  /** Emits the segments of one sequence: at most seqLen pairs in all. */
  takeSequence(seqLen: number, emit: (segment: Segment) => void): void {
    if (seqLen !== this.seqLen) this.recut(seqLen);
    const sequence = this.packing === 'fill' || this.packing === 'concatenate' ? this.fill() : this.nextPacked();
    const numPairs = sequence.reduce((sum, { length }) => sum + length, 0);
    this.numPairsUsed += numPairs;
    this.losses.numPadding += seqLen - numPairs;
    for (const segment of sequence) emit(segment);
  }

  private fill(): Segment[] {
    const whole = this.packing === 'fill' ? this.nextWhole() : undefined;
    if (whole) return [whole];
    const sequence: Segment[] = [];
    for (let left = this.seqLen; left > 0; ) {
      const segment = this.rest ?? (this.packing === 'fill' ? this.nextShort() : this.nextDocument());
      this.rest = undefined;
      const length = Math.min(left, segment.length);
      sequence.push({ ...segment, length });
      left -= length;
      if (length === segment.length) continue;
      this.rest = { ...segment, first: segment.first + length, length: segment.length - length };
      this.losses.numCuts++;
    }
    return sequence;
  }

  private nextDocument(): Segment {
    if (this.epochIsOver) this.startEpoch();
    return this.takePiece();
  }

  private nextPacked(): Segment[] {
    if (this.packed.length === 0) {
      if (this.epochIsOver) this.startEpoch();
      const pieces: Segment[] = [];
      while (pieces.length < PACKED_AT_ONCE && !this.epochIsOver) pieces.push(...this.windowsOf(this.takePiece()));
      this.packed = packBestFit(pieces, this.seqLen);
      // The last one is taken first.
      if (this.inOrder) this.packed.sort((a, b) => compareSegments(firstOf(b), firstOf(a)));
      else new Rng(this.seed, 'packed', this.corpus, this.epoch, this.nextUnit, this.seqLen).shuffle(this.packed);
    }
    return this.packed.pop()!;
  }

  /** A document's pieces for packing. */
  private windowsOf(segment: Segment): Segment[] {
    const { seqLen } = this;
    const numFull = Math.floor(segment.length / seqLen);
    const overlap = (numFull + 1) * seqLen - segment.length;
    const overlaps =
      this.packing === 'seamless' && numFull > 0 && overlap < seqLen && overlap <= numFull * MAX_OVERLAP * seqLen;
    if (!overlaps) return cutSegment(segment, seqLen);
    this.losses.numRepeated += overlap;
    return Array.from({ length: numFull + 1 }, (_, i) => ({
      ...segment,
      first: segment.first + Math.round((i * (segment.length - seqLen)) / numFull),
      length: seqLen,
    }));
  }

  /** A piece of seqLen, unless a short one is next. Nothing of another epoch begins before the rest of this one is used. */
  private nextWhole(): Segment | undefined {
    if (this.whole.length > 0) return this.whole.shift();
    if (this.epochIsOver) {
      if (this.rest) return undefined;
      this.startEpoch();
    }
    return this.peekPiece().length < this.seqLen ? undefined : this.takePiece();
  }

  /** The next short piece; whole ones on the way to it wait for their own sequences, unless the epoch has no short one left. */
  private nextShort(): Segment {
    for (;;) {
      if (this.epochIsOver) {
        const whole = this.whole.shift();
        if (whole) return whole;
        this.startEpoch();
      }
      const next = this.takePiece();
      if (next.length < this.seqLen) return next;
      this.whole.push(next);
    }
  }

  private get epochIsOver(): boolean {
    return this.nextPiece === this.pieces.length && (this.epoch < 0 || this.nextUnit === this.permutation.length);
  }

  private startEpoch(): void {
    this.epoch++;
    this.nextUnit = 0;
    for (let i = 0; i < this.permutation.length; i++) this.permutation[i] = i;
    if (!this.inOrder) new Rng(this.seed, 'order', this.corpus, this.epoch).shuffle(this.permutation);
  }

  private takePiece(): Segment {
    const piece = this.peekPiece();
    this.nextPiece++;
    return piece;
  }

  /** The piece that comes next; the epoch must not be over. */
  private peekPiece(): Segment {
    if (this.nextPiece === this.pieces.length) {
      const piecesPerUnit = this.looksAtDocuments ? 1 : Math.ceil(this.maxUnit / this.seqLen);
      const numUnits = piecesPerUnit === 1 ? 1 : Math.ceil(PIECES_AT_ONCE / piecesPerUnit);
      const end = Math.min(this.nextUnit + numUnits, this.permutation.length);
      this.cut(Array.from(this.permutation.subarray(this.nextUnit, end), (u) => this.unit(u)));
      this.nextUnit = end;
    }
    return this.pieces[this.nextPiece];
  }

  private get looksAtDocuments(): boolean {
    return this.maxUnit === Number.MAX_SAFE_INTEGER;
  }

  /** Makes pieces of seqLen and less of these, where there are several in a random order, unless the corpus has one. */
  private cut(segments: readonly Segment[]): void {
    this.nextPiece = 0;
    this.pieces = this.looksAtDocuments
      ? [...segments]
      : segments.flatMap((segment) => cutSegment(segment, this.seqLen));
    if (this.pieces.length > 1 && !this.inOrder)
      new Rng(this.seed, 'pieces', this.corpus, this.epoch, this.nextUnit, this.seqLen).shuffle(this.pieces);
  }

  /** Sequences have another length from here on: what was drawn for the last length and is not used yet is joined and cut again. */
  private recut(seqLen: number): void {
    this.seqLen = seqLen;
    const unused = [
      ...this.whole,
      ...this.pieces.slice(this.nextPiece),
      ...this.packed.flat(),
      ...(this.rest ? [this.rest] : []),
    ];
    this.whole.length = 0;
    this.packed = [];
    this.rest = undefined;
    this.cut(joinSegments(unused));
  }

  private unit(u: number): Segment {
    const document = lastAtMost(this.unitStarts, u);
    let k = 0;
    while (this.shardStarts[k + 1] <= document) k++;
    const { shard, reader } = this.shards[k];
    const [first, length] = reader.documentRange(document - this.shardStarts[k]);
    const skipped = (u - this.unitStarts[document]) * this.maxUnit;
    return { shard, first: first + skipped, length: Math.min(this.maxUnit, length - 1 - skipped) };
  }
}

function cutSegment({ shard, first, length }: Segment, seqLen: number): Segment[] {
  return Array.from({ length: Math.ceil(length / seqLen) }, (_, i) => ({
    shard,
    first: first + i * seqLen,
    length: Math.min(seqLen, length - i * seqLen),
  }));
}

const compareSegments = (a: Segment, b: Segment): number => a.shard - b.shard || a.first - b.first;

const firstOf = (segments: readonly Segment[]): Segment =>
  segments.reduce((first, segment) => (compareSegments(segment, first) < 0 ? segment : first));

/** Parts of one document that touch or overlap become one. (A document's last token is no input, so two documents never touch.) */
function joinSegments(segments: readonly Segment[]): Segment[] {
  const joined: Segment[] = [];
  for (const segment of segments.toSorted(compareSegments)) {
    const last = joined.at(-1);
    if (last && last.shard === segment.shard && last.first + last.length >= segment.first)
      last.length = Math.max(last.length, segment.first + segment.length - last.first);
    else joined.push({ ...segment });
  }
  return joined;
}

/** The last i with starts[i] <= value; where several are equal (documents without a unit) the one that holds the unit. */
function lastAtMost(starts: Uint32Array, value: number): number {
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
 * Pieces of at most seqLen pairs in sequences of seqLen: longest first, each into the sequence with the least room that is enough. The
 * fullest is found among the rooms that occur, by a bitmap of them: O(pieces x seqLen / 32).
 */
function packBestFit(pieces: readonly Segment[], seqLen: number): Segment[][] {
  const byLength: Segment[][] = Array.from({ length: seqLen + 1 }, () => []);
  for (const piece of pieces) byLength[piece.length]!.push(piece);
  const sequences: Segment[][] = [];
  /** Sequences by the room that they have. */
  const withRoom: Segment[][][] = Array.from({ length: seqLen + 1 }, () => []);
  const occurs = new Uint32Array((seqLen >>> 5) + 1);
  const leastRoom = (atLeast: number): number => {
    let word = atLeast >>> 5;
    let bits = occurs[word]! & (0xffffffff << (atLeast & 31));
    while (bits === 0) {
      if (++word === occurs.length) return -1;
      bits = occurs[word]!;
    }
    return (word << 5) + 31 - Math.clz32(bits & -bits);
  };
  for (let length = seqLen; length > 0; length--)
    for (const piece of byLength[length]!) {
      const room = leastRoom(length);
      let sequence: Segment[];
      if (room < 0) {
        sequence = [];
        sequences.push(sequence);
      } else {
        sequence = withRoom[room]!.pop()!;
        if (withRoom[room]!.length === 0) occurs[room >>> 5]! &= ~(1 << (room & 31));
      }
      sequence.push(piece);
      const left = (room < 0 ? seqLen : room) - length;
      withRoom[left]!.push(sequence);
      if (left > 0) occurs[left >>> 5]! |= 1 << (left & 31);
    }
  return sequences;
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
    for (const segment of cutSegment({ shard, first, length: Math.max(0, length - 1) }, seqLen)) {
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
