import * as path from 'node:path';
import { expect, it } from 'vitest';
import { explainPlan, makePlan } from '../../src/recipe/index.ts';
import { corpus, HANDBOOK, inputs, newModelInputs, QA, WEB } from './facts.ts';

it('words a plan as in the golden file', async () => {
  const plan = makePlan({
    ...inputs([HANDBOOK, WEB, QA]),
    hardware: { tokensPerSecond: 5000, memoryBytes: 8 * 2 ** 30, source: 'measured on this machine' },
  });
  await expect(explainPlan(plan)).toMatchFileSnapshot(path.join(import.meta.dirname, 'golden', 'plan.txt'));
  await expect(`${JSON.stringify(plan, null, 2)}\n`).toMatchFileSnapshot(
    path.join(import.meta.dirname, 'golden', 'plan.json'),
  );
});

it('stays within 100 columns, whatever the plan', () => {
  const wordy = corpus('a-corpus-with-quite-a-long-name-indeed', 'general', 3_000_000, 1_000);
  const plans = [
    makePlan(inputs([HANDBOOK, wordy, WEB, QA, corpus('another-with-a-long-name', 'domain', 50_000)])),
    makePlan(inputs([HANDBOOK], 'budget: { steps: 1 }')),
    makePlan(inputs([HANDBOOK, WEB], 'budget: { tokens: 9M }\nrecipe: naive')),
    makePlan(inputs([HANDBOOK, WEB], 'budget: { tokens: 9M }\nrecipe: { preset: reuse-dont-retrain, switchAt: 0.02 }')),
    makePlan(newModelInputs([WEB])),
  ];
  for (const plan of plans) {
    const page = explainPlan(plan);
    for (const line of page.split('\n')) expect(line.length, line).toBeLessThanOrEqual(100);
    for (const warning of plan.warnings) expect(page).toContain(`${warning.id}:`);
    for (const reason of plan.reasons) expect(page).toContain(reason.what);
  }
});

it('marks the switch at its step', () => {
  const plan = makePlan(inputs());
  const page = explainPlan(plan);
  expect(page).toContain(`step ${plan.phases[1]!.firstStep}: second blend begins, LR`);
  const mark = page
    .split('\n')
    .find((line) => line.includes('second blend begins'))!
    .indexOf('^');
  const axis = page.split('\n').find((line) => line.includes('+---'))!;
  expect((mark - axis.indexOf('+') - 1) / (axis.length - axis.indexOf('+') - 2)).toBeCloseTo(0.711, 1);
});
