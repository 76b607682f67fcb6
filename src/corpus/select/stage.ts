// What all passes of selection share: the options, the corpus in batches, worker threads.
import * as os from 'node:os';
import { entryFile } from '../../base/entry.ts';
import { DataError } from '../../base/errors.ts';
import { Progress } from '../../base/progress.ts';
import { readPartFile } from '../curate/part-file.ts';
import { readFiles } from '../read.ts';
import type { CorpusSpec, Document, InputFile, ReadHandlers } from '../types.ts';
import type { SelectionOutput } from './output.ts';
import type { SelectTask } from './worker.ts';

export const SELECT_METHODS = ['crisp', 'dsir', 'ifd', 'k-centre', 'nearest'] as const;
export type SelectMethod = (typeof SELECT_METHODS)[number];

/** Text a batch, in characters, and documents. */
const BATCH_CHARS = 1 << 19;
const BATCH_DOCUMENTS = 1024;

export interface SelectOptions {
  method: SelectMethod;
  /** The target; k-centre and ifd need none. */
  near?: CorpusSpec;
  from: CorpusSpec;
  /** What is read are the parts of a cleaned corpus: their documents keep their names and all of their metadata. */
  fromIsCleaned?: boolean;
  wanted: { unit: 'documents' | 'bytes'; amount: number };
  numClusters?: number;
  numTopics?: number;
  seed: number;
  /** Times that CRISP may write a document of a cluster of which there is too little; 1: never twice. */
  maxRepeats: number;
  /** Leaves out documents whose metadata.quality is less, or missing. */
  minQuality?: number;
  output: SelectionOutput;
  /** Lay out a map. */
  withMap?: boolean;
  /** Threads; all cores by default. Has no influence on the result. */
  numWorkers?: number;
  quiet?: boolean;
}

export interface Stage extends SelectOptions {
  files: readonly InputFile[];
  numFileBytes: number;
}

export const outputPath = (output: SelectionOutput): string => ('file' in output ? output.file : output.folder);

export const amountOf =
  (unit: SelectOptions['wanted']['unit']) =>
  ({ numBytes }: { numBytes: number }): number =>
    unit === 'documents' ? 1 : numBytes;

export const textsOf = (batch: readonly Document[]): string[] => batch.map(({ text }) => text);

/** The corpus in batches, in order, of the documents that `takes` takes. */
export async function* batchesOf(
  stage: Stage,
  label: string,
  takes: (document: Document) => boolean = () => true,
  handlers: ReadHandlers = {},
): AsyncGenerator<Document[]> {
  const progress = progressOf(stage, label);
  let batch: Document[] = [];
  let numChars = 0;
  for await (const document of documentsOf(stage, { ...handlers, ...showing(progress) })) {
    if (!takes(document)) continue;
    batch.push(document);
    numChars += document.text.length;
    if (numChars < BATCH_CHARS && batch.length < BATCH_DOCUMENTS) continue;
    yield batch;
    batch = [];
    numChars = 0;
  }
  if (batch.length > 0) yield batch;
  progress.finish();
}

export async function* documentsOf(stage: Stage, handlers: ReadHandlers): AsyncGenerator<Document> {
  if (stage.fromIsCleaned) for (const { path } of stage.files) yield* readPartFile(path);
  else yield* readFiles(stage.files, stage.from, handlers);
}

export function changed(stage: Stage): DataError {
  return new DataError(
    stage.files[0].path,
    'the documents changed while they were read (files are read four times). Run the same command again when nothing writes to them.',
  );
}

export function progressOf({ numFileBytes, quiet }: Stage, label: string): Progress {
  return new Progress({ label, total: numFileBytes, unit: 'bytes', quiet });
}

export function showing(progress: Progress): ReadHandlers {
  return { onProgress: ({ numBytesRead }) => progress.update(numBytesRead) };
}

export function pool({ numWorkers, numFileBytes }: Stage, workerData: SelectTask) {
  return {
    file: entryFile(import.meta.url, './worker.ts'),
    workerData,
    numWorkers: Math.max(1, Math.min(numWorkers ?? os.availableParallelism(), Math.ceil(numFileBytes / BATCH_CHARS))),
    name: 'selection',
  };
}

export const qualityOf = (metadata: Document['metadata']) => numberOf(metadata?.quality);
export const difficultyOf = (metadata: Document['metadata']) => numberOf(metadata?.ifd);

function numberOf(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}
