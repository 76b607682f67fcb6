// Layers of experts: against every token's experts computed one by one, the routers' own losses and loads, experts without tokens, and
// that neither threads nor the routing change what must not change. Agreement with transformers: test/python/test_families.py.
import { describe, expect, test } from 'vitest';
import { Rng } from '../../src/base/rng.ts';
import { loadNative, referenceKernels } from '../../src/kernels/index.ts';
import {
  adamwStep,
  addLora,
  type Batch,
  type Decoder,
  findFamily,
  gradNorm,
  prepareTraining,
  RouterStep,
} from '../../src/nn/index.ts';
import { experts, sortByExpert } from '../../src/nn/ops/experts.ts';
import { BufferPool } from '../../src/nn/pool.ts';
import { RouterBatch } from '../../src/nn/routing.ts';
import { Tape } from '../../src/nn/tape.ts';
import { makeBatch, tinyConfig, tinyDecoder, uniformWeights } from './fixtures.ts';

const OLMOE = { model_type: 'olmoe', num_experts: 5, num_experts_per_tok: 2, intermediate_size: 12 };
const batch = makeBatch([[5, 4], [12]], 12);

describe('sorting by expert', () => {
  test('stable, with experts that nobody chose', () => {
    const chosen = Int32Array.from([3, 0, 0, 3, 3, 5]);
    const [tokens, slots] = [new Int32Array(6), new Int32Array(6)];
    expect([...sortByExpert(tokens, slots, chosen, 7, 2)]).toEqual([0, 2, 2, 2, 5, 5, 6, 6]);
    expect([...tokens]).toEqual([0, 1, 0, 1, 2, 2]);
    expect([...slots]).toEqual([2, 0, 1, 3, 4, 5]);
  });
});

test('a layer is the weighted sum of what each chosen expert makes of a token', () => {
  const decoder = tinyDecoder({ ...OLMOE, norm_topk_prob: true });
  const { experts: layer } = decoder.parameters.layers[0]!;
  const { hidden, experts: config } = decoder.config;
  const [t, f] = [7, config!.ffn];
  const rng = new Rng(3, 'rows');
  const random = () => Float32Array.from({ length: t * hidden }, () => rng.normal());
  const [x, residual] = [random(), random()].map((data) => ({ data, grad: undefined, rows: t, cols: hidden }));
  const tape = new Tape(referenceKernels, new BufferPool(), 'f32', false);
  const out = tape.scope(() => experts(tape, x!, residual!, layer!, config!, 'silu', undefined));
  const dot = (w: ArrayLike<number>, row: number, v: ArrayLike<number>) =>
    Array.from(v).reduce((sum, value, i) => sum + value * w[row * v.length + i]!, 0);
  for (let token = 0; token < t; token++) {
    const row = (x!.data as Float32Array).subarray(token * hidden, (token + 1) * hidden);
    const powers = Array.from({ length: 5 }, (_, e) => Math.exp(dot(layer!.router.data, e, row)));
    const chosen = powers
      .map((_, e) => e)
      .sort((a, b) => powers[b]! - powers[a]!)
      .slice(0, 2);
    const total = chosen.reduce((sum, e) => sum + powers[e]!, 0);
    for (let i = 0; i < hidden; i++) {
      let expected = (residual!.data as Float32Array)[token * hidden + i]!;
      for (const e of chosen) {
        const { up, down } = layer!.each[e]!;
        const inner = Array.from({ length: f }, (_, j) => {
          const gate = dot(up.data, j, row);
          return (gate / (1 + Math.exp(-gate))) * dot(up.data, f + j, row);
        });
        expected += (powers[e]! / total) * dot(down.data, i, inner);
      }
      expect(out.data[token * hidden + i]).toBeCloseTo(expected, 4);
    }
  }
});

