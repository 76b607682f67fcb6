// Files without a name: they lie beside the result, where there is room for it, and vanish with the process.
import { randomUUID } from 'node:crypto';
import * as fs from 'node:fs';
import { explainSystemError } from '../base/files.ts';

/** @param file the result beside which it lies; @param doing for messages, "writing the mined documents" */
export function openNameless(file: string, what: string, doing: string): { fd: number; file: string } {
  const temporary = `${file}.${what}-${randomUUID()}.tmp`;
  try {
    const fd = fs.openSync(temporary, 'wx+');
    fs.unlinkSync(temporary);
    return { fd, file: temporary };
  } catch (error) {
    throw explainSystemError(error, temporary, doing);
  }
}
