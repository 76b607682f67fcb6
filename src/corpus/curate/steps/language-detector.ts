// eld's detection over its own tables, with its results to the last digit and a fraction of its time: n-grams are numbers in one flat table
// instead of names of objects. Where the package's inner files are not those that are known here, eld itself answers.
import * as fs from 'node:fs';
import { createRequire } from 'node:module';
import * as path from 'node:path';
import { pathToFileURL } from 'node:url';

export interface Detected {
  /** Empty where nothing was found. */
  language: string;
  /** Languages with their scores from 0 to 1, best first. */
  scores: (readonly [string, number])[];
}

export type DetectLanguage = (text: string) => Detected;

interface Eld {
  detect(text: string): { language: string; getScores(): Record<string, number> };
}

interface Tables {
  languages: Record<string, string>;
  ngrams: Record<string, Record<string, number>>;
  /** What stands for a byte in n-grams. */
  dictionary: readonly string[];
  separators: RegExp;
}

// What eld is made of (its languageDetector.js and LanguageResult.js, version 2.1): how far it reads, and how it scores.
const MAX_CHARS = 1000;
const SOFT_BYTES = 350;
const HARD_BYTES = 380;
const MAX_WORD = 70;
const BASE_SCORE = 53;
const SCALE = 25;

const SPACE = 0x20;
const MAX_UNITS = 6;
/** Texts on which the tables here must agree with the package, or it is another version. */
const PROBES = [
  'The quick brown fox jumps over the lazy dog, and nobody knows why it should have done so.',
  'Das Wetter ist heute schön; Straßen und Plätze füllen sich früh.',
  'Быстрая лисица перепрыгнула через ленивую собаку.',
  '吾輩は猫である。名前はまだ無い。',
  "12345 C'est l'été à Orléans",
];

/** @returns what detects; the smallest of eld's tables: on 350 bytes as sure as the largest, which takes 300 MB more in each worker */
export async function loadDetector(): Promise<DetectLanguage> {
  const { eld } = (await import('eld/extrasmall')) as { eld: Eld };
  const own = (text: string): Detected => {
    const found = eld.detect(text);
    return { language: found.language, scores: Object.entries(found.getScores()) };
  };
  const tables = await loadTables();
  if (!tables) return own;
  const fast = makeDetector(tables);
  const isSame = PROBES.every((text) => JSON.stringify(sorted(fast(text))) === JSON.stringify(sorted(own(text))));
  return isSame ? fast : own;
}

const sorted = ({ language, scores }: Detected) => [language, scores.toSorted((a, b) => b[1] - a[1])];

async function loadTables(): Promise<Tables | undefined> {
  const places = createRequire(import.meta.url).resolve.paths('eld') ?? [];
  const folder = places.map((place) => path.join(place, 'eld/src')).find((place) => fs.existsSync(place));
  if (!folder) return undefined;
  const load = (name: string) => import(pathToFileURL(path.join(folder, name)).href);
  try {
    const [{ ngramsData }, { dictionary }, { separators }] = await Promise.all(
      ['ngrams/extrasmall.js', 'dictionary.js', 'regexPatterns.js'].map(load),
    );
    return { languages: ngramsData.languages, ngrams: ngramsData.ngrams, dictionary, separators };
  } catch {
    return undefined;
  }
}

/** n-grams of at most six units below 256, as two words each, with what each language gets for them. */
class NgramTable {
  readonly firsts: Uint32Array;
  readonly languages: Uint8Array;
  readonly scores: Int32Array;
  private readonly low: Int32Array;
  private readonly high: Int32Array;
  private readonly slots: Int32Array;
  private readonly mask: number;

  constructor(ngrams: Tables['ngrams']) {
    const entries = Object.entries(ngrams).filter(([ngram]) => ngram.length <= MAX_UNITS);
    let numScores = 0;
    for (const [, scores] of entries) numScores += Object.keys(scores).length;
    this.mask = 2 ** Math.ceil(Math.log2(2 * entries.length + 2)) - 1;
    this.slots = new Int32Array(this.mask + 1).fill(-1);
    this.low = new Int32Array(entries.length);
    this.high = new Int32Array(entries.length);
    this.firsts = new Uint32Array(entries.length + 1);
    this.languages = new Uint8Array(numScores);
    this.scores = new Int32Array(numScores);
    let at = 0;
    for (const [i, [ngram, scores]] of entries.entries()) {
      const units = Uint8Array.from(ngram, (unit) => unit.charCodeAt(0));
      const [low, high] = [lowOf(units, 0, ngram.length), highOf(units, 0, ngram.length)];
      [this.low[i], this.high[i]] = [low, high];
      let slot = hashOf(low, high) & this.mask;
      while (this.slots[slot]! >= 0) slot = (slot + 1) & this.mask;
      this.slots[slot] = i;
      for (const [language, score] of Object.entries(scores)) {
        this.languages[at] = Number(language);
        this.scores[at++] = score + BASE_SCORE;
      }
      this.firsts[i + 1] = at;
    }
  }

  /** -1 where it is not there. */
  find(low: number, high: number): number {
    for (let slot = hashOf(low, high) & this.mask; ; slot = (slot + 1) & this.mask) {
      const entry = this.slots[slot]!;
      if (entry < 0 || (this.low[entry] === low && this.high[entry] === high)) return entry;
    }
  }
}

