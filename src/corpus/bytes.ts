// A file's bytes, decompressed, piece by piece. Damaged compression ends the stream with a DamagedInput after every byte that could be
// recovered, always at the same place: decompressors are fed one fixed-size piece at a time and drained before the next.
import * as fs from 'node:fs';
import * as zlib from 'node:zlib';
import { Decompress as ZstdDecompress } from 'fzstd';
import { isUserError } from '../base/errors.ts';
import { explainSystemError } from '../base/files.ts';
import { formatBytes } from '../base/units.ts';
import { Bzip2End, decodeBzip2 } from './bzip2.ts';
import { isRemote, readRemote } from './remote/index.ts';
import type { InputFile } from './types.ts';

const PIECE_BYTES = 256 << 10;
/** What is handed to a decompressor before its output is handed on. gzip makes at most 1032 bytes of one. */
const GZIP_STEP_BYTES = 16 << 10;
/** Four bytes of zstd can stand for a block of 128 KiB: a step gives 32 MiB at most. */
const ZSTD_STEP_BYTES = 1 << 10;
/** Output of zstd and bzip2 of at most this size, or of at most MAX_RATIO times its compressed size, is believed to be text. */
const PLAIN_BYTES = 64 << 20;
const MAX_RATIO = 1100;
/** Largest zstd window accepted, as in the zstd tool without --long. A forged header could otherwise ask for 2 GiB. */
const MAX_ZSTD_WINDOW_BYTES = 128 << 20;
/** Not a user's error yet: the readers turn it into a bad record that loses what follows. */
export class DamagedInput extends Error {
  /** Bytes of the compressed file that had been read. */
  readonly offset: number;
  constructor(message: string, offset: number) {
    super(message);
    this.offset = offset;
  }
}

/** Where bytes come from: a file, its compression, and, of uncompressed ones, the byte to begin at. */
export type BytesOf = Pick<InputFile, 'path' | 'address' | 'compression'> & { sizeBytes?: number; start?: number };

export async function* readBytes(file: BytesOf, onBytes: (n: number) => void): AsyncGenerator<Uint8Array> {
  const start = file.start ?? 0;
  const pieces = isRemote(file.path) ? readRemote(file, start, onBytes) : readPieces(file.path, start, onBytes);
  if (file.compression === 'gzip') yield* gunzip(pieces);
  else if (file.compression === 'zstd') yield* unzstd(pieces);
  else if (file.compression === 'bzip2') yield* bunzip2(pieces);
  else yield* pieces;
}

/**
 * readBytes as UTF-8: what begins with the byte order mark of UTF-16 is turned into it (halves of surrogate pairs into U+FFFD). Offsets are
 * then those of the UTF-8 bytes.
 */
export async function* readUtf8(file: BytesOf, onBytes: (n: number) => void): AsyncGenerator<Uint8Array> {
  let decoder: InstanceType<typeof TextDecoder> | undefined;
  let isFirst = (file.start ?? 0) === 0;
  const encoder = new TextEncoder();
  for await (const piece of readBytes(file, onBytes)) {
    if (isFirst) {
      const encoding = utf16Of(piece);
      if (encoding) decoder = new TextDecoder(encoding);
    }
    isFirst = false;
    yield decoder ? encoder.encode(decoder.decode(piece, { stream: true })) : piece;
  }
  const rest = decoder?.decode();
  if (rest) yield encoder.encode(rest);
}

/** By its byte order mark; UTF-32's begins with the same two bytes and is not read. */
export function utf16Of(head: Uint8Array): 'utf-16le' | 'utf-16be' | undefined {
  if (head[0] === 0xff && head[1] === 0xfe) return head[2] === 0 && head[3] === 0 ? undefined : 'utf-16le';
  return head[0] === 0xfe && head[1] === 0xff ? 'utf-16be' : undefined;
}

/**
 * A whole file, decompressed.
 * @returns undefined where it is larger than `maxBytes`; @throws DamagedInput
 */
export async function readWhole(
  file: BytesOf,
  maxBytes: number,
  onBytes: (n: number) => void,
): Promise<Buffer | undefined> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of readBytes(file, onBytes)) {
    length += piece.length;
    if (length > maxBytes) return undefined;
    pieces.push(piece);
  }
  return Buffer.concat(pieces, length);
}

export function tooLarge(maxBytes: number): string {
  return `larger than ${formatBytes(maxBytes)} when unpacked`;
}

function* readPieces(file: string, start: number, onBytes: (n: number) => void): Generator<Uint8Array> {
  let fd: number;
  try {
    fd = fs.openSync(file, 'r');
  } catch (error) {
    throw explainSystemError(error, file, 'reading documents');
  }
  let position = start;
  try {
    for (;;) {
      const piece = Buffer.allocUnsafe(PIECE_BYTES);
      const n = fs.readSync(fd, piece, 0, PIECE_BYTES, position);
      if (n === 0) return;
      position += n;
      onBytes(n);
      yield piece.subarray(0, n);
    }
  } finally {
    fs.closeSync(fd);
  }
}

type Pieces = Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

