// Folders of the frameworks that train by transformers' Trainer: that rows hold exactly a job's targets, what is written, what is refused.
// TRL trains from such a folder in test/python/test_export.py; what was checked of the others is in docs/exporting.md, with versions.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { nearestSchedule } from '../../src/export/hf-schedule.ts';
import { exportJob, type Framework } from '../../src/export/index.ts';
import { FlatRow, flatLength, joinedInputs, joinedLabels, joinedLengths } from '../../src/export/packed.ts';
import { passTokens, rowsOf, rowsPerStep, rowTokens } from '../../src/export/rows.ts';
import { lrCurve, type Plan, type Schedule } from '../../src/recipe/index.ts';
import { type Job, type JobOptions, type JobReader, openJob, type Sequence } from '../../src/shards/index.ts';
import { makeRun, makeWorld, OPTIMIZER, type World } from '../engine/fixtures.ts';

let world: World;

beforeAll(async () => {
  world = await makeWorld('export-transformers');
});
afterAll(() => fs.rmSync(world.root, { recursive: true, force: true }));

const SCHEDULE: Schedule = { kind: 'cosine', numSteps: 40, peakLr: 3e-3, warmupSteps: 4, floorLr: 3e-5 };
const PLAN = {
  name: 'tiny',
  presetTitle: 'test',
  tokensPerStep: 256,
  totalTokens: 40 * 256,
  model: { family: 'llama', context: 128 },
  schedule: SCHEDULE,
  optimizer: { ...OPTIMIZER, embeddingLrFactor: 0.5 },
  evaluation: { everySteps: 20 },
  checkpoint: { everySteps: 5, keep: 2 },
} as unknown as Plan;

const JOB: Partial<JobOptions> = {
  schedule: lrCurve(SCHEDULE),
  optimizer: { ...OPTIMIZER, embeddingLrFactor: 0.5 },
  precision: 'bf16',
  phases: [
    { name: 'first', firstStep: 0, numSteps: 20, blend: { domain: 0.5, general: 0.5 } },
    {
      name: 'second',
      firstStep: 20,
      numSteps: 20,
      blend: { domain: 0.8, general: 0.2 },
      batch: { seqLen: 32, sequencesPerStep: 8, sequencesPerMicroBatch: 4 },
    },
  ],
};

async function write(
  framework: Framework,
  plan: Partial<Plan> = {},
  { model = world.model, ...changes }: Partial<JobOptions> = {},
) {
  const run = await makeRun(world, { ...JOB, ...changes });
  const job = openJob(path.join(run, 'job'));
  const folder = path.join(run, 'exported');
  const again = () =>
    exportJob(framework, {
      plan: { ...PLAN, ...plan },
      job,
      model,
      config: '/the run/continuo.yaml',
      folder,
      quiet: true,
    });
  const exported = await again().finally(() => framework === 'trl' || job.close());
  const read = (name: string) =>
    fs.readFileSync(path.join(folder, name), 'utf8').replaceAll(world.root, '/root').replaceAll(run, '/run');
  return { folder, exported, read, again };
}

/** Two sequences of 8 tokens a step, one step: masks in the midst and at the end of documents, padding at the end. */
function masked(): JobReader {
  const sequence = (inputs: number[], targets: number[], starts: number[], numRead: number): Sequence => ({
    inputs: Int32Array.from(inputs),
    targets: Int32Array.from(targets),
    docStart: Int32Array.from(starts),
    shard: Int32Array.from(inputs, (_, i) => (i < numRead ? 0 : -1)),
  });
  const sequences = [
    sequence([1, 2, 3, 4, 5, 6, 7, 8], [2, -1, 9, 5, 6, 7, 8, -1], [0, 0, 0, 3, 3, 3, 3, 3], 8),
    sequence([11, 12, 13, 0, 0, 0, 0, 0], [-1, 13, 14, -1, -1, -1, -1, -1], [0, 0, 0, 3, 3, 3, 3, 3], 3),
  ];
  const batch = { seqLen: 8, sequencesPerStep: 2, sequencesPerMicroBatch: 2 };
  return {
    job: { numSteps: 1, batch, phases: [{ name: 'all', firstStep: 0, numSteps: 1, blend: {} }] } as unknown as Job,
    stepAt: () => ({ ...batch, firstSequence: 0 }),
    sequence: (i: number) => sequences[i]!,
  } as unknown as JobReader;
}

/** What the model reads and predicts, place by place: [token, its position, target], and where a target is. */
function predictions(ids: ArrayLike<number>, labels: ArrayLike<number>, positions: ArrayLike<number>): number[][] {
  return Array.from({ length: ids.length - 1 }, (_, i) => [ids[i]!, positions[i]!, labels[i + 1]!]).filter(
    ([, , label]) => label !== -100,
  );
}

