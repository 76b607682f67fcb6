// Spans of text that occur elsewhere word for word (Lee et al. 2022, arXiv 2107.06499, who find them with a suffix array of all text): every
// run of N tokens that occurred before, in the order of the parts, is cut, whatever surrounds it; what is left holds no run of N tokens twice
// (but where a cut joins two texts anew).
//
// A suffix array needs all text in memory, or merges on disk of many times its size. Here the runs ("windows") are compared by digests of
// 128 bits, sorted on disk, which gives the same spans. Only windows that may occur twice are digested: a window is first known by the least
// hash of its n-grams of half its length (winnowing, Schleimer et al. 2003), which depends on its text alone, so that equal windows have equal
// ones; of 25 n-grams about two are the least of a window. What occurs once there, occurs once.
//
// 1. FingerprintWriter, a part: the least hashes.   2. findFingerprints: those that occur twice.
// 3. WindowWriter, a part: the digests of windows.  4. findRepeatedSpans: all but the first of equal ones.   5. SpanCutter, a part.
import { ConfigError, DataError } from '../../base/errors.ts';
import { mixPair } from '../../kernels/index.ts';
import type { Edit } from '../curate/types.ts';
import { breathe, Cursor, eachRecord } from './passes.ts';
import { type RecordKind, RecordWriter, readRecords } from './record-file.ts';
import { RecordSorter } from './record-sorter.ts';
import { findRepeated, type RepeatedSummary, writeParts } from './repeated.ts';
import { TokenList } from './tokens.ts';

export interface SubstringOptions {
  /** Tokens of a span: words, or characters where scripts put no spaces. Lee et al. take 50 tokens of BPE, some 40 English words. */
  minTokens: number;
}

export const DEFAULT_SUBSTRINGS: SubstringOptions = { minTokens: 50 };

const fingerprintKind = (options: SubstringOptions): RecordKind => ({ kind: 'fingerpr', numWords: 3, options });
const candidateKind = (options: SubstringOptions): RecordKind => ({ kind: 'candidat', numWords: 3, options });
const windowKind = (options: SubstringOptions): RecordKind => ({ kind: 'windows', numWords: 6, options });
const spanKind = (options: SubstringOptions): RecordKind => ({ kind: 'spans', numWords: 3, options });

const DEFAULT_MEMORY_BYTES = 256 << 20;
const MIN_TOKENS = 4;

/** Odd, one a lane. */
const BASE_LOW = 0x2c1b3c6d;
const BASE_HIGH = 0x297a2d39;

function power(base: number, exponent: number): number {
  let result = 1;
  for (let i = 0; i < exponent; i++) result = Math.imul(result, base);
  return result;
}

/** The least n-gram hash of every window of a text. */
class Winnower {
  /** By n-gram, two words each. */
  hashes = new Uint32Array(1 << 12);
  /** By window: the n-gram that has its least hash; of equal ones the last. */
  least = new Uint32Array(1 << 11);
  readonly tokens = new TokenList();
  private readonly ngram: number;
  private readonly numNgrams: number;
  private readonly leavingLow: number;
  private readonly leavingHigh: number;

  constructor({ minTokens }: SubstringOptions) {
    if (!Number.isInteger(minTokens) || minTokens < MIN_TOKENS)
      throw new ConfigError(`minTokens: expected a whole number of at least ${MIN_TOKENS}, found ${minTokens}.`);
    this.ngram = minTokens >> 1;
    this.numNgrams = minTokens - this.ngram + 1;
    this.leavingLow = power(BASE_LOW, this.ngram);
    this.leavingHigh = power(BASE_HIGH, this.ngram);
  }

  /** Returns the number of windows. */
  read(text: string): number {
    const { tokens, ngram, numNgrams } = this;
    tokens.read(text);
    const count = tokens.length - ngram + 1;
    const numWindows = count - numNgrams + 1;
    if (numWindows <= 0) return 0;
    if (this.hashes.length < 2 * count) this.hashes = new Uint32Array(4 * count);
    if (this.least.length < numWindows) this.least = new Uint32Array(2 * numWindows);
    this.hashNgrams(count);
    const { hashes, least } = this;
    let best = -1;
    for (let last = numNgrams - 1; last < count; last++) {
      const first = last - numNgrams + 1;
      if (best < first) {
        best = first;
        for (let i = first + 1; i <= last; i++) if (isAtMost(hashes, i, best)) best = i;
      } else if (isAtMost(hashes, last, best)) best = last;
      least[first] = best;
    }
    return numWindows;
  }

  /** Rolling polynomials (Karp & Rabin 1987) modulo 2^32 in two lanes, mixed: good enough to choose by, since what is chosen is digested. */
  private hashNgrams(count: number): void {
    const { tokens, ngram, hashes, leavingLow, leavingHigh } = this;
    const words = tokens.hashes;
    let low = 0;
    let high = 0;
    for (let i = 0; i < count + ngram - 1; i++) {
      low = (Math.imul(low, BASE_LOW) + words[2 * i]) | 0;
      high = (Math.imul(high, BASE_HIGH) + words[2 * i + 1]) | 0;
      if (i >= ngram) {
        low = (low - Math.imul(leavingLow, words[2 * (i - ngram)])) | 0;
        high = (high - Math.imul(leavingHigh, words[2 * (i - ngram) + 1])) | 0;
      }
      const at = 2 * (i - ngram + 1);
      if (at < 0) continue;
      hashes[at] = low;
      hashes[at + 1] = high;
      mixPair(hashes, at);
    }
  }
}

