// Output projection and cross entropy in one op, a chunk of rows at a time, so that all logits never exist together. Being the last op, it
// computes its gradient on the way: the chunk's logits become their gradient in place.
import type { Floats } from '../../kernels/index.ts';
import type { Tape } from '../tape.ts';
import type { Activation, Parameter } from '../tensor.ts';

/** f32 logits held at once: 64 MiB. Measured: larger chunks gain nothing, smaller ones re-read the head's gradient more often. */
const CHUNK_ELEMENTS = 16 << 20;

/**
 * @param losses set to each row's loss in nats (0 where its target is -1)
 * @param weights factor of each row's loss in the total whose gradient is taken; unused forward only
 * @param softcap of the logits; 0: none
 */
export function crossEntropyHead(
  tape: Tape,
  losses: Float32Array,
  x: Activation,
  head: Parameter,
  targets: Int32Array,
  weights: Float32Array,
  softcap: number,
): void {
  const { kernels, training, precision } = tape;
  const [vocab, hidden] = [head.rows, head.cols];
  const chunkRows = Math.max(1, Math.min(x.rows, Math.floor(CHUNK_ELEMENTS / vocab)));
  const dx = training ? tape.newGrad(x) : undefined;
  const part = (values: Floats, from: number, rows: number) =>
    values.subarray(from * hidden, (from + rows) * hidden) as Floats;
  tape.withScratch(chunkRows * vocab, 'f32', (logits) => {
    const dLogits = precision === 'f32' ? logits : training ? tape.buffer(chunkRows * vocab, 'bf16') : undefined;
    for (let from = 0; from < x.rows; from += chunkRows) {
      const rows = Math.min(chunkRows, x.rows - from);
      const xPart = part(x.data, from, rows);
      const lossPart = losses.subarray(from, from + rows);
      kernels.gemm(logits, xPart, head.data, rows, vocab, hidden, false, true, null, null);
      const d = training ? dLogits! : null;
      kernels.crossEntropy(
        lossPart,
        d,
        logits,
        targets.subarray(from, from + rows),
        weights.subarray(from, from + rows),
        rows,
        vocab,
        softcap,
      );
      if (!d) continue;
      kernels.gemm(part(dx!, from, rows), d, head.data, rows, hidden, vocab, false, false, null, null);
      if (head.grad) kernels.gemm(head.grad, d, xPart, vocab, hidden, rows, true, false, head.grad, null);
    }
    if (training) tape.record(undefined, precision === 'bf16' ? [dLogits!] : [], () => {});
  });
}