function wanted(reader: JobReader, step: number): number[][] {
  const { firstSequence, sequencesPerStep } = reader.stepAt(step);
  return Array.from({ length: sequencesPerStep }, (_, i) => reader.sequence(firstSequence + i)).flatMap(
    ({ inputs, targets, docStart }) =>
      Array.from(inputs, (token, i) => [token, i - docStart[i]!, targets[i]!]).filter(([, , target]) => target! >= 0),
  );
}

describe('rows', () => {
  it('are as long as the longest sequence and as many in every step', async () => {
    const job = openJob(path.join(await makeRun(world, JOB), 'job'));
    expect([rowTokens(job), rowsPerStep(job)]).toEqual([64, 4]);
    // Two at once would leave less than a row for each of 8 devices.
    expect(passTokens(job)).toBe(64);
    job.close();
    const batch = { seqLen: 64, sequencesPerStep: 64, sequencesPerMicroBatch: 16 };
    const many = openJob(path.join(await makeRun(world, { batch, numSteps: 2, schedule: [1, 1] }), 'job'));
    expect(passTokens(many)).toBe(8 * 64);
    many.close();
  });

  it('hold the targets of each step, in order and at their positions, in both layouts', async () => {
    const compiled = openJob(path.join(await makeRun(world, JOB), 'job'));
    for (const reader of [compiled, masked()]) {
      const rows = [...rowsOf(reader)];
      const perStep = rowsPerStep(reader);
      for (let step = 0; step < reader.job.numSteps; step++) {
        const ofStep = rows.slice(step * perStep, (step + 1) * perStep);
        const length = flatLength(rowTokens(reader));
        const flat = ofStep.flatMap((row) => {
          const { inputs, labels, positions } = new FlatRow(row, length);
          return predictions(inputs, labels, positions);
        });
        const joined = ofStep.flatMap((row) => {
          const positions = Array.from(joinedLengths(row)).flatMap((n) => Array.from({ length: n }, (_, i) => i));
          return predictions(joinedInputs(row), joinedLabels(row), positions);
        });
        expect(flat).toEqual(wanted(reader, step));
        expect(joined).toEqual(wanted(reader, step));
      }
    }
    compiled.close();
  });

  it('of one length number their documents; behind the last stand short ones that nobody reads', () => {
    const [first, second] = [...rowsOf(masked())].map((row) => new FlatRow(row, 16));
    expect(Array.from(first!.labels)).toEqual([-100, 2, -100, 9, 5, 6, 7, 8, ...new Array(8).fill(-100)]);
    expect(Array.from(first!.documents)).toEqual([1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3]);
    expect(Array.from(second!.positions)).toEqual([0, 1, 2, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4]);
    expect(second!.labels[3]).toBe(14);
  });
});

