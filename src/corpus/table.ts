// Files as tables: every row with all its fields, as plain values. For evaluation sets, which are small and whose fields all matter; corpora
// are streamed by read.ts. What cannot be read is an error with its place: an evaluation with rows left out would be of another set.
import { randomUUID } from 'node:crypto';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { parse as parseCsv } from 'csv-parse/sync';
import { ConfigError, DataError } from '../base/errors.ts';
import { explainSystemError, writeAll } from '../base/files.ts';
import { fingerprint } from '../base/hash.ts';
import { DamagedInput, readWhole } from './bytes.ts';
import { type ParquetRecords, readParquetRecords } from './parquet/records.ts';
import { fileSource } from './parquet/source.ts';
import { findRemote, isRemote, readRemote } from './remote/index.ts';
import type { Compression } from './types.ts';

export type Row = Record<string, unknown>;

export interface Table {
  rows: Row[];
  /** Columns of floating-point numbers, which may all happen to be whole. */
  floatColumns: string[];
}

export interface TableOptions {
  /** By the file's ending where it is not said. */
  format?: 'json' | 'csv' | 'parquet' | 'text';
  /** JSON: the key that holds the list of rows. */
  field?: string;
  /** CSV. */
  delimiter?: string;
  columnNames?: readonly string[];
  /** CSV: the first row is data. */
  noHeader?: boolean;
}

const MAX_FILE_BYTES = 4e9;
const FORMATS: Readonly<Record<string, TableOptions['format']>> = {
  json: 'json',
  jsonl: 'json',
  ndjson: 'json',
  csv: 'csv',
  tsv: 'csv',
  parquet: 'parquet',
  txt: 'text',
};

/** @param file a local path @throws ConfigError, DataError */
export async function readTable(file: string, options: TableOptions = {}): Promise<Table> {
  const { ending, compression } = endingOf(file);
  const format = options.format ?? FORMATS[ending];
  if (!format)
    throw new ConfigError(`${file}: rows are read from ${Object.keys(FORMATS).join(', ')} files (also .gz and .zst).`);
  if (format === 'parquet') return readParquet(file);
  let bytes: Buffer | undefined;
  try {
    bytes = await readWhole({ path: file, compression }, MAX_FILE_BYTES, () => {});
  } catch (error) {
    if (error instanceof DamagedInput) throw new DataError(file, error.message, error.offset);
    throw error;
  }
  if (!bytes) throw new DataError(file, 'larger than 4 GB.');
  const text = bytes.toString('utf8').replace(/^\ufeff/, '');
  if (format === 'text') return withFloats(lines(text).map(({ line }) => ({ text: line })));
  return format === 'csv'
    ? readCsv(file, text, ending, options)
    : withFloats(alike(readJson(file, text, options.field)));
}

/** Files that a path, folder, pattern or address stands for, in order. @throws ConfigError where it stands for none */
export async function findRemoteFiles(address: string): Promise<string[]> {
  return (await findRemote(address)).entries.map((entry) => entry.address ?? entry.path);
}

/**
 * A file elsewhere as one here, kept in `cache` under its address; a local path as it stands.
 * @param fresh fetch it again @throws ConfigError, DataError
 */
