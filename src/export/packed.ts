// The data of frameworks that train on transformers, as datasets of token ids. These shift labels by themselves: what is predicted from a
// token has to stand in the labels one place behind it. Two ways to lay out a row's documents so that exactly our targets bear loss:
//
// - joined: behind each other, each with one token more than the model reads, and their lengths beside them. What TRL's packing makes, and
//   no label is ever out of place; rows have different lengths.
// - flat: as the model reads them, with labels that at the border of two documents differ from the tokens, positions that begin again with
//   each, and numbers of documents. All rows have one length, a few places longer than what is read, for the last label.
import { Progress } from '../base/progress.ts';
import { DatasetWriter } from './arrow.ts';
import { type Row, rowsOf } from './rows.ts';
import type { ExportSource } from './types.ts';

const IGNORED = -100;

export const joinedInputs = (row: Row): Int32Array => joined(row.map(({ tokens }) => tokens));
export const joinedLabels = (row: Row): Int32Array =>
  joined(row.map(({ tokens, bearsLoss }) => tokens.map((token, i) => (bearsLoss[i] ? token : IGNORED))));
export const joinedLengths = (row: Row): Int32Array => Int32Array.from(row, ({ tokens }) => tokens.length);

function joined(parts: readonly Int32Array[]): Int32Array {
  const whole = new Int32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Tensor cores want multiples of 8, and LLaMA-Factory pads to them without padding positions. */
const MULTIPLE = 8;

/** Places of a flat row of so many tokens: one more, for the last label, rounded up. */
export const flatLength = (numTokens: number): number => Math.ceil((numTokens + 1) / MULTIPLE) * MULTIPLE;

/** Lays out a row in `length` places; the tail is read by nobody, in documents of its own that are short, since positions have an end. */
export class FlatRow {
  readonly inputs: Int32Array;
  readonly labels: Int32Array;
  readonly positions: Int32Array;
  /** From 1. */
  readonly documents: Int32Array;

  constructor(row: Row, length: number) {
    this.inputs = new Int32Array(length);
    this.labels = new Int32Array(length).fill(IGNORED);
    this.positions = new Int32Array(length);
    this.documents = new Int32Array(length);
    let at = 0;
    row.forEach(({ tokens, numRead, bearsLoss }, document) => {
      for (let i = 0; i < numRead; i++) {
        this.inputs[at + i] = tokens[i]!;
        this.positions[at + i] = i;
        this.documents[at + i] = document + 1;
      }
      for (let i = 1; i < tokens.length; i++) if (bearsLoss[i]) this.labels[at + i] = tokens[i]!;
      at += numRead;
    });
    for (let i = at; i < length; i++) {
      this.positions[i] = (i - at) % MULTIPLE;
      this.documents[i] = row.length + 1 + Math.floor((i - at) / MULTIPLE);
    }
  }
}

/**
 * Writes all rows of a job as a dataset.
 * @param columnsOf the lists of a row, one for each of `columns`
 */
export function writeRows(
  { job, plan, quiet }: ExportSource,
  folder: string,
  columns: readonly string[],
  columnsOf: (row: Row) => Int32Array[],
  rowSize?: number,
): void {
  const writer = new DatasetWriter(folder, columns);
  const progress = new Progress({ label: 'writing the data', total: plan.totalTokens, unit: 'tokens', quiet });
  let numTokens = 0;
  for (const row of rowsOf(job, rowSize)) {
    writer.add(columnsOf(row));
    numTokens += row.reduce((sum, { numRead }) => sum + numRead, 0);
    progress.update(numTokens);
  }
  writer.finish(job.job.fingerprint);
  progress.finish();
}

/** Whether anything but the first token of a document bears no loss. */
export function hasMasks({ job }: ExportSource): boolean {
  const { phases, shards } = job.job;
  return phases.some(({ objective }) => objective === 'answers') && shards.some(({ maskDigest }) => maskDigest);
}
