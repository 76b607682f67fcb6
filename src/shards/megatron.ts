// Tokenised documents on disk: Megatron's indexed dataset (MMIDIDX, version 1), a .bin of ids and an .idx of lengths, so that shards go to
// and come from other trainers as they are. The layout stands in docs/formats-data.md. Here a document is one sequence; shards from
// elsewhere may hold several sequences a document and are read as well. Positions are numbers, exact to 2^53, far above any file.
import * as fs from 'node:fs';
import { DataError, internal } from '../base/errors.ts';
import { explainSystemError, readExactly, writeAll } from '../base/files.ts';

const MAGIC = Buffer.from('MMIDIDX\0\0', 'latin1');
const HEADER_BYTES = MAGIC.length + 8 + 1 + 8 + 8;
const DTYPE_CODES = { int32: 4, uint16: 8 } as const;
/** Megatron's own rule for when 16 bits suffice (DType.optimal_dtype). */
const MAX_UINT16_VOCAB = 65500;
const BUFFER_BYTES = 1 << 20;

export type ShardDtype = keyof typeof DTYPE_CODES;

export function shardDtype(vocabSize: number): ShardDtype {
  return vocabSize < MAX_UINT16_VOCAB ? 'uint16' : 'int32';
}

function bytesPerToken(dtype: ShardDtype): number {
  return dtype === 'uint16' ? 2 : 4;
}

/** Numbers without a known count, in a typed array that doubles: a number[] of 10^7 would take eight times the memory. */
export class Column<T extends Float64Array | Uint32Array | Uint8Array> {
  private readonly make: new (
    length: number,
  ) => T;
  private values: T;
  length = 0;

  constructor(make: new (length: number) => T) {
    this.make = make;
    this.values = new make(1024);
  }

  push(value: number): void {
    if (this.length === this.values.length) {
      const grown = new this.make(this.values.length * 2);
      grown.set(this.values);
      this.values = grown;
    }
    this.values[this.length++] = value;
  }

  /** A view of what was pushed. */
  array(): T {
    return this.values.subarray(0, this.length) as T;
  }
}

/** Bytes gathered into large writes at the end of a file. */
class BufferedFile {
  private readonly fd: number;
  private readonly file: string;
  private readonly buffer = Buffer.allocUnsafe(BUFFER_BYTES);
  private used = 0;

  constructor(file: string) {
    this.file = file;
    try {
      this.fd = fs.openSync(file, 'w');
    } catch (error) {
      throw explainSystemError(error, file, 'writing it');
    }
  }

  write(bytes: Uint8Array): void {
    if (bytes.length > BUFFER_BYTES - this.used) this.flush();
    if (bytes.length >= BUFFER_BYTES) {
      this.guarded(() => writeAll(this.fd, bytes));
      return;
    }
    this.buffer.set(bytes, this.used);
    this.used += bytes.length;
  }

  /** Writes `numBytes` produced by `put(buffer, offset)`. */
  put(numBytes: number, put: (buffer: Buffer, offset: number) => void): void {
    if (numBytes > BUFFER_BYTES - this.used) this.flush();
    put(this.buffer, this.used);
    this.used += numBytes;
  }

  private flush(): void {
    this.guarded(() => writeAll(this.fd, this.buffer.subarray(0, this.used)));
    this.used = 0;
  }

  private guarded(write: () => void): void {
    try {
      write();
    } catch (error) {
      throw explainSystemError(error, this.file, 'writing it');
    }
  }

  finish(): void {
    this.flush();
    fs.closeSync(this.fd);
  }

  abandon(): void {
    fs.closeSync(this.fd);
  }
}

/** Writes PREFIX.bin as documents come and PREFIX.idx at the end; without `finish` there is no .idx, hence no shard. */
export class ShardWriter {
  private readonly prefix: string;
  private readonly dtype: ShardDtype;
  private readonly vocabSize: number;
  private readonly bin: BufferedFile;
  private readonly mask: BufferedFile | undefined;
  private readonly lengths = new Column(Uint32Array);
  /** Tokens of the open document. */
  private open: number | undefined;
  numTokens = 0;

