// The words of a text as numbers: where they stand, which are equal, which n-grams repeat. No word is ever made a string, so that the rules
// on words run at the speed of reading the text.
import { isLetterPair, KINDS, LETTER, SPACE, UNSPACED, WORDLIKE } from './characters.ts';

export interface WordTable {
  count: number;
  /** Of each word, in UTF-16 units. */
  starts: Int32Array;
  ends: Int32Array;
  /** FNV-1a over the units. */
  hashes: Int32Array;
  /** Words with a letter. */
  numAlphabetic: number;
  /** Words with a letter, digit or mark, and their UTF-16 units: what is left without punctuation that stands alone. */
  numProper: number;
  numProperUnits: number;
  /** Most of it is in scripts without spaces between words, so that the words here are phrases and no rule on words applies. */
  isUnspaced: boolean;
}

const AVERAGE_WORD_UNITS = 5;
const FNV_OFFSET = 0x811c9dc5 | 0;
const FNV_PRIME = 0x01000193;

/** What stands between white space. */
export function findWords(text: string): WordTable {
  const { length } = text;
  let capacity = Math.ceil(length / AVERAGE_WORD_UNITS) + 16;
  let starts = new Int32Array(capacity);
  let ends = new Int32Array(capacity);
  let hashes = new Int32Array(capacity);
  let count = 0;
  let [numAlphabetic, numProper, numProperUnits, numUnits, numUnspacedUnits] = [0, 0, 0, 0, 0];
  for (let i = 0; i < length; ) {
    let unit = text.charCodeAt(i);
    if (KINDS[unit]! & SPACE) {
      i++;
      continue;
    }
    const start = i;
    let hash = FNV_OFFSET;
    let kinds = 0;
    for (;;) {
      const kind = KINDS[unit]!;
      if (kind & SPACE) break;
      kinds |= kind;
      if (unit >= 0xd800 && unit < 0xdc00 && !(kinds & LETTER) && isLetterPair(text, i)) kinds |= LETTER;
      hash = Math.imul(hash ^ unit, FNV_PRIME);
      if (++i === length) break;
      unit = text.charCodeAt(i);
    }
    if (count === capacity) {
      // Half of all units at most are words of their own.
      capacity = Math.min(2 * capacity, (length >> 1) + 1);
      starts = grown(starts, capacity);
      ends = grown(ends, capacity);
      hashes = grown(hashes, capacity);
    }
    starts[count] = start;
    ends[count] = i;
    hashes[count++] = hash;
    numUnits += i - start;
    if (kinds & UNSPACED) numUnspacedUnits += i - start;
    if (kinds & LETTER) numAlphabetic++;
    if (kinds & WORDLIKE) {
      numProper++;
      numProperUnits += i - start;
    }
  }
  const isUnspaced = 2 * numUnspacedUnits > numUnits;
  return { count, starts, ends, hashes, numAlphabetic, numProper, numProperUnits, isUnspaced };
}

/** Of a word alone, as in the table. */
export function hashOf(word: string): number {
  let hash = FNV_OFFSET;
  for (let i = 0; i < word.length; i++) hash = Math.imul(hash ^ word.charCodeAt(i), FNV_PRIME);
  return hash;
}

function grown(array: Int32Array, capacity: number): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(capacity);
  larger.set(array);
  return larger;
}

/** Numbers of n-grams, one for each word that one begins at. */
export interface NgramIds {
  n: number;
  /** n-grams with the same number are equal; -1: it occurs once. */
  ids: Int32Array;
  /** Occurrences by number. */
  counts: Int32Array;
  /** How many n-grams there are: words - n + 1, at least 0. */
  length: number;
}

/** Hash table of what was seen, numbered as it came; grows with what is different, which in text is far less than what there is. */
class SeenTable {
  slots = new Int32Array(256).fill(-1);
  mask = 255;
  hashes = new Int32Array(128);
  /** Word at which number `id` was first seen. */
  firsts = new Int32Array(128);
  counts = new Int32Array(128);
  size = 0;

