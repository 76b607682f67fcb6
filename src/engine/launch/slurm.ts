// Slurm: a batch script for sbatch. One task a machine is torchrun, which starts a process a GPU.
import type { SlurmOptions } from '../../config/index.ts';
import { CHECK_OF_STORAGE, exports, quote, sizeOf, workerCommand } from './script.ts';
import { meeting } from './torchrun.ts';
import { type BatchLaunch, type LaunchJob, launchFolder } from './types.ts';

export function slurmLaunch(job: LaunchJob, options: SlurmOptions): BatchLaunch {
  const file = { name: 'job.sbatch', text: slurmScript(job, options) };
  const log = `${launchFolder(job.runFolder)}/slurm.log`;
  return {
    file,
    tool: 'sbatch',
    submit: [['sbatch', '--parsable', `${launchFolder(job.runFolder)}/${file.name}`]],
    // JOB or JOB;CLUSTER
    idOf: (output) => /^(\d+)(;\S+)?$/m.exec(output.trim())?.[1],
    state: (id) => ['squeue', '--noheader', '--states=all', `--jobs=${id}`, '--format=%T'],
    // A job that is over is not listed for long.
    isOver: (output) =>
      !/PENDING|CONFIGURING|RUNNING|COMPLETING|REQUEUE|SUSPENDED|STOPPED|RESIZING|SIGNALING|STAGE_OUT/.test(output),
    stop: (id) => `scancel --signal=TERM ${id}`,
    logs: () => `tail -n 50 ${quote(log)}`,
  };
}

function slurmScript(job: LaunchJob, options: SlurmOptions): string {
  const { nodes, gpus, runFolder, launch } = job;
  const { warning, requeue } = options;
  const log = `${launchFolder(runFolder)}/slurm.log`;
  const asksGpus = options.options.some((option) => /^(--gres|--gpus|-G)/.test(option));
  const given: [string, string | number | undefined][] = [
    ['partition', options.partition],
    ['account', options.account],
    ['qos', options.qos],
    ['time', options.time],
    ['cpus-per-task', options.cpus],
    ['mem', options.memory],
    ['constraint', options.constraint],
  ];
  const sbatch = (option: string) => `#SBATCH ${option}`;
  const rendezvous = meeting(nodes, '"$head:$port"', '"$SLURM_JOB_ID"');
  return `${[
    '#!/bin/bash',
    `# Continuo, run ${job.name}: ${sizeOf(job)}. Submit it with sbatch, as it stands or edited.`,
    '# Every machine needs the run folder, and the model and shards that its job names, at the same paths.',
    sbatch(`--job-name=${quote(job.name)}`),
    sbatch(`--nodes=${nodes}`),
    '# One torchrun a machine.',
    sbatch('--ntasks-per-node=1'),
    ...(asksGpus ? [] : [sbatch(`--gpus-per-node=${gpus}`)]),
    ...given.flatMap(([name, value]) => (value === undefined ? [] : [sbatch(`--${name}=${value}`)])),
    ...options.options.map(sbatch),
    sbatch(`--output=${quote(log.replaceAll('%', '%%'))}`),
    sbatch('--open-mode=append'),
    ...(requeue
      ? [
          '# After a lost machine or pre-emption the job goes back into the queue, and on from its newest checkpoint.',
          sbatch('--requeue'),
        ]
      : [sbatch('--no-requeue')]),
    `# So many seconds before the time limit this script gets USR1, and the run makes a checkpoint.`,
    sbatch(`--signal=B:USR1@${warning}`),
    '',
    'set -u',
    `export run=${quote(runFolder)}`,
    ...exports(job),
    ...(nodes === 1
      ? []
      : [
          '# Where the machines meet: a port of the first one that other jobs on it are unlikely to have.',
          'export head port',
          'head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
          'port=$((20000 + SLURM_JOB_ID % 10000))',
        ]),
    '',
    '# What each machine does.',
    "read -r -d '' node << 'NODE'",
    ...launch.setup,
    CHECK_OF_STORAGE,
    `exec ${workerCommand(job, rendezvous)}`,
    'NODE',
    '',
    '# If one machine fails for good, all end.',
    'srun --kill-on-bad-exit=1 bash -c "$node" &',
    'step=$!',
    'ending=',
    '# srun hands TERM on to all processes, and the ranks make a checkpoint.',
    `trap 'ending=1; kill -TERM "$step"' USR1`,
    'wait "$step"; code=$?',
    '# A signal ends the waiting, not the step.',
    'while kill -0 "$step" 2> /dev/null; do wait "$step"; code=$?; done',
    ...(requeue ? ['if [ -n "$ending" ]; then scontrol requeue "$SLURM_JOB_ID"; fi'] : []),
    'exit "$code"',
  ].join('\n')}\n`;
}
