// .csv and .tsv, plain or compressed: the first row names the columns, every other row is a record. Quoting as in RFC 4180. Rows are split
// by csv-parse; fields come out of it as Latin-1, so that each is checked for UTF-8 by itself and a bad row costs no other.
import { isUtf8 } from 'node:buffer';
import { type CsvError, type Parser, parse } from 'csv-parse';
import { ConfigError, nearestName } from '../../base/errors.ts';
import { formatBytes } from '../../base/units.ts';
import { DamagedInput, readUtf8 } from '../bytes.ts';
import { METADATA_FIELDS, metadataOf, parseField, type TextField, textOfRecord } from '../fields.ts';
import { normalizeText, notUtf8 } from '../text.ts';
import type { BadRecord, InputFile, ReaderItem, ReaderOptions } from '../types.ts';

/** What is parsed at a time: its rows are in memory together. */
const STEP_BYTES = 64 << 10;
/**
 * A longer row is taken for an opening quote without its end: what follows is looked at again from the next line on. Also bounds the
 * number of fields that a row can have in memory.
 */
const MAX_ROW_BYTES = 16 << 20;

interface Row {
  record: string[];
  lastLine: number;
}

export async function* readCsvFile(file: InputFile, options: ReaderOptions): AsyncGenerator<ReaderItem> {
  const reader = new CsvReader(file, options);
  try {
    for await (const piece of readUtf8(file, options.onBytes))
      for (let at = 0; at < piece.length; at += STEP_BYTES) yield* reader.push(piece.subarray(at, at + STEP_BYTES));
  } catch (error) {
    if (!(error instanceof DamagedInput)) throw error;
    yield { bad: { file: file.path, offset: error.offset, reason: error.message, losesRest: true } };
    return;
  }
  yield* reader.end();
}

class CsvReader {
  private readonly file: InputFile;
  private readonly field: TextField;
  private readonly maxRowBytes: number;
  private parser: Parser | undefined;
  private separators: { delimiter: string; rowEnd: string } | undefined;
  private header: Header | undefined;
  private rows: Row[] = [];
  private skipped: BadRecord[] = [];
  /** Bytes given to the parser since it last gave a row. */
  private pendingBytes = 0;
  /** Lines before those that the present parser has seen. */
  private linesBefore = 0;
  /** Last line of the last row, counted by the present parser. */
  private lastLine = 0;
  /** Set while a row that is too long is passed over: the bytes so far. */
  private passedOver: number | undefined;
  private failure: Error | undefined;
  private lastSkipped = 0;
  /** A carriage return ended the last piece. */
  private heldReturn = false;

  constructor(file: InputFile, options: ReaderOptions) {
    this.file = file;
    this.field = parseField(options.field);
    this.maxRowBytes = Math.min(MAX_ROW_BYTES, options.maxRecordBytes);
  }

  async *push(given: Uint8Array): AsyncGenerator<ReaderItem> {
    let bytes = this.withoutReturns(given);
    if (this.passedOver !== undefined) {
      const end = bytes.indexOf(10);
      this.passedOver += end < 0 ? bytes.length : end + 1;
      if (end < 0) return;
      bytes = bytes.subarray(end + 1);
      this.linesBefore++;
      yield this.endOfLongRow();
      if (bytes.length === 0) return;
    }
    this.parser ??= this.open(bytes);
    const { parser } = this;
    // csv-parse keeps slices of what it is given.
    await new Promise<void>((resolve) => parser.write(Buffer.from(bytes), () => resolve()));
    this.pendingBytes = this.rows.length + this.skipped.length > 0 ? 0 : this.pendingBytes + bytes.length;
    yield* this.drain();
    if (this.pendingBytes > this.maxRowBytes) {
      this.passedOver = this.pendingBytes;
      this.linesBefore += parser.info.lines - 1;
      parser.destroy();
      this.parser = undefined;
    }
  }

  /** CRLF -> LF, also where a piece ends between the two: csv-parse would count two lines inside quotes. */
  private withoutReturns(given: Uint8Array): Uint8Array {
    if (!this.heldReturn && !given.includes(13)) return given;
    const text = (this.heldReturn ? '\r' : '') + Buffer.from(given).toString('latin1');
    this.heldReturn = text.endsWith('\r');
    return Buffer.from((this.heldReturn ? text.slice(0, -1) : text).replaceAll('\r\n', '\n'), 'latin1');
  }

  async *end(): AsyncGenerator<ReaderItem> {
    if (this.passedOver !== undefined) yield this.endOfLongRow();
    const { parser } = this;
    if (!parser) return;
    await new Promise<void>((resolve) => {
      parser.once('close', resolve);
      parser.end();
    });
    yield* this.drain();
  }

  private endOfLongRow(): ReaderItem {
    const reason =
      `a row of ${formatBytes(this.passedOver ?? 0)}, at most ${formatBytes(this.maxRowBytes)} accepted; perhaps a quote is opened and not ` +
      'closed. Rows are read again from the next line on';
    const line = this.linesBefore;
    this.passedOver = undefined;
    this.pendingBytes = 0;
    this.lastLine = 0;
    return { bad: { file: this.file.path, line, reason } };
  }

