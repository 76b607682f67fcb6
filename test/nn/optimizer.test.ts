// Training steps: AdamW by its formula, clipping, what decays, convergence, and that a step allocates nothing after the first.
import { describe, expect, test } from 'vitest';
import { type AdamWSettings, adamwStep, gradNorm } from '../../src/nn/index.ts';
import { makeBatch, tinyDecoder, uniformWeights } from './fixtures.ts';

const SETTINGS: AdamWSettings = { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, clipNorm: 1 };
const batch = makeBatch([[9, 7], [16]], 16);

test('two steps follow the published formula, with clipping, decay on matrices only, and gradients cleared', () => {
  const decoder = tinyDecoder();
  const parameters = decoder.list();
  const weights = parameters.map((p) => Float64Array.from(p.data));
  const moments = weights.map((w) => ({ m: new Float64Array(w.length), v: new Float64Array(w.length) }));
  for (const step of [1, 2]) {
    decoder.trainBatch(batch, uniformWeights(batch));
    const squares = parameters.reduce((sum, p) => sum + p.grad!.reduce((s, g) => s + g * g, 0), 0);
    const norm = gradNorm(parameters, decoder.kernels);
    expect(norm).toBeCloseTo(Math.sqrt(squares), 5);
    const clip = Math.min(1, SETTINGS.clipNorm / (norm + 1e-6));
    expect(clip, 'this batch is clipped').toBeLessThan(1);
    parameters.forEach((p, k) => {
      const { m, v } = moments[k]!;
      for (let i = 0; i < m.length; i++) {
        const g = p.grad![i]! * clip;
        m[i] = 0.9 * m[i]! + 0.1 * g;
        v[i] = 0.95 * v[i]! + 0.05 * g * g;
        const corrected = m[i]! / (1 - 0.9 ** step) / (Math.sqrt(v[i]! / (1 - 0.95 ** step)) + 1e-8);
        weights[k]![i] = weights[k]![i]! * (p.isVector ? 1 : 1 - 0.01 * 0.1) - 0.01 * corrected;
      }
    });
    adamwStep(parameters, decoder.kernels, SETTINGS, 0.01, step, norm);
  }
  parameters.forEach((p, k) => {
    // An element whose gradient is near zero moves by +-LR on the sign of a rounding error: leave those out.
    const worst = weights[k]!.reduce((max, w, i) => {
      const settled = Math.abs(moments[k]!.m[i]!) > 1e-6;
      return settled ? Math.max(max, Math.abs(w - p.data[i]!)) : max;
    }, 0);
    expect(worst, p.parts[0]!.name).toBeLessThan(1e-5);
    expect(p.grad!.every((g) => g === 0)).toBe(true);
  });
});

test('clipNorm 0 does not clip, and the LR 0 moves nothing', () => {
  const decoder = tinyDecoder();
  const before = decoder.list().map((p) => p.data.slice());
  decoder.trainBatch(batch, uniformWeights(batch));
  const norm = gradNorm(decoder.list(), decoder.kernels);
  const gradients = decoder.list().map((p) => p.grad!.slice());
  adamwStep(decoder.list(), decoder.kernels, { ...SETTINGS, clipNorm: 0 }, 0, 1, norm);
  decoder.list().forEach((p, k) => {
    expect(p.data).toEqual(before[k]);
    const worst = p.m!.reduce((max, m, i) => Math.max(max, Math.abs(m - 0.1 * gradients[k]![i]!)), 0);
    expect(worst).toBeLessThan(1e-7);
  });
});

test("a parameter's share of the LR, its decay included", () => {
  const [alike, apart] = [tinyDecoder(), tinyDecoder()];
  const before = apart.list().map((p) => p.data.slice() as Float32Array);
  const names = apart.embeddings().map((p) => p.parts[0]!.name);
  expect(names).toEqual(['model.embed_tokens.weight', 'lm_head.weight']);
  for (const parameter of apart.embeddings()) parameter.lrFactor = 0.25;
  for (const decoder of [alike, apart]) {
    decoder.trainBatch(batch, uniformWeights(batch));
    adamwStep(decoder.list(), decoder.kernels, SETTINGS, 0.01, 1, gradNorm(decoder.list(), decoder.kernels));
  }
  apart.list().forEach((p, k) => {
    const other = alike.list()[k]!.data as Float32Array;
    if (!names.includes(p.parts[0]!.name)) expect(p.data).toEqual(other);
    // The first step's moves are the LR times a number of order 1; the f32 of a weight of order 1 is good to 1e-7.
    else other.forEach((x, i) => void expect(p.data[i]! - before[k]![i]!).toBeCloseTo((x - before[k]![i]!) / 4, 6));
  });
});

describe.each(['f32', 'bf16'] as const)('%s', (precision) => {
  test('learns a batch by heart without growing after the first step', () => {
    const decoder = tinyDecoder({}, precision);
    const small = makeBatch([[8]], 16, 3);
    const losses: number[] = [];
    const held: number[] = [];
    for (let step = 1; step <= 40; step++) {
      const rows = decoder.trainBatch(small, uniformWeights(small));
      losses.push(rows.reduce((sum, loss) => sum + loss, 0) / 8);
      const norm = gradNorm(decoder.list(), decoder.kernels);
      adamwStep(decoder.list(), decoder.kernels, { ...SETTINGS, weightDecay: 0 }, 0.01, step, norm);
      decoder.scoreBatch(small);
      decoder.logits(small);
      held.push(decoder.activationBytes);
    }
    expect(losses[0]).toBeGreaterThan(3);
    expect(losses.at(-1)).toBeLessThan(0.1);
    expect(new Set(held).size, `bytes held: ${held.join(', ')}`).toBe(1);
  });
});
