// The law of resume: whatever stops a run, however often, started again it ends with the same bits as a run that nothing stopped; and
// the number of threads changes none of them.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Rng } from '../../src/base/rng.ts';
import { openModel, writeSafetensors } from '../../src/checkpoint/index.ts';
import { restoreCheckpoint, saveCheckpoint } from '../../src/engine/checkpoints.ts';
import { listCheckpoints, superviseEngine } from '../../src/engine/index.ts';
import { referenceKernels } from '../../src/kernels/index.ts';
import {
  adamwStep,
  FisherSum,
  gradNorm,
  loadDecoder,
  prepareEma,
  prepareTraining,
  updateEma,
} from '../../src/nn/index.ts';
import type { JobPhase } from '../../src/shards/index.ts';
import { makeBatch, uniformWeights } from '../nn/fixtures.ts';
import {
  killEngines,
  makeRun,
  makeWorld,
  readLines,
  runEngine,
  SAME,
  sameState,
  startEngine,
  type World,
} from './fixtures.ts';

let world: World;
beforeAll(async () => {
  world = await makeWorld('resume');
});
afterEach(killEngines);
afterAll(() => fs.rmSync(world.root, { recursive: true, force: true }));

const NUM_KILLS = 10;

describe.each(['f32', 'bf16'] as const)('%s, adapters only', (precision) => {
  test('killed after a checkpoint: the same bits, and a folder for PEFT', async () => {
    const isF32 = precision === 'f32';
    const lora = { rank: 4, alpha: 8, rsLora: false, dora: !isF32, embeddings: isF32, lrFactor: 2 };
    const options = {
      precision,
      numSteps: 20,
      checkpoint: { everySteps: 5, keep: 2 },
      lora,
      ema: 0.9,
      lr: 1e-2,
    };
    const [whole, killed] = [await makeRun(world, options), await makeRun(world, options)];
    expect((await runEngine(whole)).code).toBe(0);
    const engine = startEngine(killed, { threads: 2 });
    await engine.until((message) => message.type === 'checkpoint' && message.step === 10);
    engine.child.kill('SIGKILL');
    await engine.ended;
    expect((await runEngine(killed)).code).toBe(0);
    expect(sameState(killed, whole)).toEqual(SAME);
    const { folder } = listCheckpoints(whole).at(-1)!;
    expect(fs.readdirSync(path.join(folder, 'adapter')).sort()).toEqual([
      'adapter_config.json',
      'adapter_model.safetensors',
    ]);
  });
});

test.each(['f32', 'bf16'] as const)(
  '%s, held by a Fisher and toward the base: killed, the same bits',
  async (precision) => {
    const source = openModel(world.model);
    const sum = new FisherSum(loadDecoder(source, precision, referenceKernels));
    source.close();
    sum.add([makeBatch([[16]], 16)]);
    const fisher = path.join(world.root, `fisher-${precision}.safetensors`);
    writeSafetensors(fisher, sum.tensors());
    const guard = { ewc: { strength: 20, fisher }, l2: { toward: 'base', strength: 0.1 } } as const;
    const options = { precision, numSteps: 12, checkpoint: { everySteps: 4, keep: 2 }, guard, lr: 1e-2 };
    const [whole, killed] = [await makeRun(world, options), await makeRun(world, options)];
    expect((await runEngine(whole)).code).toBe(0);
    const engine = startEngine(killed, { threads: 2 });
    await engine.until((message) => message.type === 'checkpoint' && message.step === 8);
    engine.child.kill('SIGKILL');
    await engine.ended;
    expect((await runEngine(killed)).code).toBe(0);
    expect(sameState(killed, whole)).toEqual(SAME);
    const penalties = readLines(path.join(whole, 'metrics.jsonl')).map(({ penalty }) => penalty as number);
    // The tiny model is stored as f32: its bf16 anchors are rounded.
    expect(penalties[0]).toBeLessThan(precision === 'f32' ? 1e-12 : 1e-3);
    expect(penalties.at(-1)).toBeGreaterThan(0.01);
  },
);

