// How native/ is compiled: the flags of every instruction set, and commands run side by side. Shared by build-native.mjs, which builds
// what is installed, and test/native/run.mjs, which builds the same kernels for their tests.
import { spawn } from 'node:child_process';
import * as os from 'node:os';

/** Contraction is off so that an expression means the same in every variant; kernels fuse where they say fma(). */
export const FLAGS = [
  '-std=c++17',
  '-fPIC',
  '-pthread',
  '-fvisibility=hidden',
  '-ffp-contract=off',
  '-Wall',
  '-Wno-psabi',
];

const AVX512 = ['-mavx512f', '-mavx512bw', '-mavx512dq', '-mavx512vl', '-mavx2', '-mfma', '-mprefer-vector-width=512'];
const VARIANTS = {
  x64: { avx512bf16: [...AVX512, '-mavx512bf16'], avx512: AVX512, avx2: ['-mavx2', '-mfma'], portable: [] },
  // GCC's scheduling before it allocates registers loads all of a step's scalars first, which spills three of gemm's accumulators.
  arm64: { neon: ['-fno-schedule-insns'] },
};

/** Instruction sets of a processor family (as in process.arch) and their flags; the last one runs on every processor of it. */
export function variantsOf(arch) {
  return VARIANTS[arch] ?? { portable: [] };
}

/** Runs a command; resolves to its exit code (null: killed by a signal) and what it wrote. */
export function run(command, args, options = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (data) => {
        output += data;
      });
    child.on('error', (error) => resolve({ code: null, output: error.message }));
    child.on('close', (code, signal) => resolve({ code, output: signal ? `${output}killed by ${signal}\n` : output }));
  });
}

/** Runs functions that return promises, as many at a time as there are cores but at least two; resolves to their results. */
export async function sideBySide(jobs) {
  const results = Array(jobs.length);
  let next = 0;
  const worker = async () => {
    for (let i = next++; i < jobs.length; i = next++) results[i] = await jobs[i]();
  };
  await Promise.all(Array.from({ length: Math.max(2, os.availableParallelism()) }, worker));
  return results;
}
