// Rows of a table by id: token embeddings, and learned positions added to them.
import type { Tape } from '../tape.ts';
import type { Activation, Parameter } from '../tensor.ts';

/** out[t] = table[ids[t]] * scale. */
export function embedding(tape: Tape, ids: Int32Array, table: Parameter, scale: number): Activation {
  const out = tape.activation(ids.length, table.cols);
  tape.kernels.embeddingForward(out.data, table.data, ids, table.cols, scale);
  tape.record(out, [], () => {
    if (table.grad) tape.kernels.embeddingBackward(table.grad, out.grad!, ids, table.cols, scale);
  });
  return out;
}
