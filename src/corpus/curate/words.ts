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

/** The UTF-16 units of a text: reading them from an array takes a fraction of the time of reading them from a string. */
export function unitsOf(text: string): Uint16Array {
  const bytes = Buffer.from(text, 'utf16le');
  return new Uint16Array(bytes.buffer, bytes.byteOffset, text.length);
}

/** What stands between white space. @param units of the text */
export function findWords(text: string, units: Uint16Array): WordTable {
  const { length } = units;
  let capacity = Math.ceil(length / AVERAGE_WORD_UNITS) + 16;
  let starts = new Int32Array(capacity);
  let ends = new Int32Array(capacity);
  let hashes = new Int32Array(capacity);
  let count = 0;
  let [numAlphabetic, numProper, numProperUnits, numUnits, numUnspacedUnits] = [0, 0, 0, 0, 0];
  for (let i = 0; i < length; ) {
    let unit = units[i]!;
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
      unit = units[i]!;
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

/** The n-grams of a text that occur more than once. */
export interface RepeatedNgrams {
  n: number;
  /** Words that they begin at, ascending. */
  positions: Int32Array;
  /** Beside each position the number of the n-gram: equal ones have the same, in the order in which they first occur. */
  ids: Int32Array;
  /** Occurrences by number. */
  counts: Int32Array;
}

const MAX_FIRST_CAPACITY = 4096;
/** A larger table is not kept for the next text. */
const MAX_KEPT_CAPACITY = 1 << 20;

/** Hash table of what was seen, numbered as it came; grows with what is different, which in long texts is far less than what there is. */
class SeenTable {
  slots = new Int32Array(2 * MAX_FIRST_CAPACITY);
  mask = 0;
  hashes = new Int32Array(MAX_FIRST_CAPACITY);
  /** Where number `id` was first seen. */
  firsts = new Int32Array(MAX_FIRST_CAPACITY);
  counts = new Int32Array(MAX_FIRST_CAPACITY);
  size = 0;
  private capacity = 0;

  reset(mostEntries: number): void {
    this.capacity = 16;
    while (this.capacity <= mostEntries && this.capacity < MAX_FIRST_CAPACITY) this.capacity *= 2;
    this.mask = 2 * this.capacity - 1;
    this.slots.fill(-1, 0, this.mask + 1);
    this.size = 0;
  }

  add(slot: number, hash: number, first: number): number {
    const id = this.size++;
    this.slots[slot] = id;
    this.hashes[id] = hash;
    this.firsts[id] = first;
    this.counts[id] = 0;
    if (this.size === this.capacity) this.grow();
    return id;
  }

  private grow(): void {
    this.capacity *= 2;
    if (this.hashes.length < this.capacity) {
      this.hashes = grown(this.hashes, this.capacity);
      this.firsts = grown(this.firsts, this.capacity);
      this.counts = grown(this.counts, this.capacity);
      this.slots = new Int32Array(2 * this.capacity);
    }
    this.mask = 2 * this.capacity - 1;
    this.slots.fill(-1, 0, this.mask + 1);
    for (let id = 0; id < this.size; id++) {
      let slot = this.hashes[id]! & this.mask;
      while (this.slots[slot]! >= 0) slot = (slot + 1) & this.mask;
      this.slots[slot] = id;
    }
  }
}

let kept = new SeenTable();

/** The one table of this thread, empty: to make one for each length of n-gram would cost as much as to fill it. */
function emptyTable(mostEntries: number): SeenTable {
  if (kept.hashes.length > MAX_KEPT_CAPACITY) kept = new SeenTable();
  kept.reset(mostEntries);
  return kept;
}

/** Spreads what differs in few bits over all. */
function mix(a: number, b: number): number {
  let h = Math.imul(a, 0x9e3779b1) ^ Math.imul(b, 0x85ebca6b);
  h ^= h >>> 15;
  h = Math.imul(h, 0x2c1b3c6d);
  return h ^ (h >>> 13);
}

/** A number for each word; equal words have the same. */
export function numberWords(units: Uint16Array, { count, starts, ends, hashes }: WordTable): Int32Array {
  const seen = emptyTable(count);
  const ids = new Int32Array(count);
  for (let i = 0; i < count; i++) {
    const hash = mix(hashes[i]!, 0);
    let slot = hash & seen.mask;
    let id = seen.slots[slot]!;
    while (id >= 0) {
      const first = seen.firsts[id]!;
      if (seen.hashes[id] === hash && sameUnits(units, starts[first]!, ends[first]!, starts[i]!, ends[i]!)) break;
      slot = (slot + 1) & seen.mask;
      id = seen.slots[slot]!;
    }
    if (id < 0) id = seen.add(slot, hash, i);
    seen.counts[id]!++;
    ids[i] = id;
  }
  return ids;
}

function sameUnits(units: Uint16Array, start: number, end: number, otherStart: number, otherEnd: number): boolean {
  if (end - start !== otherEnd - otherStart) return false;
  for (let i = start, j = otherStart; i < end; i++, j++) if (units[i] !== units[j]) return false;
  return true;
}

/** Those of one word. @param words of numberWords */
export function repeatedWords(words: Int32Array): RepeatedNgrams {
  const counts = new Int32Array(words.length);
  for (let i = 0; i < words.length; i++) counts[words[i]!]!++;
  // Numbers of words are their own order already: only those that are left are counted anew.
  const renumbered = new Int32Array(words.length);
  const positions = new Int32Array(words.length);
  const ids = new Int32Array(words.length);
  let [numIds, length] = [0, 0];
  for (let i = 0; i < words.length; i++) {
    const id = words[i]!;
    if (counts[id]! < 2) continue;
    if (renumbered[id] === 0) {
      renumbered[id] = ++numIds;
      // Behind what is still to be read: a new number is never larger than the old one.
      counts[numIds - 1] = counts[id]!;
    }
    positions[length] = i;
    ids[length++] = renumbered[id]! - 1;
  }
  return {
    n: 1,
    positions: positions.subarray(0, length),
    ids: ids.subarray(0, length),
    counts: counts.slice(0, numIds),
  };
}

/**
 * Those of n + 1 words, from those of n. Only where n words repeat can n + 1 repeat, so what is left to look at shrinks quickly in text that
 * does not repeat itself.
 */
export function extendNgrams({ n, positions, ids }: RepeatedNgrams, words: Int32Array): RepeatedNgrams {
  const seen = emptyTable(positions.length);
  const longer = new Int32Array(positions.length);
  for (let i = 0; i < positions.length; i++) {
    // What repeats at n + 1 words repeats at n from its second word on, too.
    if (positions[i + 1] !== positions[i]! + 1) {
      longer[i] = -1;
      continue;
    }
    const head = ids[i]!;
    const tail = words[positions[i]! + n]!;
    const hash = mix(head, tail);
    let slot = hash & seen.mask;
    let id = seen.slots[slot]!;
    while (id >= 0) {
      const first = seen.firsts[id]!;
      if (ids[first] === head && words[positions[first]! + n] === tail) break;
      slot = (slot + 1) & seen.mask;
      id = seen.slots[slot]!;
    }
    if (id < 0) id = seen.add(slot, hash, i);
    seen.counts[id]!++;
    longer[i] = id;
  }
  return onlyRepeated(n + 1, positions, longer, seen.counts, seen.size);
}

/** Takes out what occurs once, and numbers the rest anew. */
function onlyRepeated(
  n: number,
  given: Int32Array,
  ids: Int32Array,
  counts: Int32Array,
  numGiven: number,
): RepeatedNgrams {
  const positions = new Int32Array(given.length);
  const renumbered = new Int32Array(numGiven);
  let [numIds, length] = [0, 0];
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i]!;
    if (id < 0 || counts[id]! < 2) continue;
    if (renumbered[id] === 0) renumbered[id] = ++numIds;
    positions[length] = given[i]!;
    ids[length++] = renumbered[id]! - 1;
  }
  const repeatedCounts = new Int32Array(numIds);
  for (let i = 0; i < length; i++) repeatedCounts[ids[i]!]!++;
  return { n, positions: positions.subarray(0, length), ids: ids.subarray(0, length), counts: repeatedCounts };
}
