import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { countSentences } from '../../../src/corpus/curate/steps/c4.ts';
import { make, reason, run, words } from './helpers.ts';

const GOOD = [
  'One fine day came.',
  'Then two more came.',
  'We saw it all.',
  'Nobody was there then!',
  'Was it good enough?',
];

describe('c4: lines', async () => {
  const step = await make('c4');
  const kept = (line: string) =>
    run(step, [...GOOD, line].join('\n'))
      .text.split('\n')
      .slice(GOOD.length);

  it.each([
    ['An end mark is here.', 'An end mark is not here', 'lines without an end mark'],
    ['He said "so it is"', 'He said so it is...', 'lines without an end mark'],
    ['Has three words.', 'Two words.', 'lines of few words'],
    [`A long ${'x'.repeat(999)}.`, `A long ${'x'.repeat(1000)}.`, 'lines with a very long word'],
    ['Coffee is a drink.', 'Please enable JavaScript to go on.', 'lines about javascript'],
    ['We bake good cookies here.', 'This site uses cookies, as you know.', 'lines about cookies and terms of use'],
  ])('%#: keeps one, drops the other', (good, bad, change) => {
    expect(kept(good)).toEqual([good]);
    expect(kept(bad)).toEqual([]);
    expect(run(step, [...GOOD, bad].join('\n')).changes).toEqual({ [change]: 1 });
  });

  it('takes citation marks out', () => {
    expect(kept('It is so,[1] as known.[citation needed]')).toEqual(['It is so, as known.']);
    expect(kept('It[edit] is [[2]] so[n].')).toEqual(['It is so[n].'.replace('is so', 'is  so')]);
  });

  it('strips lines and takes empty ones out', () => {
    expect(run(step, GOOD.map((line) => `  ${line}\t`).join('\n\n')).text).toBe(GOOD.join('\n'));
    expect(run(step, GOOD.join('\n')).changes).toEqual({});
  });

  it('drops no line for what is switched off', async () => {
    const off = await make('c4', {
      ...{ terminalPunctuation: false, minWordsPerLine: 0, minSentences: 0, maxWordLength: 10_000 },
      ...{ loremIpsum: false, javascript: false, curlyBracket: false, policy: false, citations: false },
    });
    const text = 'ab\njavascript\nuse cookies\nlorem ipsum {}\n[1]';
    expect(run(off, text).text).toBe(text);
  });
});

describe('c4: documents', async () => {
  const step = await make('c4');

  it.each([
    ['too few sentences', GOOD.slice(1).join('\n'), GOOD.join('\n')],
    ['lorem ipsum', [...GOOD, 'Lorem Ipsum dolor sit.'].join('\n'), [...GOOD, 'Lorem dolor sit ipsum.'].join('\n')],
    ['curly bracket', [...GOOD, 'It is {not so}.'].join('\n'), [...GOOD, 'It is [not so].'].join('\n')],
  ])('removes for: %s', (expected, bad, good) => {
    expect(reason(step, bad)).toBe(expected);
    expect(reason(step, good)).toBeUndefined();
  });

  it('removes for bad words of a file, as words only', async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-words-'));
    const badWords = path.join(folder, 'words.txt');
    fs.writeFileSync(badWords, 'darn\nc++\nbad thing\n');
    const strict = await make('c4', { badWords });
    fs.rmSync(folder, { recursive: true });
    const withLine = (line: string) => reason(strict, [...GOOD, line].join('\n'));
    expect(withLine('Oh, Darn it all.')).toBe('bad words');
    expect(withLine('A bad thing came.')).toBe('bad words');
    expect(withLine('I like c++ so much.')).toBe('bad words');
    expect(withLine('He darned his socks.')).toBeUndefined();
    await expect(async () => make('c4', { badWords: '/no/such/file' })).rejects.toThrow('/no/such/file');
  });

  it.each([
    ['One. Two! Three? Four', 4],
    ['J. Fox (i.e. the U.S. one), e.g. this one, goes on', 1],
    ['he came. he saw', 2],
    ['Wait... what?! Yes.', 3],
    ['He said "No." Then he left.', 2],
    ['今天很好。明天也好！', 2],
    ['3.14 is pi', 1],
    ['...', 0],
    ['', 0],
  ])('counts sentences of %s', (line, expected) => expect(countSentences(line, 99)).toBe(expected));

  it('does nothing the second time', async () => {
    const loose = await make('c4', { minSentences: 0, terminalPunctuation: false });
    const part = fc.constantFrom(
      ' ',
      '\n',
      '[',
      ']',
      '12',
      'edit',
      'citation needed',
      'word',
      'The end.',
      'javascript',
      '\t',
      '...',
      '"',
      'é',
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 40 }), fc.boolean(), (parts, isLoose) => {
        const one = isLoose ? loose : step;
        const once = run(one, parts.join(''));
        if (once.removed === undefined) expect(run(one, once.text)).toMatchObject({ text: once.text, changes: {} });
      }),
      { numRuns: 1000, seed: 11 },
    );
  });
});

describe('fineweb', async () => {
  const step = await make('fineweb');
  const long = (i: number, end = '.') => words(12, 12 * i).join(' ') + end;
  const page = (n: number, line: (i: number) => string) => Array.from({ length: n }, (_, i) => line(i)).join('\n');

  it.each([
    [
      'too few lines end in punctuation',
      page(100, (i) => long(i, i < 11 ? '.' : '')),
      page(100, (i) => long(i, i < 12 ? '。' : '')),
    ],
    [
      'too many short lines',
      page(100, (i) => (i < 68 ? `${words(5, 5 * i).join(' ')}.` : long(i + 99))),
      page(100, (i) => (i < 67 ? `${words(5, 5 * i).join(' ')}.` : long(i + 99))),
    ],
    [
      'too many lines for its words',
      page(101, (i) => long(i)) + '\n'.repeat(264),
      page(101, (i) => long(i)) + '\n'.repeat(263),
    ],
  ])('removes for: %s, and not at the limit', (expected, bad, good) => {
    expect(reason(step, bad)).toBe(expected);
    expect(reason(step, good)).toBeUndefined();
  });

  it('counts the characters of repeated lines', () => {
    // 72 characters a line.
    const text = (n: number) => [...Array.from({ length: n }, (_, i) => long(i)), long(0)].join('\n');
    expect(run(step, text(98)).removed).toEqual({ reason: 'text in repeated lines', value: 1 / 99, limit: 0.01 });
    expect(reason(step, text(99))).toBeUndefined();
  });

  it('takes 30 characters for short and 31 not', () => {
    const exactly = (n: number) =>
      page(10, (i) => `${String.fromCharCode(97 + i)}${'x'.repeat(n - 9)} ab cd.`.padEnd(n, '.'));
    expect(reason(step, exactly(30))).toBe('too many short lines');
    expect(reason(step, exactly(31))).not.toBe('too many short lines');
  });
});