  /** @param withMask PREFIX.mask too, a byte a token: 1 where it bears loss when only answers do */
  constructor(prefix: string, vocabSize: number, withMask = false) {
    this.prefix = prefix;
    this.vocabSize = vocabSize;
    this.dtype = shardDtype(vocabSize);
    this.bin = new BufferedFile(`${prefix}.bin`);
    this.mask = withMask ? new BufferedFile(`${prefix}.mask`) : undefined;
  }

  get numDocuments(): number {
    return this.lengths.length;
  }

  beginDocument(): void {
    if (this.open !== undefined) internal('a shard document is open already');
    this.open = 0;
  }

  /** Adds ids to the open document. @param answers their bytes of the mask; default 1 */
  append(ids: ArrayLike<number>, answers?: Uint8Array): void {
    if (this.open === undefined) internal('no shard document is open');
    const typed = this.dtype === 'uint16' ? new Uint16Array(ids.length) : new Int32Array(ids.length);
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i];
      if (!(id >= 0 && id < this.vocabSize)) internal(`token id ${id} outside the vocabulary of ${this.vocabSize}`);
      typed[i] = id;
    }
    this.bin.write(new Uint8Array(typed.buffer));
    this.mask?.write(answers ?? new Uint8Array(ids.length).fill(1));
    this.open += ids.length;
    this.numTokens += ids.length;
  }

  endDocument(): void {
    if (this.open === undefined) internal('no shard document is open');
    if (this.open >= 2 ** 31) internal('a document of more than 2^31 tokens');
    this.lengths.push(this.open);
    this.open = undefined;
  }

  addDocument(ids: ArrayLike<number>, answers?: Uint8Array): void {
    this.beginDocument();
    this.append(ids, answers);
    this.endDocument();
  }

  finish(): void {
    this.bin.finish();
    this.mask?.finish();
    const idx = new BufferedFile(`${this.prefix}.idx`);
    const lengths = this.lengths.array();
    const n = lengths.length;
    idx.write(MAGIC);
    idx.put(25, (b, at) => {
      b.writeBigUInt64LE(1n, at);
      b.writeUInt8(DTYPE_CODES[this.dtype], at + 8);
      b.writeBigUInt64LE(BigInt(n), at + 9);
      b.writeBigUInt64LE(BigInt(n + 1), at + 17);
    });
    for (let i = 0; i < n; i++) idx.put(4, (b, at) => b.writeInt32LE(lengths[i], at));
    let pointer = 0;
    for (let i = 0; i < n; i++) {
      idx.put(8, (b, at) => writeUint53(b, pointer, at));
      pointer += lengths[i] * bytesPerToken(this.dtype);
    }
    for (let i = 0; i <= n; i++) idx.put(8, (b, at) => writeUint53(b, i, at));
    idx.finish();
  }

  /** Closes without making a shard. */
  abandon(): void {
    this.bin.abandon();
    this.mask?.abandon();
  }
}

function writeUint53(buffer: Buffer, value: number, at: number): void {
  buffer.writeUInt32LE(value % 2 ** 32, at);
  buffer.writeUInt32LE(Math.floor(value / 2 ** 32), at + 4);
}

export interface ShardReader {
  readonly prefix: string;
  readonly numDocuments: number;
  readonly numTokens: number;
  readonly dtype: ShardDtype;
  /** [first token, number of tokens] of document i. */
  documentRange(i: number): [number, number];
  /** Tokens first .. first+length-1, a fresh array. @throws DataError beyond the shard's end */
  read(first: number, length: number): Int32Array;
  /** PREFIX.mask is there. */
  readonly hasMask: boolean;
  /** Bytes of the mask of tokens first .. first+length-1: 1 where one bears loss when only answers do. All 1 without a mask. */
  readMask(first: number, length: number): Uint8Array;
  /** Closes the files. Ranges of documents stay known once one was asked for. */
  close(): void;
}

/**
 * Opens PREFIX.bin and PREFIX.idx. The header and the files' sizes are checked here, the index itself when the first document range is
 * asked for; it then costs 8 bytes of memory a document. Tokens are read from the file as they are asked for.
 * @throws DataError for a damaged, truncated or unsupported pair; ConfigError for a missing one
 */
