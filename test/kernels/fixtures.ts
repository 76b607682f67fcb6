// What the tests of kernels share: values, tolerances, and the comparison of every instruction set with the reference.
import { expect } from 'vitest';
import { toF32 } from '../../src/kernels/bf16.ts';
import { loadNative, nativeInfo } from '../../src/kernels/native.ts';
import { referenceKernels } from '../../src/kernels/reference.ts';
import type { Floats, Kernels } from '../../src/kernels/types.ts';

export const info = nativeInfo();
export const natives = (info?.supported ?? []).map((variant) => loadNative(variant)!);
export type Dtype = 'f32' | 'bf16';

/** Deterministic values in about [-1, 1), some of them exactly representable in bf16. */
export function random(length: number, seed: number, dtype: Dtype = 'f32', scale = 1): Floats {
  let state = (seed * 2654435761 + 12345) >>> 0;
  const values = Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state / 2 ** 31 - 1) * scale;
  });
  return convertTo(values, dtype);
}

export function convertTo(values: Float32Array, dtype: Dtype): Floats {
  if (dtype === 'f32') return values;
  const out = new Uint16Array(values.length);
  referenceKernels.convert(out, values);
  return out;
}

export const zeros = (length: number, dtype: Dtype): Floats =>
  dtype === 'f32' ? new Float32Array(length) : new Uint16Array(length);

/** Largest difference in units of `tolerance * (|expected| + size)`; size is the magnitude of the terms that were summed. */
export function expectClose(actual: Floats, expected: Floats, tolerance: number, size: number, what: string): void {
  const [a, e] = [toF32(actual), toF32(expected)];
  expect(a.length).toBe(e.length);
  for (let i = 0; i < a.length; i++)
    if (!(Math.abs(a[i]! - e[i]!) <= tolerance * (Math.abs(e[i]!) + size)))
      expect.fail(`${what}: element ${i} is ${a[i]}, expected ${e[i]} within ${tolerance * (Math.abs(e[i]!) + size)}`);
}

/**
 * Rounding an f32 sum in another order: some 2^-24 a term, far below this; a bf16 result may in addition fall on the other side of
 * a rounding boundary, which moves it by one unit in the last place, 2^-7 of its value at most.
 */
export const tolerance = (dtype: Dtype) => (dtype === 'f32' ? 4e-6 : 2 ** -7);

/**
 * Runs `op` on the reference, then on every instruction set with 1, 2 and 5 threads; native outputs must not depend on the threads.
 */
export function compare(
  outputs: () => Floats[],
  op: (kernels: Kernels, out: Floats[]) => void,
  check: (actual: Floats[], expected: Floats[], variant: string) => void,
): void {
  const expected = outputs();
  op(referenceKernels, expected);
  for (const native of natives) {
    native.setNumThreads(1);
    const first = outputs();
    op(native, first);
    check(first, expected, native.variant);
    for (const numThreads of [2, 5]) {
      native.setNumThreads(numThreads);
      const actual = outputs();
      op(native, actual);
      for (const [i, out] of actual.entries())
        expect(bytes(out).equals(bytes(first[i]!)), `${native.variant}: output ${i}, ${numThreads} threads`).toBe(true);
    }
  }
}

/** Bit for bit (comparing the elements one by one as the matcher does takes seconds). */
export function expectSame(actual: Floats, expected: Floats, what: string): void {
  expect(bytes(actual).equals(bytes(expected)), `${what}: all bits equal`).toBe(true);
}

const bytes = (x: Floats) => Buffer.from(x.buffer, x.byteOffset, x.byteLength);

/**
 * The gradients `computed` of sum(out * dOut) with respect to each of `inputs`, by central differences of two widths, which cancel
 * the square term of the error (Richardson). What is left: an f32 result is uncertain by 2^-24 of a size of about 1, over a width of
 * 2^-5, added over the results that one input moves; and the fourth-order term.
 */
export function expectGradients(
  inputs: Record<string, Float32Array>,
  computed: Record<string, Float32Array>,
  dOut: Float32Array,
  forward: () => Float32Array,
): void {
  const objective = () => forward().reduce((sum, x, i) => sum + x * (dOut[i] ?? 0), 0);
  for (const [name, x] of Object.entries(inputs)) {
    const grad = computed[name]!;
    const largest = grad.reduce((max, g) => Math.max(max, Math.abs(g)), 0);
    for (let i = 0; i < x.length; i++) {
      const value = x[i]!;
      const at = (offset: number) => {
        x[i] = value + offset;
        return objective();
      };
      const slope = (h: number) => (at(h) - at(-h)) / (Math.fround(value + h) - Math.fround(value - h));
      const h = 2 ** -5;
      const numeric = (4 * slope(h) - slope(2 * h)) / 3;
      x[i] = value;
      expect(
        Math.abs(numeric - grad[i]!),
        `d${name}[${i}] is ${grad[i]}, by differences ${numeric}`,
      ).toBeLessThanOrEqual(1e-4 + 1e-4 * largest);
    }
  }
}
