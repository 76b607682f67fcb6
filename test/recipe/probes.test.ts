// Probes: how they are cut from a plan, and what is read from their scores. The scores here are made up, or published.
import { describe, expect, test } from 'vitest';
import {
  checkMixable,
  explainFinding,
  explainPlan,
  findDomainShare,
  findPeakLr,
  fitParabola,
  fitPower,
  type LrFinding,
  lrAt,
  lrGrid,
  makePlan,
  type ProbePoint,
  probePlan,
  probeSteps,
  probeTable,
  probeTokens,
} from '../../src/recipe/index.ts';
import { HANDBOOK, inputs, QA, WEB } from './facts.ts';

const FRAME = {
  base: { domain: 2.1, general: 1.7 },
  tolerance: 0.01,
  numSteps: 50,
  numTokens: 200_000,
  runTokens: 4e6,
};
const GRID = lrGrid(4e-4);

/** Domain loss with its minimum at `best`, general loss that rises with the square of the LR to `rise` at the top of the grid. */
function points(best: number, rise: number, grid = GRID): ProbePoint[] {
  return grid.map((x) => ({
    x,
    scores: {
      domain: 1.9 + 0.02 * Math.log(x / best) ** 2,
      general: 1.7 * (1 + rise * (Math.log(x / grid[0]!) / Math.log(16)) ** 2),
    },
  }));
}

describe('the best LR', () => {
  test('a known optimum between the grid points is recovered', () => {
    const found = findPeakLr(FRAME, points(5.3e-4, 0.001));
    expect(found.best).toBe(5.3e-4);
    expect(found.predicted.domain).toBeCloseTo(1.9, 4);
    expect(found).toMatchObject({ holds: true, isBound: false });
    expect(found.edge).toBeUndefined();
    expect(found.misfit).toBeLessThan(1e-9);
  });

  test('with noise it stays near: 0.2 % of loss against a bowl 4 % deep', () => {
    const noisy = points(5.3e-4, 0.001).map(({ x, scores }, i) => ({
      x,
      scores: { ...scores!, domain: scores!.domain * (1 + 0.002 * [1, -1, 0.5, -0.5, 1][i]!) },
    }));
    expect(Math.abs(Math.log(findPeakLr(FRAME, noisy).best / 5.3e-4))).toBeLessThan(0.3);
  });

  test('the tolerance on the general loss wins over the domain', () => {
    // 1 % of rise is reached at a quarter of the way in squares: half of the grid, its middle.
    const found = findPeakLr(FRAME, points(1.2e-3, 0.04));
    expect(found).toMatchObject({ holds: true, isBound: true });
    expect(found.best).toBe(4e-4);
    expect(found.predicted.general! / 1.7).toBeCloseTo(1.01, 4);
    expect(explainFinding(found, 'x').join('\n')).toContain('The general loss decides');
  });

  test('a general loss that rises by a power of the LR: the tolerance is met where the power says', () => {
    const power = points(1.2e-3, 0).map(({ x, scores }) => ({
      x,
      scores: { ...scores!, general: 1.7 * (1 + 0.018 * (x / 5e-4) ** 1.4) },
    }));
    expect(findPeakLr(FRAME, power).best).toBe(Number((5e-4 * (1 / 1.8) ** (1 / 1.4)).toPrecision(2)));
  });

  test('nothing within the tolerance: what loses least, and it is said', () => {
    const worse = points(4e-4, 0.01).map(({ x, scores }) => ({
      x,
      scores: { ...scores!, general: scores!.general! + 0.1 },
    }));
    const found = findPeakLr(FRAME, worse);
    expect(found).toMatchObject({ best: GRID[0], holds: false });
    expect(explainFinding(found, 'x').join('\n')).toMatch(/Nothing that was tried keeps the general loss within 1 %/);
  });

  test.each([
    ['highest', 1e-1, GRID[4]!],
    ['lowest', 1e-6, GRID[0]!],
  ] as [string, number, number][])(
    'a loss that only falls towards the %s LR: the edge, never beyond',
    (edge, best, at) => {
      const found = findPeakLr({ ...FRAME, base: { domain: 9, general: 1.7 } }, points(best, 0));
      expect(found).toMatchObject({ best: at, edge });
      expect(explainFinding(found, 'x').join('\n')).toContain(`It is the ${edge} LR that was tried`);
    },
  );

  test('a probe that diverged ends the grid; the others decide', () => {
    const some = points(5.3e-4, 0.001);
    const found = findPeakLr(FRAME, [...some.slice(0, 4), { x: some[4]!.x }]);
    expect(found.best).toBe(5.3e-4);
    expect(probeTable(found).rows.at(-1)).toEqual(['1.6e-3', 'diverged', '', '', '']);
    const edge = findPeakLr({ ...FRAME, base: { domain: 9, general: 1.7 } }, [
      ...points(1e-2, 0).slice(0, 3),
      { x: some[3]!.x },
      { x: some[4]!.x },
    ]);
    expect(edge).toMatchObject({ best: GRID[2], edge: 'highest' });
  });

  test('an LR that leaves the domain worse than it was counts as diverged', () => {
    const some = points(3e-4, 0.001);
    some[4] = { x: some[4]!.x, scores: { domain: 6, general: 6 } };
    expect(findPeakLr(FRAME, some)).toMatchObject({ best: 3e-4, holds: true });
  });

  test('too few points for a fit: the best that was measured', () => {
    const found = findPeakLr(FRAME, points(5.3e-4, 0.001).slice(1, 3));
    expect(found).toMatchObject({ best: GRID[2], edge: 'highest' });
    expect(found.misfit).toBeUndefined();
    expect(explainFinding(found, 'x').join('\n')).toContain('Taken from what was measured');
    expect(findPeakLr(FRAME, points(5.3e-4, 0.001).slice(1, 2)).best).toBe(GRID[1]);
  });

  test('a loss with a hump in the middle has no minimum to fit: the best that was measured', () => {
    const hump = points(4e-4, 0).map(({ x, scores }) => ({ x, scores: { ...scores!, domain: 4 - scores!.domain } }));
    const found = findPeakLr({ ...FRAME, base: { domain: 3, general: 1.7 } }, hump);
    expect([GRID[0], GRID[4]]).toContain(found.best);
    expect(found.misfit).toBeUndefined();
  });

  test('all diverged: an error that says what to do', () => {
    expect(() => findPeakLr(FRAME, [{ x: 1 }, { x: 2 }])).toThrow(/every probe diverged.*--probe-lrs/);
  });

  test('without general text only the domain counts', () => {
    const domain = points(5.3e-4, 9).map(({ x, scores }) => ({ x, scores: { domain: scores!.domain } }));
    expect(findPeakLr({ ...FRAME, base: { domain: 2.1 } }, domain)).toMatchObject({ best: 5.3e-4, holds: true });
  });
});

