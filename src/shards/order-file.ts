// Which tokens make up each sequence, as a file: a header, an index of segment positions, the segments. docs/formats-data.md has the
// bytes. One file is one chunk of the order, small enough to be held in memory; a job has as many as it needs.
import * as fs from 'node:fs';
import { DataError, internal } from '../base/errors.ts';
import { explainSystemError, writeFileAtomic } from '../base/files.ts';
import type { Segment } from './types.ts';

const MAGIC = Buffer.from('CNTORDER', 'latin1');
const VERSION = 1;
const HEADER_BYTES = 32;
const SEGMENT_BYTES = 16;

/** Gathers sequences and writes them as one file. */
export class OrderFileBuilder {
  readonly seqLen: number;
  private readonly starts: number[] = [0];
  private segments = Buffer.alloc(1 << 16);
  private numSegments = 0;

  constructor(seqLen: number) {
    this.seqLen = seqLen;
  }

  get numSequences(): number {
    return this.starts.length - 1;
  }

  /** Adds a segment to the sequence that is being built. */
  addSegment({ shard, first, length }: Segment): void {
    let at = this.numSegments * SEGMENT_BYTES;
    if (at === this.segments.length) {
      const grown = Buffer.alloc(this.segments.length * 2);
      this.segments.copy(grown);
      this.segments = grown;
    }
    at = this.segments.writeUInt32LE(shard, at);
    at = this.segments.writeUInt32LE(first % 2 ** 32, at);
    at = this.segments.writeUInt32LE(Math.floor(first / 2 ** 32), at);
    this.segments.writeUInt32LE(length, at);
    this.numSegments++;
  }

  endSequence(): void {
    this.starts.push(this.numSegments);
  }

  write(file: string): void {
    const header = Buffer.alloc(HEADER_BYTES);
    MAGIC.copy(header);
    header.writeUInt32LE(VERSION, 8);
    header.writeUInt32LE(this.seqLen, 12);
    header.writeUInt32LE(this.numSequences, 16);
    header.writeUInt32LE(this.numSegments, 20);
    const index = Buffer.from(Uint32Array.from(this.starts).buffer);
    writeFileAtomic(file, Buffer.concat([header, index, this.segments.subarray(0, this.numSegments * SEGMENT_BYTES)]));
  }
}

export interface OrderFile {
  readonly seqLen: number;
  readonly numSequences: number;
  /** Segments of sequence i of this file; their lengths add up to at most seqLen. */
  segments(i: number): Segment[];
}

/** Reads an order file whole. @throws DataError when it is damaged */
export function readOrderFile(file: string): OrderFile {
  let bytes: Buffer;
  try {
    bytes = fs.readFileSync(file);
  } catch (error) {
    throw explainSystemError(error, file, 'reading the order of samples');
  }
  if (bytes.length < HEADER_BYTES)
    throw new DataError(file, `${bytes.length} bytes, too short for an order file. Is it truncated?`);
  if (!bytes.subarray(0, 8).equals(MAGIC))
    throw new DataError(file, 'is not an order file: expected it to begin with "CNTORDER".', 0);
  const version = bytes.readUInt32LE(8);
  if (version !== VERSION) throw new DataError(file, `order version ${version}, expected ${VERSION}.`, 8);
  const seqLen = bytes.readUInt32LE(12);
  const numSequences = bytes.readUInt32LE(16);
  const numSegments = bytes.readUInt32LE(20);
  const segmentsAt = HEADER_BYTES + 4 * (numSequences + 1);
  const expected = segmentsAt + SEGMENT_BYTES * numSegments;
  if (bytes.length !== expected)
    throw new DataError(
      file,
      `${numSequences} sequences and ${numSegments} segments take ${expected} bytes, found ${bytes.length}.`,
      16,
    );
  if (seqLen < 1) throw new DataError(file, `sequence length ${seqLen}, expected at least 1.`, 12);
  return {
    seqLen,
    numSequences,
    segments(i) {
      if (!(i >= 0 && i < numSequences)) internal(`sequence ${i} of ${numSequences}`);
      const at = HEADER_BYTES + 4 * i;
      const start = bytes.readUInt32LE(at);
      const end = bytes.readUInt32LE(at + 4);
      if (start > end || end > numSegments)
        throw new DataError(file, `sequence ${i} has segments ${start} to ${end} of ${numSegments}.`, at);
      const segments: Segment[] = [];
      let total = 0;
      for (let k = start; k < end; k++) {
        const p = segmentsAt + SEGMENT_BYTES * k;
        const first = bytes.readUInt32LE(p + 4) + 2 ** 32 * bytes.readUInt32LE(p + 8);
        const length = bytes.readUInt32LE(p + 12);
        total += length;
        segments.push({ shard: bytes.readUInt32LE(p), first, length });
      }
      if (total > seqLen) throw new DataError(file, `sequence ${i} has ${total} tokens, at most ${seqLen} fit.`, at);
      return segments;
    },
  };
}