function isAtMost(hashes: Uint32Array, a: number, b: number): boolean {
  const difference = hashes[2 * a + 1] - hashes[2 * b + 1];
  return difference < 0 || (difference === 0 && hashes[2 * a] <= hashes[2 * b]);
}

/** Step 1: the fingerprints of one part's documents. */
export class FingerprintWriter {
  private readonly writer: RecordWriter;
  private readonly winnower: Winnower;
  private numDocuments = 0;

  constructor(file: string, options: SubstringOptions = DEFAULT_SUBSTRINGS) {
    this.winnower = new Winnower(options);
    this.writer = new RecordWriter(file, fingerprintKind(options));
  }

  /** The next document. Its index is the number of documents before it. */
  add(text: string): void {
    const { winnower, writer } = this;
    const index = this.numDocuments++;
    const numWindows = winnower.read(text);
    const { hashes, least } = winnower;
    for (let window = 0; window < numWindows; window++) {
      if (window > 0 && least[window] === least[window - 1]) continue;
      writer.push(index, hashes[2 * least[window] + 1], hashes[2 * least[window]]);
    }
  }

  finish(): void {
    this.writer.finish();
  }

  discard(): void {
    this.writer.discard();
  }
}

/**
 * Step 2: writes the `candidates` of every part, the fingerprints that occur twice in what is not gone.
 * @throws as findDuplicates
 */
export function findFingerprints(options: {
  parts: readonly { fingerprints: string; duplicates?: string; candidates: string }[];
  options?: SubstringOptions;
  folder: string;
  memoryBytes?: number;
}): Promise<RepeatedSummary> {
  const substrings = options.options ?? DEFAULT_SUBSTRINGS;
  return findRepeated({
    ...options,
    parts: options.parts.map(({ fingerprints, candidates, ...part }) => ({
      ...part,
      hashes: fingerprints,
      repeated: candidates,
    })),
    from: fingerprintKind(substrings),
    to: candidateKind(substrings),
    maxCount: 1,
    keepsFirst: false,
  });
}

/** The 128 bits of tokens from..from+count, into `digest`. */
function digestWindow(digest: Uint32Array, tokens: TokenList, from: number, count: number): void {
  const { hashes } = tokens;
  let [a, b, c, d] = [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344];
  for (let i = 2 * from; i < 2 * (from + count); i += 2) {
    a = Math.imul(((a << 13) | (a >>> 19)) ^ hashes[i], 0xcc9e2d51);
    b = Math.imul(((b << 17) | (b >>> 15)) ^ hashes[i + 1], 0x1b873593);
    c = (Math.imul(((c << 15) | (c >>> 17)) ^ hashes[i + 1], 0x85ebca6b) + a) | 0;
    d = (Math.imul(((d << 19) | (d >>> 13)) ^ hashes[i], 0xc2b2ae35) + b) | 0;
  }
  digest[0] = a;
  digest[1] = b;
  digest[2] = c;
  digest[3] = d;
  mixPair(digest, 0);
  mixPair(digest, 2);
}

/** Step 3: the digests of the windows that may occur twice. */
export class WindowWriter {
  private readonly writer: RecordWriter;
  private readonly winnower: Winnower;
  private readonly candidates: Cursor;
  private readonly minTokens: number;
  private readonly digest = new Uint32Array(4);

  constructor(file: string, candidates: string, options: SubstringOptions = DEFAULT_SUBSTRINGS) {
    this.winnower = new Winnower(options);
    this.minTokens = options.minTokens;
    this.candidates = new Cursor(readRecords(candidates, candidateKind(options)), 3);
    this.writer = new RecordWriter(file, windowKind(options));
  }

  /** A document that is not gone, with the index that it had in step 1. Indices ascend. Its repeated lines may be out already. */
  add(index: number, text: string): void {
    const { candidates, winnower, digest } = this;
    const wanted = new Set<number>();
    for (; candidates.isAt(index); candidates.advance())
      wanted.add(candidates.second * 2 ** 21 + (candidates.words[candidates.at + 2] >>> 11));
    if (wanted.size === 0) return;
    const numWindows = winnower.read(text);
    for (let window = 0; window < numWindows; window++) {
      const least = winnower.least[window];
      if (!wanted.has(winnower.hashes[2 * least + 1] * 2 ** 21 + (winnower.hashes[2 * least] >>> 11))) continue;
      digestWindow(digest, winnower.tokens, window, this.minTokens);
      this.writer.push(index, window, digest[0], digest[1], digest[2], digest[3]);
    }
  }

