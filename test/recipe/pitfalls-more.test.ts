// The rules again, one case that fires and one that does not for each that pitfalls.test.ts does not have.
import { describe, expect, it } from 'vitest';
import { parseConfig } from '../../src/config/index.ts';
import { makePlan, PITFALLS, type PlanInputs } from '../../src/recipe/index.ts';
import { corpus, HANDBOOK, inputs, MODEL, QA, WEB } from './facts.ts';

const BUDGET = 'budget: { tokens: 4M }';
const ids = (given: PlanInputs) => makePlan(given).warnings.map(({ id }) => id);
const withRecipe = (recipe: string, corpora = [HANDBOOK, WEB], model = MODEL) =>
  inputs(corpora, `${BUDGET}\nrecipe: ${recipe}`, model);
const LARGE = { ...MODEL, numParameters: 8e9, pretraining: { finalLr: 3e-5, source: 'report' } };
const INSTRUCT = { ...LARGE, isInstruct: true };
const unscaled = (given: PlanInputs): PlanInputs => ({ ...given, hardware: undefined });

interface Case {
  fires: PlanInputs;
  not: PlanInputs;
}

/** The handbook in an order, of which the budget reads so many tokens. */
const ordered = (tokens: string, recipe: string): PlanInputs => {
  const given = inputs([HANDBOOK, WEB], `budget: { tokens: ${tokens} }\nrecipe: ${recipe}`);
  const corpora = given.config.corpora.map((one) =>
    one.name === 'handbook' ? { ...one, order: { by: 'bitsPerByte', first: 'low' as const } } : one,
  );
  return { ...given, config: { ...given.config, corpora } };
};
/** A corpus that the model writes itself. */
function written(name: string): PlanInputs {
  const given = inputs();
  const corpora = given.config.corpora.map((one) => (one.name === name ? { ...one, generated: { tokens: 1e6 } } : one));
  return { ...given, config: { ...given.config, corpora } };
}

const ONE_SEQUENCE = 'training: { seqLen: 512, batchTokens: 512 }';
const CONSTANT = '{ phases: [{ shares: { domain: 0.8, general: 0.2 } }] }';

