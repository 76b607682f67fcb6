// The difference of two plans, and a plan in characters.
import { expect, it } from 'vitest';
import { diffPlans, explainDiff, makePlan, sketchBlend, sketchLr } from '../../src/recipe/index.ts';
import { HANDBOOK, inputs, QA, WEB } from './facts.ts';

const plan = (more: string, corpora = [HANDBOOK, WEB]) => makePlan(inputs(corpora, more));
const BUDGET = 'budget: { tokens: 4M }';

it('equal inputs differ in nothing', () => {
  expect(diffPlans(plan(BUDGET), plan(BUDGET))).toEqual([]);
  expect(explainDiff([])).toBe('The plan is the same as before.');
});

it('one changed input changes only what follows from it', () => {
  const changes = diffPlans(plan(BUDGET), plan(`${BUDGET}\nrecipe: { preset: reuse-dont-retrain, switchAt: 0.5 }`));
  expect(changes.map(({ what }) => what)).toEqual([
    'second phase begins at',
    'phase 1',
    'phase 2',
    'tokens of handbook',
    'tokens of web',
  ]);
  expect(changes[0]).toMatchObject({
    before: 'LR <= 20 % of the peak',
    after: 'LR <= 50 % of the peak',
    why: 'as you set it [continuo.yaml]',
  });
  expect(explainDiff(changes)).toContain('second phase begins at: LR <= 20 % of the peak -> LR <= 50 % of the peak\n');
});

it('a new corpus shows with its tokens and its phase; a check that no longer fires is gone', () => {
  const changes = diffPlans(plan(BUDGET, [HANDBOOK]), plan(BUDGET, [HANDBOOK, WEB, QA]));
  const by = new Map(changes.map((change) => [change.what, change]));
  expect(by.get('corpus qa')).toMatchObject({ before: undefined, after: expect.stringContaining('instruction, 1M') });
  expect(by.get('check no-replay')).toMatchObject({ before: expect.stringContaining('warning'), after: undefined });
});

it('sketches have the height and width of their page, and a letter for each corpus', () => {
  const made = plan(BUDGET, [HANDBOOK, WEB, QA]);
  const lr = sketchLr(made);
  expect(lr[0]).toMatch(/^2e-4 \|\*/);
  expect(lr.at(-1)).toContain('second blend begins, LR');
  const blend = sketchBlend(made);
  expect(blend.at(-1)!.trim()).toBe('a handbook   b web   c qa');
  const first = blend.slice(0, 10).map((line) => line[7]);
  // Three quarters handbook, a quarter general text; of ten rows eight and two, since 7.5 is rounded up.
  expect(first.join('')).toBe('bbaaaaaaaa');
  for (const line of [...lr, ...blend]) expect(line.length).toBeLessThanOrEqual(100);
});
