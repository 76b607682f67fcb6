// Document mining: of many documents, those nearest to a set of queries (question and answer examples, say), so that the second phase has
// more text of their kind and repeats the examples less (Parmar et al. 2024, arXiv 2407.07263, section on document mining). The paper
// embeds with a language model; here a text is its words and pairs of words, hashed, weighed by TF-IDF, and nearness is the cosine: it finds
// what shares words and names, not what only shares a meaning.
//
// The documents are streamed three times: to count in how many each feature occurs, to score, and to fetch the texts of the best.
// Memory depends on the queries, on how many neighbours each may have, and on the longest document.
import * as fs from 'node:fs';
import * as os from 'node:os';
import { entryFile } from '../base/entry.ts';
import { ConfigError, DataError } from '../base/errors.ts';
import { explainSystemError, readExactly, writeAll, writeFileInPieces } from '../base/files.ts';
import { hashFraction } from '../base/hash.ts';
import { Progress } from '../base/progress.ts';
import { formatCount } from '../base/units.ts';
import { mapOnWorkers } from '../base/worker-pool.ts';
import type { Message } from './conversation.ts';
import { NUM_BUCKETS } from './mining/features.ts';
import { type MinedDocuments, mergeNearest, NearestDocuments, SCORE_SCALE } from './mining/nearest.ts';
import { buildIndex, QueryWords, shared } from './mining/query-index.ts';
import { WordList } from './mining/words.ts';
import type { MineTask, ScoredBatch } from './mining/worker.ts';
import { openNameless } from './nameless.ts';
import { findInputFiles } from './paths.ts';
import { readFiles } from './read.ts';
import type { CorpusSpec, Document, InputFile, ReadCounts } from './types.ts';

export const MAX_QUERIES = 100_000;
/** Words of all queries: up to 240 MB, and 320 MB of postings. */
const MAX_QUERY_WORDS = 20_000_000;
/** Neighbours of all queries, 24 bytes each: 480 MB. */
const MAX_NEIGHBOURS = 20_000_000;
/** Text a batch, in characters. */
const BATCH_CHARS = 1 << 19;
/** Documents a batch, which may all be near all queries: bounds the scores that are under way. */
const BATCH_DOCUMENTS = 256;
const NUM_EXAMPLES = 5;

export interface MineOptions {
  near: CorpusSpec;
  from: CorpusSpec;
  /** Neighbours a query. */
  top: number;
  /** Least cosine, 0 to 1. */
  minScore: number;
  /** The JSON lines that are written. */
  file: string;
  /** Threads; all cores by default. Has no influence on the result. */
  numWorkers?: number;
  /** No progress. */
  quiet?: boolean;
}

/** A line of the file that is written. */
export interface MinedDocument {
  id: string;
  text?: string;
  /** Instead of the text, where the document is a conversation. */
  messages?: Message[];
  source: string;
  /** Cosine with the nearest query. */
  score: number;
  /** Id of the nearest query. */
  nearest: string;
}

export interface MineSummary {
  /** Different ones. */
  numQueries: number;
  /** Further queries of the same text. */
  numQueryCopies: number;
  numQueriesWithoutNeighbour: number;
  /** Documents that were read. */
  numDocuments: number;
  numMined: number;
  /** UTF-8, of the mined texts. */
  numBytesMined: number;
  /** Mined documents that are among the nearest of two queries or more. */
  numNearSeveral: number;
  /** Further documents of the same text as a mined one. */
  numCopies: number;
  /** Documents that are a query or hold one, word for word: left out. */
  contaminated: { numDocuments: number; examples: { document: string; query: string }[] };
  numBadRecords: number;
  numEmptyDocuments: number;
  /** Of any document and query; of the first and the last mined one. */
  bestScore: number;
  scores: { highest: number; lowest: number } | undefined;
}

/**
 * Writes the union of the `top` nearest documents of each query, each text once, best first. Of equal scores the document that is read first
 * is the better one. Where no document is near enough nothing is written.
 * @throws ConfigError for paths, too many queries; DataError for unreadable records, no query, no document, files that change meanwhile
 */
