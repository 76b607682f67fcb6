// What kind of character a UTF-16 unit is, from a table: rules look at every character of a corpus, and a regular expression with Unicode
// properties costs ten times as much.

export const SPACE = 1;
export const LETTER = 2;
/** A letter, a digit or a mark: what makes a word more than punctuation. */
export const WORDLIKE = 4;
/** Of a script that is written without spaces between words (Han, kana, Thai, Lao, Khmer, Burmese, Tibetan). */
export const UNSPACED = 8;
/** Ends sentences (Unicode's Sentence_Terminal). */
export const TERMINAL = 16;
/** Combining marks, which letters of many scripts carry. */
export const MARK = 32;

const NUM_UNITS = 0x10000;

/** Kinds of each UTF-16 unit, as bits. Halves of surrogate pairs count as word-like; whether they are letters, isLetterPair says. */
export const KINDS: Uint8Array = makeKinds();

function makeKinds(): Uint8Array {
  const kinds = new Uint8Array(NUM_UNITS);
  // One search over all units for each property is many times faster than one test a unit.
  const all = Array.from({ length: NUM_UNITS / 0x1000 }, (_, block) =>
    String.fromCharCode(...Array.from({ length: 0x1000 }, (_, i) => block * 0x1000 + i)),
  ).join('');
  const mark = (pattern: RegExp, bits: number) => {
    for (const { index, 0: run } of all.matchAll(pattern))
      for (let i = index; i < index + run.length; i++) kinds[i]! |= bits;
  };
  mark(/\s+/g, SPACE);
  mark(/\p{L}+/gu, LETTER | WORDLIKE);
  mark(/\p{N}+/gu, WORDLIKE);
  mark(/\p{M}+/gu, MARK | WORDLIKE);
  mark(
    /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}\p{Script=Tibetan}]+/gu,
    UNSPACED,
  );
  mark(/\p{Sentence_Terminal}+/gu, TERMINAL);
  kinds.fill(WORDLIKE, 0xd800, 0xe000);
  return kinds;
}

const ASTRAL_LETTER = /\p{L}/u;

/** Whether the surrogate pair that begins at `index` is a letter. */
export function isLetterPair(text: string, index: number): boolean {
  return ASTRAL_LETTER.test(String.fromCodePoint(text.codePointAt(index)!));
}
