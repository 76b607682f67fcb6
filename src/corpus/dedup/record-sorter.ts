// Sorting of any number of fixed-size records in bounded memory: runs are sorted in memory, written one behind the other to a file without a
// name (it vanishes with the process), and merged while they are read. The order depends on the records alone, not on the memory.
import { randomUUID } from 'node:crypto';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { explainSystemError, makeFolder, readExactly, writeAll } from '../../base/files.ts';

export interface SortSpace {
  /** Where runs go that memory does not hold. */
  folder: string;
  /** Of one sorter, about. */
  memoryBytes: number;
}

const DIGIT_BITS = 11;
const NUM_DIGITS = 1 << DIGIT_BITS;
const MASK = NUM_DIGITS - 1;
/** A word in three digits of 11, 11 and 10 bits. */
const SHIFTS = [0, DIGIT_BITS, 2 * DIGIT_BITS];
const FIRST_RECORDS = 1 << 10;
const MIN_READ_BYTES = 16 << 10;
const MAX_READ_BYTES = 1 << 20;
const OUTPUT_WORDS = 1 << 14;

const asBytes = (words: Uint32Array) => new Uint8Array(words.buffer, words.byteOffset, words.byteLength);

interface Run {
  file: NamelessFile;
  /** Bytes. */
  start: number;
  end: number;
}

export class RecordSorter {
  numRecords = 0;
  private readonly numWords: number;
  private readonly numKeyWords: number;
  private readonly space: SortSpace;
  /** Words that a run takes: half of the memory, since sorting moves records to and fro. */
  private readonly maxWords: number;
  private buffer: Uint32Array;
  private scratch: Uint32Array = new Uint32Array(0);
  private used = 0;
  private isSorted = true;
  private runs: Run[] = [];
  private file: NamelessFile | undefined;

  /** Records of `numWords` unsigned words, in the order of the first `numKeyWords` (all by default), of equal ones as they came. */
  constructor(numWords: number, space: SortSpace, numKeyWords = numWords) {
    this.numWords = numWords;
    this.numKeyWords = numKeyWords;
    this.space = space;
    this.maxWords = Math.max(2, Math.floor(space.memoryBytes / 8 / numWords)) * numWords;
    this.buffer = new Uint32Array(Math.min(this.maxWords, FIRST_RECORDS * numWords));
  }

  /** Space for one more record: its words are to be written to `words` from the result on, before the next call. */
  next(): number {
    if (this.used === this.buffer.length) this.makeRoom();
    const at = this.used;
    this.used += this.numWords;
    this.numRecords++;
    this.isSorted = false;
    return at;
  }

  /** Changes with next(). */
  get words(): Uint32Array {
    return this.buffer;
  }

  push2(a: number, b: number): void {
    const at = this.next();
    this.buffer[at] = a;
    this.buffer[at + 1] = b;
  }

  push3(a: number, b: number, c: number): void {
    const at = this.next();
    this.buffer[at] = a;
    this.buffer[at + 1] = b;
    this.buffer[at + 2] = c;
  }

  private makeRoom(): void {
    if (this.buffer.length === this.maxWords) {
      this.spill();
      return;
    }
    const larger = new Uint32Array(Math.min(this.maxWords, 2 * this.buffer.length));
    larger.set(this.buffer);
    this.buffer = larger;
  }

  private spill(): void {
    this.sort();
    this.file ??= new NamelessFile(this.space.folder);
    const start = this.file.size;
    this.file.append(this.buffer.subarray(0, this.used));
    this.runs.push({ file: this.file, start, end: this.file.size });
    this.used = 0;
  }

  private sort(): void {
    if (this.isSorted) return;
    if (this.scratch.length < this.used) this.scratch = new Uint32Array(this.buffer.length);
    const sorted = sortRecords(this.buffer, this.scratch, this.used, this.numWords, this.numKeyWords);
    if (sorted !== this.buffer) [this.buffer, this.scratch] = [this.scratch, this.buffer];
    this.isSorted = true;
  }

  /**
   * The records in order, whole ones a block, in space that may be used again for the next block. May be called more than once, but not
   * side by side, and nothing may be added between the first call and the last.
   */
  *blocks(): Generator<Uint32Array> {
    if (this.runs.length === 0) {
      this.sort();
      if (this.used > 0) yield this.buffer.subarray(0, this.used);
      return;
    }
    if (this.used > 0) this.spill();
    this.buffer = new Uint32Array(0);
    this.scratch = this.buffer;
    this.mergeUntilFew();
    yield* this.merge(this.runs);
  }

  private get maxRuns(): number {
    return Math.max(2, Math.floor(this.space.memoryBytes / MIN_READ_BYTES) - 1);
  }

  private mergeUntilFew(): void {
    while (this.runs.length > this.maxRuns) {
      const merged: Run[] = [];
      const target = new NamelessFile(this.space.folder);
      for (let i = 0; i < this.runs.length; i += this.maxRuns) {
        const start = target.size;
        for (const block of this.merge(this.runs.slice(i, i + this.maxRuns))) target.append(block);
        merged.push({ file: target, start, end: target.size });
      }
      this.file?.close();
      this.file = target;
      this.runs = merged;
    }
  }

