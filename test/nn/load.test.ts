// From a model folder to a decoder and back, what is refused with which words, and rotary frequencies.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { openModel, saveModel } from '../../src/checkpoint/index.ts';
import { loadNative, referenceKernels } from '../../src/kernels/index.ts';
import { exportTensors, findFamily, initDecoder, loadDecoder, SUPPORTED_MODEL_TYPES } from '../../src/nn/index.ts';
import { parseRope, parseRopeParameters, type RopeScaling, ropeFrequencies, ropeTable } from '../../src/nn/rope.ts';
import { byteTokenizerFiles, temporaryFolder } from '../engine/fixtures.ts';
import { tinyConfig, tinyDecoder } from './fixtures.ts';

const root = temporaryFolder('nn');
afterAll(() => fs.rmSync(root, { recursive: true }));

const config = { ...tinyConfig({ vocab_size: 257 }), vocab_size: 257, model_type: 'llama' };

/** A model folder; `edit` may change what is written. */
async function writeModel(name: string, edit: (model: Parameters<typeof saveModel>[1]) => void = () => {}) {
  const decoder = tinyDecoder({ vocab_size: 257 });
  const model = { config, tensors: exportTensors(decoder), tokenizerFiles: byteTokenizerFiles() };
  edit(model);
  const folder = path.join(root, name);
  await saveModel(folder, model);
  return { folder, decoder };
}

function load(folder: string, precision: 'f32' | 'bf16' = 'f32') {
  const source = openModel(folder);
  try {
    return loadDecoder(source, precision, referenceKernels);
  } finally {
    source.close();
  }
}

test('f32: saved and loaded, bit for bit', async () => {
  const { folder, decoder } = await writeModel('f32');
  const loaded = load(folder);
  for (const [i, parameter] of decoder.list().entries()) {
    expect(loaded.list()[i]!.parts).toEqual(parameter.parts);
    expect(loaded.list()[i]!.data).toEqual(parameter.data);
  }
});

test.each([['reference', referenceKernels] as const, ['native', loadNative() ?? referenceKernels] as const])(
  'inference keeps bf16 matrices beside f32 norms as they are stored, %s kernels',
  async (name, kernels) => {
    const folder = path.join(root, `mixed-${name}`);
    const trained = tinyDecoder({ vocab_size: 257 }, 'bf16');
    const tensors = exportTensors(trained).map((tensor) => {
      if (!tensor.name.includes('norm')) return tensor;
      const values = Float32Array.from({ length: tensor.shape[0]! }, (_, i) => 1 + i / 1000);
      return { ...tensor, dtype: 'F32' as const, data: () => new Uint8Array(values.buffer) };
    });
    await saveModel(folder, { config, tensors, tokenizerFiles: byteTokenizerFiles() });
    const source = openModel(folder);
    const [mixed, plain] = (['inference', 'training'] as const).map((purpose) =>
      loadDecoder(source, 'f32', kernels, purpose),
    );
    source.close();
    for (const { data, isVector, low } of mixed!.list()) {
      expect(data).toBeInstanceOf(isVector ? Float32Array : Uint16Array);
      expect(low).toBeNull();
    }
    // Few rows, where native kernels read bf16 another way, and many.
    for (const seqLen of [5, 40]) {
      const inputs = Int32Array.from({ length: seqLen }, (_, i) => (i * 37) % 257);
      const batch = { batch: 1, seqLen, inputs, targets: inputs, docStart: new Int32Array(seqLen) };
      const [found, expected] = [mixed!, plain!].map((decoder) => decoder.logits(batch));
      const largest = expected!.reduce((max, x) => Math.max(max, Math.abs(x)), 0);
      // The same values; natively another order of f32 sums.
      for (const [i, x] of found!.entries()) expect(Math.abs(x - expected![i]!)).toBeLessThanOrEqual(1e-5 * largest);
    }
  },
);

test('f32 weights trained in bf16 keep their lower halves', async () => {
  const { folder, decoder } = await writeModel('low');
  for (const [i, { data, low }] of load(folder, 'bf16').list().entries()) {
    const master = new Float32Array(data.length);
    referenceKernels.joinMaster(master, data as Uint16Array, low!);
    expect(master).toEqual(decoder.list()[i]!.data);
  }
});

