// Pieces of generated bash.
import * as path from 'node:path';
import { recomputeFlag } from '../protocol.ts';
import { type Rendezvous, torchrunArgs } from './torchrun.ts';
import type { LaunchJob } from './types.ts';

/** A word that the shell takes as it stands. */
export function quote(word: string): string {
  return /^[A-Za-z0-9_./:@=,+-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** Torchrun with the worker behind it; `given` stands for the worker's own arguments, ready for the shell. */
export function workerCommand(job: LaunchJob, rendezvous: Rendezvous, given = unattendedArgs(job)): string {
  const { nodes, gpus, trustRemoteCode } = job;
  const lines = [
    `${quote(job.python)} -m torch.distributed.run`,
    torchrunArgs({ nodes, gpus, rendezvous }).join(' '),
    `-m continuo_worker${trustRemoteCode ? ` ${TRUST_FLAG}` : ''} ${given}`,
  ];
  return lines.join(' \\\n  ');
}

/** The worker's word for it. */
export const TRUST_FLAG = '--trust-remote-code';

/** Of a worker that nobody answers. `run` is the run folder. */
function unattendedArgs({ recompute }: LaunchJob): string {
  return `"$run/job" --unattended "$run/launch/messages.jsonl"${recompute ? ` ${recomputeFlag(recompute)}` : ''}`;
}

/** For every process: the worker's code, and what the file gives. `run` is the run folder. */
export function exports({ launch }: LaunchJob): string[] {
  return [
    'export PYTHONPATH="$run/launch/worker" PYTHONDONTWRITEBYTECODE=1',
    ...Object.entries(launch.env).map(([name, value]) => `export ${name}=${quote(value)}`),
  ];
}

/** What a machine does that has only the lines given to it. @param before further lines, right before torchrun */
export function machineScript(job: LaunchJob, rendezvous: Rendezvous, before: readonly string[] = []): string[] {
  return [
    `run=${quote(job.runFolder)}`,
    ...exports(job),
    ...job.launch.setup,
    CHECK_OF_STORAGE,
    ...before,
    ...`exec ${workerCommand(job, rendezvous)}`.split('\n'),
  ];
}

/** Whether one of these volumes, by the folders that they are mounted at, holds the file or folder. */
export function isOnVolume(one: string, volumes: Readonly<Record<string, string>>): boolean {
  return Object.keys(volumes).some((folder) => !path.posix.relative(folder, one).startsWith('..'));
}

/** Ends a machine that does not see the job, with the reason. `run` is the run folder. */
export const CHECK_OF_STORAGE =
  '[ -r "$run/job/job.json" ] || { echo "$(hostname) cannot read $run/job/job.json: every machine needs the run folder at this path." >&2; exit 3; }';

/** "2 machines, 8 processes on each". */
export function sizeOf({ nodes, gpus }: LaunchJob): string {
  const processes = gpus === 1 ? 'one process' : `${gpus} processes`;
  return nodes === 1 ? `one machine, ${processes}` : `${nodes} machines, ${processes} on each`;
}

/** Letters, digits and dashes, as names of Kubernetes and host names have to be. */
export function plainName(name: string, limit: number): string {
  const plain = name
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .slice(0, limit);
  return plain.replaceAll(/^-+|-+$/g, '') || 'run';
}
