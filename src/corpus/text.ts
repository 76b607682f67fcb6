// Bytes -> text, strictly: what is not UTF-8 is said to be so, never replaced.
import { isUtf8 } from 'node:buffer';

const CARRIAGE_RETURN = 13;

/** The text of UTF-8 bytes with CRLF turned into LF and a byte order mark removed, or undefined where they are not UTF-8. */
export function decodeText(bytes: Uint8Array): string | undefined {
  if (!isUtf8(bytes)) return undefined;
  return normalizeText(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8'));
}

/** CRLF -> LF; a leading byte order mark is removed; nothing else is touched. */
export function normalizeText(text: string): string {
  const plain = text.charCodeAt(0) === 0xfeff ? text.slice(1) : text;
  return plain.includes('\r\n') ? plain.replaceAll('\r\n', '\n') : plain;
}

/** Index of the first byte that is not UTF-8. Only for messages: bisects, in O(n). */
export function firstInvalidByte(bytes: Uint8Array): number {
  let low = 0;
  let high = bytes.length;
  while (high - low > 1) {
    const middle = utf8Boundary(bytes, (low + high) >> 1);
    if (middle <= low || middle >= high) break;
    if (isUtf8(bytes.subarray(low, middle))) low = middle;
    else high = middle;
  }
  for (let end = low + 1; end <= high; end++)
    if (isUtf8(bytes.subarray(low, end))) low = end;
    else if (end - low >= 4) break;
  return low;
}

/** Why bytes were not taken as text, and what may help. */
export function notUtf8(bytes: Uint8Array, where = ''): string {
  return `not valid UTF-8 (byte ${firstInvalidByte(bytes)}${where}); if it is Latin-1, convert it: iconv -f WINDOWS-1252 -t UTF-8`;
}

/** The nearest index at or before `at` that does not lie inside a character (continuation bytes are 10xxxxxx). */
export function utf8Boundary(bytes: Uint8Array, at: number): number {
  let i = at;
  while (i > 0 && at - i < 3 && (bytes[i] & 0xc0) === 0x80) i--;
  return (bytes[i] & 0xc0) === 0x80 ? at : i;
}

/** Removes a carriage return at the end of a line's bytes. */
export function withoutCarriageReturn(bytes: Uint8Array): Uint8Array {
  return bytes.at(-1) === CARRIAGE_RETURN ? bytes.subarray(0, -1) : bytes;
}
