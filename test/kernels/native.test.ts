// Native kernels against the reference, on every instruction set that this machine runs, at sizes around every tile edge; and the law
// that the number of threads changes no bit. A case computes the reference once and runs every instruction set against it. Without a compiler there is nothing to compare, and the file says so by being skipped.
import { afterAll, describe, expect, test } from 'vitest';
import { toF32 } from '../../src/kernels/bf16.ts';
import { loadNative, nativeInfo, nativeProblem } from '../../src/kernels/native.ts';
import { referenceKernels } from '../../src/kernels/reference.ts';
import type { AttentionShape, Floats, Kernels } from '../../src/kernels/types.ts';

const info = nativeInfo();
const natives = (info?.supported ?? []).map((variant) => loadNative(variant)!);
type Dtype = 'f32' | 'bf16';
const DTYPES: Dtype[] = ['f32', 'bf16'];

afterAll(() => loadNative()?.setNumThreads(1));

/** Deterministic values in about [-1, 1), some of them exactly representable in bf16. */
function random(length: number, seed: number, dtype: Dtype = 'f32', scale = 1): Floats {
  let state = (seed * 2654435761 + 12345) >>> 0;
  const values = Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state / 2 ** 31 - 1) * scale;
  });
  return convertTo(values, dtype);
}

function convertTo(values: Float32Array, dtype: Dtype): Floats {
  if (dtype === 'f32') return values;
  const out = new Uint16Array(values.length);
  referenceKernels.convert(out, values);
  return out;
}

const zeros = (length: number, dtype: Dtype): Floats =>
  dtype === 'f32' ? new Float32Array(length) : new Uint16Array(length);

