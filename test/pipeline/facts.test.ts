// What the planner is told of a model: its own record first, then what is published, nothing for a new one.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { memoryCounter, modelFacts } from '../../src/pipeline/facts.ts';
import { makeFolder, writeByteTokenizer } from '../shards/fixtures.ts';

let root: string;
beforeAll(() => {
  root = makeFolder('facts');
});
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

const PYTHIA_14M = {
  model_type: 'gpt_neox',
  architectures: ['GPTNeoXForCausalLM'],
  ...{ vocab_size: 50_304, hidden_size: 128, num_hidden_layers: 6, num_attention_heads: 4, intermediate_size: 512 },
  ...{ max_position_embeddings: 2048, rotary_pct: 0.25, rotary_emb_base: 10_000, layer_norm_eps: 1e-5 },
  ...{ hidden_act: 'gelu', use_parallel_residual: true, tie_word_embeddings: false },
};

/** Tensors of zeros beside an embedding. */
function writeModel(name: string, config: Record<string, unknown>, tensors: Record<string, number[]> = {}): string {
  const folder = writeByteTokenizer(path.join(root, name));
  fs.writeFileSync(path.join(folder, 'config.json'), JSON.stringify(config));
  let end = 0;
  const entries = Object.entries({ 'gpt_neox.embed_in.weight': [300, 2], ...tensors }).map(([tensor, shape]) => {
    const begin = end;
    end += 4 * shape.reduce((product, n) => product * n, 1);
    return [tensor, { dtype: 'F32', shape, data_offsets: [begin, end] }];
  });
  const header = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(header.length));
  fs.writeFileSync(path.join(folder, 'model.safetensors'), Buffer.concat([size, header, Buffer.alloc(end)]));
  return folder;
}

it('knows a folder by its shape, and says so', () => {
  const facts = modelFacts(writeModel('mine', PYTHIA_14M), 'mine');
  expect(facts.pretraining).toMatchObject({ peakLr: 1e-3, finalLr: 1e-4, published: true });
  expect(facts.pretraining!.source).toContain('EleutherAI/pythia');
  expect(facts.pretraining!.source).toContain('by its shape alone as Pythia 14m');
  expect(facts).toMatchObject({
    family: 'gpt_neox',
    numLayers: 6,
    attentionWidth: 128,
    known: { names: ['Pythia 14m'] },
  });
});

it('says of an instruct model that the facts are of its base', () => {
  const facts = modelFacts(writeModel('pythia-14m-chat', PYTHIA_14M), 'pythia-14m-chat');
  expect(facts.isInstruct).toBe(true);
  expect(facts.pretraining!.source).toContain('of its base model, instruction tuning came after');
});

it('believes the checkpoint before the literature, also a final LR of 0', () => {
  const continuo = { pretraining: { peakLr: 2e-3, finalLr: 0, tokens: 1e9, batchTokens: 4096 } };
  const facts = modelFacts(writeModel('recorded', { ...PYTHIA_14M, continuo }), 'EleutherAI/pythia-14m');
  expect(facts.pretraining).toEqual({ ...continuo.pretraining, source: "the model's config.json" });
  expect(facts.known).toBeUndefined();
});

it('finds nothing published about new weights', () => {
  const facts = modelFacts(writeModel('new', PYTHIA_14M), 'new', true);
  expect(facts.pretraining).toBeUndefined();
  expect(facts.known).toBeUndefined();
});

describe('a family that the native engine does not know', () => {
  const config = { model_type: 'mamba_of_tomorrow', vocab_size: 300, d_model: 8, n_layers: 2, n_heads: 2 };
  const tensors = Object.fromEntries(
    [0, 1].flatMap((i) => [
      [`body.layers.${i}.mixer.in_proj.weight`, [16, 8]],
      [`body.layers.${i}.mixer.A_log`, [16]],
      [`body.layers.${i}.norm.weight`, [8]],
    ]),
  ) as Record<string, number[]>;
  const shape = { batch: 1, seqLen: 64, precision: 'f32', ema: false, recompute: false } as const;
  const lora = { rank: 4, alpha: 8, rsLora: false, embeddings: false };

  it('is counted for the PyTorch engine, and the native one names that', () => {
    const folder = writeModel('tomorrow', { ...config, auto_map: { AutoConfig: 'configuration_x.XConfig' } }, tensors);
    expect(() => modelFacts(folder, 'tomorrow')).toThrow(/"mamba_of_tomorrow" is not supported.*set engine: torch/s);
    expect(modelFacts(folder, 'tomorrow', false, 'torch')).toMatchObject({
      ...{ onlyByTorch: true, hidden: 8, numLayers: 2, vocabSize: 300, attentionWidth: 8, numParameters: 904 },
      ...{ numNonEmbedding: 304, carriesState: 'body.layers.0.mixer.A_log', ownCode: ['configuration_x.py'] },
    });
  });

  it('is planned with what is trained, frozen and adapted by name', () => {
    const count = memoryCounter(writeModel('counted', config, tensors));
    const whole = count(shape);
    expect(whole).toMatchObject({ numTrained: 904, stateBytes: 16 * 904 });
    expect(count({ ...shape, recompute: true }).activationBytes).toBeLessThan(whole.activationBytes);
    expect(count({ ...shape, freeze: ['body.layers.0'] })).toMatchObject({ numTrained: 904 - 152 });
    expect(count({ ...shape, lora })).toMatchObject({ numTrained: 2 * 4 * 24, stateBytes: 16 * 192 + 4 * 904 });
    expect(() => count({ ...shape, lora: { ...lora, targets: ['q_proj'] } })).toThrow(/no matrix "q_proj".*in_proj/);
    expect(() => count({ ...shape, freeze: ['model.layers.0'] })).toThrow(/no tensor of this model fits/);
  });
});
