// Conversions between the stored number formats and f32 / bf16. Not arithmetic (that is src/kernels): whole arrays in, whole arrays out.
// All of it assumes a little-endian machine, as every platform of Node but s390x is; the file formats are little-endian too.

/** Every f16 value as f32, indexed by its bits: 256 KiB, built on first use, exact for subnormals, infinities and NaN. */
let halfTable: Float32Array | undefined;

export function f16Table(): Float32Array {
  if (halfTable) return halfTable;
  const table = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    if (exponent === 31) table[bits] = fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
    else if (exponent === 0) table[bits] = sign * fraction * 2 ** -24;
    else table[bits] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }
  halfTable = table;
  return table;
}

/** out[offset + i] = the f32 value of the f16 bits. */
export function f16ToF32(out: Float32Array, offset: number, bits: Uint16Array): void {
  const table = f16Table();
  for (let i = 0; i < bits.length; i++) out[offset + i] = table[bits[i]!]!;
}

/** out[offset + i] = the f32 value of the bf16 bits: they are its upper half. */
export function bf16ToF32(out: Float32Array, offset: number, bits: Uint16Array): void {
  const words = new Int32Array(out.buffer, out.byteOffset + offset * 4, bits.length);
  for (let i = 0; i < bits.length; i++) words[i] = bits[i]! << 16;
}

/** out[offset + i] = x[i] rounded to bf16, ties to even; NaN stays NaN (quiet). */
export function f32ToBf16(out: Uint16Array, offset: number, x: Float32Array): void {
  const words = new Int32Array(x.buffer, x.byteOffset, x.length);
  for (let i = 0; i < words.length; i++) {
    const b = words[i]!;
    // The carry of the rounding cannot leave 32 bits: only NaN patterns lie above infinity.
    out[offset + i] = (b & 0x7fffffff) > 0x7f800000 ? (b >>> 16) | 0x40 : (b + 0x7fff + ((b >>> 16) & 1)) >>> 16;
  }
}

/** Product of a shape, or undefined where it is not a safe integer. */
export function elementCount(shape: readonly number[]): number | undefined {
  let count = 1;
  for (const dim of shape) {
    count *= dim;
    if (!Number.isSafeInteger(count)) return undefined;
  }
  return count;
}
