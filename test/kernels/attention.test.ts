// Attention beyond what native.test.ts compares: sliding windows, scores that grow along the keys, the paths by head size and group, and
// decoding from a cache.
import { afterAll, describe, expect, test } from 'vitest';
import { loadNative } from '../../src/kernels/native.ts';
import { referenceKernels } from '../../src/kernels/reference.ts';
import type { AttentionShape, Floats } from '../../src/kernels/types.ts';
import { compare, type Dtype, expectClose, info, natives, random, zeros } from './fixtures.ts';

afterAll(() => loadNative()?.setNumThreads(1));

const dense = (
  batch: number,
  seqLen: number,
  numHeads: number,
  numKvHeads: number,
  headDim: number,
): AttentionShape => ({
  ...{ batch, seqLen, numHeads, numKvHeads, headDim, scale: 1 / Math.sqrt(headDim), softcap: 0 },
  qStride: numHeads * headDim,
  kStride: numKvHeads * headDim,
  vStride: numKvHeads * headDim,
});

/** max(document start, t - window + 1) for documents that start at multiples of `documentLength`. */
const windowStarts = (batch: number, seqLen: number, documentLength: number, window: number) =>
  Int32Array.from({ length: batch * seqLen }, (_, i) => {
    const t = i % seqLen;
    return Math.max(t - (t % documentLength), t - window + 1);
  });

/** Weights are uncertain by 2^-24 of their score; bf16 results by a unit in the last place (see native.test.ts). */
const close = (actual: Floats, expected: Floats, dtype: Dtype, size: number, what: string) =>
  expectClose(actual, expected, dtype === 'f32' ? 2e-5 : 2 ** -7, dtype === 'f32' ? size : size * 1e-2, what);

function compareAttention(
  shape: AttentionShape,
  docStart: Int32Array,
  dtype: Dtype,
  q: Floats,
  k: Floats,
  v: Floats,
  size = 4,
) {
  const rows = shape.batch * shape.seqLen;
  const dOut = random(rows * shape.qStride, 4, dtype);
  const out = zeros(dOut.length, dtype);
  const lse = new Float32Array(rows * shape.numHeads);
  referenceKernels.attentionForward(out, lse, q, k, v, docStart, shape);
  compare(
    () => [
      ...[zeros(out.length, dtype), zeros(lse.length, 'f32')],
      ...[zeros(q.length, dtype), zeros(k.length, dtype), zeros(v.length, dtype)],
    ],
    (kernels, [o, l, dq, dk, dv]) => {
      kernels.attentionForward(o!, l as Float32Array, q, k, v, docStart, shape);
      kernels.attentionBackward(dq!, dk!, dv!, dOut, out, lse, q, k, v, docStart, shape);
    },
    (actual, expected, variant) =>
      ['out', 'lse', 'dq', 'dk', 'dv'].forEach((name, i) => {
        close(actual[i]!, expected[i]!, i === 1 ? 'f32' : dtype, i < 2 ? size : 8 * size, `${variant} ${name}`);
      }),
  );
}

