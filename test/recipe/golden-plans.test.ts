// Whole plans as files: the demo's, one of a published small model, and the setting of the paper that gave the default recipe. The pages
// are for reading; plan.json of the paper's is checked in numbers here.
import * as path from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadConfig, parseConfig } from '../../src/config/index.ts';
import {
  type CorpusFacts,
  explainPlan,
  knownModel,
  lrAt,
  type ModelFactsForPlan,
  makePlan,
  type Plan,
  type PlanInputs,
} from '../../src/recipe/index.ts';
import { gpuMemoryOf } from './facts.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');

/** 16 bytes a parameter, and activations of about this many bytes a token; a real plan counts them by the model's own code. */
const memoryOf =
  (numParameters: number, bytesPerToken: number): PlanInputs['countMemory'] =>
  ({ batch, seqLen, ema, recompute }) => ({
    stateBytes: numParameters * (ema ? 20 : 16),
    activationBytes: (batch * seqLen * bytesPerToken) / (recompute ? 6 : 1),
    numTrained: numParameters,
  });

/** What the table of known models says, as a plan's first stage takes it. */
function published(id: string): Pick<ModelFactsForPlan, 'name' | 'pretraining' | 'known'> {
  const { names, base, instruct, pretraining } = knownModel(id)!;
  return { name: id, pretraining, known: { names, base, instruct } };
}

function facts(
  name: string,
  role: CorpusFacts['role'],
  numTokens: number,
  numDocuments: number,
  numBytes: number,
  heldOut: CorpusFacts['heldOut'] = { numTokens: 100_000, numDocuments: 100 },
): CorpusFacts {
  return { name, role, numTokens, numDocuments, numBytes, heldOut };
}

/** What the demo's plan is made from, as its first two stages find it. */
function demo(): PlanInputs {
  const model: ModelFactsForPlan = {
    name: 'base-en-8m',
    numParameters: 7_999_744,
    numNonEmbedding: 5_902_592,
    context: 512,
    vocabSize: 8192,
    hidden: 256,
    numLayers: 8,
    attentionWidth: 256,
    isInstruct: false,
    isInstructWhy: 'probably: its name, base-en-8m, contains "base"',
    pretraining: { finalLr: 2e-4, peakLr: 2e-3, tokens: 10e6, batchTokens: 8192, source: "the model's config.json" },
  };
  return {
    config: loadConfig(path.join(ROOT, 'recipes/demo/recipe.yaml')),
    model,
    corpora: [
      facts('postgres-docs', 'domain', 220_000, 128, 735_319, { numTokens: 20_519, numDocuments: 19 }),
      facts('english', 'general', 672_817, 368, 2_485_280, { numTokens: 69_571, numDocuments: 41 }),
    ],
    countMemory: memoryOf(model.numParameters, 99_700),
    countWorkerMemory: gpuMemoryOf(model.numParameters, 99_700),
  };
}

/** Six lines: what most users write. */
function smollm2(): PlanInputs {
  const model: ModelFactsForPlan = {
    ...published('HuggingFaceTB/SmolLM2-135M'),
    numParameters: 134_515_008,
    numNonEmbedding: 106_203_456,
    context: 8192,
    vocabSize: 49_152,
    hidden: 576,
    numLayers: 30,
    attentionWidth: 576,
    isInstruct: false,
    isInstructWhy: 'probably: no chat template',
  };
  const config = parseConfig(
    `model: HuggingFaceTB/SmolLM2-135M
corpora:
  handbook: { path: "docs/**/*.md", role: domain }
  web:      { path: general/, role: general }
budget: { tokens: 20M }
`,
    '/home/me/handbook/continuo.yaml',
  );
  return {
    config,
    model,
    corpora: [
      facts('handbook', 'domain', 8_000_000, 2500, 31_000_000),
      facts('web', 'general', 50_000_000, 45_000, 225_000_000),
    ],
    hardware: { tokensPerSecond: 370, memoryBytes: 23 * 2 ** 30, source: 'measured on this machine' },
    countMemory: memoryOf(model.numParameters, 600_000),
    countWorkerMemory: gpuMemoryOf(model.numParameters, 600_000),
  };
}

/** Parmar et al. 2024: Table 1 (tokens), Fig. 1 (weights of the chosen general blend), Table 2 (the questions). */
const SOURCES: readonly [name: string, tokens: number, weight: number][] = [
  ['web', 5106e9, 12],
  ['books', 80e9, 10.7],
  ['news', 93e9, 4],
  ['papers', 82e9, 13.4],
  ['encyclopedia', 31e9, 9.1],
  ['legal', 50e9, 1.8],
  ['finance', 20e9, 4],
  ['misc', 179e9, 14.9],
  ['multilingual', 2284e9, 15],
  ['code', 583e9, 15],
];

