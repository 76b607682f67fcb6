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
