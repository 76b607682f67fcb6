import * as path from 'node:path';
import { describe, expect, it } from 'vitest';
import { describeModel, type ModelFacts, type ModelToWrite, openModel, saveModel } from '../../src/checkpoint/index.ts';
import { f32Tensor, fixture, temporaryFolder } from './helpers.ts';
import { TINY_CONFIG, tinyModel, tinyTensors, tokenizerFiles } from './models.ts';

function facts(target: string): ModelFacts {
  const source = openModel(target);
  try {
    return describeModel(source);
  } finally {
    source.close();
  }
}

async function factsOf(name: string, changes: Partial<ModelToWrite> = {}): Promise<ModelFacts> {
  const folder = path.join(temporaryFolder(), name);
  await saveModel(folder, tinyModel(changes));
  return facts(folder);
}

const EMBEDDING = 32 * 8;
const TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}";

describe('sizes', () => {
  it('counts a tied table once, even where the file stores it twice', async () => {
    const once = await factsOf('tiny');
    const twice = await factsOf('tiny', {
      tensors: [...tinyTensors(), f32Tensor('lm_head.weight', [32, 8], new Float32Array(EMBEDDING))],
    });
    const layer = 8 + 8 * 8 + 4 * 8 * 2 + 8 * 8 + 8 + 12 * 8 * 3;
    const total = EMBEDDING + layer + 8;
    expect(once.parameters).toEqual({ total, embedding: EMBEDDING, nonEmbedding: layer + 8, active: total });
    expect(twice.parameters).toEqual(once.parameters);
    expect(twice.sizeBytes).toBe(once.sizeBytes + EMBEDDING * 4);
  });

  it('counts an output projection of its own', async () => {
    const untied = await factsOf('tiny', {
      config: { ...TINY_CONFIG, tie_word_embeddings: false },
      tensors: [...tinyTensors(), f32Tensor('lm_head.weight', [32, 8], new Float32Array(EMBEDDING))],
    });
    expect(untied.tied).toBe(false);
    expect(untied.parameters.embedding).toBe(2 * EMBEDDING);
  });

  it('counts of the experts those that a token passes', async () => {
    const expert = (e: number) =>
      f32Tensor(`model.layers.0.mlp.experts.${e}.up_proj.weight`, [5, 8], new Float32Array(40));
    const sizes = { num_experts: 4, num_experts_per_tok: 1 };
    const { parameters, experts } = await factsOf('tiny', {
      config: { ...TINY_CONFIG, ...sizes },
      tensors: [...tinyTensors(), ...[0, 1, 2, 3].map(expert)],
    });
    expect(experts).toEqual({ num: 4, perToken: 1 });
    expect(parameters.active).toBe(parameters.total - 3 * 40);
  });

  it('reports what config.json and the tokenizer say', async () => {
    expect(await factsOf('tiny', { tensors: tinyTensors('BF16') })).toMatchObject({
      format: 'huggingface',
      architecture: 'LlamaForCausalLM',
      family: 'llama',
      numTensors: 11,
      hiddenSize: 8,
      intermediateSize: 12,
      numLayers: 1,
      numHeads: 2,
      numKvHeads: 1,
      headDim: 4,
      contextLength: 64,
      vocabRows: 32,
      tied: true,
      dtype: 'BF16',
      tokenizer: { kind: 'byte-level BPE', vocabSize: 28, eosToken: '<|endoftext|>', chatTemplate: false },
      tokenizerProblem: undefined,
    });
  });

  it('describes a GGUF whose tokenizer is missing, and says so', () => {
    const llama = facts(fixture('llama.gguf'));
    expect(llama).toMatchObject({ format: 'gguf', dtype: 'F32', numKvHeads: 2, tokenizer: undefined });
    expect(llama.tokenizerProblem).toMatch(/llama\.gguf: .*tokenizer/);
    expect(llama.tuning.evidence[0]).toEqual({
      for: 'instruct',
      weight: 3,
      text: 'its name, Tiny Instruct, contains "Instruct"',
    });
  });
});

describe('base or instruct', () => {
  const chat = {
    tokenizerFiles: tokenizerFiles(['<|im_start|>', '<|im_end|>'], TEMPLATE),
    generationConfig: { eos_token_id: [1] },
  };

  it('instruct: name, template, turn tokens and stop token agree', async () => {
    const { tuning } = await factsOf('Tiny-Instruct', chat);
    expect(tuning.kind).toBe('instruct');
    expect(tuning.evidence.map((item) => item.for)).toEqual(['instruct', 'instruct', 'instruct', 'instruct']);
    expect(tuning.evidence.at(-1)!.text).toBe('generation stops at <|im_end|>, the end of a chat turn');
    expect(tuning.summary).toMatch(/^Probably tuned to follow instructions\./);
  });

  it('base: no template, plain end of text', async () => {
    const { tuning } = await factsOf('Tiny-135M');
    expect(tuning).toMatchObject({
      kind: 'base',
      evidence: [{ for: 'base', weight: 2, text: 'it has no chat template' }],
    });
  });

  it('base by name, though it carries a chat template: says that the evidence disagrees', async () => {
    const files = tokenizerFiles(['<|endoftext|>', '<|im_start|>', '<|im_end|>', '<|end|>'], TEMPLATE);
    files['tokenizer_config.json'] = { ...files['tokenizer_config.json'], eos_token: '<|endoftext|>' };
    const { tuning } = await factsOf('Tiny-Base', { tokenizerFiles: files, generationConfig: { eos_token_id: 0 } });
    expect(tuning.evidence.map((item) => item.text)).toContain('its name, Tiny-Base, contains "Base"');
    expect(tuning.evidence.map((item) => item.text)).toContain(
      'generation stops at <|endoftext|>, not at the end of a chat turn',
    );
    expect(tuning.kind).toBe('base');
    expect(tuning.summary).toContain('Some evidence points the other way');
    const unnamed = await factsOf('Tiny', { tokenizerFiles: files, generationConfig: { eos_token_id: 0 } });
    expect(unnamed.tuning.kind).toBe('unclear');
    expect(unnamed.tuning.summary).toContain('thin or contradictory');
  });

  it('does not find "it" or "pt" inside words', async () => {
    for (const name of ['gpt-edit-small', 'Bitter-Lesson', 'database']) {
      const { tuning } = await factsOf(name);
      expect(tuning.evidence.filter((item) => item.text.startsWith('its name'))).toEqual([]);
    }
    expect((await factsOf('gemma-2b-it')).tuning.evidence[0]!.text).toContain('contains "it"');
  });

  it('reads the record that this product leaves', async () => {
    const continuo = { pretraining: { finalLr: 3e-5, peakLr: 3e-3, tokens: 1e9 } };
    const described = await factsOf('ours', { config: { ...TINY_CONFIG, continuo } });
    expect(described.training).toEqual(continuo);
    expect(described.tuning.kind).toBe('base');
  });
});