test('experts without tokens have no gradient, and the others are as before', () => {
  const decoder = tinyDecoder(OLMOE);
  const layer = decoder.parameters.layers[1]!.experts!;
  const routers = new RouterStep({ balance: 0, z: 0 });
  // Rows of equal numbers: the router's logits are all alike then, so the first two experts are chosen always.
  (layer.router.data as Float32Array).fill(0.1);
  decoder.trainBatch(batch, uniformWeights(batch), routers);
  expect([...routers.loads.get(1)!]).toEqual([21, 21, 0, 0, 0]);
  layer.each.forEach(({ up, down }, e) => {
    for (const { grad } of [up, down]) expect(grad!.some((g) => g !== 0)).toBe(e < 2);
  });
  const { maxLoad, minLoad, byLayer } = routers.summary();
  expect([maxLoad, byLayer.maxLoad[1], minLoad, byLayer.minLoad[1]]).toEqual([2.5, 2.5, 0, 0]);
  expect(byLayer.entropy[1]).toBeCloseTo(Math.log(2) / Math.log(5), 9);
});

describe("the routers' own losses", () => {
  const config = () => findFamily(tinyConfig(OLMOE)).parse(tinyConfig(OLMOE));

  /** Two layers, three tokens of which the last is padding; probabilities and choices by hand. */
  function record(weights: Float32Array, losses = { balance: 1, z: 1 }): RouterBatch {
    const routing = new RouterBatch(losses, config(), 3, Int32Array.of(7, 8, -1), weights);
    const probs = Float32Array.from([0.5, 0.2, 0.1, 0.1, 0.1, 0.2, 0.3, 0.3, 0.1, 0.1, 1, 0, 0, 0, 0]);
    routing.record(0, probs, Int32Array.of(0, 1, 1, 2, 0, 1), Float32Array.of(1, -2, 99), referenceKernels);
    routing.record(1, probs, Int32Array.of(0, 1, 2, 1, 0, 1), Float32Array.of(3, 0, 99), referenceKernels);
    return routing;
  }

  test('by their formulas', () => {
    const routing = record(new Float32Array(3).fill(0.5));
    // Choices a token 2/4, 4/4, 2/4; mean probabilities 0.35, 0.25, 0.2.
    expect(routing.balanceLoss()).toBeCloseTo(5 * (0.5 * 0.35 + 1 * 0.25 + 0.5 * 0.2), 6);
    expect(routing.zLoss()).toBeCloseTo((1 + 4 + 9 + 0) / 4, 9);
    expect([...routing.live]).toEqual([1, 1, 0]);
  });

  test('a batch counts by its share of the step', () => {
    const step = new RouterStep({ balance: 1, z: 1 });
    for (const share of [0.25, 0.75]) step.add(record(new Float32Array(3).fill(share / 2)));
    const { auxLoss, zLoss } = step.summary();
    expect(auxLoss).toBeCloseTo(2.625, 5);
    expect(zLoss).toBeCloseTo(3.5, 6);
    expect([...step.loads.get(0)!]).toEqual([2, 4, 2, 0, 0]);
    const quarter = record(new Float32Array(3).fill(0.125), { balance: 0.02, z: 0.04 });
    // 0.02 * share 1/4 * 5 experts * choices a token / 4 tokens.
    expect([...quarter.dProbs()]).toEqual([0.003125, 0.00625, 0.003125, 0, 0].map((g) => expect.closeTo(g, 8)));
    expect(quarter.dSquaredLse()).toBeCloseTo((0.04 * 0.25) / 4, 9);
  });

  test('equal loads', () => {
    const routing = new RouterBatch(
      { balance: 1, z: 0 },
      config(),
      5,
      new Int32Array(5),
      new Float32Array(5).fill(0.2),
    );
    const chosen = Int32Array.of(0, 1, 2, 3, 4, 0, 1, 2, 3, 4);
    routing.record(0, new Float32Array(25).fill(0.2), chosen, new Float32Array(5), referenceKernels);
    routing.record(1, new Float32Array(25).fill(0.2), chosen, new Float32Array(5), referenceKernels);
    const step = new RouterStep({ balance: 1, z: 0 });
    step.add(routing);
    expect(step.summary()).toMatchObject({
      maxLoad: 1,
      minLoad: 1,
      entropy: expect.closeTo(1, 12),
      auxLoss: expect.closeTo(2, 6),
      zLoss: 0,
    });
  });

  test('a batch in which nothing is predicted', () => {
    const decoder = tinyDecoder(OLMOE);
    const step = new RouterStep({ balance: 1, z: 1 });
    const none = { ...batch, targets: new Int32Array(24).fill(-1) };
    decoder.trainBatch(none, uniformWeights(batch), step);
    for (const { grad } of decoder.list()) expect(grad!.every((g) => g === 0)).toBe(true);
    expect(step.summary()).toMatchObject({ auxLoss: 0, zLoss: 0 });
  });

  test('their gradient, by the slope along a direction', () => {
    // Large coefficients, so that these losses are most of the sum; half the experts of a token, so that there is something to balance.
    const losses = { balance: 2, z: 0.5 };
    const decoder = tinyDecoder(OLMOE);
    const objective = () => {
      const copy = tinyDecoder(OLMOE);
      copy.list().forEach((p, i) => void (p.data as Float32Array).set(decoder.list()[i]!.data as Float32Array));
      const step = new RouterStep(losses);
      const nats = copy.trainBatch(batch, uniformWeights(batch), step).reduce((sum, loss) => sum + loss, 0);
      const { auxLoss, zLoss } = step.summary();
      const loads = [...step.loads.values()].flatMap((load) => [...load]).join();
      return { loads, value: nats / 21 + losses.balance * auxLoss + losses.z * zLoss };
    };
    decoder.trainBatch(batch, uniformWeights(batch), new RouterStep(losses));
    for (const [layer, { experts: sparse, attentionOut }] of decoder.parameters.layers.entries())
      for (const { data, grad } of [sparse!.router, attentionOut.weight]) {
        const start = (data as Float32Array).slice();
        const size = Math.sqrt(grad!.reduce((sum, g) => sum + g * g, 0));
        const at = (h: number) => {
          (data as Float32Array).set(start.map((w, i) => w + (h * grad![i]!) / size));
          return objective();
        };
        const h = 2e-3;
        const [above, below] = [at(h), at(-h)];
        (data as Float32Array).set(start);
        expect(above.loads, 'no token changes its experts').toBe(below.loads);
        // The sum is good to about 1e-6 over a width of 4e-3.
        expect(Math.abs((above.value - below.value) / (2 * h) - size), `layer ${layer}`).toBeLessThan(
          5e-4 + 2e-3 * size,
        );
      }
  });
});

