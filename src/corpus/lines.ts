// Bytes -> lines, without ever holding more than one line of bounded length. LF (0x0a) never occurs inside another UTF-8 character, so
// lines are cut on bytes and validated later.

export interface Line {
  /** 1-based. */
  number: number;
  /** Of its first byte in the decompressed stream. */
  offset: number;
  /** Without its LF; undefined where the line is longer than the limit. */
  bytes: Uint8Array | undefined;
  lengthBytes: number;
}

/**
 * Lines of a stream; a last line without LF counts. When the stream throws, the unfinished line is dropped and the error passed on.
 * @param maxBytes longer lines are skipped over and yielded without bytes
 */
export async function* splitLines(source: AsyncIterable<Uint8Array>, maxBytes: number): AsyncGenerator<Line> {
  let number = 1;
  let offset = 0;
  let parts: Uint8Array[] = [];
  let length = 0;
  const take = (): Line => {
    const bytes = length > maxBytes ? undefined : parts.length === 1 ? parts[0] : Buffer.concat(parts, length);
    const line = { number: number++, offset, bytes, lengthBytes: length };
    offset += length + 1;
    parts = [];
    length = 0;
    return line;
  };
  const keep = (part: Uint8Array): void => {
    length += part.length;
    if (length > maxBytes) parts = [];
    else if (part.length > 0) parts.push(part);
  };
  for await (const piece of source) {
    let start = 0;
    for (let end = piece.indexOf(10); end >= 0; end = piece.indexOf(10, start)) {
      keep(piece.subarray(start, end));
      yield take();
      start = end + 1;
    }
    keep(piece.subarray(start));
  }
  if (length > 0) yield take();
}
