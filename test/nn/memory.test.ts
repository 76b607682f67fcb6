// Activations as counted for the plan are those that a decoder's pool holds.
import { expect, test } from 'vitest';
import { countActivations } from '../../src/nn/index.ts';
import { makeBatch, tinyConfig, tinyDecoder, uniformWeights } from './fixtures.ts';

const CHANGES: [string, Record<string, unknown>][] = [
  ['llama', {}],
  ['tied', { tie_word_embeddings: true }],
  ['biases, norms of heads', { model_type: 'qwen3', head_dim: 12, attention_bias: true }],
  ['norms behind', { model_type: 'gemma2', head_dim: 8, sliding_window: 4, query_pre_attn_scalar: 9 }],
  ['learned positions', { model_type: 'gpt2', n_embd: 32, n_layer: 2, n_head: 4, n_positions: 16 }],
  ['parallel', { model_type: 'gpt_neox', rotary_pct: 0.5, use_parallel_residual: true }],
];

test.each(
  CHANGES.flatMap(([name, changes]) => (['f32', 'bf16'] as const).map((precision) => ({ name, changes, precision }))),
)('$name, $precision', ({ changes, precision }) => {
  const decoder = tinyDecoder(changes, precision);
  const passes = [[[9, 7], [16], [4, 12]], [[16]]].map((lengths) => makeBatch(lengths, 16));
  decoder.trainBatch(passes[0]!, uniformWeights(passes[0]!));
  for (const pass of passes) decoder.scoreBatch(pass);
  const counted = countActivations(tinyConfig(changes), { batch: 3, seqLen: 16, precision });
  expect(counted).toBe(decoder.activationBytes);
  expect(counted).toBeGreaterThan(0);
});

test('counting allocates nothing: a model of any size', () => {
  const huge = tinyConfig({
    hidden_size: 16384,
    intermediate_size: 53248,
    num_hidden_layers: 126,
    num_attention_heads: 128,
    num_key_value_heads: 8,
    vocab_size: 128256,
  });
  const before = process.memoryUsage().arrayBuffers;
  // A layer keeps some 14 widths of the residual stream in this shape.
  expect(countActivations(huge, { batch: 4, seqLen: 8192, precision: 'bf16' })).toBeGreaterThan(1e12);
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(50e6);
});
