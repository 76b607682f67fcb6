// JSON Lines that were written in one piece.
import { DataError } from '../../base/errors.ts';
import { readText } from '../../base/files.ts';

/** One JSON value a line. @throws DataError that names the line */
export function readLines<T>(file: string): T[] {
  return readText(file)
    .split('\n')
    .flatMap((line, i) => {
      if (line.trim() === '') return [];
      try {
        return [JSON.parse(line) as T];
      } catch {
        throw new DataError(file, `line ${i + 1} is not JSON. Run the evaluation again.`);
      }
    });
}
