// Which evaluation items a text holds. As GPT-3 did it (Brown et al. 2020, arXiv 2005.14165, appendix C): n-grams of 13 words, without case and
// punctuation; items of fewer words, down to 8, by all their words; n-grams that many items share say nothing. Beyond that an item counts as
// held only where a text has a share of its n-grams (as PaLM, Chowdhery et al. 2022, arXiv 2204.02311, section 8, and Llama 3, section 5.1.4, judge
// the other way round), so that one common phrase is no contamination, and a copy with changed words is. Accents and digits do not count
// either, but for items known by all their words, where the digits must agree: "what is 3 plus 4" is not "what is 5 plus 1".
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import * as os from 'node:os';
import { ConfigError, DataError } from '../../base/errors.ts';
import { explainSystemError, writeFileAtomic } from '../../base/files.ts';
import { FOLD_BEGINS, FOLD_DIGIT, FOLD_ENDS, FOLD_NOTHING, mixPair } from '../../kernels/index.ts';
import { foldingTable } from './folding.ts';
import { RecordSorter } from './record-sorter.ts';
import { HashedPlaces } from './tokens.ts';

export interface EvaluationSet {
  name: string;
  items: Iterable<string>;
}

export interface ContaminationOptions {
  /** Words of an n-gram. */
  ngram: number;
  /** Items of fewer words are not looked for. */
  minWords: number;
  /** An n-gram that more items than this share is left out, as prompts that a set repeats. */
  maxItems: number;
}

/** maxItems: GPT-3 left out n-grams with more than 10 occurrences. */
export const DEFAULT_CONTAMINATION: ContaminationOptions = { ngram: 13, minWords: 8, maxItems: 10 };

interface Item {
  set: number;
  /** In its set, from 0. */
  index: number;
  /** Different ones that are looked for. */
  numNgrams: number;
  /** Of an item that is known by all its words: these, with their digits. */
  words?: string;
}

interface Header {
  version: number;
  options: ContaminationOptions;
  sets: ContaminationSet[];
  items: Item[];
  numKeys: number;
  numPostings: number;
  digest: string;
}

export interface ContaminationSet {
  name: string;
  numItems: number;
  /** Of fewer words than minWords, or of nothing but what other items share: not looked for. */
  numSkipped: number;
}

const VERSION = 1;
/** Odd, one a lane. */
const BASE_LOW = 0x2c1b3c6d;
const BASE_HIGH = 0x297a2d39;
/** Of the index while it is made, in memory. */
const BUILD_BYTES = 1 << 30;

/** The index of evaluation sets. */
export function buildContamination(
  sets: readonly EvaluationSet[],
  options: ContaminationOptions = DEFAULT_CONTAMINATION,
): ContaminationIndex {
  const { ngram, minWords, maxItems } = options;
  if (!Number.isInteger(ngram) || ngram < 2 || !Number.isInteger(minWords) || minWords < 2 || minWords > ngram)
    throw new ConfigError(
      `decontamination: expected ngram of at least 2 words and minWords of 2 to ngram, found ${ngram} and ${minWords}.`,
    );
  const words = new FoldedWords();
  const items: Item[] = [];
  const sorter = new RecordSorter(3, { folder: os.tmpdir(), memoryBytes: BUILD_BYTES });
  const counted: ContaminationSet[] = [];
  for (const [set, { name, items: texts }] of sets.entries()) {
    const count = { name, numItems: 0, numSkipped: 0 };
    counted.push(count);
    for (const text of texts) {
      const index = count.numItems++;
      words.read(text);
      const length = Math.min(words.length, ngram);
      if (length < minWords) {
        count.numSkipped++;
        continue;
      }
      const item = items.length;
      new NgramHasher(length).scan(words, undefined, (_, high, low) => sorter.push3(high, low, item));
      const isShort = words.length < ngram;
      items.push({ set, index, numNgrams: 0, ...(isShort && { words: plainWords(text) }) });
    }
  }
  const highs: number[] = [];
  const lows: number[] = [];
  const starts: number[] = [0];
  const postings: number[] = [];
  let [high, low, from] = [-1, -1, 0];
  const endKey = () => {
    if (high < 0) return;
    // Of short items each is an item of its own: "maxItems" copies of one say nothing against it.
    const isCommon =
      postings.length - from > maxItems && postings.slice(from).every((item) => items[item].words === undefined);
    if (isCommon) {
      postings.length = from;
      return;
    }
    highs.push(high);
    lows.push(low);
    starts.push(postings.length);
    for (let i = from; i < postings.length; i++) items[postings[i]].numNgrams++;
  };
  for (const block of sorter.blocks())
    for (let at = 0; at < block.length; at += 3) {
      if (block[at] !== high || block[at + 1] !== low) {
        endKey();
        [high, low, from] = [block[at], block[at + 1], postings.length];
      }
      if (postings.length === from || postings.at(-1) !== block[at + 2]) postings.push(block[at + 2]);
    }
  endKey();
  sorter.close();
  for (const item of items) if (item.numNgrams === 0) counted[item.set].numSkipped++;
  return new ContaminationIndex(
    options,
    counted,
    items,
    Uint32Array.from(highs),
    Uint32Array.from(lows),
    Uint32Array.from(starts),
    Uint32Array.from(postings),
  );
}

