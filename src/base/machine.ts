// What this machine offers: cores, memory, disk, instruction sets, Python with PyTorch, GPUs. Only looks, never tunes; whatever
// cannot be found out is undefined or an empty list, so that a missing tool never stops a command.
import { execFile } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';

export interface PythonFacts {
  command: string;
  version: string;
  /** Version of the installed package torch; undefined when there is none. */
  torch: string | undefined;
}

export interface GpuFacts {
  name: string;
  memoryBytes: number;
  driver: string;
}

export interface MachineFacts {
  /** e.g. "linux x64". */
  platform: string;
  cpuModel: string;
  /** Cores that this process may use. */
  numCores: number;
  /** Memory that this process may use: the machine's, or its container's limit where that is lower. */
  memoryBytes: number;
  freeMemoryBytes: number;
  /** Free space where `folder` lies. */
  freeDiskBytes: number | undefined;
  /** Vector instruction sets that matter here, e.g. ["avx2", "fma", "avx512f", "avx512_bf16"]. */
  instructionSets: string[];
  node: string;
  compiler: string | undefined;
  python: PythonFacts | undefined;
  gpus: GpuFacts[];
}

const INSTRUCTION_SETS = [
  'avx2',
  'fma',
  'avx512f',
  'avx512bw',
  'avx512vl',
  'avx512_vnni',
  'avx512_bf16',
  'amx_bf16',
  'amx_tile',
];
const ARM_INSTRUCTION_SETS = ['asimd', 'bf16', 'i8mm', 'sve', 'sve2'];
const SPAWN_TIMEOUT_MS = 8000;

// Metadata only: importing torch takes seconds.
const PYTHON_PROBE = [
  'import json, platform',
  'from importlib.metadata import version, PackageNotFoundError',
  'try: torch = version("torch")',
  'except PackageNotFoundError: torch = None',
  'print(json.dumps({"version": platform.python_version(), "torch": torch}))',
].join('\n');

/** Bytes of memory that this process may use: the machine's, or its container's limit where that is lower. */
export function memoryLimit(): number {
  const limit = process.constrainedMemory();
  const total = os.totalmem();
  return limit > 0 && limit < total ? limit : total;
}

/** The most memory that this process has held, bytes. */
export function peakMemory(): number {
  try {
    return Number(/^VmHWM:\s+(\d+) kB$/m.exec(fs.readFileSync('/proc/self/status', 'utf8'))![1]) * 1024;
  } catch {
    // Not Linux. There it is not taken from here because a child begins with its parent's value.
    return process.resourceUsage().maxRSS * 1024;
  }
}

/** Gathers the facts; takes up to a few seconds, since it asks other programs. `folder`: whose disk to look at. */
export async function describeMachine(folder = '.'): Promise<MachineFacts> {
  const [python, gpus, compiler] = await Promise.all([findPython(), findGpus(), findCompiler()]);
  return {
    platform: `${os.platform()} ${os.arch()}`,
    cpuModel: os.cpus()[0]?.model.trim() ?? 'unknown',
    numCores: os.availableParallelism(),
    memoryBytes: memoryLimit(),
    freeMemoryBytes: os.freemem(),
    freeDiskBytes: freeDisk(folder),
    instructionSets: instructionSets(),
    node: process.versions.node,
    compiler,
    python,
    gpus,
  };
}

/** The vector instruction sets named by the text of /proc/cpuinfo (x86 "flags", Arm "Features"). */
export function parseInstructionSets(cpuinfo: string): string[] {
  const line = /^(?:flags|Features)\s*:(.*)$/m.exec(cpuinfo)?.[1] ?? '';
  const flags = new Set(line.trim().split(/\s+/));
  return [...INSTRUCTION_SETS, ...ARM_INSTRUCTION_SETS].filter((name) => flags.has(name));
}

function instructionSets(): string[] {
  try {
    return parseInstructionSets(fs.readFileSync('/proc/cpuinfo', 'utf8'));
  } catch {
    // Not Linux. Every 64-bit Arm has NEON; elsewhere the native kernels find out for themselves.
    return os.arch() === 'arm64' ? ['asimd'] : [];
  }
}

function freeDisk(folder: string): number | undefined {
  try {
    const stats = fs.statfsSync(folder);
    return stats.bavail * stats.bsize;
  } catch {
    return undefined;
  }
}

async function findPython(): Promise<PythonFacts | undefined> {
  const named = process.env.CONTINUO_PYTHON;
  for (const command of named ? [named] : ['python3', 'python']) {
    const output = await outputOf(command, ['-c', PYTHON_PROBE]);
    if (output === undefined) continue;
    const found = JSON.parse(output) as { version: string; torch: string | null };
    return { command, version: found.version, torch: found.torch ?? undefined };
  }
  return undefined;
}

/** Those of NVIDIA's driver; none where it is missing. */
export async function findGpus(): Promise<GpuFacts[]> {
  const output = await outputOf('nvidia-smi', [
    '--query-gpu=name,memory.total,driver_version',
    '--format=csv,noheader,nounits',
  ]);
  return (output ?? '')
    .split('\n')
    .map((line) => line.split(',').map((cell) => cell.trim()))
    .filter((cells) => cells.length === 3)
    .map(([name, mebibytes, driver]) => ({ name: name!, memoryBytes: Number(mebibytes) * 2 ** 20, driver: driver! }));
}

async function findCompiler(): Promise<string | undefined> {
  for (const command of process.env.CXX ? [process.env.CXX] : ['c++', 'g++', 'clang++']) {
    const output = await outputOf(command, ['--version']);
    if (output) return output.split('\n')[0]!.trim();
  }
  return undefined;
}

/** stdout of a program, or undefined when it is missing, fails or takes too long. */
function outputOf(command: string, args: string[]): Promise<string | undefined> {
  return new Promise((resolve) => {
    execFile(command, args, { timeout: SPAWN_TIMEOUT_MS, windowsHide: true }, (error, stdout) =>
      resolve(error ? undefined : stdout),
    );
  });
}
