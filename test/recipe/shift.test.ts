// The measured shift: the divergence, the verdict, and what a plan makes of it.
import { describe, expect, test } from 'vitest';
import {
  assessShift,
  divergence,
  explainPlan,
  judgeShift,
  makePlan,
  type Plan,
  type ShiftEvidence,
} from '../../src/recipe/index.ts';
import { inputs } from './facts.ts';

/** Of a corpus whose bits per byte are `ratio` times those of the general text, and whose frequencies lie `excess` above the halves'. */
function evidence(ratio?: number, excess?: number): ShiftEvidence {
  return {
    corpus: 'handbook',
    ...(ratio !== undefined && { bitsPerByte: { corpus: 1.7 * ratio, general: 1.7 } }),
    ...(excess !== undefined && {
      frequencies: { divergence: 0.02 + excess, baseline: 0.02, sampleTokens: 200_000 },
    }),
  };
}

describe('divergence', () => {
  test('0 for equal shares whatever the counts, 1 for nothing in common, the same both ways', () => {
    expect(divergence([1, 2, 3], [10, 20, 30])).toBeCloseTo(0, 12);
    expect(divergence([5, 0], [0, 9])).toBe(1);
    expect(divergence([3, 1, 0], [1, 1, 2])).toBe(divergence([1, 1, 2], [3, 1, 0]));
  });

  test('a case by hand: (1, 0) against (1/2, 1/2)', () => {
    // M = (3/4, 1/4); half of log2(4/3), and half of (log2(2/3) + log2(2)) / 2.
    const expected = 0.5 * Math.log2(4 / 3) + 0.25 * (Math.log2(2 / 3) + 1);
    expect(divergence([4, 0], [7, 7])).toBeCloseTo(expected, 12);
  });
});

describe('the verdict', () => {
  test.each([
    ['none', 1, 0.01],
    ['weak', 1.08, 0.01],
    ['weak', 1, 0.18],
    ['strong', 1.22, 0.18],
    ['strong', 1.08, 0.4],
    // Program code for a model that predicts it better than the general text.
    ['weak', 0.6, 0.4],
    ['none', undefined, 0.03],
    ['strong', undefined, 0.53],
    ['strong', 1.5, undefined],
    ['none', 0.9, undefined],
  ] as const)('%s at %s times the bits and %s more divergence', (verdict, ratio, excess) => {
    expect(judgeShift(evidence(ratio, excess))).toBe(verdict);
  });

  test('of several corpora the furthest decides', () => {
    const shift = assessShift([evidence(1, 0.01), { ...evidence(1.3, 0.2), corpus: 'code' }], ['web']);
    expect(shift.verdict).toBe('strong');
    expect(shift.corpora.map((one) => one.verdict)).toEqual(['none', 'strong']);
  });
});

describe('in a plan', () => {
  const planOf = (ratio: number, recipe = 'reuse-dont-retrain', more = '') =>
    makePlan({
      ...inputs(undefined, `recipe: { preset: ${recipe}${more} }\nbudget: { tokens: 4M }`),
      shift: assessShift([evidence(ratio, 0.1)], ['web']),
    });
  const replayOf = (plan: Plan) => plan.phases.map(({ blend }) => blend.web);

  test('a weak one takes 5 % replay, a strong one 25 %, and the reason holds the evidence', () => {
    expect(replayOf(planOf(1.1))).toEqual([0.05, 0.04]);
    expect(replayOf(planOf(1.3))).toEqual([0.25, 0.2]);
    expect(replayOf(planOf(1.1, 'rewarm-replay'))).toEqual([0.05]);
    expect(replayOf(planOf(1.3, 'rewarm-replay'))).toEqual([0.25]);
    const plan = planOf(1.1);
    const reason = plan.reasons.find(({ what }) => what === 'distribution shift')!;
    expect(reason).toMatchObject({ value: 'weak, measured' });
    expect(reason.why).toContain('1.870 bits per byte against 1.700 on the general text (x 1.10)');
    expect(reason.why).toContain(
      '0.120 bits apart where halves of the general text are 0.020 apart (200k tokens each)',
    );
    expect(plan.shift).toMatchObject({ verdict: 'weak', general: ['web'] });
    expect(explainPlan(plan)).toMatch(/SHIFT\n {2}A weak shift between the text to learn and what the model knows/);
  });

  test('re-warming is advised for a strong one only', () => {
    const advice = (ratio: number) => planOf(ratio).reasons.find(({ what }) => what === 're-warming')!.value;
    expect(advice(1)).toBe('not advised');
    expect(advice(1.1)).toBe('not advised');
    expect(advice(1.3)).toBe('advised where the domain must be learned well');
  });

  test("the user's own replay and shift win", () => {
    expect(replayOf(planOf(1.1, 'reuse-dont-retrain', ', replay: 0.4'))).toEqual([0.4]);
    expect(replayOf(planOf(1.1, 'rewarm-replay', ', shift: strong'))).toEqual([0.25]);
  });

  test('without a measurement a plan says nothing of one', () => {
    const plan = makePlan(inputs());
    expect(plan.shift).toBeUndefined();
    expect(plan.reasons.some(({ what }) => what === 'distribution shift')).toBe(false);
    expect(explainPlan(plan)).not.toContain('SHIFT');
  });

  test('what could not be scored is said', () => {
    const shift = assessShift([evidence(undefined, 0.3)], ['web'], 'bits per byte were not measured: too slow');
    const plan = makePlan({ ...inputs(), shift });
    expect(plan.reasons.find(({ what }) => what === 'distribution shift')!.why).toMatch(
      /; bits per byte were not measured/,
    );
    expect(explainPlan(plan)).toContain('Bits per byte were not measured: too slow.');
  });
});