/** Largest difference in units of `tolerance * (|expected| + size)`; size is the magnitude of the terms that were summed. */
function expectClose(actual: Floats, expected: Floats, tolerance: number, size: number, what: string): void {
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
const tolerance = (dtype: Dtype) => (dtype === 'f32' ? 4e-6 : 2 ** -7);

/** The f32 master weights of (w, low), or w itself. */
function joined(w: Floats, low: Floats): Floats {
  if (w instanceof Float32Array) return w;
  const master = new Float32Array(w.length);
  referenceKernels.joinMaster(master, w, low as Uint16Array);
  return master;
}

/**
 * Runs `op` on the reference, then on every instruction set with 1, 2 and 5 threads; native outputs must not depend on the threads.
 */
function compare(
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
function expectSame(actual: Floats, expected: Floats, what: string): void {
  expect(bytes(actual).equals(bytes(expected)), `${what}: all bits equal`).toBe(true);
}

const bytes = (x: Floats) => Buffer.from(x.buffer, x.byteOffset, x.byteLength);

test.skipIf(info !== undefined)('says why there are no native kernels', () => {
  expect(nativeProblem()).toContain('npm run build:native');
});

describe.skipIf(info === undefined)('native kernels', () => {
  // Around the tiles (8 x 48), the tasks (64 rows), the few-rows path (up to 8), odd depth (pairs), and more than one block of depth.
  const SHAPES = [
    [1, 1, 1],
    [1, 50, 37],
    [2, 3, 64],
    [8, 7, 33],
    [9, 17, 2],
    [13, 49, 31],
    [64, 48, 16],
    [67, 97, 129],
    [5, 130, 1025],
    [31, 50, 2111],
    [130, 16, 24],
    [3, 5, 0],
    [17, 5, 0],
  ] as const;

  describe.each(SHAPES)('gemm %i x %i x %i', (m, n, k) => {
    test.each(DTYPES)('%s in', (dtype) => {
      for (const [transA, transB] of [
        [false, true],
        [false, false],
        [true, false],
        [true, true],
      ] as const)
        for (const outDtype of DTYPES)
          for (const withAddend of [false, true]) {
            const a = random(m * k, 1, dtype);
            const b = random(n * k, 2, dtype);
            const addend = withAddend ? random(m * n, 3, outDtype) : null;
            compare(
              () => [zeros(m * n, outDtype)],
              (kernels, [c]) => kernels.gemm(c!, a, b, m, n, k, transA, transB, addend),
              ([actual], [expected], variant) =>
                expectClose(
                  actual!,
                  expected!,
                  tolerance(outDtype),
                  Math.sqrt(k),
                  `${variant} transA ${transA} transB ${transB}`,
                ),
            );
          }
    });
  });

  test('gemm accumulates into C given as addend, and reads subarrays', () => {
    const [m, n, k] = [20, 53, 1100];
    const a = random(m * k + 3, 1, 'bf16').subarray(3) as Floats;
    const b = random(n * k + 1, 2, 'bf16').subarray(1) as Floats;
    compare(
      () => [(random(m * n + 1, 3) as Float32Array).subarray(1)],
      (kernels, [c]) => kernels.gemm(c!, a, b, m, n, k, true, false, c!),
      ([actual], [expected], variant) =>
        expectClose(actual!, expected!, tolerance('f32'), Math.sqrt(k), `${variant} C`),
    );
  });

  describe.each(DTYPES)('%s', (dtype) => {
    test('embedding', () => {
      const [v, d] = [11, 131];
      const ids = Int32Array.from({ length: 70 }, (_, i) => (i * 7) % v);
      const table = random(v * d, 1, dtype);
      compare(
        () => [zeros(ids.length * d, dtype)],
        (kernels, [out]) => kernels.embeddingForward(out!, table, ids, d),
        ([actual], [expected], variant) => expectSame(actual!, expected!, variant),
      );
      const dOut = random(ids.length * d, 2, dtype);
      compare(
        () => [random(v * d, 3)],
        (kernels, [dTable]) => kernels.embeddingBackward(dTable as Float32Array, dOut, ids, d),
        ([actual], [expected], variant) => expectSame(actual!, expected!, variant),
      );
    });

    test.each([
      [1, 1],
      [7, 37],
      [100, 576],
    ])('rmsNorm %i x %i', (t, d) => {
      const x = random(t * d, 1, dtype);
      const weight = random(d, 2, dtype);
      compare(
        () => [zeros(t * d, dtype), zeros(t, 'f32')],
        (kernels, [out, rstd]) => kernels.rmsNormForward(out!, rstd as Float32Array, x, weight, t, d, 1e-5),
        (actual, expected, variant) => {
          expectClose(actual[0]!, expected[0]!, tolerance(dtype), 0, `${variant} out`);
          expectClose(actual[1]!, expected[1]!, tolerance('f32'), 0, `${variant} rstd`);
        },
      );
      const rstd = new Float32Array(t);
      referenceKernels.rmsNormForward(zeros(t * d, dtype), rstd, x, weight, t, d, 1e-5);
      const dOut = random(t * d, 4, dtype);
      for (const dResidual of [null, random(t * d, 5, dtype)])
        compare(
          () => [zeros(t * d, dtype), random(d, 6)],
          (kernels, [dx, dWeight]) =>
            kernels.rmsNormBackward(dx!, dWeight as Float32Array, dOut, x, weight, rstd, dResidual, t, d),
          (actual, expected, variant) => {
            expectClose(actual[0]!, expected[0]!, tolerance(dtype), rstd[0]!, `${variant} dx`);
            expectClose(actual[1]!, expected[1]!, tolerance('f32'), Math.sqrt(t), `${variant} dWeight`);
          },
        );
    });

    test.each([2, 16, 26, 64])('rope, head size %i', (headDim) => {
      const [t, heads, positions] = [37, 3, 50];
      const stride = heads * headDim + 5;
      const angles = Array.from({ length: (positions * headDim) / 2 }, (_, i) => i * 0.37);
      const cos = Float32Array.from(angles, Math.cos);
      const sin = Float32Array.from(angles, Math.sin);
      const at = Int32Array.from({ length: t }, (_, i) => (i * 13) % positions);
      for (const inverse of [false, true])
        compare(
          () => [random(t * stride, 1, dtype)],
          (kernels, [x]) => kernels.rope(x!, cos, sin, at, t, stride, heads, headDim, inverse),
          ([actual], [expected], variant) =>
            expectClose(actual!, expected!, tolerance(dtype), dtype === 'f32' ? 1 : 1e-3, `${variant} x`),
        );
    });

    test.each([
      [1, 1],
      [5, 50],
      [40, 768],
    ])('swiglu %i x %i', (t, f) => {
      // Gates up to 100: the exponential must neither overflow nor give NaN.
      const gateUp = random(t * 2 * f, 1, dtype, 100);
      compare(
        () => [zeros(t * f, dtype)],
        (kernels, [out]) => kernels.swigluForward(out!, gateUp, t, f),
        // Below a gate of -88 the exponential stops growing, which leaves some 1e-35 where the reference goes to 0.
        ([actual], [expected], variant) => expectClose(actual!, expected!, tolerance(dtype), 1e-28, `${variant} out`),
      );
      const dOut = random(t * f, 2, dtype);
      compare(
        () => [zeros(t * 2 * f, dtype)],
        (kernels, [dGateUp]) => kernels.swigluBackward(dGateUp!, dOut, gateUp, t, f),
        // 1 + gate (1 - sigmoid) cancels near its zero, where terms of size 1 leave an absolute error.
        ([actual], [expected], variant) =>
          expectClose(actual!, expected!, tolerance(dtype), dtype === 'f32' ? 1 : 1e-4, `${variant} dGateUp`),
      );
    });

    test.each([
      [1, 1],
      [3, 17],
      [9, 5000],
    ])('crossEntropy %i x %i', (t, v) => {
      const logits = random(t * v, 1, 'f32', 12) as Float32Array;
      const targets = Int32Array.from({ length: t }, (_, i) => (i % 4 === 1 ? -1 : (i * 31) % v));
      const weights = random(t, 2) as Float32Array;
      const check = (actual: Floats[], expected: Floats[], variant: string) => {
        // A loss is a difference of numbers of about 12 to 20.
        expectClose(actual[0]!, expected[0]!, tolerance('f32'), 20, `${variant} losses`);
        // A gradient is a probability, down to e^-24; e^x of an f32 x near 24 is uncertain by 24 * 2^-24.
        if (actual[1]) expectClose(actual[1], expected[1]!, tolerance(dtype), 1e-7, `${variant} dLogits`);
      };
      compare(
        () => [zeros(t, 'f32'), zeros(t * v, dtype)],
        (kernels, [losses, d]) => kernels.crossEntropy(losses as Float32Array, d!, logits, targets, weights, t, v),
        check,
      );
      compare(
        () => [zeros(t, 'f32')],
        (kernels, [losses]) => kernels.crossEntropy(losses as Float32Array, null, logits, targets, weights, t, v),
        check,
      );
      if (dtype === 'f32')
        compare(
          () => [zeros(t, 'f32'), logits.slice()],
          (kernels, [losses, d]) =>
            kernels.crossEntropy(losses as Float32Array, d!, d as Float32Array, targets, weights, t, v),
          check,
        );
    });

    test('adamw', () => {
      const n = 20_005;
      const options = { lr: 1e-3, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, gradScale: 0.7, step: 3 };
      const master = random(n, 1) as Float32Array;
      compare(
        () => {
          const w = dtype === 'f32' ? master.slice() : new Uint16Array(n);
          const low = new Uint16Array(dtype === 'f32' ? 0 : n);
          if (w instanceof Uint16Array) referenceKernels.splitMaster(w, low, master);
          const m = random(n, 3) as Float32Array;
          const v = (random(n, 4) as Float32Array).map(Math.abs);
          return [w, low, random(n, 2), m, v];
        },
        (kernels, [w, low, g, m, v]) =>
          kernels.adamw(
            w!,
            dtype === 'f32' ? null : (low as Uint16Array),
            g as Float32Array,
            m as Float32Array,
            v as Float32Array,
            options,
          ),
        ([w, low, g, m, v], [expectedW, expectedLow, , expectedM, expectedV], variant) => {
          const [actual, expected] = [joined(w!, low!), joined(expectedW!, expectedLow!)];
          // The reference computes in f64: every f32 operation here adds 2^-24 of a value of size 1, some ten of them.
          expectClose(actual, expected, 1e-6, 1, `${variant} w`);
          expectClose(m!, expectedM!, 1e-6, 1, `${variant} m`);
          expectClose(v!, expectedV!, 1e-6, 1, `${variant} v`);
          expectSame(g!, new Float32Array(n), `${variant} g`);
        },
      );
    });

    test('add and convert', () => {
      const n = 70_003;
      for (const other of DTYPES) {
        const a = random(n, 1, dtype);
        const b = random(n, 2, other);
        compare(
          () => [zeros(n, dtype)],
          (kernels, [out]) => kernels.add(out!, a, b),
          ([actual], [expected], variant) => expectSame(actual!, expected!, variant),
        );
        compare(
          () => [zeros(n, other)],
          (kernels, [out]) => kernels.convert(out!, a),
          ([actual], [expected], variant) => expectSame(actual!, expected!, variant),
        );
      }
    });
  });

  test.each(natives)(
    '$variant: splitMaster and joinMaster keep every bit, also of infinities, subnormals and ties',
    (native) => {
      const bits = Uint32Array.from({ length: 4099 }, (_, i) => Math.imul(i, 2654435761) >>> 0);
      bits.set([0, 0x80000000, 0x7f800000, 0xff800000, 1, 0x3f808000, 0x3f818000, 0x3f80ffff, 0x7f7fffff]);
      const master = new Float32Array(bits.buffer);
      const [w, low, refW, refLow] = Array.from({ length: 4 }, () => new Uint16Array(bits.length));
      native.splitMaster(w!, low!, master);
      referenceKernels.splitMaster(refW!, refLow!, master);
      expect(w).toEqual(refW);
      expect(low).toEqual(refLow);
      const back = new Float32Array(bits.length);
      native.joinMaster(back, w!, low!);
      expect(new Uint32Array(back.buffer)).toEqual(bits);
    },
  );

  test.each(natives)('$variant: conversion rounds ties to even and keeps NaN and infinities', (native) => {
    const bits = Uint32Array.from([
      0x3f808000, 0x3f818000, 0x3f808001, 0x7fffffff, 0xff800001, 0x7f800000, 0x7f7fffff, 1,
    ]);
    const [actual, expected] = [new Uint16Array(8), new Uint16Array(8)];
    native.convert(actual, new Float32Array(bits.buffer));
    referenceKernels.convert(expected, new Float32Array(bits.buffer));
    expect([...actual]).toEqual([...expected]);
  });

  test.each([0, 1, 65_535, 65_537, 200_001])('sumSquares of %i', (n) => {
    const x = random(n, 1) as Float32Array;
    for (const native of natives) {
      native.setNumThreads(1);
      const one = native.sumSquares(x);
      // f64 sums in another order.
      expect(Math.abs(one - referenceKernels.sumSquares(x)), native.variant).toBeLessThanOrEqual(1e-12 * n);
      native.setNumThreads(2);
      expect(native.sumSquares(x), native.variant).toBe(one);
    }
  });

  // Head sizes around the vector widths; lengths around the 64 x 64 tiles; documents that start inside, at, and between tiles.
  describe.each([
    { batch: 1, seqLen: 1, numHeads: 1, numKvHeads: 1, headDim: 16, documents: [] },
    { batch: 2, seqLen: 63, numHeads: 4, numKvHeads: 2, headDim: 20, documents: [5] },
    { batch: 1, seqLen: 130, numHeads: 3, numKvHeads: 1, headDim: 64, documents: [] },
    { batch: 2, seqLen: 200, numHeads: 2, numKvHeads: 2, headDim: 80, documents: [64, 100, 101, 190] },
    { batch: 1, seqLen: 65, numHeads: 2, numKvHeads: 1, headDim: 256, documents: [64] },
  ])('attention $batch x $seqLen, $numHeads/$numKvHeads heads of $headDim', ({ documents, ...sizes }) => {
    test.each(DTYPES)('%s', (dtype) => {
      const { batch, seqLen, numHeads, numKvHeads, headDim } = sizes;
      // q, k and v as views into one fused row, as the model holds them.
      const width = (numHeads + 2 * numKvHeads) * headDim;
      const shape: AttentionShape = { ...sizes, qStride: width, kvStride: width, scale: 1 / Math.sqrt(headDim) };
      const rows = batch * seqLen;
      const docStart = Int32Array.from({ length: rows }, (_, i) =>
        documents.reduce((start, d) => (d <= i % seqLen ? d : start), 0),
      );
      const views = (fused: Floats) =>
        [0, numHeads * headDim, (numHeads + numKvHeads) * headDim].map((at) => fused.subarray(at) as Floats);
      // Scores up to about 10: softmax far from uniform.
      const [q, k, v] = views(random(rows * width, 1, dtype, 3));
      compare(
        () => [zeros(rows * numHeads * headDim, dtype), zeros(rows * numHeads, 'f32')],
        (kernels, [out, lse]) => kernels.attentionForward(out!, lse as Float32Array, q!, k!, v!, docStart, shape),
        (actual, expected, variant) => {
          // Scores of size 10 to 40 are uncertain by 2^-24 of that, and so is a weight relative to itself.
          expectClose(
            actual[0]!,
            expected[0]!,
            dtype === 'f32' ? 2e-5 : 2 ** -7,
            dtype === 'f32' ? 3 : 0.01,
            `${variant} out`,
          );
          expectClose(actual[1]!, expected[1]!, tolerance('f32'), 10, `${variant} lse`);
        },
      );
      const out = zeros(rows * numHeads * headDim, dtype);
      const lse = new Float32Array(rows * numHeads);
      referenceKernels.attentionForward(out, lse, q!, k!, v!, docStart, shape);
      const dOut = random(rows * numHeads * headDim, 4, dtype);
      compare(
        () => [zeros(rows * width, dtype)],
        (kernels, [fused]) => {
          const [dq, dk, dv] = views(fused!);
          kernels.attentionBackward(dq!, dk!, dv!, dOut, out, lse, q!, k!, v!, docStart, shape);
        },
        // Sums of up to seqLen terms of size |dp| |k| ~ headDim, weights uncertain as above.
        (actual, expected, _variant) =>
          expectClose(
            actual[0]!,
            expected[0]!,
            dtype === 'f32' ? 2e-5 : 2 ** -7,
            dtype === 'f32' ? 30 : 0.05,
            'dq, dk, dv',
          ),
      );
    });
  });

  test('wrong sizes and dtypes throw instead of touching foreign memory', () => {
    const native = natives[0]!;
    const x = new Float32Array(8);
    const ids = Int32Array.from([0, 9]);
    expect(() => native.gemm(x, x, x, 3, 3, 3, false, false, null)).toThrow(
      'internal: gemm: C has 8 elements, expected 9',
    );
    expect(() => native.gemm(x, x, new Uint16Array(8), 2, 2, 2, false, false, null)).toThrow('A and B differ in dtype');
    expect(() => native.gemm(x, x, x, -1, -1, 2, false, false, null)).toThrow('size -1 is no count');
    expect(() => native.embeddingForward(x, x, ids, 2)).toThrow('index 9 is outside 0..3');
    expect(() =>
      native.adamw(new Uint16Array(8), null, x, x, x, {
        ...{ lr: 0, beta1: 0, beta2: 0, eps: 1 },
        weightDecay: 0,
        gradScale: 1,
        step: 1,
      }),
    ).toThrow('adamw: low is not 16 bit');
  });
});

describe.skipIf(info === undefined)('the choice of instruction set', () => {
  test('is the best by default, and reported', () => {
    expect(info!.variant).toBe(process.env.CONTINUO_KERNELS ?? info!.supported[0]);
    expect(loadNative()!.variant).toBe(info!.variant);
    expect(info!.supported.at(-1)).toBe('portable');
  });

  test("an unknown one is the user's error, with the nearest name", () => {
    expect(() => loadNative('portabel')).toThrow('unknown kernels "portabel" (did you mean portable?)');
  });
});
