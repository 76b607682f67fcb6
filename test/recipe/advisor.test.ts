import { expect, it } from 'vitest';
import { adviseModel, type ModelFactsForPlan } from '../../src/recipe/index.ts';
import { corpus, MODEL } from './facts.ts';

const LLAMA_8B: ModelFactsForPlan = {
  ...MODEL,
  name: 'meta-llama/Llama-3.1-8B-Instruct',
  numParameters: 8.03e9,
  isInstruct: true,
  known: {
    names: ['Llama 3 and 3.1 8B'],
    base: 'meta-llama/Llama-3.1-8B',
    instruct: 'meta-llama/Llama-3.1-8B-Instruct',
  },
};
const SMOL: ModelFactsForPlan = {
  ...MODEL,
  numParameters: 135e6,
  isInstruct: true,
  known: {
    names: ['SmolLM2 135M'],
    base: 'HuggingFaceTB/SmolLM2-135M',
    instruct: 'HuggingFaceTB/SmolLM2-135M-Instruct',
  },
};
const web = corpus('web', 'general', 1e9);
const docs = (tokens: number) => corpus('docs', 'domain', tokens);
const advise = (model: ModelFactsForPlan, ...corpora: Parameters<typeof corpus>[]) =>
  adviseModel({ model, corpora: corpora.map((c) => corpus(...c)), preset: 'reuse-dont-retrain' })!;

it('leaves a base model with text in bulk as it is', () => {
  const advice = advise({ ...MODEL, numParameters: 1e9 }, ['docs', 'domain', 200e6]);
  expect(advice).toMatchObject({ answer: 'base', agrees: true });
  expect(advice.summary).toContain('train the base model, as you do');
});

it('does not talk a base model into raw text on its instruct sibling', () => {
  const base = { ...SMOL, isInstruct: false };
  const advice = adviseModel({ model: base, corpora: [docs(2e6), web], preset: 'reuse-dont-retrain' })!;
  expect(advice).toMatchObject({ answer: 'base', agrees: true });
});

it('keeps an 8B instruct model for a few documents: 5M tokens', () => {
  const advice = adviseModel({ model: LLAMA_8B, corpora: [docs(5e6), web], preset: 'reuse-dont-retrain' })!;
  expect(advice).toMatchObject({ answer: 'instruct', agrees: true });
  expect(advice.reasons[0]).toMatchObject({ answer: 'instruct', weight: 3 });
  expect(advice.reasons[0]!.source).toContain('2504.05571');
});

it('proposes the residual for an 8B instruct model with a billion tokens, and names the base', () => {
  const advice = adviseModel({ model: LLAMA_8B, corpora: [docs(1e9), web], preset: 'reuse-dont-retrain' })!;
  expect(advice).toMatchObject({ answer: 'residual', agrees: false });
  expect(advice.summary).toContain('set model: meta-llama/Llama-3.1-8B,');
  expect(advice.reasons.some((r) => r.answer === 'instruct' && r.weight === -3)).toBe(true);
});

it('does not propose the residual at 1.5B and below, where it fails', () => {
  const advice = adviseModel({ model: SMOL, corpora: [docs(200e6), web], preset: 'reuse-dont-retrain' })!;
  expect(advice).toMatchObject({ answer: 'base', agrees: false });
  expect(advice.summary).toContain('set model: HuggingFaceTB/SmolLM2-135M;');
  expect(advice.reasons.some((r) => r.answer === 'residual' && r.weight === -3)).toBe(true);
});

it('stays with an instruct model whose base nobody knows', () => {
  const model = { ...LLAMA_8B, known: undefined };
  const advice = adviseModel({ model, corpora: [docs(500e6), web], preset: 'reuse-dont-retrain' })!;
  expect(advice).toMatchObject({ answer: 'instruct', agrees: true });
});

it('counts instruction text for the model at hand', () => {
  const plain = adviseModel({ model: LLAMA_8B, corpora: [docs(50e6)], preset: 'reuse-dont-retrain' })!;
  const joint = adviseModel({
    model: LLAMA_8B,
    corpora: [docs(50e6), corpus('qa', 'instruction', 5e6)],
    preset: 'reuse-dont-retrain',
  })!;
  const score = (advice: typeof plain) =>
    advice.reasons.reduce((sum, r) => sum + (r.answer === 'instruct' ? r.weight : 0), 0);
  expect(score(joint)).toBe(score(plain) + 3);
});

it('has nothing to say on a model from scratch, and gives a source with each reason', () => {
  expect(adviseModel({ model: MODEL, corpora: [docs(1e6)], preset: 'from-scratch' })).toBeUndefined();
  for (const model of [MODEL, LLAMA_8B, SMOL])
    for (const tokens of [1e5, 2e7, 5e9]) {
      const advice = adviseModel({ model, corpora: [docs(tokens)], preset: 'naive' })!;
      for (const reason of advice.reasons) expect(reason.source).not.toBe('');
      const weights = advice.reasons.map((r) => Math.abs(r.weight));
      expect(weights).toEqual(weights.toSorted((a, b) => b - a));
    }
});
