// The files that start a run elsewhere, as they are written; where a shell reads them, bash has parsed them.
import { execFileSync } from 'node:child_process';
import * as path from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseConfig, withTargets } from '../../src/config/index.ts';
import { type LaunchFile, type LaunchJob, slurmLaunch, sshScript, torchProgram } from '../../src/engine/index.ts';

const LAUNCH = `
  env: { NCCL_DEBUG: WARN }
  setup: [module load cuda/13, "source '/opt/my env/activate'"]
  ssh: { hosts: [me@node-1, node-2], port: 29501 }
  slurm: { partition: gpu, account: lm, time: "24:00:00", cpus: 96, memory: 500G, options: [--exclusive] }
`;

function jobWith(nodes: number, gpus: number, launch = LAUNCH): LaunchJob {
  const text = `
name: handbook
model: o/n
corpora: { a: { path: "*.md", role: domain } }
budget: { steps: 1 }
engine: { torch: { nodes: ${nodes}, gpus: ${gpus}, launch: {${launch.trim().replaceAll('\n', ',')}} } }
`;
  const { engine } = parseConfig(text, '/home/me/continuo.yaml');
  if (engine.name !== 'torch') throw new Error('expected torch');
  const runFolder = "/shared/me's runs/handbook";
  return {
    name: 'handbook',
    runFolder,
    nodes,
    gpus,
    python: '/opt/py/bin/python',
    recompute: false,
    launch: engine.launch,
  };
}

async function isGolden({ name, text }: LaunchFile, as = name): Promise<void> {
  await expect(text).toMatchFileSnapshot(path.join(import.meta.dirname, 'golden', as));
}

function bashReads({ text }: LaunchFile): void {
  execFileSync('bash', ['-n'], { input: text });
}

describe('launchers', () => {
  it('ssh', async () => {
    const job = jobWith(2, 8);
    const file = sshScript(job, job.launch.ssh!);
    bashReads(file);
    await isGolden(file);
  });

  it('slurm', async () => {
    const job = jobWith(2, 8);
    const { file, ...slurm } = slurmLaunch(job, job.launch.slurm!);
    bashReads(file);
    await isGolden(file);
    expect(slurm.idOf('1234;cluster\n')).toBe('1234');
    expect(slurm.idOf('sbatch: error')).toBeUndefined();
    expect(['PENDING', 'RUNNING', 'COMPLETED', ''].map((state) => slurm.isOver(state, true))).toEqual([
      false,
      false,
      true,
      true,
    ]);
    const one = jobWith(1, 1, 'env: {}');
    const { text } = slurmLaunch(one, withTargets(one.launch).slurm).file;
    expect(text).toContain('torch.distributed.run \\\n  --standalone --nproc-per-node=1');
    expect(text).not.toContain('rdzv');
  });

  it('this machine is told by the same function', () => {
    expect(torchProgram('python', 4).args).toEqual(
      '-m torch.distributed.run --standalone --nproc-per-node=4 --max-restarts=0 --shutdown-timeout=600 -m continuo_worker'.split(
        ' ',
      ),
    );
  });
});
