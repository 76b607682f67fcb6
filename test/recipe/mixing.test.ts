// Mixing: each method against numbers worked out by hand or by its published code's formula, and the bounds that hold for all of them.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Rng } from '../../src/base/rng.ts';
import { MIXING_METHODS } from '../../src/config/index.ts';
import {
  decideMix,
  type MixHistory,
  type MixInputs,
  makePlan,
  type PlanMixing,
  proxyMixing,
} from '../../src/recipe/index.ts';
import { fitLaw } from '../../src/recipe/mixing/ado.ts';
import { withinBounds } from '../../src/recipe/mixing/index.ts';
import { HANDBOOK, inputs, WEB } from './facts.ts';

const STEPS = 1000;
const roles = { a: 'domain', b: 'domain', g: 'general' } as const;
const names = ['a', 'b', 'g'] as const;
const planned = { a: 0.45, b: 0.45, g: 0.1 };

const mixing = (changes: Partial<PlanMixing> = {}): PlanMixing => ({
  ...{ method: 'odm', everySteps: 50, firstStep: 100, floor: 0.01, rate: 1, minReplay: 0 },
  mostTokens: { a: 1e9, b: 1e9, g: 1e9 },
  ...changes,
});

/** Losses as functions of the step; shares as planned. */
function history(
  step: number,
  since: number,
  losses: ((t: number) => number)[],
  more: Partial<MixHistory> = {},
): MixHistory {
  return {
    ...{ step, since },
    losses: losses.map((f) => Float64Array.from({ length: step }, (_, t) => f(t))),
    shares: names.map((name) => new Float64Array(step).fill(planned[name])),
    lrs: new Float64Array(STEPS).fill(1e-4),
    ...{ excess: [], heldOut: [], gradients: [] },
    ...more,
  };
}

const given = (own: PlanMixing, seen: MixHistory, more: Partial<MixInputs> = {}): MixInputs => ({
  mixing: own,
  corpora: names.map((name) => ({ name, role: roles[name], usedTokens: 0 })),
  phases: [{ firstStep: 0, numSteps: STEPS, blend: planned }],
  ...{ numSteps: STEPS, tokensPerStep: 1024, history: seen },
  ...more,
});

const sharesOf = (decision: { parts: { blend: Record<string, number> }[] }) =>
  names.map((name) => decision.parts[0]!.blend[name] ?? 0);

function expectShares(shares: readonly number[], expected: (k: number) => number, digits: number): void {
  for (const [k, share] of shares.entries()) expect(share).toBeCloseTo(expected(k), digits);
}

describe('odm', () => {
  it('is EXP3 with the loss over ten as the reward of every step', () => {
    const first = decideMix(given(mixing(), history(100, 0, [() => 3, () => 2, () => 2.5])));
    const eps = Math.sqrt(Math.log(3) / (3 * 100));
    const powers = [30, 20, 25].map((reward) => Math.exp(reward * eps));
    const sum = powers.reduce((x, y) => x + y, 0);
    const expected = powers.map((power) => (1 - 3 * eps) * (power / sum) + eps);
    expectShares(sharesOf(first), (k) => expected[k]!, 5);
    // The rewards of the next chunk come on top; a corpus without a loss keeps its last one.
    const next = decideMix(
      given(mixing(), history(150, 100, [() => 3, () => 2, () => Number.NaN]), { state: first.state }),
    );
    expect((next.state.own as { rewards: number[] }).rewards.map((x) => Number(x.toFixed(9)))).toEqual([45, 30, 37.5]);
    expect(next.parts).toMatchObject([{ numSteps: 50 }]);
  });

  it('says that it knows nothing before there is a loss', () => {
    const decision = decideMix(
      given(mixing(), history(100, 0, [() => Number.NaN, () => Number.NaN, () => Number.NaN])),
    );
    expect(decision.isNew).toBe(false);
    expectShares(sharesOf(decision), (k) => Object.values(planned)[k]!, 6);
  });
});

