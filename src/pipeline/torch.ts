// Sets up the PyTorch engine's environment, and says what it can do.
import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { ConfigError, EngineError } from '../base/errors.ts';
import { makeFolder } from '../base/files.ts';
import {
  checkTorch,
  environmentFolder,
  otherVersions,
  pythonOf,
  requirementsFile,
  type TorchEnvironment,
  torchProgram,
  torchPython,
} from '../engine/index.ts';
import type { Plan } from '../recipe/index.ts';
import type { PipelineOptions } from './types.ts';

export interface TorchReport extends TorchEnvironment {
  /** The interpreter. */
  command: string;
  /** What will work, and what will not, in sentences. */
  notes: string[];
}

/**
 * Makes the environment with pinned versions, by uv where it is installed, else by venv and pip. An environment is whole or absent.
 * @throws EngineError with the last lines of what failed
 */
export async function setUpTorch({ fresh, log }: PipelineOptions = {}): Promise<TorchReport> {
  const folder = environmentFolder();
  if (fresh) fs.rmSync(folder, { recursive: true, force: true });
  if (!fs.existsSync(pythonOf(folder))) {
    makeFolder(path.dirname(folder), 'making the folder of environments');
    for (const name of fs.readdirSync(path.dirname(folder)))
      if (LEFTOVER.test(name) && !isAlive(Number(LEFTOVER.exec(name)![1])))
        fs.rmSync(path.join(path.dirname(folder), name), { recursive: true, force: true });
    const temporary = `${folder}.${process.pid}.tmp`;
    log?.(`Making an environment in ${folder}: PyTorch and what it brings take up to 6 GB and some minutes.`);
    // Ctrl-C ends the installer, too; this process stays to clear away what it has made.
    const stay = () => {};
    process.on('SIGINT', stay);
    try {
      await install(temporary, log);
      fs.renameSync(temporary, folder);
    } finally {
      fs.rmSync(temporary, { recursive: true, force: true });
      process.off('SIGINT', stay);
    }
  }
  return checkSetUp(pythonOf(folder));
}

/** Of a setup that was killed, with its process. */
const LEFTOVER = /^torch-[0-9a-f]+\.(\d+)\.tmp$/;

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

const OLDEST_PYTHON = '3.11';

async function install(folder: string, log: PipelineOptions['log']): Promise<void> {
  const requirements = requirementsFile();
  const python = process.env.PYTHON ?? 'python3';
  if (await runs('uv', ['--version'])) {
    await execute('uv', ['venv', '--relocatable', '--python', python, folder], log);
    await execute('uv', ['pip', 'install', '--python', pythonOf(folder), '-r', requirements], log);
    return;
  }
  const lacks = (what: string) =>
    new ConfigError(
      `${python} ${what}. Install Python ${OLDEST_PYTHON} or newer with venv (on Debian: apt install python3-venv), or uv, or let PYTHON name another interpreter.`,
    );
  if (!(await runs(python, ['-c', '']))) throw lacks('cannot be run');
  if (!(await runs(python, ['-c', `import sys; sys.exit(sys.version_info < (${OLDEST_PYTHON.replace('.', ', ')}))`])))
    throw lacks(`is older than ${OLDEST_PYTHON}`);
  if (!(await runs(python, ['-c', 'import venv, ensurepip']))) throw lacks('has no venv');
  await execute(python, ['-m', 'venv', folder], log);
  await execute(pythonOf(folder), ['-m', 'pip', 'install', '--disable-pip-version-check', '-r', requirements], log);
}

function runs(command: string, args: string[]): Promise<boolean> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: 'ignore' });
    child.on('error', () => resolve(false));
    child.on('close', (code) => resolve(code === 0));
  });
}

const LINES_KEPT = 8;

function execute(command: string, args: string[], log: PipelineOptions['log']): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    const lines: string[] = [];
    const take = (data: Buffer) => {
      for (const line of data.toString().split(/[\r\n]+/)) {
        if (!line.trim()) continue;
        lines.push(line);
        if (lines.length > LINES_KEPT) lines.shift();
        if (/^(Collecting|Downloading|Installing|Installed)/.test(line)) log?.(line.trim());
      }
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    child.on('error', (error) => reject(new EngineError(`${command} could not be started: ${error.message}`)));
    child.on('close', (code, signal) => {
      if (code === 0) resolve();
      else
        reject(
          new EngineError(
            `${signal === null ? 'the environment could not be made' : `interrupted (${signal})`}: ${path.basename(command)} ${args[0] === '-m' ? args.slice(1, 3).join(' ') : args[0]} ended${code === null ? '' : ` with code ${code}`}. Nothing of it was left behind; the same command begins again.${adviceOn(lines.join('\n'))}\n${lines.join('\n')}`,
          ),
        );
    });
  });
}

/** What to look at, by what the installer printed. */
function adviceOn(printed: string): string {
  if (/No space left|disk quota/i.test(printed))
    return ' The disk is full: PyTorch takes about 6 GB, elsewhere with XDG_CACHE_HOME.';
  if (/Failed to fetch|No matching distribution|Connection|resolve host|Could not find a version|dns/i.test(printed))
    return ' Is the package index to be reached? Another one: UV_INDEX_URL, or PIP_INDEX_URL.';
  return '';
}

/** What the environment in use can do. @throws ConfigError where there is none */
export async function checkSetUp(python = torchPython()): Promise<TorchReport> {
  const found = await checkTorch(python);
  return { command: python, ...found, notes: [...notesOn(found), otherVersions(found) ?? []].flat() };
}

function notesOn({ cuda, rocm, mps, gpus }: TorchEnvironment): string[] {
  if (gpus.length > 0) {
    const several = gpus.length > 1 ? ` engine: { torch: { gpus: ${gpus.length} } } trains on all of them.` : '';
    return [
      `Training runs on ${gpus.length === 1 ? 'the GPU' : `${gpus.length} GPUs`} (${rocm ? `ROCm ${rocm}` : `CUDA ${cuda}`}).${several}`,
      ...(gpus.every(({ bf16 }) => bf16) ? [] : ['bf16 is not supported by every GPU: set training.precision: f32.']),
    ];
  }
  return [
    `No GPU is visible to PyTorch${cuda ? ` (built for CUDA ${cuda}: look at nvidia-smi and the driver)` : ''}: training runs on the processor, where engine: native is faster.`,
    ...(mps ? ['Apple’s GPU (MPS) is not used: it has no distributed backend.'] : []),
  ];
}

/** The engine of a plan as a program to start; undefined for the native one. */
export function engineOf(plan: Pick<Plan, 'engine'>) {
  return plan.engine && torchProgram(torchPython(), plan.engine.gpus, plan.engine.trustRemoteCode);
}