const cut = (whole: Batch, sequence: number): Batch => {
  const part = (values: Int32Array) => values.subarray(sequence * whole.seqLen, (sequence + 1) * whole.seqLen);
  return {
    ...{ batch: 1, seqLen: whole.seqLen },
    ...{ inputs: part(whole.inputs), targets: part(whole.targets), docStart: part(whole.docStart) },
  };
};

test('loads of micro-batches add up to those of the batch', () => {
  const [once, inPieces] = [new RouterStep({ balance: 0, z: 0 }), new RouterStep({ balance: 0, z: 0 })];
  tinyDecoder(OLMOE).trainBatch(batch, uniformWeights(batch), once);
  const decoder = tinyDecoder(OLMOE);
  for (const sequence of [0, 1])
    decoder.trainBatch(cut(batch, sequence), uniformWeights(cut(batch, sequence), 21), inPieces);
  expect(inPieces.loads).toEqual(once.loads);
  expect(inPieces.summary().zLoss).toBeCloseTo(once.summary().zLoss, 5);
});

/** Some steps with every loss on; what each step computed. */
function train(decoder: Decoder, numSteps: number) {
  const steps: unknown[] = [];
  const held = new Set<number>();
  for (let step = 1; step <= numSteps; step++) {
    const of = makeBatch([[5, 4], [12]], 12, step);
    const routers = new RouterStep({ balance: 0.02, z: 0.001 });
    const losses = decoder.trainBatch(of, uniformWeights(of), routers);
    const norm = gradNorm(decoder.list(), decoder.kernels);
    const settings = { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, clipNorm: 1 };
    adamwStep(decoder.list(), decoder.kernels, settings, 0.01, step, norm);
    steps.push([[...losses], norm, routers.summary()]);
    held.add(decoder.activationBytes);
  }
  return { steps, held };
}

