// The native MinHash beside the reference, bit for bit, and the reference beside its definition in big integers.
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  FOLD_BEGINS,
  FOLD_DIGIT,
  FOLD_ENDS,
  FOLD_LETTER,
  FOLD_NOTHING,
  loadNative,
  nativeInfo,
  referenceKernels,
} from '../../src/kernels/index.ts';

const NUM_HASHES = 117;

/** A small folding with every case: letters, digits, a separator, what counts as nothing, units that begin or end a word. */
const folding = Uint32Array.from({ length: 1 << 16 }, (_, unit) => {
  const char = String.fromCharCode(unit);
  if (char === ' ') return 0;
  if (/[0-9]/.test(char)) return FOLD_LETTER | FOLD_DIGIT | 0x30;
  if (/[!-/]/.test(char)) return FOLD_NOTHING;
  if (unit >= 0xd800 && unit < 0xdc00) return FOLD_LETTER | FOLD_BEGINS | unit;
  if (unit >= 0xdc00 && unit < 0xe000) return FOLD_LETTER | FOLD_ENDS | unit;
  return (
    FOLD_LETTER | (unit >= 0x4e00 && unit < 0xa000 ? FOLD_BEGINS | FOLD_ENDS : 0) | char.toLowerCase().charCodeAt(0)
  );
});

const multipliers = BigInt64Array.from({ length: NUM_HASHES }, (_, h) =>
  BigInt.asIntN(64, (BigInt(h) * 0x9e3779b97f4a7c15n) | 1n),
);
const addends = BigInt64Array.from({ length: NUM_HASHES }, (_, h) =>
  BigInt.asIntN(64, BigInt(h) * 0xd1342543de82ef95n),
);

function hash(kernels: typeof referenceKernels, text: string, ngram: number, by = multipliers, plus = addends) {
  const units = Uint16Array.from(text, (_, i) => text.charCodeAt(i));
  for (let i = 0; i < text.length; i++) units[i] = text.charCodeAt(i);
  const minima = new BigInt64Array(by.length);
  const count = kernels.minHash(minima, units, units.length, folding, by, plus, ngram);
  return { count, minima: [...minima] };
}

const texts = fc
  .array(
    fc.oneof(
      fc.string({ unit: 'grapheme', maxLength: 12 }),
      fc.stringMatching(/^[a-cA-C0-9 ,]{0,40}$/),
      fc.constantFrom('中文字', ' ', 'x\u0301', '😀', '12,345'),
    ),
  )
  .map((parts) => parts.join(' '));

describe('minHash', () => {
  for (const variant of nativeInfo()?.supported ?? [])
    it(`${variant} is the reference, bit for bit`, () => {
      const native = loadNative(variant)!;
      fc.assert(
        fc.property(texts, fc.integer({ min: 1, max: 7 }), (text, ngram) => {
          expect(hash(native, text, ngram)).toEqual(hash(referenceKernels, text, ngram));
        }),
        { numRuns: 200 },
      );
      const long = Array.from({ length: 3000 }, (_, i) => `w${i * i}é${i % 7 === 0 ? ' 中' : ''}`).join(' ');
      expect(hash(native, long, 5)).toEqual(hash(referenceKernels, long, 5));
    });

  it('is the least of multiplier * x + addend modulo 2^64, as signed', () => {
    // Multiplier 1 and addend 0 give the least n-gram hash itself; of a text with one n-gram that is the only one.
    const x = hash(referenceKernels, 'one two', 2, BigInt64Array.of(1n), BigInt64Array.of(0n)).minima[0]!;
    const y = hash(referenceKernels, 'two three', 2, BigInt64Array.of(1n), BigInt64Array.of(0n)).minima[0]!;
    const expected = [...multipliers].map((m, h) => {
      const [a, b] = [x, y].map((shingle) => BigInt.asIntN(64, m * shingle + addends[h]!)) as [bigint, bigint];
      return a < b ? a : b;
    });
    expect(hash(referenceKernels, 'one two three', 2)).toEqual({ count: 2, minima: expected });
  });

  it('counts n-grams of what the folding leaves', () => {
    const count = (text: string, ngram: number) => hash(referenceKernels, text, ngram).count;
    expect(count('', 1)).toBe(0);
    expect(count('a b', 3)).toBe(0);
    expect(count(' a  b c ', 3)).toBe(1);
    // Each of these characters is a word by itself; an astral one is two units and one word.
    expect(count('ab中文cd😀ef', 1)).toBe(6);
    expect(hash(referenceKernels, "Don't stop, 1,234", 3)).toEqual(hash(referenceKernels, 'dont STOP 9', 3));
    expect(hash(referenceKernels, 'a b', 2)).not.toEqual(hash(referenceKernels, 'b a', 2));
    expect(hash(referenceKernels, 'ab c', 1)).not.toEqual(hash(referenceKernels, 'a bc', 1));
  });

  it('refuses arrays that are too short or of another type', () => {
    const native = loadNative();
    if (!native) return;
    const minima = new BigInt64Array(2);
    const call = (length: number, ngram: number, by = minima) =>
      native.minHash(minima, new Uint16Array(4), length, folding, by, minima, ngram);
    expect(() => call(5, 5)).toThrow('minHash: text has 4 elements, expected 5');
    expect(() => call(4, 0)).toThrow('n-grams of no words');
    expect(() => call(4, 5, new BigInt64Array(1))).toThrow('multipliers has 1 elements, expected 2');
    expect(() => call(4, 5, new Float64Array(2) as never)).toThrow('64 bit');
  });
});