  private *merge(runs: readonly Run[]): Generator<Uint32Array> {
    const { numWords, numKeyWords } = this;
    const readBytes = Math.min(MAX_READ_BYTES, Math.max(MIN_READ_BYTES, this.space.memoryBytes / (runs.length + 1)));
    const readers = runs.map((run) => new RunReader(run, numWords, readBytes));
    const isBefore = (a: number, b: number): boolean => {
      const [x, y] = [readers[a], readers[b]];
      for (let i = 0; i < numKeyWords; i++) {
        const difference = x.words[x.at + i] - y.words[y.at + i];
        if (difference !== 0) return difference < 0;
      }
      return a < b;
    };
    const heap = readers.map((_, i) => i).filter((i) => readers[i].fill());
    const sink = (from: number): void => {
      const moved = heap[from];
      let at = from;
      for (;;) {
        let child = 2 * at + 1;
        if (child >= heap.length) break;
        if (child + 1 < heap.length && isBefore(heap[child + 1], heap[child])) child++;
        if (!isBefore(heap[child], moved)) break;
        heap[at] = heap[child];
        at = child;
      }
      heap[at] = moved;
    };
    for (let i = (heap.length >> 1) - 1; i >= 0; i--) sink(i);
    const output = new Uint32Array(Math.max(1, Math.floor(OUTPUT_WORDS / numWords)) * numWords);
    let used = 0;
    while (heap.length > 0) {
      const reader = readers[heap[0]];
      for (let i = 0; i < numWords; i++) output[used + i] = reader.words[reader.at + i];
      used += numWords;
      if (!reader.advance()) {
        const last = heap.pop()!;
        if (heap.length > 0) heap[0] = last;
      }
      if (heap.length > 0) sink(0);
      if (used === output.length) {
        yield output;
        used = 0;
      }
    }
    if (used > 0) yield output.subarray(0, used);
  }

  /** Gives memory and disk back. */
  close(): void {
    this.buffer = new Uint32Array(0);
    this.scratch = this.buffer;
    this.used = 0;
    this.runs = [];
    this.file?.close();
    this.file = undefined;
  }
}

/** Radix sort by the last digit first. Returns the array that holds the result: `words` or `scratch`. */
function sortRecords(
  words: Uint32Array,
  scratch: Uint32Array,
  used: number,
  numWords: number,
  numKeyWords: number,
): Uint32Array {
  const numRecords = used / numWords;
  let from = words;
  let to = scratch;
  const counts = new Uint32Array(NUM_DIGITS);
  for (let word = numKeyWords - 1; word >= 0; word--)
    for (const shift of SHIFTS) {
      counts.fill(0);
      for (let at = word; at < used; at += numWords) counts[(from[at] >>> shift) & MASK]++;
      // A digit that all records share, as the high ones of counters are.
      if (numRecords === 0 || counts[(from[word] >>> shift) & MASK] === numRecords) continue;
      let start = 0;
      for (let digit = 0; digit < NUM_DIGITS; digit++) {
        const count = counts[digit];
        counts[digit] = start;
        start += numWords * count;
      }
      for (let at = 0; at < used; at += numWords) {
        const digit = (from[at + word] >>> shift) & MASK;
        const target = counts[digit];
        counts[digit] = target + numWords;
        for (let i = 0; i < numWords; i++) to[target + i] = from[at + i];
      }
      [from, to] = [to, from];
    }
  return from;
}

/** Of one run, through a window. */
class RunReader {
  words = new Uint32Array(0);
  at = 0;
  private readonly run: Run;
  private readonly numWords: number;
  private readonly readBytes: number;
  private position: number;

  constructor(run: Run, numWords: number, readBytes: number) {
    this.run = run;
    this.numWords = numWords;
    this.readBytes = Math.max(1, Math.floor(readBytes / 4 / numWords)) * 4 * numWords;
    this.position = run.start;
  }

  /** Whether there is a record at `at` now. */
  fill(): boolean {
    const numBytes = Math.min(this.readBytes, this.run.end - this.position);
    if (numBytes === 0) return false;
    if (this.words.byteLength !== numBytes) this.words = new Uint32Array(numBytes / 4);
    this.run.file.read(this.words, this.position);
    this.position += numBytes;
    this.at = 0;
    return true;
  }

  advance(): boolean {
    this.at += this.numWords;
    return this.at < this.words.length || this.fill();
  }
}

class NamelessFile {
  size = 0;
  private readonly fd: number;
  private readonly name: string;
  private isOpen = true;

  constructor(folder: string) {
    this.name = path.join(folder, `sorting-${randomUUID()}.tmp`);
    makeFolder(folder);
    try {
      this.fd = fs.openSync(this.name, 'wx+');
      fs.unlinkSync(this.name);
    } catch (error) {
      throw explainSystemError(error, this.name, 'sorting');
    }
  }

  append(words: Uint32Array): void {
    try {
      writeAll(this.fd, asBytes(words));
    } catch (error) {
      throw explainSystemError(error, this.name, 'sorting');
    }
    this.size += words.byteLength;
  }

  read(words: Uint32Array, position: number): void {
    readExactly(this.fd, asBytes(words), position, this.name);
  }

  close(): void {
    if (this.isOpen) fs.closeSync(this.fd);
    this.isOpen = false;
  }
}