describe.skipIf(info === undefined)('attention', () => {
  // Windows smaller than a tile, of a tile, and beyond several; documents that end inside and at tiles.
  describe.each([
    { window: 1, documentLength: 1000 },
    { window: 17, documentLength: 1000 },
    { window: 64, documentLength: 100 },
    { window: 65, documentLength: 1000 },
    { window: 150, documentLength: 192 },
  ])('with a window of $window in documents of $documentLength', ({ window, documentLength }) => {
    test.each([
      { shape: dense(1, 330, 2, 1, 32), softcap: 0, dtype: 'f32' },
      { shape: dense(2, 261, 3, 3, 20), softcap: 3, dtype: 'bf16' },
    ] as const)('$shape.numHeads heads, cap $softcap, $dtype', ({ shape, softcap, dtype }) => {
      const [q, k, v] = [shape.qStride, shape.kStride, shape.vStride].map((stride, i) =>
        random(shape.batch * shape.seqLen * stride, i, dtype, 2),
      );
      const docStart = windowStarts(shape.batch, shape.seqLen, documentLength, window);
      compareAttention({ ...shape, softcap }, docStart, dtype, q!, k!, v!);
    });
  });

  // Groups of 1 to 9 heads share keys in tasks of at most 4; head sizes of one to several parts of products and rounds of steps.
  test.each([
    [1, 1, 1, 80],
    [1, 5, 1, 96],
    [1, 9, 1, 128],
    [1, 12, 2, 48],
    [2, 2, 1, 112],
    [1, 4, 4, 192],
    [1, 2, 2, 272],
  ])('%i sequences, %i/%i heads of %i', (batch, numHeads, numKvHeads, headDim) => {
    for (const [softcap, dtype] of [
      [0, 'bf16'],
      [2, 'f32'],
    ] as const) {
      const shape = { ...dense(batch, 140, numHeads, numKvHeads, headDim), softcap };
      const [q, k, v] = [shape.qStride, shape.kStride, shape.vStride].map((stride, i) =>
        random(batch * 140 * stride, i, dtype),
      );
      compareAttention(shape, windowStarts(batch, 140, 90, 1000), dtype, q!, k!, v!);
    }
  });

  test('scores that fall by hundreds along the keys: the first weights overflow what later ones began with', () => {
    const shape = dense(1, 400, 1, 1, 16);
    const [q, v] = [random(400 * 16, 1).map(() => 1) as Float32Array, random(400 * 16, 2)];
    // Equal in a row; exact in f32, so that only the sums differ.
    const k = Float32Array.from({ length: 400 * 16 }, (_, i) => (400 - (i >> 4)) / 4);
    compareAttention(shape, new Int32Array(400), 'f32', q, k, v, 40);
    compareAttention(
      shape,
      new Int32Array(400),
      'f32',
      q,
      k.map((x) => -x),
      v,
      40,
    );
  });

  test.each(natives)('$variant: what is not a number stays none, and only where it is seen', (native) => {
    const shape = dense(1, 200, 1, 1, 16);
    const [q, k, v] = [random(3200, 1), random(3200, 2), random(3200, 3)];
    k[70 * 16] = Number.NaN;
    const [out, lse] = [new Float32Array(3200), new Float32Array(200)];
    native.attentionForward(out, lse, q, k, v, new Int32Array(200), shape);
    expect([...lse].map(Number.isNaN)).toEqual(Array.from({ length: 200 }, (_, t) => t >= 70));
    expect(out.every((x, i) => Number.isNaN(x) === i >= 70 * 16)).toBe(true);
  });
});

