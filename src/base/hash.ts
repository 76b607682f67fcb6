// Fingerprints: a stage's output is named by the digest of what went into it.
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { explainSystemError } from './files.ts';

/** JSON with sorted keys, so that equal values give equal text. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    inner && typeof inner === 'object' && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}

/** SHA-256 of the canonical JSON of `value`, first 16 hex digits (64 bits). */
export function fingerprint(value: unknown): string {
  return sha256(canonicalJson(value)).slice(0, 16);
}

export function sha256(data: string | Uint8Array): string {
  return createHash('sha256').update(data).digest('hex');
}

/** SHA-256 of a file, streamed in 4 MiB pieces. */
export function sha256File(file: string): string {
  const hash = createHash('sha256');
  const buffer = Buffer.allocUnsafe(4 << 20);
  let fd: number;
  try {
    fd = fs.openSync(file, 'r');
  } catch (error) {
    throw explainSystemError(error, file, 'reading it');
  }
  try {
    for (let n = fs.readSync(fd, buffer); n > 0; n = fs.readSync(fd, buffer)) hash.update(buffer.subarray(0, n));
  } finally {
    fs.closeSync(fd);
  }
  return hash.digest('hex');
}

const SAMPLES = 64;
const SAMPLE_BYTES = 4096;

/**
 * Digest of a file's size and of 64 pieces of 4 KiB spread evenly over it: tells other weights apart in a moment where a digest of all
 * of it would take minutes. Not for proving that a file is undamaged.
 */
export function sampleDigest(file: string): string {
  const fd = fs.openSync(file, 'r');
  try {
    const { size } = fs.fstatSync(fd);
    const hash = createHash('sha256').update(String(size));
    const piece = Buffer.alloc(SAMPLE_BYTES);
    for (let i = 0; i < SAMPLES; i++) {
      const position = Math.floor((Math.max(0, size - SAMPLE_BYTES) * i) / (SAMPLES - 1));
      hash.update(piece.subarray(0, fs.readSync(fd, piece, 0, SAMPLE_BYTES, position)));
    }
    return hash.digest('hex').slice(0, 16);
  } finally {
    fs.closeSync(fd);
  }
}

/** SHA-256 of `text` as a number in [0, 1), 53 bits: the same on every machine, so it can decide where a document goes. */
export function hashFraction(text: string): number {
  const digest = createHash('sha256').update(text).digest();
  return (digest.readUInt32BE(0) * 2 ** 21 + (digest.readUInt32BE(4) >>> 11)) / 2 ** 53;
}
