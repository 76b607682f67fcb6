// A file that is written line by line and appears whole: under another name until it is finished.
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { explainSystemError, fsyncPath, writeAll } from '../../base/files.ts';

const BUFFER_BYTES = 1 << 20;

export class PartFile {
  numLines = 0;
  numBytes = 0;
  private readonly file: string;
  private readonly temporary: string;
  private readonly fd: number;
  private readonly hash = createHash('sha256');
  private pending: string[] = [];
  private pendingChars = 0;

  constructor(file: string) {
    this.file = file;
    // The process id alone is no name among machines that share a folder.
    this.temporary = `${file}.${process.pid}-${process.hrtime.bigint().toString(36)}.tmp`;
    try {
      fs.mkdirSync(path.dirname(file), { recursive: true });
      this.fd = fs.openSync(this.temporary, 'wx');
    } catch (error) {
      throw explainSystemError(error, file, 'writing it');
    }
  }

  writeLine(value: object): void {
    const line = JSON.stringify(value);
    this.numLines++;
    this.pending.push(line, '\n');
    this.pendingChars += line.length + 1;
    if (this.pendingChars >= BUFFER_BYTES) this.flush();
  }

  private flush(): void {
    const bytes = Buffer.from(this.pending.join(''));
    this.pending = [];
    this.pendingChars = 0;
    this.numBytes += bytes.length;
    this.hash.update(bytes);
    try {
      writeAll(this.fd, bytes);
    } catch (error) {
      throw explainSystemError(error, this.file, 'writing it');
    }
  }

  /** Puts the file in place. @returns the SHA-256 of its bytes */
  finish(): string {
    this.flush();
    try {
      fs.fsyncSync(this.fd);
      fs.closeSync(this.fd);
      fs.renameSync(this.temporary, this.file);
      fsyncPath(path.dirname(this.file));
    } catch (error) {
      throw explainSystemError(error, this.file, 'writing it');
    }
    return this.hash.digest('hex');
  }

  abandon(): void {
    try {
      fs.closeSync(this.fd);
    } catch {
      // It was closed before.
    }
    fs.rmSync(this.temporary, { force: true });
  }
}
