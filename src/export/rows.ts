// A job's sequences as rows of equal size, in the order in which its steps read them.
//
// Every step of a job has as many tokens, but phases may cut them into sequences of different lengths. Since attention and positions never
// leave a document, short sequences that stand behind each other in one row train exactly as they do by themselves: with rows as long as
// the longest sequence, every step has as many rows, and a framework that knows one batch size trains all phases in one go.
import type { JobReader } from '../shards/index.ts';

/** Tokens of a row: the smallest number that every phase's sequences fill without rest. */
export function rowTokens({ job }: JobReader): number {
  const lengths = job.phases.map(({ batch = job.batch }) => batch.seqLen);
  return lengths.reduce((common, length) => (common / gcd(common, length)) * length);
}

/** Rows of every step. */
export function rowsPerStep(reader: JobReader, size = rowTokens(reader)): number {
  const { seqLen, sequencesPerStep } = reader.job.batch;
  return (seqLen * sequencesPerStep) / size;
}

/** The machines that most people have. */
const USUAL_DEVICES = 8;

/**
 * Tokens of a row where a device takes one row at a time: as many as the plan's micro-batch has, where that leaves 8 devices a row each.
 */
export function passTokens(reader: JobReader): number {
  const { seqLen, sequencesPerMicroBatch } = reader.job.batch;
  const least = rowTokens(reader);
  const numRows = rowsPerStep(reader);
  for (let k = Math.floor((seqLen * sequencesPerMicroBatch) / least); k > 1; k--)
    if (numRows % (k * USUAL_DEVICES) === 0) return k * least;
  return least;
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}

/** A stretch of a document whose tokens are predicted one by one. */
export interface DocumentPart {
  /** One more than are read by the model, except where nothing is predicted from the last one. */
  tokens: Int32Array;
  numRead: number;
  /** 1 where a token bears loss; the first of a part never does. As long as `tokens`. */
  bearsLoss: Uint8Array;
}

/** What a row holds, padding left out. */
export type Row = DocumentPart[];

/** The rows of all steps of a job, in order. */
export function* rowsOf(reader: JobReader, size = rowTokens(reader)): Generator<Row> {
  for (let step = 0; step < reader.job.numSteps; step++) {
    const { seqLen, sequencesPerStep, firstSequence } = reader.stepAt(step);
    const perRow = size / seqLen;
    for (let i = 0; i < sequencesPerStep; i += perRow) {
      const row: Row = [];
      for (let k = 0; k < perRow; k++) row.push(...partsOf(reader, firstSequence + i + k));
      yield row;
    }
  }
}

function* partsOf(reader: JobReader, index: number): Generator<DocumentPart> {
  const { inputs, targets, docStart, shard } = reader.sequence(index);
  for (let start = 0; start < inputs.length && shard[start]! >= 0; ) {
    let end = start + 1;
    while (end < inputs.length && docStart[end] === start && shard[end]! >= 0) end++;
    const last = targets[end - 1]!;
    const length = end - start + (last >= 0 ? 1 : 0);
    const tokens = new Int32Array(length);
    tokens.set(inputs.subarray(start, end));
    if (last >= 0) tokens[length - 1] = last;
    const bearsLoss = new Uint8Array(length);
    for (let t = 1; t < length; t++) bearsLoss[t] = targets[start + t - 1]! >= 0 ? 1 : 0;
    yield { tokens, numRead: end - start, bearsLoss };
    start = end;
  }
}
