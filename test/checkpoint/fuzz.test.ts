// Thousands of damaged headers: each is either still sound, or refused with a ConfigError or DataError, quickly and without memory
// beyond the file's own size. The seed is fixed, so a failure repeats.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { expect, it } from 'vitest';
import { isUserError } from '../../src/base/errors.ts';
import { Rng } from '../../src/base/rng.ts';
import { GgufFile } from '../../src/checkpoint/gguf.ts';
import { translateGguf } from '../../src/checkpoint/gguf-llama.ts';
import { describeModel, openModel, saveModel } from '../../src/checkpoint/index.ts';
import { SafetensorsFile } from '../../src/checkpoint/safetensors.ts';
import { fixture, ggufBytes, safetensorsBytes, temporaryFolder } from './helpers.ts';
import { tinyModel } from './models.ts';

const HUGE = [
  0xffn,
  0xffffn,
  0x7fffffffn,
  0xffffffffn,
  1n << 33n,
  (1n << 53n) - 1n,
  1n << 53n,
  (1n << 63n) - 1n,
  (1n << 64n) - 1n,
];

/** One or two changes that begin in the first `headerBytes`; half of them keep the length. */
function mutate(original: Buffer, headerBytes: number, rng: Rng): Buffer {
  let bytes = Buffer.from(original);
  for (let changes = rng.below(4) === 0 ? 2 : 1; changes > 0 && bytes.length > 0; changes--) {
    const at = rng.below(Math.min(headerBytes, bytes.length));
    switch (rng.below(10)) {
      case 0:
        bytes[at] = rng.below(256);
        break;
      case 1:
        bytes = bytes.subarray(0, rng.below(bytes.length));
        break;
      case 2:
        if (at + 8 <= bytes.length) bytes.writeBigUInt64LE(HUGE[rng.below(HUGE.length)]!, at);
        break;
      case 3:
        if (at + 4 <= bytes.length) bytes.writeUInt32LE(Number(HUGE[rng.below(4)]!), at);
        break;
      case 4: {
        const length = rng.below(40);
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
        break;
      }
      case 5: {
        const piece = bytes.subarray(at, at + rng.below(64));
        bytes = Buffer.concat([bytes.subarray(0, at), piece, bytes.subarray(at)]);
        break;
      }
      default:
        bytes[at] = bytes[at]! ^ (1 << rng.below(8));
    }
  }
  return bytes;
}

interface Outcome {
  sound: number;
  refused: number;
}

function fuzz(
  originals: { bytes: Buffer; headerBytes: number }[],
  times: number,
  use: (file: string) => void,
): Outcome {
  const rng = new Rng(11, 'fuzz');
  const file = path.join(temporaryFolder(), 'mutant');
  const fd = fs.openSync(file, 'w');
  const outcome = { sound: 0, refused: 0 };
  for (let i = 0; i < times; i++) {
    const { bytes, headerBytes } = originals[i % originals.length]!;
    const mutant = mutate(bytes, headerBytes, rng);
    fs.writeSync(fd, mutant, 0, mutant.length, 0);
    fs.ftruncateSync(fd, mutant.length);
    try {
      use(file);
      outcome.sound++;
    } catch (error) {
      if (!isUserError(error)) {
        throw new Error(`mutation ${i}, ${mutant.length} bytes: ${(error as Error).stack}`);
      }
      outcome.refused++;
    }
  }
  fs.closeSync(fd);
  return outcome;
}

it('survives damaged configuration, index and generation settings', async () => {
  const folder = path.join(temporaryFolder(), 'model');
  await saveModel(folder, tinyModel({ maxShardBytes: 500, generationConfig: { eos_token_id: [0, 1] } }));
  const rng = new Rng(12, 'fuzz');
  for (const name of ['config.json', 'model.safetensors.index.json', 'generation_config.json']) {
    const file = path.join(folder, name);
    const original = fs.readFileSync(file);
    for (let i = 0; i < 250; i++) {
      fs.writeFileSync(file, mutate(original, original.length, rng));
      try {
        const source = openModel(folder);
        describeModel(source);
        source.close();
      } catch (error) {
        if (!isUserError(error)) throw new Error(`${name}, mutation ${i}: ${(error as Error).stack}`);
      }
    }
    fs.writeFileSync(file, original);
  }
}, 20_000);

function peakBytes(): number {
  return process.resourceUsage().maxRSS * 1024;
}

it('survives damaged safetensors headers', () => {
  const tensors = Object.fromEntries(
    Array.from({ length: 6 }, (_, i) => [
      `model.layers.${i}.weight`,
      { dtype: ['F32', 'F16', 'BF16'][i % 3], shape: [2, 4 << (i % 3 ? 1 : 0)], data_offsets: [i * 32, i * 32 + 32] },
    ]),
  );
  const small = safetensorsBytes({ __metadata__: { format: 'pt' }, ...tensors }, new Uint8Array(192));
  const real = fs.readFileSync(fixture('llama.safetensors'));
  const before = peakBytes();
  const outcome = fuzz(
    [
      { bytes: small, headerBytes: small.length - 192 },
      { bytes: real, headerBytes: 2500 },
    ],
    10_000,
    (file) => {
      const opened = new SafetensorsFile(file);
      try {
        for (const name of opened.tensors.keys()) opened.readF32(name);
      } finally {
        opened.close();
      }
    },
  );
  expect(outcome.refused).toBeGreaterThan(3000);
  expect(outcome.sound).toBeGreaterThan(600);
  expect(peakBytes() - before).toBeLessThan(64 << 20);
}, 10_000);

it('survives damaged GGUF headers', () => {
  const small = ggufBytes(
    {
      'general.architecture': { type: 'string', value: 'llama' },
      'llama.embedding_length': { type: 'u32', value: 8 },
      'llama.attention.head_count': { type: 'u32', value: 2 },
      'llama.feed_forward_length': { type: 'u32', value: 8 },
      'llama.context_length': { type: 'u32', value: 8 },
      'llama.block_count': { type: 'u32', value: 1 },
      'llama.attention.layer_norm_rms_epsilon': { type: 'f32', value: 1e-5 },
      'tokenizer.ggml.tokens': { type: 'strings', value: ['a', 'b', 'c'] },
      'tokenizer.ggml.token_type': { type: 'i32s', value: [1, 1, 1] },
    },
    [
      { name: 'token_embd.weight', dims: [8, 4] },
      { name: 'output_norm.weight', dims: [8] },
    ],
  );
  const llama = fs.readFileSync(fixture('llama.gguf'));
  const quants = fs.readFileSync(fixture('quants.gguf'));
  const before = peakBytes();
  const originals = [
    { bytes: small, headerBytes: small.length - 160 },
    { bytes: llama, headerBytes: 1900 },
    { bytes: quants, headerBytes: 500 },
  ];
  const outcome = fuzz(originals, 9000, (file) => {
    const opened = new GgufFile(file);
    try {
      for (const tensor of opened.tensors.values()) if (tensor.type.dequantise) opened.readF32(tensor.name);
      translateGguf(opened);
    } finally {
      opened.close();
    }
  });
  expect(outcome.refused).toBeGreaterThan(4500);
  expect(outcome.sound).toBeGreaterThan(240);
  expect(peakBytes() - before).toBeLessThan(64 << 20);
}, 10_000);
