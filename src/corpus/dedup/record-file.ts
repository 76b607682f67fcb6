// Files of fixed-size records, as parts and machines hand them to each other: a header with kind, version, size, options and a digest of
// the records, then records of little-endian 32-bit words. Whole or absent; what is damaged or of another making is refused.
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { ConfigError, DataError } from '../../base/errors.ts';
import { type AtomicFile, createFileAtomic, explainSystemError, readExactly, writeAll } from '../../base/files.ts';
import { canonicalJson } from '../../base/hash.ts';

const MAGIC = Buffer.from('CTNORECS');
const VERSION = 1;
/** magic 8, version u32, words a record u32, number of records u64, kind 8 bytes, digest of the options 16 bytes, of the records 16 bytes. */
const HEADER_BYTES = 64;
const BUFFER_WORDS = 1 << 16;

export interface RecordKind {
  /** At most 8 ASCII characters. */
  kind: string;
  numWords: number;
  /** What the records depend on: files of other options are refused. */
  options: unknown;
}

function optionsDigest(options: unknown): Buffer {
  return createHash('sha256').update(canonicalJson(options)).digest().subarray(0, 16);
}

const asBytes = (words: Uint32Array) => new Uint8Array(words.buffer, words.byteOffset, words.byteLength);

/** Writes one such file. Nothing is there under its name before finish(). */
export class RecordWriter {
  numRecords = 0;
  private readonly of: RecordKind;
  private readonly target: AtomicFile;
  private readonly buffer: Uint32Array;
  private readonly hash = createHash('sha256');
  private used = 0;

  constructor(file: string, of: RecordKind) {
    this.of = of;
    this.target = createFileAtomic(file);
    this.buffer = new Uint32Array(Math.max(1, Math.floor(BUFFER_WORDS / of.numWords)) * of.numWords);
    this.write(new Uint8Array(HEADER_BYTES));
  }

  /** Space for one more record: its words are to be written to the result from `at` on, before the next call. */
  next(): { words: Uint32Array; at: number } {
    if (this.used === this.buffer.length) this.flush();
    const at = this.used;
    this.used += this.of.numWords;
    this.numRecords++;
    return { words: this.buffer, at };
  }

  push(...words: number[]): void {
    const { words: buffer, at } = this.next();
    for (let i = 0; i < this.of.numWords; i++) buffer[at + i] = words[i];
  }

  private flush(): void {
    const bytes = asBytes(this.buffer.subarray(0, this.used));
    this.hash.update(bytes);
    this.write(bytes);
    this.used = 0;
  }

  private write(bytes: Uint8Array): void {
    try {
      writeAll(this.target.fd, bytes);
    } catch (error) {
      this.target.discard();
      throw explainSystemError(error, this.target.file, 'writing it');
    }
  }

  finish(): void {
    this.flush();
    const header = Buffer.alloc(HEADER_BYTES);
    MAGIC.copy(header);
    header.writeUInt32LE(VERSION, 8);
    header.writeUInt32LE(this.of.numWords, 12);
    header.writeBigUInt64LE(BigInt(this.numRecords), 16);
    header.write(this.of.kind, 24, 8, 'latin1');
    optionsDigest(this.of.options).copy(header, 32);
    this.hash.digest().copy(header, 48, 0, 16);
    fs.writeSync(this.target.fd, header, 0, HEADER_BYTES, 0);
    this.target.finish();
  }

  discard(): void {
    this.target.discard();
  }
}

/** The number of records of a file. @throws as readRecords, but for damaged records */
export function countRecords(file: string, of: RecordKind): number {
  const fd = open(file);
  try {
    return readHeader(fd, file, of).numRecords;
  } finally {
    fs.closeSync(fd);
  }
}

/**
 * The records in order, whole ones a block, in space that is used again for the next block.
 * @throws ConfigError for a file made with other options; DataError for one that is damaged, at the latest behind the last record
 */
export function* readRecords(file: string, of: RecordKind): Generator<Uint32Array> {
  const fd = open(file);
  try {
    const { numRecords, digest } = readHeader(fd, file, of);
    const recordBytes = 4 * of.numWords;
    const buffer = new Uint32Array(Math.max(1, Math.floor(BUFFER_WORDS / of.numWords)) * of.numWords);
    const hash = createHash('sha256');
    const end = HEADER_BYTES + numRecords * recordBytes;
    for (let position = HEADER_BYTES; position < end; ) {
      const words = buffer.subarray(0, Math.min(buffer.length, (end - position) / 4));
      readExactly(fd, asBytes(words), position, file);
      hash.update(asBytes(words));
      position += words.byteLength;
      yield words;
    }
    if (!hash.digest().subarray(0, 16).equals(digest))
      throw new DataError(
        file,
        'its records do not match the digest in its header: it is damaged. Remove it, and make its part again.',
      );
  } finally {
    fs.closeSync(fd);
  }
}

function open(file: string): number {
  try {
    return fs.openSync(file, 'r');
  } catch (error) {
    throw explainSystemError(error, file, 'reading it');
  }
}

function readHeader(fd: number, file: string, of: RecordKind): { numRecords: number; digest: Buffer } {
  const header = Buffer.alloc(HEADER_BYTES);
  readExactly(fd, header, 0, file);
  if (!header.subarray(0, 8).equals(MAGIC))
    throw new DataError(file, 'is no file of records: expected it to begin with CTNORECS.', 0);
  const version = header.readUInt32LE(8);
  if (version !== VERSION)
    throw new DataError(
      file,
      `is of version ${version}, expected ${VERSION}. Make it again with this version of Continuo.`,
      8,
    );
  const kind = header.toString('latin1', 24, 32).replace(/\0+$/, '');
  if (kind !== of.kind) throw new DataError(file, `holds "${kind}", expected "${of.kind}".`, 24);
  if (!header.subarray(32, 48).equals(optionsDigest(of.options)) || header.readUInt32LE(12) !== of.numWords)
    throw new ConfigError(
      `${file}: was made with other options (expected ${canonicalJson(of.options)}). Make all parts with the same options.`,
    );
  const numRecords = Number(header.readBigUInt64LE(16));
  const { size } = fs.fstatSync(fd);
  const expected = HEADER_BYTES + numRecords * 4 * of.numWords;
  if (size !== expected)
    throw new DataError(
      file,
      `has ${size} bytes, expected ${expected}: it is damaged. Remove it, and make its part again.`,
    );
  return { numRecords, digest: Buffer.from(header.subarray(48, 64)) };
}