export function openShard(prefix: string): ShardReader {
  const idxFile = `${prefix}.idx`;
  const binFile = `${prefix}.bin`;
  const idx = openFile(idxFile);
  let bin: number;
  try {
    bin = openFile(binFile);
  } catch (error) {
    fs.closeSync(idx);
    throw error;
  }
  const maskFile = `${prefix}.mask`;
  let mask: number | undefined;
  const close = () => {
    fs.closeSync(idx);
    fs.closeSync(bin);
    if (mask !== undefined) fs.closeSync(mask);
  };
  try {
    const binBytes = fs.fstatSync(bin).size;
    const header = readHeader(idx, idxFile);
    const size = bytesPerToken(header.dtype);
    if (binBytes % size !== 0)
      throw new DataError(binFile, `${binBytes} bytes, not a multiple of ${size}. Is it truncated?`);
    const numTokens = binBytes / size;
    checkLastSequence(idx, idxFile, binFile, header, numTokens);
    if (fs.existsSync(maskFile)) {
      mask = openFile(maskFile);
      const maskBytes = fs.fstatSync(mask).size;
      if (maskBytes !== numTokens)
        throw new DataError(maskFile, `${maskBytes} bytes, expected ${numTokens}, one a token. Is it truncated?`);
    }
    let starts: Float64Array | undefined;
    return {
      prefix,
      numDocuments: header.numDocuments,
      numTokens,
      dtype: header.dtype,
      documentRange(i) {
        starts ??= readDocumentStarts(idx, idxFile, header, numTokens);
        if (!(i >= 0 && i < header.numDocuments)) internal(`document ${i} of ${header.numDocuments}`);
        return [starts[i], starts[i + 1] - starts[i]];
      },
      read(first, length) {
        if (!(first >= 0 && length >= 0 && first + length <= numTokens))
          throw new DataError(
            binFile,
            `tokens ${first} to ${first + length} wanted, but it holds ${numTokens}.`,
            first * size,
          );
        if (header.dtype === 'int32') {
          const ids = new Int32Array(length);
          readExactly(bin, new Uint8Array(ids.buffer), first * size, binFile);
          return ids;
        }
        const ids = new Uint16Array(length);
        readExactly(bin, new Uint8Array(ids.buffer), first * size, binFile);
        return Int32Array.from(ids);
      },
      hasMask: mask !== undefined,
      readMask(first, length) {
        const bytes = new Uint8Array(length).fill(1);
        if (mask !== undefined) readExactly(mask, bytes, first, maskFile);
        return bytes;
      },
      close,
    };
  } catch (error) {
    close();
    throw error;
  }
}

function openFile(file: string): number {
  try {
    return fs.openSync(file, 'r');
  } catch (error) {
    throw explainSystemError(error, file, 'opening a shard');
  }
}

interface IndexHeader {
  dtype: ShardDtype;
  numSequences: number;
  numDocuments: number;
}

function readHeader(fd: number, file: string): IndexHeader {
  const sizeBytes = fs.fstatSync(fd).size;
  const header = Buffer.alloc(HEADER_BYTES);
  if (sizeBytes < HEADER_BYTES)
    throw new DataError(file, `${sizeBytes} bytes, too short for a shard index. Is it truncated?`);
  readExactly(fd, header, 0, file);
  if (!header.subarray(0, MAGIC.length).equals(MAGIC))
    throw new DataError(file, 'is not a shard index: expected it to begin with "MMIDIDX".', 0);
  const version = header.readBigUInt64LE(9);
  if (version !== 1n) throw new DataError(file, `index version ${version}, expected 1.`, 9);
  const code = header.readUInt8(17);
  const dtype = (Object.keys(DTYPE_CODES) as ShardDtype[]).find((name) => DTYPE_CODES[name] === code);
  if (!dtype) throw new DataError(file, `dtype code ${code}, expected 8 (uint16) or 4 (int32).`, 17);
  const numSequences = Number(header.readBigUInt64LE(18));
  const numIndices = Number(header.readBigUInt64LE(26));
  const expected = HEADER_BYTES + 12 * numSequences + 8 * numIndices;
  if (expected !== sizeBytes)
    throw new DataError(
      file,
      `${numSequences} sequences and ${numIndices} document bounds take ${expected} bytes, found ${sizeBytes}. Is it truncated?`,
      18,
    );
  if (numIndices < 1) throw new DataError(file, 'no document bounds, expected at least one.', 26);
  return { dtype, numSequences, numDocuments: numIndices - 1 };
}

