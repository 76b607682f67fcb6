// bf16 as the upper half of an f32's bits.
import type { Floats } from './types.ts';

const scratch = new Float32Array(1);
const scratchBits = new Uint32Array(scratch.buffer);

/** Round to nearest, ties to even; NaN stays NaN. */
export function f32ToBf16(x: number): number {
  scratch[0] = x;
  const bits = scratchBits[0]!;
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

export function bf16ToF32(x: number): number {
  scratchBits[0] = x << 16;
  return scratch[0]!;
}

/** A Float32Array with the same values; the array itself when it is f32 already. */
export function toF32(x: Floats): Float32Array {
  if (x instanceof Float32Array) return x;
  const out = new Float32Array(x.length);
  const bits = new Uint32Array(out.buffer);
  for (let i = 0; i < x.length; i++) bits[i] = x[i]! << 16;
  return out;
}

export function storeF32(out: Floats, values: Float32Array): void {
  if (out instanceof Float32Array) out.set(values);
  else for (let i = 0; i < values.length; i++) out[i] = f32ToBf16(values[i]!);
}
