// Whole rows of a Parquet file, lists and structures included, for data whose fields are all wanted: evaluation sets, not corpora (a row
// group's columns are in memory together). Rows are put together from repetition and definition levels (Melnik et al. 2010, Dremel).
import { decodeDeltas, decodeRuns } from './encodings.ts';
import { type ColumnChunk, readFooter } from './footer.ts';
import {
  bitsFor,
  CODECS,
  checkNumValues,
  DATA_PAGE,
  DATA_PAGE_V2,
  DICTIONARY_PAGE,
  decodeValues,
  expand,
  NO_DICTIONARY,
  readDictionary,
  readPage,
} from './pages.ts';
import type { ByteSource } from './source.ts';
import { numberField, structField, structsField, ThriftReader, type ThriftStruct, textOf } from './thrift.ts';

const REPEATED = 2;
const [BOOLEAN, INT32, INT64, INT96, FLOAT, DOUBLE, BYTE_ARRAY] = [0, 1, 2, 3, 4, 5, 6];
/** Converted types. */
const MAP = 1;
const MAP_KEY_VALUE = 2;
const LIST = 3;

interface SchemaNode {
  name: string;
  repetition: number;
  converted: number | undefined;
  type: number;
  children: SchemaNode[];
  maxRepetition: number;
  maxDefinition: number;
  /** Of leaves: place among the columns. */
  leaf: number;
}

/** A leaf's values with their levels, a row's side by side. */
interface Levels {
  repetitions: Uint32Array;
  definitions: Uint32Array;
  /** In place of nulls and empty lists undefined. */
  values: unknown[];
}

export interface ParquetRecords {
  /** Names of the columns at the top, and whether they hold floating-point numbers. */
  columns: { name: string; isFloat: boolean }[];
  rows: Generator<Record<string, unknown>>;
}

/** @throws Error saying what is damaged or not supported */
export function readParquetRecords(source: ByteSource): ParquetRecords {
  const { rowGroups } = readFooter(source);
  const root = readSchema(source);
  return {
    columns: root.children.map(({ name, type, children }) => ({
      name,
      isFloat: children.length === 0 && (type === FLOAT || type === DOUBLE),
    })),
    rows: readRows(source, root, rowGroups),
  };
}

function* readRows(
  source: ByteSource,
  root: SchemaNode,
  rowGroups: readonly { numRows: number; chunks: ColumnChunk[] }[],
): Generator<Record<string, unknown>> {
  const leaves: SchemaNode[] = [];
  collectLeaves(root, leaves);
  for (const { numRows, chunks } of rowGroups) {
    const columns = leaves.map((leaf) => readLevels(source, chunks[leaf.leaf], leaf, numRows));
    const ends = columns.map(() => 0);
    for (let row = 0; row < numRows; row++) {
      const spans = columns.map(({ repetitions }, i): [number, number] => {
        const start = ends[i];
        if (start >= repetitions.length) throw new Error(`column "${leaves[i].name}" ends at row ${row} of ${numRows}`);
        let end = start + 1;
        while (end < repetitions.length && repetitions[end] > 0) end++;
        ends[i] = end;
        return [start, end];
      });
      yield structOf(root, columns, spans);
    }
  }
}

function structOf(node: SchemaNode, columns: Levels[], spans: readonly [number, number][]): Record<string, unknown> {
  const record: Record<string, unknown> = {};
  for (const child of node.children) record[child.name] = nodeValue(child, columns, spans);
  return record;
}

function firstLeaf(node: SchemaNode): number {
  return node.children.length === 0 ? node.leaf : firstLeaf(node.children[0]);
}

function nodeValue(node: SchemaNode, columns: Levels[], spans: readonly [number, number][]): unknown {
  const leaf = firstLeaf(node);
  const isThere = columns[leaf].definitions[spans[leaf][0]] >= node.maxDefinition;
  if (node.repetition !== REPEATED) return isThere ? innerOf(node, columns, spans) : null;
  if (!isThere) return [];
  const items: unknown[] = [];
  const under: SchemaNode[] = [];
  collectLeaves(node, under);
  let starts = under.map(({ leaf: i }) => spans[i][0]);
  while (starts[0] < spans[under[0].leaf][1]) {
    const inner = [...spans];
    starts = under.map(({ leaf: i }, j) => {
      let end = starts[j] + 1;
      while (end < spans[i][1] && columns[i].repetitions[end] > node.maxRepetition) end++;
      inner[i] = [starts[j], end];
      return end;
    });
    items.push(innerOf(node, columns, inner));
  }
  return items;
}

