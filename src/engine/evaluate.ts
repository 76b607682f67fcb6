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

/** @param batchSize sequences at a time @param tick called with sequences done */
export async function scoreSet(
  decoder: Decoder,
  set: EvalSetRef,
  sequenceAt: (i: number) => Sequence,
  batchSize: number,
  tick: (done: number) => Promise<void> | void = () => {},
): Promise<EvalSetResult> {
  let nats = 0;
  let numTokens = 0;
  const { numSequences } = set.order;
  for (let from = 0, count = batchSize; from < numSequences; from += count) {
    // What is left over is scored one by one: batches of many sizes would each keep buffers of their own.
    if (from + count > numSequences) count = 1;
    const batch = toBatch(Array.from({ length: count }, (_, i) => sequenceAt(from + i)));
    const losses = decoder.scoreBatch(batch);
    for (let i = 0; i < losses.length; i++) {
      nats += losses[i]!;
      if (batch.targets[i]! >= 0) numTokens++;
    }
    await tick(from + count);
  }
  return {
    role: set.role,
    lossNats: nats / numTokens,
    bitsPerByte: nats / Math.LN2 / set.numBytes,
    perplexity: Math.exp(nats / numTokens),
    numTokens,
    numBytes: set.numBytes,
    numDocuments: set.numDocuments,
  };
}
