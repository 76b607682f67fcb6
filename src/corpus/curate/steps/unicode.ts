// Repairs characters: UTF-8 that was read as Windows-1252, canonical composition, control characters, invisible characters, odd spaces.
// After the idea of ftfy (Speer 2019): text is repaired only where the mistake is certain. What decides here is not ftfy's table of
// unlikely neighbours but whether a line, taken back to bytes, is UTF-8 throughout, and whether what comes out is what such text holds.
import type { CleanOptions } from '../../../config/index.ts';
import type { Step } from '../types.ts';

export const UNICODE = { mojibake: true, nfc: true, spaces: true, straightQuotes: false };

/** Rounds over one text, since some text was misread twice and what goes may join what stood around it. Worse is lost anyway. */
const MAX_ROUNDS = 8;

/** Text of plain ASCII passes untouched. */
export function unicode(options: CleanOptions<'unicode'>): Step {
  const rules = { ...UNICODE, ...options };
  return {
    name: 'unicode',
    apply(view) {
      if (view.isPlainAscii) return undefined;
      const changes: Record<string, number> = {};
      let { text } = view;
      for (let round = 0; round < MAX_ROUNDS; round++) {
        const before = text;
        text = repairOnce(before, rules, changes);
        if (text === before) break;
      }
      return text === view.text ? undefined : { text, changes };
    },
  };
}

const RARE = /[\0-\x08\v\f\x0e-\x1f\x7f-\xa0\xad\u1680\u2000-\u200d\u2018-\u201f\u2028\u2029\u202f\u205f\u2060\ufeff]/;
/** Whatever canonical composition may change. */
const COMPOSABLE = /[\u0300-\u1fff\u2000\u2001\u2126-\uffff]/;

function repairOnce(given: string, rules: typeof UNICODE, changes: Record<string, number>): string {
  let text = given;
  const count = (what: string, n: number) => {
    if (n > 0) changes[what] = (changes[what] ?? 0) + n;
  };
  const replace = (what: string, pattern: RegExp, by: string | ((found: string) => string)) => {
    let n = 0;
    text = text.replace(pattern, (found) => {
      const put = typeof by === 'string' ? by : by(found);
      if (put !== found) n++;
      return put;
    });
    count(what, n);
  };
  if (rules.mojibake) {
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const repaired = repairMojibake(text);
      if (repaired.numRepaired === 0) break;
      count('mojibake', repaired.numRepaired);
      text = repaired.text;
    }
  }
  if (RARE.test(text)) {
    if (rules.mojibake)
      replace('Windows-1252 control characters', /[\x80-\x9f]/g, (found) => WINDOWS_1252[found.charCodeAt(0) - 0x80]!);
    replace('line separators', /[\v\f\u2028\u2029]/g, '\n');
    replace('control characters', /[\0-\x08\x0e-\x1f\x7f-\x9f]/g, '');
    replace('invisible characters', /[\u00ad\u200b\u2060\ufeff]/g, '');
    // Joiners shape Arabic, Indic scripts and emoji; behind Latin, Greek and Cyrillic letters or at the start they are debris.
    replace('invisible characters', /(?<![\u0530-\uffff])[\u200c\u200d]+/g, '');
    // Not the ideographic space: it is what Chinese and Japanese indent with.
    if (rules.spaces) replace('odd spaces', /[\u00a0\u1680\u2000-\u200a\u202f\u205f]/g, ' ');
    if (rules.straightQuotes) {
      replace('curly quotes', /[\u201c-\u201f]/g, '"');
      replace('curly quotes', /[\u2018-\u201b]/g, "'");
    }
  }
  if (rules.nfc && COMPOSABLE.test(text)) {
    const composed = text.normalize('NFC');
    if (composed !== text) count('texts composed', 1);
    text = composed;
  }
  return text;
}

/** What Windows-1252 has for bytes 0x80 to 0x9f; the five that it leaves open stay control characters, as browsers decode them. */
const WINDOWS_1252 = [...'€\x81‚ƒ„…†‡ˆ‰Š‹Œ\x8dŽ\x8f\x90‘’“”•–—˜™š›œ\x9džŸ'];

/** Character -> the byte that was read as it. */
const BYTE_OF = new Map<number, number>();
for (let byte = 0x80; byte < 0x100; byte++) BYTE_OF.set(byte, byte);
for (const [i, letter] of WINDOWS_1252.entries()) BYTE_OF.set(letter.charCodeAt(0), 0x80 + i);

