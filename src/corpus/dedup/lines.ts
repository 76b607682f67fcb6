// Lines and paragraphs that stand in many documents: menus, notices, signatures. As in CCNet (Wenzek et al. 2020, arXiv 1911.00359)
// a unit is hashed in lower case, with digits as 0, without punctuation and accents; one that stands in more than a number of documents is
// taken out of all of them but the first. Every count is exact: hashes are sorted on disk. Code and tables, where lines repeat for good
// reason, are left alone: fenced and indented blocks, rows with bars or tabs.
import { DataError } from '../../base/errors.ts';
import { FOLD_DIGIT, FOLD_NOTHING, mixPair } from '../../kernels/index.ts';
import type { Edit } from '../curate/types.ts';
import { foldingTable } from './folding.ts';
import { Cursor } from './passes.ts';
import { type RecordKind, RecordWriter, readRecords } from './record-file.ts';
import { findRepeated, type RepeatedSummary } from './repeated.ts';

export interface LineOptions {
  /** A paragraph is what stands between empty lines. */
  unit: 'line' | 'paragraph';
  /** Shorter units, counted as they are hashed, are left alone. */
  minChars: number;
  /** A unit that stands in more documents than this is taken out. */
  maxDocuments: number;
}

/** More than 6 documents as in Llama 3 (Grattafiori et al. 2024, arXiv 2407.21783, section 3.1.1); 30 characters are an assumption. */
export const DEFAULT_LINES: LineOptions = { unit: 'line', minChars: 30, maxDocuments: 6 };

const kindOf = ({ unit, minChars }: LineOptions): RecordKind => ({
  kind: 'lines',
  numWords: 3,
  options: { unit, minChars },
});
const repeatedKindOf = (options: LineOptions): RecordKind => ({ kind: 'replines', numWords: 3, options });

interface Span {
  start: number;
  /** Behind the line end. */
  end: number;
}

/** A fence of ``` or ~~~; more tildes underline headings. */
const FENCE = /^ {0,3}(`{3,}(?![^\n]*`)|~~~(?!~))/;
const ROW = /^\s*\||\|.*\||\t.*\t/;
const INDENTED = /^(?: {4}|\t)/;
const EMPTY = /^\s*$/;

/** The lines or paragraphs of a text that may be taken out. */
export function* findUnits(text: string, unit: LineOptions['unit']): Generator<Span> {
  let fence = '';
  let isBehindEmpty = true;
  let paragraph: (Span & { isProse: boolean }) | undefined;
  for (let start = 0; start < text.length; ) {
    const newline = text.indexOf('\n', start);
    const end = newline < 0 ? text.length : newline + 1;
    const line = text.slice(start, end);
    const isEmpty = EMPTY.test(line);
    const mark = FENCE.exec(line)?.[1];
    const isFenced = fence !== '' || mark !== undefined;
    if (fence === '') fence = mark ?? '';
    else if (mark?.startsWith(fence) && line.trim() === mark) fence = '';
    const isProse = !isFenced && !ROW.test(line) && !INDENTED.test(line);
    if (unit === 'line') {
      if (isProse && !isEmpty) yield { start, end };
    } else if (isEmpty && !isFenced) {
      // Empty lines go with the paragraph before them.
      if (paragraph) paragraph.end = end;
      isBehindEmpty = true;
    } else {
      if (paragraph && !isBehindEmpty) {
        paragraph.end = end;
        paragraph.isProse &&= isProse;
      } else {
        if (paragraph?.isProse) yield paragraph;
        paragraph = { start, end, isProse };
      }
      isBehindEmpty = false;
    }
    start = end;
  }
  if (paragraph?.isProse) yield paragraph;
}

/** Hashes units as CCNet does, 64 bits into `pair`. */
class UnitHasher {
  readonly pair = new Uint32Array(2);
  private readonly folding = foldingTable();

  /** Returns the number of characters that count, with one for each space between words. */
  read(text: string, { start, end }: Span): number {
    const { folding, pair } = this;
    let low = 0x811c9dc5;
    let high = 0x9e3779b9;
    let length = 0;
    let isBehindSpace = false;
    let inDigits = false;
    for (let i = start; i < end; i++) {
      const folded = folding[text.charCodeAt(i)];
      if (folded & FOLD_NOTHING) continue;
      if (folded === 0) {
        isBehindSpace = length > 0;
        inDigits = false;
        continue;
      }
      const isDigit = (folded & FOLD_DIGIT) !== 0;
      if (isDigit && inDigits) continue;
      inDigits = isDigit;
      if (isBehindSpace) {
        low = Math.imul(low ^ 0x20, 0x01000193);
        high = Math.imul(((high << 5) | (high >>> 27)) ^ 0x20, 0x85ebca6b);
        length++;
        isBehindSpace = false;
      }
      const unit = folded & 0xffff;
      low = Math.imul(low ^ unit, 0x01000193);
      high = Math.imul(((high << 5) | (high >>> 27)) ^ unit, 0x85ebca6b);
      length++;
    }
    pair[0] = low;
    pair[1] = high;
    mixPair(pair, 0);
    return length;
  }

