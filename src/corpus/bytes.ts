// A file's bytes, decompressed, piece by piece. Damaged compression ends the stream with a DamagedInput after every byte that could be
// recovered, always at the same place: decompressors are fed one fixed-size piece at a time and drained before the next.
import * as fs from 'node:fs';
import * as zlib from 'node:zlib';
import { Decompress as ZstdDecompress } from 'fzstd';
import { explainSystemError } from '../base/files.ts';
import type { Compression } from './types.ts';

const PIECE_BYTES = 256 << 10;
/** What is handed to a decompressor before its output is handed on. gzip makes at most 1032 bytes of one. */
const GZIP_STEP_BYTES = 16 << 10;
/** Four bytes of zstd can stand for a block of 128 KiB: a step gives 32 MiB at most. */
const ZSTD_STEP_BYTES = 1 << 10;
/** zstd output of at most this size, or of at most MAX_ZSTD_RATIO times its compressed size, is believed to be text. */
const PLAIN_ZSTD_BYTES = 64 << 20;
const MAX_ZSTD_RATIO = 1100;
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

export async function* readBytes(
  file: string,
  compression: Compression,
  onBytes: (n: number) => void,
): AsyncGenerator<Uint8Array> {
  const pieces = readPieces(file, onBytes);
  if (compression === 'gzip') yield* gunzip(pieces);
  else if (compression === 'zstd') yield* unzstd(pieces);
  else yield* pieces;
}

function* readPieces(file: string, onBytes: (n: number) => void): Generator<Uint8Array> {
  let fd: number;
  try {
    fd = fs.openSync(file, 'r');
  } catch (error) {
    throw explainSystemError(error, file, 'reading documents');
  }
  try {
    for (;;) {
      const piece = Buffer.allocUnsafe(PIECE_BYTES);
      const n = fs.readSync(fd, piece);
      if (n === 0) return;
      onBytes(n);
      yield piece.subarray(0, n);
    }
  } finally {
    fs.closeSync(fd);
  }
}

function* inSteps(pieces: Iterable<Uint8Array>, stepBytes: number): Generator<Uint8Array> {
  for (const piece of pieces)
    for (let at = 0; at < piece.length; at += stepBytes) yield piece.subarray(at, at + stepBytes);
}

async function* gunzip(pieces: Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const stream = zlib.createGunzip();
  let output: Uint8Array[] = [];
  let failure: Error | undefined;
  let offset = 0;
  stream.on('data', (data: Uint8Array) => output.push(data));
  stream.on('error', (error) => {
    failure ??= error;
  });
  const settled = (start: (done: () => void) => void) =>
    new Promise<void>((resolve) => {
      if (failure) return resolve();
      stream.once('error', () => resolve());
      start(() => resolve());
    });
  try {
    for (const piece of inSteps(pieces, GZIP_STEP_BYTES)) {
      await settled((done) => stream.write(piece, done));
      stream.removeAllListeners('error').on('error', (error) => {
        failure ??= error;
      });
      yield* output;
      output = [];
      if (failure) throw new DamagedInput(`damaged gzip data (${failure.message})`, offset);
      offset += piece.length;
    }
    await settled((done) => {
      stream.once('end', done);
      stream.end();
    });
    yield* output;
    if (failure) throw new DamagedInput(`gzip data ends early (${failure.message})`, offset);
  } finally {
    stream.destroy();
  }
}

function* unzstd(pieces: Iterable<Uint8Array>): Generator<Uint8Array> {
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
  for (const piece of inSteps(pieces, ZSTD_STEP_BYTES)) {
    if (offset === 0) checkZstdWindow(piece);
    push(piece, false);
    yield* output;
    output = [];
    if (failure) throw new DamagedInput(`damaged zstd data (${failure.message})`, offset);
    offset += piece.length;
    if (numBytesOut > Math.max(PLAIN_ZSTD_BYTES, MAX_ZSTD_RATIO * offset))
      throw new DamagedInput(
        `zstd data that expands to more than ${MAX_ZSTD_RATIO} times its size; decompress it first if that is right`,
        offset,
      );
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