  finish(): void {
    this.candidates.close();
    this.writer.finish();
  }

  discard(): void {
    this.candidates.close();
    this.writer.discard();
  }
}

export interface SpanSummary {
  /** Windows that were digested, and those of them that occur before. */
  numWindows: number;
  numRepeated: number;
}

/** Step 4: writes the `spans` of every part, the windows that occur before. @throws as findDuplicates */
export async function findRepeatedSpans({
  parts,
  options = DEFAULT_SUBSTRINGS,
  folder,
  memoryBytes = DEFAULT_MEMORY_BYTES,
}: {
  parts: readonly { windows: string; spans: string }[];
  options?: SubstringOptions;
  folder: string;
  memoryBytes?: number;
}): Promise<SpanSummary> {
  const space = { folder, memoryBytes: memoryBytes / 2 };
  const summary: SpanSummary = { numWindows: 0, numRepeated: 0 };
  const all = new RecordSorter(7, space);
  const repeated = new RecordSorter(4, space);
  try {
    for (const [part, { windows }] of parts.entries())
      for (const words of readRecords(windows, windowKind(options))) {
        for (let at = 0; at < words.length; at += 6) {
          const to = all.next();
          const target = all.words;
          for (let i = 0; i < 4; i++) target[to + i] = words[at + 2 + i];
          target[to + 4] = part;
          target[to + 5] = words[at];
          target[to + 6] = words[at + 1];
          summary.numWindows++;
        }
        await breathe();
      }
    const first = new Float64Array(4).fill(-1);
    await eachRecord(all, 7, (words, at) => {
      let isSame = true;
      for (let i = 0; i < 4; i++) {
        if (words[at + i] !== first[i]) isSame = false;
        first[i] = words[at + i];
      }
      if (!isSame) return;
      const to = repeated.next();
      const target = repeated.words;
      target[to] = words[at + 4];
      target[to + 1] = words[at + 5];
      target[to + 2] = words[at + 6];
      target[to + 3] = words[at];
      summary.numRepeated++;
    });
    all.close();
    await writeParts(
      repeated,
      4,
      parts.map(({ spans }) => spans),
      spanKind(options),
    );
    return summary;
  } finally {
    all.close();
    repeated.close();
  }
}

/** Step 5: takes the repeated spans out of a part's documents. */
export class SpanCutter {
  private readonly file: string;
  private readonly cursor: Cursor;
  private readonly minTokens: number;
  private readonly tokens = new TokenList();
  private readonly digest = new Uint32Array(4);

  constructor(file: string, options: SubstringOptions = DEFAULT_SUBSTRINGS) {
    this.file = file;
    this.minTokens = options.minTokens;
    this.cursor = new Cursor(readRecords(file, spanKind(options)), 3);
  }

  /**
   * The document, as WindowWriter saw it, without what occurs before; undefined where nothing does. Indices ascend.
   * @throws DataError where it is not the text that was digested
   */
  edit(index: number, text: string): Edit | undefined {
    const { cursor, tokens, digest, minTokens } = this;
    if (!cursor.isAt(index)) return undefined;
    tokens.read(text);
    let kept = '';
    /** Where the text goes on behind the last span, which began at lastStart; and the span under way, in tokens. */
    let [from, lastStart] = [0, 0];
    let [start, end] = [0, 0];
    let numSpans = 0;
    const keepUntil = (to: number) => {
      if (from >= to) return;
      const space =
        from === 0 || kept === ''
          ? ''
          : widerSpace(spaceBefore(text, tokens, lastStart), spaceBefore(text, tokens, from));
      kept +=
        space +
        text.slice(from === 0 ? 0 : tokens.starts[from], to === tokens.length ? text.length : tokens.ends[to - 1]);
    };
    const cut = () => {
      keepUntil(start);
      [from, lastStart] = [end, start];
      numSpans++;
    };
    for (; cursor.isAt(index); cursor.advance()) {
      const window = cursor.second;
      const isInside = window + minTokens <= tokens.length;
      if (isInside) digestWindow(digest, tokens, window, minTokens);
      if (!isInside || digest[0] !== cursor.words[cursor.at + 2])
        throw new DataError(this.file, `does not belong to the texts: document ${index} lacks a span that it lists.`);
      if (end === 0 || window > end) {
        if (end > 0) cut();
        start = window;
      }
      end = window + minTokens;
    }
    cut();
    keepUntil(tokens.length);
    return { text: kept, changes: { 'repeated spans': numSpans } };
  }

  /** After the last document. @throws DataError where the list has documents that were not there */
  finish(): void {
    if (this.cursor.close())
      throw new DataError(this.file, 'does not belong to the texts: it lists documents that are not among them.');
  }
}

const spaceBefore = (text: string, tokens: TokenList, token: number): string =>
  text.slice(tokens.ends[token - 1], tokens.starts[token]);

/** Of the white space on both sides of a cut the one with more line ends, so that paragraphs stay apart. */
function widerSpace(before: string, behind: string): string {
  return before.split('\n').length > behind.split('\n').length ? before : behind;
}
