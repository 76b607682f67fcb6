// Folders of frameworks that read the compiled job by a module of their own: what is written, what is linked, what is refused. What the
// frameworks make of them is in docs/exporting.md, with versions.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { exportJob, type Framework } from '../../src/export/index.ts';
import { nearestMegatronLr } from '../../src/export/megatron-lr.ts';
import { lrAt, type Plan } from '../../src/recipe/index.ts';
import { type JobOptions, openJob } from '../../src/shards/index.ts';
import { makeRun, makeWorld, OPTIMIZER, type World } from '../engine/fixtures.ts';

let world: World;

beforeAll(async () => {
  world = await makeWorld('export-elsewhere');
});
afterAll(() => fs.rmSync(world.root, { recursive: true, force: true }));

/** Of a plan an export reads little: the rest is in the job. */
const PLAN = {
  name: 'tiny',
  presetTitle: 'test',
  tokensPerStep: 256,
  totalTokens: 40 * 256,
  evaluation: { everySteps: 20 },
  checkpoint: { everySteps: 5, keep: 2 },
  schedule: { kind: 'linear', numSteps: 40, peakLr: 3e-3, floorLr: 7.5e-5, warmupSteps: 0 },
} as Plan;

async function write(
  framework: Framework,
  { config = {}, ...changes }: Partial<JobOptions> & { config?: object } = {},
) {
  const run = await makeRun(world, changes);
  const model = path.join(run, 'model');
  fs.cpSync(world.model, model, { recursive: true });
  const file = path.join(model, 'config.json');
  fs.writeFileSync(file, JSON.stringify({ ...JSON.parse(fs.readFileSync(file, 'utf8')), ...config }));
  const job = openJob(path.join(run, 'job'));
  const folder = path.join(run, framework);
  try {
    const exported = await exportJob(framework, {
      plan: PLAN,
      job,
      model,
      config: '/continuo.yaml',
      folder,
      quiet: true,
    });
    return { run, folder, exported, read: (name: string) => fs.readFileSync(path.join(folder, name), 'utf8') };
  } finally {
    job.close();
  }
}

