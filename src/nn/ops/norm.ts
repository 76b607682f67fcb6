// Normalisation of rows, and of heads inside rows. Its input's gradient joins the one that came by the residual path.
import type { Floats, NormShape } from '../../kernels/index.ts';
import type { Affine, DecoderConfig } from '../families/index.ts';
import type { Tape } from '../tape.ts';
import type { Activation, Parameter } from '../tensor.ts';

export function norm(tape: Tape, x: Activation, affine: Affine<Parameter>, config: DecoderConfig['norm']): Activation {
  return config.kind === 'rms'
    ? rmsNorm(tape, x, affine.weight, config.eps, config.weightOffset)
    : layerNorm(tape, x, affine.weight, affine.bias!, config.eps);
}

function rmsNorm(tape: Tape, x: Activation, weight: Parameter, eps: number, weightOffset: number): Activation {
  const { kernels } = tape;
  const out = tape.activation(x.rows, x.cols);
  const rstd = tape.buffer(x.rows, 'f32') as Float32Array;
  const shape: NormShape = { rows: x.rows, groups: 1, size: x.cols, xStride: x.cols, outStride: x.cols };
  kernels.rmsNormForward(out.data, rstd, x.data, weight.data, shape, eps, weightOffset);
  tape.record(out, [rstd], () => {
    const residual = x.grad ?? null;
    const dx = residual ?? tape.newGrad(x);
    const dWeight = weight.grad ?? new Float32Array(x.cols);
    kernels.rmsNormBackward(dx, dWeight, out.grad!, x.data, weight.data, rstd, residual, shape, weightOffset);
  });
  return out;
}

function layerNorm(tape: Tape, x: Activation, weight: Parameter, bias: Parameter, eps: number): Activation {
  const { kernels } = tape;
  const [t, d] = [x.rows, x.cols];
  const out = tape.activation(t, d);
  const mean = tape.buffer(t, 'f32') as Float32Array;
  const rstd = tape.buffer(t, 'f32') as Float32Array;
  kernels.layerNormForward(out.data, mean, rstd, x.data, weight.data, bias.data, t, d, eps);
  tape.record(out, [mean, rstd], () => {
    const residual = x.grad ?? null;
    const dx = residual ?? tape.newGrad(x);
    const dWeight = weight.grad ?? new Float32Array(d);
    const dBias = bias.grad ?? new Float32Array(d);
    kernels.layerNormBackward(dx, dWeight, dBias, out.grad!, x.data, weight.data, mean, rstd, residual, t, d);
  });
  return out;
}

/** A span of each row that is normalised: `groups` neighbours of `size` elements from column `at` on. */
export interface NormSpan {
  at: number;
  groups: number;
  size: number;
  weight: Parameter;
}

/**
 * RMSNorm of spans of x's rows into rows of `cols`, each span to its own columns there. Its gradient is written into x's gradient, which
 * must be there already: whoever reads the other columns of x sets it first.
 */
export function normSpans(
  tape: Tape,
  x: Activation,
  spans: readonly NormSpan[],
  cols: number,
  config: DecoderConfig['norm'],
): Activation {
  const { kernels } = tape;
  const out = tape.activation(x.rows, cols);
  const saved: Float32Array[] = [];
  const from = (values: Floats, at: number) => values.subarray(at) as Floats;
  const shapeOf = ({ groups, size }: NormSpan): NormShape => ({
    rows: x.rows,
    groups,
    size,
    xStride: x.cols,
    outStride: cols,
  });
  for (const span of spans) {
    const rstd = tape.buffer(x.rows * span.groups, 'f32') as Float32Array;
    saved.push(rstd);
    kernels.rmsNormForward(
      from(out.data, span.at),
      rstd,
      from(x.data, span.at),
      span.weight.data,
      shapeOf(span),
      config.eps,
      config.weightOffset,
    );
  }
  tape.record(out, saved, () => {
    spans.forEach((span, i) => {
      kernels.rmsNormBackward(
        from(x.grad!, span.at),
        span.weight.grad ?? new Float32Array(span.size),
        from(out.grad!, span.at),
        from(x.data, span.at),
        span.weight.data,
        saved[i]!,
        null,
        shapeOf(span),
        config.weightOffset,
      );
    });
  });
  return out;
}
