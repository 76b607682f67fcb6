// The values of one byte-array column in one row group, page by page: memory follows the largest page, not the file. Both page versions,
// all codecs but LZO, all encodings that byte arrays have.
import * as zlib from 'node:zlib';
import { decompress as unzstd } from 'fzstd';
import { decompressLz4, decompressLz4Raw, decompressSnappy } from 'hyparquet-compressors';
import { decodeDeltaBytes, decodeDeltaLengths, decodePlain, decodeRuns } from './encodings.ts';
import type { ColumnChunk, ParquetColumn } from './footer.ts';
import type { ByteSource } from './source.ts';
import { numberField, structField, ThriftEnd, ThriftReader, type ThriftStruct } from './thrift.ts';

export const DATA_PAGE = 0;
export const DICTIONARY_PAGE = 2;
export const DATA_PAGE_V2 = 3;
const HEADER_PIECE_BYTES = 16 << 10;
/** Statistics in a header may quote whole values. */
const MAX_HEADER_BYTES = 16 << 20;
const MAX_PAGE_BYTES = 1 << 30;
/** A page of at most this size, or of at most MAX_RATIO times its compressed size (deflate's limit), is believed. */
const PLAIN_PAGE_BYTES = 64 << 20;
const MAX_RATIO = 1100;
/** Writers end pages at some 20 000 rows; nulls alone can make longer ones. */
const MAX_PAGE_VALUES = 1 << 24;

export type Decompress = (input: Uint8Array, outputBytes: number) => Uint8Array;
export const CODECS: Record<number, Decompress> = {
  0: (input) => input,
  1: decompressSnappy,
  2: (input, outputBytes) => zlib.gunzipSync(input, { maxOutputLength: Math.max(1, outputBytes) }),
  4: (input, outputBytes) => zlib.brotliDecompressSync(input, { maxOutputLength: Math.max(1, outputBytes) }),
  5: decompressLz4,
  // Given an output, the decompressor allocates no window of its own.
  6: (input, outputBytes) => unzstd(input, new Uint8Array(outputBytes)),
  7: decompressLz4Raw,
};

/** Yields `numRows` values, null where there is none. @throws Error saying what is damaged */
export function* readColumn(
  source: ByteSource,
  chunk: ColumnChunk,
  column: ParquetColumn,
  numRows: number,
): Generator<Uint8Array | null> {
  const decompress = CODECS[chunk.codec];
  if (!decompress) throw new Error(`compression codec ${chunk.codec} is not supported`);
  let dictionary = NO_DICTIONARY;
  let position = chunk.start;
  let row = 0;
  while (row < numRows) {
    if (position >= chunk.end) throw new Error(`${numRows} rows expected, ${row} found`);
    const page = readPage(source, position, chunk.end);
    position = page.end;
    const type = numberField(page.header, 1, 'page type');
    if (type === DICTIONARY_PAGE) {
      const count = numberField(structField(page.header, 7, 'dictionary header'), 1, 'number of values');
      const bytes = expand(decompress, page.bytes, page.sizeBytes);
      dictionary = readDictionary(bytes, count);
    } else if (type === DATA_PAGE || type === DATA_PAGE_V2) {
      const levels = type === DATA_PAGE ? openPage(page, column, decompress) : openPageV2(page, column, decompress);
      if (levels.numValues > numRows - row)
        throw new Error(`page of ${levels.numValues} rows, ${numRows - row} left in the row group`);
      yield* pageValues(levels, column, dictionary);
      row += levels.numValues;
    }
  }
}

/** Values as places in the page: a list of views would take a hundred times the bytes of short values. */
export interface Dictionary {
  bytes: Uint8Array;
  /** Value i lies between the length at ends[i] (4 bytes, little-endian) and ends[i + 1]. */
  ends: Uint32Array;
}

export const NO_DICTIONARY: Dictionary = { bytes: new Uint8Array(0), ends: new Uint32Array(1) };

export function readDictionary(bytes: Uint8Array, count: number): Dictionary {
  if (!(count >= 0 && count <= bytes.length / 4))
    throw new Error(`dictionary of ${count} values in ${bytes.length} bytes`);
  const ends = new Uint32Array(count + 1);
  let i = 0;
  for (const value of decodePlain(bytes, count)) {
    ends[i + 1] = ends[i] + 4 + value.length;
    i++;
  }
  return { bytes, ends };
}

export interface Page {
  header: ThriftStruct;
  bytes: Uint8Array;
  /** Decompressed. */
  sizeBytes: number;
  end: number;
}

export function readPage(source: ByteSource, start: number, end: number): Page {
  for (let piece = HEADER_PIECE_BYTES; ; piece *= 16) {
    const head = source.read(start, Math.min(piece, end - start));
    const reader = new ThriftReader(head);
    let header: ThriftStruct;
    try {
      header = reader.struct();
    } catch (error) {
      if (error instanceof ThriftEnd && head.length === piece && piece < MAX_HEADER_BYTES) continue;
      throw new Error(`page header: ${(error as Error).message}`);
    }
    const compressedBytes = numberField(header, 3, 'page size');
    const sizeBytes = numberField(header, 2, 'decompressed page size');
    const dataStart = start + reader.position;
    if (!(compressedBytes >= 0 && compressedBytes <= end - dataStart))
      throw new Error(`page of ${compressedBytes} bytes, ${end - dataStart} left`);
    const believable = Math.min(MAX_PAGE_BYTES, Math.max(PLAIN_PAGE_BYTES, MAX_RATIO * compressedBytes));
    if (!(sizeBytes >= 0 && sizeBytes <= believable))
      throw new Error(`page of ${compressedBytes} bytes that claims to hold ${sizeBytes}`);
    const inHead = reader.position + compressedBytes <= head.length;
    const bytes = inHead
      ? head.subarray(reader.position, reader.position + compressedBytes)
      : source.read(dataStart, compressedBytes);
    return { header, bytes, sizeBytes, end: dataStart + compressedBytes };
  }
}

