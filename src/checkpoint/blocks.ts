// Tensor bytes from a file into typed arrays, a few MiB at a time, so that reading a tensor costs its own size and little more.
// Not a format: safetensors.ts and gguf.ts say where a tensor lies and how it is stored.
import * as fs from 'node:fs';
import { explainSystemError, readExactly } from '../base/files.ts';

/** Node reads and writes at most 2^31 - 1 bytes a call. */
const MAX_CALL_BYTES = 1 << 30;
const CHUNK_BYTES = 4 << 20;

/** Fills `bytes` from `position`, whatever its size. */
export function readInto(fd: number, bytes: Uint8Array, position: number, file: string): void {
  for (let done = 0; done < bytes.byteLength; done += MAX_CALL_BYTES)
    readExactly(fd, bytes.subarray(done, Math.min(bytes.byteLength, done + MAX_CALL_BYTES)), position + done, file);
}

/** Appends `bytes` to an open file, whatever its size. */
export function appendAll(fd: number, bytes: Uint8Array): void {
  let done = 0;
  while (done < bytes.byteLength)
    done += fs.writeSync(fd, bytes, done, Math.min(bytes.byteLength - done, MAX_CALL_BYTES));
}

/**
 * Calls `take(chunk, done)` for consecutive chunks of the bytes [position, position + numBytes); `done` is the chunk's offset in
 * them. Each holds a whole number of units of `unitBytes`, which must divide numBytes. The chunk's memory is reused and aligned
 * for any typed array.
 */
export function readChunks(
  fd: number,
  file: string,
  position: number,
  numBytes: number,
  unitBytes: number,
  take: (chunk: Uint8Array, done: number) => void,
): void {
  const step = Math.max(1, Math.floor(CHUNK_BYTES / unitBytes)) * unitBytes;
  const buffer = new Uint8Array(Math.min(step, numBytes));
  for (let done = 0; done < numBytes; done += step) {
    const chunk = buffer.subarray(0, Math.min(step, numBytes - done));
    readInto(fd, chunk, position + done, file);
    take(chunk, done);
  }
}

/** Opens a regular file for reading; its descriptor and size. Errors are the user's. */
export function openForReading(file: string): { fd: number; size: number } {
  try {
    const fd = fs.openSync(file, 'r');
    const stat = fs.fstatSync(fd);
    if (stat.isFile()) return { fd, size: stat.size };
    fs.closeSync(fd);
    throw Object.assign(new Error('not a regular file'), { code: stat.isDirectory() ? 'EISDIR' : 'EINVAL' });
  } catch (error) {
    throw explainSystemError(error, file, 'reading it');
  }
}
