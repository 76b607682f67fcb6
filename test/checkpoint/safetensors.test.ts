import * as fs from 'node:fs';
import { describe, expect, it } from 'vitest';
import { DataError } from '../../src/base/errors.ts';
import { f32ToBf16 } from '../../src/checkpoint/numbers.ts';
import { SafetensorsFile, writeSafetensors } from '../../src/checkpoint/safetensors.ts';
import {
  expectSameFloats,
  f32Tensor,
  fixture,
  fixtureF32,
  safetensorsBytes,
  temporaryFolder,
  u16Tensor,
  writeFile,
} from './helpers.ts';

function open(bytes: Uint8Array): SafetensorsFile {
  return new SafetensorsFile(writeFile('x.safetensors', bytes));
}

describe('numbers', () => {
  it('reads f32, f16 (subnormals, infinities, NaN) and bf16 as the reference implementation does', () => {
    const file = new SafetensorsFile(fixture('torch.safetensors'));
    const expected = fixtureF32('torch.f32');
    let at = 0;
    for (const name of ['a.f32', 'b.f16', 'c.bf16']) {
      const values = file.readF32(name);
      expectSameFloats(values, expected.subarray(at, at + values.length));
      at += values.length;
    }
    expect(at).toBe(expected.length);
    file.close();
  });

  it('rounds to bf16 exactly as torch does', () => {
    const file = new SafetensorsFile(fixture('torch.safetensors'));
    expect(file.readBf16('a.f32')).toEqual(file.readBf16('c.bf16'));
    file.close();
  });

  it('rounds ties to even, keeps NaN a NaN and overflows to infinity', () => {
    const bits = Uint32Array.of(0x3f808000, 0x3f818000, 0x3f808001, 0x7f800001, 0xff7fffff, 0x7f800000, 0x80000001);
    const out = new Uint16Array(bits.length);
    f32ToBf16(out, 0, new Float32Array(bits.buffer));
    expect([...out].map((b) => b.toString(16))).toEqual(['3f80', '3f82', '3f81', '7fc0', 'ff80', '7f80', '8000']);
  });

  it('tolerates other dtypes until they are read', () => {
    const file = new SafetensorsFile(fixture('torch.safetensors'));
    expect(file.tensors.get('d.int')).toMatchObject({ shape: [5], storedAs: 'I64' });
    expect(file.readF32('e.empty')).toHaveLength(0);
    expect(() => file.readF32('d.int')).toThrow(/"d.int" is stored as I64; expected F32, F16 or BF16/);
    expect(file.readBytes('d.int')).toHaveLength(40);
    expect(() => file.readF32('nothing')).toThrow(/holds no tensor named "nothing"/);
    file.close();
  });
});

describe('writing', () => {
  it('gives back what was written, bit for bit', () => {
    const path = `${temporaryFolder()}/m.safetensors`;
    const bits = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const bytes = writeSafetensors(path, [
      u16Tensor('half', [65536], 'F16', bits),
      u16Tensor('brain', [256, 256], 'BF16', bits),
      f32Tensor('wide', [3], [1, -0, Number.NaN]),
      f32Tensor('__proto__', [1], [7]),
    ]);
    expect(bytes).toBe(65536 * 4 + 16);
    const file = new SafetensorsFile(path);
    expect(Buffer.from(file.readBytes('half')).equals(Buffer.from(bits.buffer))).toBe(true);
    expect(file.readBf16('brain')).toEqual(bits);
    expectSameFloats(file.readF32('wide'), Float32Array.of(1, -0, Number.NaN));
    expect(file.readF32('__proto__')).toEqual(Float32Array.of(7));
    expect(file.metadata.get('format')).toBe('pt');
    file.close();
  });

  it('aligns the data and every tensor, with spaces after the header', () => {
    const path = `${temporaryFolder()}/m.safetensors`;
    writeSafetensors(path, [u16Tensor('odd', [3], 'BF16', [1, 2, 3]), f32Tensor('wide', [1], [1])]);
    const bytes = fs.readFileSync(path);
    const length = Number(bytes.readBigUInt64LE());
    expect(length % 8).toBe(0);
    const header = JSON.parse(bytes.toString('utf8', 8, 8 + length)) as Record<string, { data_offsets: number[] }>;
    expect(header.wide!.data_offsets).toEqual([0, 4]);
    expect(header.odd!.data_offsets).toEqual([4, 10]);
  });

  it('asks for one tensor after the other', () => {
    const order: string[] = [];
    const tensor = (name: string) => ({
      ...f32Tensor(name, [1], [1]),
      data: () => {
        order.push(name);
        return new Uint8Array(4);
      },
    });
    writeSafetensors(`${temporaryFolder()}/m.safetensors`, [tensor('a'), tensor('b')]);
    expect(order).toEqual(['a', 'b']);
  });
});

