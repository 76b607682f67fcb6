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
  const minima = new Minima(minima_H, multipliers_H, addends_H);
  // The last words twice, side by side, so that the n-gram that ends now is in one piece.
  const recent = new Int32Array(4 * ngram);
  const pair = new Int32Array(2);
  let numWords = 0;
  let slot = 0;

  const endWord = (low: number, high: number): void => {
    pair[0] = low;
    pair[1] = high;
    mixPair(pair, 0);
    recent[slot] = recent[slot + 2 * ngram] = pair[0];
    recent[slot + 1] = recent[slot + 2 * ngram + 1] = pair[1];
    slot = slot + 2 === 2 * ngram ? 0 : slot + 2;
    if (++numWords < ngram) return;
    let shingleLow = SHINGLE_LOW;
    let shingleHigh = SHINGLE_HIGH;
    for (let word = slot; word < slot + 2 * ngram; word += 2) {
      shingleLow = Math.imul(rotl(shingleLow, 13) ^ recent[word]!, 0xcc9e2d51);
      shingleHigh = Math.imul(rotl(shingleHigh, 17) ^ recent[word + 1]!, 0x1b873593);
    }
    pair[0] = shingleLow;
    pair[1] = shingleHigh;
    mixPair(pair, 0);
    minima.lower(pair[0], pair[1]);
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
class Minima {
  private readonly minima: Int32Array;
  private readonly multipliers: Int32Array;
  private readonly addends: Int32Array;
  /** Low halves of the multipliers, as fractions of 2^32. */
  private readonly fractions: Float64Array;
  /** High halves up to which a product may be a minimum. */
  private readonly limits: Int32Array;

  constructor(minima_H: BigInt64Array, multipliers_H: BigInt64Array, addends_H: BigInt64Array) {
    const numHashes = minima_H.length;
    const halves = ({ buffer, byteOffset }: BigInt64Array) => new Int32Array(buffer, byteOffset, 2 * numHashes);
    minima_H.fill(2n ** 63n - 1n);
    this.minima = halves(minima_H);
    this.multipliers = halves(multipliers_H);
    this.addends = halves(addends_H);
    this.fractions = Float64Array.from({ length: numHashes }, (_, h) => (this.multipliers[2 * h]! >>> 0) / 2 ** 32);
    this.limits = new Int32Array(numHashes).fill(0x7fffffff);
  }

  lower(xLow: number, xHigh: number): void {
    const { multipliers, addends, fractions, limits } = this;
    const x = xLow >>> 0;
    for (let h = 0; h < limits.length; h++) {
      // Most products are no minimum, which their high half tells: without the carry of the addition, and with a double's product, it is
      // off by one at most.
      const cross = (Math.imul(multipliers[2 * h]!, xHigh) + Math.imul(multipliers[2 * h + 1]!, xLow)) | 0;
      const nearly = (((fractions[h]! * x) >>> 0) + cross + addends[2 * h + 1]!) | 0;
      if (nearly <= limits[h]! || nearly === 0x7fffffff) this.lowerOne(h, x, cross);
    }
  }

  /** By 16-bit digits: every sum is under 2^53, and its carry is divided off exactly. */
  private lowerOne(h: number, xLow: number, cross: number): void {
    const { minima, multipliers, addends } = this;
    const [m0, m1] = [multipliers[2 * h]! & 0xffff, multipliers[2 * h]! >>> 16];
    const [x0, x1] = [xLow & 0xffff, xLow >>> 16];
    const p00 = m0 * x0 + (addends[2 * h]! >>> 0);
    const middle = m0 * x1 + m1 * x0 + Math.floor(p00 / 65536);
    const low = ((middle << 16) | (p00 & 0xffff)) >>> 0;
    const high = (m1 * x1 + Math.floor(middle / 65536) + cross + addends[2 * h + 1]!) | 0;
    const best = minima[2 * h + 1]!;
    if (high > best || (high === best && low >= minima[2 * h]! >>> 0)) return;
    minima[2 * h] = low;
    minima[2 * h + 1] = high;
    this.limits[h] = Math.min(high + 1, 0x7fffffff);
  }
}
