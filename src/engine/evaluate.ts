// Held-out sets: total loss over whole documents, as bits per byte of their text (independent of the tokenizer) and as perplexity.
import type { Decoder } from '../nn/index.ts';
import type { EvalSetRef, Sequence } from '../shards/index.ts';
import type { EvalSetResult } from './protocol.ts';

/** Copies sequences into one batch, in order. */
export function toBatch(sequences: readonly Sequence[]) {
  const seqLen = sequences[0]!.inputs.length;
  const join = (pick: (s: Sequence) => Int32Array) => {
    const all = new Int32Array(sequences.length * seqLen);
    sequences.forEach((sequence, i) => {
      all.set(pick(sequence), i * seqLen);
    });
    return all;
  };
  return {
    batch: sequences.length,
    seqLen,
    inputs: join((s) => s.inputs),
    targets: join((s) => s.targets),
    docStart: join((s) => s.docStart),
  };
}

/** Which document each token of a set belongs to, so that the score has a standard error and can be paired with another model's. */
export interface SetDocuments {
  /** UTF-8 bytes of each document's text. */
  bytes: ArrayLike<number>;
  /** Documents, by number, of the tokens of sequence i, [seqLen]. */
  rows(i: number): ArrayLike<number>;
}

export interface SetScore {
  result: EvalSetResult;
  /** Nats of each document. */
  nats: Float64Array;
}

/** @param batchSize sequences at a time @param tick called with sequences done */
export async function scoreSet(
  decoder: Decoder,
  set: EvalSetRef,
  sequenceAt: (i: number) => Sequence,
  documents: SetDocuments,
  batchSize: number,
  tick: (done: number) => Promise<void> | void = () => {},
): Promise<SetScore> {
  const nats = new Float64Array(documents.bytes.length);
  let numTokens = 0;
  const { numSequences } = set.order;
  for (let from = 0, count = batchSize; from < numSequences; from += count) {
    // What is left over is scored one by one: batches of many sizes would each keep buffers of their own.
    if (from + count > numSequences) count = 1;
    const batch = toBatch(Array.from({ length: count }, (_, i) => sequenceAt(from + i)));
    const losses = decoder.scoreBatch(batch);
    for (let i = 0; i < count; i++) {
      const rows = documents.rows(from + i);
      for (let t = 0, at = i * batch.seqLen; t < batch.seqLen; t++, at++) {
        if (batch.targets[at]! < 0) continue;
        nats[rows[t]!]! += losses[at]!;
        numTokens++;
      }
    }
    await tick(from + count);
  }
  const total = nats.reduce((sum, one) => sum + one, 0);
  const result = {
    role: set.role,
    lossNats: total / numTokens,
    bitsPerByte: total / Math.LN2 / set.numBytes,
    perplexity: Math.exp(total / numTokens),
    numTokens,
    numBytes: set.numBytes,
    numDocuments: set.numDocuments,
    ...standardError(nats, documents.bytes),
  };
  return { result, nats };
}

/**
 * Of bits per byte, the ratio of two sums over documents, which are drawn as wholes (Cochran, Sampling Techniques, 3rd ed., 6.4); none for
 * a single document.
 */
function standardError(nats: Float64Array, bytes: ArrayLike<number>): { stderrBitsPerByte?: number } {
  const n = nats.length;
  if (n < 2) return {};
  let totalNats = 0;
  let totalBytes = 0;
  for (let i = 0; i < n; i++) {
    totalNats += nats[i]!;
    totalBytes += bytes[i]!;
  }
  let squares = 0;
  for (let i = 0; i < n; i++) squares += (nats[i]! - (totalNats / totalBytes) * bytes[i]!) ** 2;
  return { stderrBitsPerByte: Math.sqrt((squares * n) / (n - 1)) / totalBytes / Math.LN2 };
}