describe('ado', () => {
  const law = (e: number, a: number, alpha: number) => (t: number) => e + a * (t + 1) ** -alpha;

  it('finds the law of a curve, also under noise', () => {
    const rng = new Rng(1, 'ado');
    const curve = Float64Array.from({ length: 600 }, (_, t) => law(2, 3, 0.4)(t) * (1 + 0.02 * (rng.float() - 0.5)));
    const { a, e, alpha } = fitLaw(curve, 20, 600)!;
    // Three parameters of a smooth curve trade against each other: the loss and its slope at the end are what is used.
    const at = (t: number) => Math.exp(e) + Math.exp(a) * t ** -alpha;
    expect(at(600)).toBeCloseTo(law(2, 3, 0.4)(599), 1);
    const slope = (alpha * Math.exp(a) * 600 ** -alpha) / 600;
    expect(slope / ((0.4 * 3 * 600 ** -0.4) / 600)).toBeGreaterThan(0.7);
    expect(slope / ((0.4 * 3 * 600 ** -0.4) / 600)).toBeLessThan(1.4);
  });

  it('gives more to what still falls, a tenth of the way and on average', () => {
    const seen = history(500, 0, [law(2, 4, 0.5), law(2, 0.2, 0.5), law(2, 0.2, 0.5)]);
    const decision = decideMix(given(mixing({ method: 'ado' }), seen));
    const [a, b] = sharesOf(decision);
    // Slopes are as 20 to 1, and shares are nine tenths the prior, a tenth what the slopes say.
    expect(a!).toBeGreaterThan(0.48);
    expect(b!).toBeLessThan(0.43);
    const own = decision.state.own as { average: number[] };
    expect(own.average[0]).toBeGreaterThan(0.65);
    // Losses below the code's bound on what stays, e^0.5 nats.
    const low = fitLaw(
      Float64Array.from({ length: 400 }, (_, t) => law(0.6, 1, 0.5)(t)),
      8,
      400,
    )!;
    expect(Math.exp(low.e)).toBeCloseTo(0.6, 1);
  });
});

const measured = (...records: number[][]) => records.map((bitsPerByte, i) => ({ step: i * 50, bitsPerByte }));

describe('velocitune', () => {
  it('weighs each by exp of the part of its way that is left', () => {
    const seen = history(50, 0, [], { heldOut: measured([1, 2, 0.8], [0.9, 1.9, 0.804]) });
    const own = mixing({ method: 'velocitune', targets: { a: 0.5 } });
    // a: 0.4 of 0.5 left; b: to 1.8 by default, half left; general text: 0.5 % above the base's, a quarter of the 2 % that count in full.
    const expected = [0.45 * Math.exp(0.8), 0.45 * Math.exp(0.5), 0.1 * Math.exp(0.25)];
    const sum = expected.reduce((x, y) => x + y, 0);
    const decision = decideMix(given(own, seen));
    expectShares(sharesOf(decision), (k) => expected[k]! / sum, 5);
    // What came to its target, or beyond, gets no more.
    const done = history(50, 0, [], { heldOut: measured([1, 2, 0.8], [0.4, 1.7, 0.7]) });
    expectShares(sharesOf(decideMix(given(own, done))), (k) => Object.values(planned)[k]!, 5);
  });
});

describe('ppl-change', () => {
  it("moves shares by the change of perplexity since the last decision's measurement", () => {
    const seen = history(100, 50, [], { heldOut: measured([2, 2, 2], [2, 2, 2], [1.9, 2, 2.1]) });
    const decision = decideMix(given(mixing({ method: 'ppl-change', rate: 0.5 }), seen));
    const changes = [2 ** -0.1 - 1, 0, 2 ** 0.1 - 1];
    const moved = changes.map((change, k) => Object.values(planned)[k]! * (1 + (0.5 * change) / changes[2]!));
    const sum = moved.reduce((x, y) => x + y, 0);
    expectShares(sharesOf(decision), (k) => moved[k]! / sum, 5);
  });
});

describe('doge', () => {
  const dots = [
    [4, 1, 0.5],
    [1, 1, -2],
    [0.5, -2, 1],
  ];
  it('weighs each by exp of what its gradient does for the others, over the steps of the chunk', () => {
    const seen = history(100, 0, [], { gradients: [{ step: 99, dots }] });
    const mean = (2 + 1 + 1) / 3 + 1e-6;
    // <g, sum of the others>: 1.5, -1, -1.5; negative ones count as 0. 100 steps of LR 1e-4, over mu.
    const expected = [0.45 * Math.exp((20 * 0.01 * 1.5) / mean), 0.45, 0.1];
    const sum = expected.reduce((x, y) => x + y, 0);
    const decision = decideMix(given(mixing({ method: 'doge', rate: 20 }), seen));
    expectShares(sharesOf(decision), (k) => expected[k]! / sum, 5);
    // Toward b: <g_a, g_b> = 1, |g_b|^2 = 1, <g_g, g_b> < 0.
    const toward = decideMix(given(mixing({ method: 'doge', rate: 20, toward: ['b'] }), seen));
    const factor = Math.exp((20 * 0.01 * 1) / mean);
    const total = 0.9 * factor + 0.1;
    expect(sharesOf(toward)[0]).toBeCloseTo((0.45 * factor) / total, 5);
  });
});

