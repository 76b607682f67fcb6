// MinHash of word n-grams in plain TypeScript: the specification of native/ops/min-hash.h, which gives the same bits. 64-bit numbers are two
// 32-bit halves, low one first; all arithmetic is modulo 2^32 or 2^64.

/** Folding of a UTF-16 code unit: the flags below, with the unit that stands for it in the low 16 bits. 0 separates words. */
export const FOLD_LETTER = 1 << 16;
/** A word begins in front of this unit; ends behind it. Both: the unit is a word by itself. */
export const FOLD_BEGINS = 1 << 17;
export const FOLD_ENDS = 1 << 18;
/** Of a run of digits only the first counts. */
export const FOLD_DIGIT = 1 << 19;
/** As if it were not there. */
export const FOLD_NOTHING = 1 << 20;

const WORD_LOW = 0x811c9dc5;
const WORD_HIGH = 0x9e3779b9;
const SHINGLE_LOW = 0x243f6a88;
const SHINGLE_HIGH = 0x85a308d3;

const rotl = (x: number, by: number): number => (x << by) | (x >>> (32 - by));

/** MurmurHash3's finaliser. */
function fmix(h: number): number {
  let x = h;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return x ^ (x >>> 16);
}

/** Spreads the bits of the 64-bit number at pair[at] evenly, one to one: three rounds of a Feistel network over fmix. */
export function mixPair(pair: Int32Array | Uint32Array, at: number): void {
  let low = pair[at]!;
  let high = pair[at + 1]!;
  low ^= fmix(high + 0x9e3779b9);
  high ^= fmix(low + 0x7f4a7c15);
  low ^= fmix(high + 0xf39cc060);
  pair[at] = low;
  pair[at + 1] = high;
}

/** See Kernels.minHash. */
export function minHash(
  minima_H: BigInt64Array,
  text: Uint16Array,
  length: number,
  folding: Uint32Array,
  multipliers_H: BigInt64Array,
  addends_H: BigInt64Array,
  ngram: number,
): number {
  const numHashes = minima_H.length;
  const minima = new Int32Array(minima_H.buffer, minima_H.byteOffset, 2 * numHashes);
  const multipliers = new Uint32Array(multipliers_H.buffer, multipliers_H.byteOffset, 2 * numHashes);
  const addends = new Uint32Array(addends_H.buffer, addends_H.byteOffset, 2 * numHashes);
  for (let h = 0; h < numHashes; h++) {
    minima[2 * h] = -1;
    minima[2 * h + 1] = 0x7fffffff;
  }
  const recent = new Int32Array(2 * ngram);
  const pair = new Int32Array(2);
  let numWords = 0;

  const endWord = (low: number, high: number): void => {
    const slot = 2 * (numWords % ngram);
    recent[slot] = low;
    recent[slot + 1] = high;
    mixPair(recent, slot);
    numWords++;
    if (numWords < ngram) return;
    let shingleLow = SHINGLE_LOW;
    let shingleHigh = SHINGLE_HIGH;
    for (let j = 0; j < ngram; j++) {
      const word = 2 * ((numWords + j) % ngram);
      shingleLow = Math.imul(rotl(shingleLow, 13) ^ recent[word]!, 0xcc9e2d51);
      shingleHigh = Math.imul(rotl(shingleHigh, 17) ^ recent[word + 1]!, 0x1b873593);
    }
    pair[0] = shingleLow;
    pair[1] = shingleHigh;
    mixPair(pair, 0);
    lowerMinima(minima, multipliers, addends, pair[0]! >>> 0, pair[1]! >>> 0);
  };

  let low = WORD_LOW;
  let high = WORD_HIGH;
  let inWord = false;
  let inDigits = false;
  for (let i = 0; i < length; i++) {
    const folded = folding[text[i]!]!;
    if (folded & FOLD_NOTHING) continue;
    if (inWord && (folded === 0 || folded & FOLD_BEGINS)) {
      endWord(low, high);
      inWord = false;
    }
    if (folded === 0) continue;
    if (!inWord) {
      low = WORD_LOW;
      high = WORD_HIGH;
      inDigits = false;
      inWord = true;
    }
    const isDigit = (folded & FOLD_DIGIT) !== 0;
    if (!(isDigit && inDigits)) {
      const unit = folded & 0xffff;
      low = Math.imul(low ^ unit, 0x01000193);
      high = Math.imul(rotl(high, 5) ^ unit, 0x85ebca6b);
    }
    inDigits = isDigit;
    if (folded & FOLD_ENDS) {
      endWord(low, high);
      inWord = false;
    }
  }
  if (inWord) endWord(low, high);
  return Math.max(0, numWords - ngram + 1);
}

/** minima[h] = min(minima[h], multipliers[h] * x + addends[h]), signed. */
function lowerMinima(
  minima: Int32Array,
  multipliers: Uint32Array,
  addends: Uint32Array,
  xLow: number,
  xHigh: number,
): void {
  const x0 = xLow & 0xffff;
  const x1 = xLow >>> 16;
  for (let at = 0; at < minima.length; at += 2) {
    const mLow = multipliers[at]!;
    const best = minima[at + 1]!;
    // Most products are no minimum, which their high half tells: the double's is off by one at most, and lacks the carry of the addition.
    const cross = Math.imul(mLow, xHigh) + Math.imul(multipliers[at + 1]!, xLow) + addends[at + 1]!;
    const nearly = ((mLow * xLow) / 2 ** 32 + cross) | 0;
    if (nearly > best + 2 && nearly < 0x7ffffffd) continue;
    const m0 = mLow & 0xffff;
    const m1 = mLow >>> 16;
    // The low halves' product by 16-bit digits: every sum below is under 2^53, and its carry is divided off exactly.
    const p00 = m0 * x0 + addends[at]!;
    const middle = m0 * x1 + m1 * x0 + Math.floor(p00 / 65536);
    const low = ((middle << 16) | (p00 & 0xffff)) >>> 0;
    const high = (m1 * x1 + Math.floor(middle / 65536) + cross) | 0;
    if (high > best || (high === best && low >= minima[at]! >>> 0)) continue;
    minima[at] = low;
    minima[at + 1] = high;
  }
}