/** @throws DataError for a damaged file or one of another version */
export function loadContamination(file: string): ContaminationIndex {
  let bytes: Buffer;
  try {
    bytes = fs.readFileSync(file);
  } catch (error) {
    throw explainSystemError(error, file, 'reading it');
  }
  const damaged = () =>
    new DataError(file, 'is damaged, or no index of evaluation sets. Remove it, and run the same command again.');
  const headerEnd = bytes.indexOf('\n');
  let header: Header;
  try {
    header = JSON.parse(bytes.toString('utf8', 0, headerEnd)) as Header;
  } catch {
    throw damaged();
  }
  if (header.version !== VERSION) throw damaged();
  const body = bytes.subarray(headerEnd + 1);
  if (createHash('sha256').update(body).digest('hex') !== header.digest) throw damaged();
  const words = new Uint32Array(Uint8Array.from(body).buffer);
  const { numKeys, numPostings } = header;
  if (words.length !== 3 * numKeys + 1 + numPostings) throw damaged();
  return new ContaminationIndex(
    header.options,
    header.sets,
    header.items,
    words.subarray(0, numKeys),
    words.subarray(numKeys, 2 * numKeys),
    words.subarray(2 * numKeys, 3 * numKeys + 1),
    words.subarray(3 * numKeys + 1),
  );
}

/** An item that a text holds. */
export interface ContaminationMatch {
  set: string;
  /** In its set, from 0. */
  item: number;
  /** Of its n-grams, 0 to 1. */
  share: number;
  /** Where its n-grams stand in the text, in code units, joined where they touch, in order. */
  spans: { start: number; end: number }[];
}

export class ContaminationIndex {
  readonly options: ContaminationOptions;
  readonly sets: readonly ContaminationSet[];
  private readonly items: readonly Item[];
  private readonly highs: Uint32Array;
  private readonly lows: Uint32Array;
  private readonly starts: Uint32Array;
  private readonly postings: Uint32Array;
  /** Open addressing: 1 + number of the key, 0 where there is none. */
  private readonly slots: Uint32Array;
  private readonly mask: number;
  /** A bit for the low bits of every key: most n-grams of a text are told to be none by this alone, which stays in the cache. */
  private readonly filter: Uint32Array;
  private readonly hashers: NgramHasher[];
  private readonly words = new FoldedWords();

  constructor(
    options: ContaminationOptions,
    sets: readonly ContaminationSet[],
    items: readonly Item[],
    highs: Uint32Array,
    lows: Uint32Array,
    starts: Uint32Array,
    postings: Uint32Array,
  ) {
    this.options = options;
    this.sets = sets;
    this.items = items;
    this.highs = highs;
    this.lows = lows;
    this.starts = starts;
    this.postings = postings;
    const numSlots = 2 ** Math.ceil(Math.log2(4 * (highs.length + 1)));
    this.slots = new Uint32Array(numSlots);
    this.mask = numSlots - 1;
    for (let key = 0; key < highs.length; key++) {
      let slot = lows[key] & this.mask;
      while (this.slots[slot] !== 0) slot = (slot + 1) & this.mask;
      this.slots[slot] = key + 1;
    }
    this.filter = new Uint32Array(Math.max(1, numSlots / 8));
    for (const low of lows) this.filter[filterWord(this.filter, low)] |= 1 << (low & 31);
    const lengths = new Set(items.map(({ words }) => words?.split(' ').length ?? options.ngram));
    this.hashers = [...lengths].sort((a, b) => a - b).map((length) => new NgramHasher(length));
  }

  /** Number of the key, or -1. */
  private find(high: number, low: number): number {
    for (let slot = low & this.mask; this.slots[slot] !== 0; slot = (slot + 1) & this.mask) {
      const key = this.slots[slot] - 1;
      if (this.lows[key] === low && this.highs[key] === high) return key;
    }
    return -1;
  }

  /** The items of which the text holds at least `minShare` of the n-grams, and at least one; best first, of equal ones the first. */
  match(text: string, minShare: number): ContaminationMatch[] {
    const { words } = this;
    words.read(text);
    const found = new Map<number, { keys: Set<number>; places: { first: number; last: number }[] }>();
    for (const hasher of this.hashers) {
      hasher.scan(words, this.filter, (last, high, low) => {
        const key = this.find(high, low);
        if (key < 0) return;
        const first = last - hasher.length + 1;
        for (let i = this.starts[key]; i < this.starts[key + 1]; i++) {
          const item = this.postings[i];
          const asWords = this.items[item].words;
          if (asWords !== undefined && plainWords(text.slice(words.starts[first], words.ends[last])) !== asWords)
            continue;
          const hits = found.get(item) ?? { keys: new Set(), places: [] };
          found.set(item, hits);
          hits.keys.add(key);
          hits.places.push({ first, last });
        }
      });
    }
    const matches: (ContaminationMatch & { number: number })[] = [];
    for (const [number, { keys, places }] of found) {
      const { set, index, numNgrams } = this.items[number];
      const share = keys.size / numNgrams;
      if (share < minShare) continue;
      const spans: ContaminationMatch['spans'] = [];
      let reached = -2;
      for (const { first, last } of places) {
        if (first <= reached + 1) spans.at(-1)!.end = words.ends[last];
        else spans.push({ start: words.starts[first], end: words.ends[last] });
        reached = last;
      }
      matches.push({ number, set: this.sets[set].name, item: index, share, spans });
    }
    matches.sort((a, b) => b.share - a.share || a.number - b.number);
    return matches.map(({ number: _, ...match }) => match);
  }