export async function fetchFile(address: string, cache: string, fresh = false): Promise<string> {
  if (!isRemote(address)) return address;
  const name = address.split(/[?#]/)[0].split('/').at(-1) || 'file';
  const target = path.join(cache, 'data', fingerprint(address), name);
  if (!fresh && fs.existsSync(target)) return target;
  const part = `${target}.${randomUUID()}.part`;
  try {
    fs.mkdirSync(path.dirname(target), { recursive: true });
    const fd = fs.openSync(part, 'w');
    try {
      for await (const bytes of readRemote({ path: address, address }, 0, () => {})) writeAll(fd, bytes);
      fs.fsyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
    fs.renameSync(part, target);
  } catch (error) {
    fs.rmSync(part, { force: true });
    throw explainSystemError(error, target, `fetching ${address}`);
  }
  return target;
}

function endingOf(file: string): { ending: string; compression: Compression } {
  const parts = path.basename(file).toLowerCase().split('.');
  const compressions: Readonly<Record<string, Compression>> = { gz: 'gzip', zst: 'zstd', bz2: 'bzip2' };
  const compression = compressions[parts.at(-1) ?? ''];
  return { ending: parts.at(compression ? -2 : -1) ?? '', compression: compression ?? 'none' };
}

function lines(text: string): { line: string; number: number }[] {
  const all = text.split(/\r?\n/);
  if (all.at(-1) === '') all.pop();
  return all.map((line, i) => ({ line, number: i + 1 }));
}

function readJson(file: string, text: string, field: string | undefined): Row[] {
  const start = text.trimStart()[0];
  const isLines =
    start === '{' && field === undefined && isObject(tryParse(text.slice(0, text.indexOf('\n') + 1 || undefined)));
  if (isLines)
    return lines(text).flatMap(({ line, number }) => {
      if (line.trim() === '') return [];
      try {
        const row: unknown = JSON.parse(line);
        if (isObject(row)) return [row];
      } catch (error) {
        throw new DataError(file, `line ${number}: not JSON (${(error as Error).message}).`);
      }
      throw new DataError(file, `line ${number}: expected an object, found ${line.slice(0, 60)}.`);
    });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new DataError(file, `not JSON (${(error as Error).message}).`);
  }
  const inner = field !== undefined && isObject(value) ? value[field] : value;
  if (Array.isArray(inner) && inner.every(isObject)) return inner;
  if (isObject(inner) && Object.values(inner).every(Array.isArray))
    return ofColumns(inner as Record<string, unknown[]>);
  throw new DataError(
    file,
    `expected a list of objects${field === undefined ? '' : ` under "${field}"`}, or an object a line.`,
  );
}

function ofColumns(columns: Record<string, unknown[]>): Row[] {
  const length = Math.max(0, ...Object.values(columns).map((values) => values.length));
  return Array.from({ length }, (_, i) =>
    Object.fromEntries(Object.entries(columns).map(([name, values]) => [name, values[i] ?? null])),
  );
}

function tryParse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Row {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Every row with every column: null where it does not have it. */
function alike(rows: Row[]): Row[] {
  const columns = new Set(rows.flatMap((row) => Object.keys(row)));
  return rows.map((row) =>
    Object.keys(row).length === columns.size
      ? row
      : Object.fromEntries([...columns].map((column) => [column, row[column] ?? null])),
  );
}

function withFloats(rows: Row[]): Table {
  const floatColumns = new Set<string>();
  for (const row of rows)
    for (const [column, value] of Object.entries(row))
      if (typeof value === 'number' && !Number.isInteger(value)) floatColumns.add(column);
  return { rows, floatColumns: [...floatColumns] };
}

/** What pandas takes for a missing value. */
const MISSING =
  /^(?:|#N\/A(?: N\/A)?|#NA|-1\.#IND|-1\.#QNAN|-NaN|-nan|1\.#IND|1\.#QNAN|<NA>|N\/A|NA|NULL|NaN|None|n\/a|nan|null)$/;

function readCsv(file: string, text: string, ending: string, options: TableOptions): Table {
  let records: string[][];
  try {
    records = parseCsv(text, {
      delimiter: options.delimiter ?? (ending === 'tsv' ? '\t' : ','),
      relax_column_count: true,
      skip_empty_lines: true,
    }) as string[][];
  } catch (error) {
    throw new DataError(file, (error as Error).message);
  }
  const header = options.columnNames ?? (options.noHeader ? undefined : records[0]);
  if (!options.noHeader && records.length > 0) records.shift();
  const names = header ?? (records[0] ?? []).map((_, i) => String(i));
  const floatColumns: string[] = [];
  const columns = names.map((name, j) => {
    const cells = records.map((record) => record[j] ?? '');
    const present = cells.filter((cell) => !MISSING.test(cell));
    const isWhole = present.length > 0 && present.every((cell) => /^[-+]?\d+$/.test(cell));
    const isNumber =
      isWhole ||
      (present.length > 0 && present.every((cell) => /^[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?$/.test(cell)));
    const isBoolean =
      present.length > 0 && present.every((cell) => /^(?:True|False|TRUE|FALSE|true|false)$/.test(cell));
    // Whole numbers with gaps are floating-point in pandas.
    if (isNumber && (!isWhole || present.length < cells.length)) floatColumns.push(name);
    return cells.map((cell) =>
      MISSING.test(cell) ? null : isNumber ? Number(cell) : isBoolean ? /^t/i.test(cell) : cell,
    );
  });
  const rows = records.map((_, i) => Object.fromEntries(names.map((name, j) => [name, columns[j][i]])));
  return { rows, floatColumns };
}

function readParquet(file: string): Table {
  let fd: number;
  try {
    fd = fs.openSync(file, 'r');
  } catch (error) {
    throw explainSystemError(error, file, 'reading rows');
  }
  try {
    const { columns, rows }: ParquetRecords = readParquetRecords(fileSource(fd, () => {}));
    return { rows: [...rows], floatColumns: columns.filter(({ isFloat }) => isFloat).map(({ name }) => name) };
  } catch (error) {
    throw new DataError(file, `cannot be read as Parquet: ${(error as Error).message}.`);
  } finally {
    fs.closeSync(fd);
  }
}