test('a Fisher that was changed after the job was compiled is refused by the name of its file', async () => {
  const source = openModel(world.model);
  const sum = new FisherSum(loadDecoder(source, 'f32', referenceKernels));
  source.close();
  sum.add([makeBatch([[16]], 16)]);
  const fisher = path.join(world.root, 'fisher.safetensors');
  writeSafetensors(fisher, sum.tensors());
  const run = await makeRun(world, { numSteps: 4, guard: { ewc: { strength: 1, fisher } } });
  const file = path.join(run, 'job', 'fisher.safetensors');
  const bytes = fs.readFileSync(file);
  bytes[bytes.length - 1]! ^= 1;
  fs.writeFileSync(file, bytes);
  const { messages } = await runEngine(run);
  expect(messages.at(-1)).toMatchObject({ type: 'fatal', kind: 'DataError' });
  expect((messages.at(-1) as { message: string }).message).toMatch(/fisher\.safetensors: was edited or is damaged/);
});

test.each(['f32', 'bf16'] as const)(
  '%s, the lower half and all queries frozen: killed, the same bits',
  async (precision) => {
    const freeze = ['model.embed_tokens', 'model.layers.0', '*.q_proj'];
    const options = { precision, numSteps: 12, checkpoint: { everySteps: 4, keep: 2 }, freeze, lr: 1e-2 };
    const [whole, killed] = [await makeRun(world, options), await makeRun(world, options)];
    expect((await runEngine(whole)).code).toBe(0);
    const engine = startEngine(killed, { threads: 2 });
    await engine.until((message) => message.type === 'checkpoint' && message.step === 4);
    engine.child.kill('SIGKILL');
    await engine.ended;
    expect((await runEngine(killed)).code).toBe(0);
    expect(sameState(killed, whole)).toEqual(SAME);
    const [before, after] = [openModel(world.model), openModel(listCheckpoints(whole).at(-1)!.folder)];
    const read = (source: typeof before, name: string) =>
      precision === 'f32' ? source.readF32(name) : source.readBf16(name);
    const isFrozen = (name: string) => /embed_tokens|layers\.0\.|q_proj/.test(name);
    for (const name of before.tensors.keys())
      if (isFrozen(name)) expect(read(after, name), name).toEqual(read(before, name));
      else if (!name.includes('norm')) expect(read(after, name), name).not.toEqual(read(before, name));
    for (const source of [before, after]) source.close();
  },
);

test('sequences of another length from a step on: killed on either side of it, the same bits', async () => {
  const phases: JobPhase[] = [
    { name: 'short', firstStep: 0, numSteps: 10, blend: { domain: 1 } },
    {
      name: 'long',
      firstStep: 10,
      numSteps: 10,
      blend: { domain: 0.5, general: 0.5 },
      batch: { seqLen: 128, sequencesPerStep: 2, sequencesPerMicroBatch: 1 },
    },
  ];
  const options = { precision: 'bf16' as const, numSteps: 20, phases, checkpoint: { everySteps: 4, keep: 2 } };
  const [whole, killed] = [await makeRun(world, options), await makeRun(world, options)];
  expect((await runEngine(whole)).code).toBe(0);
  for (const step of [8, 12]) {
    const engine = startEngine(killed, { threads: 2 });
    await engine.until((message) => message.type === 'checkpoint' && message.step === step);
    engine.child.kill('SIGKILL');
    await engine.ended;
  }
  expect((await runEngine(killed)).code).toBe(0);
  expect(sameState(killed, whole)).toEqual(SAME);
  const metrics = readLines(path.join(whole, 'metrics.jsonl'));
  expect(metrics.map(({ tokens }) => tokens)).toEqual(metrics.map((_, i) => 256 * (i + 1)));
});