  /** For loadContamination, in workers. */
  write(file: string): void {
    const arrays = [this.highs, this.lows, this.starts, this.postings];
    const body = Buffer.concat(arrays.map((array) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength)));
    const header: Header = {
      version: VERSION,
      options: this.options,
      sets: [...this.sets],
      items: [...this.items],
      numKeys: this.highs.length,
      numPostings: this.postings.length,
      digest: createHash('sha256').update(body).digest('hex'),
    };
    writeFileAtomic(file, Buffer.concat([Buffer.from(`${JSON.stringify(header)}\n`), body]));
  }
}

/** The words of a text as MinHash sees them, with their places. */
class FoldedWords extends HashedPlaces {
  private readonly folding = foldingTable();

  read(text: string): void {
    const { folding } = this;
    this.length = 0;
    let [start, end, low, high] = [-1, 0, 0, 0];
    let inDigits = false;
    for (let i = 0; i < text.length; i++) {
      const folded = folding[text.charCodeAt(i)];
      if (folded & FOLD_NOTHING) continue;
      if (start >= 0 && (folded === 0 || folded & FOLD_BEGINS)) {
        this.push(start, end, low, high);
        start = -1;
      }
      if (folded === 0) continue;
      if (start < 0) {
        [start, low, high] = [i, 0x811c9dc5, 0x9e3779b9];
        inDigits = false;
      }
      const isDigit = (folded & FOLD_DIGIT) !== 0;
      if (!(isDigit && inDigits)) {
        low = Math.imul(low ^ (folded & 0xffff), 0x01000193);
        high = Math.imul(((high << 5) | (high >>> 27)) ^ (folded & 0xffff), 0x85ebca6b);
      }
      inDigits = isDigit;
      end = i + 1;
      if (folded & FOLD_ENDS) {
        this.push(start, end, low, high);
        start = -1;
      }
    }
    if (start >= 0) this.push(start, end, low, high);
  }
}

/** Words as they are folded, but with their digits, one space between. */
function plainWords(text: string): string {
  const folding = foldingTable();
  let result = '';
  let isPending = false;
  for (let i = 0; i < text.length; i++) {
    const folded = folding[text.charCodeAt(i)];
    if (folded & FOLD_NOTHING) continue;
    if (folded === 0 || folded & FOLD_BEGINS) isPending = result !== '';
    if (folded === 0) continue;
    if (isPending) result += ' ';
    isPending = (folded & FOLD_ENDS) !== 0;
    result += folded & FOLD_DIGIT ? text[i] : String.fromCharCode(folded & 0xffff);
  }
  return result;
}

const filterWord = (filter: Uint32Array, low: number): number => (low >>> 5) & (filter.length - 1);

/** Rolling hashes of n-grams: polynomials modulo 2^32 in two lanes (Karp & Rabin 1987), mixed with the length. */
class NgramHasher {
  readonly length: number;
  private readonly leavingLow: number;
  private readonly leavingHigh: number;

  constructor(length: number) {
    this.length = length;
    let [low, high] = [1, 1];
    for (let i = 0; i < length; i++) [low, high] = [Math.imul(low, BASE_LOW), Math.imul(high, BASE_HIGH)];
    this.leavingLow = low;
    this.leavingHigh = high;
  }

  /** Calls `visit` with the last word of every n-gram and its hash, of those that the filter lets through where there is one. */
  scan(
    words: FoldedWords,
    filter: Uint32Array | undefined,
    visit: (last: number, high: number, low: number) => void,
  ): void {
    const { length, leavingLow, leavingHigh } = this;
    const { hashes } = words;
    const pair = new Uint32Array(2);
    let low = 0;
    let high = 0;
    for (let last = 0; last < words.length; last++) {
      low = (Math.imul(low, BASE_LOW) + hashes[2 * last]) | 0;
      high = (Math.imul(high, BASE_HIGH) + hashes[2 * last + 1]) | 0;
      if (last < length - 1) continue;
      if (last >= length) {
        low = (low - Math.imul(leavingLow, hashes[2 * (last - length)])) | 0;
        high = (high - Math.imul(leavingHigh, hashes[2 * (last - length) + 1])) | 0;
      }
      pair[0] = low;
      pair[1] = high ^ length;
      mixPair(pair, 0);
      if (filter && ((filter[filterWord(filter, pair[0])] >>> (pair[0] & 31)) & 1) === 0) continue;
      visit(last, pair[1], pair[0]);
    }
  }
}
