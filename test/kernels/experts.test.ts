// The kernels of experts and clamping: gradients of the reference against central differences, native ones against the reference, and
// which expert is chosen where several are as good.
import { afterAll, describe, expect, test } from 'vitest';
import { loadNative } from '../../src/kernels/native.ts';
import { referenceKernels } from '../../src/kernels/reference.ts';
import type { Kernels } from '../../src/kernels/types.ts';
import {
  compare,
  type Dtype,
  expectClose,
  expectGradients,
  expectSame,
  info,
  natives,
  random,
  tolerance,
  zeros,
} from './fixtures.ts';

const DTYPES: Dtype[] = ['f32', 'bf16'];
const values = (length: number, seed: number, scale = 1) => random(length, seed, 'f32', scale) as Float32Array;

afterAll(() => loadNative()?.setNumThreads(1));

interface Routing {
  t: number;
  numExperts: number;
  numChosen: number;
  normalise: boolean;
}

function route(kernels: Kernels, logits: Float32Array, { t, numExperts, numChosen, normalise }: Routing) {
  const [probs, weights, lse] = [t * numExperts, t * numChosen, t].map((n) => new Float32Array(n));
  const experts = new Int32Array(t * numChosen);
  kernels.routeForward(probs!, weights!, experts, lse!, logits, t, numExperts, numChosen, normalise);
  return { probs: probs!, weights: weights!, experts, lse: lse! };
}

/** Slots in an order that is no identity. */
const permutation = (n: number) => Int32Array.from({ length: n }, (_, i) => (i * 7 + 3) % n);

describe('the reference', () => {
  test.each([true, false])('routing, by differences; weights made to add up to 1: %s', (normalise) => {
    const shape = { t: 5, numExperts: 6, numChosen: 3, normalise };
    // Far enough apart for the choice to stay as it is.
    const logits = Float32Array.from({ length: 30 }, (_, i) => (((i % 6) * 5 + Math.floor(i / 6)) % 6) * 0.3 - 1);
    const [dWeights, dProbs] = [values(15, 2), values(6, 3)];
    const [live, dSquaredLse] = [Float32Array.of(1, 1, 0, 1, 0), 0.3];
    const { probs, weights, experts, lse } = route(referenceKernels, logits, shape);
    const dLogits = new Float32Array(30);
    referenceKernels.routeBackward(
      ...([dLogits, dWeights, probs, weights, experts, lse, live, dProbs, dSquaredLse, 5, 6, 3, normalise] as const),
    );
    const losses = () => {
      const routed = route(referenceKernels, logits, shape);
      expect(routed.experts).toEqual(experts);
      const own = [...live].map((alive, r) => {
        const balance = dProbs.reduce((sum, d, e) => sum + d * routed.probs[r * 6 + e]!, 0);
        return alive * (balance + dSquaredLse * routed.lse[r]! ** 2);
      });
      return Float32Array.of(...routed.weights, ...own);
    };
    expectGradients({ logits }, { logits: dLogits }, Float32Array.of(...dWeights, 1, 1, 1, 1, 1), losses);
  });

  test('rows weighted and put together, by differences', () => {
    const [t, numChosen, d] = [4, 2, 3];
    const slots = permutation(t * numChosen);
    const [rows, weights, addend, dOut] = [values(8 * d, 1), values(8, 2), values(t * d, 3), values(t * d, 4)];
    const dRows = new Float32Array(8 * d);
    slots.forEach((slot, i) => {
      dRows.set(dOut.subarray(Math.floor(i / 2) * d, Math.floor(i / 2 + 1) * d), slot * d);
    });
    const dWeights = new Float32Array(8);
    referenceKernels.weighRows(dWeights, rows.slice(), dRows, weights, slots, 8, d);
    expectGradients({ rows, weights, addend }, { rows: dRows, weights: dWeights, addend: dOut }, dOut, () => {
      const out = new Float32Array(t * d);
      referenceKernels.combineRows(out, rows, slots, weights, addend, t, numChosen, d);
      return out;
    });
  });

  test('clamping stops the gradient beyond the limits, not at them', () => {
    const x = Float32Array.of(-2, -1, 0.5, 9, 1, 3, Number.NaN, 9);
    const [before, dx] = [x.slice(), new Float32Array(8).fill(5)];
    referenceKernels.clamp(x, 2, 3, 4, 1);
    referenceKernels.clampBackward(dx, before, 2, 3, 4, 1);
    expect([...x]).toEqual([-1, -1, 0.5, 9, 1, 1, Number.NaN, 9]);
    expect([...dx]).toEqual([0, 5, 5, 5, 5, 0, 0, 5]);
  });
});

