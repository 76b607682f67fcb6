// Memory as counted for the plan is what a decoder holds, byte for byte.
import { describe, expect, test } from 'vitest';
import { referenceKernels } from '../../src/kernels/index.ts';
import {
  addLora,
  countMemory,
  type Decoder,
  freezeTensors,
  KeyValueCache,
  prepareEma,
  prepareTraining,
  Teacher,
} from '../../src/nn/index.ts';
import { makeBatch, tinyConfig, tinyDecoder, uniformWeights } from './fixtures.ts';

const CHANGES: [string, Record<string, unknown>][] = [
  ['llama', {}],
  ['tied', { tie_word_embeddings: true }],
  ['biases, norms of heads', { model_type: 'qwen3', head_dim: 12, attention_bias: true }],
  ['norms behind', { model_type: 'gemma2', head_dim: 8, sliding_window: 4, query_pre_attn_scalar: 9 }],
  ['learned positions', { model_type: 'gpt2', n_embd: 32, n_layer: 2, n_head: 4, n_positions: 16 }],
  ['experts', { model_type: 'olmoe', num_experts: 5, num_experts_per_tok: 2, clip_qkv: 1 }],
  ['parallel', { model_type: 'gpt_neox', rotary_pct: 0.5, use_parallel_residual: true }],
];

const passes = [[[9, 7], [16], [4, 12]], [[16]]].map((lengths) => makeBatch(lengths, 16));

function train(decoder: Decoder): void {
  decoder.trainBatch(passes[0]!, uniformWeights(passes[0]!));
  for (const pass of passes) decoder.scoreBatch(pass);
}

function heldBytes(decoder: Decoder): number {
  const parameters = new Set([...decoder.list(), ...decoder.trained()]);
  return [...parameters].reduce(
    (sum, { data, low, grad, m, v, ema }) =>
      sum + [data, low, grad, m, v, ema].reduce((bytes, array) => bytes + (array?.byteLength ?? 0), 0),
    0,
  );
}

describe.each(['f32', 'bf16'] as const)('%s', (precision) => {
  const shape = { batch: 3, seqLen: 16, precision };

  test.each(CHANGES)('%s', (_name, changes) => {
    const decoder = tinyDecoder(changes, precision);
    train(decoder);
    expect(countMemory(tinyConfig(changes), shape)).toMatchObject({
      stateBytes: heldBytes(decoder),
      activationBytes: decoder.activationBytes,
    });
  });

  test('keys and values of sequences that are written', () => {
    const cache = new KeyValueCache(tinyDecoder({}, precision).config, precision, 3, 9);
    const counted = countMemory(tinyConfig(), { ...shape, writes: { sequences: 3, tokens: 9 } });
    expect(counted.activationBytes - countMemory(tinyConfig(), shape).activationBytes).toBe(cache.sizeBytes);
  });

  test('an average of the weights', () => {
    const decoder = tinyDecoder({}, precision);
    prepareEma(decoder.list(), referenceKernels);
    expect(countMemory(tinyConfig(), { ...shape, ema: true }).stateBytes).toBe(heldBytes(decoder));
  });

  test('a teacher beside it: its weights, a pass of each sequence, a second slice of logits', () => {
    const decoder = tinyDecoder({}, precision);
    const copy = decoder.frozenCopy();
    const teacher = new Teacher(copy);
    const rows = new Float32Array(48);
    const said = teacher.states(passes[0]!, () => true);
    const extras = { teacher: { temperature: 1, weights: uniformWeights(passes[0]!), divergences: rows, said } };
    decoder.trainBatch(passes[0]!, uniformWeights(passes[0]!), undefined, extras);
    for (const pass of passes) decoder.scoreBatch(pass);
    const counted = countMemory(tinyConfig(), { ...shape, distill: {} });
    expect(counted).toMatchObject({
      stateBytes: heldBytes(decoder) + heldBytes(copy),
      activationBytes: decoder.activationBytes,
    });
    // Its likeliest tokens from disk: it has buffers of its own, for one sequence at a time.
    const apart = countMemory(tinyConfig(), { ...shape, distill: { topK: 5 } });
    const alone = tinyDecoder({}, precision);
    alone.scoreBatch(passes[1]!);
    expect(apart.stateBytes).toBe(counted.stateBytes);
    expect(apart.activationBytes).toBe(countMemory(tinyConfig(), shape).activationBytes + alone.activationBytes);
  });

  test.each([
    // All matrices; embeddings and the first layer, below which nothing is kept; a part of a stacked matrix.
    [['*.mlp.*', '*.self_attn.*', 'lm_head'], {}],
    [['model.embed_tokens', 'model.layers.0'], {}],
    [['model.embed_tokens', 'model.layers'], { tie_word_embeddings: false }],
    [['*.q_proj'], { model_type: 'qwen2' }],
  ])('frozen: %s', (freeze, changes) => {
    const decoder = tinyDecoder(changes, precision);
    for (const parameter of decoder.list()) Object.assign(parameter, { grad: null, m: null, v: null });
    freezeTensors(decoder, freeze);
    prepareTraining(decoder.trained());
    train(decoder);
    const counted = countMemory(tinyConfig(changes), { ...shape, freeze });
    expect(counted).toMatchObject({ stateBytes: heldBytes(decoder), activationBytes: decoder.activationBytes });
    expect(counted.activationBytes).toBeLessThanOrEqual(countMemory(tinyConfig(changes), shape).activationBytes);
  });

  test.each([
    { embeddings: false },
    { embeddings: false, dora: true },
    { embeddings: true, targets: ['q_proj', 'v_proj', 'down_proj'] },
  ])('adapters: %o', (options) => {
    const lora = { rank: 3, alpha: 6, rsLora: false, ...options };
    const decoder = tinyDecoder({}, precision);
    for (const parameter of decoder.list()) Object.assign(parameter, { grad: null, m: null, v: null });
    addLora(decoder, { ...lora, seed: 1 });
    prepareTraining(decoder.trained());
    train(decoder);
    expect(countMemory(tinyConfig(), { ...shape, lora })).toMatchObject({
      stateBytes: heldBytes(decoder),
      activationBytes: decoder.activationBytes,
    });
  });
});

test('counting takes no memory itself, whatever the model', () => {
  const huge = tinyConfig({
    hidden_size: 16384,
    intermediate_size: 53248,
    num_hidden_layers: 126,
    num_attention_heads: 128,
    num_key_value_heads: 8,
    vocab_size: 128256,
  });
  const before = process.memoryUsage().arrayBuffers;
  const { stateBytes, activationBytes } = countMemory(huge, { batch: 4, seqLen: 8192, precision: 'bf16' });
  // 405.85 billion parameters.
  expect(stateBytes / 16).toBeCloseTo(405_853_388_800, -6);
  expect(activationBytes).toBeGreaterThan(1e12);
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(50e6);
});
