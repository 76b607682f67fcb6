// A folder as `datasets.Dataset.save_to_disk` writes it, of columns that are lists of whole numbers: files in Arrow's streaming format
// (https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format), which `datasets.load_from_disk` maps into memory as they lie,
// without a copy in its cache.
import * as fs from 'node:fs';
import * as path from 'node:path';
import {
  AsyncByteQueue,
  Field,
  Int32,
  List,
  makeData,
  RecordBatch,
  RecordBatchStreamWriter,
  Schema,
  Struct,
} from 'apache-arrow';
import { makeFolder, writeAll, writeJsonAtomic } from '../base/files.ts';
import { fingerprint } from '../base/hash.ts';

/** Numbers of a batch of rows, over all columns: 8 MB. */
const BATCH_NUMBERS = 2 ** 21;
const FILE_BYTES = 2 ** 30;
const INTEGERS = new List(new Field('item', new Int32(), true));

export class DatasetWriter {
  private readonly folder: string;
  private readonly columns: readonly string[];
  private readonly schema: Schema;
  private readonly files: string[] = [];
  private file: ArrowFile | undefined;
  private rows: Int32Array[][] = [];
  private numNumbers = 0;

  constructor(folder: string, columns: readonly string[]) {
    this.folder = folder;
    this.columns = columns;
    this.schema = new Schema(columns.map((name) => new Field(name, INTEGERS, true)));
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
    if (!this.file) {
      const name = `data-${String(this.files.length).padStart(5, '0')}.arrow`;
      this.files.push(name);
      this.file = new ArrowFile(path.join(this.folder, name), this.schema);
    }
    this.file.write(this.rows);
    this.rows = [];
    this.numNumbers = 0;
    if (this.file.numBytes >= FILE_BYTES) this.close();
  }

  private close(): void {
    this.file?.close();
    this.file = undefined;
  }
}

/** What a writer of Arrow's gives out, at once in the file: its own queue would hold all of it until somebody reads. */
class FileSink extends AsyncByteQueue {
  readonly fd: number;
  numBytes = 0;

  constructor(file: string) {
    super();
    this.fd = fs.openSync(file, 'w');
  }

  override write(bytes: Uint8Array): void {
    writeAll(this.fd, bytes);
    this.numBytes += bytes.length;
  }
}

class ArrowFile {
  private readonly schema: Schema;
  private readonly sink: FileSink;
  private readonly writer = new RecordBatchStreamWriter({ autoDestroy: false });

  constructor(file: string, schema: Schema) {
    this.schema = schema;
    this.sink = new FileSink(file);
    this.writer.reset(this.sink, schema);
  }

  get numBytes(): number {
    return this.sink.numBytes;
  }

  /** @param rows each the lists of all columns */
  write(rows: readonly Int32Array[][]): void {
    const children = this.schema.fields.map((_, i) => listColumn(rows.map((row) => row[i]!)));
    const type = new Struct(this.schema.fields);
    this.writer.write(new RecordBatch(this.schema, makeData({ type, length: rows.length, nullCount: 0, children })));
  }

  close(): void {
    this.writer.finish();
    fs.closeSync(this.sink.fd);
  }
}

function listColumn(lists: readonly Int32Array[]) {
  const valueOffsets = new Int32Array(lists.length + 1);
  lists.forEach((list, i) => {
    valueOffsets[i + 1] = valueOffsets[i]! + list.length;
  });
  const data = new Int32Array(valueOffsets.at(-1)!);
  lists.forEach((list, i) => {
    data.set(list, valueOffsets[i]);
  });
  const child = makeData({ type: new Int32(), length: data.length, nullCount: 0, data });
  return makeData({ type: INTEGERS, length: lists.length, nullCount: 0, valueOffsets, child });
}
