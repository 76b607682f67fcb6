// How often a run's writing is sampled, and what the plan says of it.
import { describe, expect, it } from 'vitest';
import { INSTRUCTIONS, PROMPTS } from '../../src/eval/index.ts';
import { explainPlan, makePlan } from '../../src/recipe/index.ts';
import { HANDBOOK, inputs, MODEL, WEB } from './facts.ts';

const RUN = 'training: { batchTokens: 4096 }\n';
const planOf = (more: string, model = MODEL) => makePlan(inputs([HANDBOOK, WEB], `${RUN}${more}`, model));
const reasonOf = (plan: ReturnType<typeof planOf>) =>
  plan.reasons.find(({ what }) => what === 'samples of its writing');
/** 32 samples: 64 tokens written, each counted as one trained on, behind 32 that are read. */
const EACH = 32 * (64 + 32 / 3);

describe('by default', () => {
  it('at each measurement where they cost at most three hundredths of the training in between', () => {
    const plan = planOf('budget: { steps: 400 }\nevaluate: { every: 100 steps }');
    expect(plan.evaluation.samples).toMatchObject({ everySteps: 100, draws: 2, maxTokens: 64 });
    expect(plan.alarms!.watch.writing).toBeDefined();
    expect(reasonOf(plan)).toMatchObject({
      value: '32 of 64 tokens at most, at each measurement',
      why: 'they cost 0.58 % of the training time from one measurement to the next',
    });
  });

  it('at every so many of them where more would cost more', () => {
    const plan = planOf('budget: { steps: 400 }\nevaluate: { every: 5 steps }');
    expect(plan.evaluation.samples!.everySteps).toBe(20);
    expect(EACH / (20 * 4096)).toBeLessThan(0.03);
    expect(EACH / (15 * 4096)).toBeGreaterThan(0.03);
    expect(reasonOf(plan)!.value).toBe(
      '32 of 64 tokens at most, every 20 steps, and before the first and after the last',
    );
  });

  it('not in a run too short for one on the way', () => {
    const plan = planOf('budget: { steps: 20 }\nevaluate: { every: 5 steps }');
    expect(plan.evaluation.samples).toBeUndefined();
    expect(plan.alarms!.watch).not.toHaveProperty('writing');
    expect(explainPlan(plan)).toContain('samples of its writing: none: the alarm writing hears nothing.');
    expect(reasonOf(plan)!.why).toContain('alarms: { writing: true } takes them all the same');
  });

  it('less often with experts, where a token written costs more', () => {
    const experts = { num: 8, perToken: 2, numActive: 3e6, balanceLoss: 0.01 };
    const every = 'budget: { steps: 400 }\nevaluate: { every: 20 steps }';
    expect(planOf(every, { ...MODEL, experts }).evaluation.samples!.everySteps).toBe(60);
    expect(planOf(every).evaluation.samples!.everySteps).toBe(20);
  });
});

it.each(['alarms: { writing: true }', 'alarms: { writing: stop }', 'alarms: { prompts: [Once upon a time] }'])(
  'as asked for, whatever they cost: %s',
  (alarms) => {
    const plan = planOf(`budget: { steps: 20 }\nevaluate: { every: 5 steps }\n${alarms}`);
    expect(plan.evaluation.samples!.everySteps).toBe(5);
    expect(reasonOf(plan)!.why).toMatch(/^as you set it; they cost/);
  },
);

it('the time and the memory of the plan hold them', () => {
  const hardware = { tokensPerSecond: 100, source: 'measured' };
  const given = (alarms: string) => ({
    ...inputs(
      [HANDBOOK, WEB],
      `${RUN}budget: { steps: 40 }\nevaluate: { every: 10 steps }\nalarms: { writing: ${alarms} }`,
    ),
    hardware,
    countMemory: ({ writes }: { writes?: { sequences: number; tokens: number } }) => ({
      stateBytes: 0,
      numTrained: MODEL.numParameters,
      activationBytes: writes ? writes.sequences * writes.tokens : 0,
    }),
  });
  const [written, none] = [makePlan(given('true')), makePlan(given('false'))];
  expect(written.expected.seconds! - none.expected.seconds!).toBeCloseTo((5 * EACH) / 100, -0.5);
  expect(written.expected.memory.activationBytes).toBe(8 * (32 + 64));
  expect(none.expected.memory.activationBytes).toBe(0);
});

it('the engine torch writes none, and the plan says so; asking for them is refused', () => {
  const plan = planOf('budget: { steps: 400 }\nengine: torch');
  expect(plan.evaluation.samples).toBeUndefined();
  expect(plan.alarms!.watch).not.toHaveProperty('writing');
  expect(reasonOf(plan)!.why).toBe('the engine torch writes none: the alarm writing hears nothing');
  expect(() => planOf('budget: { steps: 400 }\nengine: torch\nalarms: { writing: true }')).toThrow(
    /alarms\.writing: the engine torch does not do this yet/,
  );
  expect(planOf('budget: { steps: 400 }\nengine: torch\nalarms: { writing: false }').alarms).toBeDefined();
});

it('the built-in prompts are as many as the plan reckons with', () => {
  expect([PROMPTS.length, INSTRUCTIONS.length]).toEqual([16, 16]);
});