test('bf16: exported weights are what the model uses, and come back as they were', async () => {
  const trained = tinyDecoder({ vocab_size: 257 }, 'bf16');
  const folder = path.join(root, 'bf16');
  await saveModel(folder, { config, tensors: exportTensors(trained), tokenizerFiles: byteTokenizerFiles() });
  const loaded = load(folder, 'bf16');
  for (const [i, parameter] of trained.list().entries()) {
    expect(loaded.list()[i]!.data).toEqual(parameter.data);
    expect(loaded.list()[i]!.low!.every((bits) => bits === 0)).toBe(true);
  }
});

test('stacked matrices are exported under their own names and shapes', () => {
  const tensors = new Map(exportTensors(tinyDecoder()).map((tensor) => [tensor.name, tensor.shape]));
  expect(tensors.get('model.layers.1.self_attn.q_proj.weight')).toEqual([32, 32]);
  expect(tensors.get('model.layers.1.self_attn.v_proj.weight')).toEqual([16, 32]);
  expect(tensors.get('model.layers.0.mlp.up_proj.weight')).toEqual([40, 32]);
  expect(tensors.get('model.norm.weight')).toEqual([32]);
  expect(tensors.has('lm_head.weight')).toBe(true);
  const tied = exportTensors(tinyDecoder({ tie_word_embeddings: true })).map((tensor) => tensor.name);
  expect(tied).not.toContain('lm_head.weight');
});

test('a missing tensor is named', async () => {
  const { folder } = await writeModel('missing', (model) => {
    model.tensors = model.tensors.filter(({ name }) => !/layers\.1\.mlp\.(up|down)_proj/.test(name));
  });
  expect(() => load(folder)).toThrow(
    /2 tensor\(s\) that config\.json asks for are missing, the first: model\.layers\.1\.mlp\.up_proj\.weight, model\.layers\.1\.mlp\.down_proj/,
  );
});

test('a tensor of another shape is named with both shapes', async () => {
  const { folder } = await writeModel('shape', (model) => {
    model.config = { ...config, intermediate_size: 48 };
  });
  expect(() => load(folder)).toThrow(
    /mlp\.gate_proj\.weight: expected shape \[48, 32\] from config\.json, found \[40, 32\]/,
  );
});

test('an unknown family is refused with the list of known ones', () => {
  expect(() => findFamily({ model_type: 'mamba' })).toThrow(
    `model_type "mamba" is not supported by the native engine. Supported: ${SUPPORTED_MODEL_TYPES.join(', ')}.`,
  );
});

test('tensors that the family has no place for are named', async () => {
  const { folder } = await writeModel('unknown', (model) => {
    const [table] = model.tensors;
    model.tensors = [...model.tensors, { ...table!, name: 'model.layers.0.self_attn.sinks' }];
  });
  expect(() => load(folder)).toThrow(
    /1 tensor\(s\) have no place in a model of type "llama", the first: model\.layers\.0\.self_attn\.sinks/,
  );
});

test.each([
  [{ hidden_size: 0 }, /hidden_size: expected a positive whole number, found 0/],
  [{ num_hidden_layers: '2' }, /num_hidden_layers: expected a positive whole number, found "2"/],
  [{ attention_bias: 1 }, /attention_bias: expected true or false, found 1/],
  [{ hidden_act: 'relu' }, /hidden_act: expected one of silu, swish, gelu, gelu_new, gelu_pytorch_tanh, found "relu"/],
  [{ num_key_value_heads: 3 }, /num_attention_heads \(4\) must be a multiple of num_key_value_heads \(3\)/],
  [{ head_dim: 7 }, /head_dim: expected an even number, found 7/],
  [{ rms_norm_eps: -1 }, /rms_norm_eps: expected a positive number, found -1/],
  [{ rope_scaling: { rope_type: 'dynamic', factor: 4 } }, /rope_scaling of type "dynamic" is not supported/],
  [{ rope_scaling: { rope_type: 'longrope', short_factor: [1] } }, /rope_scaling\.short_factor: expected 4 positive/],
  [{ rope_scaling: { rope_type: 'linear' } }, /rope_scaling\.factor: expected a number, found undefined/],
])('a config.json with %o is refused', (changes, message) => {
  expect(() => findFamily(tinyConfig()).parse(tinyConfig(changes))).toThrow(message);
});

