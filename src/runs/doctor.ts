// What this machine can do for a run: its facts, and which kernels would be used.
import { describeMachine, type MachineFacts } from '../base/machine.ts';
import { packageVersion } from '../base/package.ts';

export interface DoctorReport {
  version: string;
  machine: MachineFacts;
  kernels: { variant: string; native: boolean };
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
  return {
    version: packageVersion(),
    machine,
    kernels: { variant: kernels.variant, native },
    advice: adviceFor(machine, native ? undefined : (nativeProblem() ?? 'chosen by CONTINUO_KERNELS')),
  };
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
