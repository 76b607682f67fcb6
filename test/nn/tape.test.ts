// The tape where a value has several readers: their gradients add up, whichever of them comes first on the way back.
import { expect, test } from 'vitest';
import { Rng } from '../../src/base/rng.ts';
import { referenceKernels } from '../../src/kernels/index.ts';
import type { Parameter } from '../../src/nn/index.ts';
import { linear } from '../../src/nn/ops/linear.ts';
import { BufferPool } from '../../src/nn/pool.ts';
import { Tape } from '../../src/nn/tape.ts';
import type { Activation } from '../../src/nn/tensor.ts';

const [ROWS, SIZE] = [3, 4];
const rng = new Rng(2, 'tape');
const random = (length: number) => Float32Array.from({ length }, () => rng.normal());

function weight(): Parameter {
  const grad = new Float32Array(SIZE * SIZE);
  return {
    parts: [],
    rows: SIZE,
    cols: SIZE,
    isVector: false,
    data: random(SIZE * SIZE),
    low: null,
    grad,
    m: null,
    v: null,
  };
}

/** dOut W, added to `to`. */
function addProduct(to: Float32Array, dOut: Float32Array, w: Parameter): Float32Array {
  const out = new Float32Array(to.length);
  referenceKernels.gemm(out, dOut, w.data, ROWS, SIZE, SIZE, false, false, to, null);
  return out;
}

test('an input read twice, and once more as a residual', () => {
  const tape = new Tape(referenceKernels, new BufferPool(), 'f32', true);
  const x: Activation = { data: random(ROWS * SIZE), grad: undefined, rows: ROWS, cols: SIZE };
  const [a, b] = [weight(), weight()];
  const first = linear(tape, x, { weight: a, bias: undefined }, x);
  const second = linear(tape, x, { weight: b, bias: undefined });
  const [dFirst, dSecond] = [random(ROWS * SIZE), random(ROWS * SIZE)];
  first.grad = dFirst.slice();
  second.grad = dSecond.slice();
  tape.backward();
  const expected = addProduct(addProduct(dFirst, dFirst, a), dSecond, b);
  expect([...(x.grad as Float32Array)]).toEqual([...expected].map((g) => expect.closeTo(g, 5)));
});

test('a pool hands a buffer out again only once it was given back', () => {
  const pool = new BufferPool();
  const [a, b] = [pool.take('f32', 8), pool.take('f32', 8)];
  expect(a).not.toBe(b);
  pool.give(a);
  expect(pool.take('bf16', 8)).not.toBe(a);
  expect(pool.take('f32', 8)).toBe(a);
  expect(pool.sizeBytes).toBe(2 * 32 + 16);
});
