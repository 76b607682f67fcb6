// The average of the weights: its formula over some steps, and that scoring it leaves no trace.
import { describe, expect, test } from 'vitest';
import { loadNative, referenceKernels } from '../../src/kernels/index.ts';
import { adamwStep, gradNorm, prepareEma, updateEma, withEma } from '../../src/nn/index.ts';
import { readMaster } from '../../src/nn/tensor.ts';
import { makeBatch, tinyDecoder, uniformWeights } from './fixtures.ts';

const SETTINGS = { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, clipNorm: 1 };
const batch = makeBatch([[9, 7], [16]], 16);
const DECAY = 0.8;

const KERNELS = [referenceKernels, ...[loadNative()].filter((kernels) => kernels !== undefined)];

describe.each(KERNELS.flatMap((kernels) => (['f32', 'bf16'] as const).map((precision) => ({ kernels, precision }))))(
  '$kernels.variant $precision',
  ({ kernels, precision }) => {
    function trained() {
      const decoder = tinyDecoder({}, precision, kernels);
      const parameters = decoder.list();
      const masters = () =>
        parameters.map((p) => {
          const master = new Float32Array(p.data.length);
          readMaster(p, 0, master, kernels);
          return master;
        });
      prepareEma(parameters, kernels);
      const expected = masters().map((master) => Float64Array.from(master));
      for (const step of [1, 2, 3]) {
        decoder.trainBatch(batch, uniformWeights(batch));
        adamwStep(parameters, kernels, SETTINGS, 0.01, step, gradNorm(parameters, kernels));
        updateEma(parameters, kernels, DECAY);
        masters().forEach((master, k) => {
          master.forEach((w, i) => {
            expected[k]![i] = DECAY * expected[k]![i]! + (1 - DECAY) * w;
          });
        });
      }
      return { decoder, parameters, masters, expected };
    }

    test('begins at the weights and follows their masters', () => {
      const { parameters, masters, expected } = trained();
      masters().forEach((master, k) => {
        const { ema } = parameters[k]!;
        // Three steps in f32, each rounding values of size 1 three times.
        const worst = ema!.reduce((max, x, i) => Math.max(max, Math.abs(x - expected[k]![i]!)), 0);
        expect(worst).toBeLessThan(1e-6);
        expect(ema).not.toEqual(master);
      });
    });

    test('takes the place of the weights and gives it back, bit for bit', async () => {
      const { decoder, parameters, masters } = trained();
      const state = () => parameters.map(({ data, low, ema }) => [data.slice(), low?.slice(), ema!.slice()]);
      const [before, averages] = [state(), parameters.map(({ ema }) => ema!.slice())];
      const plain = decoder.scoreBatch(batch);
      const inside = await withEma(parameters, kernels, () => ({
        masters: masters(),
        scored: decoder.scoreBatch(batch),
      }));
      expect(inside.masters).toEqual(averages);
      expect(inside.scored).not.toEqual(plain);
      expect(state()).toEqual(before);
      expect(decoder.scoreBatch(batch)).toEqual(plain);
      const fail = withEma(parameters, kernels, () => Promise.reject(new Error('stopped')));
      await expect(fail).rejects.toThrow('stopped');
      expect(state()).toEqual(before);
    });
  },
);
