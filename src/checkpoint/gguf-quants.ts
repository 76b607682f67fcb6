// The block formats of ggml and their dequantisation to f32. Reading only: nothing here quantises.
// Each formula follows ggml's order of operations with every product and sum rounded to f32, so results are equal to the reference
// implementation's bit for bit (test/checkpoint/fixtures holds blocks with the values of the Python package gguf 0.19).
// A block's scales are f16; q below are its small integers:
//   Q8_0, Q4_0, Q5_0: d q          Q4_1, Q5_1: d q + m
//   Q4_K, Q5_K (256 elements, 8 groups of 32, scales and minima of 6 bits): (d s) q - (dmin m)
//   Q6_K (256 elements, 16 groups of 16, scales of 8 bits): (d s) q
import { internal } from '../base/errors.ts';
import { bf16ToF32, f16Table, f16ToF32 } from './numbers.ts';

type Dequantise = (out: Float32Array, offset: number, blocks: Uint8Array) => void;

export interface GgmlType {
  name: string;
  blockElements: number;
  blockBytes: number;
  /** Undefined for the types that are known by size only. */
  dequantise: Dequantise | undefined;
}

const fround = Math.fround;

function readHalf(table: Float32Array, bytes: Uint8Array, at: number): number {
  return table[bytes[at]! | (bytes[at + 1]! << 8)]!;
}

function float32(out: Float32Array, offset: number, blocks: Uint8Array): void {
  out.set(new Float32Array(blocks.buffer, blocks.byteOffset, blocks.byteLength / 4), offset);
}

function float16(out: Float32Array, offset: number, blocks: Uint8Array): void {
  f16ToF32(out, offset, new Uint16Array(blocks.buffer, blocks.byteOffset, blocks.byteLength / 2));
}

function brain16(out: Float32Array, offset: number, blocks: Uint8Array): void {
  bf16ToF32(out, offset, new Uint16Array(blocks.buffer, blocks.byteOffset, blocks.byteLength / 2));
}

function q8_0(out: Float32Array, offset: number, blocks: Uint8Array): void {
  const half = f16Table();
  for (let at = 0, y = offset; at < blocks.length; at += 34, y += 32) {
    const d = readHalf(half, blocks, at);
    for (let i = 0; i < 32; i++) out[y + i] = d * ((blocks[at + 2 + i]! << 24) >> 24);
  }
}

/** The element i of a block is the low half of byte i, element i + 16 the high half. */
function q4_0(out: Float32Array, offset: number, blocks: Uint8Array): void {
  const half = f16Table();
  for (let at = 0, y = offset; at < blocks.length; at += 18, y += 32) {
    const d = readHalf(half, blocks, at);
    for (let i = 0; i < 16; i++) {
      const byte = blocks[at + 2 + i]!;
      out[y + i] = d * ((byte & 15) - 8);
      out[y + i + 16] = d * ((byte >> 4) - 8);
    }
  }
}

function q4_1(out: Float32Array, offset: number, blocks: Uint8Array): void {
  const half = f16Table();
  for (let at = 0, y = offset; at < blocks.length; at += 20, y += 32) {
    const d = readHalf(half, blocks, at);
    const m = readHalf(half, blocks, at + 2);
    for (let i = 0; i < 16; i++) {
      const byte = blocks[at + 4 + i]!;
      out[y + i] = fround(d * (byte & 15)) + m;
      out[y + i + 16] = fround(d * (byte >> 4)) + m;
    }
  }
}

/** As q4_0 with a fifth bit an element, in a little-endian u32 before the halves. */
function q5_0(out: Float32Array, offset: number, blocks: Uint8Array): void {
  const half = f16Table();
  for (let at = 0, y = offset; at < blocks.length; at += 22, y += 32) {
    const d = readHalf(half, blocks, at);
    const high = readWord(blocks, at + 2);
    for (let i = 0; i < 16; i++) {
      const byte = blocks[at + 6 + i]!;
      out[y + i] = d * (((byte & 15) | (((high >>> i) & 1) << 4)) - 16);
      out[y + i + 16] = d * (((byte >> 4) | (((high >>> (i + 16)) & 1) << 4)) - 16);
    }
  }
}

function q5_1(out: Float32Array, offset: number, blocks: Uint8Array): void {
  const half = f16Table();
  for (let at = 0, y = offset; at < blocks.length; at += 24, y += 32) {
    const d = readHalf(half, blocks, at);
    const m = readHalf(half, blocks, at + 2);
    const high = readWord(blocks, at + 4);
    for (let i = 0; i < 16; i++) {
      const byte = blocks[at + 8 + i]!;
      out[y + i] = fround(d * ((byte & 15) | (((high >>> i) & 1) << 4))) + m;
      out[y + i + 16] = fround(d * ((byte >> 4) | (((high >>> (i + 16)) & 1) << 4))) + m;
    }
  }
}

function readWord(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}

/** Scale and minimum of group j: 6 bits each; those of groups 4 to 7 are split over the 12 bytes. */
function scaleOf(blocks: Uint8Array, at: number, j: number): number {
  return j < 4 ? blocks[at + j]! & 63 : (blocks[at + j + 4]! & 15) | ((blocks[at + j - 4]! >> 6) << 4);
}

function minimumOf(blocks: Uint8Array, at: number, j: number): number {
  return j < 4 ? blocks[at + j + 4]! & 63 : (blocks[at + j + 4]! >> 4) | ((blocks[at + j]! >> 6) << 4);
}

