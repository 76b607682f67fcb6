// Reads JSON Lines that a killed process may have left torn: a last line without its end, or a torn line with the next one glued
// to it. What can be read is handed on; the rest is counted, not thrown, since a crashed run is when a report is needed most.
import * as fs from 'node:fs';
import { StringDecoder } from 'node:string_decoder';
import { explainSystemError } from '../base/files.ts';

const CHUNK_BYTES = 1 << 20;

/**
 * Calls `onValue` for each object of the file, in order, holding one chunk at a time. An absent file has no lines. An object that was
 * found inside a torn line may be a part of one: the caller checks for the fields that it needs.
 * @returns the number of lines that were not JSON objects
 */
export function readJsonLines(file: string, onValue: (value: Record<string, unknown>) => void): number {
  let numSkipped = 0;
  const take = (line: string): void => {
    if (line.trim() === '') return;
    let value = parseObject(line);
    if (value === undefined) numSkipped++;
    // A torn line swallows the next one: look for an object that begins later.
    for (let at = line.indexOf('{"', 1); value === undefined && at > 0; at = line.indexOf('{"', at + 1))
      value = parseObject(line.slice(at));
    if (value !== undefined) onValue(value);
  };
  let rest = '';
  for (const text of chunksOf(file)) {
    const lines = (rest + text).split('\n');
    rest = lines.pop()!;
    lines.forEach(take);
  }
  take(rest);
  return numSkipped;
}

function* chunksOf(file: string): Generator<string> {
  if (!fs.existsSync(file)) return;
  const decoder = new StringDecoder('utf8');
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  let fd: number | undefined;
  try {
    fd = fs.openSync(file, 'r');
    for (let n = fs.readSync(fd, buffer); n > 0; n = fs.readSync(fd, buffer))
      yield decoder.write(buffer.subarray(0, n));
  } catch (error) {
    throw explainSystemError(error, file, 'reading the run');
  } finally {
    if (fd !== undefined) fs.closeSync(fd);
  }
}

function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return value !== null && typeof value === 'object' && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}