describe('a header that cannot be trusted', () => {
  const tensor = { dtype: 'F32', shape: [2], data_offsets: [0, 8] };
  const eight = new Uint8Array(8);

  it.each<[string, Uint8Array, RegExp]>([
    ['nothing in it', new Uint8Array(0), /is 0 bytes long/],
    [
      'a huge header length',
      Buffer.from('ffffffffffffff7f0000', 'hex'),
      /says that its header has 9223372036854775807 bytes; at most 2 are possible/,
    ],
    ['a Git LFS pointer', Buffer.from('version https://git-lfs.github.com/spec/v1\noid sha256:0\n'), /git lfs pull/],
    ['broken JSON', safetensorsBytes('{"a":'), /not valid JSON/],
    [
      'bytes that are not UTF-8',
      Buffer.concat([safetensorsBytes('').fill(1, 0, 1), Buffer.from([0xff])]),
      /not valid JSON/,
    ],
    ['a list', safetensorsBytes('[]'), /not a JSON object/],
    [
      'a name twice',
      safetensorsBytes(`{"a":${JSON.stringify(tensor)},"\\u0061":${JSON.stringify(tensor)}}`, eight),
      /names "a" twice/,
    ],
    [
      'a key of a tensor twice',
      safetensorsBytes('{"a":{"dtype":"F32","dtype":"F16","shape":[2],"data_offsets":[0,8]}}', eight),
      /names "dtype" twice/,
    ],
    ['an unknown dtype', safetensorsBytes({ a: { ...tensor, dtype: 'F31' } }, eight), /unknown dtype "F31"/],
    [
      'a dtype of Object.prototype',
      safetensorsBytes({ a: { ...tensor, dtype: 'constructor' } }, eight),
      /unknown dtype/,
    ],
    ['a negative size', safetensorsBytes({ a: { ...tensor, shape: [-2] } }, eight), /shape is not a list of sizes/],
    ['a fractional size', safetensorsBytes({ a: { ...tensor, shape: [1.5] } }, eight), /shape is not a list of sizes/],
    [
      'a product that overflows',
      safetensorsBytes({ a: { ...tensor, shape: [2 ** 40, 2 ** 40] } }, eight),
      /needs an impossible number of bytes/,
    ],
    [
      'a shape of other bytes',
      safetensorsBytes({ a: { ...tensor, shape: [3] } }, eight),
      /shape \[3\] of F32 needs 12 bytes, data_offsets give 8/,
    ],
    [
      'offsets backwards',
      safetensorsBytes({ a: { ...tensor, data_offsets: [8, 0] } }, eight),
      /data_offsets is not \[begin, end\]/,
    ],
    ['a gap', safetensorsBytes({ a: { ...tensor, data_offsets: [4, 12] } }, new Uint8Array(12)), /leaving a gap/],
    [
      'an overlap',
      safetensorsBytes({ a: tensor, b: { ...tensor, data_offsets: [4, 12] } }, new Uint8Array(12)),
      /overlapping another tensor/,
    ],
    ['too few data', safetensorsBytes({ a: tensor }, new Uint8Array(7)), /It is truncated: fetch or copy it again/],
    ['more data than described', safetensorsBytes({ a: tensor }, new Uint8Array(9)), /Something was appended/],
    ['metadata that are not text', safetensorsBytes({ __metadata__: { a: 1 } }), /__metadata__.a is not a string/],
  ])('%s', (_what, bytes, message) => {
    expect(() => open(bytes)).toThrow(DataError);
    expect(() => open(bytes)).toThrow(message);
  });

  it('a name such as __proto__ is only a name', () => {
    const file = open(safetensorsBytes('{"__proto__":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', eight));
    expect([...file.tensors.keys()]).toEqual(['__proto__']);
    expect(({} as Record<string, unknown>).dtype).toBeUndefined();
    file.close();
  });
});