  private open(head: Uint8Array): Parser {
    this.separators ??= separatorsOf(this.file.path, head);
    const parser = parse({
      encoding: 'latin1',
      delimiter: this.separators.delimiter,
      record_delimiter: this.separators.rowEnd,
      skip_empty_lines: true,
      relax_column_count: true,
      skip_records_with_error: true,
      // Few programs that write tabs quote.
      relax_quotes: this.separators.delimiter === '\t',
      on_skip: (error) => this.skip(error),
      on_record: (record: string[], { lines }) => {
        this.rows.push({ record, lastLine: lines });
        return null;
      },
    });
    parser.on('error', (error) => {
      this.failure ??= error;
    });
    parser.resume();
    return parser;
  }

  private skip(error: CsvError | undefined): undefined {
    const { code, lines, message } = (error ?? {}) as { code?: string; lines?: number; message?: string };
    const isOpen = code === 'CSV_QUOTE_NOT_CLOSED';
    const line = this.linesBefore + (isOpen ? this.lastLine + 1 : (lines ?? this.lastLine + 1));
    const reason = isOpen
      ? 'a quote is opened and not closed before the file ends'
      : (message ?? 'a row that cannot be read').replace(/\s+/g, ' ').slice(0, 200);
    // csv-parse goes on inside the row and may find more wrong with it.
    if (line === this.lastSkipped && !isOpen) return;
    this.lastSkipped = line;
    this.skipped.push({ file: this.file.path, line, reason, ...(isOpen ? { losesRest: true as const } : {}) });
  }

  private *drain(): Generator<ReaderItem> {
    const { rows, skipped } = this;
    this.rows = [];
    this.skipped = [];
    let next = 0;
    for (const { record, lastLine } of rows) {
      this.lastLine = lastLine;
      const line = this.linesBefore + lastLine - numLineEnds(record);
      while (next < skipped.length && (skipped[next].line ?? 0) <= this.linesBefore + lastLine)
        yield { bad: skipped[next++] };
      if (this.header) yield this.item(record, this.header, line);
      else this.header = new Header(this.file.path, record, this.field);
    }
    for (; next < skipped.length; next++) yield { bad: skipped[next] };
    if (!this.failure) return;
    const line = this.linesBefore + this.lastLine + 1;
    yield { bad: { file: this.file.path, line, reason: this.failure.message.slice(0, 200), losesRest: true } };
    this.failure = undefined;
  }

  private item(record: readonly string[], header: Header, line: number): ReaderItem {
    const place = { file: this.file.path, line };
    if (record.length !== header.numColumns)
      return { bad: { ...place, reason: `${record.length} columns, expected ${header.numColumns}` } };
    const values = header.values(record);
    if ('reason' in values) return { bad: { ...place, reason: values.reason } };
    const result = textOfRecord(values.values, this.field);
    if ('reason' in result) return { bad: { ...place, reason: result.reason } };
    const metadata = metadataOf(values.values, this.field);
    const document = { id: `${this.file.path}:${line}`, text: normalizeText(result.text), source: this.file.path };
    return { document: metadata ? { ...document, metadata } : document };
  }
}

/** Those inside quotes; csv-parse counts a carriage return as one. */
function numLineEnds(record: readonly string[]): number {
  let n = 0;
  for (const value of record) if (/[\r\n]/.test(value)) n += value.split(/[\r\n]/).length - 1;
  return n;
}

/** The columns that are used. */
class Header {
  readonly numColumns: number;
  private readonly wanted: readonly { name: string; index: number }[];

  /** @throws ConfigError where the text's column is missing */
  constructor(file: string, row: readonly string[], field: TextField) {
    const names = row.map((name, i) => {
      const text = Buffer.from(name, 'latin1').toString('utf8');
      return (i === 0 && text.startsWith('\ufeff') ? text.slice(1) : text).trim();
    });
    this.numColumns = names.length;
    const missing = field.template
      ? field.names.find((name) => !names.includes(name))
      : field.names.some((name) => names.includes(name))
        ? undefined
        : field.names.join('" or "');
    if (missing !== undefined) {
      const near = nearestName(missing, names);
      throw new ConfigError(
        `${file}: no column "${missing}" (columns: ${names.slice(0, 20).join(', ').slice(0, 400)}).` +
          (near
            ? ` Did you mean "${near}"?`
            : ' The first row must name the columns; name the one with the text with `field`.'),
      );
    }
    this.wanted = [...new Set([...field.names, ...METADATA_FIELDS])]
      .map((name) => ({ name, index: names.indexOf(name) }))
      .filter(({ index }) => index >= 0);
  }

  values(record: readonly string[]): { values: Record<string, string> } | { reason: string } {
    const values: Record<string, string> = {};
    for (const { name, index } of this.wanted) {
      const bytes = Buffer.from(record[index], 'latin1');
      if (!isUtf8(bytes)) return { reason: `column "${name}": ${notUtf8(bytes)}` };
      values[name] = bytes.toString('utf8');
    }
    return { values };
  }
}

/** Tabs in .tsv; in .csv what is most frequent in the first line: some programs write semicolons. A file with CR alone is from an old Mac. */
function separatorsOf(file: string, head: Uint8Array): { delimiter: string; rowEnd: string } {
  const text = Buffer.from(head).toString('latin1');
  const rowEnd = text.includes('\n') || !text.includes('\r') ? '\n' : '\r';
  if (/\.tsv(\.\w+)?$/i.test(file)) return { delimiter: '\t', rowEnd };
  const first = text.split(/[\r\n]/, 1)[0].replace(/"[^"]*"/g, '');
  const count = (character: string) => first.split(character).length;
  const delimiter = [',', ';', '\t'].reduce((best, one) => (count(one) > count(best) ? one : best));
  return { delimiter, rowEnd };
}
