import * as path from 'node:path';
import { describe, expect, it } from 'vitest';
import { CLEAN_LISTS, CLEAN_STEP_NAMES, parseConfig } from '../../src/config/index.ts';

const FILE = path.resolve('/data/project/continuo.yaml');

function clean(value: string) {
  return parseConfig(
    `model: owner/name\ncorpora:\n  web:\n    path: docs\n    role: general\n    clean: ${value}\nbudget: { tokens: 20M }\n`,
    FILE,
  ).corpora[0]!.clean;
}

function refusal(value: string): string {
  try {
    clean(value);
  } catch (error) {
    expect((error as Error).name).toBe('ConfigError');
    return (error as Error).message.replaceAll(FILE, 'continuo.yaml');
  }
  throw new Error('was accepted');
}

describe('corpora.NAME.clean', () => {
  it('takes the name of a list', () => {
    expect(clean('web')).toEqual(CLEAN_LISTS.web);
    expect(clean('docs')?.map(({ name }) => name)).toEqual(['unicode', 'boilerplate', 'language', 'pii']);
  });

  it('takes steps in order, with and without options', () => {
    expect(clean('[unicode, { length: { minChars: 200 } }, { pii: { phones: true } }]')).toEqual([
      { name: 'unicode', options: {} },
      { name: 'length', options: { minChars: 200 } },
      { name: 'pii', options: { phones: true } },
    ]);
    expect(clean('[{ gopher-repetition: { topNgrams: { 2: 0.3 } } }]')).toEqual([
      { name: 'gopher-repetition', options: { topNgrams: { 2: 0.3 } } },
    ]);
  });

  it('puts a list in, and a step that is named again into the place of the first', () => {
    const german = clean('[web, { language: { keep: [de] } }, symbols]');
    expect(german?.map(({ name }) => name)).toEqual([...CLEAN_LISTS.web.map(({ name }) => name), 'symbols']);
    expect(german?.[2]).toEqual({ name: 'language', options: { keep: ['de'] } });
    expect(CLEAN_LISTS.web[2]).toEqual({ name: 'language', options: { keep: ['en'] } });
  });

  it('resolves files against the folder of the configuration', () => {
    expect(clean('[{ c4: { badWords: lists/words.txt } }]')?.[0]?.options).toEqual({
      badWords: '/data/project/lists/words.txt',
    });
  });

  it('is absent where it is not given', () => {
    const config = parseConfig('model: a/b\ncorpora: { a: { path: x, role: domain } }\nbudget: { tokens: 1M }\n', FILE);
    expect('clean' in config.corpora[0]!).toBe(false);
  });

  it.each([
    [
      'weeb',
      /^continuo\.yaml:6:12: corpora\.web\.clean: expected one of web, docs, code \(did you mean "web"\?\), found "weeb"\.$/,
    ],
    ['[unicode, gopher]', /^continuo\.yaml:6:22: corpora\.web\.clean\.1: expected one of .*, found "gopher"\.$/],
    ['[unicod]', /did you mean "unicode"/],
    ['[length]', /corpora\.web\.clean\.0: expected options for it, as \{ length: .*minChars.*found "length"/],
    ['[{ length: {} }]', /corpora\.web\.clean\.0\.length: expected at least one of minChars/],
    ['[{ lenght: { minChars: 1 } }]', /corpora\.web\.clean\.0\.lenght: unknown key: did you mean "length"\?/],
    [
      '[{ fineweb: { minLinePunctuations: 0.1 } }]',
      /6:26: corpora\.web\.clean\.0\.fineweb\.minLinePunctuations: unknown key: did you mean "minLinePunctuation"/,
    ],
    ['[{ fineweb: { maxShortLines: 2 } }]', /maxShortLines: expected a share between 0 and 1, found 2/],
    ['[{ gopher-repetition: { topNgrams: { two: 0.2 } } }]', /n-gram lengths from 1 to 100/],
    ['[{ unicode: {}, pii: {} }]', /one step each/],
    ['[{ language: { keep: en } }]', /keep: expected a list: a language such as en, found "en"/],
    ['[3]', /corpora\.web\.clean\.0: expected the name of a step, or \{ name: options \}, found 3/],
    ['{ unicode: {} }', /corpora\.web\.clean: expected a list of steps/],
    ['[]', /corpora\.web\.clean: expected a list of steps/],
  ])('refuses %s', (value, message) => expect(refusal(value)).toMatch(message));

  it('has every step in a message', () => {
    for (const name of CLEAN_STEP_NAMES) expect(refusal('[x]')).toContain(name);
  });
});