/** The last sequence must end where .bin ends: notices a truncated .bin without reading the whole index. */
function checkLastSequence(fd: number, file: string, binFile: string, header: IndexHeader, numTokens: number): void {
  const { numSequences } = header;
  let end = 0;
  if (numSequences > 0) {
    const bytes = Buffer.alloc(8);
    readExactly(fd, bytes.subarray(0, 4), HEADER_BYTES + 4 * (numSequences - 1), file);
    const length = bytes.readInt32LE(0);
    readExactly(fd, bytes, HEADER_BYTES + 4 * numSequences + 8 * (numSequences - 1), file);
    end = Number(bytes.readBigInt64LE(0)) / bytesPerToken(header.dtype) + length;
  }
  if (end !== numTokens)
    throw new DataError(
      binFile,
      `holds ${numTokens} tokens, its index expects ${end}. Is one of them truncated, or are they no pair?`,
    );
}

/** First token of each document and, last, the number of tokens; checks every length, pointer and bound on the way. */
function readDocumentStarts(fd: number, file: string, header: IndexHeader, numTokens: number): Float64Array {
  const { numSequences, numDocuments, dtype } = header;
  const sequenceStarts = new Float64Array(numSequences + 1);
  const pointersAt = HEADER_BYTES + 4 * numSequences;
  const boundsAt = pointersAt + 8 * numSequences;
  forEachEntry(fd, file, HEADER_BYTES, numSequences, 4, (bytes, at, i) => {
    const length = bytes.readInt32LE(at);
    if (length < 0) throw new DataError(file, `sequence ${i} has length ${length}.`, HEADER_BYTES + 4 * i);
    sequenceStarts[i + 1] = sequenceStarts[i] + length;
  });
  if (sequenceStarts[numSequences] !== numTokens)
    throw new DataError(
      file,
      `its lengths add up to ${sequenceStarts[numSequences]} tokens, the .bin holds ${numTokens}.`,
      HEADER_BYTES,
    );
  forEachEntry(fd, file, pointersAt, numSequences, 8, (bytes, at, i) => {
    const pointer = Number(bytes.readBigInt64LE(at));
    const expected = sequenceStarts[i] * bytesPerToken(dtype);
    if (pointer !== expected)
      throw new DataError(
        file,
        `sequence ${i} begins at byte ${pointer}, expected ${expected} (no gaps).`,
        pointersAt + 8 * i,
      );
  });
  const starts = new Float64Array(numDocuments + 1);
  let previous = 0;
  forEachEntry(fd, file, boundsAt, numDocuments + 1, 8, (bytes, at, i) => {
    const bound = Number(bytes.readBigInt64LE(at));
    const ok = i === 0 ? bound === 0 : bound >= previous && bound <= numSequences;
    if (!ok || (i === numDocuments && bound !== numSequences))
      throw new DataError(
        file,
        `document bound ${i} is ${bound}, expected an ascending list from 0 to ${numSequences}.`,
        boundsAt + 8 * i,
      );
    previous = bound;
    starts[i] = sequenceStarts[bound];
  });
  return starts;
}

function forEachEntry(
  fd: number,
  file: string,
  position: number,
  count: number,
  entryBytes: number,
  visit: (bytes: Buffer, at: number, i: number) => void,
): void {
  const perPiece = BUFFER_BYTES / entryBytes;
  const buffer = Buffer.allocUnsafe(Math.min(BUFFER_BYTES, count * entryBytes));
  for (let first = 0; first < count; first += perPiece) {
    const n = Math.min(perPiece, count - first);
    readExactly(fd, buffer.subarray(0, n * entryBytes), position + first * entryBytes, file);
    for (let k = 0; k < n; k++) visit(buffer, k * entryBytes, first + k);
  }
}
