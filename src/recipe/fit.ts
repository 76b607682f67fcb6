// What of a plan fits on the GPUs of the PyTorch engine: the largest pass with each way to recompute, and which of them is taken.
import type { Precision, Recompute } from '../config/index.ts';
import type { Cluster } from './hardware.ts';
import type { GpuMemory, GpuShape, PlanInputs } from './types.ts';

/** CUDA's context, libraries, the buffers of communication and of compiled kernels. Assumption. */
const RUNTIME_BYTES = 3 * 2 ** 30;
/** Of a GPU's memory that an allocator can hand out before it fragments. Assumption. */
const USABLE_SHARE = 0.92;
/** In the order of what they cost; the share of work that is done again (docs/torch.md). */
const WAYS: readonly Recompute[] = [false, 'selective', true];

export interface GpuFit {
  /** Sequences a rank has of a step. */
  share: number;
  recompute: Recompute;
  /** Sequences a pass. */
  microBatch: number;
  memory: GpuMemory;
  runtimeBytes: number;
  totalBytes: number;
  fits: boolean;
  /** The most sequences a pass that fit, with nothing, some and all run again; 0: not even one. */
  largest: { kept: number; selective: number; full: number };
  /** The fewest of these GPUs that it fits on, all run again, one sequence a pass; absent: no number of them is enough. */
  leastGpus?: number;
}

type Training = Omit<GpuShape, 'ranks' | 'batch' | 'recompute' | 'precision'> & {
  precision: Precision;
  sequencesPerStep: number;
};

/** @param given what the user has decided */
export function fitOn(
  { countWorkerMemory }: Pick<PlanInputs, 'countWorkerMemory'>,
  { gpu, count }: Cluster,
  { sequencesPerStep, ...training }: Training,
  given: { microBatch?: number; recompute?: Recompute },
): GpuFit {
  const usable = gpu.memoryBytes * USABLE_SHARE;
  const ofShare = (ranks: number) => Math.max(1, Math.floor(sequencesPerStep / ranks));
  const memoryOf = (ranks: number, batch: number, recompute: Recompute) => {
    const memory = countWorkerMemory({ ...training, ranks, batch, recompute });
    return { memory, totalBytes: memory.totalBytes + RUNTIME_BYTES };
  };
  const share = ofShare(count);
  const divisors = Array.from({ length: share }, (_, i) => share - i).filter((n) => share % n === 0);
  const largestOf = (recompute: Recompute) =>
    divisors.find((batch) => memoryOf(count, batch, recompute).totalBytes <= usable) ?? 0;
  const [kept, selective, full] = WAYS.map(largestOf) as [number, number, number];
  const asked = given.microBatch && divisors.find((n) => n <= given.microBatch!);
  const wanted = asked ?? 1;
  const recompute = given.recompute ?? WAYS.find((_, i) => [kept, selective, full][i]! >= wanted) ?? true;
  const microBatch = asked ?? Math.max(1, [kept, selective, full][WAYS.indexOf(recompute)]!);
  const counted = memoryOf(count, microBatch, recompute);
  const fitsOn = (ranks: number) => memoryOf(ranks, 1, true).totalBytes <= usable;
  let least = 1;
  while (least < MOST_GPUS && !fitsOn(least)) least *= 2;
  // Between a number that is too few and twice that.
  let low = least === 1 ? 0 : least / 2;
  let high = least;
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (fitsOn(middle)) high = middle;
    else low = middle;
  }
  return {
    share,
    recompute,
    microBatch,
    ...counted,
    runtimeBytes: RUNTIME_BYTES,
    fits: counted.totalBytes <= usable,
    largest: { kept, selective, full },
    ...(fitsOn(high) && { leastGpus: high }),
  };
}

/** More are not looked at. */
const MOST_GPUS = 2 ** 14;