describe('the best domain share', () => {
  const law = (R: number) => ({ domain: 1.7 + 0.1 * R ** -0.8, general: 1.69 + 0.09 * R ** 6 });

  test('a known law is recovered from three points, and so is the share at the tolerance', () => {
    const found = findDomainShare(
      FRAME,
      [0.5, 0.75, 0.95].map((x) => ({ x, scores: law(x) })),
    );
    expect(found.fits!.general.s).toBeCloseTo(6, 3);
    expect(found.fits!.domain.s).toBeCloseTo(-0.8, 3);
    const exact = ((1.7 * 1.01 - 1.69) / 0.09) ** (1 / 6);
    expect(found.best).toBeCloseTo(exact, 2);
    expect(found.best).toBeLessThanOrEqual(exact);
    expect(found).toMatchObject({ holds: true, isBound: true });
    expect(explainFinding(found, 'x').join('\n')).toContain('three points determine such curves');
  });

  test('all within the tolerance: the largest that was tried, never more', () => {
    const found = findDomainShare(
      { ...FRAME, tolerance: 0.1 },
      [0.5, 0.75, 0.95].map((x) => ({ x, scores: law(x) })),
    );
    expect(found).toMatchObject({ best: 0.95, edge: 'highest', holds: true });
    expect(explainFinding(found, 'x').join('\n')).toContain('more domain text may be possible');
  });

  test('none within it: the smallest, and it is said', () => {
    const frame = { ...FRAME, tolerance: 0, base: { domain: 2.1, general: 1.6 } };
    const found = findDomainShare(
      frame,
      [0.5, 0.75, 0.95].map((x) => ({ x, scores: law(x) })),
    );
    expect(found).toMatchObject({ best: 0.5, holds: false });
    expect(explainFinding(found, 'x').join('\n')).toContain('Nothing that was tried');
  });

  // The domain's loss at 0.94 is not in our copy of the table; the answer does not depend on it.
  test("D-CPT's own example (arXiv 2406.01375, Table 5): from three of its shares the answer is near its 0.924", () => {
    const table = [
      { x: 0.9, scores: { domain: 1.7321, general: 2.9052 } },
      { x: 0.94, scores: { domain: 1.73, general: 2.9848 } },
      { x: 1, scores: { domain: 1.722, general: 3.4667 } },
    ];
    const found = findDomainShare({ ...FRAME, tolerance: 0.03, base: { domain: 2.5, general: 2.8602 } }, table);
    // The paper measured 2.9445 at 0.924, which is 2.95 % above the base.
    expect(Math.abs(found.best - 0.924)).toBeLessThan(0.005);
  });
});

