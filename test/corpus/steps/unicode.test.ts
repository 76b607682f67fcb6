import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Step } from '../../../src/corpus/curate/types.ts';
import { make, run } from './helpers.ts';

const step = await make('unicode');

const HIGH = '€\x81‚ƒ„…†‡ˆ‰Š‹Œ\x8dŽ\x8f\x90‘’“”•–—˜™š›œ\x9džŸ';

/** What a program makes of UTF-8 when it takes it for Windows-1252. */
function misread(text: string): string {
  return [...new TextEncoder().encode(text)]
    .map((byte) => (byte >= 0x80 && byte < 0xa0 ? HIGH[byte - 0x80] : String.fromCharCode(byte)))
    .join('');
}

describe('unicode: text read in the wrong encoding', () => {
  it.each([
    'Müller’s café – “naïve” façade, 20 € and 5 °C…',
    'voilà',
    'Привет, как дела?',
    'Καλημέρα κόσμε',
    '中文字符 と 日本語',
    'שלום עולם',
    'Zażółć gęślą jaźń über',
    'A smile 😀 and a flag 🇩🇪',
    'It’s',
  ])('repairs %s', (text) => {
    const plain = text.replaceAll(/\u00a0/g, ' ');
    expect(run(step, misread(text)).text).toBe(plain);
    expect(run(step, misread(misread(text))).text).toBe(plain);
  });

  it('repairs what is certain in a line that also has good characters', () => {
    expect(run(step, `“good” and ${misread('it’s café')}`).text).toBe('“good” and it’s café');
  });

  it.each([
    'Müller, naïve, São João, coração, “IRMÃ”, œuvre, Dvořák',
    'MAÇÃ” disse ela',
    'IRMÃ” disse',
    'É… isso',
    'CAFÉ» et',
    'Åström, Ångström, Ærø, ßÄÖÜ, ×÷',
    'Đặng Thái Sơn, HÀ NỘI',
    'Привет “мир” — да…',
    '中文，。「」',
    'Ã',
    'El Niño ¿qué? ¡sí!',
  ])('leaves %s', (text) => expect(run(step, text).text).toBe(text));

  it('leaves it when told to', async () => {
    const off: Step = await make('unicode', { mojibake: false });
    expect(run(off, misread('café')).text).toBe(misread('café'));
  });

  it('reads stray Windows-1252 control characters as browsers do', () => {
    expect(run(step, 'it\u0092s 5\u0080').text).toBe('it’s 5€');
  });
});

describe('unicode: characters', () => {
  it.each([
    ['composes', 'e\u0301te\u0301', 'été'],
    ['removes control characters, not tabs', 'a\u0000b\tc\u0007d\u007f', 'ab\tcd'],
    ['removes soft hyphens and zero-width spaces', 'in\u00adtern\u200bal\ufeff\u2060', 'internal'],
    ['makes odd spaces plain', 'a\u00a0b\u2009c\u202fd\u3000e', 'a b c d\u3000e'],
    [
      'keeps joiners where they mean something',
      'می\u200cخواهم 👩\u200d💻 क\u094d\u200dष',
      'می\u200cخواهم 👩\u200d💻 क\u094d\u200dष',
    ],
    ['removes joiners in Latin text', 'wo\u200crd\u200d', 'word'],
    ['makes separators and form feeds line ends', 'a\u2028b\fc\u2029d', 'a\nb\nc\nd'],
    ['keeps curly quotes', '“a” ‘b’', '“a” ‘b’'],
  ])('%s', (_name, text, expected) => expect(run(step, text).text).toBe(expected));

  it('straightens quotes when asked', async () => {
    expect(run(await make('unicode', { straightQuotes: true }), '“a” ‘b’ „c‟').text).toBe('"a" \'b\' "c"');
  });

  it('counts what it changed', () => {
    const { changes } = run(step, `a\u00a0b\u00a0c\u0000 ${misread('é')}e\u0301`);
    expect(changes).toEqual({ mojibake: 1, 'odd spaces': 2, 'control characters': 1, 'texts composed': 1 });
  });

  it('says nothing of a text that it leaves', () => {
    expect(run(step, 'plain text, “as it should be”').changes).toEqual({});
  });
});

describe('unicode: properties', () => {
  const letters = fc.constantFrom(
    ...'aZ é Ã â€™ © Â \u00a0 Ð¿ Ñ€ \u200b \u200d \u00ad \u0301 \u0092 \n “ ” … ï»¿ ð Ÿ ˜ € 中 \u3000'.split(' '),
    ' ',
  );
  const texts = fc.oneof(
    fc.array(letters, { maxLength: 40 }).map((parts) => parts.join('')),
    fc.string({ unit: 'binary', maxLength: 60 }),
  );

  it('does nothing the second time', () => {
    fc.assert(
      fc.property(texts, (text) => {
        const once = run(step, text).text;
        expect(run(step, once).text).toBe(once);
      }),
      { numRuns: 2000, seed: 5 },
    );
  });

  it('repairs misread text of any language, as a line of its own', () => {
    const sentence = fc
      .array(fc.constantFrom('über', 'naïve', 'привет', 'мир', '中文字', 'Ελλάδα', 'it’s', 'plain', 'שלום', 'été'), {
        minLength: 1,
        maxLength: 8,
      })
      .map((parts) => parts.join(' '));
    fc.assert(
      fc.property(sentence, (text) => {
        expect(run(step, misread(text)).text).toBe(text);
      }),
      { seed: 7 },
    );
  });
});
