// An exponential moving average of the f32 master weights (Polyak & Juditsky 1992; as PyTorch's AveragedModel it begins at the weights that
// training begins with). To be scored and exported, the averages change places with the weights: no third copy is ever held.
import type { Kernels } from '../kernels/index.ts';
import { type Parameter, readMaster, writeMaster } from './tensor.ts';

/** Gives every trained parameter an average, equal to its weights. */
export function prepareEma(parameters: readonly Parameter[], kernels: Kernels): void {
  for (const parameter of parameters) {
    if (!parameter.grad) continue;
    parameter.ema = new Float32Array(parameter.data.length);
    readMaster(parameter, 0, parameter.ema, kernels);
  }
}

/** After each optimizer step. @param decay share of the old average that stays */
export function updateEma(parameters: readonly Parameter[], kernels: Kernels, decay: number): void {
  for (const { ema, data, low } of parameters) if (ema) kernels.ema(ema, data, low, decay);
}

/** Elements exchanged at a time. */
const CHUNK = 1 << 20;

/** Runs `body` on a model whose weights are the averages; exact, so that afterwards everything is as it was, bit for bit. */
export async function withEma<T>(
  parameters: readonly Parameter[],
  kernels: Kernels,
  body: () => T | Promise<T>,
): Promise<T> {
  exchange(parameters, kernels);
  try {
    return await body();
  } finally {
    exchange(parameters, kernels);
  }
}

function exchange(parameters: readonly Parameter[], kernels: Kernels): void {
  const scratch = new Float32Array(CHUNK);
  for (const parameter of parameters) {
    const { ema } = parameter;
    if (!ema) continue;
    for (let from = 0; from < ema.length; from += CHUNK) {
      const average = ema.subarray(from, from + CHUNK);
      const master = scratch.subarray(0, average.length);
      readMaster(parameter, from, master, kernels);
      writeMaster(parameter, from, average, kernels);
      average.set(master);
    }
  }
}
