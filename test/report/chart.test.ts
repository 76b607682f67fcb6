import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { spreadOut } from '../../src/report/chart.ts';
import { formatDelta, formatLr, formatPercent } from '../../src/report/format.ts';
import { smooth } from '../../src/report/run-charts.ts';
import { formatTicks, position, scaleOver } from '../../src/report/scale.ts';

const finite = fc.double({ noNaN: true, min: -1e9, max: 1e9 });

describe('scales', () => {
  test('ticks are round and cover the values', () => {
    expect(scaleOver([1.31, 1.62]).ticks).toEqual([1.3, 1.35, 1.4, 1.45, 1.5, 1.55, 1.6, 1.65]);
    expect(scaleOver([0, 8200], { include: 0 }).ticks).toEqual([0, 2000, 4000, 6000, 8000, 10_000]);
    expect(scaleOver([0, Math.fround(3e-3)]).max).toBe(3e-3);
    expect(scaleOver([0.02, 31], { kind: 'log' }).ticks.at(-1)).toBeGreaterThanOrEqual(31);
  });

  test('whatever the values, the scale is finite, covers them and has distinct labels', () => {
    fc.assert(
      fc.property(fc.array(finite, { maxLength: 20 }), fc.boolean(), (values, nice) => {
        const scale = scaleOver(values, { nice });
        expect(scale.max).toBeGreaterThan(scale.min);
        expect(scale.ticks.length).toBeLessThan(15);
        expect(new Set(formatTicks(scale.ticks)).size).toBe(scale.ticks.length);
        for (const value of values) {
          const at = position(scale, value);
          expect(at).toBeGreaterThan(-1e-5);
          expect(at).toBeLessThan(1 + 1e-5);
        }
      }),
    );
  });

  test('labels have the decimals that they need', () => {
    expect(formatTicks([0, 0.05, 0.1])).toEqual(['0', '0.05', '0.10']);
    expect(formatTicks([0, 5000, 10_000])).toEqual(['0', '5k', '10k']);
    expect(formatTicks([-20, 0, 20])).toEqual(['−20', '0', '20']);
    expect(formatTicks([0, 1e-4, 2e-4])).toEqual(['0', '1e-4', '2e-4']);
    expect(formatTicks([1_000_000, 1_500_000])).toEqual(['1.0M', '1.5M']);
  });
});

describe('labels at line ends', () => {
  test('are pushed apart, keep their order and stay inside where there is room', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ noNaN: true, min: 0, max: 200 }), { minLength: 1, maxLength: 10 }),
        (positions) => {
          const placed = spreadOut(positions, 15, 0, 200);
          const sorted = [...placed].sort((a, b) => a - b);
          for (let i = 1; i < sorted.length; i++) expect(sorted[i]! - sorted[i - 1]!).toBeGreaterThan(15 - 1e-6);
          expect(sorted[0]).toBeGreaterThan(-1e-6);
          expect(sorted.at(-1)).toBeLessThan(200 + 1e-6);
        },
      ),
    );
  });

  test('labels that are far apart do not move', () => {
    expect(spreadOut([100, 20, 60], 15, 0, 200)).toEqual([100, 20, 60]);
  });
});

test('smoothing keeps a constant, a short curve and the mean of a long one', () => {
  const points = (values: number[]) => values.map((mean, step) => ({ step, mean, min: mean, max: mean }));
  expect(smooth(points([1, 9, 1]))).toEqual([1, 9, 1]);
  expect(smooth(points(new Array(300).fill(2))).every((value) => Math.abs(value - 2) < 1e-12)).toBe(true);
  const noisy = Array.from({ length: 300 }, (_, i) => (i % 2 === 0 ? 1 : 3));
  expect(smooth(points(noisy)).every((value) => Math.abs(value - 2) < 0.2)).toBe(true);
});

test('numbers read well', () => {
  expect(formatPercent(-19.14)).toBe('−19.1 %');
  expect(formatPercent(-0.04)).toBe('0.0 %');
  expect(formatDelta(0.0066)).toBe('+0.007');
  expect(formatLr(3e-4)).toBe('3e-4');
  expect(formatLr(0.000_056_789)).toBe('5.68e-5');
});
