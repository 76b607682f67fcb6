import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TextView } from '../../../src/corpus/curate/view.ts';
import { make, reason, run, words } from './helpers.ts';

describe('length', () => {
  it('judges characters and words, each limit included', async () => {
    const step = await make('length', { minChars: 5, maxChars: 9, minWords: 2, maxWords: 3 });
    expect(reason(step, 'a bc')).toBe('too few characters');
    expect(reason(step, 'a bcd')).toBeUndefined();
    expect(reason(step, 'abcd efgh')).toBeUndefined();
    expect(reason(step, 'abcd efghi')).toBe('too many characters');
    expect(reason(step, 'abcdef')).toBe('too few words');
    expect(reason(step, 'a b c')).toBeUndefined();
    expect(reason(step, 'a b c d')).toBe('too many words');
  });
});

describe('symbols', async () => {
  const step = await make('symbols');

  it.each([
    ['abcdef....', undefined],
    ['abcde.....', 'too many special characters'],
    ['aаб中éё0 😀!', undefined],
    ['aаб中é0 😀!', 'too many special characters'],
    ['नमस्ते दुनिया', undefined],
  ])('of %s says %s', (text, expected) => expect(reason(step, text)).toBe(expected));
});

const ENGLISH =
  'When in the course of human events it becomes necessary for one people to dissolve the political bands which have connected them with another, a decent respect to the opinions of mankind requires that they should declare the causes. ';
const GERMAN =
  'Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen begabt und sollen einander im Geiste der Brüderlichkeit begegnen. Niemand darf in Sklaverei gehalten werden. ';

describe('language', async () => {
  const english = await make('language', { keep: ['en'] });
  const any = await make('language');

  it('labels', () => {
    expect(run(any, ENGLISH).metadata.language).toBe('en');
    expect(run(any, GERMAN.repeat(300)).metadata.language).toBe('de');
    expect(
      run(any, '人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。').metadata
        .language,
    ).toBe('zh');
    expect(run(any, ENGLISH).metadata.languageScore).toBeGreaterThan(0.75);
  });

  it('keeps what it is told to keep', () => {
    expect(reason(english, ENGLISH)).toBeUndefined();
    expect(reason(english, GERMAN)).toBe('another language: de');
  });

  it('removes what is in no language', () => {
    const noise = 'qwzrt xkcd jjqp zzvx bnmq wwrt pqxz vvkj tgbq xzlk '.repeat(8);
    expect(reason(english, noise)).toMatch(/not clear|another language/);
    expect(reason(any, noise)).toBeUndefined();
  });

  it('leaves what is too short to tell', () => {
    expect(reason(english, 'Hello world')).toBeUndefined();
    expect(run(english, 'Hello world').metadata.language).toBe('unknown');
    expect(run(english, '12345 '.repeat(500)).metadata.language).toBe('unknown');
  });

  it('looks at all of a long document', () => {
    expect(reason(english, `${ENGLISH.repeat(3)}${GERMAN.repeat(300)}`)).toBe('another language: de');
  });
});

describe('boilerplate', async () => {
  const step = await make('boilerplate');
  const kept = (line: string) => run(step, `The text.\n${line}\nMore text follows here.`).text.split('\n').length === 3;

  it.each(
    [
      'Skip to main content',
      '« Previous Post',
      'Read more »',
      'Read More...',
      '» Home',
      'Share on Facebook',
      'Share this Facebook | Twitter | LinkedIn',
      'Facebook Twitter Pinterest Email',
      '23 comments',
      'This site uses cookies to improve your experience. By continuing you agree.',
      'We use cookies to personalise content and ads.',
      'By continuing to browse this site you accept our use of cookies.',
      '© 2021 Acme Inc. All rights reserved.',
      'Copyright © 2019 The Authors',
      'Acme Ltd © 2020. All Rights Reserved',
      'Please enable JavaScript to view the comments powered by Disqus.',
      'JavaScript is disabled in your browser.',
      'You must be logged in to post a comment.',
      'Lorem ipsum dolor sit amet, consectetur adipiscing elit.',
      'Your cart is empty',
      'Page 2 of 17',
      'Next post: How to bake',
      '← Older Entries',
      'Save my name, email, and website in this browser for the next time I comment.',
      'Subscribe to our newsletter',
    ].filter((line) => line !== 'Log in or register to post'),
  )('takes out: %s', (line) => expect(kept(line)).toBe(false));

  it.each([
    'We bake cookies every Sunday, and this site uses an oven.',
    'He asked me to read more books.',
    'Search',
    '# Search',
    '- Contact us',
    'Previous work (Smith 2019) showed otherwise.',
    'Next post-processing step',
    'Next page of the record',
    'The next page of history was written in blood.',
    'Copyright law is a field of private law.',
    'JavaScript is a language of the web.',
    'The company shares 20 comments with us.',
    'They share this view on Facebook policy with many others.',
    '',
  ])('leaves: %s', (line) => expect(kept(line)).toBe(true));

  it('counts by kind, and takes lines of one’s own', async () => {
    const own = await make('boilerplate', { lines: ['Generated by Acme Wiki'] });
    expect(run(own, 'One.\n  generated by ACME wiki \nPage 1 of 3\n© 2020 Acme\nTwo.')).toMatchObject({
      text: 'One.\nTwo.',
      changes: { 'lines of your own list': 1, 'links onward': 1, 'copyright lines': 1 },
    });
  });
});

