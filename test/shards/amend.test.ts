// What is decided about a job while it runs: earlier steps stay, every corpus goes on where it stopped, and an edited history is refused.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  AmendedJob,
  compileJob,
  JobAmender,
  type JobOptions,
  openJob,
  readJob,
  readOrderFile,
  type Segment,
  ShardWriter,
} from '../../src/shards/index.ts';
import { makeFolder } from './fixtures.ts';

const START = 0;
let root: string;
let options: JobOptions;

/** Documents whose ids say where they are from. */
function shardOf(name: string, base: number, lengths: readonly number[]): string {
  const prefix = path.join(root, name);
  const writer = new ShardWriter(prefix, 70_000);
  let next = base;
  for (const length of lengths) writer.addDocument([START, ...Array.from({ length: length - 1 }, () => next++)]);
  writer.finish();
  fs.writeFileSync(`${prefix}.bytes`, Buffer.from(Uint32Array.from(lengths).buffer));
  return prefix;
}

const lengths = (n: number) => Array.from({ length: n }, (_, i) => 5 + ((i * 37) % 61));

beforeAll(() => {
  root = makeFolder('amend');
  shardOf('web', 1000, lengths(40));
  shardOf('docs', 9000, lengths(30));
  shardOf('rare', 20000, lengths(12));
  shardOf('held', 30000, [20, 5]);
});
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

const LONG = { seqLen: 32, sequencesPerStep: 2, sequencesPerMicroBatch: 1 };
let numJobs = 0;
beforeEach(() => {
  options = {
    folder: path.join(root, `job-${numJobs++}`),
    name: 'test',
    model: 'model',
    precision: 'bf16',
    seed: 3,
    batch: { seqLen: 16, sequencesPerStep: 4, sequencesPerMicroBatch: 2 },
    optimizer: { name: 'adamw', beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, clipNorm: 1 },
    numSteps: 40,
    phases: [
      { name: 'short', firstStep: 0, numSteps: 25, blend: { web: 0.5, docs: 0.5 } },
      { name: 'long', firstStep: 25, numSteps: 15, blend: { web: 0.25, docs: 0.75 }, batch: LONG },
    ],
    shards: ['web', 'docs', 'rare'].map((corpus) => ({ corpus, prefix: path.join(root, corpus) })),
    schedule: Float64Array.from({ length: 40 }, (_, i) => 1e-3 / (i + 1)),
    checkpoint: { everySteps: 5, keep: 2 },
    evaluation: { everySteps: 5, sets: [{ name: 'held', role: 'general', prefix: path.join(root, 'held') }] },
    sequencesPerFile: 16,
  };
});

const AMENDMENTS = 'amendments.jsonl';
const fileOf = (name = AMENDMENTS) => path.join(options.folder, name);

/** Segments by step, of the steps that have an order. */
function orderOf(folder: string): Segment[][] {
  const amended = new AmendedJob(folder, readJob(folder));
  const { layout } = amended;
  const steps: Segment[][] = [];
  for (let step = 0; step < 40 && amended.layerAt(step); step++) {
    const first = layout.firstSequence(step);
    const sequences = Array.from({ length: layout.atStep(step).batch.sequencesPerStep }, (_, i) => {
      const ref = amended.fileOf(first + i);
      return readOrderFile(path.join(folder, ref.file)).segments(first + i - ref.firstSequence);
    });
    steps.push(sequences.flat());
  }
  return steps;
}

const sharesOf = (steps: readonly Segment[][], shard: number) =>
  steps.flat().filter((segment) => segment.shard === shard).length;

/** Every pair of a corpus by (first token), in the order of reading. */
const pairsOf = (steps: readonly Segment[][], shard: number) =>
  steps.flat().flatMap((s) => (s.shard === shard ? Array.from({ length: s.length }, (_, i) => s.first + i) : []));

