// Rows of the embedding table by token id.
import type { Tape } from '../tape.ts';
import type { Activation, Parameter } from '../tensor.ts';

export function embedding(tape: Tape, ids: Int32Array, table: Parameter): Activation {
  const out = tape.activation(ids.length, table.cols);
  tape.kernels.embeddingForward(out.data, table.data, ids, table.cols, 1);
  tape.record(out, [], () => {
    if (table.grad) tape.kernels.embeddingBackward(table.grad, out.grad!, ids, table.cols, 1);
  });
  return out;
}