test('random weights depend on the seed and the name alone', () => {
  const weights = (seed: number, changes = {}) =>
    initDecoder(tinyConfig(changes), seed, 'f32', referenceKernels).list();
  expect(weights(1)[2]!.data).toEqual(weights(1, { num_hidden_layers: 2 })[2]!.data);
  expect(weights(1)[2]!.data).not.toEqual(weights(2)[2]!.data);
  const values = Array.from(weights(1)[2]!.data);
  const deviation = Math.sqrt(values.reduce((sum, w) => sum + w * w, 0) / values.length);
  expect(deviation).toBeGreaterThan(0.018);
  expect(deviation).toBeLessThan(0.022);
});

test.skipIf(!loadNative())('random weights are the same with native kernels', () => {
  const [a, b] = [loadNative()!, referenceKernels].map((kernels) =>
    initDecoder(tinyConfig(), 1, 'bf16', kernels).list(),
  );
  a!.forEach((parameter, i) => {
    expect(parameter.data).toEqual(b![i]!.data);
    expect(parameter.low).toEqual(b![i]!.low);
  });
});

const rope = (rotaryDim: number, theta: number, scaling: RopeScaling) => ({ rotaryDim, theta, scaling });
const NONE: RopeScaling = { kind: 'none' };

describe('rotary frequencies', () => {
  test('plain and linear', () => {
    const plain = ropeFrequencies(rope(8, 10_000, NONE), 64);
    expect([...plain]).toEqual([1, 0.1, 0.01, 0.001].map((f) => expect.closeTo(f, 12)));
    expect([...ropeFrequencies(rope(8, 10_000, { kind: 'linear', factor: 4 }), 64)]).toEqual(
      [...plain].map((f) => f / 4),
    );
  });

  test('llama3: high frequencies stay, low ones are divided, those between are blended by wavelength', () => {
    const [factor, low, high, context] = [8, 1, 4, 8192];
    const llama3 = {
      rope_type: 'llama3',
      factor,
      low_freq_factor: low,
      high_freq_factor: high,
      original_max_position_embeddings: context,
    };
    const plain = ropeFrequencies(rope(128, 500_000, NONE), 64);
    const scaled = ropeFrequencies(parseRopeParameters(llama3, 128, 500_000), 64);
    const kinds = new Set<string>();
    plain.forEach((f, i) => {
      // Rotations within the original context decide.
      const turns = (context * f) / (2 * Math.PI);
      const kept = Math.min(1, Math.max(0, (turns - low) / (high - low)));
      kinds.add(kept === 0 ? 'divided' : kept === 1 ? 'kept' : 'blended');
      expect(scaled[i]! / f).toBeCloseTo(kept + (1 - kept) / factor, 10);
    });
    expect(kinds.size).toBe(3);
  });

  test('longrope: its factors change with the length of sequences', () => {
    const map = { rope_type: 'longrope', short_factor: [1, 2], long_factor: [3, 4], max_position_embeddings: 128 };
    const config = parseRopeParameters({ ...map, original_max_position_embeddings: 32 }, 4, 10_000);
    expect([...ropeFrequencies(config, 32)]).toEqual([1, 0.005]);
    expect([...ropeFrequencies(config, 33)]).toEqual([1 / 3, 0.0025]);
    expect(ropeTable(config, 4).cos[0]).toBeCloseTo(Math.sqrt(1 + Math.log(4) / Math.log(32)), 6);
  });

  test('older and newer spellings of the same', () => {
    const linear = { kind: 'linear', factor: 2 };
    expect(parseRope({ rope_scaling: { type: 'linear', factor: 2 } }, 8)).toEqual({
      ...rope(8, 10_000, NONE),
      scaling: linear,
    });
    expect(parseRope({ rope_parameters: { rope_type: 'default', rope_theta: 77 } }, 8)).toEqual(rope(8, 77, NONE));
    expect(parseRope({ rope_theta: 77, rope_scaling: null, partial_rotary_factor: 0.5 }, 8)).toEqual(rope(4, 77, NONE));
  });

  test('a table is cos and sin of position times frequency', () => {
    const { cos, sin } = ropeTable(rope(4, 100, NONE), 5);
    expect(cos[3 * 2 + 1]).toBeCloseTo(Math.cos(0.3), 6);
    expect(sin[4 * 2]).toBeCloseTo(Math.sin(4), 6);
  });
});
