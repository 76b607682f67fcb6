// Temporary folders, fixtures and files built byte by byte.
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect } from 'vitest';
import type { TensorToWrite } from '../../src/checkpoint/types.ts';

const folders: string[] = [];

export function temporaryFolder(): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-checkpoint-'));
  folders.push(folder);
  return folder;
}

afterAll(() => {
  for (const folder of folders) fs.rmSync(folder, { recursive: true, force: true });
});

export function fixture(name: string): string {
  return fileURLToPath(new URL(`./fixtures/${name}`, import.meta.url));
}

export function fixtureF32(name: string): Float32Array {
  const bytes = fs.readFileSync(fixture(name));
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

/** Equal bit for bit; any NaN equals any other. */
export function expectSameFloats(found: Float32Array, expected: Float32Array): void {
  expect(found.length).toBe(expected.length);
  for (let i = 0; i < found.length; i++)
    if (!Object.is(found[i], expected[i])) expect.fail(`element ${i}: expected ${expected[i]}, found ${found[i]}`);
}

export function writeFile(name: string, data: string | Uint8Array): string {
  const file = path.join(temporaryFolder(), name);
  fs.writeFileSync(file, data);
  return file;
}

/** A safetensors file of this header, whatever it says. */
export function safetensorsBytes(header: unknown, data: Uint8Array = new Uint8Array(0)): Buffer {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, data]);
}

export function f32Tensor(name: string, shape: number[], values: ArrayLike<number>): TensorToWrite {
  return { name, shape, dtype: 'F32', data: () => new Uint8Array(Float32Array.from(values).buffer) };
}

export function u16Tensor(
  name: string,
  shape: number[],
  dtype: 'BF16' | 'F16',
  bits: ArrayLike<number>,
): TensorToWrite {
  return { name, shape, dtype, data: () => new Uint8Array(Uint16Array.from(bits).buffer) };
}

type GgufValue =
  | { type: 'u32'; value: number }
  | { type: 'f32'; value: number }
  | { type: 'string'; value: string }
  | { type: 'strings'; value: string[] }
  | { type: 'i32s'; value: number[] };

export interface GgufTensorSpec {
  name: string;
  dims: number[];
  type?: number;
  offset?: number;
}

/** A GGUF of F32 zeros: `tensors` have their offsets computed unless they name one. */
export function ggufBytes(
  metadata: Record<string, GgufValue>,
  tensors: GgufTensorSpec[] = [],
  options: { version?: number; dataBytes?: number } = {},
): Buffer {
  const parts: Buffer[] = [
    Buffer.from('GGUF'),
    u32(options.version ?? 3),
    u64(tensors.length),
    u64(Object.keys(metadata).length),
  ];
  for (const [key, value] of Object.entries(metadata)) parts.push(text(key), ...encode(value));
  let offset = 0;
  for (const tensor of tensors) {
    parts.push(
      text(tensor.name),
      u32(tensor.dims.length),
      ...tensor.dims.map(u64),
      u32(tensor.type ?? 0),
      u64(tensor.offset ?? offset),
    );
    offset += Math.ceil((tensor.dims.reduce((a, b) => a * b, 1) * 4) / 32) * 32;
  }
  const header = Buffer.concat(parts);
  const padding = Buffer.alloc((32 - (header.length % 32)) % 32);
  return Buffer.concat([header, padding, Buffer.alloc(options.dataBytes ?? offset)]);
}

function encode(value: GgufValue): Buffer[] {
  switch (value.type) {
    case 'u32':
      return [u32(4), u32(value.value)];
    case 'f32': {
      const bytes = Buffer.alloc(4);
      bytes.writeFloatLE(value.value);
      return [u32(6), bytes];
    }
    case 'string':
      return [u32(8), text(value.value)];
    case 'strings':
      return [u32(9), u32(8), u64(value.value.length), ...value.value.map(text)];
    case 'i32s':
      return [u32(9), u32(5), u64(value.value.length), ...value.value.map(u32)];
    default:
      return value satisfies never;
  }
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([u64(bytes.length), bytes]);
}
