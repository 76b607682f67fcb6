import * as fs from 'node:fs';
import * as path from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Rng } from '../../src/base/rng.ts';
import { openShard, ShardWriter } from '../../src/shards/index.ts';
import { makeFolder } from './fixtures.ts';

let folder: string;
beforeAll(() => {
  folder = makeFolder('megatron');
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

function writeShard(name: string, documents: readonly number[][], vocabSize: number): string {
  const prefix = path.join(folder, name);
  const writer = new ShardWriter(prefix, vocabSize);
  for (const ids of documents) writer.addDocument(ids);
  writer.finish();
  return prefix;
}

/** The layout as Megatron-LM documents it, read with nothing but offsets. */
function readLayout(prefix: string) {
  const idx = fs.readFileSync(`${prefix}.idx`);
  const n = Number(idx.readBigUInt64LE(18));
  const d = Number(idx.readBigUInt64LE(26));
  const at = 34;
  return {
    magic: idx.toString('latin1', 0, 9),
    version: idx.readBigUInt64LE(9),
    dtype: idx.readUInt8(17),
    lengths: Array.from({ length: n }, (_, i) => idx.readInt32LE(at + 4 * i)),
    pointers: Array.from({ length: n }, (_, i) => Number(idx.readBigInt64LE(at + 4 * n + 8 * i))),
    documents: Array.from({ length: d }, (_, i) => Number(idx.readBigInt64LE(at + 12 * n + 8 * i))),
    size: idx.length - (at + 12 * n + 8 * d),
  };
}

describe('shards', () => {
  it("has Megatron's layout, 16 bits below 65500 ids and 32 above", () => {
    const documents = [[1, 2, 3], [], [65_498]];
    const small = writeShard('small', documents, 65_499);
    expect(readLayout(small)).toEqual({
      magic: 'MMIDIDX\0\0',
      version: 1n,
      dtype: 8,
      lengths: [3, 0, 1],
      pointers: [0, 6, 6],
      documents: [0, 1, 2, 3],
      size: 0,
    });
    expect(fs.readFileSync(`${small}.bin`).toString('hex')).toBe('010002000300daff');
    const large = writeShard('large', documents, 65_500);
    expect(readLayout(large)).toMatchObject({ dtype: 4, pointers: [0, 12, 12] });
    expect(fs.readFileSync(`${large}.bin`).toString('hex')).toBe('010000000200000003000000daff0000');
  });

  it('gives back what was written', () => {
    const document = fc.array(fc.nat(99_999), { maxLength: 40 });
    fc.assert(
      fc.property(fc.array(document, { minLength: 1, maxLength: 30 }), fc.boolean(), (documents, wide) => {
        const vocabSize = wide ? 100_000 : 60_000;
        const kept = documents.map((ids) => ids.map((id) => id % vocabSize));
        const shard = openShard(writeShard('round', kept, vocabSize));
        const found = kept.map((_, i) => Array.from(shard.read(...shard.documentRange(i))));
        expect(found).toEqual(kept);
        expect([shard.numDocuments, shard.numTokens]).toEqual([kept.length, kept.flat().length]);
        expect(Array.from(shard.read(0, shard.numTokens))).toEqual(kept.flat());
        shard.close();
      }),
      { numRuns: 60 },
    );
  });

  it('reads documents of several sequences, as other tools write them', () => {
    const prefix = writeShard('several', [[1, 2], [3], [4, 5, 6]], 100);
    const idx = fs.readFileSync(`${prefix}.idx`);
    idx.writeBigUInt64LE(3n, 26);
    const bounds = Buffer.alloc(24);
    [0n, 2n, 3n].forEach((bound, i) => void bounds.writeBigInt64LE(bound, 8 * i));
    fs.writeFileSync(`${prefix}.idx`, Buffer.concat([idx.subarray(0, idx.length - 32), bounds]));
    const shard = openShard(prefix);
    expect([shard.documentRange(0), shard.documentRange(1)]).toEqual([
      [0, 3],
      [3, 3],
    ]);
    shard.close();
  });

  it('refuses an id outside the vocabulary', () => {
    const writer = new ShardWriter(path.join(folder, 'outside'), 100);
    expect(() => writer.addDocument([100])).toThrow(/token id 100 outside the vocabulary of 100/);
    writer.abandon();
  });

  it('says what is wrong with a damaged pair', () => {
    const prefix = writeShard(
      'damaged',
      [
        [1, 2, 3],
        [4, 5],
      ],
      100,
    );
    const idx = fs.readFileSync(`${prefix}.idx`);
    const bin = fs.readFileSync(`${prefix}.bin`);
    const open = (index: Buffer, data: Buffer) => () => {
      fs.writeFileSync(`${prefix}.idx`, index);
      fs.writeFileSync(`${prefix}.bin`, data);
      const shard = openShard(prefix);
      try {
        shard.documentRange(0);
      } finally {
        shard.close();
      }
    };
    const edit = (offset: number, ...bytes: number[]) =>
      Buffer.concat([idx.subarray(0, offset), Buffer.from(bytes), idx.subarray(offset + bytes.length)]);
    expect(open(idx.subarray(0, 20), bin)).toThrow(/damaged\.idx: 20 bytes, too short for a shard index/);
    expect(open(idx.subarray(0, -8), bin)).toThrow(
      /2 sequences and 3 document bounds take 82 bytes, found 74\. Is it truncated\?/,
    );
    expect(open(idx, bin.subarray(0, -2))).toThrow(/damaged\.bin: holds 4 tokens, its index expects 5/);
    expect(open(idx, bin.subarray(0, -1))).toThrow(/9 bytes, not a multiple of 2/);
    expect(open(edit(0, 0x4e), bin)).toThrow(/is not a shard index/);
    expect(open(edit(9, 2), bin)).toThrow(/index version 2, expected 1/);
    expect(open(edit(17, 6), bin)).toThrow(/dtype code 6, expected 8 \(uint16\) or 4 \(int32\)/);
    expect(open(edit(34, 4), bin)).toThrow(/lengths add up to 6 tokens, the \.bin holds 5/);
    expect(open(edit(42, 2), bin)).toThrow(/sequence 0 begins at byte 2, expected 0/);
    expect(open(edit(66, 3), bin)).toThrow(/document bound 1 is 3/);
    expect(() => openShard(path.join(folder, 'nowhere'))).toThrow(/nowhere\.idx: no such file/);
    open(idx, bin)();
    const shard = openShard(prefix);
    expect(() => shard.read(3, 3)).toThrow(/tokens 3 to 6 wanted, but it holds 5/);
    shard.close();
  });

  it('answers hundreds of mutated indices with a DataError or with ranges inside the file', () => {
    const rng = new Rng(3);
    const prefix = writeShard(
      'fuzz',
      Array.from({ length: 20 }, (_, i) => Array(i).fill(i)),
      100,
    );
    const idx = fs.readFileSync(`${prefix}.idx`);
    for (let i = 0; i < 700; i++) {
      const mutated = Buffer.from(idx);
      for (let k = 0; k <= i % 3; k++) mutated[i % 2 ? rng.below(34) : rng.below(idx.length)] = rng.below(256);
      fs.writeFileSync(`${prefix}.idx`, i % 7 ? mutated : mutated.subarray(0, rng.below(idx.length)));
      try {
        const shard = openShard(prefix);
        for (let d = 0; d < shard.numDocuments; d++) shard.read(...shard.documentRange(d));
        shard.close();
      } catch (error) {
        expect((error as Error).name).toBe('DataError');
      }
    }
  });
});
