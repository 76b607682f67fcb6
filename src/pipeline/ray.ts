// Shares of a corpus' parts as tasks of a Ray cluster: starts worker/ray_parts.py, which submits them, and judges what it reports. The tasks
// run this same program; nothing of their result passes through Ray, it lies in the folder that all machines share.
import { spawn } from 'node:child_process';
import * as path from 'node:path';
import { createInterface } from 'node:readline';
import { entryFile } from '../base/entry.ts';
import { ConfigError, DataError, EngineError } from '../base/errors.ts';
import { packageRoot } from '../base/package.ts';
import { Progress } from '../base/progress.ts';

/** Machines that may be lost under one share before it is given up; spot machines come and go. */
const MAX_RETRIES = 50;
const STDERR_LINES = 10;

export interface RayJob {
  /** As ray.init takes it: "auto", "HOST:PORT" or "ray://HOST:PORT". */
  address: string;
  /** Of the command; `--part` is added. */
  args: string[];
  /** The shares to do, of `numShares`. */
  shares: number[];
  numShares: number;
  environment: Record<string, string>;
}

/** What a share's command printed. */
export interface ShareOutput {
  machine: string;
  output: string;
}

type Message =
  | { type: 'ready'; numMachines: number; numCpus: number }
  | { type: 'done'; share: number; machine: string; code: number | null; output: string; error: string }
  | { type: 'lost'; machine: string }
  | { type: 'failed'; what: 'package' | 'cluster' | 'task'; detail: string };

/**
 * Does the shares and hands each one's output to `onDone`, which may throw to end it all. Ctrl-C cancels the tasks and ends the process.
 * @throws what a share failed with; ConfigError where Python, Ray or the cluster is missing; EngineError where they fail
 */
export async function runOnRay(
  job: RayJob,
  onDone: (share: ShareOutput) => void,
  { quiet, log = () => {} }: { quiet?: boolean; log?: (line: string) => void },
): Promise<void> {
  const python = process.env.CONTINUO_PYTHON ?? 'python3';
  const program = [process.execPath, entryFile(import.meta.url, '../cli/main.ts')];
  // Its own process group: Ctrl-C reaches it through us alone. stdin stays open as its sign that we live.
  const child = spawn(python, [path.join(packageRoot(), 'worker', 'ray_parts.py')], { detached: true });
  let stoppedBy: NodeJS.Signals | undefined;
  const stop = (signal: NodeJS.Signals) => {
    if (stoppedBy) child.kill('SIGKILL');
    else log('Stopping: the tasks are cancelled, parts that are done stay. Once more to stop at once.');
    stoppedBy = signal;
    child.stdin.end();
  };
  process.on('SIGINT', stop).on('SIGTERM', stop);
  // A child that has gone already says so by its exit.
  child.stdin.on('error', () => {});
  child.stdin.write(`${JSON.stringify({ ...job, program, maxRetries: MAX_RETRIES })}\n`);
  const stderr: string[] = [];
  createInterface({ input: child.stderr }).on('line', (line) => {
    stderr.push(line);
    if (stderr.length > STDERR_LINES) stderr.shift();
  });
  const ended = new Promise<void>((resolve, reject) => {
    child.on('close', () => resolve());
    child.on('error', (error) => reject(new ConfigError(noPython(python, error.message))));
  });
  // Awaited below, after the messages.
  ended.catch(() => {});
  const progress = new Progress({ label: 'shares done on Ray', total: job.shares.length, quiet });
  let numDone = 0;
  try {
    for await (const line of createInterface({ input: child.stdout })) {
      const message = JSON.parse(line) as Message;
      if (message.type === 'ready') log(describe(message, job));
      else if (message.type === 'lost') log(`Ray lost ${message.machine}: its shares are done again elsewhere.`);
      else if (message.type === 'failed') throw failure(message, python, job.address);
      else {
        if (message.code !== 0) throw failureOf(message);
        onDone(message);
        progress.update(++numDone);
      }
    }
    await ended;
    if (!stoppedBy && numDone < job.shares.length)
      throw new EngineError(
        `${python} ended after ${numDone} of ${job.shares.length} shares. Its last words:\n${stderr.join('\n') || '(none)'}`,
      );
  } finally {
    child.stdin.end();
    child.stdout.resume();
    await ended.catch(() => {});
    process.off('SIGINT', stop).off('SIGTERM', stop);
    if (stoppedBy) process.kill(process.pid, stoppedBy);
  }
  progress.finish();
}

function describe({ numMachines, numCpus }: Extract<Message, { type: 'ready' }>, { shares }: RayJob): string {
  const cluster = `Ray: ${numMachines} machines with ${numCpus} CPUs for ${shares.length} shares.`;
  return numCpus > 0 ? cluster : `${cluster} The tasks wait until a machine with a CPU joins.`;
}

function noPython(python: string, detail: string): string {
  return `--on: cannot start ${python} (${detail}). Ray needs Python: install it and Ray (pip install "ray[client]"), or set CONTINUO_PYTHON to a Python that has Ray.`;
}

function failure({ what, detail }: Extract<Message, { type: 'failed' }>, python: string, address: string): Error {
  switch (what) {
    case 'package':
      return new ConfigError(
        `--on: ${python} has no usable Ray (${detail}). Install the cluster's version of it (pip install "ray[client]==VERSION"), or set CONTINUO_PYTHON to a Python that has it.`,
      );
    case 'cluster':
      return new ConfigError(
        `--on ${address}: no connection to a Ray cluster (${detail}). Start one (ray start --head), or give the address of one: ` +
          'auto or HOST:6379 on one of its machines, ray://HOST:10001 from elsewhere.',
      );
    case 'task':
      return new EngineError(`A share failed on the Ray cluster: ${detail}`);
    default:
      return what satisfies never;
  }
}

/** The error that a share's command ended with, with the machine's name. */
function failureOf({ machine, code, error }: Extract<Message, { type: 'done' }>): Error {
  if (code === null)
    return new ConfigError(
      `${machine} has no continuo: install it there under the same path as here, or so that "continuo" is found.`,
    );
  const said = `on ${machine}: ${/(?:^|\n)error: ([\s\S]*)/.exec(error)?.[1]?.trim() ?? error.trim()}`;
  if (code === 2) return new ConfigError(said);
  if (code === 3) return Object.assign(new DataError('', ''), { message: said });
  return new EngineError(said);
}