export async function mineDocuments(options: MineOptions): Promise<MineSummary> {
  const { queries, numQueryCopies } = await readQueries(options);
  const { files } = await findInputFiles(options.from.paths, options.from.baseFolder);
  const stage: Stage = { ...options, files, numBytes: files.reduce((sum, file) => sum + file.sizeBytes, 0) };
  const frequencies = shared(Uint32Array, NUM_BUCKETS);
  const counts = await countFeatures(stage, frequencies);
  const { heaps, ...scored } = await scoreDocuments(stage, queries, frequencies, counts.numDocuments);
  const mined = mergeNearest(heaps);
  const numMined = mined.documents.length;
  const numBytesMined = numMined > 0 ? await writeMined(stage, queries, mined) : 0;
  return {
    numQueries: queries.ids.length,
    numQueryCopies,
    numQueriesWithoutNeighbour: heaps.sizes.reduce((sum, size) => sum + (size === 0 ? 1 : 0), 0),
    numDocuments: counts.numDocuments,
    numMined,
    numBytesMined,
    numNearSeveral: mined.numNear.reduce((sum, near) => sum + (near > 1 ? 1 : 0), 0),
    ...scored,
    numBadRecords: counts.numBadRecords,
    numEmptyDocuments: counts.numEmptyDocuments,
    scores:
      numMined > 0
        ? { highest: mined.scores[mined.bestFirst[0]], lowest: mined.scores[mined.bestFirst[numMined - 1]] }
        : undefined,
  };
}

interface Stage extends MineOptions {
  files: readonly InputFile[];
  numBytes: number;
}

async function readQueries({ near, top }: MineOptions): Promise<{ queries: QueryWords; numQueryCopies: number }> {
  const { files } = await findInputFiles(near.paths, near.baseFolder);
  const queries = new QueryWords();
  const list = new WordList();
  const seen = new Set<number>();
  let numQueryCopies = 0;
  for await (const { id, text } of readFiles(files, near)) {
    const hash = hashFraction(text);
    if (seen.has(hash)) {
      numQueryCopies++;
      continue;
    }
    seen.add(hash);
    list.read(text);
    queries.add(id, list);
    const numQueries = queries.ids.length;
    if (numQueries > MAX_QUERIES || queries.numWords > MAX_QUERY_WORDS)
      throw new ConfigError(
        `${files[0].path}: too many queries to search near: at most ${formatCount(MAX_QUERIES)} with ${formatCount(MAX_QUERY_WORDS)} words ` +
          `together are taken, found ${numQueries} with ${formatCount(queries.numWords)} words before the end. Give a sample of them.`,
      );
    if (numQueries * top > MAX_NEIGHBOURS)
      throw new ConfigError(
        `${top} neighbours for each of ${numQueries} queries or more: expected at most ${formatCount(MAX_NEIGHBOURS)} together. ` +
          'Ask for fewer neighbours, or give a sample of the queries.',
      );
  }
  if (queries.numWords === 0)
    throw new DataError(
      files[0].path,
      `no query: ${formatFiles(files)}, ${queries.ids.length} texts, none with a word. Expected texts such as question and answer examples.`,
    );
  return { queries, numQueryCopies };
}

async function countFeatures(stage: Stage, frequencies: Uint32Array): Promise<Reading> {
  const task: MineTask = { kind: 'count', frequencies };
  const progress = progressOf(stage, 'counting words');
  const reading = emptyCounts();
  for await (const { batch } of mapOnWorkers(textBatches(stage, reading), textsOf, poolOptions(stage, task)))
    progress.update(batch.numBytesRead);
  progress.finish();
  if (reading.numDocuments === 0)
    throw new DataError(
      stage.files[0].path,
      `no document to mine: ${formatFiles(stage.files)}, ${reading.numEmptyDocuments} empty documents, ${reading.numBadRecords} bad records, no text.`,
    );
  return reading;
}

async function scoreDocuments(stage: Stage, queries: QueryWords, frequencies: Uint32Array, numDocuments: number) {
  const index = buildIndex(queries, frequencies, numDocuments);
  const heaps = new NearestDocuments(index.numQueries, stage.top);
  const thresholds = shared(Int32Array, index.numQueries).fill(Math.floor(stage.minScore * SCORE_SCALE));
  const task: MineTask = { kind: 'score', index, thresholds };
  const contaminated: MineSummary['contaminated'] = { numDocuments: 0, examples: [] };
  const progress = progressOf(stage, 'scoring documents');
  const reading = emptyCounts();
  const batches = mapOnWorkers<TextBatch, ScoredBatch>(textBatches(stage, reading), textsOf, poolOptions(stage, task));
  let document = 0;
  let numCopies = 0;
  let bestScore = 0;
  for await (const { batch, result } of batches) {
    bestScore = Math.max(bestScore, result.bestScore);
    let at = 0;
    for (let i = 0; i < batch.texts.length; i++, document++) {
      const query = result.verbatim[i];
      if (query >= 0 && contaminated.numDocuments++ < NUM_EXAMPLES)
        contaminated.examples.push({ document: batch.ids[i], query: queries.ids[query] });
      let isCopy = false;
      for (const end = at + result.numNear[i]; at < end; at++) {
        const [near, score] = [result.queries[at], result.scores[at]];
        if (score < stage.minScore) continue;
        const fate = heaps.offer(near, score, document, result.hashes[i]);
        if (fate === 'copy') isCopy = true;
        const worst = heaps.worstScore(near);
        if (fate === 'taken' && worst >= 0) Atomics.store(thresholds, near, Math.floor(worst * SCORE_SCALE));
      }
      if (isCopy) numCopies++;
    }
    progress.update(batch.numBytesRead);
  }
  progress.finish();
  if (document !== numDocuments) throw changed(stage);
  return { heaps, contaminated, numCopies, bestScore };
}

