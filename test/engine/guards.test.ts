// Runs with distillation and with chosen tokens: they do what is said of them, resume to the same bits, and keep what frozen models say.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openModel } from '../../src/checkpoint/index.ts';
import { toBatch } from '../../src/engine/index.ts';
import { highest, TokenSelection } from '../../src/engine/token-selection.ts';
import { referenceKernels } from '../../src/kernels/index.ts';
import { loadDecoder } from '../../src/nn/index.ts';
import { type JobOptions, openJob } from '../../src/shards/index.ts';
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
  writeTinyModel,
} from './fixtures.ts';

let world: World;

beforeAll(async () => {
  world = await makeWorld('guards');
});

afterAll(() => {
  killEngines();
  fs.rmSync(world.root, { recursive: true, force: true });
});

const SHORT = { numSteps: 12, checkpoint: { everySteps: 3, keep: 2 } };
const distill = (top?: { k: number; cache: string }, weight = 50): Partial<JobOptions> => ({
  ...SHORT,
  guard: { distill: { corpora: ['general'], weight, temperature: 2, ...(top && { top }) } },
});

const metrics = (run: string) =>
  readLines(path.join(run, 'metrics.jsonl')) as {
    loss: number;
    distillKl?: number;
    selected?: { loss: number; excess: number };
  }[];
const generalLoss = (run: string) => {
  const read = (step: number) =>
    JSON.parse(fs.readFileSync(path.join(run, 'evals', `step-${String(step).padStart(8, '0')}.json`), 'utf8'));
  return read(12).sets.general.lossNats - read(0).sets.general.lossNats;
};

/** Stopped after a step, then killed after another, then left to end. */
async function interrupted(run: string): Promise<void> {
  for (const [step, signal] of [
    [2, 'SIGTERM'],
    [7, 'SIGKILL'],
  ] as const) {
    const engine = startEngine(run, { threads: 2 });
    await engine.until((message) => message.type === 'step' && message.step === step);
    engine.child.kill(signal);
    await engine.ended;
  }
  expect((await runEngine(run, { threads: 2 })).code).toBe(0);
}

describe('distillation from the model as it came', () => {
  /** A run by all logits. */
  let full = '';

  test('holds the model near to it, and resumes to the same bits', async () => {
    const [plain, held, resumed] = await Promise.all([
      makeRun(world, SHORT),
      makeRun(world, distill()),
      makeRun(world, distill()),
    ]);
    for (const run of [plain, held]) expect((await runEngine(run)).code).toBe(0);
    const divergences = metrics(held).map(({ distillKl }) => distillKl!);
    // At the start it is itself; then it is drawn away and held.
    expect(Math.abs(divergences[0]!)).toBeLessThan(1e-6);
    expect(divergences.at(-1)!).toBeGreaterThan(1e-5);
    expect(metrics(plain)[0]!.distillKl).toBeUndefined();
    expect(metrics(held)[0]!.loss).toBe(metrics(plain)[0]!.loss);
    // A random model's general text is not worth keeping: held to it, it learns less of it.
    expect(Math.abs(generalLoss(held))).toBeLessThan(0.7 * Math.abs(generalLoss(plain)));
    await interrupted(resumed);
    expect(sameState(held, resumed)).toEqual(SAME);
    full = held;
  });

  test('the likeliest tokens from disk: near to all logits, the same bits whether computed or read', async () => {
    const cache = path.join(world.root, 'said');
    const [first, second] = await Promise.all([
      makeRun(world, distill({ k: 128, cache })),
      makeRun(world, distill({ k: 128, cache })),
    ]);
    expect((await runEngine(first)).code).toBe(0);
    const folder = path.join(cache, fs.readdirSync(cache)[0]!);
    const written = fs.readdirSync(folder);
    expect(written).toHaveLength(1);
    // A damaged record is computed again, into a file of the next process.
    const file = path.join(folder, written[0]!);
    const bytes = fs.readFileSync(file);
    bytes[40]! ^= 1;
    fs.writeFileSync(file, bytes.subarray(0, bytes.length - 5));
    await interrupted(second);
    expect(sameState(first, second)).toEqual(SAME);
    const all = fs.readdirSync(folder).map((name) => fs.statSync(path.join(folder, name)).size);
    const record = 24 + 64 * (128 * 2 + 129 * 2);
    // Two records: the damaged one and the torn one.
    expect(all.reduce((sum, size) => sum + size, 0)).toBe(bytes.length - 5 + 2 * record);
    const [few, most] = [first, full].map((run) => metrics(run).at(-1)!.distillKl!);
    expect(few! / most!).toBeGreaterThan(0.5);
    expect(few! / most!).toBeLessThan(1.1);
  });

  test('beside adapters the frozen weights are the teacher', async () => {
    const lora = { rank: 4, alpha: 8, rsLora: false, embeddings: true };
    const run = await makeRun(world, { ...distill(), numSteps: 4, lora });
    expect((await runEngine(run)).code).toBe(0);
    const divergences = metrics(run).map(({ distillKl }) => distillKl!);
    expect(Math.abs(divergences[0]!)).toBeLessThan(1e-6);
    expect(divergences.at(-1)!).toBeGreaterThan(1e-7);
  });
});

