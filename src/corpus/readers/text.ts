// .txt, .md, .markdown, .rst, .adoc, .org, plain or compressed: a file is a document. A file above PART_BYTES comes as several documents, cut at blank
// lines where it has them, so that memory does not grow with the file.
import { DamagedInput, readUtf8 } from '../bytes.ts';
import { decodeText, firstInvalidByte, notUtf8, utf8Boundary } from '../text.ts';
import type { InputFile, ReaderItem, ReaderOptions } from '../types.ts';

/** Large enough for any single work of literature, small enough to hold a few at a time. */
const PART_BYTES = 16 << 20;

export async function* readTextFile(file: InputFile, options: ReaderOptions): AsyncGenerator<ReaderItem> {
  let parts: Uint8Array[] = [];
  let length = 0;
  let offset = 0;
  let numParts = 0;
  const finish = (bytes: Uint8Array, last: boolean): ReaderItem => {
    const id = last && numParts === 0 ? file.path : `${file.path}@${numParts}`;
    numParts++;
    const text = decodeText(bytes);
    const start = offset;
    offset += bytes.length;
    if (text === undefined)
      return { bad: { file: file.path, offset: start + firstInvalidByte(bytes), reason: notUtf8(bytes) } };
    if (text.includes('\0'))
      return {
        bad: { file: file.path, offset: start, reason: 'holds zero bytes: not a text, or UTF-16 without its mark' },
      };
    return { document: { id, text, source: file.path } };
  };
  try {
    for await (const piece of readUtf8(file, options.onBytes)) {
      parts.push(piece);
      length += piece.length;
      while (length > PART_BYTES) {
        const bytes = Buffer.concat(parts, length);
        const cut = cutBefore(bytes, PART_BYTES);
        yield finish(bytes.subarray(0, cut), false);
        parts = [bytes.subarray(cut)];
        length -= cut;
      }
    }
  } catch (error) {
    if (!(error instanceof DamagedInput)) throw error;
    yield { bad: { file: file.path, offset: error.offset, reason: error.message, losesRest: true } };
    return;
  }
  if (length > 0 || numParts === 0) yield finish(Buffer.concat(parts, length), true);
}

/** After the last blank line in the second half of the first `limit` bytes, else after the last line end, else between two characters. */
function cutBefore(bytes: Buffer, limit: number): number {
  const blank = bytes.lastIndexOf('\n\n', limit - 2);
  if (blank > limit / 2) return blank + 2;
  const line = bytes.lastIndexOf(10, limit - 1);
  if (line > limit / 2) return line + 1;
  return utf8Boundary(bytes, limit);
}
