import * as path from 'node:path';
import { expect, it } from 'vitest';
import { explainPlan, knownModel, type ModelFactsForPlan, makePlan, parseCluster } from '../../src/recipe/index.ts';
import { corpus, HANDBOOK, inputs, MODEL, newModelInputs, QA, WEB } from './facts.ts';

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
    makePlan({ ...inputs([HANDBOOK, WEB]), on: parseCluster('t4x64'), pricePerHour: 0.5 }),
    makePlan({
      ...inputs([HANDBOOK, WEB]),
      model: { ...MODEL, ...knownModelFacts('allenai/OLMo-2-1124-13B-Instruct') },
    }),
  ];
  for (const plan of plans) {
    const page = explainPlan(plan);
    for (const line of page.split('\n')) expect(line.length, line).toBeLessThanOrEqual(100);
    for (const warning of plan.warnings) expect(page).toContain(`${warning.id}:`);
    for (const reason of plan.reasons) expect(page).toContain(reason.what);
  }
});

function knownModelFacts(id: string): Partial<ModelFactsForPlan> {
  const { names, base, instruct, pretraining } = knownModel(id)!;
  return { name: id, numParameters: 13e9, isInstruct: true, pretraining, known: { names, base, instruct } };
}

it('shows what the text is like, and what GPUs cost', () => {
  const german = {
    ...HANDBOOK,
    numCopies: 12,
    numWords: 2_500_000,
    tokensPerWord: 1.6,
    languages: { de: 0.92, unknown: 0.08 },
  };
  const page = explainPlan(makePlan({ ...inputs([german, WEB]), on: parseCluster('h100x8') }));
  expect(page).toContain('handbook  15.3 MiB  2.5M   4.00         1.60         12      de 92 %, unknown 8 %');
  expect(page).toMatch(/ {2}on {6}8 x H100 SXM\n {2}time {4}about/);
  expect(page).toContain('It fits.');
  expect(page).not.toContain('program 128 MiB');
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
