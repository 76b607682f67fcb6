// Clamping of queries, keys and values (OLMo): in place, on columns of rows.
import type { Floats } from '../../kernels/index.ts';
import type { Tape } from '../tape.ts';
import type { Activation } from '../tensor.ts';

/** Clamps columns `at` .. `at + cols - 1` of x to -limit..limit. x must have its gradient when the tape comes back here. */
export function clamp(tape: Tape, x: Activation, at: number, cols: number, limit: number): void {
  const { kernels } = tape;
  const from = (values: Floats) => values.subarray(at) as Floats;
  // A copy, since x is rotated in place later on.
  const before = tape.buffer(x.rows * x.cols, tape.precision);
  kernels.convert(before, x.data);
  kernels.clamp(from(x.data), x.rows, cols, x.cols, limit);
  tape.record(undefined, [before], () =>
    kernels.clampBackward(from(x.grad!), from(before), x.rows, cols, x.cols, limit),
  );
}