describe('files', () => {
  it.each([
    ['trl', ['train.py', 'README.md']],
    ['axolotl', ['config.yaml', 'planned_run.py']],
    ['llama-factory', ['config.yaml', 'train.py']],
  ] as const)('of %s', async (framework, files) => {
    const { read, folder } = await write(framework);
    for (const file of files)
      await expect(read(file)).toMatchFileSnapshot(path.join(import.meta.dirname, 'golden', framework, file));
    const lrs = fs.readFileSync(path.join(folder, 'lr.f32'));
    expect(lrs.length).toBe(4 * 40);
    expect(lrs.readFloatLE(4 * 3)).toBe(Math.fround(3e-3));
    for (const { file } of JSON.parse(read('export.json')).files.map((file: string) => ({ file })))
      expect(fs.existsSync(path.join(folder, file)), file).toBe(true);
  });

  it('replace an earlier export, and nothing that was trained in it', async () => {
    const { folder, again } = await write('trl');
    await again();
    const script = path.join(folder, 'train.py');
    const text = fs.readFileSync(script);
    fs.appendFileSync(script, '# mine');
    await expect(again()).rejects.toThrow(/train\.py: was edited since it was exported, which would be lost/);
    fs.writeFileSync(script, text);
    fs.mkdirSync(path.join(folder, 'checkpoints'));
    fs.writeFileSync(path.join(folder, 'checkpoints', 'weights'), '');
    await expect(again()).rejects.toThrow(/besides an export it holds checkpoints\/weights, which would be lost/);
  });

  it('name what is not carried over, first what changes the weights', async () => {
    const guard = { ewc: { strength: 1, sequences: 1, per: 'sequence' as const } };
    const { exported, read } = await write('axolotl', { guard, ema: 0.99 });
    expect(exported.warnings[0]).toMatch(
      /^Not carried over, and the trained weights will differ: guard\.ewc, training\.ema\./,
    );
    expect(read('README.md')).toMatch(/^# tiny, for Axolotl 0\.19\.0\n\n> \*\*Not carried over/);
    const missing = exported.carried.filter(({ how }) => how === 'missing').map(({ what }) => what);
    expect(missing).toEqual(['guard.ewc', 'training.ema', 'held-out scores']);
  });

  it('turn dropout off, which no engine of ours has', async () => {
    const model = path.join(world.root, 'gpt2');
    fs.mkdirSync(model);
    const config = { model_type: 'gpt2', architectures: ['GPT2LMHeadModel'], vocab_size: 257, resid_pdrop: 0 };
    fs.writeFileSync(path.join(model, 'config.json'), JSON.stringify(config));
    const { read } = await write('trl', {}, { model });
    expect(read('train.py')).toContain('if isinstance(part, torch.nn.Dropout):\n        part.p = 0.0\n');
    const { read: readYaml } = await write('axolotl', {}, { model });
    expect(readYaml('config.yaml')).toContain('overrides_of_model_config:\n  embd_pdrop: 0.0\n  attn_pdrop: 0.0\n');
    await expect(write('llama-factory', {}, { model })).rejects.toThrow(
      /train with dropout \(embd_pdrop, attn_pdrop\)/,
    );
  });

  it('are refused where another model would be trained', async () => {
    const refused = (plan: object) => expect(write('llama-factory', plan as Partial<Plan>)).rejects;
    await refused({ freeze: ['*'] }).toThrow(/^training\.freeze: .*export --for llama-factory` cannot carry it over/);
    await refused({ mixing: {} }).toThrow(/^mixing: decides the order of samples while the run goes on/);
    const model = path.join(world.root, 'other');
    fs.mkdirSync(model);
    const as = (config: object, framework: Framework = 'llama-factory') => {
      fs.writeFileSync(path.join(model, 'config.json'), JSON.stringify(config));
      return write(framework, {}, { model });
    };
    for (const framework of ['trl', 'axolotl', 'llama-factory'] as const)
      await expect(as({ model_type: 'falcon_mamba' }, framework)).rejects.toThrow(/"falcon_mamba" may attend or carry/);
    const mistral = {
      ...JSON.parse(fs.readFileSync(path.join(world.model, 'config.json'), 'utf8')),
      sliding_window: 63,
    };
    await expect(
      as({ ...mistral, model_type: 'mixtral', num_local_experts: 4, num_experts_per_tok: 2 }),
    ).rejects.toThrow(/"mixtral" has experts/);
    // Sequences have 64 tokens.
    const { read, exported } = await as({ ...mistral, model_type: 'mistral' });
    expect(exported.warnings).toEqual([expect.stringMatching(/^Install flash-attn/)]);
    expect(read('train.py')).toContain('    if not is_flash_attn_2_available():\n        raise SystemExit');
    const nested = { ...mistral, model_type: 'mistral', audio: { layerdrop: 0.1 } };
    await expect(as(nested)).rejects.toThrow(/train with dropout \(audio\.layerdrop\)/);
    const gpt2 = { model: { family: 'gpt2', context: 64 } } as Partial<Plan>;
    await expect(write('trl', gpt2)).rejects.toThrow(/sequences of 64 tokens fill all 64 positions/);
  });
});

describe("transformers' nearest schedule", () => {
  const near = (schedule: Schedule) => {
    const lrs = lrCurve(schedule);
    const job = { lrAt: (step: number) => lrs[step]! } as JobReader;
    return nearestSchedule({ plan: { schedule } as Plan, job, model: '', config: '', folder: '' });
  };
  const common = { numSteps: 1000, peakLr: 1e-3, warmupSteps: 0 };

  it('is the same where there is one, and near a cosine with a floor', () => {
    expect(near({ kind: 'constant', ...common })).toMatchObject({ type: 'constant_with_warmup', worst: { share: 0 } });
    const { type, worst } = near({ kind: 'cosine', ...common, warmupSteps: 10, floorLr: 1e-5 });
    expect(type).toBe('cosine_warmup_with_min_lr');
    // A cosine over 990 steps falls by at most pi/2/990 of its height a step.
    expect(worst.share).toBeLessThan(Math.PI / 2 / 989);
  });

  it('says how far it is off where none is near', () => {
    const infinite = {
      kind: 'infinite',
      ...common,
      constantLr: 5e-4,
      floorLr: 0,
      cooldownSteps: 300,
      annealSteps: 100,
    };
    const { worst } = near(infinite as Schedule);
    expect(worst.share).toBeGreaterThan(0.1);
  });
});
