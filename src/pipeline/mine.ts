// Mining: of many documents, those near a set of question and answer examples, as a corpus of their own.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { ConfigError } from '../base/errors.ts';
import { explainSystemError, makeFolder } from '../base/files.ts';
import { formatCount } from '../base/units.ts';
import { findInputFiles, type MineSummary, mineDocuments } from '../corpus/index.ts';
import type { PipelineOptions } from './types.ts';

/** As in the paper that mines documents near its QA set (Parmar et al. 2024, arXiv 2407.07263, appendix). */
const DEFAULT_NEIGHBOURS = 50;
/** In the demo's text: 88 % of what belongs together reaches it, and one document in 2700 that does not (docs/LOG.md). */
const DEFAULT_MIN_SCORE = 0.03;

export interface MineRequest {
  /** Files, folders or globs with the examples, and with the documents. */
  near: string[];
  from: string[];
  out: string;
  /** Neighbours an example. */
  top?: number;
  /** Least cosine, above 0, at most 1. */
  minScore?: number;
  /** Field or column with the text: of the documents, of the examples. */
  field?: string;
  nearField?: string;
  /** Share of unreadable documents, and of unreadable examples, that is accepted; 0.01 by default. */
  maxBadShare?: number;
  /** Overwrite `out`. */
  force?: boolean;
}

export interface MineResult extends MineSummary {
  out: string;
  top: number;
  minScore: number;
  seconds: number;
}

/** @throws ConfigError, also where no document is near enough; DataError */
export async function mine(request: MineRequest, options: PipelineOptions = {}): Promise<MineResult> {
  const { out, near, from, top = DEFAULT_NEIGHBOURS, minScore = DEFAULT_MIN_SCORE, maxBadShare } = request;
  if (!(minScore > 0 && minScore <= 1))
    throw new ConfigError(`--min-score: expected a cosine above 0, at most 1, found ${minScore}.`);
  if (maxBadShare !== undefined && !(maxBadShare >= 0 && maxBadShare <= 1))
    throw new ConfigError(`--max-bad-share: expected a share from 0 to 1, found ${maxBadShare}.`);
  await checkOutput(request);
  const start = performance.now();
  const summary = await mineDocuments({
    near: { name: 'the examples', paths: near, field: request.nearField, maxBadShare },
    from: { name: 'the documents', paths: from, field: request.field, maxBadShare },
    top,
    minScore,
    file: out,
    numWorkers: options.threads,
    quiet: options.quiet,
  });
  if (summary.numMined === 0) throw nothingFound(summary, minScore);
  return { out, top, minScore, ...summary, seconds: (performance.now() - start) / 1000 };
}

/** Before anything is read: nobody likes to wait for nothing. */
async function checkOutput({ out, near, from, force }: MineRequest): Promise<void> {
  if (!/\.(jsonl|ndjson)$/.test(out))
    throw new ConfigError(`--out: expected a name that ends in .jsonl, found ${out}. What is written are JSON lines.`);
  if (!fs.existsSync(out)) {
    const folder = path.dirname(path.resolve(out));
    makeFolder(folder);
    try {
      fs.accessSync(folder, fs.constants.W_OK);
    } catch (error) {
      throw explainSystemError(error, folder, 'writing the mined documents');
    }
    return;
  }
  if (!force)
    throw new ConfigError(`${out}: exists already. Choose another name with --out, or overwrite it with --force.`);
  const real = fs.realpathSync(out);
  if (
    (await findInputFiles([...near, ...from])).files.some(
      (file) => fs.existsSync(file.path) && fs.realpathSync(file.path) === real,
    )
  )
    throw new ConfigError(`${out}: is among the files that are read. Choose another name with --out.`);
}

function nothingFound(
  { numDocuments, numQueries, bestScore, contaminated }: MineSummary,
  minScore: number,
): ConfigError {
  const held =
    contaminated.numDocuments > 0
      ? ` ${formatCount(contaminated.numDocuments)} documents that hold an example word for word were left out.`
      : '';
  const best =
    bestScore > 0
      ? `the nearest has ${bestScore.toPrecision(2)}. Lower --min-score, or mine other documents.`
      : 'none shares a word with one that counts. Are they of one language, and is --field the right one?';
  return new ConfigError(
    `Nothing was mined: of ${formatCount(numDocuments)} documents none has a cosine of ${minScore} with one of ${formatCount(numQueries)} ` +
      `examples; ${best}${held}`,
  );
}
