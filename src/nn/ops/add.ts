// The residual stream where a norm stands between a sublayer and it: out = x + branch.
import type { Tape } from '../tape.ts';
import type { Activation } from '../tensor.ts';

/** `branch` is used nowhere else; its gradient is the output's own buffer, moved. */
export function add(tape: Tape, x: Activation, branch: Activation): Activation {
  const { kernels } = tape;
  const out = tape.activation(x.rows, x.cols);
  if (!tape.isKept(out)) kernels.add(out.data, x.data, branch.data);
  tape.record(out, [], () => {
    tape.accumulateGrad(x, (dx) => kernels.convert(dx, out.grad!));
    branch.grad = out.grad;
    out.grad = undefined;
  });
  return out;
}
