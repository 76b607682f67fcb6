// .parquet: a row is a record, its text in one column; only that column is read, a page at a time. The format is parsed by our own code in
// ../parquet: known readers believe the sizes that a damaged file claims, and one flipped byte made one of them ask for all memory.
import * as fs from 'node:fs';
import { ConfigError, nearestName } from '../../base/errors.ts';
import { explainSystemError } from '../../base/files.ts';
import { type ParquetColumn, type ParquetFooter, readFooter } from '../parquet/footer.ts';
import { readColumn } from '../parquet/pages.ts';
import { fileSource } from '../parquet/source.ts';
import { decodeText } from '../text.ts';
import type { InputFile, ReaderItem, ReaderOptions } from '../types.ts';

const DEFAULT_COLUMNS = ['text', 'content'];

export async function* readParquetFile(file: InputFile, options: ReaderOptions): AsyncGenerator<ReaderItem> {
  let fd: number;
  try {
    fd = fs.openSync(file.path, 'r');
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
    const index = chooseColumn(file.path, footer.columns, options.field);
    let row = 0;
    for (const { numRows, chunks } of footer.rowGroups) {
      const { name } = footer.columns[index];
      yield* readRowGroup(file.path, name, row, readColumn(source, chunks[index], footer.columns[index], numRows));
      row += numRows;
    }
  } finally {
    fs.closeSync(fd);
  }
}

function* readRowGroup(
  file: string,
  column: string,
  firstRow: number,
  values: Iterable<Uint8Array | null>,
): Generator<ReaderItem> {
  let row = firstRow;
  try {
    for (const value of values) {
      const text = value === null ? undefined : decodeText(value);
      if (text !== undefined) yield { document: { id: `${file}#${row}`, text, source: file } };
      else
        yield {
          bad: {
            file,
            row,
            reason: `column "${column}" is ${value === null ? 'null, expected a string' : 'not valid UTF-8'}`,
          },
        };
      row++;
    }
  } catch (error) {
    const reason = `damaged data (${(error as Error).message}) in row ${row}`;
    yield { bad: { file, row, reason, losesRest: true } };
  }
}

/** @throws ConfigError when the file has no such column, or it holds something else than one string a row */
function chooseColumn(file: string, columns: readonly ParquetColumn[], field: string | undefined): number {
  const wanted = field === undefined ? DEFAULT_COLUMNS : [field];
  const names = columns.map((column) => column.name);
  const name = wanted.find((candidate) => names.includes(candidate));
  if (name === undefined) {
    const near = field === undefined ? undefined : nearestName(field, names);
    throw new ConfigError(
      `${file}: no column "${wanted.join('" or "')}" (columns: ${names.slice(0, 20).join(', ')}).` +
        (near ? ` Did you mean "${near}"?` : ' Name the one that holds the text with `field`.'),
    );
  }
  const index = names.indexOf(name);
  if (columns[index].isBytes && !columns[index].isRepeated) return index;
  const found = columns[index].isRepeated ? 'lists' : 'numbers or fixed-length values';
  throw new ConfigError(
    `${file}: column "${name}" holds ${found}, expected strings. Choose another one with \`field\`.`,
  );
}
