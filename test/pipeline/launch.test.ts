// A queue's job is submitted and followed: sbatch and squeue are scripts that say and write what a test gives them.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config/index.ts';
import { planRun } from '../../src/pipeline/index.ts';
import { followBatch, type Launched, launchOf, storageWarnings, writeLaunch } from '../../src/pipeline/launch.ts';
import { runInProcess } from '../cli/in-process.ts';
import { makeProject, type Project } from './fixtures.ts';

const HELLO = { type: 'hello', protocol: 1, engine: 'torch', kernels: 'torch', threads: 1, pid: 1 };
const FINISHED = { type: 'finished', step: 24, folder: 'checkpoints/step-00000024' };

let project: Project;
let pathBefore: string | undefined;
beforeEach(() => {
  project = makeProject({ engine: { torch: { nodes: 2, gpus: 2, launch: { slurm: { partition: 'gpu' } } } } });
  pathBefore = process.env.PATH;
});
afterEach(() => {
  process.env.PATH = pathBefore;
});

/** Puts the queue's tools on the PATH. `says` is what the job writes, `state` what squeue prints. */
function queue(says: object[], state: string, sbatch = 'echo 7'): void {
  const bin = path.join(project.root, 'bin');
  const messages = path.join(project.runFolder, 'launch/messages.jsonl');
  const script = (name: string, body: string) =>
    fs.writeFileSync(path.join(bin, name), `#!/bin/sh\n${body}\n`, { mode: 0o755 });
  fs.mkdirSync(bin, { recursive: true });
  fs.writeFileSync(path.join(project.root, 'says'), says.map((one) => `${JSON.stringify(one)}\n`).join(''));
  script('sbatch', `echo submitted >> ${project.root}/log\ncat ${project.root}/says >> ${messages}\n${sbatch}`);
  script('squeue', `echo ${state}`);
  process.env.PATH = `${bin}:${pathBefore}`;
}

function launched(): Launched {
  const config = loadConfig(project.config);
  const { nodes, gpus, launch } = launchOf(config, 'slurm') as Extract<typeof config.engine, { name: 'torch' }>;
  const { runFolder } = project;
  fs.mkdirSync(path.join(runFolder, 'launch'), { recursive: true });
  const job = {
    name: 'tiny',
    runFolder,
    nodes,
    gpus,
    python: 'python3',
    recompute: false,
    trustRemoteCode: false,
    launch,
  };
  return { job, target: 'slurm', file: path.join(runFolder, 'launch/job.sbatch') };
}

async function follow() {
  const heard: string[] = [];
  const said: string[] = [];
  const options = { log: (line: string) => void said.push(line) };
  const result = await followBatch(launched(), options, ({ type }) => void heard.push(type), {
    stateMs: 0,
    lastWordsMs: 0,
  });
  return { ...result, heard, said };
}