export function expand(decompress: Decompress, bytes: Uint8Array, sizeBytes: number): Uint8Array {
  if (sizeBytes === 0) return new Uint8Array(0);
  const page = decompress(bytes, sizeBytes);
  if (page.length !== sizeBytes) throw new Error(`page of ${page.length} bytes, expected ${sizeBytes}`);
  return page;
}

export interface OpenPage {
  numValues: number;
  /** Of each value, where the column can be null. */
  definitions: Uint32Array | undefined;
  encoding: number;
  /** The values' bytes. */
  body: Uint8Array;
}

export function checkNumValues(header: ThriftStruct): number {
  const numValues = numberField(header, 1, 'number of values');
  if (!(numValues >= 0 && numValues <= MAX_PAGE_VALUES)) throw new Error(`page of ${numValues} values`);
  return numValues;
}

export const bitsFor = (max: number): number => 32 - Math.clz32(max);

function openPage(page: Page, column: ParquetColumn, decompress: Decompress): OpenPage {
  const header = structField(page.header, 5, 'data page header');
  const numValues = checkNumValues(header);
  const encoding = numberField(header, 2, 'encoding');
  const bytes = expand(decompress, page.bytes, page.sizeBytes);
  if (column.maxDefinition === 0) return { numValues, definitions: undefined, encoding, body: bytes };
  if (bytes.length < 4) throw new Error('page ends inside its levels');
  const length = new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);
  if (length > bytes.length - 4) throw new Error(`levels of ${length} bytes in a page of ${bytes.length}`);
  const definitions = decodeRuns(bytes.subarray(4, 4 + length), bitsFor(column.maxDefinition), numValues);
  return { numValues, definitions, encoding, body: bytes.subarray(4 + length) };
}

function openPageV2(page: Page, column: ParquetColumn, decompress: Decompress): OpenPage {
  const header = structField(page.header, 8, 'data page header');
  const numValues = checkNumValues(header);
  const encoding = numberField(header, 4, 'encoding');
  const definitionBytes = numberField(header, 5, 'size of levels');
  const levelBytes = definitionBytes + numberField(header, 6, 'size of levels');
  const repetitionBytes = levelBytes - definitionBytes;
  if (!(definitionBytes >= 0 && repetitionBytes >= 0 && levelBytes <= Math.min(page.bytes.length, page.sizeBytes)))
    throw new Error(`levels of ${levelBytes} bytes in a page of ${page.bytes.length}`);
  const packed = page.bytes.subarray(levelBytes);
  const body = header.get(7) === false ? packed : expand(decompress, packed, page.sizeBytes - levelBytes);
  const levels = page.bytes.subarray(repetitionBytes, levelBytes);
  const definitions =
    column.maxDefinition === 0 ? undefined : decodeRuns(levels, bitsFor(column.maxDefinition), numValues);
  return { numValues, definitions, encoding, body };
}

function* pageValues(page: OpenPage, column: ParquetColumn, dictionary: Dictionary): Generator<Uint8Array | null> {
  const { numValues, definitions } = page;
  let numPresent = numValues;
  if (definitions) numPresent = definitions.reduce((sum, level) => sum + (level === column.maxDefinition ? 1 : 0), 0);
  const values = decodeValues(page, numPresent, dictionary);
  for (let i = 0; i < numValues; i++) {
    if (definitions && definitions[i] !== column.maxDefinition) {
      yield null;
      continue;
    }
    const next = values.next();
    if (next.done) throw new Error('page holds fewer values than it says');
    yield next.value;
  }
}

export function decodeValues(
  { encoding, body }: Pick<OpenPage, 'encoding' | 'body'>,
  count: number,
  dictionary: Dictionary,
): Generator<Uint8Array> {
  switch (encoding) {
    case 0:
      return decodePlain(body, count);
    case 2:
    case 8:
      return lookUp(body, count, dictionary);
    case 6:
      return decodeDeltaLengths(body, count);
    case 7:
      return decodeDeltaBytes(body, count, MAX_PAGE_BYTES);
    default:
      throw new Error(`encoding ${encoding} is not one for strings`);
  }
}

function* lookUp(body: Uint8Array, count: number, dictionary: Dictionary): Generator<Uint8Array> {
  if (count === 0) return;
  if (body.length === 0) throw new Error('page without indices');
  for (const index of decodeRuns(body.subarray(1), body[0], count)) {
    const { bytes, ends } = dictionary;
    if (index >= ends.length - 1) throw new Error(`dictionary index ${index} of ${ends.length - 1}`);
    yield bytes.subarray(ends[index] + 4, ends[index + 1]);
  }
}