describe('what holds for every method', () => {
  it('shares sum to 1, keep the floor, the replay and what there is of each corpus', () => {
    const loss = fc.double({ min: 0.5, max: 9, noNaN: true });
    const bits = fc.array(fc.double({ min: 0.3, max: 3, noNaN: true }), { minLength: 3, maxLength: 3 });
    fc.assert(
      fc.property(
        fc.constantFrom(...MIXING_METHODS.filter((method) => method !== 'ado')),
        fc.array(loss, { minLength: 3, maxLength: 3 }),
        fc.array(bits, { minLength: 3, maxLength: 3 }),
        fc.option(fc.double({ min: 0, max: 0.6, noNaN: true }), { nil: undefined }),
        fc.double({ min: 0, max: 0.2, noNaN: true }),
        (method, losses, heldOut, minReplay, left) => {
          const own = {
            ...mixing({ method, floor: 0.02, rate: 0.9 }),
            minReplay,
            mostTokens: { a: left * 51_200, b: 1e9, g: 1e9 },
          };
          const seen = history(
            100,
            50,
            losses.map((x) => () => x),
            {
              heldOut: measured(...heldOut),
              gradients: [{ step: 99, dots: heldOut.map((row, i) => row.map((x, j) => (i === j ? 3 : x - 1.5))) }],
            },
          );
          const { parts } = decideMix(given(own, seen));
          const [a, b, g] = sharesOf({ parts });
          expect(Object.values(parts[0]!.blend).reduce((x, y) => x + y, 0)).toBe(1);
          // Shares are on a grid of a millionth.
          expect(g!).toBeGreaterThanOrEqual((minReplay ?? 0.1) - 2e-6);
          expect(b!).toBeGreaterThanOrEqual(0.02 - 2e-6);
          expect(a!).toBeLessThanOrEqual(left + 2e-6);
        },
      ),
      { numRuns: 40 },
    );
  });

  it('a phase keeps its own blend, moved as far as the method has moved the corpora; a corpus that it leaves out stays out', () => {
    const phases: MixInputs['phases'] = [
      { firstStep: 0, numSteps: 120, blend: { a: 0.8, g: 0.2 } },
      { firstStep: 120, numSteps: 880, blend: { a: 0.3, b: 0.5, g: 0.2 } },
    ];
    const { parts } = decideMix(given(mixing(), history(100, 0, [() => 5, () => 2, () => 2]), { phases }));
    expect(parts.map(({ numSteps }) => numSteps)).toEqual([20, 30]);
    expect(Object.keys(parts[0]!.blend)).toEqual(['a', 'g']);
    expect(parts[1]!.blend.a!).toBeGreaterThan(0.3);
    expect(parts[0]!.blend.a!).toBeGreaterThan(0.8);
  });

  it('ends with the run', () => {
    const { parts } = decideMix(given(mixing(), history(980, 930, [() => 3, () => 2, () => 2])));
    expect(parts.map(({ numSteps }) => numSteps)).toEqual([20]);
  });

  it('bounds that leave no room are dropped', () => {
    const tight = withinBounds(
      [1, 3],
      [
        { low: 0, high: 0.1 },
        { low: 0, high: 0.1 },
      ],
      0.8,
    );
    expect(tight.map((x) => Number(x.toFixed(9)))).toEqual([0.2, 0.6]);
  });
});