describe.each([referenceKernels, ...natives])('the choice, $variant', (kernels) => {
  test('largest first; of equals the lower index', () => {
    const logits = Float32Array.of(1, 3, 1, 3, 1, 0, 0, 0, 0, 0, -1, 2, 2, 2, 5);
    const { experts, weights } = route(kernels, logits, { t: 3, numExperts: 5, numChosen: 3, normalise: true });
    expect([...experts]).toEqual([1, 3, 0, 0, 1, 2, 4, 1, 2]);
    expect([...weights.subarray(3, 6)]).toEqual([1, 1, 1].map((w) => expect.closeTo(w / 3, 6)));
  });

  test('logits far apart, infinite or not numbers still give experts that exist', () => {
    const wild = [Number.NaN, 1e38, -1e38, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0];
    const logits = Float32Array.from({ length: 6 * 6 }, (_, i) => (i < 6 ? Number.NaN : wild[(i * 5 + (i >> 3)) % 6]!));
    const { experts } = route(kernels, logits, { t: 6, numExperts: 6, numChosen: 4, normalise: false });
    expect([...experts].every((e) => e >= 0 && e < 6)).toBe(true);
  });

  test('one expert, and all of them', () => {
    const one = route(kernels, Float32Array.of(-3, 7), { t: 2, numExperts: 1, numChosen: 1, normalise: true });
    expect([...one.weights]).toEqual([1, 1]);
    expect([...one.lse]).toEqual([-3, 7].map((z) => expect.closeTo(z, 5)));
    const all = route(kernels, values(17, 4), { t: 1, numExperts: 17, numChosen: 17, normalise: false });
    expect([...all.experts].sort((a, b) => a - b)).toEqual(Array.from({ length: 17 }, (_, e) => e));
    expect(all.weights.reduce((sum, w) => sum + w, 0)).toBeCloseTo(1, 5);
  });
});