async function* inSteps(pieces: Pieces, stepBytes: number): AsyncGenerator<Uint8Array> {
  for await (const piece of pieces)
    for (let at = 0; at < piece.length; at += stepBytes) yield piece.subarray(at, at + stepBytes);
}

async function* gunzip(pieces: Pieces): AsyncGenerator<Uint8Array> {
  const stream = zlib.createGunzip();
  let output: Uint8Array[] = [];
  let failure: Error | undefined;
  let isOver = false;
  let offset = 0;
  let resume = () => {};
  stream.on('data', (data: Uint8Array) => output.push(data));
  stream.on('error', (error) => {
    failure ??= error;
    resume();
  });
  // Comes early where zero bytes follow the last member; the write under way is then never called back.
  stream.on('end', () => {
    isOver = true;
    resume();
  });
  const settled = (start: (done: () => void) => void) =>
    new Promise<void>((resolve) => {
      resume = resolve;
      if (failure || isOver) resolve();
      else start(resolve);
    });
  try {
    for await (const piece of inSteps(pieces, GZIP_STEP_BYTES)) {
      await settled((done) => stream.write(piece, done));
      yield* output;
      output = [];
      if (failure) throw new DamagedInput(`damaged gzip data (${failure.message})`, offset);
      // Padding with zeros is usual, anything else is lost data.
      const rest = isOver ? piece.subarray(Math.max(0, stream.bytesWritten - offset)) : [];
      if (rest.some((byte) => byte !== 0)) throw new DamagedInput('what follows the gzip data is none', offset);
      offset += piece.length;
    }
    await settled(() => stream.end());
    yield* output;
    if (failure) throw new DamagedInput(`gzip data ends early (${failure.message})`, offset);
  } finally {
    stream.destroy();
  }
}

async function* bunzip2(pieces: Pieces): AsyncGenerator<Uint8Array> {
  let offset = 0;
  let numBytesOut = 0;
  const counted = async function* (): AsyncGenerator<Uint8Array> {
    for await (const piece of pieces) {
      offset += piece.length;
      yield piece;
    }
  };
  const output = decodeBzip2(counted());
  for (;;) {
    let next: IteratorResult<Uint8Array>;
    try {
      next = await output.next();
    } catch (error) {
      if (isUserError(error)) throw error;
      const reason =
        error instanceof Bzip2End ? 'bzip2 data ends early' : `damaged bzip2 data (${(error as Error).message})`;
      throw new DamagedInput(reason, offset);
    }
    if (next.done) return;
    numBytesOut += next.value.length;
    if (numBytesOut > Math.max(PLAIN_BYTES, MAX_RATIO * offset)) throw bomb('bzip2', offset);
    yield next.value;
  }
}

function bomb(kind: string, offset: number): DamagedInput {
  return new DamagedInput(
    `${kind} data that expands to more than ${MAX_RATIO} times its size; decompress it first if that is right`,
    offset,
  );
}

async function* unzstd(pieces: Pieces): AsyncGenerator<Uint8Array> {
  let output: Uint8Array[] = [];
  let numBytesOut = 0;
  const stream = new ZstdDecompress((data) => {
    numBytesOut += data.length;
    // The decompressor reuses what it hands out.
    output.push(data.slice());
  });
  let offset = 0;
  let failure: Error | undefined;
  const push = (piece: Uint8Array, final: boolean) => {
    try {
      stream.push(piece, final);
    } catch (error) {
      failure = error as Error;
    }
  };
  for await (const piece of inSteps(pieces, ZSTD_STEP_BYTES)) {
    if (offset === 0) checkZstdWindow(piece);
    push(piece, false);
    yield* output;
    output = [];
    if (failure) throw new DamagedInput(`damaged zstd data (${failure.message})`, offset);
    offset += piece.length;
    if (numBytesOut > Math.max(PLAIN_BYTES, MAX_RATIO * offset)) throw bomb('zstd', offset);
  }
  push(new Uint8Array(0), true);
  yield* output;
  if (failure || offset === 0)
    throw new DamagedInput(`zstd data ends early (${failure?.message ?? 'empty file'})`, offset);
}

/** RFC 8878, 3.1.1.1: refuses a first frame whose window is larger than any tool makes unasked. */
function checkZstdWindow(head: Uint8Array): void {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  if (head.length < 18 || view.getUint32(0, true) !== 0xfd2fb528) return;
  const descriptor = head[4];
  let windowBytes: number;
  if (descriptor & 0x20) {
    const at = 5 + [0, 1, 2, 4][descriptor & 3];
    const sizeFlag = descriptor >> 6;
    windowBytes = [
      head[at],
      view.getUint16(at, true) + 256,
      view.getUint32(at, true),
      Number(view.getBigUint64(at, true)),
    ][sizeFlag];
  } else {
    const base = 2 ** (10 + (head[5] >> 3));
    windowBytes = base + (base / 8) * (head[5] & 7);
  }
  if (windowBytes > MAX_ZSTD_WINDOW_BYTES)
    throw new DamagedInput(
      `zstd window of ${windowBytes} bytes, at most ${MAX_ZSTD_WINDOW_BYTES} accepted; compress again without --long`,
      0,
    );
}
