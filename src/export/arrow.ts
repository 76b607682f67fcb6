// A folder as `datasets.Dataset.save_to_disk` writes it, of columns that are lists of whole numbers: files in Arrow's streaming format
// (https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format), which `datasets.load_from_disk` maps into memory as they lie,
// without a copy in its cache.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { makeFolder, writeAll, writeJsonAtomic } from '../base/files.ts';
import { fingerprint } from '../base/hash.ts';
import { FlatBuilder, type FlatField } from './flatbuffer.ts';

/** Numbers of a batch of rows, over all columns: 8 MB. */
const BATCH_NUMBERS = 2 ** 21;
const FILE_BYTES = 2 ** 30;

export class DatasetWriter {
  private readonly folder: string;
  private readonly columns: readonly string[];
  private readonly files: string[] = [];
  private fd: number | undefined;
  private fileBytes = 0;
  private rows: Int32Array[][] = [];
  private numNumbers = 0;

  constructor(folder: string, columns: readonly string[]) {
    this.folder = folder;
    this.columns = columns;
    makeFolder(folder, 'making the folder of the data');
  }

  /** @param row the list of each column */
  add(row: Int32Array[]): void {
    this.rows.push(row);
    this.numNumbers += row.reduce((sum, { length }) => sum + length, 0);
    if (this.numNumbers >= BATCH_NUMBERS) this.flush();
  }

  /** @param identity what the data follows from: tools keep what they derive under it */
  finish(identity: string): void {
    // A dataset without rows is one file with a schema.
    if (this.rows.length > 0 || this.files.length === 0) this.flush();
    this.close();
    writeJsonAtomic(path.join(this.folder, 'dataset_info.json'), {
      citation: '',
      description: '',
      // Versions of datasets before 4 know lists by this name only, and later ones still do.
      features: Object.fromEntries(
        this.columns.map((name) => [
          name,
          { feature: { dtype: 'int32', _type: 'Value' }, length: -1, _type: 'Sequence' },
        ]),
      ),
      homepage: '',
      license: '',
    });
    writeJsonAtomic(path.join(this.folder, 'state.json'), {
      _data_files: this.files.map((filename) => ({ filename })),
      _fingerprint: fingerprint({ identity, columns: this.columns }),
      _format_columns: null,
      _format_kwargs: {},
      _format_type: null,
      _output_all_columns: false,
      _split: null,
    });
  }

  private flush(): void {
    const fd = this.fd ?? this.open();
    const body = this.columns.flatMap((_, i) => listColumn(this.rows.map((row) => row[i]!)));
    const { message, bodyBytes } = recordBatch(this.columns, this.rows);
    writeAll(fd, message);
    for (const bytes of body) writeAll(fd, padded(bytes));
    this.fileBytes += message.length + bodyBytes;
    this.rows = [];
    this.numNumbers = 0;
    if (this.fileBytes >= FILE_BYTES) this.close();
  }

  private open(): number {
    const name = `data-${String(this.files.length).padStart(5, '0')}.arrow`;
    this.files.push(name);
    this.fd = fs.openSync(path.join(this.folder, name), 'w');
    this.fileBytes = 0;
    writeAll(this.fd, schema(this.columns));
    return this.fd;
  }

  private close(): void {
    if (this.fd === undefined) return;
    writeAll(this.fd, frame(Buffer.alloc(0)));
    fs.closeSync(this.fd);
    this.fd = undefined;
  }
}

/** Buffers of a column: offsets and values. Neither lists nor numbers are ever missing, so there are no bitmaps of what is. */
function listColumn(lists: readonly Int32Array[]): Uint8Array[] {
  const offsets = new Int32Array(lists.length + 1);
  lists.forEach((list, i) => {
    offsets[i + 1] = offsets[i]! + list.length;
  });
  const values = new Int32Array(offsets.at(-1)!);
  lists.forEach((list, i) => {
    values.set(list, offsets[i]);
  });
  return [bytesOf(offsets), bytesOf(values)];
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Int32Array) => new Uint8Array(buffer, byteOffset, byteLength);
const to8 = (bytes: number) => Math.ceil(bytes / 8) * 8;

function padded(bytes: Uint8Array): Uint8Array {
  if (bytes.length % 8 === 0) return bytes;
  const longer = new Uint8Array(to8(bytes.length));
  longer.set(bytes);
  return longer;
}

// Numbers of Arrow's Message.fbs and Schema.fbs.
const VERSION_5 = 4;
const SCHEMA = 1;
const RECORD_BATCH = 3;
const INT = 2;
const LIST = 12;

function schema(columns: readonly string[]): Buffer {
  const builder = new FlatBuilder();
  const fields = columns.map((name) => {
    const int32 = builder.table([
      { slot: 0, bytes: 4, value: 32 },
      { slot: 1, bytes: 1, value: 1 },
    ]);
    const item = field(builder, 'item', INT, int32, []);
    return field(builder, name, LIST, builder.table([]), [item]);
  });
  const header = builder.table([{ slot: 1, child: builder.vector(fields) }]);
  return message(builder, SCHEMA, header, 0);
}

function field(builder: FlatBuilder, name: string, type: number, typeTable: number, children: number[]): number {
  const list = builder.vector(children);
  const text = builder.text(name);
  return builder.table([
    { slot: 0, child: text },
    { slot: 3, child: typeTable },
    { slot: 5, child: list },
    { slot: 1, bytes: 1, value: 1 },
    { slot: 2, bytes: 1, value: type },
  ]);
}

/** The message that goes before a batch's buffers, and how many bytes these are. */
function recordBatch(
  columns: readonly string[],
  rows: readonly Int32Array[][],
): { message: Buffer; bodyBytes: number } {
  let at = 0;
  const buffer = (bytes: number) => {
    const place = [at, bytes];
    at += to8(bytes);
    return place;
  };
  const counts = columns.map((_, i) => rows.reduce((sum, row) => sum + row[i]!.length, 0));
  const buffers = counts.flatMap((count) => [buffer(0), buffer(4 * (rows.length + 1)), buffer(0), buffer(4 * count)]);
  const nodes = counts.flatMap((count) => [
    [rows.length, 0],
    [count, 0],
  ]);
  const builder = new FlatBuilder();
  const bufferList = builder.structs(buffers);
  const nodeList = builder.structs(nodes);
  const header = builder.table([
    { slot: 0, bytes: 8, value: rows.length },
    { slot: 1, child: nodeList },
    { slot: 2, child: bufferList },
  ]);
  return { message: message(builder, RECORD_BATCH, header, at), bodyBytes: at };
}

function message(builder: FlatBuilder, type: number, header: number, bodyBytes: number): Buffer {
  const fields: FlatField[] = [
    { slot: 3, bytes: 8, value: bodyBytes },
    { slot: 2, child: header },
    { slot: 0, bytes: 2, value: VERSION_5 },
    { slot: 1, bytes: 1, value: type },
  ];
  return frame(builder.finish(builder.table(fields)));
}

/** A message's metadata behind the mark that begins it and its length; of length 0 it ends the stream. */
function frame(metadata: Buffer): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(0xffffffff, 0);
  head.writeInt32LE(metadata.length, 4);
  return Buffer.concat([head, metadata]);
}