describe.skipIf(info === undefined)('native kernels', () => {
  test.each<Routing>([
    { t: 1, numExperts: 1, numChosen: 1, normalise: true },
    { t: 67, numExperts: 8, numChosen: 2, normalise: true },
    { t: 33, numExperts: 64, numChosen: 8, normalise: false },
    { t: 5, numExperts: 37, numChosen: 5, normalise: true },
  ])('routing of $t tokens to $numChosen of $numExperts', (shape) => {
    const { t, numExperts, numChosen, normalise } = shape;
    const logits = values(t * numExperts, 1, 6);
    compare(
      () => [t * numExperts, t * numChosen, t * numChosen, t].map((n) => zeros(n, 'f32')),
      (kernels, out) => {
        const { probs, weights, experts, lse } = route(kernels, logits, shape);
        [probs, weights, experts, lse].forEach((result, i) => void (out[i] as Float32Array).set(result));
      },
      (actual, expected, variant) => {
        // e^x has an error of 2^-23 of itself for each unit of x.
        expectClose(actual[0]!, expected[0]!, 1e-5, 0, `${variant} probs`);
        expectClose(actual[1]!, expected[1]!, 1e-5, 0, `${variant} weights`);
        expectSame(actual[2]!, expected[2]!, `${variant} experts`);
        expectClose(actual[3]!, expected[3]!, tolerance('f32'), 1, `${variant} lse`);
      },
    );
    const { probs, weights, experts, lse } = route(referenceKernels, logits, shape);
    const [dWeights, dProbs] = [values(t * numChosen, 2), values(numExperts, 3)];
    const live = Float32Array.from({ length: t }, (_, r) => (r % 3 === 1 ? 0 : 1));
    const saved = [dWeights, probs, weights, experts, lse, live, dProbs, 0.1] as const;
    compare(
      () => [random(t * numExperts, 4)],
      (kernels, [dLogits]) =>
        kernels.routeBackward(dLogits as Float32Array, ...saved, t, numExperts, numChosen, normalise),
      // Weights that add up to 1 have a gradient divided by their sum, which is not below 1/16 here.
      ([actual], [expected], variant) => expectClose(actual!, expected!, tolerance('f32'), 16, `${variant} dLogits`),
    );
  });

  test.each(DTYPES)('%s rows combined and weighted', (dtype) => {
    for (const [t, numChosen, d] of [
      [1, 1, 1],
      [70, 2, 37],
      [33, 5, 130],
    ] as const) {
      const numSlots = t * numChosen;
      const slots = Int32Array.from(permutation(numSlots + (numSlots % 7 === 0 ? 1 : 0)).filter((s) => s < numSlots));
      const rows = random(numSlots * d, 1, dtype);
      const addend = random(t * d, 3, dtype);
      const weights = values(numSlots, 2);
      for (const [by, plus] of [
        [weights, addend],
        [null, null],
      ] as const)
        compare(
          () => [random(t * d, 5, dtype)],
          (kernels, [out]) => kernels.combineRows(out!, rows, slots, by, plus, t, numChosen, d),
          ([actual], [expected], variant) =>
            expectClose(actual!, expected!, tolerance(dtype), numChosen, `${variant} out`),
        );
      compare(
        () => [zeros(numSlots, 'f32'), random(numSlots * d, 6, dtype), random(numSlots * d, 7, dtype)],
        (kernels, [dWeights, x, dx]) =>
          kernels.weighRows(dWeights as Float32Array, x!, dx!, weights, slots, numSlots, d),
        (actual, expected, variant) => {
          expectClose(actual[0]!, expected[0]!, tolerance('f32'), Math.sqrt(d), `${variant} dWeights`);
          expectSame(actual[1]!, expected[1]!, `${variant} x`);
          expectSame(actual[2]!, expected[2]!, `${variant} dx`);
        },
      );
    }
  });

  test.each(DTYPES)('%s clamped', (dtype) => {
    const [rows, cols, stride] = [30, 37, 41];
    const before = random(rows * stride, 1, dtype, 3);
    compare(
      () => [before.slice() as typeof before, random(rows * stride, 2, dtype)],
      (kernels, [x, dx]) => {
        kernels.clamp(x!, rows, cols, stride, 1.3);
        kernels.clampBackward(dx!, before, rows, cols, stride, 1.3);
      },
      (actual, expected, variant) =>
        actual.forEach((out, i) => void expectSame(out, expected[i]!, `${variant} output ${i}`)),
    );
  });

  test('wrong arguments throw before they reach native code', () => {
    const native = natives[0]!;
    const f = (n: number) => new Float32Array(n);
    const routing = [f(8), f(4), new Int32Array(4), f(2), f(8)] as const;
    expect(() => native.routeForward(...routing, 2, 4, 5, false)).toThrow('5 experts of 4 cannot be chosen');
    expect(() => native.combineRows(f(4), f(8), Int32Array.of(0, 4), null, null, 1, 2, 2)).toThrow(
      'combineRows: index 4 is outside 0..3',
    );
    expect(() => native.weighRows(f(2), f(4), f(4), f(2), Int32Array.of(0, 2), 2, 2)).toThrow(
      'weighRows: index 2 is outside 0..1',
    );
    expect(() => native.clamp(f(10), 3, 4, 4, 1)).toThrow('clamp: x has 10 elements, expected 12');
  });
});
