// The native encoder against the reference in TypeScript, on any text: the same ids, whatever the pipeline. The reference is compared with
// Hugging Face tokenizers in exactness.test.ts, and both are on more text in test/python/test_tokenizers.py.
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { loadNative } from '../../src/kernels/index.ts';
import { type Tokenizer, type TokenizerJson, tokenizerFromJson } from '../../src/tokenizer/index.ts';
import { ClassBits, compileProgram, NotNative } from '../../src/tokenizer/native-pattern.ts';
import { parsePattern } from '../../src/tokenizer/pattern.ts';
import { cases, configFor, readFixture } from './fixtures.ts';

/** Those whose pipeline the native encoder cannot say: bytes spelled out between steps, and another model. */
const NOT_NATIVE = ['falcon', 'wordpiece'];

const kernels = process.env.CONTINUO_KERNELS;
afterEach(() => {
  if (kernels === undefined) delete process.env.CONTINUO_KERNELS;
  else process.env.CONTINUO_KERNELS = kernels;
});

function open(json: TokenizerJson, config: Record<string, unknown>, engine: '' | 'reference'): Tokenizer {
  process.env.CONTINUO_KERNELS = engine;
  return tokenizerFromJson(json, config);
}

function both(name: string): { native: Tokenizer; reference: Tokenizer } {
  const fixture = readFixture(name);
  const config = configFor(fixture);
  return { native: open(fixture.tokenizer, config, ''), reference: open(fixture.tokenizer, config, 'reference') };
}

const codePoint = fc
  .integer({ min: 0, max: 0x10ffff - 0x800 })
  .map((n) => String.fromCodePoint(n < 0xd800 ? n : n + 0x800));
const nearby = fc.integer({ min: 0, max: 0x52f }).map((n) => String.fromCodePoint(n));
const awkward = fc.constantFrom(
  ...[' ', '  ', '\n', '\r\n', '\t', '\u0085', '\u00a0', '\u2028', '\u3000', '\u200d', '\ufeff', '\0'],
  ..."' 's 'S 'LL 're 'ſ ſ K 7 1234 ² Ⅷ a Z ß ǅ é e\u0301 \u0301 ʰ 中文 かな 한 ▁ ▁▁ _ - // /* !! ... 👍🏽 👨‍👩‍👧 🇩🇪 \ud800 \udc00".split(
    ' ',
  ),
);
const words = fc.constantFrom(...'the quick brown fox HTTPServer camelCase Straße привет שלום مرحبا नमस्ते'.split(' '));
const text = fc
  .array(
    fc.oneof(
      codePoint,
      nearby,
      awkward,
      awkward,
      words,
      fc.tuple(awkward, fc.nat(40)).map(([s, n]) => s.repeat(n)),
    ),
    {
      maxLength: 40,
    },
  )
  .map((parts) => parts.join(''));

describe.skipIf(!loadNative())('the native encoder', () => {
  it.each(cases)('%s: is used where the pipeline can be said in its terms', (name) => {
    expect(both(name).native.isNative).toBe(!NOT_NATIVE.includes(name));
    expect(both(name).reference.isNative).toBe(false);
  });

  it.each(cases.filter((name) => !NOT_NATIVE.includes(name)))('%s: gives the reference’s ids for any text', (name) => {
    const { native, reference } = both(name);
    fc.assert(
      fc.property(text, fc.boolean(), (s, parseSpecial) => {
        expect(native.encode(s, { parseSpecial })).toEqual(reference.encode(s, { parseSpecial }));
        expect(Array.from(native.encodeArray(s))).toEqual(reference.encode(s));
      }),
      { numRuns: 400 },
    );
  });

  it('keeps pieces of every length apart in its cache', () => {
    const { native, reference } = both('gpt2');
    const lengths = [...Array.from({ length: 60 }, (_, i) => i + 1), 399, 400, 401, 5000];
    for (let round = 0; round < 2; round++)
      for (const n of lengths)
        for (const word of ['a'.repeat(n), `${'a'.repeat(n - 1)}b`, 'é'.repeat(n), `\0${'\0'.repeat(n)}`])
          expect(native.encode(word)).toEqual(reference.encode(word));
  });

  it.each(['gpt2', 'llama3', 'o200k-removed', 'llama2'])('%s: half a million characters without a break', (name) => {
    const { native } = both(name);
    for (const unit of ['ab', '?!', ' ', '中文', '\n', '7']) {
      const long = unit.repeat(500_000 / unit.length);
      // Milliseconds; quadratic merging or matching would take hours.
      expect(native.decode(native.encodeArray(long)) === long).toBe(true);
    }
  });
});

describe('programs', () => {
  it.each(['(a|b)+', 'a+?', '(?<=a)b', '(?>a|b)', 'a*', 'a(?=bc)', '[\\x{50000}-\\x{50010}]+'])(
    'refuses %s',
    (pattern) => {
      const compile = () => {
        const bits = new ClassBits();
        compileProgram(parsePattern(pattern), bits);
        bits.tables();
      };
      expect(compile).toThrow(NotNative);
    },
  );
});