/**
 * Fetches the texts. They come in the order of reading and go out best first, so they lie in a file without a name in between: it vanishes
 * with the process.
 * @returns UTF-8 bytes of the texts
 */
async function writeMined(stage: Stage, queries: QueryWords, mined: MinedDocuments): Promise<number> {
  const { fd, file } = openNameless(stage.file, 'texts', 'writing the mined documents');
  try {
    const ends = new Float64Array(mined.documents.length);
    let numBytes = 0;
    let found = 0;
    let position = 0;
    let document = 0;
    const progress = progressOf(stage, 'fetching texts');
    for await (const { id, text, messages, source } of documentsOf(stage, progress)) {
      if (document++ !== mined.documents[found]) continue;
      if (hashFraction(text) !== mined.hashes[found]) throw changed(stage);
      const score = Number(mined.scores[found].toFixed(6));
      const content = messages ? { messages } : { text };
      const line: MinedDocument = { id, ...content, source, score, nearest: queries.ids[mined.nearest[found]] };
      const bytes = Buffer.from(`${JSON.stringify(line)}\n`);
      writeAll(fd, bytes);
      position += bytes.length;
      ends[found++] = position;
      numBytes += Buffer.byteLength(text);
      if (found === ends.length) break;
    }
    progress.finish();
    if (found < ends.length) throw changed(stage);
    writeFileInPieces(stage.file, (write) => {
      for (const i of mined.bestFirst) {
        const start = i === 0 ? 0 : ends[i - 1];
        const bytes = Buffer.allocUnsafe(ends[i] - start);
        readExactly(fd, bytes, start, file);
        write(bytes);
      }
    });
    return numBytes;
  } catch (error) {
    throw explainSystemError(error, stage.file, 'writing the mined documents');
  } finally {
    fs.closeSync(fd);
  }
}

function changed(stage: Stage): DataError {
  return new DataError(
    stage.files[0].path,
    'the documents changed while they were read (files are read three times). Run the same command again when nothing writes to them.',
  );
}

const formatFiles = ({ length }: readonly InputFile[]): string => `${length} ${length === 1 ? 'file' : 'files'}`;

interface TextBatch {
  ids: string[];
  texts: string[];
  numBytesRead: number;
}

const textsOf = (batch: TextBatch): string[] => batch.texts;

/** Batches of documents in order; `reading` is kept up to date. */
async function* textBatches(stage: Stage, reading: Reading): AsyncGenerator<TextBatch> {
  let batch: TextBatch = { ids: [], texts: [], numBytesRead: 0 };
  let numChars = 0;
  const documents = readFiles(stage.files, stage.from, {
    onBadRecord: () => reading.numBadRecords++,
    onEmptyDocument: () => reading.numEmptyDocuments++,
    onProgress: (counts) => {
      reading.numBytesRead = counts.numBytesRead;
    },
  });
  for await (const { id, text } of documents) {
    reading.numDocuments++;
    batch.ids.push(id);
    batch.texts.push(text);
    numChars += text.length;
    if (numChars < BATCH_CHARS && batch.texts.length < BATCH_DOCUMENTS) continue;
    yield { ...batch, numBytesRead: reading.numBytesRead };
    batch = { ids: [], texts: [], numBytesRead: 0 };
    numChars = 0;
  }
  if (batch.texts.length > 0) yield { ...batch, numBytesRead: reading.numBytesRead };
}

function documentsOf(stage: Stage, progress: Progress): AsyncIterable<Document> {
  return readFiles(stage.files, stage.from, { onProgress: (counts) => progress.update(counts.numBytesRead) });
}

type Reading = Omit<ReadCounts, 'numRecords' | 'numLeftOut'>;

function emptyCounts(): Reading {
  return { numDocuments: 0, numBadRecords: 0, numEmptyDocuments: 0, numBytesRead: 0 };
}

function progressOf({ numBytes, quiet }: Stage, label: string): Progress {
  return new Progress({ label, total: numBytes, unit: 'bytes', quiet });
}

function poolOptions({ numWorkers, numBytes }: Stage, workerData: MineTask) {
  return {
    file: entryFile(import.meta.url, './mining/worker.ts'),
    workerData,
    numWorkers: Math.max(1, Math.min(numWorkers ?? os.availableParallelism(), Math.ceil(numBytes / BATCH_CHARS))),
    name: 'mining',
  };
}
