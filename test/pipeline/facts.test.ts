// What the planner is told of a model: its own record first, then what is published, nothing for a new one.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { modelFacts } from '../../src/pipeline/facts.ts';
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

/** A folder of one tensor: facts are read from headers. */
function writeModel(name: string, config: Record<string, unknown>): string {
  const folder = writeByteTokenizer(path.join(root, name));
  fs.writeFileSync(path.join(folder, 'config.json'), JSON.stringify(config));
  const header = Buffer.from(
    JSON.stringify({ 'gpt_neox.embed_in.weight': { dtype: 'F32', shape: [300, 2], data_offsets: [0, 2400] } }),
  );
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(header.length));
  fs.writeFileSync(path.join(folder, 'model.safetensors'), Buffer.concat([size, header, Buffer.alloc(2400)]));
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
