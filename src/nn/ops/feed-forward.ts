// The nonlinearity of a feed-forward layer: activation(x), or activation(gate) * up over rows that hold [gate | up] (Shazeer 2020).
import type { ActivationFunction } from '../../kernels/index.ts';
import type { Tape } from '../tape.ts';
import type { Activation } from '../tensor.ts';

export function glu(tape: Tape, gateUp: Activation, activation: ActivationFunction): Activation {
  const { kernels } = tape;
  const numFeatures = gateUp.cols / 2;
  const out = tape.activation(gateUp.rows, numFeatures);
  kernels.gluForward(out.data, gateUp.data, gateUp.rows, numFeatures, activation);
  tape.record(out, [], () => {
    kernels.gluBackward(tape.newGrad(gateUp), out.grad!, gateUp.data, gateUp.rows, numFeatures, activation);
  });
  return out;
}

export function activate(tape: Tape, x: Activation, activation: ActivationFunction): Activation {
  const { kernels } = tape;
  const out = tape.activation(x.rows, x.cols);
  kernels.activationForward(out.data, x.data, activation);
  tape.record(out, [], () => kernels.activationBackward(tape.newGrad(x), out.grad!, x.data, activation));
  return out;
}