const CONTINUATION = `[\\x80-\\xbf${WINDOWS_1252.filter((letter) => letter.charCodeAt(0) > 0xff).join('')}]`;
/** A byte that begins a character of UTF-8 and those that go on with it, read as Windows-1252. */
const SEQUENCE = new RegExp(
  `[\\xc2-\\xdf]${CONTINUATION}|[\\xe0-\\xef]${CONTINUATION}{2}|[\\xf0-\\xf4]${CONTINUATION}{3}`,
  'g',
);

interface Sequence {
  index: number;
  length: number;
  decoded: string;
}

function repairMojibake(text: string): { text: string; numRepaired: number } {
  let numRepaired = 0;
  if (text.search(SEQUENCE) < 0) return { text, numRepaired };
  const lines = text.split('\n').map((line) => {
    const sequences = certainSequences(line);
    numRepaired += sequences.length;
    return sequences.length === 0 ? line : decode(line, sequences);
  });
  return { text: lines.join('\n'), numRepaired };
}

function decode(line: string, sequences: readonly Sequence[]): string {
  const parts: string[] = [];
  let end = 0;
  for (const { index, length, decoded } of sequences) {
    parts.push(line.slice(end, index), decoded);
    end = index + length;
  }
  parts.push(line.slice(end));
  return parts.join('');
}

const NOT_ASCII = /[^\0-\x7f]/g;

/** All sequences of a line that is misread throughout and certainly; else those that are certain by themselves. */
function certainSequences(line: string): Sequence[] {
  const sequences: Sequence[] = [];
  let numUnits = 0;
  for (const { index, 0: found } of line.matchAll(SEQUENCE)) {
    const decoded = decodeSequence(found);
    if (decoded === undefined) continue;
    sequences.push({ index, length: found.length, decoded });
    numUnits += found.length;
  }
  if (sequences.length === 0) return [];
  const certain = sequences.filter((sequence, i) => isCertain(line, sequence, sequences[i - 1], sequences[i + 1]));
  const isThroughout = numUnits === (line.match(NOT_ASCII)?.length ?? 0);
  return isThroughout && certain.length > 0 ? sequences : certain;
}

/** The character of two to four bytes, or undefined where they are not UTF-8 (written longer than needed, surrogates, past the end). */
function decodeSequence(found: string): string | undefined {
  let code = BYTE_OF.get(found.charCodeAt(0))! & (0x7f >> found.length);
  for (let i = 1; i < found.length; i++) code = (code << 6) | (BYTE_OF.get(found.charCodeAt(i))! & 0x3f);
  const least = [0x80, 0x800, 0x10000][found.length - 2]!;
  return code < least || (code >= 0xd800 && code < 0xe000) || code > 0x10ffff ? undefined : String.fromCodePoint(code);
}

const UPPER_CASE_BEFORE = /\p{Lu}/u;
/** Quotes, dashes, dots, the euro, trade mark, arrows, mathematics, boxes, shapes, ligatures, byte order mark. */
const COMMON_SYMBOL = /^[\u2010-\u2044\u20ac\u2122\u2190-\u21ff\u2200-\u22ff\u2500-\u27bf\ufb00-\ufb06\ufeff\ufffd]$/;

/**
 * Two bytes: a Latin-1 character ("Ã©") not inside a word in capitals, where "Ã" before a quotation mark may be meant; two in a row of
 * one script ("Ð¿Ñ€"). Three: a symbol that such text is full of ("â€™"), or two in a row. Four: always, in practice emoji.
 */
function isCertain(line: string, { index, length, decoded }: Sequence, before?: Sequence, after?: Sequence): boolean {
  if (length === 4) return true;
  const hasNeighbour =
    (before !== undefined && before.length === length && before.index + length === index && isNear(before, decoded)) ||
    (after !== undefined && after.length === length && index + length === after.index && isNear(after, decoded));
  if (hasNeighbour) return true;
  if (length === 3) return COMMON_SYMBOL.test(decoded);
  return decoded.charCodeAt(0) <= 0xff && !UPPER_CASE_BEFORE.test(line[index - 1] ?? '');
}

/** Of one block, nearly: misread words in Greek, Cyrillic, Hebrew, Arabic, Chinese hold one such character after the other. */
function isNear(other: Sequence, decoded: string): boolean {
  const [a, b] = [other.decoded.charCodeAt(0), decoded.charCodeAt(0)];
  return a > 0x370 && b > 0x370 && (a >> 8 === b >> 8 || (isIdeographic(a) && isIdeographic(b)));
}

function isIdeographic(code: number): boolean {
  return (code >= 0x3000 && code < 0xa000) || (code >= 0xac00 && code < 0xd7b0) || code >= 0xff00;
}