describe('fits', () => {
  test('a parabola through three points is exact', () => {
    const { at, curvature } = fitParabola([-8, -7, -5], [3, 2, 4]);
    for (const [x, y] of [
      [-8, 3],
      [-7, 2],
      [-5, 4],
    ] as const)
      expect(at(x)).toBeCloseTo(y, 10);
    expect(curvature).toBeGreaterThan(0);
  });

  test('a power law with more points than parameters', () => {
    const xs = [0.2, 0.4, 0.6, 0.8, 1];
    const { fit } = fitPower(
      xs,
      xs.map((x) => -0.4 * x ** 0.5 + 3),
    );
    expect(fit.a).toBeCloseTo(-0.4, 4);
    expect(fit.s).toBeCloseTo(0.5, 4);
    expect(fit.b).toBeCloseTo(3, 4);
  });
});

describe('a probe', () => {
  const plan = makePlan(inputs([HANDBOOK, WEB, QA], 'budget: { tokens: 20M }'));

  test('is the plan in small', () => {
    const small = probePlan(plan, { name: 'p', numSteps: 50, peakLr: 1e-3 });
    expect(small).toMatchObject({ name: 'p', numSteps: 50, totalTokens: 50 * plan.tokensPerStep });
    expect(small.schedule).toMatchObject({ kind: 'cosine', peakLr: 1e-3, floorLr: 1e-5 });
    expect(small.phases.map(({ blend }) => blend)).toEqual(plan.phases.map(({ blend }) => blend));
    expect(small.phases[0]!.firstStep).toBe(0);
    expect(small.phases.reduce((sum, phase) => sum + phase.numSteps, 0)).toBe(50);
    expect(small.phases[1]!.firstStep / 50).toBeCloseTo(plan.phases[1]!.firstStep / plan.numSteps, 1);
    expect(small.phases.at(-1)!.lrTo).toBe(lrAt(small.schedule, 49));
    expect(small.evaluation).toEqual({ everySteps: 50, tokensPerSet: plan.evaluation.tokensPerSet });
    expect(small.checkpoint.keep).toBe(1);
  });

  test('keeps a warm-up, and the cool-down of other schedules, in proportion', () => {
    const rewarmed = makePlan(
      inputs(undefined, 'recipe: { preset: rewarm-replay, warmup: 0.1 }\nbudget: { tokens: 20M }'),
    );
    const small = probePlan(rewarmed, { name: 'p', numSteps: 50 });
    expect(small.schedule).toMatchObject({ warmupSteps: 5, peakLr: rewarmed.schedule.peakLr });
  });

  test('with another domain share keeps instruction text and the proportions inside a role', () => {
    const corpora = [HANDBOOK, { ...HANDBOOK, name: 'manual', numTokens: 1_000_000 }, WEB, QA];
    const mixed = probePlan(makePlan(inputs(corpora, 'budget: { tokens: 20M }')), {
      name: 'p',
      numSteps: 50,
      domainShare: 0.5,
    });
    const [first, second] = mixed.phases.map(({ blend }) => blend);
    expect(first!.handbook! + first!.manual!).toBeCloseTo(0.5, 5);
    expect(first!.handbook! / first!.manual!).toBeCloseTo(4, 3);
    expect(second!.qa).toBeCloseTo(0.1, 5);
    expect(second!.web).toBeCloseTo(0.45, 5);
    for (const { blend } of mixed.phases) expect(Object.values(blend).reduce((sum, share) => sum + share, 0)).toBe(1);
  });

  test('a mix needs both kinds of text in every phase', () => {
    expect(() => checkMixable(plan)).not.toThrow();
    const alone = makePlan(inputs([HANDBOOK], 'budget: { tokens: 4M }'));
    expect(() => checkMixable(alone)).toThrow(/--find-mix: expected domain and general text.*no general text/);
  });

  test('has a twentieth of the steps, fifty at least, and never more than the run', () => {
    expect(probeSteps({ ...plan, numSteps: 10_000 }, undefined)).toBe(500);
    expect(probeSteps({ ...plan, numSteps: 300 }, undefined)).toBe(50);
    expect(probeSteps({ ...plan, numSteps: 20 }, undefined)).toBe(20);
    expect(probeSteps({ ...plan, numSteps: 300 }, 7.5 * plan.tokensPerStep)).toBe(7);
    expect(() => probeSteps(plan, 10)).toThrow(/--probe-tokens: expected at least one step of \d+ tokens, found 10/);
  });

  test('costs what is trained, and the base is scored once', () => {
    const heldOut = 3 * 100_000;
    expect(probeTokens(plan, 5, 50)).toEqual({ trained: 250 * plan.tokensPerStep, scored: 6 * heldOut });
  });
});