describe.each(['f32', 'bf16'] as const)('%s', (precision) => {
  test('memory does not depend on the routing', () => {
    const { held } = train(tinyDecoder(OLMOE, precision), 8);
    expect(held.size).toBe(1);
  });

  test.skipIf(!loadNative())('threads change no bit', () => {
    const native = loadNative()!;
    const results = [1, 2, 5].map((threads) => {
      native.setNumThreads(threads);
      const decoder = tinyDecoder({ ...OLMOE, hidden_size: 64, intermediate_size: 72 }, precision, native);
      const { steps } = train(decoder, 3);
      // The matcher would take seconds over typed arrays.
      return { steps, weights: decoder.list().map(({ data }) => Buffer.from(data.buffer).toString('latin1')) };
    });
    native.setNumThreads(1);
    expect(results[1]).toEqual(results[0]);
    expect(results[2]).toEqual(results[0]);
  });
});

test('LoRA leaves experts and routers as they are, and learns around them', () => {
  const decoder = tinyDecoder(OLMOE);
  for (const parameter of decoder.list()) Object.assign(parameter, { grad: null, m: null, v: null });
  addLora(decoder, { rank: 2, alpha: 4, rsLora: false, embeddings: false, seed: 1 });
  prepareTraining(decoder.trained());
  expect(decoder.trained().every(({ parts }) => /self_attn\..*\.lora_[AB]\./.test(parts[0]!.name))).toBe(true);
  const losses = [1, 2, 3].map((step) => {
    const losses = decoder.trainBatch(batch, uniformWeights(batch), new RouterStep({ balance: 1, z: 1 }));
    const settings = { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0, clipNorm: 0 };
    adamwStep(decoder.trained(), decoder.kernels, settings, 0.01, step, 0);
    return losses.reduce((a, b) => a + b, 0);
  });
  expect(losses[2]).toBeLessThan(losses[0]!);
});

test.each([
  ['mixtral', { num_local_experts: 4, router_jitter_noise: 0.1 }, /router_jitter_noise: expected 0: a run must give/],
  ['mixtral', { num_local_experts: 2, num_experts_per_tok: 3 }, /num_experts_per_tok: expected at most the 2 experts/],
  ['olmoe', { num_experts: 0, num_experts_per_tok: 1 }, /num_experts: expected a positive whole number, found 0/],
  ['olmoe', { ...OLMOE, router_aux_loss_coef: -1 }, /router_aux_loss_coef: expected a number of 0 or above, found -1/],
  ['olmoe', { ...OLMOE, clip_qkv: -8 }, /clip_qkv: expected a positive number, found -8/],
  [
    'qwen3_moe',
    { num_experts: 2, num_experts_per_tok: 1, mlp_only_layers: 1 },
    /mlp_only_layers: expected a list of layers, found 1/,
  ],
])('%s with %o is refused', (family, changes, message) => {
  const config = tinyConfig({ model_type: family, ...changes });
  expect(() => findFamily(config).parse(config)).toThrow(message);
});

test('which layers of qwen3_moe have experts', () => {
  const sparse = (changes: object) => {
    const experts = { num_experts: 2, num_experts_per_tok: 1, num_hidden_layers: 6, ...changes };
    const config = tinyConfig({ model_type: 'qwen3_moe', ...experts });
    return findFamily(config)
      .parse(config)
      .layers.map((layer) => Number(layer.sparse))
      .join('');
  };
  expect(sparse({})).toBe('111111');
  expect(sparse({ decoder_sparse_step: 2, mlp_only_layers: [3] })).toBe('010001');
  // transformers 5 writes num_local_experts, the hub has num_experts.
  expect(sparse({ num_experts: undefined, num_local_experts: 2 })).toBe('111111');
});