describe.skipIf(info === undefined)('decoding', () => {
  // Lengths around vectors, tiles of 32 and blocks of 128 positions; starts inside the first, a middle and the last block.
  const lengths = Int32Array.from([1, 2, 17, 128, 129, 300, 511]);
  const starts = Int32Array.from([0, 1, 0, 5, 128, 130, 0]);

  describe.each([
    { numHeads: 1, numKvHeads: 1, headDim: 16, softcap: 0 },
    { numHeads: 6, numKvHeads: 2, headDim: 20, softcap: 2 },
    { numHeads: 8, numKvHeads: 2, headDim: 80, softcap: 0 },
    { numHeads: 9, numKvHeads: 1, headDim: 96, softcap: 0 },
    { numHeads: 2, numKvHeads: 1, headDim: 256, softcap: 30 },
  ])('$numHeads/$numKvHeads heads of $headDim, cap $softcap', (sizes) => {
    test.each([
      ['f32', 'f32'],
      ['bf16', 'bf16'],
      ['f32', 'bf16'],
    ] as const)('%s queries, %s cache', (dtype, cacheDtype) => {
      const { numHeads, numKvHeads, headDim } = sizes;
      const shape = { ...sizes, qStride: numHeads * headDim + 3, scale: 1 / Math.sqrt(headDim) };
      const capacity = 512;
      // Slots out of order, the last row sharing the first one's.
      const cacheRow = Int32Array.from(lengths, (_, r) => [3, 0, 2, 5, 1, 4, 3][r]! * capacity + r);
      const [q, keys, values] = [
        random(lengths.length * shape.qStride, 1, dtype, 2),
        random(7 * capacity * numKvHeads * headDim, 2, cacheDtype, 2),
        random(7 * capacity * numKvHeads * headDim, 3, cacheDtype),
      ];
      compare(
        () => [zeros(lengths.length * numHeads * headDim, dtype)],
        (kernels, [out]) => kernels.attentionDecode(out!, q, keys, values, cacheRow, starts, lengths, shape),
        ([actual], [expected], variant) => close(actual!, expected!, dtype, 2, variant),
      );
    });
  });

  // A row's sums are those of all queries together: at the edges of tiles and vectors, alone, and with a window and a cap.
  test.each(natives)('$variant: queries from one on are those of all, bit for bit', (native) => {
    for (const { window, softcap, dtype } of [
      { window: 1000, softcap: 0, dtype: 'f32' },
      { window: 70, softcap: 5, dtype: 'bf16' },
    ] as const) {
      const shape = { ...dense(2, 140, 6, 2, 40), softcap };
      const [q, k, v] = [shape.qStride, shape.kStride, shape.vStride].map((stride, i) =>
        random(280 * stride, i, dtype),
      );
      const docStart = windowStarts(2, 140, 1000, window);
      const [all, lse] = [zeros(q!.length, dtype), new Float32Array(280 * 6)];
      native.attentionForward(all, lse, q!, k!, v!, docStart, shape);
      for (const firstQuery of [1, 63, 64, 100, 139]) {
        const count = 140 - firstQuery;
        const tail = <T extends Floats>(x: T, width: number, sequence: number) =>
          x.slice((sequence * 140 + firstQuery) * width, (sequence + 1) * 140 * width) as T;
        const join = (x: Floats) => [0, 1].flatMap((sequence) => [...tail(x, shape.qStride, sequence)]);
        const queries = zeros(2 * count * shape.qStride, dtype);
        queries.set(join(q!));
        const [some, someLse] = [zeros(queries.length, dtype), new Float32Array(2 * count * 6)];
        native.attentionForward(some, someLse, queries, k!, v!, docStart, { ...shape, firstQuery });
        expect([...some]).toEqual(join(all));
        for (let head = 0; head < 12; head++)
          expect(someLse.subarray(head * count, (head + 1) * count)).toEqual(
            lse.subarray(head * 140 + firstQuery, (head + 1) * 140),
          );
        if (firstQuery !== 100) continue;
        const [expected, expectedLse] = [zeros(queries.length, dtype), new Float32Array(someLse.length)];
        referenceKernels.attentionForward(expected, expectedLse, queries, k!, v!, docStart, { ...shape, firstQuery });
        close(some, expected, dtype, 4, native.variant);
        close(someLse, expectedLse, 'f32', 4, native.variant);
      }
    }
    expect(() =>
      native.attentionForward(
        zeros(8, 'f32'),
        new Float32Array(8),
        zeros(8, 'f32'),
        zeros(8, 'f32'),
        zeros(8, 'f32'),
        new Int32Array(1),
        {
          ...dense(1, 1, 1, 1, 8),
          firstQuery: 1,
        },
      ),
    ).toThrow('firstQuery 1 is outside 0..0');
  });

  test.each(natives)('$variant: equals the last row of attentionForward', (native) => {
    const shape = { ...dense(1, 300, 6, 2, 64), softcap: 5 };
    const [q, k, v] = [shape.qStride, shape.kStride, shape.vStride].map((stride, i) => random(300 * stride, i));
    const docStart = windowStarts(1, 300, 1000, 170);
    const [all, lse, last] = [new Float32Array(300 * 384), new Float32Array(1800), new Float32Array(384)];
    native.attentionForward(all, lse, q!, k!, v!, docStart, shape);
    const [row, start, length] = [[0], [130], [300]].map((x) => Int32Array.from(x));
    native.attentionDecode(last, q!.subarray(299 * 384) as Floats, k!, v!, row!, start!, length!, shape);
    expectClose(last, all.subarray(299 * 384), 2e-6, 1, native.variant);
  });

  test('what would read outside the cache throws', () => {
    const shape = { numHeads: 1, numKvHeads: 1, headDim: 8, qStride: 8, scale: 1, softcap: 0 };
    const decode = (row: number, start: number, length: number) => () => {
      const [out, cache] = [new Float32Array(8), new Float32Array(80)];
      const [rows, starts, lengths] = [row, start, length].map((x) => Int32Array.from([x]));
      natives[0]!.attentionDecode(out, out, cache, cache, rows!, starts!, lengths!, shape);
    };
    decode(0, 9, 10)();
    expect(decode(1, 0, 10)).toThrow('keyCache has 80 elements, expected 88');
    expect(decode(0, 10, 10)).toThrow('start[0] = 10 is outside 0..9');
    expect(decode(-1, 0, 1)).toThrow('cacheRow[0] = -1 is negative');
  });
});
