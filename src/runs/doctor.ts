// What this machine can do for a run: its facts, and which kernels would be used.
import { describeMachine, type MachineFacts } from '../base/machine.ts';
import { packageVersion } from '../base/package.ts';
import { formatBytes } from '../base/units.ts';
import type { TorchEnvironment } from '../engine/index.ts';

export interface DoctorReport {
  version: string;
  machine: MachineFacts;
  kernels: { variant: string; native: boolean };
  /** The PyTorch engine's environment; absent where there is none. */
  torch?: TorchEnvironment & { command: string };
  /** What keeps this machine from doing more, with what to do about it; empty when nothing does. */
  advice: string[];
}

/** Looks at the machine; takes up to a few seconds. `folder`: where runs would lie. */
export async function doctor(folder = '.'): Promise<DoctorReport> {
  const machine = await describeMachine(folder);
  // Loaded here only: whoever reads a run folder should not load the native addon.
  const { nativeProblem, pickKernels } = await import('../kernels/index.ts');
  const kernels = pickKernels(() => {});
  const native = kernels.variant !== 'reference';
  const advice = adviceFor(machine, native ? undefined : (nativeProblem() ?? 'chosen by CONTINUO_KERNELS'));
  const torch = await torchEnvironment(advice);
  return {
    version: packageVersion(),
    machine,
    kernels: { variant: kernels.variant, native },
    ...(torch && { torch }),
    advice,
  };
}

/** Asks the environment itself, which takes seconds, only where there is one. Adds to the advice what is wrong with it. */
async function torchEnvironment(advice: string[]): Promise<DoctorReport['torch']> {
  const { checkTorch, otherVersions, torchPythonIfAny } = await import('../engine/index.ts');
  const command = torchPythonIfAny();
  if (command === undefined) return undefined;
  try {
    const found = await checkTorch(command);
    const other = otherVersions(found);
    if (other) advice.push(other);
    return { command, ...found };
  } catch (error) {
    advice.push(`The PyTorch engine does not work: ${(error as Error).message}`);
    return undefined;
  }
}

/** The PyTorch engine in a line, and one for each of its GPUs. */
export function describeTorch({
  torch,
  transformers,
  python,
  cuda,
  rocm,
  mps,
  gpus,
  command,
}: NonNullable<DoctorReport['torch']>): string[] {
  const kind = rocm ? `ROCm ${rocm}` : cuda ? `CUDA ${cuda}` : mps ? 'MPS, which is not used' : 'no CUDA';
  return [
    `torch ${torch}, transformers ${transformers}, Python ${python}, ${kind} (${command})`,
    ...(gpus.length === 0
      ? ['no GPU is visible to it: it would train on the processor, where engine: native is faster']
      : gpus.map(
          ({ name, memoryBytes, bf16 }) => `${name}, ${formatBytes(memoryBytes)}, ${bf16 ? 'bf16' : 'no bf16'}`,
        )),
  ];
}

const LITTLE_DISK_BYTES = 5 * 2 ** 30;

function adviceFor(machine: MachineFacts, slowBecause: string | undefined): string[] {
  const advice = [];
  if (slowBecause !== undefined)
    advice.push(
      `The slow reference kernels are in use: ${slowBecause}.${machine.compiler ? '' : ' Install a C++17 compiler (g++ or clang++) first.'}`,
    );
  if (machine.freeDiskBytes !== undefined && machine.freeDiskBytes < LITTLE_DISK_BYTES)
    advice.push('Little disk space is left: a checkpoint takes about 14 bytes a parameter, and two are kept at least.');
  return advice;
}
