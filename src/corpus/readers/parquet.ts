// .parquet: a row is a record, its text in one column or several; only those and the columns of metadata are read, a page at a time. The
// format is parsed by our own code in ../parquet: known readers believe the sizes that a damaged file claims, and one flipped byte made one of them ask for all memory.
import * as fs from 'node:fs';
import { ConfigError, nearestName } from '../../base/errors.ts';
import { explainSystemError } from '../../base/files.ts';
import { METADATA_FIELDS, metadataOf, parseField, type TextField, textOfRecord } from '../fields.ts';
import { type ParquetColumn, type ParquetFooter, readFooter } from '../parquet/footer.ts';
import { readColumn } from '../parquet/pages.ts';
import { fileSource } from '../parquet/source.ts';
import { isRemote, withLocalCopy } from '../remote/index.ts';
import { decodeText } from '../text.ts';
import type { InputFile, ReaderItem, ReaderOptions } from '../types.ts';

export function readParquetFile(file: InputFile, options: ReaderOptions): AsyncIterable<ReaderItem> {
  if (!isRemote(file.path)) return readLocal(file, file.path, options);
  return withLocalCopy(file, options.onBytes, (copy) => readLocal(file, copy, { ...options, onBytes: () => {} }));
}

/** @param local where the file's bytes are */
async function* readLocal(file: InputFile, local: string, options: ReaderOptions): AsyncGenerator<ReaderItem> {
  let fd: number;
  try {
    fd = fs.openSync(local, 'r');
  } catch (error) {
    throw explainSystemError(error, file.path, 'reading documents');
  }
  try {
    const source = fileSource(fd, options.onBytes);
    let footer: ParquetFooter;
    try {
      footer = readFooter(source);
    } catch (error) {
      const reason = `damaged Parquet footer, perhaps of a truncated file (${(error as Error).message})`;
      yield { bad: { file: file.path, reason, losesRest: true } };
      return;
    }
    const field = parseField(options.field);
    const chosen = chooseColumns(file.path, footer.columns, field);
    let row = 0;
    for (const { numRows, chunks } of footer.rowGroups) {
      const columns = chosen.map((index) => ({
        name: footer.columns[index].name,
        values: readColumn(source, chunks[index], footer.columns[index], numRows),
      }));
      yield* readRowGroup(file.path, field, row, numRows, columns);
      row += numRows;
    }
  } finally {
    fs.closeSync(fd);
  }
}

function* readRowGroup(
  file: string,
  field: TextField,
  firstRow: number,
  numRows: number,
  columns: readonly { name: string; values: Iterator<Uint8Array | null> }[],
): Generator<ReaderItem> {
  let row = firstRow;
  try {
    for (; row < firstRow + numRows; row++) {
      const record: Record<string, string | null> = {};
      let reason: string | undefined;
      for (const { name, values } of columns) {
        const { value, done } = values.next();
        if (done) throw new Error(`column "${name}" ends`);
        const text = value === null ? null : decodeText(value);
        const isText = field.names.includes(name);
        if (text === undefined && isText) reason ??= `column "${name}" is not valid UTF-8`;
        else if (text === null && isText && !field.template) reason ??= `column "${name}" is null, expected a string`;
        else record[name] = text ?? null;
      }
      const result = reason === undefined ? textOfRecord(record, field) : { reason };
      if ('reason' in result) {
        yield { bad: { file, row, reason: result.reason } };
        continue;
      }
      const metadata = metadataOf(record, field);
      const document = { id: `${file}#${row}`, text: result.text, source: file };
      yield { document: metadata ? { ...document, metadata } : document };
    }
  } catch (error) {
    const reason = `damaged data (${(error as Error).message}) in row ${row}`;
    yield { bad: { file, row, reason, losesRest: true } };
  }
}

/**
 * Indices of the columns with the text, then of those with metadata.
 * @throws ConfigError when the file lacks a column of the text, or it holds something else than one string a row
 */
function chooseColumns(file: string, columns: readonly ParquetColumn[], field: TextField): number[] {
  const names = columns.map((column) => column.name);
  const present = field.names.filter((name) => names.includes(name));
  const missing = field.template
    ? field.names.filter((name) => !names.includes(name))
    : present.length
      ? []
      : field.names;
  if (missing.length > 0) {
    const near = nearestName(missing[0], names);
    throw new ConfigError(
      `${file}: no column "${missing.join('" or "')}" (columns: ${names.slice(0, 20).join(', ')}).` +
        (near ? ` Did you mean "${near}"?` : ' Name the one that holds the text with `field`.'),
    );
  }
  const texts = (field.template ? present : present.slice(0, 1)).map((name) => names.indexOf(name));
  for (const index of texts) {
    const { name, isBytes, isRepeated } = columns[index];
    if (isBytes && !isRepeated) continue;
    const found = isRepeated ? 'lists' : 'numbers or fixed-length values';
    throw new ConfigError(
      `${file}: column "${name}" holds ${found}, expected strings. Choose another one with \`field\`.`,
    );
  }
  const others = METADATA_FIELDS.map((name) => names.indexOf(name)).filter(
    (index) => index >= 0 && !texts.includes(index) && columns[index].isBytes && !columns[index].isRepeated,
  );
  return [...texts, ...others];
}
