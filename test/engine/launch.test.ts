// The files that start a run elsewhere, as they are written; where a shell reads them, bash has parsed them.
import { execFileSync } from 'node:child_process';
import * as path from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { parseConfig, withTargets } from '../../src/config/index.ts';
import {
  kubernetesLaunch,
  type LaunchFile,
  type LaunchJob,
  rayLaunch,
  skypilotLaunch,
  slurmLaunch,
  sshScript,
  torchProgram,
} from '../../src/engine/index.ts';

const LAUNCH = `
  env: { NCCL_DEBUG: WARN }
  setup: [module load cuda/13, "source '/opt/my env/activate'"]
  ssh: { hosts: [me@node-1, node-2], port: 29501 }
  slurm: { partition: gpu, account: lm, time: "24:00:00", cpus: 96, memory: 500G, options: [--exclusive] }
  kubernetes: { image: registry/torch:2.15, volumes: { /shared: training-data }, cpus: 96, memory: 900Gi, namespace: lm }
  skypilot: { accelerators: "H100:8", infra: aws, spot: true, volumes: { /shared: runs } }
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
    trustRemoteCode: false,
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
    expect(['PENDING', 'RUNNING', 'COMPLETED', ''].map(slurm.isOver)).toEqual([false, false, true, true]);
    const one = jobWith(1, 1, 'env: {}');
    const { text } = slurmLaunch(one, withTargets(one.launch).slurm).file;
    expect(text).toContain('torch.distributed.run \\\n  --standalone --nproc-per-node=1');
    expect(text).not.toContain('rdzv');
  });

  it('kubernetes: a TrainJob, an indexed Job', async () => {
    const job = { ...jobWith(2, 8), needs: ['/shared/cache/shards'] };
    const { kubernetes } = job.launch;
    const { file, ...queue } = kubernetesLaunch(job, kubernetes!);
    await isGolden(file);
    expect(parseAllDocuments(file.text).map((one) => one.toJS().kind)).toEqual(['TrainJob']);
    expect(queue.idOf('trainjob.trainer.kubeflow.org/handbook\n')).toBe('trainjob.trainer.kubeflow.org/handbook');
    expect(['', 'Suspended', 'Complete', 'SuccessCriteriaMet Failed'].map(queue.isOver)).toEqual([
      false,
      false,
      true,
      true,
    ]);
    const indexed = kubernetesLaunch(job, { ...kubernetes!, kind: 'job' });
    await isGolden(indexed.file);
    const [service, pods] = parseAllDocuments(indexed.file.text).map((one) => one.toJS());
    expect([service.kind, pods.spec.completions]).toEqual(['Service', 2]);
    const script: string = pods.spec.template.spec.containers[0].args[0];
    bashReads({ name: '', text: script });
    expect(script).toContain('--rdzv-endpoint=handbook-0.handbook:29500');
    expect(indexed.idOf('service/handbook\njob.batch/handbook\n')).toBe('job.batch/handbook');
    expect(() => kubernetesLaunch({ ...job, needs: ['/home/me/model'] }, kubernetes!)).toThrow(
      /no volume holds \/home\/me\/model. The pods need them at the same paths as here/,
    );
  });

  it('ray', async () => {
    const job = jobWith(2, 8);
    const { file, ...queue } = rayLaunch(job, withTargets(job.launch).ray);
    bashReads(file);
    await isGolden(file);
    expect(queue.idOf("Job 'raysubmit_1' submitted successfully")).toBe('raysubmit_1');
    expect(
      ["Status for job 'a': RUNNING", "Job 'a' succeeded", "Job 'a' failed", "Job 'a' was stopped"].map(queue.isOver),
    ).toEqual([false, true, true, true]);
  });

  it('skypilot', async () => {
    const job = { ...jobWith(2, 8), nodes: 1, needs: ['/shared/cache/shards'] };
    const { file, ...queue } = skypilotLaunch(job, { ...job.launch.skypilot!, volumes: {} });
    await isGolden(file);
    const task = parseAllDocuments(file.text)[0]!.toJS();
    bashReads({ name: '', text: task.run });
    expect(Object.keys(task.file_mounts)).toEqual([job.runFolder, '/shared/cache/shards']);
    expect(queue.idOf('anything')).toBe('continuo-handbook');
    expect(() => skypilotLaunch(jobWith(2, 8), { ...job.launch.skypilot!, volumes: {} })).toThrow(
      /2 machines write one checkpoint together, and no volume holds the run folder/,
    );
    const { text } = skypilotLaunch(jobWith(2, 8), job.launch.skypilot!).file;
    expect(text).toContain('--rdzv-endpoint="$head:29500"');
    expect(text).toContain('"/shared": "runs"');
  });

  it('this machine is told by the same function', () => {
    expect(torchProgram('python', 4).args).toEqual(
      '-m torch.distributed.run --standalone --nproc-per-node=4 --max-restarts=0 --shutdown-timeout=600 -m continuo_worker'.split(
        ' ',
      ),
    );
  });
});