describe.each(['f32', 'bf16'] as const)('%s', (precision) => {
  // The average of the weights is a part of the state.
  const options = { precision, numSteps: 60, checkpoint: { everySteps: 3, keep: 2 }, ema: 0.95 };
  let uninterrupted: string;
  beforeAll(async () => {
    uninterrupted = await makeRun(world, options);
    expect((await runEngine(uninterrupted)).code).toBe(0);
  });

  test('two threads give the bits of one', async () => {
    const run = await makeRun(world, options);
    expect((await runEngine(run, { threads: 2 })).code).toBe(0);
    expect(sameState(run, uninterrupted)).toEqual(SAME);
  });

  test('layers run again give the bits of kept ones, and a run may change from one to the other', async () => {
    const run = await makeRun(world, options);
    let interrupted = false;
    const supervise = (recompute: boolean) =>
      superviseEngine({
        jobFolder: path.join(run, 'job'),
        threads: 1,
        recompute,
        onMessage: (message) => {
          if (interrupted || message.type !== 'step' || message.step < 20) return;
          interrupted = true;
          process.emit('SIGINT', 'SIGINT');
        },
      });
    expect((await supervise(true)).status).toBe('stopped');
    const activations = () => readLines(path.join(run, 'events.jsonl')).at(-1)!.activationBytes as number;
    const recomputed = activations();
    expect((await supervise(false)).status).toBe('finished');
    expect(recomputed).toBeLessThan(activations());
    expect(sameState(run, uninterrupted)).toEqual(SAME);
  });

  test(`killed ${NUM_KILLS} times at random moments, with other numbers of threads`, async () => {
    const run = await makeRun(world, options);
    const rng = new Rng(11, precision);
    const resumedAt = new Set<number>();
    let numKills = 0;
    while (numKills < NUM_KILLS) {
      const engine = startEngine(run, { threads: 1 + (numKills % 2) });
      // Now and then while it loads; most often some steps on, that is during a step, a checkpoint or a measurement.
      const numMoreSteps = rng.below(5) === 0 ? 0 : 2 + rng.below(6);
      await engine.until(({ type }) => type === 'hello');
      if (numMoreSteps > 0) {
        const begun = await engine.until(({ type }) => type === 'start' || type === 'resume');
        const first = 'step' in begun ? begun.step : 0;
        resumedAt.add(first);
        const goal = Math.min(first + numMoreSteps, options.numSteps) - 1;
        await engine.until((message) => message.type === 'step' && message.step >= goal);
      }
      await new Promise((resolve) => setTimeout(resolve, rng.below(8)));
      engine.child.kill('SIGKILL');
      const { signal } = await engine.ended;
      if (signal !== 'SIGKILL') break;
      numKills++;
    }
    expect(numKills).toBeGreaterThanOrEqual(NUM_KILLS / 2);
    expect(resumedAt.size, 'it went on from checkpoints of its own').toBeGreaterThan(2);
    const last = await runEngine(run, { threads: 2 });
    expect(last.code).toBe(0);
    expect(sameState(run, uninterrupted)).toEqual(SAME);
    const losses = (folder: string) => {
      const byStep = new Map<unknown, unknown>();
      for (const line of fs.readFileSync(path.join(folder, 'metrics.jsonl'), 'utf8').split('\n')) {
        if (!line.endsWith('}')) continue;
        const { step, loss } = JSON.parse(line) as Record<string, unknown>;
        byStep.set(step, loss);
      }
      return byStep;
    };
    expect(losses(run)).toEqual(losses(uninterrupted));
    for (const name of fs.readdirSync(path.join(uninterrupted, 'evals'))) {
      const sets = (folder: string) =>
        (JSON.parse(fs.readFileSync(path.join(folder, 'evals', name), 'utf8')) as { sets: unknown }).sets;
      expect(sets(run)).toEqual(sets(uninterrupted));
    }
  }, 120_000);

  test('a checkpoint holds all that the decoder is: weights, their lower halves, moments, average', async () => {
    const source = openModel(world.model);
    const load = () => {
      const decoder = loadDecoder(source, precision, referenceKernels);
      prepareTraining(decoder.list());
      prepareEma(decoder.list(), referenceKernels);
      return decoder;
    };
    const [decoder, restored] = [load(), load()];
    const batch = makeBatch([[16]], 16);
    const settings = { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, clipNorm: 1 };
    for (const step of [1, 2, 3]) {
      decoder.trainBatch(batch, uniformWeights(batch));
      const norm = gradNorm(decoder.list(), referenceKernels);
      adamwStep(decoder.list(), referenceKernels, settings, 1e-4, step, norm);
      updateEma(decoder.list(), referenceKernels, 0.9);
    }
    const context = {
      runFolder: path.join(world.root, `save-${precision}`),
      jobFingerprint: 'f',
      record: {},
      keep: 1,
      always: () => [],
    };
    const folder = await saveCheckpoint(context, decoder, source, 3, 48);
    expect(restoreCheckpoint(folder, 'f', restored)).toEqual({ step: 3, tokens: 48, kernels: 'reference' });
    for (const [i, { data, low, m, v, ema, parts }] of decoder.list().entries()) {
      const twin = restored.list()[i]!;
      const held = { data: twin.data, low: twin.low, m: twin.m, v: twin.v, ema: twin.ema };
      expect(held, parts[0]!.name).toEqual({ data, low, m, v, ema });
      if (precision === 'bf16') expect(low!.some((bits) => bits !== 0)).toBe(true);
    }
    source.close();
  });
});

