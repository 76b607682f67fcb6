// Ids against Hugging Face tokenizers, on strings made to be awkward, for every pipeline that we run ourselves.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { tokenizerFromJson } from '../../src/tokenizer/index.ts';
import { cases, configFor, readFixture, texts, vocabOf } from './fixtures.ts';

describe.each(cases)('%s', (name) => {
  const fixture = readFixture(name);
  const tokenizer = tokenizerFromJson(fixture.tokenizer, configFor(fixture));

  it('runs on the expected engine', () => {
    expect(tokenizer.engine).toBe(name === 'wordpiece' ? 'fallback' : 'continuo');
    expect(tokenizer.engineReason).toBe(name === 'wordpiece' ? 'the model WordPiece' : undefined);
  });

  it('gives the ids of Hugging Face tokenizers', () => {
    texts.forEach((text, i) => {
      expect({ text, ids: tokenizer.encode(text) }).toEqual({ text, ids: fixture.plain[i] });
      // A second time from the cache.
      expect(tokenizer.encode(text)).toEqual(fixture.plain[i]);
    });
  });

  it('gives its ids when special tokens are parsed', () => {
    texts.forEach((text, i) => {
      const ids = fixture.parsed[i] ?? fixture.plain[i];
      expect({ text, ids: tokenizer.encode(text, { parseSpecial: true }) }).toEqual({ text, ids });
    });
  });

  it('decodes as it does', () => {
    texts.forEach((text, i) => {
      expect(tokenizer.decode(fixture.plain[i])).toBe(fixture.decoded[i] ?? text);
    });
  });

  it('maps every id to its token and back', () => {
    for (const [token, id] of vocabOf(fixture)) {
      expect(tokenizer.tokenToId(token)).toBe(id);
      expect(tokenizer.idToToken(id)).toBe(token);
    }
    expect(tokenizer.idToToken(tokenizer.vocabSize)).toBeUndefined();
    expect(tokenizer.tokenToId('no such token')).toBeUndefined();
  });
});

describe('any text', () => {
  const open = (name: string) => {
    const fixture = readFixture(name);
    return tokenizerFromJson(fixture.tokenizer, configFor(fixture));
  };
  const spaced = fc
    .array(fc.constantFrom(' ', '  ', '\n', '\t', '\r\n', "'s", '1', '42', 'é', '\u00a0', '\u3000', '😀', 'ab'))
    .map((a) => a.join(''));
  const text = fc.oneof(fc.string({ unit: 'binary', maxLength: 200 }), fc.string({ unit: 'grapheme' }), spaced);

  it.each(['gpt2', 'smollm', 'llama3', 'qwen2', 'o200k-removed', 'falcon', 'llama2'])(
    '%s decodes to what was encoded',
    (name) => {
      const tokenizer = open(name);
      // Qwen2 normalises to NFC, and SentencePiece writes spaces as U+2581; the others keep every code point.
      const kept = (s: string) => {
        if (name === 'qwen2') return s.normalize('NFC');
        return name === 'llama2' ? s.replaceAll('\u2581', ' ') : s;
      };
      fc.assert(
        fc.property(text, (s) => {
          expect(tokenizer.decode(tokenizer.encode(s))).toBe(kept(s));
        }),
        { numRuns: 300, examples: [['\u2581'], ['a \u2581b']] },
      );
    },
  );

  it('reads a lone surrogate as the replacement character', () => {
    const tokenizer = open('smollm');
    for (const lone of ['\ud800', '\udc00', 'a\ud83d b', '\ude00\ud83d'])
      expect(tokenizer.encode(lone)).toEqual(tokenizer.encode(Buffer.from(lone).toString()));
  });

  it('writes incomplete UTF-8 as replacement characters', () => {
    const tokenizer = open('gpt2');
    const bytes = (list: number[]) => list.map((byte) => tokenizer.tokenToId(byteChar(byte))!);
    expect(tokenizer.decode(bytes([0x61, 0xc3]))).toBe('a\ufffd');
    expect(tokenizer.decode(bytes([0xf0, 0x9f, 0x98, 0x62]))).toBe('\ufffdb');
    expect(tokenizer.decode(bytes([0xff, 0xfe]))).toBe('\ufffd\ufffd');
    expect(tokenizer.decode(bytes([0xef, 0xbb, 0xbf, 0x61]))).toBe('\ufeffa');
  });

  it('leaves special tokens out when asked to', () => {
    const tokenizer = open('smollm');
    const ids = tokenizer.encode('<|im_start|>the<|im_end|>', { parseSpecial: true });
    expect(tokenizer.decode(ids)).toBe('<|im_start|>the<|im_end|>');
    expect(tokenizer.decode(ids, { skipSpecial: true })).toBe('the');
    expect(tokenizer.decode(Int32Array.from([...ids, 999_999]), { skipSpecial: true })).toBe('the');
  });
});

/** The character that stands for a byte in a byte-level vocabulary, by GPT-2's rule. */
function byteChar(byte: number): string {
  const printable = (b: number) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  if (printable(byte)) return String.fromCharCode(byte);
  return String.fromCharCode(256 + Array.from({ length: byte }, (_, b) => b).filter((b) => !printable(b)).length);
}

describe('long runs without a break', () => {
  const encodesQuickly = (name: string, long: string, limitMs: number) => {
    const fixture = readFixture(name);
    const tokenizer = tokenizerFromJson(fixture.tokenizer, configFor(fixture));
    const started = performance.now();
    const ids = tokenizer.encode(long);
    expect(performance.now() - started).toBeLessThan(limitMs);
    expect(tokenizer.decode(ids) === long).toBe(true);
  };

  it.each([
    ['letters', 'ab'.repeat(50_000)],
    ['spaces', `${' '.repeat(100_000)}x`],
    ['punctuation', '?!'.repeat(50_000)],
    ['Chinese', '中文'.repeat(30_000)],
  ])('%s cost no quadratic time', (_name, long) => {
    // Takes some tens of milliseconds; quadratic merging would take minutes.
    for (const name of ['smollm', 'llama3', 'o200k-removed', 'llama2']) encodesQuickly(name, long, 10_000);
  });

  it('of six million characters are encoded, though they can overflow the matcher’s stack', () => {
    encodesQuickly('smollm', '?!'.repeat(3_000_000), 60_000);
  });
});