function innerOf(node: SchemaNode, columns: Levels[], spans: readonly [number, number][]): unknown {
  const { children, converted } = node;
  if (children.length === 0) return columns[node.leaf].values[spans[node.leaf][0]];
  const [only] = children;
  const wrapsItems = children.length === 1 && only.repetition === REPEATED;
  if (wrapsItems && (converted === LIST || converted === MAP || converted === MAP_KEY_VALUE)) {
    const items = nodeValue(only, columns, spans) as unknown[];
    if (converted !== LIST) return Object.fromEntries((items as { key: unknown; value: unknown }[]).map(pairOf));
    // The usual three levels; in the older two the repeated node is the item itself.
    const isItem = only.children.length !== 1 || only.name === 'array' || only.name.endsWith('_tuple');
    return isItem ? items : items.map((item) => Object.values(item as object)[0]);
  }
  return structOf(node, columns, spans);
}

const pairOf = (entry: object): [string, unknown] => {
  const [key, value] = Object.values(entry);
  return [String(key), value];
};

function collectLeaves(node: SchemaNode, into: SchemaNode[]): void {
  if (node.children.length === 0) into.push(node);
  for (const child of node.children) collectLeaves(child, into);
}

/** The footer again, for what readFooter leaves out of the schema; it has checked the sizes. */
function readSchema(source: ByteSource): SchemaNode {
  const tail = source.read(source.sizeBytes - 8, 8);
  const length = new DataView(tail.buffer, tail.byteOffset, 8).getUint32(0, true);
  const metadata = new ThriftReader(source.read(source.sizeBytes - 8 - length, length)).struct();
  const elements = structsField(metadata, 2, 'schema');
  let next = 0;
  let numLeaves = 0;
  const visit = (maxRepetition: number, maxDefinition: number): SchemaNode => {
    const element = elements[next++];
    const isRoot = next === 1;
    const repetition = isRoot ? 0 : Number(element.get(3) ?? 0);
    const node: SchemaNode = {
      name: textOf(element.get(4), 'column name'),
      repetition,
      converted: element.has(6) ? Number(element.get(6)) : undefined,
      type: Number(element.get(1) ?? -1),
      children: [],
      maxRepetition: maxRepetition + (repetition === REPEATED ? 1 : 0),
      maxDefinition: maxDefinition + (repetition === 0 ? 0 : 1),
      leaf: -1,
    };
    const numChildren = Number(element.get(5) ?? 0);
    if (numChildren === 0) node.leaf = numLeaves++;
    for (let i = 0; i < numChildren; i++) node.children.push(visit(node.maxRepetition, node.maxDefinition));
    return node;
  };
  return visit(0, 0);
}

type Decoder = (body: Uint8Array, encoding: number, count: number) => unknown[];

function readLevels(source: ByteSource, chunk: ColumnChunk, leaf: SchemaNode, numRows: number): Levels {
  const decompress = CODECS[chunk.codec];
  if (!decompress) throw new Error(`compression codec ${chunk.codec} is not supported`);
  const pages: Levels[] = [];
  let dictionary: unknown[] = [];
  let byteDictionary = NO_DICTIONARY;
  let numRead = 0;
  const decode: Decoder = (body, encoding, count) => {
    if (leaf.type === BYTE_ARRAY)
      return Array.from(decodeValues({ encoding, body }, count, byteDictionary), (bytes) => utf8.decode(bytes));
    if (encoding !== 2 && encoding !== 8) return decodeFixed(leaf, body, encoding, count);
    if (count > 0 && body.length === 0) throw new Error('page without indices');
    return Array.from(count === 0 ? [] : decodeRuns(body.subarray(1), body[0], count), (index) => {
      if (index >= dictionary.length) throw new Error(`dictionary index ${index} of ${dictionary.length}`);
      return dictionary[index];
    });
  };
  for (let position = chunk.start; position < chunk.end && numRead < numRows; ) {
    const page = readPage(source, position, chunk.end);
    position = page.end;
    const type = numberField(page.header, 1, 'page type');
    if (type === DICTIONARY_PAGE) {
      const count = numberField(structField(page.header, 7, 'dictionary header'), 1, 'number of values');
      const bytes = expand(decompress, page.bytes, page.sizeBytes);
      if (leaf.type === BYTE_ARRAY) byteDictionary = readDictionary(bytes, count);
      else dictionary = decodeFixed(leaf, bytes, 0, count);
    } else if (type === DATA_PAGE || type === DATA_PAGE_V2) {
      const levels =
        type === DATA_PAGE
          ? pageV1(page.header, expand(decompress, page.bytes, page.sizeBytes), leaf)
          : pageV2(page, leaf, (bytes, size) => expand(decompress, bytes, size));
      const present = levels.definitions.reduce((sum, level) => sum + (level === leaf.maxDefinition ? 1 : 0), 0);
      const values = decode(levels.body, levels.encoding, present);
      let next = 0;
      pages.push({
        ...levels,
        values: Array.from(levels.definitions, (level) => (level === leaf.maxDefinition ? values[next++] : undefined)),
      });
      numRead += levels.repetitions.reduce((sum, level) => sum + (level === 0 ? 1 : 0), 0);
    }
  }
  if (numRead < numRows) throw new Error(`${numRows} rows expected, ${numRead} found`);
  const join = (pick: (page: Levels) => Uint32Array) =>
    Uint32Array.from(pages.flatMap((page) => Array.from(pick(page))));
  return {
    repetitions: join(({ repetitions }) => repetitions),
    definitions: join(({ definitions }) => definitions),
    values: pages.flatMap(({ values }) => values),
  };
}