describe('a job of a queue', () => {
  it('is followed to its end', async () => {
    queue([HELLO, { type: 'start', step: 0, numSteps: 24 }, FINISHED], 'RUNNING');
    const { status, heard, said } = await follow();
    expect([status, heard]).toEqual(['finished', ['hello', 'start', 'finished']]);
    expect(said[0]).toContain('Job 7 of slurm');
    expect(said[0]).toContain('scancel --signal=TERM 7');
  });

  it('is not submitted twice, and what an earlier one said is not heard again', async () => {
    queue([HELLO, FINISHED], 'RUNNING');
    await follow();
    // It stands in the queue still: the end is read where the first look began.
    expect((await follow()).heard).toEqual(['hello', 'finished']);
    expect(fs.readFileSync(path.join(project.root, 'log'), 'utf8')).toBe('submitted\n');
    queue([HELLO, { type: 'stopped', step: 3 }], 'COMPLETED');
    const { status, heard } = await follow();
    expect([status, heard]).toEqual(['stopped', ['hello', 'stopped']]);
  });

  it('ends with what it said was fatal, or with where to look', async () => {
    queue([HELLO, { type: 'fatal', kind: 'ConfigError', message: 'the ranks differ' }], 'RUNNING');
    await expect(follow()).rejects.toThrow(
      expect.objectContaining({ name: 'ConfigError', message: 'the ranks differ' }),
    );
    fs.rmSync(path.join(project.runFolder, 'launch'), { recursive: true });
    queue([], 'FAILED');
    await expect(follow()).rejects.toThrow(
      /job 7 of slurm ended without finishing. What it printed: tail -n 50 .*slurm.log. There is no checkpoint yet/,
    );
  });

  it('goes on after one of another queue, once that one says that it is over', async () => {
    queue([HELLO, FINISHED], 'RUNNING');
    const file = path.join(project.runFolder, 'launch/submitted.json');
    const left = (target: string, says: string) => {
      launched();
      fs.writeFileSync(file, JSON.stringify({ target, id: 'a', time: '2026-11-22T07:00:00.000Z', offset: 0 }));
      fs.writeFileSync(path.join(project.root, 'bin/ray'), `#!/bin/sh\n${says}\n`, { mode: 0o755 });
    };
    left('ray', `echo "Status for job 'a': RUNNING"`);
    await expect(follow()).rejects.toThrow(
      /last submitted to ray as a \(2026.*not over: two jobs .* Stop it with a checkpoint \(ray job stop --address .* a\) .* or follow it with --launch ray/,
    );
    left('ray', 'echo no connection >&2; exit 1');
    await expect(follow()).rejects.toThrow(
      /cannot be asked \(ray job status .*: no connection\). If it is: rm ".*json"/,
    );
    left('kubernetes', '');
    await expect(follow()).rejects.toThrow(
      /cannot be asked \(engine.torch.launch.kubernetes is no longer in the file\)/,
    );
    expect(fs.existsSync(path.join(project.root, 'log'))).toBe(false);
    left('ray', `echo "Job 'a' was stopped"`);
    expect((await follow()).status).toBe('finished');
  });

  it('needs the queue, and says what to do without it', async () => {
    process.env.PATH = path.join(project.root, 'nothing');
    await expect(follow()).rejects.toThrow(
      /--launch slurm: sbatch is not on this machine's PATH. The job is prepared; .*job.sbatch is written. Where slurm is at hand: sbatch --parsable/,
    );
    queue([], 'RUNNING', 'echo "invalid partition" >&2; exit 1');
    await expect(follow()).rejects.toThrow(/failed: invalid partition. The job is prepared/);
  });
});

describe('what does not go together is refused', () => {
  const refusal = (changes: Record<string, unknown>, target: 'slurm' | 'ssh' | 'kubernetes') => {
    project.configure(changes);
    try {
      writeLaunch(project.config, target);
    } catch (error) {
      return (error as Error).message;
    }
    return undefined;
  };

  it('in the configuration', () => {
    expect(refusal({}, 'slurm')).toContain('engine is native, which runs on this one');
    expect(refusal({ engine: 'torch' }, 'ssh')).toContain('engine.torch.launch.ssh is missing: give the hosts');
    expect(refusal({ engine: 'torch' }, 'kubernetes')).toContain('give an image and the volumes');
    expect(refusal({ engine: 'torch', mixing: { method: 'odm' } }, 'slurm')).toContain('nobody');
    expect(refusal({ engine: { torch: { nodes: 3, launch: { ssh: { hosts: ['a', 'b'] } } } } }, 'ssh')).toContain(
      'expected as many hosts as there are nodes (3), found 2',
    );
    expect(refusal({ engine: { torch: { launch: { slrm: {} } } } }, 'slurm')).toContain('did you mean "slurm"?');
  });

  it('on the command line', async () => {
    const { code, err } = await runInProcess(['launch', project.config, '--to', 'slrm']);
    expect(code).toBe(2);
    expect(err).toContain('Allowed choices are ssh, slurm, kubernetes, ray, skypilot');
    const written = await runInProcess([
      'launch',
      project.config,
      '--to',
      'slurm',
      '--out',
      path.join(project.root, 'a.sbatch'),
    ]);
    expect(written.err).toContain(`it starts with: sbatch --parsable ${project.root}/a.sbatch`);
    expect(fs.readFileSync(path.join(project.root, 'a.sbatch'), 'utf8')).toContain('#SBATCH --partition=gpu');
    const alone = await runInProcess(['run', project.config, '--no-measure', '--quiet']);
    expect(alone.code).toBe(2);
    expect(alone.err).toContain('engine.torch.nodes is 2: continuo run --launch ssh|slurm');
  });
});

it('a disk of this machine alone is told from shared storage', () => {
  const mounts = [
    { folder: '/', type: 'ext4' },
    { folder: '/shared', type: 'nfs4' },
  ];
  expect(storageWarnings(['/shared/runs/a', '/shared'], mounts)).toEqual([]);
  expect(storageWarnings(['/shared/runs/a', '/sharedness'], mounts)[0]).toContain("machine's own: /sharedness (ext4).");
});

it('plans for the GPUs of the file, else for those that the driver here names', async () => {
  const bin = path.join(project.root, 'bin');
  fs.mkdirSync(bin);
  const gpus = 'NVIDIA H100 80GB HBM3, 81559, 580.1\nNVIDIA H100 80GB HBM3, 81559, 580.1';
  fs.writeFileSync(path.join(bin, 'nvidia-smi'), `#!/bin/sh\necho '${gpus}'\n`, { mode: 0o755 });
  process.env.PATH = `${bin}:${pathBefore}`;
  const planned = async (engine: unknown, training: object = { seqLen: 64, batchTokens: 512 }) => {
    project.configure({ engine, training });
    const { plan } = await planRun(project.config, { quiet: true });
    const { isAsked, gpu, numGpus, memoryBytes } = plan.expected.cost!.gpus;
    return { isAsked, gpu, numGpus, gib: Math.round(memoryBytes / 2 ** 30), microBatch: plan.sequencesPerMicroBatch };
  };
  const here = { isAsked: true, gpu: 'H100 SXM', numGpus: 2, gib: 80 };
  expect(await planned({ torch: { gpus: 2 } })).toEqual({ ...here, microBatch: 4 });
  expect(await planned({ torch: { nodes: 4, gpus: 2, gpu: 'l4' } })).toMatchObject({ gpu: 'L4', numGpus: 8, gib: 24 });
  // Of machines elsewhere nothing is known.
  expect(await planned({ torch: { nodes: 4, gpus: 2 } })).toMatchObject({ isAsked: false });
  expect(await planned('native')).toMatchObject({ isAsked: false });
  await expect(planned({ torch: { gpu: 'h10' } })).rejects.toThrow(
    /engine.torch.gpu: no GPU "h10" is known. Is h100 meant\?/,
  );
});