function lowOf(units: Uint8Array, from: number, length: number): number {
  let low = 0;
  for (let k = Math.min(4, length) - 1; k >= 0; k--) low = (low << 8) | units[from + k]!;
  return low;
}

function highOf(units: Uint8Array, from: number, length: number): number {
  let high = length;
  for (let k = 4; k < length; k++) high = (high << 8) | units[from + k]!;
  return high;
}

function hashOf(low: number, high: number): number {
  const hash = Math.imul(low ^ Math.imul(high, 0x85ebca6b), 0x9e3779b1);
  return hash ^ (hash >>> 15);
}

/** More than the n-grams of 380 bytes, twice over. */
const SEEN_SLOTS = 1024;

export function makeDetector({ languages, ngrams, dictionary, separators }: Tables): DetectLanguage {
  const table = new NgramTable(ngrams);
  const names = Object.keys(languages).map((number) => languages[number]!);
  const ofByte = Uint8Array.from(dictionary, (unit) => unit.charCodeAt(0));
  /** Words with a space before and behind each. */
  const units = new Uint8Array(2 * MAX_CHARS * 4);
  const totals = new Int32Array(names.length);
  const seenLow = new Int32Array(SEEN_SLOTS);
  const seenHigh = new Int32Array(SEEN_SLOTS);
  const seenIn = new Uint32Array(SEEN_SLOTS);
  let turn = 0;
  let numNgrams = 0;

  /** Counts an n-gram once a text. */
  function add(from: number, length: number): void {
    const [low, high] = [lowOf(units, from, length), highOf(units, from, length)];
    let slot = hashOf(low, high) & (SEEN_SLOTS - 1);
    for (; seenIn[slot] === turn; slot = (slot + 1) & (SEEN_SLOTS - 1))
      if (seenLow[slot] === low && seenHigh[slot] === high) return;
    seenIn[slot] = turn;
    seenLow[slot] = low;
    seenHigh[slot] = high;
    numNgrams++;
    const entry = table.find(low, high);
    if (entry < 0) return;
    for (let k = table.firsts[entry]!; k < table.firsts[entry + 1]!; k++)
      totals[table.languages[k]!]! += table.scores[k]!;
  }

  /** @param from of its first unit; a space stands before and behind it */
  function addWord(from: number, length: number, tails: Set<string>): void {
    const end = Math.min(length, MAX_WORD);
    let j = 0;
    for (; j + 4 < end; j += 3) {
      if (j === 0) add(from - 1, 5);
      else add(from + j, 4);
    }
    const tail = length <= MAX_WORD ? length - 4 : MAX_WORD - 4;
    if (j === 0) add(from - 1, length + 2);
    else if (length + 1 - tail <= MAX_UNITS) add(from + tail, length + 1 - tail);
    else tails.add(Buffer.from(units.subarray(from + tail, from + length)).toString('latin1'));
  }

  return (text) => {
    const clean = text.slice(0, MAX_CHARS).replace(separators, ' ').trim().toLowerCase();
    turn++;
    numNgrams = 0;
    totals.fill(0);
    /** Ends of very long words, which no table holds but which count as n-grams. */
    const tails = new Set<string>();
    units[0] = SPACE;
    let [at, start, numBytes] = [1, 1, 0];
    const endWord = (): void => {
      units[at] = SPACE;
      if (at > start) addWord(start, at - start, tails);
      start = at = 1;
    };
    for (let i = 0; i < clean.length; i++) {
      let code = clean.charCodeAt(i);
      if (code === SPACE) {
        endWord();
        if (numBytes++ > SOFT_BYTES) break;
      } else if (code < 0x80) {
        units[at++] = code;
        numBytes++;
      } else if (code < 0x800) {
        units[at++] = ofByte[0xc0 | (code >> 6)]!;
        units[at++] = ofByte[0x80 | (code & 0x3f)]!;
        numBytes += 2;
      } else if (code < 0xd800 || code >= 0xe000) {
        units[at++] = ofByte[0xe0 | (code >> 12)]!;
        units[at++] = ofByte[0x80 | ((code >> 6) & 0x3f)]!;
        units[at++] = ofByte[0x80 | (code & 0x3f)]!;
        numBytes += 3;
      } else {
        code = 0x10000 + (((code & 0x3ff) << 10) | (clean.charCodeAt(++i) & 0x3ff));
        units[at++] = ofByte[0xf0 | (code >> 18)]!;
        units[at++] = ofByte[0x80 | ((code >> 12) & 0x3f)]!;
        units[at++] = ofByte[0x80 | ((code >> 6) & 0x3f)]!;
        units[at++] = ofByte[0x80 | (code & 0x3f)]!;
        numBytes += 4;
      }
      if (numBytes > HARD_BYTES) break;
    }
    endWord();
    const count = numNgrams + tails.size;
    const scores: (readonly [string, number])[] = [];
    for (let language = 0; language < totals.length; language++)
      if (totals[language]! > 0) {
        const mean = totals[language]! / count;
        scores.push([names[language]!, mean / (mean + SCALE)]);
      }
    // Of equal ones the first stays first: as there, where the best is looked for among raw sums.
    scores.sort((a, b) => b[1] - a[1]);
    return { language: scores[0]?.[0] ?? '', scores };
  };
}
