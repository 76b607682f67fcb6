// Paths -> documents. Everything that is left out passes through here, is counted and handed to the caller with its reason; too large a
// share of bad records is an error, since a corpus that is mostly unreadable is more likely the wrong field than bad luck. So is a damaged
// container, whose one bad record may stand for any number of lost documents.
import { DataError } from '../base/errors.ts';
import { findInputFiles } from './paths.ts';
import { readCodeFile } from './readers/code.ts';
import { readCsvFile } from './readers/csv.ts';
import { readHtmlFile } from './readers/html.ts';
import { readJsonlFile } from './readers/jsonl.ts';
import { readOfficeFile } from './readers/office.ts';
import { readParquetFile } from './readers/parquet.ts';
import { readTextFile } from './readers/text.ts';
import { readWarcFile } from './readers/warc.ts';
import type {
  BadRecord,
  CorpusSpec,
  Document,
  InputFile,
  ReadCounts,
  ReaderItem,
  ReaderOptions,
  ReadHandlers,
} from './types.ts';

export const DEFAULT_MAX_BAD_SHARE = 0.01;
export const DEFAULT_MAX_RECORD_BYTES = 256 * 1000 * 1000;
/** Before this many bad records nothing is stopped early: a few at the beginning of a large corpus say little about the rest. */
export const MIN_BAD_TO_STOP = 100;
const NUM_EXAMPLES = 5;

export const noCounts = (): ReadCounts => ({
  numRecords: 0,
  numDocuments: 0,
  numBadRecords: 0,
  numEmptyDocuments: 0,
  numLeftOut: 0,
  numBytesRead: 0,
});

/**
 * Documents of a corpus in a fixed order (files by path, records as they stand).
 * @throws ConfigError for paths, columns; DataError when the share of bad records exceeds `maxBadShare`, or, unless that is 1, where
 * compressed or Parquet data is damaged
 */
export async function* readCorpus(spec: CorpusSpec, handlers: ReadHandlers = {}): AsyncGenerator<Document> {
  const { files } = await findInputFiles(spec.paths, spec.baseFolder);
  yield* readFiles(files, spec, handlers);
}

/** readCorpus on a list of files already resolved by findInputFiles. */
export async function* readFiles(
  files: readonly InputFile[],
  spec: Omit<CorpusSpec, 'paths' | 'baseFolder'>,
  handlers: ReadHandlers = {},
): AsyncGenerator<Document> {
  const { maxBadShare = DEFAULT_MAX_BAD_SHARE, maxRecordBytes = DEFAULT_MAX_RECORD_BYTES } = spec;
  const counts = noCounts();
  const examples: BadRecord[] = [];
  const tooManyBad = () => counts.numBadRecords > maxBadShare * counts.numRecords;
  const options: ReaderOptions = {
    field: spec.field,
    maxRecordBytes,
    onBytes: (n) => {
      counts.numBytesRead += n;
    },
  };
  for (const file of files) {
    for await (const item of readFile(file, options)) {
      if ('leftOut' in item) {
        counts.numLeftOut++;
        handlers.onLeftOut?.(item.leftOut);
        continue;
      }
      counts.numRecords++;
      if ('bad' in item) {
        counts.numBadRecords++;
        if (item.bad.losesRest && maxBadShare < 1) throw damageError(spec.name, item.bad);
        if (examples.length < NUM_EXAMPLES) examples.push(item.bad);
        handlers.onBadRecord?.(item.bad);
        if (counts.numBadRecords >= MIN_BAD_TO_STOP && tooManyBad())
          throw badShareError(spec.name, counts, maxBadShare, examples);
      } else if (item.document.text.trim() === '') {
        counts.numEmptyDocuments++;
        handlers.onEmptyDocument?.(item.document.id);
      } else {
        counts.numDocuments++;
        handlers.onProgress?.(counts);
        yield item.document;
      }
    }
  }
  if (tooManyBad()) throw badShareError(spec.name, counts, maxBadShare, examples);
}

function readFile(file: InputFile, options: ReaderOptions): AsyncIterable<ReaderItem> {
  switch (file.kind) {
    case 'text':
      return readTextFile(file, options);
    case 'code':
      return readCodeFile(file, options);
    case 'html':
      return readHtmlFile(file, options);
    case 'jsonl':
      return readJsonlFile(file, options);
    case 'csv':
      return readCsvFile(file, options);
    case 'parquet':
      return readParquetFile(file, options);
    case 'warc':
      return readWarcFile(file, options);
    case 'pdf':
    case 'docx':
    case 'epub':
      return readOfficeFile(file, options);
  }
}

export function damageError(name: string | undefined, { file, offset, reason }: BadRecord): DataError {
  return new DataError(
    file,
    `${reason}. What follows is lost${name ? ` to corpus "${name}"` : ''}: repair the file or fetch it again. To go on with what can ` +
      "still be read, set the corpus's `maxBadShare` to 1.",
    offset,
  );
}

export function badShareError(
  name: string | undefined,
  counts: ReadCounts,
  maxBadShare: number,
  examples: readonly BadRecord[],
): DataError {
  const { numBadRecords, numRecords } = counts;
  const share = (100 * numBadRecords) / numRecords;
  const list = examples.map((bad) => `  ${describeBadRecord(bad)}`).join('\n');
  return new DataError(
    examples[0].file,
    `${numBadRecords} of ${numRecords} records${name ? ` of corpus "${name}"` : ''} cannot be used (${Number(share.toPrecision(3))} %, ` +
      `at most ${Number((100 * maxBadShare).toPrecision(3))} % accepted):\n${list}\n` +
      "Repair them, choose another `field`, or, if they may be left out, raise the corpus's `maxBadShare`.",
  );
}

/** "file:12: reason" */
export function describeBadRecord({ file, line, row, offset, reason }: BadRecord): string {
  const place =
    line !== undefined
      ? `:${line}`
      : row !== undefined
        ? `#${row}`
        : offset !== undefined
          ? ` (at byte ${offset})`
          : '';
  return `${file}${place}: ${reason}`;
}
