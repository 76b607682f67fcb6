// Numbers worked out by hand.
import { expect, it } from 'vitest';
import { trainFlopsPerToken } from '../../src/recipe/cost.ts';
import {
  GPUS,
  gpuOfDevice,
  type ModelFactsForPlan,
  makePlan,
  type Plan,
  parseCluster,
} from '../../src/recipe/index.ts';
import { corpus, gpuMemoryOf, HANDBOOK, inputs, MODEL, WEB } from './facts.ts';

/** Nemotron-4 15B: 12.5B parameters in its layers, a vocabulary of 256,000 rows of 6,144, twice. */
const NEMOTRON: ModelFactsForPlan = {
  ...MODEL,
  name: 'nvidia/Nemotron-4-15B',
  numParameters: 15.65e9,
  numNonEmbedding: 12.5e9,
  context: 4096,
  vocabSize: 256_000,
  hidden: 6144,
  numLayers: 32,
  attentionWidth: 6144,
};
/** 6 (12.5e9 + 256,000 x 6,144) + 6 x 32 x 6,144 x 4,096. */
const NEMOTRON_FLOPS = 84_437_184_000 + 4_831_838_208;

const gib = (n: number) => n * 2 ** 30;

function plan15B(on: string, pricePerHour?: number): Plan {
  const given = inputs(
    [corpus('web', 'general', 300e9, 0), corpus('exam', 'evaluation', 0, 0)],
    'budget: { tokens: 300B }\ntraining: { seqLen: 4096, batchTokens: 4718592 }',
    NEMOTRON,
  );
  return makePlan({
    ...given,
    on: parseCluster(on),
    pricePerHour,
    // 60 GiB a sequence with all kept, 20 with some, 6 with none.
    countWorkerMemory: gpuMemoryOf(NEMOTRON.numParameters, gib(60) / 4096),
  });
}

it('counts 6 operations a parameter in a matrix, and attention', () => {
  expect(trainFlopsPerToken(NEMOTRON, 4096)).toEqual({ matrices: 84_437_184_000, attention: 4_831_838_208 });
  expect(trainFlopsPerToken(NEMOTRON, 2048).attention).toBe(4_831_838_208 / 2);
  // Frozen weights have no gradient of their own: two products of three.
  expect(trainFlopsPerToken(NEMOTRON, 0, 0).matrices).toBe(56_291_456_000);
});

it('counts only the experts that a token passes', () => {
  const experts = { num: 64, perToken: 8, numActive: 1.3e9, balanceLoss: 0.01 };
  const olmoe = { ...MODEL, numParameters: 6.9e9, numNonEmbedding: 6.7e9, vocabSize: 50_304, hidden: 2048, experts };
  // 6.7e9 - (6.9e9 - 1.3e9) in the layers, and 50,304 x 2,048 of the output.
  expect(trainFlopsPerToken(olmoe, 0).matrices).toBe(6 * (1.1e9 + 103_022_592));
});

it('costs a 15B model on 300B tokens: 37 hours on 512 H100, with full sharding', () => {
  const { cost, seconds } = plan15B('h100x512').expected;
  const tokens = 63_578 * 4_718_592;
  expect(cost!.trainFlops / (tokens * NEMOTRON_FLOPS)).toBeCloseTo(1, 12);
  expect(cost!.evalFlops).toBe(0);
  const { gpus } = cost!;
  expect(gpus).toMatchObject({ gpu: 'H100 SXM', numGpus: 512, numBusy: 512 });
  // Of 2 sequences a GPU, one a pass is 60 GiB; both with some run again are 40 GiB.
  expect(gpus.fit).toMatchObject({ share: 2, microBatch: 1, recompute: false, fits: true });
  expect(gpus.fit.largest).toEqual({ kept: 1, selective: 2, full: 2 });
  expect(gpus.fit.memory.weightBytes).toBe((4 * 15.65e9) / 512);
  // 2.678e22 operations / (512 x 989e12 x 0.4) = 132,219 s.
  expect(gpus.seconds).toBeCloseTo((tokens * NEMOTRON_FLOPS) / (512 * 989e12 * 0.4), 3);
  expect(Math.abs(gpus.seconds - 132_219)).toBeLessThan(6);
  expect(gpus.tokensPerSecond).toBe(Math.round((512 * 989e12 * 0.4) / NEMOTRON_FLOPS));
  expect(gpus.dollars).toBeCloseTo((gpus.seconds / 3600) * 512 * 3.5, 3);
  expect(gpus.note).toContain('cannot be divided among 512 GPUs');
  expect(seconds).toBe(Math.round(gpus.seconds));
});

