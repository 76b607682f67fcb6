// Shares decided while a run goes on, from what its engine measures: a killed run decides the same and ends in the same bits.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { openModel } from '../../src/checkpoint/index.ts';
import { byCorpus, GradientDots } from '../../src/engine/gradient-dots.ts';
import { superviseEngine, toBatch } from '../../src/engine/index.ts';
import { referenceKernels } from '../../src/kernels/index.ts';
import { loadDecoder, prepareTraining } from '../../src/nn/index.ts';
import { mixWhileTraining } from '../../src/pipeline/mixing.ts';
import type { Plan, PlanMixing } from '../../src/recipe/index.ts';
import { readRun } from '../../src/runs/index.ts';
import { openJob } from '../../src/shards/index.ts';
import {
  killEngines,
  makeRun,
  makeWorld,
  measured,
  readLines,
  SAME,
  sameState,
  startEngine,
  type World,
  writeTinyModel,
} from '../engine/fixtures.ts';

let world: World;
let reference: string;
beforeAll(async () => {
  world = await makeWorld('mixing');
  reference = await writeTinyModel(path.join(world.root, 'reference'), { num_hidden_layers: 1 });
});
afterEach(killEngines);
afterAll(() => fs.rmSync(world.root, { recursive: true, force: true }));

const EVERY = 6;

const planOf = (method: PlanMixing['method'], rate: number) =>
  ({
    mixing: {
      method,
      everySteps: EVERY,
      firstStep: EVERY,
      floor: 0.05,
      minReplay: 0,
      rate,
      targets: { domain: 0.1 },
      mostTokens: {},
    },
    corpora: (['domain', 'general'] as const).map((name) => ({ name, role: name })),
    tokensPerStep: 256,
  }) as unknown as Plan;

test.each([
  ['doge', 2e3],
  ['velocitune', 1],
  ['doremi', 5],
] as const)(
  '%s: killed between decisions and started again, the same shares and the same bits',
  async (method, rate) => {
    const plan = planOf(method, rate);
    const options = {
      ...{ numSteps: 20, numOrderedSteps: EVERY, precision: 'bf16' as const, checkpoint: { everySteps: 4, keep: 2 } },
      evaluation: { ...measured(world), everySteps: EVERY },
      ...(method === 'doge' && { gradientDots: { everySteps: EVERY } }),
      ...(method === 'doremi' && { selectTokens: { model: reference, keep: 1, cache: path.join(world.root, 'said') } }),
    };
    const [whole, killed] = [await makeRun(world, options), await makeRun(world, options)];
    const supervise = (run: string) =>
      superviseEngine({ jobFolder: path.join(run, 'job'), threads: 1, onOrderWanted: mixWhileTraining(run, plan) });
    expect((await supervise(whole)).status).toBe('finished');
    const first = startEngine(killed);
    await first.until((message) => message.type === 'orderWanted');
    await mixWhileTraining(killed, plan)!(EVERY);
    first.child.stdin.write('continue\n');
    await first.until((message) => message.type === 'step' && message.step === 10);
    first.child.kill('SIGKILL');
    await first.ended;
    expect((await supervise(killed)).status).toBe('finished');
    expect(sameState(killed, whole)).toEqual(SAME);
    const decided = [whole, killed].map((run) => fs.readFileSync(path.join(run, 'job', 'amendments.jsonl'), 'utf8'));
    expect(decided[1]).toBe(decided[0]);
    const blends = readLines(path.join(whole, 'job', 'amendments.jsonl')).map(({ state }) => state);
    expect(blends.length).toBe(3);
    // It did move.
    expect(JSON.stringify(blends[0])).not.toBe(JSON.stringify(blends[2]));
    const compared = readRun(whole).metrics.gradients;
    expect(compared.map(({ step }) => step)).toEqual(
      method === 'doge' ? [2, 3, 4, 5, 8, 9, 10, 11, 14, 15, 16, 17] : [],
    );
  },
);

describe('gradients by corpus', () => {
  test('their inner products are those of gradients had one by one', async () => {
    const run = await makeRun(world, { numSteps: 2 });
    const reader = openJob(path.join(run, 'job'));
    const decoder = loadDecoder(openModel(world.model), 'f32', referenceKernels);
    const parameters = decoder.trained();
    prepareTraining(parameters);
    const sequences = Array.from({ length: 4 }, (_, i) => reader.sequence(i));
    const numTargets = sequences.reduce((sum, { targets }) => sum + targets.filter((id) => id >= 0).length, 0);
    const dots = new GradientDots();
    const alone: Float64Array[] = [];
    const flat = () => Float64Array.from(parameters.flatMap(({ grad }) => [...grad!]));
    let before = flat();
    const groups = byCorpus(sequences, reader, 2);
    for (const { corpus, micros } of groups) {
      let own = 0;
      for (const micro of micros) {
        const batch = toBatch(micro);
        own += batch.targets.filter((id) => id >= 0).length;
        decoder.trainBatch(batch, new Float32Array(batch.inputs.length).fill(1 / numTargets));
      }
      dots.add(corpus, own / numTargets, parameters);
      const now = flat();
      alone.push(now.map((x, i) => ((x - before[i]!) * numTargets) / own));
      before = now;
    }
    const { corpora, dots: sketched } = dots.result(0);
    expect(corpora.sort()).toEqual(['domain', 'general']);
    const dot = (a: Float64Array, b: Float64Array) => a.reduce((sum, x, i) => sum + x * b[i]!, 0);
    const norm = (i: number) => Math.sqrt(dot(alone[i]!, alone[i]!));
    for (const i of [0, 1])
      for (const j of [0, 1]) {
        // Four standard deviations of a sketch of 65,536 places.
        const error = Math.abs(sketched[i]![j]! - dot(alone[i]!, alone[j]!));
        expect(error).toBeLessThan(4 * Math.sqrt(2 / 65_536) * norm(i) * norm(j));
      }
    // Clipped to norm 1, as the gradients that DoGE compares.
    const clipped = dots.result(1).dots;
    expect(clipped[0]![0]!).toBeLessThanOrEqual(1);
    reader.close();
  });
});