const TWO_CUTS: Partial<JobOptions> = {
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

describe('torchtitan', () => {
  it('links what may be large, copies the job and its reader, and configures a stage for each cut of a step', async () => {
    const { run, folder, exported, read } = await write('torchtitan', {
      ...TWO_CUTS,
      optimizer: { ...OPTIMIZER, embeddingLrFactor: 0.5 },
    });
    expect(read('job/job.json')).toBe(fs.readFileSync(path.join(run, 'job', 'job.json'), 'utf8'));
    expect(fs.readdirSync(path.join(folder, 'shards')).sort()).toEqual(
      [0, 1, 2, 3].flatMap((i) => [`${i}.bin`, `${i}.idx`]),
    );
    expect(fs.readlinkSync(path.join(folder, 'shards', '1.bin'))).toBe(
      fs.realpathSync(`${world.general.trainPrefix}.bin`),
    );
    expect(fs.readdirSync(path.join(folder, 'continuo_run')).sort()).toEqual(
      ['__init__.py', 'canonical.py', 'config_registry.py', 'data.py', 'errors.py', 'job.py', 'model.py'].sort(),
    );
    const registry = read('continuo_run/config_registry.py');
    expect(registry).toContain('vocab_size=257,\n            dim=32,\n            n_layers=2,');
    expect(registry).toContain('rope={"theta": 10000, "max_seq_len": 128}');
    expect(registry).toContain('group(r"tok_embeddings|lm_head", lr=0.001500000013038516, weight_decay=0.1),');
    expect(registry).toContain('end_step=20,\n        seq_len=64,\n        sequences_per_step=4,');
    expect(registry).toContain('end_step=40,\n        seq_len=32,\n        sequences_per_step=8,');
    expect(registry.match(/last=(True|False)/g)?.slice(-2)).toEqual(['last=False', 'last=True']);
    expect(exported.carried.filter(({ how }) => how === 'exact').map(({ what }) => what)).toContain('LR');
    expect(read('README.md')).toContain('--config stage_2');
  });

  it('says what its decoders have no place for', async () => {
    const scaled = {
      rope_scaling: {
        rope_type: 'llama3',
        factor: 8,
        low_freq_factor: 1,
        high_freq_factor: 4,
        original_max_position_embeddings: 64,
      },
    };
    const { read } = await write('torchtitan', { config: scaled });
    expect(read('continuo_run/config_registry.py')).toContain('"scaling": "llama", "scaling_factor": 8,');
    await expect(write('torchtitan', { config: { attention_bias: true } })).rejects.toThrow(
      /config\.json: torchtitan has no decoder for a model of type "llama" with biases\. /,
    );
    await expect(write('torchtitan', { config: { model_type: 'mistral', sliding_window: 32 } })).rejects.toThrow(
      /with sliding windows\./,
    );
  });
});

describe('megatron', () => {
  it('has the model, a start a cut of a step, and the corpora as Megatron blends them', async () => {
    const { read, exported } = await write('megatron', { config: { model_type: 'qwen2', tie_word_embeddings: false } });
    expect(read('common.sh')).toContain(
      '--num-attention-heads 4 --kv-channels 8\n  --max-position-embeddings 128 --position-embedding-type rope --rotary-base 10000\n',
    );
    for (const flag of ['--num-query-groups 2', '--untie-embeddings-and-output-weights', '--add-qkv-bias'])
      expect(read('common.sh')).toContain(flag);
    expect(read('train.sh').match(/^CONTINUO_END_STEP.*$/gm)).toEqual([
      'CONTINUO_END_STEP=40 start pretrain_job.py 40 64 4 2 --lr 0.003000000026077032 --min-lr 0.0 --lr-decay-style constant',
    ]);
    expect(read('blend-1.txt')).toBe('0.5 shards/0\n0.5 shards/1\n');
    expect(read('blend-2.txt')).toBe('0.8 shards/0\n0.2 shards/1\n');
    // 3e-3 (1 - i / 40): a straight line, which Megatron has as well.
    expect(read('blend.sh')).toContain('--lr-decay-style linear --lr-decay-iters 39)');
    expect(exported.carried).toContainEqual({
      what: 'blend.sh: LR',
      how: 'exact',
      note: expect.stringMatching(/^at most 0\.0+\d* %|^at most \de-\d % /),
    });
  });

  it('goes the exact way alone where phases cut a step differently', async () => {
    const { folder, read } = await write('megatron', TWO_CUTS);
    expect(read('train.sh').match(/start pretrain_job.py \d+ \d+ \d+ \d+/g)).toEqual([
      'start pretrain_job.py 20 64 4 2',
      'start pretrain_job.py 40 32 8 4',
    ]);
    expect(fs.existsSync(path.join(folder, 'blend.sh'))).toBe(false);
  });

  it('has the LRs of a warm-up with a cosine to within a step', () => {
    const numSteps = 500;
    const schedule = { kind: 'cosine', numSteps, peakLr: 1e-3, floorLr: 1e-4, warmupSteps: 50 } as const;
    const lrs = Float64Array.from({ length: numSteps }, (_, step) => lrAt(schedule, step));
    const { lr, deviation } = nearestMegatronLr(lrs, schedule);
    expect(lr.style).toBe('cosine');
    // The steepest step of the cosine: pi / 2 / 450 of what it falls.
    expect(deviation).toBeLessThan(((Math.PI / 2) * 0.9) / 450);
    const wsd = {
      kind: 'wsd',
      numSteps,
      peakLr: 1e-3,
      floorLr: 0,
      warmupSteps: 50,
      decaySteps: 100,
      decay: '1-sqrt',
    } as const;
    const straight = nearestMegatronLr(
      Float64Array.from({ length: numSteps }, (_, step) => lrAt(wsd, step)),
      wsd,
    );
    expect(straight.lr).toMatchObject({ style: 'WSD', wsdStyle: 'minus_sqrt', wsdSteps: 100 });
    expect(straight.deviation).toBeLessThan(1e-12);
  });
});

describe('nemo', () => {
  it('has a configuration whose dataset is the job', async () => {
    const { folder, read } = await write('nemo', {
      optimizer: { ...OPTIMIZER, embeddingLrFactor: 0.1 },
      batch: { seqLen: 64, sequencesPerStep: 16, sequencesPerMicroBatch: 4 },
    });
    const config = read('config.yaml');
    expect(config).toContain('global_batch_size: 16\n');
    // Two of a GPU's share, for 8 of them.
    expect(config).toContain('local_batch_size: 2\n');
    expect(config).toContain('_target_: continuo_run.data.JobDataset\n  job: job\n  shards: shards\n');
    expect(config).toContain('packed_sequence_size: 64\n  packing_strategy: neat\n  prepacked: true\n');
    expect(config).toContain('lr_mult: 0.1 }');
    // The job is in f32.
    expect(config).toContain('    param_dtype: float32\n');
    expect(config).toContain('lr_decay_style: linear\n  max_lr: 0.003000000026077032\n');
    expect(fs.readdirSync(path.join(folder, 'continuo_run')).sort()).toEqual(
      ['__init__.py', 'canonical.py', 'data.py', 'errors.py', 'job.py'].sort(),
    );
  });

  it('refuses models whose attention or dropout it would change', async () => {
    const mistral = { model_type: 'mistral', sliding_window: 32 };
    await expect(write('nemo', { config: mistral })).rejects.toThrow(/would leave out this model's sliding windows/);
    await expect(write('nemo', { config: { attention_dropout: 0.1 } })).rejects.toThrow(
      /dropout \(attention_dropout\)/,
    );
    await expect(write('nemo', { config: { model_type: 'opt' } })).rejects.toThrow(/"opt" may attend or carry a state/);
  });

  it('refuses phases with sequences of another length', async () => {
    await expect(write('nemo', TWO_CUTS)).rejects.toThrow(/^phases: some have a seqLen of their own\./);
  });
});
