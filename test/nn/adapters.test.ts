// LoRA: adapters that begin as nothing, learn while all else stands still bit for bit, and merge into the weights.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { Rng } from '../../src/base/rng.ts';
import { openModel, saveModel } from '../../src/checkpoint/index.ts';
import { loadNative, referenceKernels } from '../../src/kernels/index.ts';
import {
  adamwStep,
  addLora,
  type Decoder,
  exportAdapters,
  exportTensors,
  gradNorm,
  type LoraSettings,
  loadDecoder,
  prepareTraining,
} from '../../src/nn/index.ts';
import { byteTokenizerFiles, temporaryFolder } from '../engine/fixtures.ts';
import { makeBatch, relativeError, tinyConfig, tinyDecoder, uniformWeights } from './fixtures.ts';

const root = temporaryFolder('adapters');
afterAll(() => fs.rmSync(root, { recursive: true }));

const SETTINGS: LoraSettings = { rank: 3, alpha: 12, rsLora: false, embeddings: false, seed: 1 };
const batch = makeBatch([[5, 4], [12]], 12);
const numTargets = batch.targets.filter((target) => target >= 0).length;
const meanLoss = (decoder: Decoder) => decoder.scoreBatch(batch).reduce((sum, loss) => sum + loss, 0) / numTargets;

/** Adapters whose B's are not zero where they may be. */
function adapted(
  settings: Partial<LoraSettings> = {},
  ...rest: [('f32' | 'bf16')?, typeof referenceKernels?]
): Decoder {
  const decoder = tinyDecoder({ vocab_size: 257 }, ...rest);
  for (const parameter of decoder.list()) parameter.grad = parameter.m = parameter.v = null;
  addLora(decoder, { ...SETTINGS, ...settings });
  const rng = new Rng(3, 'b');
  for (const { adapter } of decoder.list()) {
    if (!adapter) continue;
    const { b, blocks, rank } = adapter;
    const master = new Float32Array(b.data.length);
    blocks.forEach(({ part, firstRow }, i) => {
      for (let row = firstRow; row < firstRow + part.rows; row++)
        for (let r = 0; r < rank; r++) master[row * b.cols + i * rank + r] = rng.normal() * 0.1;
    });
    if (b.data instanceof Float32Array) b.data.set(master);
    else referenceKernels.splitMaster(b.data, b.low!, master);
  }
  prepareTraining(decoder.trained());
  return decoder;
}

const OPTIMIZER = { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, clipNorm: 1 };

function train(decoder: Decoder, numSteps: number): void {
  for (let step = 1; step <= numSteps; step++) {
    decoder.trainBatch(batch, uniformWeights(batch));
    const norm = gradNorm(decoder.trained(), decoder.kernels);
    adamwStep(decoder.trained(), decoder.kernels, OPTIMIZER, 1e-2, step, norm);
  }
}

test('fresh adapters change nothing', () => {
  const [plain, withAdapters] = [tinyDecoder(), tinyDecoder()];
  addLora(withAdapters, SETTINGS);
  expect(withAdapters.logits(batch)).toEqual(plain.logits(batch));
});

test.each([
  ['every matrix', {}],
  ['queries and values only, rsLora', { targets: ['q_proj', 'v_proj'], rsLora: true }],
  ['with embeddings', { targets: ['down_proj'], embeddings: true }],
])('%s: the slope along a direction for everything that is trained', (_name, settings) => {
  const decoder = adapted(settings);
  decoder.trainBatch(batch, uniformWeights(batch));
  const rng = new Rng(4, 'direction');
  for (const { parts, data, grad } of decoder.trained()) {
    const start = (data as Float32Array).slice();
    const size = Math.sqrt(grad!.reduce((sum, g) => sum + g * g, 0));
    expect(size).toBeGreaterThan(0);
    // Where the gradient is zero the direction is, too: outside B's blocks nothing may move.
    const direction = grad!.map((g) => (g === 0 ? 0 : g / size + (rng.normal() * 0.5) / Math.sqrt(start.length)));
    const expected = grad!.reduce((sum, g, i) => sum + g * direction[i]!, 0);
    const at = (h: number) => {
      (data as Float32Array).set(start.map((w, i) => w + h * direction[i]!));
      return meanLoss(decoder);
    };
    const slope = (h: number) => (at(h) - at(-h)) / (2 * h);
    const numeric = (4 * slope(1e-2) - slope(2e-2)) / 3;
    (data as Float32Array).set(start);
    expect(Math.abs(numeric - expected), `${parts[0]!.name}: ${expected}, by differences ${numeric}`).toBeLessThan(
      1e-4 + 0.01 * Math.abs(expected),
    );
  }
});

describe.each(['f32', 'bf16'] as const)('%s', (precision) => {
  test('frozen weights stay, bit for bit, and so do the zeros of B', () => {
    const decoder = adapted({}, precision);
    const before = decoder.list().map(({ data }) => data.slice());
    const first = meanLoss(decoder);
    train(decoder, 20);
    expect(meanLoss(decoder)).toBeLessThan(first - 0.1);
    decoder.list().forEach((parameter, i) => {
      expect(parameter.data).toEqual(before[i]);
      expect(parameter.grad).toBeNull();
      expect(parameter.low).toBeNull();
      const { b, blocks, rank } = parameter.adapter ?? {};
      if (!b) return;
      const numInBlocks = blocks!.reduce((sum, { part }) => sum + part.rows * rank!, 0);
      expect(b.data.filter((value) => value !== 0).length).toBeLessThanOrEqual(numInBlocks);
    });
  });

  test('the merged model says what the adapted one says', async () => {
    const decoder = adapted({}, precision);
    const folder = path.join(root, precision);
    const config = { ...tinyConfig({ vocab_size: 257 }), vocab_size: 257, model_type: 'llama' };
    await saveModel(folder, { config, tensors: exportTensors(decoder), tokenizerFiles: byteTokenizerFiles() });
    const source = openModel(folder);
    const merged = loadDecoder(source, precision, referenceKernels);
    source.close();
    // bf16: merging rounds each weight once more.
    expect(relativeError(merged.logits(batch), decoder.logits(batch))).toBeLessThan(precision === 'f32' ? 1e-5 : 0.03);
  });
});

test.skipIf(!loadNative())('native kernels against the reference', () => {
  const native = loadNative()!;
  native.setNumThreads(2);
  const [mine, theirs] = [adapted({}, 'f32', native), adapted()];
  for (const decoder of [mine, theirs]) decoder.trainBatch(batch, uniformWeights(batch));
  for (const [i, { grad, parts }] of theirs.trained().entries())
    expect(relativeError(mine.trained()[i]!.grad!, grad!), parts[0]!.name).toBeLessThan(2e-5);
});

test('adapters are exported a module each, under the names that PEFT reads', () => {
  const shapes = new Map(exportAdapters(adapted()).map(({ name, shape }) => [name, shape]));
  expect(shapes.get('base_model.model.model.layers.1.self_attn.v_proj.lora_A.weight')).toEqual([3, 32]);
  expect(shapes.get('base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight')).toEqual([16, 3]);
  expect(shapes.size).toBe(2 * 7 * 2);
});

test('an unknown target is refused with those that there are', () => {
  expect(() => addLora(tinyDecoder(), { ...SETTINGS, targets: ['query_proj'] })).toThrow(
    /training\.lora\.targets: this model has no matrix "query_proj".*expected some of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj/,
  );
});
