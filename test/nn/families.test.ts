// Every family on a tiny configuration: its gradients against differences of its loss, native kernels against the reference, windows,
// and what its config.json may not say. Agreement with transformers: test/python/test_families.py.
import { describe, expect, test } from 'vitest';
import { Rng } from '../../src/base/rng.ts';
import { loadNative, type referenceKernels } from '../../src/kernels/index.ts';
import { type Decoder, exportTensors, findFamily, SUPPORTED_MODEL_TYPES } from '../../src/nn/index.ts';
import { makeBatch, relativeError, tinyConfig, tinyDecoder, uniformWeights, VOCAB } from './fixtures.ts';

const FAMILIES: Record<string, Record<string, unknown>> = {
  llama: { attention_bias: true, mlp_bias: true },
  smollm3: { num_hidden_layers: 4, use_sliding_window: true, sliding_window: 3 },
  mistral: { sliding_window: 4 },
  mixtral: { sliding_window: 4, num_local_experts: 3, num_experts_per_tok: 2 },
  qwen2: { use_sliding_window: true, sliding_window: 3, max_window_layers: 1 },
  qwen3: { head_dim: 12, attention_bias: true },
  qwen3_moe: { num_experts: 4, num_experts_per_tok: 2, moe_intermediate_size: 12, mlp_only_layers: [1] },
  gemma: { head_dim: 12 },
  gemma2: { head_dim: 8, sliding_window: 4, query_pre_attn_scalar: 9, attn_logit_softcapping: 2 },
  gemma3_text: { head_dim: 8, sliding_window: 4, query_pre_attn_scalar: 9, sliding_window_pattern: 2 },
  olmo2: {},
  olmoe: { num_experts: 2, num_experts_per_tok: 2, clip_qkv: 1 },
  phi3: { partial_rotary_factor: 0.5 },
  gpt2: { n_embd: 32, n_layer: 2, n_head: 4, n_positions: 16 },
  gpt_neox: { rotary_pct: 0.5, use_parallel_residual: true },
};

const decoderOf = (family: string, ...rest: [('f32' | 'bf16')?, typeof referenceKernels?]) =>
  tinyDecoder({ model_type: family, ...FAMILIES[family] }, ...rest);

const batch = makeBatch([[5, 4], [12]], 12);
const numTargets = batch.targets.filter((target) => target >= 0).length;
const meanLoss = (decoder: Decoder) => decoder.scoreBatch(batch).reduce((sum, loss) => sum + loss, 0) / numTargets;

test('every family has a configuration here', () => {
  expect(Object.keys(FAMILIES).sort()).toEqual([...SUPPORTED_MODEL_TYPES].sort());
});

describe.each(Object.keys(FAMILIES))('%s', (family) => {
  test('every parameter: the slope along a direction', () => {
    const decoder = decoderOf(family);
    decoder.trainBatch(batch, uniformWeights(batch));
    const rng = new Rng(4, family);
    for (const { parts, data, grad } of decoder.list()) {
      const start = (data as Float32Array).slice();
      const size = Math.sqrt(grad!.reduce((sum, g) => sum + g * g, 0));
      expect(size, `${parts[0]!.name} has a gradient`).toBeGreaterThan(0);
      // Half along the gradient, so that the slope is no small difference of large terms.
      const direction = grad!.map((g) => g / size + (rng.normal() * 0.5) / Math.sqrt(start.length));
      const expected = grad!.reduce((sum, g, i) => sum + g * direction[i]!, 0);
      const at = (h: number) => {
        (data as Float32Array).set(start.map((w, i) => w + h * direction[i]!));
        return meanLoss(decoder);
      };
      const slope = (h: number) => (at(h) - at(-h)) / (2 * h);
      const h = 1e-2;
      const numeric = (4 * slope(h) - slope(2 * h)) / 3;
      (data as Float32Array).set(start);
      // The loss is good to about 2e-7, so the slope to some 2e-5; what the two steps leave is of the fourth order.
      expect(Math.abs(numeric - expected), `${parts[0]!.name}: ${expected}, by differences ${numeric}`).toBeLessThan(
        1e-4 + 0.01 * Math.abs(expected),
      );
    }
  });

  test.skipIf(!loadNative()).each([
    ['f32', 3e-5, 1e-5],
    ['bf16', 0.05, 0.02],
  ] as const)('native kernels against the reference, %s', (precision, gradTolerance, lossTolerance) => {
    // Reasons of the tolerances: gradients.test.ts.
    const native = loadNative()!;
    native.setNumThreads(2);
    const [mine, theirs] = [decoderOf(family, precision, native), decoderOf(family, precision)];
    const losses = mine.trainBatch(batch, uniformWeights(batch));
    expect(relativeError(losses, theirs.trainBatch(batch, uniformWeights(batch)))).toBeLessThan(lossTolerance);
    const norm = (values: Float32Array) => Math.sqrt(values.reduce((sum, g) => sum + g * g, 0));
    const typical = Math.max(...theirs.list().map(({ grad }) => norm(grad!)));
    for (const [i, { grad, parts }] of theirs.list().entries()) {
      const difference = norm(mine.list()[i]!.grad!.map((g, j) => g - grad![j]!));
      // Gradients that nearly cancel (a bias of keys) have errors of the size of what cancelled.
      expect(difference, parts[0]!.name).toBeLessThan(gradTolerance * Math.max(norm(grad!), 0.05 * typical));
    }
  });

  test('exported under names that do not repeat', () => {
    const names = exportTensors(decoderOf(family)).map((tensor) => tensor.name);
    expect(new Set(names).size).toBe(names.length);
  });
});

test('a token outside the window changes nothing, one inside does', () => {
  const decoder = decoderOf('mistral');
  const long = makeBatch([[12]], 12);
  const losses = (changed: number) => {
    const inputs = long.inputs.slice();
    inputs[changed] = (inputs[changed]! + 1) % VOCAB;
    return decoder.scoreBatch({ ...long, inputs });
  };
  const before = decoder.scoreBatch(long);
  // Two layers of windows of 4: what token 1 says reaches no further than token 7.
  const after = losses(1);
  expect(after[7]).not.toBe(before[7]);
  expect(after.subarray(8)).toEqual(before.subarray(8));
});

test('longer sequences than learned positions are refused', () => {
  const decoder = decoderOf('gpt2');
  expect(() => decoder.scoreBatch(makeBatch([[17]], 17))).toThrow(
    /learned positions for 16 tokens: expected sequences of at most that, found 17/,
  );
});

test.each([
  ['gpt2', { n_head: 5 }, /n_embd \(32\) must be a multiple of n_head \(5\)/],
  ['gpt2', { add_cross_attention: true }, /add_cross_attention: expected false/],
  ['gpt_neox', { rotary_pct: 0.4 }, /expected an even number of rotated elements up to 8 a head/],
  ['qwen3', { layer_types: ['full_attention'] }, /layer_types: expected a list of 2 entries/],
  ['gemma2', { layer_types: ['full_attention', 'chunked'] }, /layer_types: expected entries "sliding_attention" or/],
  ['gemma3_text', { use_bidirectional_attention: true }, /use_bidirectional_attention: expected false/],
])('%s with %o is refused', (family, changes, message) => {
  const config = tinyConfig({ model_type: family, ...FAMILIES[family], ...changes });
  expect(() => findFamily(config).parse(config)).toThrow(message);
});