describe.each(['fill', 'best-fit', 'concatenate', 'seamless'] as const)('packing: %s', (packing) => {
  it('goes on where each corpus stopped, whether the writer was there before or begins anew', async () => {
    const whole = { ...options, packing, folder: `${options.folder}-whole` };
    await compileJob(whole);
    const reference = orderOf(whole.folder);
    const written: Buffer[][] = [];
    for (const anew of [false, true]) {
      const folder = `${options.folder}-${anew}`;
      await compileJob({ ...options, packing, folder, numOrderedSteps: 7 });
      let amender = new JobAmender(folder);
      for (const [fromStep, numSteps] of [
        [7, 8],
        [15, 16],
        [31, 9],
      ] as const) {
        if (anew) amender = new JobAmender(folder);
        const blend = fromStep < 25 ? { web: 0.5, docs: 0.5 } : { web: 0.25, docs: 0.75 };
        amender.amend({ fromStep, parts: [{ numSteps, blend }], reason: 'test' });
      }
      const steps = orderOf(folder);
      expect(steps.length).toBe(40);
      expect(steps.slice(0, 7)).toEqual(reference.slice(0, 7));
      // Sequences of one length come in the same order within a corpus, however corpora take turns.
      for (const shard of [0, 1]) {
        const [ours, compiled] = [steps, reference].map((order) => pairsOf(order.slice(0, 25), shard));
        const shared = Math.min(ours.length, compiled.length);
        expect(shared).toBeGreaterThan(600);
        expect(ours.slice(0, shared)).toEqual(compiled.slice(0, shared));
      }
      written.push(
        fs
          .readdirSync(folder)
          .filter((name) => name !== 'job.json')
          .sort()
          .map((name) => fs.readFileSync(path.join(folder, name))),
      );
    }
    expect(written[1]).toEqual(written[0]);
  });
});

describe('an amended job', () => {
  it('is read with the new blend and order from its step on, and earlier steps as they were', async () => {
    await compileJob(options);
    const before = orderOf(options.folder);
    const reader = openJob(options.folder);
    const lr = reader.lrAt(12);
    const { fingerprint } = reader.job;
    new JobAmender(options.folder).amend({
      fromStep: 10,
      parts: [{ numSteps: 30, blend: { web: 0.9, rare: 0.1 } }],
      lrFactor: 0.5,
      reason: 'general loss above its band',
    });
    expect(reader.blendAt(12)).toEqual({ web: 0.5, docs: 0.5 });
    reader.refresh();
    expect([9, 10, 39].map((step) => reader.blendAt(step))).toEqual([
      { web: 0.5, docs: 0.5 },
      { web: 0.9, rare: 0.1 },
      { web: 0.9, rare: 0.1 },
    ]);
    expect(reader.lrAt(9)).toBe(Math.fround(1e-4));
    expect(reader.lrAt(12)).toBe(lr / 2);
    expect(reader.amendmentsAt(10).map(({ reason }) => reason)).toEqual(['general loss above its band']);
    expect([reader.fingerprintAt(10), reader.fingerprintAt(11) === fingerprint]).toEqual([fingerprint, false]);
    const after = orderOf(options.folder);
    expect(after.slice(0, 10)).toEqual(before.slice(0, 10));
    expect(after.length).toBe(40);
    // 90 sequences from step 10 on, 9 of them of the rare corpus, to within one.
    expect(sharesOf(after.slice(10), 1)).toBe(0);
    const rare = after
      .slice(10)
      .flat()
      .filter(({ shard }) => shard === 2)
      .reduce((sum, { length }) => sum + length, 0);
    expect(Math.abs(rare / (60 * 16 + 30 * 32) - 0.1)).toBeLessThan(0.02);
    const sequence = reader.sequence(reader.stepAt(10).firstSequence);
    expect([0, 2]).toContain(sequence.shard[0]);
    reader.close();
  });

  it('gives a share of less than a sequence a chunk its due over many chunks', async () => {
    const phases = [{ name: 'all', firstStep: 0, numSteps: 40, blend: { web: 0.98, rare: 0.02 } }];
    await compileJob({ ...options, phases, numOrderedSteps: 4 });
    const amender = new JobAmender(options.folder);
    for (let step = 4; step < 40; step += 4)
      amender.amend({ fromStep: step, parts: [{ numSteps: 4, blend: { web: 0.98, rare: 0.02 } }], reason: 'chunk' });
    const steps = orderOf(options.folder);
    const sequences = steps.filter((step) => step.some(({ shard }) => shard === 2)).length;
    // 0.32 a chunk of 16 sequences, 3.2 in all.
    expect(sequences).toBe(3);
  });

  it('takes back what a later line decides again, and can leave out what was to come', async () => {
    await compileJob(options);
    const before = orderOf(options.folder);
    const amender = new JobAmender(options.folder);
    amender.amend({ fromStep: 20, parts: [{ numSteps: 20, blend: { docs: 1 } }], lrFactor: 0.1, reason: 'first' });
    const blend = { web: 0.5, docs: 0.5 };
    amender.amend({
      fromStep: 10,
      skipUntil: 14,
      parts: [
        { numSteps: 15, blend },
        { numSteps: 5, blend: { docs: 1 } },
      ],
      reason: 'rolled back',
    });
    const after = orderOf(options.folder);
    expect(after.length).toBe(30);
    for (const shard of [0, 1]) {
      const left = [...pairsOf(before.slice(0, 10), shard), ...pairsOf(before.slice(14, 24), shard)];
      expect(pairsOf(after.slice(0, 20), shard).slice(0, left.length - 64)).toEqual(left.slice(0, left.length - 64));
    }
    // The LR of the decision that was not taken back still holds; the order from its step on does not.
    const { view } = amender;
    expect([view.lrFactorAt(19), view.lrFactorAt(20), view.layerAt(29)?.fromStep, view.layerAt(30)]).toEqual([
      1,
      0.1,
      10,
      undefined,
    ]);
    // The history is replayed with what was left out.
    const continued = new JobAmender(options.folder).amend({
      fromStep: 30,
      parts: [{ numSteps: 10, blend: { web: 1 } }],
      reason: 'end',
    });
    expect(orderOf(options.folder).length).toBe(40);
    expect(continued.order?.files).toEqual([
      { file: expect.stringMatching(/^order-\d{5}\.bin$/), firstSequence: 110, numSequences: 20 },
    ]);
  });

  it('says what does not fit', async () => {
    await compileJob({ ...options, numOrderedSteps: 10 });
    const amender = new JobAmender(options.folder);
    const amend = (fromStep: number, numSteps: number, blend: Record<string, number>, skipUntil?: number) => () =>
      amender.amend({ fromStep, parts: [{ numSteps, blend }], skipUntil, reason: 'test' });
    expect(amend(40, 1, { web: 1 })).toThrow('the job has steps 0 to 39');
    expect(amend(10, 31, { web: 1 })).toThrow('the job ends with step 39');
    expect(amend(10, 5, { web: 0.5 })).toThrow('sum to 0.5, expected 1');
    expect(amend(10, 5, { wbe: 1 })).toThrow('Did you mean "web"?');
    expect(amend(5, 5, { web: 1 }, 12)).toThrow('their order is not decided yet');
    expect(amend(12, 5, { web: 1 })).toThrow('the steps before it have no order yet');
    expect(fs.existsSync(fileOf())).toBe(false);
  });
});