describe('found, in a plan', () => {
  const lr: LrFinding = findPeakLr(FRAME, points(5.3e-4, 0.001));
  const mix = findDomainShare(
    FRAME,
    [0.5, 0.75, 0.95].map((x) => ({ x, scores: { domain: 1.7 + 0.1 / x, general: 1.69 + 0.09 * x ** 6 } })),
  );
  const asked = (recipe: string) => inputs(undefined, `recipe: ${recipe}\nbudget: { tokens: 4M }`);

  test('where the file says so it is used, with its evidence as the reason', () => {
    const plan = makePlan({
      ...asked('{ preset: reuse-dont-retrain, peakLr: found, replay: found }'),
      probes: { lr, mix },
    });
    expect(plan.schedule).toMatchObject({ peakLr: 5.3e-4, floorLr: 5.3e-6 });
    for (const { blend } of plan.phases) expect(blend.web).toBeCloseTo(1 - mix.best, 6);
    const reason = plan.reasons.find(({ what }) => what === 'peak LR')!;
    expect(reason).toMatchObject({ value: '5.3e-4', source: 'probe runs at several LRs (continuo plan --find-lr)' });
    expect(reason.why).toMatch(/in 5 runs of 200k tokens, 5\.3e-4 was best for the domain: domain 2\.100 to 1\.900/);
  });

  test.each(['rewarm-replay', 'reuse-dont-retrain', 'infinite-lr', 'domain-adaptation'])('%s takes both', (preset) => {
    const plan = makePlan({ ...asked(`{ preset: ${preset}, peakLr: found, replay: found }`), probes: { lr, mix } });
    expect(plan.schedule.peakLr).toBe(5.3e-4);
    expect(plan.phases[0]!.blend.web).toBeCloseTo(1 - mix.best, 6);
  });

  test('an LR that was found is not warned of like one that was set', () => {
    const asks = (peakLr: string, more = '') =>
      makePlan({
        ...inputs(
          undefined,
          `recipe: { preset: reuse-dont-retrain, peakLr: ${peakLr} }\nbudget: { tokens: 4M }\n${more}`,
        ),
        probes: { lr },
      }).warnings.filter(({ id }) => ['lr-above-pretraining-final', 'lora-lr-of-full-training'].includes(id));
    expect(asks('5.3e-4').map(({ severity }) => severity)).toEqual(['warning']);
    const found = asks('found', 'training: { lora: 8 }');
    expect(found.map(({ id, severity }) => [id, severity])).toEqual([['lr-above-pretraining-final', 'note']]);
    expect(found[0]!.message).toContain('as probe runs advised');
  });

  test('otherwise the page only recommends it', () => {
    const plan = makePlan({ ...asked('reuse-dont-retrain'), probes: { lr } });
    expect(plan.schedule.peakLr).toBe(2e-4);
    const page = explainPlan(plan);
    expect(page).toMatch(/PROBES\n {2}Recommended: peak LR 5\.3e-4/);
    expect(page).toContain('peakLr: found }, or peakLr: 5.3e-4');
    expect(Math.max(...page.split('\n').map((line) => line.length))).toBeLessThanOrEqual(100);
  });

  test.each([
    ['peakLr', '--find-lr'],
    ['replay', '--find-mix'],
  ])('%s: found without a result names the command', (key, option) => {
    expect(() => makePlan(asked(`{ preset: reuse-dont-retrain, ${key}: found }`))).toThrow(
      new RegExp(`recipe\\.${key}: found: nothing is found yet .*continuo plan .*continuo\\.yaml ${option}`),
    );
  });
});