function paper(): PlanInputs {
  const model: ModelFactsForPlan = {
    name: 'nvidia/nemotron-4-15b',
    numParameters: 15.7e9,
    numNonEmbedding: 12.5e9,
    context: 4096,
    vocabSize: 256_000,
    hidden: 6144,
    numLayers: 32,
    attentionWidth: 6144,
    isInstruct: false,
    isInstructWhy: 'probably: no chat template',
    pretraining: {
      peakLr: 4.5e-4,
      finalLr: 4.5e-5,
      tokens: 8e12,
      batchTokens: 1152 * 4096,
      source: 'Parmar et al. 2024',
    },
  };
  const general = SOURCES.map(([name, , weight]) => `  ${name}: { path: ${name}, role: general, weight: ${weight} }\n`);
  const config = parseConfig(
    `name: reuse-dont-retrain-15b\nmodel: nvidia/nemotron-4-15b\ncorpora:\n${general.join('')}  qa: { path: qa, role: instruction }\nbudget: { tokens: 300B }\ntraining: { seqLen: 4096 }\n`,
    '/data/continuo.yaml',
  );
  return {
    config,
    model,
    corpora: [
      ...SOURCES.map(([name, tokens]) => facts(name, 'general', tokens, Math.round(tokens / 900), 4 * tokens)),
      facts('qa', 'instruction', 2.8e9, 10_000_000, 11e9),
    ],
    countMemory: memoryOf(model.numParameters, 7e6),
    countWorkerMemory: gpuMemoryOf(model.numParameters, 7e6),
  };
}

it.each([
  ['demo', demo],
  ['smollm2-135m', smollm2],
  ['paper-15b', paper],
] as const)('%s is worded as in the golden file', async (name, make) => {
  const plan = makePlan(make());
  await expect(explainPlan(plan)).toMatchFileSnapshot(path.join(import.meta.dirname, 'golden', `${name}.txt`));
});

describe('the setting of the paper', () => {
  const plan: Plan = makePlan(paper());
  const [general, questions] = plan.phases;

  it('continues at the final LR of pretraining, down to a hundredth, in steps of its batch', () => {
    expect(plan.tokensPerStep).toBe(1152 * 4096);
    expect(lrAt(plan.schedule, 0)).toBe(4.5e-5);
    expect(lrAt(plan.schedule, plan.numSteps - 1)).toBe(4.5e-7);
  });

  it('trains 213 billion tokens on the general blend and 87 billion on the second', () => {
    expect(general!.numTokens / 1e9).toBeCloseTo(213, 0);
    expect(questions!.numTokens / 1e9).toBeCloseTo(87, 0);
    expect(questions!.lrFrom).toBeLessThanOrEqual(4.5e-5 / 5);
  });

  it('gives the questions a tenth of the second blend, three passes over 2.8 billion', () => {
    expect(questions!.blend.qa).toBeCloseTo(0.1, 6);
    expect(plan.expected.epochsByCorpus.qa).toBeCloseTo(3.1, 1);
    expect(general!.blend.qa).toBeUndefined();
    // Weights of Fig. 1, of 99.9 in all.
    expect(general!.blend.papers).toBeCloseTo(13.4 / 99.9, 5);
    expect(questions!.blend.papers).toBeCloseTo((0.9 * 13.4) / 99.9, 5);
  });

  it('has no known pitfall but what comes of one machine', () => {
    expect(plan.warnings.map(({ id }) => id)).toEqual([]);
  });
});

describe('an instruct model of 8B parameters with 5 million tokens of documents', () => {
  const model: ModelFactsForPlan = {
    name: 'meta-llama/Llama-3.1-8B-Instruct',
    numParameters: 8_030_261_248,
    numNonEmbedding: 6_979_588_096,
    context: 131_072,
    vocabSize: 128_256,
    hidden: 4096,
    isInstruct: true,
    isInstructWhy: 'probably: it has a chat template',
  };
  const made = (recipe: string, withInstructions: boolean) => {
    const corpora = [
      facts('manuals', 'domain', 5_000_000, 1200, 21_000_000),
      facts('web', 'general', 50_000_000, 45_000, 225_000_000),
      ...(withInstructions
        ? [{ ...facts('chats', 'instruction', 8_000_000, 9000, 34_000_000), hasChatMarkup: true }]
        : []),
    ];
    const listed = corpora.map(({ name, role }) => `  ${name}: { path: ${name}, role: ${role} }\n`).join('');
    const config = parseConfig(
      `model: ${model.name}\ncorpora:\n${listed}recipe: ${recipe}\nbudget: { epochs: 2 }\n`,
      '/home/me/continuo.yaml',
    );
    return makePlan({
      config,
      model,
      corpora,
      countMemory: memoryOf(model.numParameters, 3e6),
      countWorkerMemory: gpuMemoryOf(model.numParameters, 3e6),
    });
  };

  it('is warned on the default recipe: raw text unteaches it, and few documents teach few facts', () => {
    const ids = made('reuse-dont-retrain', false).warnings.map(({ id }) => id);
    expect(ids).toContain('instruct-model-on-raw-text');
    expect(ids).toContain('corpus-too-small-for-facts');
  });

  it('is planned at 5e-6 with instructions from the first step', () => {
    const plan = made('instruct-domain', true);
    expect(plan.schedule.peakLr).toBeCloseTo(5e-6, 7);
    expect(plan.phases).toHaveLength(1);
    expect(plan.phases[0]!.blend).toEqual({ manuals: 0.65, web: 0.1, chats: 0.25 });
    expect(plan.expected.epochsByCorpus.manuals).toBeCloseTo(2, 1);
    expect(plan.warnings.map(({ id }) => id)).not.toContain('instruct-model-on-raw-text');
    expect(plan.warnings.map(({ id }) => id)).not.toContain('lr-too-high-for-instruct');
  });
});
