// Root mean square normalisation (Zhang & Sennrich 2019). Its input's gradient joins the one that came by the residual path.
import type { Tape } from '../tape.ts';
import type { Activation, Parameter } from '../tensor.ts';

export function rmsNorm(tape: Tape, x: Activation, weight: Parameter, eps: number): Activation {
  const { kernels } = tape;
  const out = tape.activation(x.rows, x.cols);
  const rstd = tape.buffer(x.rows, 'f32') as Float32Array;
  const shape = { rows: x.rows, groups: 1, size: x.cols, xStride: x.cols, outStride: x.cols };
  kernels.rmsNormForward(out.data, rstd, x.data, weight.data, shape, eps, 0);
  tape.record(out, [rstd], () => {
    const residual = x.grad ?? null;
    const dx = residual ?? tape.newGrad(x);
    const dWeight = weight.grad ?? new Float32Array(x.cols);
    kernels.rmsNormBackward(dx, dWeight, out.grad!, x.data, weight.data, rstd, residual, shape, 0);
  });
  return out;
}
