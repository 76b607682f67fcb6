import * as fs from 'node:fs';
import { describe, expect, it } from 'vitest';
import { DataError } from '../../src/base/errors.ts';
import { GgufFile } from '../../src/checkpoint/gguf.ts';
import { f32ToBf16 } from '../../src/checkpoint/numbers.ts';
import { expectSameFloats, fixture, fixtureF32, ggufBytes, writeFile } from './helpers.ts';

function open(bytes: Uint8Array): GgufFile {
  return new GgufFile(writeFile('x.gguf', bytes));
}

describe('dequantisation', () => {
  it('equals the reference implementation bit for bit, extreme scales included', () => {
    const file = new GgufFile(fixture('quants.gguf'));
    const expected = fixtureF32('quants.f32');
    let at = 0;
    for (const name of ['Q8_0', 'Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q4_K', 'Q5_K', 'Q6_K', 'F16', 'BF16']) {
      const values = file.readF32(name);
      expectSameFloats(values, expected.subarray(at, at + values.length));
      at += values.length;
      const rounded = new Uint16Array(values.length);
      f32ToBf16(rounded, 0, values);
      if (name !== 'BF16') expect(file.readBf16(name)).toEqual(rounded);
    }
    expect(at).toBe(expected.length);
    file.close();
  });

  it('passes BF16 through untouched', () => {
    const file = new GgufFile(fixture('quants.gguf'));
    const bits = file.readBf16('BF16');
    const tail = new Uint16Array(new Uint8Array(fs.readFileSync(fixture('quants.gguf')).subarray(-256)).buffer);
    expect(bits).toEqual(tail);
    file.close();
  });
});

describe('metadata', () => {
  it('reads every kind of value', () => {
    const file = open(
      ggufBytes({
        'a.count': { type: 'u32', value: 4_000_000_000 },
        'a.real': { type: 'f32', value: 0.5 },
        'a.text': { type: 'string', value: 'grüße' },
        'a.list': { type: 'strings', value: ['', 'b'] },
        __proto__x: { type: 'i32s', value: [1, 2] },
      }),
    );
    expect({ ...file.metadata }).toEqual({
      'a.count': 4e9,
      'a.real': 0.5,
      'a.text': 'grüße',
      'a.list': ['', 'b'],
      __proto__x: [1, 2],
    });
    file.close();
  });

  it('reads version 2 and version 3', () => {
    for (const version of [2, 3]) {
      const file = open(ggufBytes({}, [{ name: 't', dims: [3, 5] }], { version }));
      expect(file.version).toBe(version);
      expect(file.readF32('t')).toHaveLength(15);
      file.close();
    }
  });
});

describe('a header that cannot be trusted', () => {
  const good = () => ggufBytes({ k: { type: 'string', value: 'value' } }, [{ name: 't', dims: [8] }]);
  const patched = (change: (bytes: Buffer) => void): Buffer => {
    const bytes = good();
    change(bytes);
    return bytes;
  };

  it.each<[string, Buffer, RegExp]>([
    ['nothing in it', Buffer.alloc(0), /the magic number needs at least 4 bytes, but 0 are left/],
    ['another magic', Buffer.from('ggjt0000'), /not a GGUF file: it begins with "ggjt"/],
    ['version 1', patched((b) => b.writeUInt32LE(1, 4)), /GGUF version 1; versions 2 and 3 can be read/],
    ['big-endian', patched((b) => b.writeUInt32BE(3, 4)), /big-endian/],
    [
      '2^63 tensors',
      patched((b) => b.writeBigUInt64LE(1n << 63n, 8)),
      /the number of tensors is 9223372036854775808, which is not possible/,
    ],
    ['a million tensors', patched((b) => b.writeBigUInt64LE(1_000_000n, 8)), /claims 1000000 tensors/],
    [
      'more keys than fit',
      patched((b) => b.writeBigUInt64LE(90_000n, 16)),
      /a header of 90000 keys and 1 tensors needs at least/,
    ],
    [
      'a key of 2^40 bytes',
      patched((b) => b.writeBigUInt64LE(1n << 40n, 24)),
      /metadata key 0 has 1099511627776 bytes, more than 65535/,
    ],
    ['an unknown value type', patched((b) => b.writeUInt32LE(77, 33)), /metadata k has the unknown value type 77/],
    [
      'a string longer than the file',
      patched((b) => b.writeBigUInt64LE(1n << 33n, 37)),
      /k needs at least 8589934592 bytes/,
    ],
    ['a key twice', ggufBytesWithDuplicateKey(), /metadata key "k" appears twice/],
    ['five dimensions', ggufBytes({}, [{ name: 't', dims: [1, 1, 1, 1, 1] }]), /has 5 dimensions, expected 1 to 4/],
    ['a size of zero', ggufBytes({}, [{ name: 't', dims: [0] }]), /sizes \[0\] are not possible/],
    [
      'a product that overflows',
      ggufBytes({}, [{ name: 't', dims: [2 ** 50, 2 ** 50] }], { dataBytes: 32 }),
      /are not possible for F32/,
    ],
    ['a row that is not whole blocks', ggufBytes({}, [{ name: 't', dims: [31], type: 8 }]), /blocks hold 32 elements/],
    ['an unknown tensor type', ggufBytes({}, [{ name: 't', dims: [32], type: 99 }]), /has the unknown type 99/],
    [
      'an offset off the alignment',
      ggufBytes({}, [{ name: 't', dims: [8], offset: 3 }]),
      /offset 3 is not a multiple of the alignment 32/,
    ],
    [
      'a tensor beyond the end',
      ggufBytes({}, [{ name: 't', dims: [8] }], { dataBytes: 31 }),
      /It is truncated: fetch it again/,
    ],
    [
      'overlapping tensors',
      ggufBytes({}, [
        { name: 's', dims: [8] },
        { name: 't', dims: [8], offset: 0 },
      ]),
      /overlaps another one/,
    ],
    [
      'a tensor twice',
      ggufBytes({}, [
        { name: 't', dims: [8] },
        { name: 't', dims: [8] },
      ]),
      /tensor "t" appears twice/,
    ],
    [
      'an alignment of three',
      ggufBytes({ 'general.alignment': { type: 'u32', value: 3 } }),
      /general.alignment is 3, expected a power of two/,
    ],
  ])('%s', (_what, bytes, message) => {
    expect(() => open(bytes)).toThrow(DataError);
    expect(() => open(bytes)).toThrow(message);
  });

  it('says where: the file and the byte', () => {
    expect(() => open(good().subarray(0, 30))).toThrow(/x\.gguf \(at byte 24\): .*truncated or damaged/);
  });
});

function ggufBytesWithDuplicateKey(): Buffer {
  const one = ggufBytes({ k: { type: 'u32', value: 1 } });
  const pair = one.subarray(24, 24 + 8 + 1 + 4 + 4);
  const head = Buffer.from(one.subarray(0, 24));
  head.writeBigUInt64LE(2n, 16);
  return Buffer.concat([head, pair, pair, Buffer.alloc(64)]);
}