interface PageBody {
  repetitions: Uint32Array;
  definitions: Uint32Array;
  encoding: number;
  body: Uint8Array;
}

function pageV1(header: ThriftStruct, bytes: Uint8Array, leaf: SchemaNode): PageBody {
  const data = structField(header, 5, 'data page header');
  const count = checkNumValues(data);
  let at = 0;
  const levels = (max: number): Uint32Array => {
    if (max === 0) return new Uint32Array(count);
    if (at + 4 > bytes.length) throw new Error('page ends inside its levels');
    const length = new DataView(bytes.buffer, bytes.byteOffset + at, 4).getUint32(0, true);
    if (length > bytes.length - at - 4) throw new Error(`levels of ${length} bytes in a page of ${bytes.length}`);
    const values = decodeRuns(bytes.subarray(at + 4, at + 4 + length), bitsFor(max), count);
    at += 4 + length;
    return values;
  };
  const repetitions = levels(leaf.maxRepetition);
  const definitions = levels(leaf.maxDefinition);
  return { repetitions, definitions, encoding: numberField(data, 2, 'encoding'), body: bytes.subarray(at) };
}

function pageV2(
  page: { header: ThriftStruct; bytes: Uint8Array; sizeBytes: number },
  leaf: SchemaNode,
  unpack: (bytes: Uint8Array, sizeBytes: number) => Uint8Array,
): PageBody {
  const data = structField(page.header, 8, 'data page header');
  const count = checkNumValues(data);
  const definitionBytes = numberField(data, 5, 'size of levels');
  const repetitionBytes = numberField(data, 6, 'size of levels');
  const levelBytes = definitionBytes + repetitionBytes;
  if (!(definitionBytes >= 0 && repetitionBytes >= 0 && levelBytes <= Math.min(page.bytes.length, page.sizeBytes)))
    throw new Error(`levels of ${levelBytes} bytes in a page of ${page.bytes.length}`);
  const levels = (max: number, bytes: Uint8Array) =>
    max === 0 ? new Uint32Array(count) : decodeRuns(bytes, bitsFor(max), count);
  const packed = page.bytes.subarray(levelBytes);
  return {
    repetitions: levels(leaf.maxRepetition, page.bytes.subarray(0, repetitionBytes)),
    definitions: levels(leaf.maxDefinition, page.bytes.subarray(repetitionBytes, levelBytes)),
    encoding: numberField(data, 4, 'encoding'),
    body: data.get(7) === false ? packed : unpack(packed, page.sizeBytes - levelBytes),
  };
}

const utf8 = new TextDecoder();

function decodeFixed(leaf: SchemaNode, bytes: Uint8Array, encoding: number, count: number): unknown[] {
  const { type, name } = leaf;
  if (type === BOOLEAN) {
    // RLE of booleans has its length in front.
    const bits = encoding === 3 ? decodeRuns(bytes.subarray(4), 1, count) : undefined;
    if (!bits && bytes.length * 8 < count) throw new Error('values end early');
    return Array.from({ length: count }, (_, i) => (bits ? bits[i] : (bytes[i >> 3] >> (i & 7)) & 1) === 1);
  }
  if (encoding === 5 && type === INT32) return Array.from(decodeDeltas(bytes, 0, count).values);
  const width = { [INT32]: 4, [INT64]: 8, [FLOAT]: 4, [DOUBLE]: 8 }[type];
  if (encoding !== 0 || width === undefined)
    throw new Error(
      `column "${name}" has values of type ${type}${type === INT96 ? ' (INT96)' : ''} in encoding ${encoding}, which is not supported`,
    );
  if (count * width > bytes.length) throw new Error('values end early');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: count }, (_, i) => {
    const at = i * width;
    if (type === INT32) return view.getInt32(at, true);
    if (type === FLOAT) return view.getFloat32(at, true);
    if (type === DOUBLE) return view.getFloat64(at, true);
    const whole = view.getBigInt64(at, true);
    return BigInt(Number(whole)) === whole ? Number(whole) : whole;
  });
}
