// Files without a name: they lie beside the result, where there is room for it, and vanish with the process.
import * as fs from 'node:fs';
import { explainSystemError } from '../base/files.ts';

/** @param file the result beside which it lies; @param doing for messages, "writing the mined documents" */
export function openNameless(file: string, what: string, doing: string): { fd: number; file: string } {
  const temporary = `${file}.${process.pid}-${what}.tmp`;
  try {
    const fd = fs.openSync(temporary, 'w+');
    fs.unlinkSync(temporary);
    return { fd, file: temporary };
  } catch (error) {
    throw explainSystemError(error, temporary, doing);
  }
}
