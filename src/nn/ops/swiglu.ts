// silu(gate) * up over rows that hold [gate | up] (Shazeer 2020).
import type { Tape } from '../tape.ts';
import type { Activation } from '../tensor.ts';

export function swiglu(tape: Tape, gateUp: Activation): Activation {
  const { kernels } = tape;
  const numFeatures = gateUp.cols / 2;
  const out = tape.activation(gateUp.rows, numFeatures);
  kernels.gluForward(out.data, gateUp.data, gateUp.rows, numFeatures, 'silu');
  tape.record(out, [], () => {
    kernels.gluBackward(tape.newGrad(gateUp), out.grad!, gateUp.data, gateUp.rows, numFeatures, 'silu');
  });
  return out;
}
