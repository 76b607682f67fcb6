// Code points as Hugging Face tokenizers sees them, and the GPT-2 byte alphabet. Not a Unicode library: only what patterns and
// vocabularies need. The one fact to know: its regular expressions (Oniguruma) know Unicode 16 while Node 20 knows 17, so what 17
// added is listed here and taken out of every property; all 1,112,064 code points were compared (test/python/tokenizer_fixtures.py).

/** Code points assigned in Unicode 17, as the body of a character class: letters, digits and symbols for JS, unassigned for Oniguruma. */
const ADDED_IN_UNICODE_17 =
  '88f c5c cdc 1acf-1add 1ae0-1aeb 20c1 2b96 a7ce-a7cf a7d2 a7d4 a7f1 fbc3-fbd2 fd90-fd91 fdc8-fdce 10940-10959 10ec5-10ec7 ' +
  '10ed0-10ed8 10efa-10efb 11b60-11b67 11db0-11ddb 11de0-11de9 16ea0-16eb8 16ebb-16ed3 16ff2-16ff6 187f8-187ff 18d09-18d1e ' +
  '18d80-18df2 1ccfa-1ccfc 1ceba-1ced0 1cee0-1cef0 1e6c0-1e6de 1e6e0-1e6f5 1e6fe-1e6ff 1f6d8 1f777-1f77a 1f8d0-1f8d8 ' +
  '1fa54-1fa57 1fa8a 1fa8e 1fac8 1facd 1faea 1faef 1fbfa 2b73a-2b73f 2cea2-2cead 323b0-33479';

/** Punctuation of Unicode 17 that the Punctuation pre-tokenizer's own, older table lacks. */
const NOT_YET_PUNCTUATION =
  '61d 9fd a76 c77 c84 1b4e-1b4f 1b7d-1b7f 2e43-2e4f 2e52-2e5d 10d6e 10ead 10ed0 10f55-10f59 10f86-10f89 113d4-113d5 ' +
  '113d7-113d8 1144b-1144f 1145a-1145b 1145d 11660-1166c 116b9 1183b 11944-11946 119e2 11a3f-11a46 11a9a-11a9c 11a9e-11aa2 ' +
  '11b00-11b09 11be1 11c41-11c45 11c70-11c71 11ef7-11ef8 11f43-11f4f 11fff 12ff1-12ff2 16d6d-16d6f 16e97-16e9a 16fe2 1e5ff ' +
  '1e95e-1e95f';

function classBody(ranges: string): string {
  return ranges
    .split(' ')
    .map((range) => range.replace(/[0-9a-f]+/g, '\\u{$&}'))
    .join('');
}

const ADDED = `[${classBody(ADDED_IN_UNICODE_17)}]`;

/** A JavaScript character class (v flag) for the property `name` as Unicode 16 has it; undefined for a name that JS does not know. */
export function propertyClass(name: string, negated: boolean): string | undefined {
  const property = [name, `Script=${name}`].find((candidate) => {
    try {
      return new RegExp(`\\p{${candidate}}`, 'v');
    } catch {
      return false;
    }
  });
  if (property === undefined) return undefined;
  // U+0295 (pharyngeal voiced fricative) became Lo in Unicode 17; it was Ll.
  const moved = property === 'Ll' ? '\\u0295' : '';
  const lost = property === 'Lo' ? '\\u0295' : '';
  const positive = `[[\\p{${property}}${moved}]--[${ADDED}${lost}]]`;
  return negated ? `[^${positive}]` : positive;
}

/** What the Digits pre-tokenizer calls a digit: Rust's char::is_numeric, which follows Unicode 17 as Node does. */
export const DIGIT_CLASS = '\\p{N}';

/** What the Punctuation pre-tokenizer splits at. */
export const PUNCTUATION_CLASS = `[[\\p{P}!-\\/:-@\\[-\`\\{-~\\u166D\\u{111C9}]--[${classBody(NOT_YET_PUNCTUATION)}]]`;

/**
 * The GPT-2 byte alphabet: entry b is the character that stands for byte b in a byte-level vocabulary. Printable Latin-1 bytes
 * stand for themselves, the other 68 take U+0100 and up in order.
 */
export const BYTE_CHARS: readonly string[] = byteAlphabet();

function byteAlphabet(): string[] {
  let spare = 0x100;
  const printable = (b: number) => (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
  return Array.from({ length: 256 }, (_, b) => String.fromCharCode(printable(b) ? b : spare++));
}

/** Byte by UTF-16 code of its character; -1 elsewhere. 0x144 entries. */
export const BYTE_OF_CHAR: Int16Array = (() => {
  const table = new Int16Array(0x144).fill(-1);
  BYTE_CHARS.forEach((char, byte) => {
    table[char.charCodeAt(0)] = byte;
  });
  return table;
})();

const encoder = new TextEncoder();

/** The text's UTF-8 bytes spelled in the byte alphabet. */
export function toByteChars(text: string): string {
  let out = '';
  for (const byte of encoder.encode(text)) out += BYTE_CHARS[byte];
  return out;
}

/** The text with each lone surrogate replaced by U+FFFD, as writing it as UTF-8 would. */
export function toWellFormed(text: string): string {
  // In every Node from 20 on; the type library of ES2023 does not list it yet.
  return (text as string & { toWellFormed(): string }).toWellFormed();
}

/**
 * A copy that shares no memory with the text it was cut from. V8 keeps a slice of 13 characters or more as a reference into its
 * parent, so a cache of pieces would hold every document that it ever saw.
 */
export function detach(piece: string): string {
  return piece.length < 13 ? piece : `${piece} `.slice(0, -1);
}