describe('doremi', () => {
  const own = mixing({ method: 'doremi', floor: 0 });
  const columns = (...means: number[][]) => means.map((ofCorpus) => Float64Array.from(ofCorpus));
  const decide = (step: number, excess: Float64Array[], more: Partial<MixInputs> = {}) =>
    decideMix(given(own, history(step, step - 2, [], { excess }), more));

  it('moves shares by exp of the mean excess, and a thousandth of the way to equal ones', () => {
    const first = decide(2, columns([0.1, 0.3], [0.6, 0.6], [Number.NaN, 0.4]));
    const powers = [0.45 * Math.exp(0.2), 0.45 * Math.exp(0.6), 0.1 * Math.exp(0.4)];
    const sum = powers.reduce((x, y) => x + y, 0);
    expectShares(sharesOf(first), (k) => 0.999 * (powers[k]! / sum) + 0.001 / 3, 5);
    // What is not drawn keeps its excess, and shares go on from where they are.
    const nothing = [Number.NaN, Number.NaN];
    const next = decide(4, columns([...nothing, 0, 0], [...nothing, ...nothing], [...nothing, 0, 0.2]), {
      state: first.state,
    });
    const moved = sharesOf(first).map((share, k) => share * Math.exp([0, 0.6, 0.1][k]!));
    const total = moved.reduce((x, y) => x + y, 0);
    expectShares(sharesOf(next), (k) => 0.999 * (moved[k]! / total) + 0.001 / 3, 5);
  });

  it('takes what was never drawn for average; equal excess moves nothing but the smoothing', () => {
    const decision = decide(2, columns([1, 1], [1, 1], [Number.NaN, Number.NaN]));
    expectShares(sharesOf(decision), (k) => 0.999 * Object.values(planned)[k]! + 0.001 / 3, 5);
    expect(decision.isNew).toBe(true);
    expect(decide(2, []).isNew).toBe(false);
  });

  it('decides for a proxy from its half on, at each step where that has sequences enough', () => {
    expect(proxyMixing(200, 64, 3)).toMatchObject({ method: 'doremi', everySteps: 1, firstStep: 100, rate: 1 });
    expect(proxyMixing(200, 8, 3)).toMatchObject({ everySteps: 3, firstStep: 102, minReplay: 0 });
    // Never fewer than ten decisions, never more than two hundred.
    expect(proxyMixing(30, 4, 3)).toMatchObject({ everySteps: 1, firstStep: 15 });
    expect(proxyMixing(2000, 64, 3)).toMatchObject({ everySteps: 5, firstStep: 1000 });
    expect(() => proxyMixing(19, 64, 3)).toThrow('--probe-tokens: DoReMi finds shares in at least 20 steps, found 19');
  });
});

describe('the plan', () => {
  const planOf = (more: string) =>
    makePlan(inputs([HANDBOOK, WEB], `budget: { steps: 1000 }\nevaluate: { every: 100 }\n${more}`));

  it('says how shares are decided, and from when on', () => {
    const plan = planOf('mixing: { method: odm, minReplay: 0.2 }');
    expect(plan.mixing).toMatchObject({ method: 'odm', everySteps: 50, firstStep: 100, floor: 0.01, minReplay: 0.2 });
    expect(plan.mixing!.mostTokens).toMatchObject({ web: 80e6 });
    expect(plan.reasons.find(({ what }) => what === 'mixing')?.source).toContain('Albalak');
    expect(planOf('mixing: { method: velocitune }').mixing).toMatchObject({ everySteps: 100, firstStep: 100, rate: 1 });
    const reference = 'training: { selectTokens: { reference: owner/other, keep: 1 } }';
    expect(planOf(`mixing: { method: doremi }\n${reference}`).mixing).toMatchObject({ method: 'doremi', rate: 1 });
    expect(planOf('mixing: { method: doge, every: 30, warmup: 70 }').mixing).toMatchObject({ firstStep: 90, rate: 20 });
  });

  it('refuses what does not fit', () => {
    expect(() => planOf('mixing: { method: ppl-change, every: 50 }')).toThrow(
      'measured every 100 steps: expected a multiple',
    );
    expect(() => planOf('mixing: { method: odm, every: 1000 }')).toThrow('there is none');
    expect(() => planOf('mixing: { method: odm, warmup: 960 }')).toThrow('first decision would fall on step 1000');
    expect(() => planOf('mixing: { method: odm, rate: 2 }')).toThrow(
      /continuo\.yaml:\d+:\d+: mixing\.rate.*only with velocitune/,
    );
    expect(() => planOf('mixing: { method: velocitune, targets: { wbe: 1 } }')).toThrow(
      /:\d+:\d+: mixing\.targets\.wbe/,
    );
    expect(() => planOf('mixing: { method: doremi }')).toThrow(
      /:\d+:\d+: mixing\.method: doremi compares losses with those of a reference model, but there is none/,
    );
    expect(() => planOf('mixing: { method: dogg }')).toThrow(/mixing\.method.*one of odm, ado/);
    expect(() => makePlan(inputs([HANDBOOK], 'budget: { steps: 100 }\nmixing: { method: odm }'))).toThrow(
      'no shares to move',
    );
  });
});
