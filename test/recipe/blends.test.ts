import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type BlendCorpus,
  type CorpusFacts,
  normalizeWeights,
  resolveBlends,
  splitWhole,
} from '../../src/recipe/index.ts';
import { corpus, HANDBOOK, QA, WEB } from './facts.ts';

const sum = (values: Iterable<number>) => [...values].reduce((total, value) => total + value, 0);
const roles = (domain: number, general: number, instruction = 0) => ({
  kind: 'roles' as const,
  shares: { domain, general, instruction },
});

describe('weights', () => {
  it('become shares that add up to exactly 1', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0, max: 1e12, noNaN: true }), { minLength: 1, maxLength: 12 }),
        (weights) => {
          fc.pre(weights.some((weight) => weight > 1e-300));
          const blend = normalizeWeights(Object.fromEntries(weights.map((weight, i) => [`c${i}`, weight])));
          expect(sum(Object.values(blend))).toBe(1);
          for (const share of Object.values(blend)) expect(share).toBeGreaterThan(0);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('keep their proportions to a millionth, and leave out what weighs nothing', () => {
    expect(normalizeWeights({ a: 3, b: 1, c: 0 })).toEqual({ a: 0.75, b: 0.25 });
    expect(normalizeWeights({ a: 1, b: 1, c: 1 })).toMatchObject({ a: 0.333334, b: 0.333333 });
  });
});

it('whole numbers are split without losing one', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 1e9 }),
      fc.array(fc.integer({ min: 1, max: 1000 }), { minLength: 1, maxLength: 9 }),
      (total, weights) => {
        const shares = weights.map((weight) => weight / sum(weights));
        const parts = splitWhole(total, shares);
        expect(sum(parts)).toBe(total);
        for (const [i, part] of parts.entries()) expect(Math.abs(part - total * shares[i]!)).toBeLessThan(1.001);
      },
    ),
  );
});

describe('shares of corpora', () => {
  it('divide a role by size, or by weight where weights are given', () => {
    const other = corpus('wiki', 'general', 60_000_000);
    const phase = { rule: roles(0.75, 0.25), numTokens: 1e6 };
    expect(resolveBlends([phase], [HANDBOOK, WEB, other], 4)).toEqual([{ handbook: 0.75, web: 0.0625, wiki: 0.1875 }]);
    const weighted = [HANDBOOK, { ...WEB, weight: 3 }, { ...other, weight: 1 }];
    expect(resolveBlends([phase], weighted, 4)).toEqual([{ handbook: 0.75, web: 0.1875, wiki: 0.0625 }]);
  });

  it('give the share of an absent role to the others', () => {
    expect(resolveBlends([{ rule: roles(0.7, 0.2, 0.1), numTokens: 1e6 }], [HANDBOOK, QA], 4)).toEqual([
      { handbook: 0.875, qa: 0.125 },
    ]);
    expect(resolveBlends([{ rule: roles(1, 0), numTokens: 1e6 }], [WEB], 4)).toEqual([{ web: 1 }]);
  });

  it('take from a small corpus no more than its epochs, and the rest from others of its role', () => {
    const tiny = { ...corpus('tiny', 'general', 10_000), weight: 1 };
    const [blend] = resolveBlends(
      [{ rule: roles(0.75, 0.25), numTokens: 4_000_000 }],
      [HANDBOOK, { ...WEB, weight: 1 }, tiny],
      4,
    );
    expect(blend!.tiny! * 4_000_000).toBeCloseTo(40_000, 0);
    expect(blend!.handbook).toBe(0.75);
  });

  it('give what instruction text cannot supply to the domain', () => {
    const few = corpus('qa', 'instruction', 10_000);
    const [blend] = resolveBlends([{ rule: roles(0.7, 0.2, 0.1), numTokens: 1_000_000 }], [HANDBOOK, WEB, few], 4);
    expect(blend).toEqual({ handbook: 0.76, web: 0.2, qa: 0.04 });
  });

  const role = fc.constantFrom<CorpusFacts['role']>('domain', 'general', 'instruction');
  const someCorpora = fc
    .array(
      fc.record({ role, numTokens: fc.integer({ min: 1000, max: 1e8 }), weight: fc.integer({ min: 1, max: 100 }) }),
      { minLength: 1, maxLength: 6 },
    )
    .map((list) =>
      list.map(({ role, numTokens, weight }, i): BlendCorpus => ({ ...corpus(`c${i}`, role, numTokens), weight })),
    );

  it('sum to exactly 1, and stay within the epochs wherever the role has enough text', () => {
    fc.assert(
      fc.property(
        someCorpora,
        fc.integer({ min: 1e4, max: 1e9 }),
        fc.integer({ min: 1e4, max: 1e9 }),
        (corpora, first, second) => {
          const maxEpochs = 4;
          const phases = [
            { rule: roles(0.75, 0.25), numTokens: first },
            { rule: roles(0.7, 0.2, 0.1), numTokens: second },
          ];
          const blends = resolveBlends(phases, corpora, maxEpochs);
          for (const blend of blends) expect(sum(Object.values(blend))).toBe(1);
          const tokens = (name: string) =>
            phases.reduce((total, phase, i) => total + phase.numTokens * (blends[i]![name] ?? 0), 0);
          for (const one of ['domain', 'general', 'instruction'] as const) {
            const ofRole = corpora.filter((entry) => entry.role === one);
            const used = sum(ofRole.map((entry) => tokens(entry.name)));
            const supply = maxEpochs * sum(ofRole.map((entry) => entry.numTokens));
            // Shares are rounded to a millionth of a phase.
            const slack = (first + second) * 1e-5 + 1;
            if (used <= supply)
              for (const entry of ofRole)
                expect(tokens(entry.name)).toBeLessThanOrEqual(maxEpochs * entry.numTokens + slack);
            if (one === 'instruction' && corpora.some((entry) => entry.role !== one))
              expect(used).toBeLessThanOrEqual(supply + slack);
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});