  add(slot: number, hash: number, first: number): number {
    const id = this.size++;
    this.slots[slot] = id;
    this.hashes[id] = hash;
    this.firsts[id] = first;
    if (this.size === this.hashes.length) this.grow();
    return id;
  }

  private grow(): void {
    const capacity = 2 * this.hashes.length;
    this.hashes = grown(this.hashes, capacity);
    this.firsts = grown(this.firsts, capacity);
    this.counts = grown(this.counts, capacity);
    this.slots = new Int32Array(2 * capacity).fill(-1);
    this.mask = 2 * capacity - 1;
    for (let id = 0; id < this.size; id++) {
      let slot = this.hashes[id]! & this.mask;
      while (this.slots[slot]! >= 0) slot = (slot + 1) & this.mask;
      this.slots[slot] = id;
    }
  }
}

/** Spreads what differs in few bits over all. */
function mix(a: number, b: number): number {
  let h = Math.imul(a, 0x9e3779b1) ^ Math.imul(b, 0x85ebca6b);
  h ^= h >>> 15;
  h = Math.imul(h, 0x2c1b3c6d);
  return h ^ (h >>> 13);
}

/** Numbers of the words themselves. */
export function numberWords(text: string, { count, starts, ends, hashes }: WordTable): NgramIds {
  const seen = new SeenTable();
  const ids = new Int32Array(count);
  for (let i = 0; i < count; i++) {
    const hash = mix(hashes[i]!, 0);
    let slot = hash & seen.mask;
    let id = seen.slots[slot]!;
    while (id >= 0) {
      const first = seen.firsts[id]!;
      if (seen.hashes[id] === hash && sameUnits(text, starts[first]!, ends[first]!, starts[i]!, ends[i]!)) break;
      slot = (slot + 1) & seen.mask;
      id = seen.slots[slot]!;
    }
    if (id < 0) id = seen.add(slot, hash, i);
    seen.counts[id]!++;
    ids[i] = id;
  }
  return forgetSingles({ n: 1, ids, counts: seen.counts, length: count });
}

function sameUnits(text: string, start: number, end: number, otherStart: number, otherEnd: number): boolean {
  if (end - start !== otherEnd - otherStart) return false;
  for (let i = start, j = otherStart; i < end; i++, j++) if (text.charCodeAt(i) !== text.charCodeAt(j)) return false;
  return true;
}

/**
 * n-grams from (n-1)-grams and words. Only where both parts repeat can the whole repeat, so what is left to look at shrinks quickly with n
 * in text that does not repeat itself.
 */
export function extendNgrams(shorter: NgramIds, words: NgramIds): NgramIds {
  const length = Math.max(0, shorter.length - 1);
  const seen = new SeenTable();
  const ids = new Int32Array(length);
  const last = shorter.n;
  for (let i = 0; i < length; i++) {
    const head = shorter.ids[i]!;
    const tail = words.ids[i + last]!;
    if (head < 0 || tail < 0) {
      ids[i] = -1;
      continue;
    }
    const hash = mix(head, tail);
    let slot = hash & seen.mask;
    let id = seen.slots[slot]!;
    while (id >= 0) {
      const first = seen.firsts[id]!;
      if (shorter.ids[first] === head && words.ids[first + last] === tail) break;
      slot = (slot + 1) & seen.mask;
      id = seen.slots[slot]!;
    }
    if (id < 0) id = seen.add(slot, hash, i);
    seen.counts[id]!++;
    ids[i] = id;
  }
  return forgetSingles({ n: shorter.n + 1, ids, counts: seen.counts, length });
}

function forgetSingles(ngrams: NgramIds): NgramIds {
  const { ids, counts, length } = ngrams;
  for (let i = 0; i < length; i++) if (ids[i]! >= 0 && counts[ids[i]!] === 1) ids[i] = -1;
  return ngrams;
}
