// A Parquet file's footer: its columns, and where each row group keeps them. Field numbers are those of the format's parquet.thrift.
import type { ByteSource } from './source.ts';
import { numberField, structField, structsField, ThriftReader, type ThriftStruct, textOf } from './thrift.ts';

/** "PAR1". */
const MAGIC = 0x31524150;
const BYTE_ARRAY = 6;
const OPTIONAL = 1;
const REPEATED = 2;

export interface ParquetColumn {
  /** Path in the schema, joined by dots. */
  name: string;
  isBytes: boolean;
  /** Below a list or map: several values a row. */
  isRepeated: boolean;
  /** Definition level of a value that is there; lower ones mean null. */
  maxDefinition: number;
}

export interface ColumnChunk {
  codec: number;
  start: number;
  end: number;
}

export interface RowGroup {
  numRows: number;
  /** In the order of the file's columns. */
  chunks: ColumnChunk[];
}

export interface ParquetFooter {
  columns: ParquetColumn[];
  rowGroups: RowGroup[];
}

/** @throws Error saying what does not hold */
export function readFooter(source: ByteSource): ParquetFooter {
  const { sizeBytes } = source;
  if (sizeBytes < 12) throw new Error(`only ${sizeBytes} bytes`);
  const tail = source.read(sizeBytes - 8, 8);
  const view = new DataView(tail.buffer, tail.byteOffset, 8);
  if (view.getUint32(4, true) !== MAGIC) throw new Error('the file does not end in "PAR1"');
  const length = view.getUint32(0, true);
  if (length > sizeBytes - 12) throw new Error(`footer of ${length} bytes in a file of ${sizeBytes}`);
  const metadata = new ThriftReader(source.read(sizeBytes - 8 - length, length)).struct();
  const columns = readColumns(structsField(metadata, 2, 'schema'));
  const rowGroups = structsField(metadata, 4, 'row groups').map((group) =>
    readRowGroup(group, columns.length, sizeBytes),
  );
  return { columns, rowGroups };
}

/** Leaves of the schema, which is listed depth first. */
function readColumns(schema: readonly ThriftStruct[]): ParquetColumn[] {
  const columns: ParquetColumn[] = [];
  let next = 0;
  const visit = (path: readonly string[], maxDefinition: number, isRepeated: boolean): void => {
    const element = schema[next++];
    if (!element) throw new Error('schema ends early');
    if (path.length > 64) throw new Error('schema nested too deep');
    const isRoot = next === 1;
    const repetition = isRoot ? 0 : (element.get(3) ?? 0);
    const inner = isRoot ? path : [...path, textOf(element.get(4), 'column name')];
    const definition = maxDefinition + (repetition === OPTIONAL || repetition === REPEATED ? 1 : 0);
    const repeated = isRepeated || repetition === REPEATED;
    const numChildren = Number(element.get(5) ?? 0);
    if (numChildren === 0 && !isRoot) {
      columns.push({
        name: inner.join('.'),
        isBytes: element.get(1) === BYTE_ARRAY,
        isRepeated: repeated,
        maxDefinition: definition,
      });
      return;
    }
    if (!(numChildren >= 0 && numChildren <= schema.length - next))
      throw new Error(`schema element with ${numChildren} children`);
    for (let i = 0; i < numChildren; i++) visit(inner, definition, repeated);
  };
  visit([], 0, false);
  return columns;
}

function readRowGroup(group: ThriftStruct, numColumns: number, sizeBytes: number): RowGroup {
  const numRows = numberField(group, 3, 'number of rows');
  if (!Number.isSafeInteger(numRows) || numRows < 0) throw new Error(`row group of ${numRows} rows`);
  const chunks = structsField(group, 1, 'column chunks').map((chunk) => readChunk(chunk, sizeBytes));
  if (chunks.length !== numColumns) throw new Error(`row group of ${chunks.length} columns, expected ${numColumns}`);
  return { numRows, chunks };
}

function readChunk(chunk: ThriftStruct, sizeBytes: number): ColumnChunk {
  const metadata = structField(chunk, 3, 'column metadata');
  const data = numberField(metadata, 9, 'data page offset');
  const dictionary = Number(metadata.get(11) ?? 0);
  const start = dictionary > 0 && dictionary < data ? dictionary : data;
  const end = start + numberField(metadata, 7, 'size of a column chunk');
  if (!(start >= 4 && end >= start && end <= sizeBytes - 8))
    throw new Error(`column chunk at bytes ${start} to ${end} of ${sizeBytes}`);
  return { codec: numberField(metadata, 4, 'codec'), start, end };
}