  /** 53 bits of the last hash. */
  get key(): number {
    return this.pair[1] * 2 ** 21 + (this.pair[0] >>> 11);
  }
}

/** Writes the hashes of one part's lines or paragraphs, in the order of its documents. */
export class LineWriter {
  private readonly writer: RecordWriter;
  private readonly hasher = new UnitHasher();
  private readonly options: LineOptions;
  private numDocuments = 0;

  constructor(file: string, options: LineOptions = DEFAULT_LINES) {
    this.options = options;
    this.writer = new RecordWriter(file, kindOf(options));
  }

  /** The next document. Its index is the number of documents before it. */
  add(text: string): void {
    const { hasher } = this;
    const index = this.numDocuments++;
    const seen = new Set<number>();
    for (const span of findUnits(text, this.options.unit)) {
      if (hasher.read(text, span) < this.options.minChars) continue;
      if (seen.has(hasher.key)) continue;
      seen.add(hasher.key);
      this.writer.push(index, hasher.pair[1], hasher.pair[0]);
    }
  }

  finish(): void {
    this.writer.finish();
  }

  discard(): void {
    this.writer.discard();
  }
}

export interface LinePartFiles {
  /** What a LineWriter wrote. */
  lines: string;
  /** What findDuplicates wrote: the documents that are gone, whose lines do not count. */
  duplicates?: string;
  /** To be written: what is to be taken out of which document. */
  repeated: string;
}

/**
 * Writes the `repeated` file of every part, for LineCutter. The first document, in the order of the parts, keeps its lines.
 * @throws as findDuplicates
 */
export function findRepeatedLines(options: {
  parts: readonly LinePartFiles[];
  options?: LineOptions;
  folder: string;
  memoryBytes?: number;
}): Promise<RepeatedSummary> {
  const lines = options.options ?? DEFAULT_LINES;
  return findRepeated({
    ...options,
    parts: options.parts.map(({ lines, ...part }) => ({ hashes: lines, ...part })),
    from: kindOf(lines),
    to: repeatedKindOf(lines),
    maxCount: lines.maxDocuments,
    keepsFirst: true,
  });
}

/** Takes repeated lines out of a part's documents. */
export class LineCutter {
  private readonly file: string;
  private readonly options: LineOptions;
  private readonly cursor: Cursor;
  private readonly hasher = new UnitHasher();

  constructor(file: string, options: LineOptions = DEFAULT_LINES) {
    this.file = file;
    this.options = options;
    this.cursor = new Cursor(readRecords(file, repeatedKindOf(options)), 3);
  }

  /**
   * The document without its repeated lines; undefined where it has none. Indices ascend.
   * @throws DataError where this is not the text that was hashed
   */
  edit(index: number, text: string): Edit | undefined {
    const { cursor, hasher } = this;
    const wanted = new Map<number, boolean>();
    for (; cursor.isAt(index); cursor.advance())
      wanted.set(cursor.second * 2 ** 21 + (cursor.words[cursor.at + 2] >>> 11), false);
    if (wanted.size === 0) return undefined;
    let kept = '';
    let from = 0;
    let numCut = 0;
    for (const { start, end } of findUnits(text, this.options.unit)) {
      if (hasher.read(text, { start, end }) < this.options.minChars || !wanted.has(hasher.key)) continue;
      wanted.set(hasher.key, true);
      kept += text.slice(from, start);
      from = end;
      numCut++;
    }
    if ([...wanted.values()].includes(false))
      throw new DataError(this.file, `does not belong to the texts: document ${index} lacks a line that it lists.`);
    return { text: kept + text.slice(from), changes: { [`repeated ${this.options.unit}s`]: numCut } };
  }

  /** After the last document. @throws DataError where the list has documents that were not there */
  finish(): void {
    if (this.cursor.close())
      throw new DataError(this.file, 'does not belong to the texts: it lists documents that are not among them.');
  }
}
