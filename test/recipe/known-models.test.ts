import { expect, it } from 'vitest';
import { KNOWN_MODELS, knownModel, makePlan } from '../../src/recipe/index.ts';
import { pretrainingFinalLr } from '../../src/recipe/learning-rates.ts';
import { HANDBOOK, inputs, MODEL, WEB } from './facts.ts';

const llama = (hidden: number, layers: number, vocab: number, context: number) => ({
  modelType: 'llama',
  ...{ hidden, layers, vocab, context },
});

it('knows models by hub id, base and tuned ones alike', () => {
  expect(knownModel('EleutherAI/pythia-410m-deduped')!.pretraining).toMatchObject({
    ...{ peakLr: 3e-4, finalLr: 3e-5, tokens: 299.9e9, batchTokens: 2_097_152 },
  });
  const instruct = knownModel('HuggingFaceTB/SmolLM2-1.7B-Instruct')!;
  expect(instruct.pretraining).toMatchObject({ peakLr: 5e-4, finalLr: 0 });
  expect(instruct).toMatchObject({
    base: 'HuggingFaceTB/SmolLM2-1.7B',
    instruct: 'HuggingFaceTB/SmolLM2-1.7B-Instruct',
  });
  expect(knownModel('meta-llama/Llama-3.1-8B-Instruct')!.base).toBe('meta-llama/Meta-Llama-3.1-8B');
  expect(knownModel('mistralai/Mistral-7B-Instruct-v0.3')!.base).toBe('mistralai/Mistral-7B-v0.3');
});

it('leaves unknown what is not published', () => {
  const qwen = knownModel('Qwen/Qwen2.5-7B-Instruct')!;
  expect(qwen.base).toBe('Qwen/Qwen2.5-7B');
  expect(qwen.pretraining.peakLr).toBeUndefined();
  expect(qwen.pretraining.finalLr).toBeUndefined();
  expect(knownModel('somebody/their-model')).toBeUndefined();
});

it('knows a folder by shape, and takes from several of one shape only what they agree on', () => {
  const tiny = knownModel('my-model', llama(2048, 22, 32_000, 2048))!;
  expect(tiny.pretraining).toMatchObject({ peakLr: 4e-4, finalLr: 4e-5 });
  expect(tiny.pretraining.source).toContain('by its shape alone as TinyLlama 1.1B');
  const ambiguous = knownModel('my-model', llama(4096, 32, 32_000, 2048))!;
  expect(ambiguous.names).toEqual(['LLaMA 7b', 'Amber 7B']);
  expect(ambiguous.pretraining).toMatchObject({ peakLr: 3e-4, finalLr: 3e-5 });
  expect(ambiguous.pretraining.tokens).toBeUndefined();
  expect(knownModel('Amber', llama(4096, 32, 32_000, 2048))!.pretraining.tokens).toBe(1.26e12);
  expect(knownModel('my-model', llama(4096, 32, 32_000, 16_384))).toBeUndefined();
});

it('tells SmolLM from SmolLM2 by the context, and finds the base of a named folder', () => {
  expect(knownModel('x', llama(576, 30, 49_152, 2048))!.names).toEqual(['SmolLM 135M']);
  const named = knownModel('SmolLM2-135M-Instruct', llama(576, 30, 49_152, 8192))!;
  expect(named).toMatchObject({ names: ['SmolLM2 135M'], base: 'HuggingFaceTB/SmolLM2-135M' });
  expect(knownModel('SmolLM2-135M-Instruct.Q4_1.gguf', llama(576, 30, 49_152, 8192))).toEqual(named);
});

it('holds plausible numbers, a source each, and ids that do not overlap', () => {
  for (const row of KNOWN_MODELS) {
    expect(row.source.length, row.name).toBeGreaterThan(10);
    if (row.peakLr !== undefined) {
      expect(row.peakLr, row.name).toBeGreaterThanOrEqual(3e-5);
      expect(row.peakLr, row.name).toBeLessThanOrEqual(3e-3);
      if (row.finalLr !== undefined) expect(row.finalLr, row.name).toBeLessThanOrEqual(row.peakLr / 9.9);
    }
    if (row.batchTokens !== undefined) expect(row.batchTokens, row.name).toBeLessThan(3e7);
    for (const id of [row.base, row.instruct])
      if (id !== undefined && !id.includes('$'))
        expect(
          KNOWN_MODELS.filter((other) => other.id.test(id)).map((other) => other.name),
          id,
        ).toHaveLength(1);
  }
});

it('starts at a tenth of the peak where pretraining ended at 0, and says why', () => {
  const { pretraining } = knownModel('HuggingFaceTB/SmolLM2-135M')!;
  const model = { ...MODEL, pretraining };
  expect(pretrainingFinalLr(model)).toMatchObject({ lr: 3e-4, isRecorded: false });
  // Steps of a 64th: an eighth of the LR. MODEL has 8M parameters, for which 1.8e-4 is usual; SmolLM2 5.8e-5.
  const small = { ...model, numParameters: 135e6 };
  expect(pretrainingFinalLr({ ...small, stepTokens: 2 ** 16 }).lr).toBe(7.5e-5);
  expect(pretrainingFinalLr({ ...small, stepTokens: 2 ** 14 }).lr).toBe(5.8e-5);
  expect(pretrainingFinalLr({ ...small, stepTokens: 2 ** 14 }).why).toContain(
    'less (3.8e-5), but this is usual at 135M',
  );
  const plan = makePlan(inputs([HANDBOOK, WEB], undefined, small));
  expect(plan.tokensPerStep).toBe(16_384);
  expect(plan.schedule.peakLr).toBe(5.8e-5);
  const reason = plan.reasons.find(({ what }) => what === 'peak LR')!;
  expect(reason.why).toContain('ended at an LR of 0');
  expect(reason.source).toContain('long_context_4k_to_32k.yaml');
  expect(plan.warnings.map(({ id }) => id)).not.toContain('lr-of-larger-steps');
  expect(plan.warnings.map(({ id }) => id)).not.toContain('lr-above-pretraining-final');
});

it('says so where the authors publish no LR', () => {
  const known = knownModel('Qwen/Qwen2.5-0.5B')!;
  const model = { ...MODEL, pretraining: known.pretraining, known: { names: known.names } };
  expect(pretrainingFinalLr(model).why).toContain('the authors of Qwen2.5 do not publish');
});