function q4_K(out: Float32Array, offset: number, blocks: Uint8Array): void {
  const half = f16Table();
  for (let at = 0, y = offset; at < blocks.length; at += 144, y += 256) {
    const d = readHalf(half, blocks, at);
    const dMin = readHalf(half, blocks, at + 2);
    for (let j = 0; j < 8; j++) {
      const scale = fround(d * scaleOf(blocks, at + 4, j));
      const minimum = fround(dMin * minimumOf(blocks, at + 4, j));
      const q = at + 16 + (j >> 1) * 32;
      const shift = (j & 1) * 4;
      for (let i = 0; i < 32; i++) out[y + j * 32 + i] = fround(scale * ((blocks[q + i]! >> shift) & 15)) - minimum;
    }
  }
}

/** As q4_K; bit j of byte i of the 32 bytes before the halves is the fifth bit of element i of group j. */
function q5_K(out: Float32Array, offset: number, blocks: Uint8Array): void {
  const half = f16Table();
  for (let at = 0, y = offset; at < blocks.length; at += 176, y += 256) {
    const d = readHalf(half, blocks, at);
    const dMin = readHalf(half, blocks, at + 2);
    for (let j = 0; j < 8; j++) {
      const scale = fround(d * scaleOf(blocks, at + 4, j));
      const minimum = fround(dMin * minimumOf(blocks, at + 4, j));
      const q = at + 48 + (j >> 1) * 32;
      const shift = (j & 1) * 4;
      for (let i = 0; i < 32; i++) {
        const value = ((blocks[q + i]! >> shift) & 15) | (((blocks[at + 16 + i]! >> j) & 1) << 4);
        out[y + j * 32 + i] = fround(scale * value) - minimum;
      }
    }
  }
}

/** Four low bits in 128 bytes, two high bits in 64, 16 signed scales, d. Each half of 128 elements has its own 64 + 32 bytes. */
function q6_K(out: Float32Array, offset: number, blocks: Uint8Array): void {
  const half = f16Table();
  for (let at = 0, y = offset; at < blocks.length; at += 210, y += 256) {
    const d = readHalf(half, blocks, at + 208);
    for (let group = 0; group < 16; group++) {
      const scale = fround(d * ((blocks[at + 192 + group]! << 24) >> 24));
      const part = group >> 3;
      const quarter = (group >> 1) & 3;
      const low = at + part * 64 + (quarter & 1) * 32 + (group & 1) * 16;
      const high = at + 128 + part * 32 + (group & 1) * 16;
      const lowShift = (quarter >> 1) * 4;
      const highShift = quarter * 2;
      for (let i = 0; i < 16; i++) {
        const value = ((blocks[low + i]! >> lowShift) & 15) | (((blocks[high + i]! >> highShift) & 3) << 4);
        out[y + group * 16 + i] = scale * (value - 32);
      }
    }
  }
}

/** [id, name, elements a block, bytes a block, dequantise] of every type that ggml has had. */
const TYPES: readonly [number, string, number, number, Dequantise?][] = [
  [0, 'F32', 1, 4, float32],
  [1, 'F16', 1, 2, float16],
  [2, 'Q4_0', 32, 18, q4_0],
  [3, 'Q4_1', 32, 20, q4_1],
  [6, 'Q5_0', 32, 22, q5_0],
  [7, 'Q5_1', 32, 24, q5_1],
  [8, 'Q8_0', 32, 34, q8_0],
  [9, 'Q8_1', 32, 40],
  [10, 'Q2_K', 256, 84],
  [11, 'Q3_K', 256, 110],
  [12, 'Q4_K', 256, 144, q4_K],
  [13, 'Q5_K', 256, 176, q5_K],
  [14, 'Q6_K', 256, 210, q6_K],
  [15, 'Q8_K', 256, 292],
  [16, 'IQ2_XXS', 256, 66],
  [17, 'IQ2_XS', 256, 74],
  [18, 'IQ3_XXS', 256, 98],
  [19, 'IQ1_S', 256, 50],
  [20, 'IQ4_NL', 32, 18],
  [21, 'IQ3_S', 256, 110],
  [22, 'IQ2_S', 256, 82],
  [23, 'IQ4_XS', 256, 136],
  [24, 'I8', 1, 1],
  [25, 'I16', 1, 2],
  [26, 'I32', 1, 4],
  [27, 'I64', 1, 8],
  [28, 'F64', 1, 8],
  [29, 'IQ1_M', 256, 56],
  [30, 'BF16', 1, 2, brain16],
  [34, 'TQ1_0', 256, 54],
  [35, 'TQ2_0', 256, 66],
  [39, 'MXFP4', 32, 17],
  [40, 'NVFP4', 64, 36],
  [41, 'Q1_0', 128, 18],
];

export const GGML_TYPES: ReadonlyMap<number, GgmlType> = new Map(
  TYPES.map(([id, name, blockElements, blockBytes, run]) => [id, { name, blockElements, blockBytes, dequantise: run }]),
);

export const READABLE_TYPES: readonly string[] = TYPES.filter((type) => type[4]).map((type) => type[1]);

const BY_NAME = new Map([...GGML_TYPES.values()].map((type) => [type.name, type]));

/** Bytes that `numElements` of the named type take, or undefined for an unknown name. */
export function ggmlBytes(name: string, numElements: number): number | undefined {
  const type = BY_NAME.get(name);
  return type && (numElements / type.blockElements) * type.blockBytes;
}

/** out[offset...] = the values of whole `blocks` of this type. */
export function dequantise(type: GgmlType, out: Float32Array, offset: number, blocks: Uint8Array): void {
  if (!type.dequantise) internal(`tensors of type ${type.name} are refused when the file is opened`);
  type.dequantise(out, offset, blocks);
}
