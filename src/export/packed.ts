// The data of frameworks that train on transformers: a row is a list of documents behind each other, with `seq_lengths` that part them, as
// TRL's packing makes it. Each has one token more than the model predicts from; the framework shifts labels by itself, so exactly our
// targets bear loss, and nothing is predicted across the border of two documents.
import { Progress } from '../base/progress.ts';
import { DatasetWriter } from './arrow.ts';
import { type Row, rowsOf } from './rows.ts';
import type { ExportSource } from './types.ts';

export interface Packed {
  numRows: number;
  /** Tokens that are read only to be predicted, as a share of all. */
  shareAdded: number;
}

/** Columns that are made of a row, by their names. */
export type Columns = Record<string, (row: Row) => Int32Array>;

const IGNORED = -100;

export const inputIds = (row: Row): Int32Array => joined(row.map(({ tokens }) => tokens));
export const labels = (row: Row): Int32Array =>
  joined(row.map(({ tokens, bearsLoss }) => tokens.map((token, i) => (bearsLoss[i] ? token : IGNORED))));
export const partLengths = (row: Row): Int32Array => Int32Array.from(row, ({ tokens }) => tokens.length);

function joined(parts: readonly Int32Array[]): Int32Array {
  const whole = new Int32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Writes all rows of a job as a dataset. */
export function writePacked({ job, plan, quiet }: ExportSource, folder: string, columns: Columns): Packed {
  const writer = new DatasetWriter(folder, Object.keys(columns));
  const makers = Object.values(columns);
  const progress = new Progress({ label: 'writing the data', total: plan.totalTokens, unit: 'tokens', quiet });
  let numRows = 0;
  let numRead = 0;
  let numParts = 0;
  for (const row of rowsOf(job)) {
    writer.add(makers.map((make) => make(row)));
    numRows += 1;
    for (const { tokens } of row) numRead += tokens.length;
    numParts += row.length;
    progress.update(numRead - numParts);
  }
  writer.finish(job.job.fingerprint);
  progress.finish();
  return { numRows, shareAdded: numParts / numRead };
}

/** Whether anything but the first token of a document bears no loss. */
export function hasMasks({ job }: ExportSource): boolean {
  const { phases, shards } = job.job;
  return phases.some(({ objective }) => objective === 'answers') && shards.some(({ maskDigest }) => maskDigest);
}