const CASES: Record<string, Case> = {
  'documents-not-apart': {
    fires: inputs([HANDBOOK, WEB], BUDGET, { ...MODEL, carriesState: 'backbone.layers.0.mixer.A_log' }),
    not: inputs([HANDBOOK, WEB], BUDGET),
  },
  'brings-own-code': {
    fires: inputs([HANDBOOK, WEB], `${BUDGET}\nengine: torch`, { ...MODEL, ownCode: ['modeling_own.py'] }),
    not: inputs([HANDBOOK, WEB], `${BUDGET}\nengine: torch`),
  },
  'warm-up-on-annealed-base': {
    fires: withRecipe('{ preset: reuse-dont-retrain, warmup: 0.05 }'),
    // Here the LR rises above where pretraining ended.
    not: withRecipe('{ preset: reuse-dont-retrain, warmup: 0.05, startAt: middle }'),
  },
  'lr-too-high-for-instruct': {
    fires: withRecipe('reuse-dont-retrain', [HANDBOOK, WEB, QA], INSTRUCT),
    not: withRecipe('instruct-domain', [HANDBOOK, WEB, QA], INSTRUCT),
  },
  'best-data-at-no-lr': {
    fires: withRecipe('{ preset: reuse-dont-retrain, switchAt: 0.02 }'),
    not: withRecipe('{ preset: reuse-dont-retrain, switchAt: 0.2 }'),
  },
  'too-few-steps': {
    fires: inputs([HANDBOOK, WEB], 'budget: { steps: 20 }'),
    not: inputs([HANDBOOK, WEB], 'budget: { steps: 50 }'),
  },
  'qa-at-highest-lr': {
    fires: withRecipe('{ phases: [{ shares: { domain: 0.8, general: 0.1, instruction: 0.1 } }] }', [HANDBOOK, WEB, QA]),
    not: withRecipe('reuse-dont-retrain', [HANDBOOK, WEB, QA]),
  },
  'mixing-by-loss': {
    fires: inputs([HANDBOOK, corpus('code', 'domain', 1e6), WEB], 'budget: { steps: 1000 }\nmixing: { method: odm }'),
    not: inputs([HANDBOOK, WEB], 'budget: { steps: 1000 }\nmixing: { method: odm }'),
  },
  'mixing-too-short': {
    fires: inputs([HANDBOOK, WEB], 'budget: { steps: 100 }\nmixing: { method: ado }'),
    not: inputs([HANDBOOK, WEB], 'budget: { steps: 1000 }\nmixing: { method: ado }'),
  },
  'mixing-chunks-too-small': {
    fires: inputs([HANDBOOK, WEB], `budget: { steps: 1000 }\n${ONE_SEQUENCE}\nmixing: { method: odm, every: 10 }`),
    not: inputs([HANDBOOK, WEB], `budget: { steps: 1000 }\n${ONE_SEQUENCE}\nmixing: { method: odm, every: 100 }`),
  },
  'order-meets-decay': {
    fires: ordered('5M', 'reuse-dont-retrain'),
    not: ordered('5M', '{ preset: naive }'),
  },
  'order-not-read-to-its-end': {
    fires: ordered('2M', CONSTANT),
    not: ordered('8M', CONSTANT),
  },
  'general-text-of-its-own': {
    fires: written('web'),
    not: { ...written('web'), corpora: [HANDBOOK, WEB, corpus('exam', 'evaluation', 0, 50_000)] },
  },
  'ewc-instead-of-replay': {
    fires: inputs([HANDBOOK, WEB], `${BUDGET}\nrecipe: naive\nguard: { ewc: {} }`),
    not: inputs([HANDBOOK, WEB], `${BUDGET}\nguard: { ewc: {} }`),
  },
  'distillation-seldom': {
    fires: inputs(
      [HANDBOOK, WEB],
      `${BUDGET}\nrecipe: { preset: domain-adaptation, replay: 0.01 }\nguard: { distill: {} }`,
    ),
    not: inputs(
      [HANDBOOK, WEB],
      `${BUDGET}\nrecipe: { preset: domain-adaptation, replay: 0.01 }\nguard: { distill: { on: all } }`,
    ),
  },
  'selection-by-the-model-itself': {
    fires: inputs([HANDBOOK, WEB], `${BUDGET}\ntraining: { selectTokens: { reference: owner/small-base } }`),
    not: inputs([HANDBOOK, WEB], `${BUDGET}\ntraining: { selectTokens: { reference: owner/good-text } }`),
  },
  'little-replay': {
    fires: withRecipe('{ preset: domain-adaptation, replay: 0.02 }'),
    not: withRecipe('{ preset: domain-adaptation, replay: 0.05 }'),
  },
  'evaluation-data-in-training': {
    fires: sharedPath('handbook'),
    not: sharedPath('exam'),
  },
  'tokenizer-fragments-domain': {
    fires: withRecipe('reuse-dont-retrain', [{ ...HANDBOOK, numBytes: HANDBOOK.numTokens * 2.5 }, WEB]),
    not: withRecipe('reuse-dont-retrain', [{ ...HANDBOOK, numBytes: HANDBOOK.numTokens * 3.5 }, WEB]),
  },
  'corpus-too-small-for-facts': {
    fires: withRecipe('reuse-dont-retrain', [HANDBOOK, WEB], LARGE),
    not: withRecipe('reuse-dont-retrain', [corpus('handbook', 'domain', 50e6), WEB], LARGE),
  },
  'instruct-without-chat-template': {
    fires: withRecipe('instruct-domain', [HANDBOOK, WEB, { ...QA, hasChatMarkup: false }], INSTRUCT),
    not: withRecipe('instruct-domain', [HANDBOOK, WEB, { ...QA, hasChatMarkup: true }], INSTRUCT),
  },
  'measured-too-seldom': {
    fires: inputs([HANDBOOK, WEB], 'budget: { steps: 1000 }\nevaluate: { every: 900 }'),
    not: inputs([HANDBOOK, WEB], 'budget: { steps: 1000 }\nevaluate: { every: 200 }'),
  },
  'checkpoint-too-seldom': {
    fires: slow(900),
    not: slow(30),
  },
  'batch-larger-than-pretraining': {
    fires: inputs([HANDBOOK, WEB], `${BUDGET}\ntraining: { batchTokens: 128k }`),
    not: inputs([HANDBOOK, WEB], `${BUDGET}\ntraining: { batchTokens: 32768 }`),
  },
  'lora-rank-too-low': {
    fires: unscaled(inputs([HANDBOOK, WEB], 'budget: { tokens: 100M }\ntraining: { lora: 16 }')),
    not: unscaled(inputs([HANDBOOK, WEB], 'budget: { tokens: 100M }\ntraining: { lora: 128 }')),
  },
  'documents-cut': {
    fires: inputs([{ ...HANDBOOK, numDocuments: 400 }, WEB], `${BUDGET}\ntraining: { seqLen: 256 }`),
    // The model can read no more than this.
    not: inputs([{ ...HANDBOOK, numDocuments: 400 }, WEB], `${BUDGET}\ntraining: { seqLen: 512 }`),
  },
};

function sharedPath(path: string): PlanInputs {
  const exam = corpus('exam', 'evaluation', 0, 50_000);
  const config = parseConfig(
    `name: x\nmodel: owner/small-base\ncorpora:\n  handbook: { path: handbook, role: domain }\n  web: { path: web, role: general }\n  exam: { path: ${path}, role: evaluation }\n${BUDGET}\n`,
    '/nowhere/continuo.yaml',
  );
  return { ...inputs(), corpora: [HANDBOOK, WEB, exam], config };
}

function slow(every: number): PlanInputs {
  const given = inputs([HANDBOOK, WEB], `budget: { steps: 1000 }\ncheckpoints: { every: ${every} }`);
  return { ...given, hardware: { tokensPerSecond: 500, source: 'a test' } };
}

describe('each rule fires where it should, and only there', () => {
  it.each(Object.keys(CASES))('%s', (id) => {
    const { fires, not } = CASES[id]!;
    expect(ids(fires)).toContain(id);
    expect(ids(not)).not.toContain(id);
  });
});

it('every rule has an id of its own, a source, and a test', async () => {
  const all = PITFALLS.map(({ id }) => id);
  expect(new Set(all).size).toBe(all.length);
  const fs = await import('node:fs');
  const earlier = fs.readFileSync(new URL('./pitfalls.test.ts', import.meta.url), 'utf8');
  for (const id of all) expect(id in CASES || earlier.includes(`'${id}'`), id).toBe(true);
  for (const { source } of PITFALLS) expect(source.length).toBeGreaterThan(5);
});
