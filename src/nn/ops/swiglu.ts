// silu(gate) * up over rows that hold [gate | up] (Shazeer 2020).
import type { Tape } from '../tape.ts';
import type { Activation } from '../tensor.ts';

export function swiglu(tape: Tape, gateUp: Activation): Activation {
  const { kernels } = tape;
  const numFeatures = gateUp.cols / 2;
  const out = tape.activation(gateUp.rows, numFeatures);
  kernels.swigluForward(out.data, gateUp.data, gateUp.rows, numFeatures);
  tape.record(out, [], () => {
    kernels.swigluBackward(tape.newGrad(gateUp), out.grad!, gateUp.data, gateUp.rows, numFeatures);
  });
  return out;
}