describe('code', async () => {
  const step = await make('code');
  const lines = (n: number, length: number) =>
    Array.from({ length: n }, () => 'a = bcd;'.padEnd(length, ' efg')).join('\n');

  it.each([
    ['lines too long on average', lines(10, 101), lines(10, 100)],
    ['lines too long', `${lines(20, 20)}\n${'ab c'.repeat(250)}x`, `${lines(20, 20)}\n${'ab c'.repeat(250)}`],
    ['too few letters', 'ab0123456;'.repeat(5), 'abc0123456;'.repeat(5)],
    [
      'generated',
      `// Code generated by protoc-gen-go. DO NOT EDIT.\n${lines(9, 20)}`,
      `// Code by hand.\n${lines(9, 20)}`,
    ],
    ['generated', `# This file is auto-generated\n${lines(9, 20)}`, `${lines(5, 20)}\n# auto-generated\n`],
    ['encoded data', `${lines(9, 20)}\n${encoded(18)}`, `${lines(9, 20)}\n${encoded(1)}`],
    [
      'encoded data',
      `k = [\n${'0x1f, 0x8b, 0x08, 0x00, 0xab, 0xcd, 0xef, 0xaa,\n'.repeat(6)}]`,
      'k = [0x1f, 0x8b, 0x08]',
    ],
  ])('removes for: %s', (expected, bad, good) => {
    expect(reason(step, bad)).toBe(expected);
    expect(reason(step, good)).toBeUndefined();
  });

  function encoded(numLines: number): string {
    return Array.from(
      { length: numLines },
      () => `${'QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZn'.repeat(2).slice(0, 76)}`,
    ).join('\n');
  }

  it('takes the format into account', () => {
    const rows = (n: number) => Array.from({ length: n }, (_, i) => `{"name": "value", "x": ${i}}`).join('\n');
    expect(reason(step, rows(513), { path: 'a/b.json' })).toBe('data file');
    expect(reason(step, rows(512), { path: 'a/b.json' })).toBeUndefined();
    expect(reason(step, rows(513), { path: 'a/b.ts' })).toBeUndefined();
    const prose = words(300).join(' ');
    expect(reason(step, prose, { path: 'README.md' })).toBeUndefined();
    expect(reason(step, prose, { path: 'min.js' })).toBe('lines too long');
    const assembly = 'MOV R1, 0123456789\n'.repeat(20).replaceAll('MOV', 'M');
    expect(reason(step, assembly, { path: 'a.js' })).toBe('too few letters');
    expect(reason(step, assembly, { path: 'a.asm' })).toBeUndefined();
  });
});

async function allSteps() {
  return Promise.all([
    make('unicode', { straightQuotes: true }),
    make('boilerplate'),
    make('language', { keep: ['en'] }),
    make('gopher-quality', { minWords: 0, minMeanWordLength: 0, maxMeanWordLength: 1e9 }),
    make('gopher-repetition', {
      ...{ maxDuplicateLines: 1, maxDuplicateLineChars: 1, maxDuplicateParagraphs: 1, maxDuplicateParagraphChars: 1 },
      ...{ topNgrams: { 2: 1e9 }, duplicateNgrams: { 5: 2, 10: 2 } },
    }),
    make('c4', { minSentences: 0, curlyBracket: false, terminalPunctuation: false }),
    make('fineweb', { minLinePunctuation: 0, maxShortLines: 1, maxDuplicateLineChars: 1 }),
    make('symbols'),
    make('code', { maxLineLength: 1e12, maxMeanLineLength: 1e12, minLetters: 0, maxLines: 1e12 }),
    make('pii', { phones: true }),
  ]);
}

describe('any text', () => {
  it('passes every step without a fault, and once edited stays as it is', async () => {
    const steps = await allSteps();
    const part = fc.constantFrom(
      'Read more »',
      'a@b.org',
      'word',
      '[1]',
      '© 2020 Acme',
      '\n',
      ' ',
      '\u00a0',
      '…',
      'e\u0301',
      '.',
    );
    const texts = fc.oneof(
      fc.string({ unit: 'binary', minLength: 1 }),
      fc.array(part, { minLength: 1, maxLength: 30 }).map((parts) => parts.join('')),
    );
    fc.assert(
      fc.property(texts, (text) => {
        for (const step of steps) {
          const once = run(step, text);
          if (once.removed?.value !== undefined) expect(Number.isNaN(once.removed.value)).toBe(false);
          if (once.text !== text) expect(run(step, once.text).text).toBe(once.text);
        }
      }),
      { numRuns: 500, seed: 1 },
    );
  });

  // 60,000 characters: with time in their square a step would need minutes, and the test run out of time.
  it.each([
    ...[
      'a',
      ' ',
      'word ',
      '\n',
      '.',
      'a@',
      '@',
      'a.b@c.d',
      '1.2.3.',
      '2001:',
      '4',
      '-',
      'sk-',
      'xoxb-',
      'eyJaaaaaaaaaa.',
      'DE89 3704 ',
    ],
    ...[
      '+49 221 ',
      '-----BEGIN PRIVATE KEY-----',
      'aws secret ',
      '[',
      '[1]]',
      'Ã',
      'Ã©',
      'Ð¿',
      '\u200d',
      '\u0301',
      '\u00ad',
      'ab ',
      '0x',
      '\\u0041',
    ],
    ...[
      'QUJD',
      'cookies ',
      'share this ',
      'read more »',
      'İ',
      '😀',
      '今天很好。',
      'ab\n',
      'abc def.\n\n',
      '#',
      'A. ',
      'generated by ',
    ],
  ])('is linear in its length: %j', async (piece) => {
    const text = piece.repeat(Math.ceil(60_000 / piece.length));
    for (const step of await allSteps()) expect(step.apply(new TextView({ id: '', source: '', text }))).not.toBeNull();
  });
});