describe('chosen tokens', () => {
  const chosen = (model: string, keep = 0.5): Partial<JobOptions> => ({
    ...SHORT,
    selectTokens: { model, keep, cache: path.join(world.root, `losses-${path.basename(model)}`) },
  });

  test('of each pass those with the highest excess loss bear loss; resumes to the same bits', async () => {
    const [once, resumed] = await Promise.all([
      makeRun(world, chosen(world.model)),
      makeRun(world, chosen(world.model)),
    ]);
    expect((await runEngine(once)).code).toBe(0);
    const lines = metrics(once);
    // At the first step the model is its reference: nothing exceeds, and loss is taken as it comes.
    expect(lines[0]!.selected!.excess).toBe(0);
    // Later, what is kept exceeds the reference by more than the mean token does, which is learned.
    expect(lines.at(-1)!.selected!.excess).toBeGreaterThan(-1);
    await interrupted(resumed);
    expect(sameState(once, resumed)).toEqual(SAME);
  });

  test('all kept is plain training, bit for bit', async () => {
    const [all, plain] = await Promise.all([makeRun(world, chosen(world.model, 1)), makeRun(world, SHORT)]);
    for (const run of [all, plain]) expect((await runEngine(run)).code).toBe(0);
    expect(sameState(all, plain)).toEqual(SAME);
  });

  test('what a corpus exceeds the reference by counts token by token, and nothing below it', async () => {
    const reference = await writeTinyModel(path.join(world.root, 'shallow'), { num_hidden_layers: 1 });
    const run = await makeRun(world, chosen(reference));
    const reader = openJob(path.join(run, 'job'));
    const { job } = reader;
    const sequences = Array.from({ length: 4 }, (_, i) => reader.sequence(i));
    const batch = toBatch(sequences);
    const load = (folder: string) => loadDecoder(openModel(folder), 'f32', referenceKernels);
    const [model, other] = [load(world.model), load(reference)];
    const [losses, known] = [model.scoreBatch(batch), other.scoreBatch(batch)];
    const selection = new TokenSelection(job.selectTokens!, job, model);
    selection.chooser(batch, sequences, new Float32Array(losses.length), 1)(losses);
    const { excessByCorpus } = selection.takeMeans();
    expect(Object.keys(excessByCorpus).sort()).toEqual(['domain', 'general']);
    for (const [corpus, excess] of Object.entries(excessByCorpus)) {
      const rows = [...losses.keys()].filter((row) => {
        const { shard, targets } = sequences[Math.floor(row / 64)]!;
        return targets[row % 64]! >= 0 && job.shards[shard[row % 64]!]!.corpus === corpus;
      });
      const differences = rows.map((row) => losses[row]! - known[row]!);
      expect(Math.min(...differences)).toBeLessThan(0);
      const expected = differences.reduce((sum, x) => sum + Math.max(0, x), 0) / rows.length;
      // Sequences are scored by themselves there, all at once here: f32 sums of another order.
      expect(excess).toBeCloseTo(expected, 5);
    }
    expect(selection.takeMeans().excessByCorpus).toEqual({});
    reader.close();
  });

  test('a reference of another vocabulary is refused', async () => {
    const other = await writeTinyModel(path.join(world.root, 'other'), { vocab_size: 300 });
    const run = await makeRun(world, chosen(other));
    const { code, messages } = await runEngine(run);
    expect(code).toBe(4);
    expect(messages.at(-1)).toMatchObject({
      type: 'fatal',
      message: expect.stringContaining('has a vocabulary of 300, the model one of 257'),
    });
  });

  test('highest: so many rows, of equal values the first, in order', () => {
    expect(highest([0, 2, 3, 5, 6], [1, 9, 4, 4, 0, 4, 7], 3)).toEqual([2, 3, 6]);
    expect(highest([4], [0, 0, 0, 0, 1], 0)).toEqual([]);
  });
});
