// Shares of topics after an interval, by the change of their perplexity.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { moveMixture } from '../../src/recipe/index.ts';

const topic = (name: string, share: number, before: number, after: number) => ({ name, share, before, after });

describe('moveMixture', () => {
  it('gives more to topics whose perplexity fell least, by f = 1 + rate * d * w', () => {
    const [science, code, law] = moveMixture(
      [topic('science', 0.5, 10, 8), topic('code', 0.25, 10, 9), { ...topic('law', 0.25, 10, 10.5), importance: 1 }],
      0.5,
    );
    // Relative changes -0.2, -0.1, +0.05 over the largest, 0.2, times the rate.
    expect(science!.factor).toBeCloseTo(0.5, 12);
    expect(code!.factor).toBeCloseTo(0.75, 12);
    expect(law!.factor).toBeCloseTo(1.125, 12);
    const sum = 0.5 * 0.5 + 0.25 * 0.75 + 0.25 * 1.125;
    expect(law!.newShare).toBeCloseTo((0.25 * 1.125) / sum, 12);
    expect(science!.newShare).toBeLessThan(science!.share);
  });

  it('keeps shares where nothing changed or the rate is 0, and the sum always', () => {
    expect(moveMixture([topic('a', 3, 5, 5), topic('b', 1, 7, 7)]).map(({ newShare }) => newShare)).toEqual([
      0.75, 0.25,
    ]);
    const perplexity = fc.double({ min: 1.01, max: 1e5, noNaN: true });
    const one = fc.record({
      share: fc.double({ min: 1e-6, max: 1, noNaN: true }),
      before: perplexity,
      after: perplexity,
    });
    fc.assert(
      fc.property(
        fc.array(one, { minLength: 2, maxLength: 20 }),
        fc.double({ min: 0, max: 0.99, noNaN: true }),
        (list, rate) => {
          const moves = moveMixture(
            list.map((given, i) => ({ name: String(i), ...given })),
            rate,
          );
          expect(moves.reduce((sum, { newShare }) => sum + newShare, 0)).toBeCloseTo(1, 9);
          for (const a of moves) expect(a.newShare).toBeGreaterThan(0);
          if (rate === 0) for (const { share, newShare } of moves) expect(newShare).toBeCloseTo(share, 9);
        },
      ),
    );
  });

  it('refuses what is no mixture', () => {
    expect(() => moveMixture([topic('a', 1, 2, 2)])).toThrow('expected two topics');
    expect(() => moveMixture([topic('a', 1, 2, 2), topic('b', 0, 2, 2)])).toThrow('"b" has share 0');
    expect(() => moveMixture([topic('a', 1, 2, 2), topic('b', 1, 2, 2)], 1)).toThrow('The rate is 1');
  });
});