describe('a history of decisions', () => {
  const blend = { web: 1 };
  beforeEach(async () => {
    await compileJob({ ...options, numOrderedSteps: 4 });
    const amender = new JobAmender(options.folder);
    for (const fromStep of [4, 8, 12]) amender.amend({ fromStep, parts: [{ numSteps: 4, blend }], reason: 'chunk' });
  });

  it('is refused when a line was edited or removed, or an order file was', () => {
    const good = fs.readFileSync(fileOf(), 'utf8');
    const lines = good.split('\n');
    fs.writeFileSync(fileOf(), good.replace('"fromStep":8', '"fromStep":9'));
    expect(() => openJob(options.folder)).toThrow(/amendments\.jsonl.*line 2 was edited/s);
    fs.writeFileSync(fileOf(), [lines[0], lines[2], ''].join('\n'));
    expect(() => openJob(options.folder)).toThrow(/line 2 follows .* a line was removed/);
    fs.writeFileSync(fileOf(), good);
    const file = readdirOrders().at(-1)!;
    fs.appendFileSync(fileOf(file), 'x');
    expect(() => openJob(options.folder)).toThrow(`${file}: was edited or is damaged`);
  });

  it('goes on after a line that a crash tore', () => {
    const good = fs.readFileSync(fileOf());
    fs.writeFileSync(fileOf(), good.subarray(0, good.length - 20));
    const amender = new JobAmender(options.folder);
    expect(amender.view.layerAt(12)).toBeUndefined();
    amender.amend({ fromStep: 12, parts: [{ numSteps: 4, blend }], reason: 'chunk' });
    expect(fs.readFileSync(fileOf())).toEqual(good);
  });

  const readdirOrders = () =>
    fs
      .readdirSync(options.folder)
      .filter((name) => name.startsWith('order-'))
      .sort();
});