test('a checkpoint of one precision is not resumed in the other', async () => {
  const source = openModel(world.model);
  const [f32, bf16] = (['f32', 'bf16'] as const).map((precision) => {
    const decoder = loadDecoder(source, precision, referenceKernels);
    prepareTraining(decoder.list());
    return decoder;
  });
  const context = {
    runFolder: path.join(world.root, 'precision'),
    jobFingerprint: 'f',
    record: {},
    keep: 1,
    always: () => [],
  };
  const folder = await saveCheckpoint(context, f32!, source, 1, 1);
  expect(() => restoreCheckpoint(folder, 'f', bf16!)).toThrow(/precision: expected bf16, found f32/);
  source.close();
});

describe('signals', () => {
  test('SIGINT: a checkpoint of the step at hand, exit 130; started again it ends with the same bits', async () => {
    const options = { numSteps: 60, checkpoint: { everySteps: 50, keep: 2 } };
    const [run, uninterrupted] = [await makeRun(world, options), await makeRun(world, options)];
    const engine = startEngine(run);
    await engine.until((message) => message.type === 'step' && message.step === 5);
    engine.child.kill('SIGINT');
    const { code, messages } = await engine.ended;
    expect(code).toBe(130);
    const stopped = messages.at(-1) as { type: string; step: number };
    expect(stopped.type).toBe('stopped');
    expect(stopped.step).toBeGreaterThan(5);
    expect(listCheckpoints(run).map(({ step }) => step)).toEqual([stopped.step]);
    expect(readLines(path.join(run, 'events.jsonl')).at(-1)).toMatchObject({ type: 'stop', step: stopped.step });
    const again = await runEngine(run);
    expect(again.messages[1]).toEqual({ type: 'resume', step: stopped.step, numSteps: 60 });
    expect(again.code).toBe(0);
    await runEngine(uninterrupted);
    expect(sameState(run, uninterrupted)).toEqual(SAME);
  });

  test('SIGTERM during the first measurement: stops before training, and measures again next time', async () => {
    const run = await makeRun(world, {
      numSteps: 5,
      batch: { seqLen: 8, sequencesPerStep: 1, sequencesPerMicroBatch: 1 },
    });
    const engine = startEngine(run);
    await engine.until(({ type }) => type === 'evalProgress');
    engine.child.kill('SIGTERM');
    const { code, messages } = await engine.ended;
    expect(code).toBe(130);
    expect(messages.at(-1)).toEqual({ type: 'stopped', step: 0 });
    expect(messages.some(({ type }) => type === 'eval' || type === 'step')).toBe(false);
    expect(fs.existsSync(path.join(run, 'checkpoints'))).toBe(false);
    const again = await runEngine(run);
    expect(again.messages.filter(({ type }) => type === 'eval')).toHaveLength(2);
    expect(again.code).toBe(0);
  });

  test('the second SIGINT stops at once', async () => {
    const run = await makeRun(world, { numSteps: 4000 });
    const engine = startEngine(run);
    await engine.until((message) => message.type === 'step' && message.step === 7);
    engine.child.kill('SIGINT');
    engine.child.kill('SIGINT');
    expect((await engine.ended).code).toBe(130);
    const again = startEngine(run);
    expect(await again.until(({ type }) => type === 'resume')).toMatchObject({ type: 'resume' });
  });

  test('it leaves when its parent closes the line, and the lock goes with it', async () => {
    const run = await makeRun(world, { numSteps: 4000 });
    const engine = startEngine(run);
    await engine.until(({ type }) => type === 'step');
    engine.child.stdin.end();
    expect((await engine.ended).code).toBe(130);
    expect(fs.existsSync(path.join(run, 'engine.lock'))).toBe(false);
  });
});
