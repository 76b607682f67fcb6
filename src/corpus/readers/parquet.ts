// .parquet: a row is a record, its text in one column; only that column is read, one row group at a time, so memory follows the largest
// row group's text. The format's parser is hyparquet; bounds are checked here before it allocates.
import * as fs from 'node:fs';
import {
  type AsyncBuffer,
  type Compressors,
  type FileMetaData,
  type ParquetScan,
  parquetMetadataAsync,
  parquetScan,
} from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { ConfigError, nearestName } from '../../base/errors.ts';
import { explainSystemError } from '../../base/files.ts';
import { decodeText } from '../text.ts';
import type { BadRecord, InputFile, ReaderItem, ReaderOptions } from '../types.ts';

const DEFAULT_COLUMNS = ['text', 'content'];
/** Far above any page written by known tools (1 MiB is usual); a forged size must not be allocated. */
const MAX_PAGE_BYTES = 1 << 30;
/** hyparquet's own parsers turn bytes into replaced characters; these hand the bytes on, to be validated. */
const PARSERS = {
  stringFromBytes: (bytes: Uint8Array | undefined) => bytes,
  jsonFromBytes: (bytes: Uint8Array | undefined) => bytes,
};

const boundedCompressors: Compressors = Object.fromEntries(
  Object.entries(compressors).map(([codec, decompress]) => [
    codec,
    (input: Uint8Array, outputLength: number) => {
      if (!(outputLength >= 0 && outputLength <= MAX_PAGE_BYTES)) throw new Error(`page of ${outputLength} bytes`);
      return decompress(input, outputLength);
    },
  ]),
);

export async function* readParquetFile(file: InputFile, options: ReaderOptions): AsyncGenerator<ReaderItem> {
  let fd: number;
  try {
    fd = fs.openSync(file.path, 'r');
  } catch (error) {
    throw explainSystemError(error, file.path, 'reading documents');
  }
  try {
    const source = fileBuffer(fd, file.sizeBytes, options.onBytes);
    let scan: ParquetScan;
    let column: string;
    try {
      if (file.sizeBytes < 12) throw new Error(`only ${file.sizeBytes} bytes`);
      const metadata = await parquetMetadataAsync(source, { geoparquet: false });
      checkMetadata(metadata, file.sizeBytes);
      if (metadata.row_groups.length === 0) return;
      column = chooseColumn(file.path, metadata, options.field);
      scan = await parquetScan({
        file: source,
        metadata,
        columns: [column],
        compressors: boundedCompressors,
        parsers: PARSERS,
        geoparquet: false,
        utf8: false,
        useOffsetIndex: false,
      });
    } catch (error) {
      if (error instanceof ConfigError) throw error;
      yield damaged(file.path, `damaged Parquet footer (${(error as Error).message}); is the file truncated?`);
      return;
    }
    yield* readRowGroups(file, scan, column);
  } finally {
    fs.closeSync(fd);
  }
}

async function* readRowGroups(file: InputFile, scan: ParquetScan, column: string): AsyncGenerator<ReaderItem> {
  let rowStart = 0;
  for (const group of scan.metadata.row_groups) {
    const rowEnd = rowStart + Number(group.num_rows);
    let values: ArrayLike<unknown>;
    try {
      values = await scan.readColumn({ column, rowStart, rowEnd });
      if (values.length < rowEnd - rowStart)
        throw new Error(`${rowEnd - rowStart} rows expected, ${values.length} found`);
    } catch (error) {
      yield damaged(
        file.path,
        `damaged row group at row ${rowStart} (${(error as Error).message}); its rows are lost`,
        rowStart,
      );
      rowStart = rowEnd;
      continue;
    }
    for (let i = 0; i < rowEnd - rowStart; i++) yield toItem(file.path, rowStart + i, column, values[i]);
    rowStart = rowEnd;
  }
}

function toItem(file: string, row: number, column: string, value: unknown): ReaderItem {
  if (!(value instanceof Uint8Array)) {
    const found = value === null || value === undefined ? 'null' : `a ${typeof value}`;
    return { bad: { file, row, reason: `column "${column}" is ${found}, expected a string` } };
  }
  const text = decodeText(value);
  if (text === undefined) return { bad: { file, row, reason: `column "${column}" is not valid UTF-8` } };
  return { document: { id: `${file}#${row}`, text, source: file } };
}

function damaged(file: string, reason: string, row?: number): { bad: BadRecord } {
  return { bad: row === undefined ? { file, reason } : { file, row, reason } };
}

/** @throws ConfigError when the file has no such column, or it holds no strings */
function chooseColumn(file: string, metadata: FileMetaData, field: string | undefined): string {
  const columns = metadata.row_groups[0].columns.map(({ meta_data }) => ({
    name: meta_data?.path_in_schema.join('.') ?? '',
    type: meta_data?.type,
  }));
  const names = columns.map((column) => column.name);
  const wanted = field === undefined ? DEFAULT_COLUMNS : [field];
  const name = wanted.find((candidate) => names.includes(candidate));
  if (name !== undefined) {
    const type = columns[names.indexOf(name)].type;
    if (type === 'BYTE_ARRAY') return name;
    throw new ConfigError(
      `${file}: column "${name}" holds ${type}, expected strings. Choose another one with \`field\`.`,
    );
  }
  const near = field === undefined ? undefined : nearestName(field, names);
  throw new ConfigError(
    `${file}: no column "${wanted.join('" or "')}" (columns: ${names.slice(0, 20).join(', ')}).` +
      (near ? ` Did you mean "${near}"?` : ' Name the one that holds the text with `field`.'),
  );
}

function checkMetadata(metadata: FileMetaData, sizeBytes: number): void {
  if (!Array.isArray(metadata.schema) || !Array.isArray(metadata.row_groups))
    throw new Error('no schema or row groups');
  for (const group of metadata.row_groups) {
    const numRows = Number(group.num_rows);
    // Each value of a column takes at least a bit somewhere, unless a whole page is one run; 2^31 rows a group is beyond any writer.
    if (!Number.isSafeInteger(numRows) || numRows < 0 || numRows > 2 ** 31)
      throw new Error(`row group of ${numRows} rows`);
    for (const { meta_data: column } of group.columns) {
      if (!column || !Array.isArray(column.path_in_schema)) throw new Error('column without metadata');
      const size = Number(column.total_compressed_size);
      if (!(size >= 0 && size <= sizeBytes)) throw new Error(`column chunk of ${size} bytes in a file of ${sizeBytes}`);
    }
  }
}

function fileBuffer(fd: number, sizeBytes: number, onBytes: (n: number) => void): AsyncBuffer {
  return {
    byteLength: sizeBytes,
    slice(start: number, end = sizeBytes): ArrayBuffer {
      if (!(start >= 0 && end >= start && end <= sizeBytes))
        throw new Error(`bytes ${start} to ${end} of ${sizeBytes} wanted`);
      const bytes = new Uint8Array(end - start);
      let done = 0;
      while (done < bytes.length) {
        const n = fs.readSync(fd, bytes, done, bytes.length - done, start + done);
        if (n === 0) throw new Error(`ends at byte ${start + done}`);
        done += n;
      }
      onBytes(bytes.length);
      return bytes.buffer;
    },
  };
}
