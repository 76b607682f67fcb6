// JSON lines that are written one by one into a file that appears whole.

import { isUtf8 } from 'node:buffer';
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { DataError } from '../../base/errors.ts';
import { type AtomicFile, createFileAtomic, explainSystemError, makeFolder, writeAll } from '../../base/files.ts';
import { readBytes } from '../bytes.ts';
import { splitLines } from '../lines.ts';
import type { Document } from '../types.ts';

const BUFFER_CHARS = 1 << 20;

export class PartFile {
  numLines = 0;
  private readonly target: AtomicFile;
  private readonly hash = createHash('sha256');
  private pending: string[] = [];
  private pendingChars = 0;

  constructor(file: string) {
    makeFolder(path.dirname(file), 'making this folder');
    this.target = createFileAtomic(file);
  }

  writeLine(value: object): void {
    const line = JSON.stringify(value);
    this.numLines++;
    this.pending.push(line, '\n');
    this.pendingChars += line.length + 1;
    if (this.pendingChars >= BUFFER_CHARS) this.flush();
  }

  private flush(): void {
    const bytes = Buffer.from(this.pending.join(''));
    this.pending = [];
    this.pendingChars = 0;
    this.hash.update(bytes);
    try {
      writeAll(this.target.fd, bytes);
    } catch (error) {
      throw explainSystemError(error, this.target.file, 'writing it');
    }
  }

  /** Puts the file in place. @returns the SHA-256 of its bytes */
  finish(): string {
    this.flush();
    this.target.finish();
    return this.hash.digest('hex');
  }

  /** Leaves nothing, unless it is finished. */
  abandon(): void {
    this.target.discard();
  }
}

/** A document as a line; of a conversation, what is said stands in its messages alone. */
export function recordOf({ id, text, source, messages, metadata }: Document): object {
  return { id, ...(messages ? { messages } : { text }), source, ...(metadata && { metadata }) };
}

/** The documents of a file that PartFile wrote, as they were. @throws as readRecords */
export async function* readPartFile(file: string): AsyncGenerator<Document> {
  for await (const record of readRecords<Document>(file)) yield documentOf(record);
}

/** The document that recordOf was given. */
export function documentOf(record: Document): Document {
  const { messages } = record;
  return messages ? { ...record, text: messages.map(({ content }) => content).join('\n\n') } : record;
}

/**
 * The records of a file that PartFile wrote.
 * @throws DataError for a line that is none
 */
export async function* readRecords<T>(file: string): AsyncGenerator<T> {
  if (!fs.existsSync(file)) throw new DataError(file, 'is missing. Run the same command with --fresh.');
  const damaged = (line: number) => new DataError(file, `line ${line} is damaged. Run the same command with --fresh.`);
  for await (const { bytes, number } of splitLines(
    readBytes({ path: file, compression: 'none' }, () => {}),
    Number.POSITIVE_INFINITY,
  )) {
    if (!bytes || !isUtf8(bytes)) throw damaged(number);
    let record: T;
    try {
      record = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')) as T;
    } catch {
      throw damaged(number);
    }
    yield record;
  }
}