it('runs layers again where nothing else fits; counts the fewest GPUs that do, and says where two do not', () => {
  const eight = plan15B('h100x8').expected.cost!.gpus.fit;
  expect(eight).toMatchObject({
    recompute: 'selective',
    microBatch: 2,
    fits: true,
    largest: { kept: 0, selective: 2, full: 6 },
  });
  // (250.4e9 bytes of state) / (79.03e9 - 6.44e9 - 3.22e9) = 3.6.
  expect(eight.leastGpus).toBe(4);
  const two = plan15B('h100x2').expected.cost!.gpus.fit;
  expect(two).toMatchObject({ recompute: true, microBatch: 1, fits: false, leastGpus: 4 });
  const large = plan15B('mi300xx8').expected.cost!.gpus.fit;
  expect(large).toMatchObject({ recompute: false, microBatch: 2, fits: true });
});

it('takes the price given, of a GPU or of this machine', () => {
  const gpus = plan15B('h100x8', 2).expected.cost!.gpus;
  expect(gpus.dollars).toBeCloseTo((gpus.seconds / 3600) * 8 * 2, 6);
  expect(gpus.sources.at(-1)).toBe('price: as you gave it');
  const hardware = { tokensPerSecond: 5000, memoryBytes: 8 * 2 ** 30, source: 'measured' };
  const { cost, seconds } = makePlan({ ...inputs(), hardware, pricePerHour: 0.36 }).expected;
  expect(cost!.here).toEqual({ pricePerHour: 0.36, dollars: (seconds! / 3600) * 0.36 });
  expect(cost!.gpus).toMatchObject({ isAsked: false, gpu: 'H100 SXM', numGpus: 1, pricePerHour: 3.5 });
});

it('leaves GPUs idle that have no sequence in a step', () => {
  const plan = makePlan({ ...inputs([HANDBOOK, WEB]), on: parseCluster('l4x64') });
  expect(plan.sequencesPerStep).toBeLessThan(64);
  const { gpus } = plan.expected.cost!;
  expect(gpus.numBusy).toBe(plan.sequencesPerStep);
  expect(gpus.note).toContain('stand idle');
  expect(gpus.dollars).toBeCloseTo((gpus.seconds / 3600) * 64 * gpus.pricePerHour, 9);
});

it('counts measuring as a third of training', () => {
  const plan = makePlan(inputs());
  const heldOut = plan.corpora.reduce((sum, c) => sum + Math.min(c.heldOut.numTokens, plan.evaluation.tokensPerSet), 0);
  const numEvals = 1 + Math.ceil(plan.numSteps / plan.evaluation.everySteps);
  const { trainFlops, evalFlops } = plan.expected.cost!;
  expect(evalFlops / trainFlops).toBeCloseTo((numEvals * heldOut) / (3 * plan.totalTokens), 12);
});

it('knows a GPU by the name that its driver gives it', () => {
  const id = (name: string) => gpuOfDevice(name, 79 * 2 ** 30)?.id;
  expect(gpuOfDevice('NVIDIA H100 80GB HBM3', 79 * 2 ** 30)).toMatchObject({ id: 'h100', memoryBytes: 79 * 2 ** 30 });
  expect(['NVIDIA A100-SXM4-40GB', 'NVIDIA L40S', 'NVIDIA L4', 'Tesla T4', 'NVIDIA GeForce RTX 4090'].map(id)).toEqual([
    'a100-80',
    'l40s',
    'l4',
    't4',
    'rtx4090',
  ]);
  expect(['NVIDIA H100 NVL', 'NVIDIA GeForce RTX 4090 Laptop GPU', 'NVIDIA L40', 'NVIDIA A10'].map(id)).toEqual(
    Array(4).fill(undefined),
  );
});

it('reads GPUs and numbers of them', () => {
  expect(parseCluster('h100x8')).toMatchObject({ gpu: { id: 'h100' }, count: 8 });
  expect(parseCluster('8xH100')).toMatchObject({ gpu: { id: 'h100' }, count: 8 });
  expect(parseCluster('mi300x')).toMatchObject({ gpu: { id: 'mi300x' }, count: 1 });
  expect(parseCluster('mi300xx4')).toMatchObject({ gpu: { id: 'mi300x' }, count: 4 });
  expect(parseCluster('4090x2')).toMatchObject({ gpu: { id: 'rtx4090' }, count: 2 });
  expect(parseCluster('A100-40')).toMatchObject({ gpu: { id: 'a100-40' }, count: 1 });
  expect(() => parseCluster('h10x8')).toThrow('--on: no GPU "h10x8" is known. Is h100 meant?');
  expect(() => parseCluster('h100x0')).toThrow('expected at least one GPU');
});

it('has no GPU without a source, and dense peaks that grow with the price class', () => {
  for (const gpu of GPUS) {
    expect(gpu.source.length, gpu.id).toBeGreaterThan(10);
    // No machine balance is outside 100 to 600 operations a byte: a sparse peak or a unit's slip would be.
    const balance = gpu.peakFlops / gpu.bandwidth;
    expect(balance, gpu.id).toBeGreaterThan(70);
    expect(balance, gpu.id).toBeLessThan(450);
  }
});
