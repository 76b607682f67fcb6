// The PyTorch engine (worker/): its environment, and the command that starts it, alone or as a process for each GPU under torchrun.
import { execFile } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { promisify } from 'node:util';
import { ConfigError, EngineError } from '../base/errors.ts';
import { sha256 } from '../base/hash.ts';
import { packageRoot } from '../base/package.ts';
import { TRUST_FLAG, torchrunArgs } from './launch/index.ts';
import { PROTOCOL_VERSION } from './protocol.ts';
import type { EngineProgram } from './supervisor.ts';

export const workerFolder = (): string => path.join(packageRoot(), 'worker');

/** Pinned versions of what the worker needs. */
export const requirementsFile = (): string => path.join(workerFolder(), 'requirements.txt');

/** The environment that `continuo torch setup` makes; other pinned versions are another one. */
export function environmentFolder(): string {
  const cache = process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), '.cache');
  return path.join(cache, 'continuo', `torch-${sha256(fs.readFileSync(requirementsFile(), 'utf8')).slice(0, 12)}`);
}

export const pythonOf = (environment: string): string => path.join(environment, 'bin', 'python');

/** $CONTINUO_PYTHON, or the environment that was set up. @throws ConfigError when there is neither */
export function torchPython(): string {
  const python = torchPythonIfAny();
  if (!python)
    throw new ConfigError(
      'engine: torch needs PyTorch, which is not set up. Run `continuo torch setup`, or let CONTINUO_PYTHON name a python with torch and transformers.',
    );
  return python;
}

/** What an environment can do; worker/continuo_worker/check.py. */
export interface TorchEnvironment {
  protocol: number;
  python: string;
  torch: string;
  transformers: string;
  /** What the worker needs and these versions lack. */
  missing: string[];
  cuda: string | null;
  rocm: string | null;
  mps: boolean;
  gpus: { name: string; memoryBytes: number; bf16: boolean }[];
}

/** Imports torch, which takes seconds. @throws EngineError with what Python said */
export async function checkTorch(python: string): Promise<TorchEnvironment> {
  const { stdout } = await promisify(execFile)(python, ['-m', 'continuo_worker.check'], {
    env: workerEnvironment(),
  }).catch((error: Error & { stderr?: string }) => {
    const last = error.stderr?.trim().split('\n').at(-1);
    throw new EngineError(
      `${python} cannot run the worker: ${last || error.message}. Run \`continuo torch setup\`, which installs ${requirementsFile()}.`,
    );
  });
  const found = JSON.parse(stdout) as TorchEnvironment;
  if (found.protocol !== PROTOCOL_VERSION)
    throw new EngineError(
      `the worker speaks protocol ${found.protocol}, this version needs ${PROTOCOL_VERSION}: another continuo_worker stands before ours on PYTHONPATH.`,
    );
  if (found.missing.length > 0)
    throw new EngineError(
      `${python} is too old for the worker: it lacks ${found.missing.join(' and ')}. ${describeVersions(found)}. Run \`continuo torch setup\`, or install ${requirementsFile()} there.`,
    );
  return found;
}

function describeVersions(found: Pick<TorchEnvironment, PinnedPackage>): string {
  const pinned = pinnedVersions();
  const list = (versions: Pick<TorchEnvironment, PinnedPackage>) =>
    PINNED_PACKAGES.map((name) => `${name} ${versions[name]}`).join(' and ');
  return `Found ${list(found)}; needed ${list(pinned)}`;
}

const PINNED_PACKAGES = ['torch', 'transformers'] as const;
type PinnedPackage = (typeof PINNED_PACKAGES)[number];

function pinnedVersions(): Record<PinnedPackage, string> {
  const lines = fs.readFileSync(requirementsFile(), 'utf8').split('\n');
  const versionOf = (name: string) => lines.find((line) => line.startsWith(`${name}==`))!.slice(name.length + 2);
  return { torch: versionOf('torch'), transformers: versionOf('transformers') };
}

/** Where an environment has other versions than those that the worker was tested with. A local version (+cu132) is no difference. */
export function otherVersions(found: Pick<TorchEnvironment, PinnedPackage>): string | undefined {
  const pinned = pinnedVersions();
  const differs = PINNED_PACKAGES.some((name) => found[name].split('+')[0] !== pinned[name]);
  return differs
    ? `${describeVersions(found).replace('needed', 'tested with')}. Others mostly work; what does not is best told by another environment: \`continuo torch setup\`.`
    : undefined;
}

/** The interpreter of the PyTorch engine; undefined where there is none. */
export function torchPythonIfAny(): string | undefined {
  const setUp = pythonOf(environmentFolder());
  return process.env.CONTINUO_PYTHON || (fs.existsSync(setUp) ? setUp : undefined);
}

function workerEnvironment(): NodeJS.ProcessEnv {
  const before = process.env.PYTHONPATH;
  return {
    ...process.env,
    PYTHONPATH: before ? `${workerFolder()}${path.delimiter}${before}` : workerFolder(),
    // A package that was installed by another user, or lies in a read-only image.
    PYTHONDONTWRITEBYTECODE: '1',
  };
}

/**
 * @param numRanks processes on this machine; with 1 there is no torchrun in between
 * @param trustsCode the model's own Python files may be run
 */
export function torchProgram(python: string, numRanks: number, trustsCode = false): EngineProgram {
  const torchrun = () => torchrunArgs({ nodes: 1, gpus: numRanks, rendezvous: { kind: 'alone' } });
  const launcher = numRanks > 1 ? ['-m', 'torch.distributed.run', ...torchrun()] : [];
  return {
    command: python,
    args: [...launcher, '-m', 'continuo_worker', ...(trustsCode ? [TRUST_FLAG] : [])],
    env: workerEnvironment(),
    takesProfile: false,
  };
}
