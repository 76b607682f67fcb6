// Random access to a file's bytes, bounds-checked.
import * as fs from 'node:fs';

export interface ByteSource {
  readonly sizeBytes: number;
  /** @throws Error beyond the file's end */
  read(start: number, length: number): Uint8Array;
}

export function fileSource(fd: number, onBytes: (numBytes: number) => void): ByteSource {
  const sizeBytes = fs.fstatSync(fd).size;
  return {
    sizeBytes,
    read(start, length) {
      if (!(start >= 0 && length >= 0 && start + length <= sizeBytes))
        throw new Error(`bytes ${start} to ${start + length} wanted of ${sizeBytes}`);
      const bytes = new Uint8Array(length);
      let done = 0;
      while (done < length) {
        const n = fs.readSync(fd, bytes, done, length - done, start + done);
        if (n === 0) throw new Error(`the file ends at byte ${start + done}`);
        done += n;
      }
      onBytes(length);
      return bytes;
    },
  };
}
