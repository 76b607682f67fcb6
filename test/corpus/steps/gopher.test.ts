import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Step } from '../../../src/corpus/curate/types.ts';
import { make, reason, run, words } from './helpers.ts';

/** A text of different words, with two stop words. */
function prose(n: number): string {
  return ['the', 'of', ...words(n - 2)].join(' ');
}

describe('gopher-quality', async () => {
  const step = await make('gopher-quality');

  it('keeps prose', () => expect(run(step, prose(60)).removed).toBeUndefined());

  it.each([
    ['too few words', prose(49), prose(50)],
    ['too many words', prose(100_001), prose(100_000)],
    // 2 stop words of 5 letters together and 96 or 97 of 3 letters: mean 3 at the limit.
    ['words too short', `the of ${Array(98).fill('ab').join(' ')}`, `the of ${Array(97).fill('abc').join(' ')} abcd`],
    [
      'words too long',
      `the of ${Array(98).fill('abcdefghijk').join(' ')}`,
      `the of ${Array(97).fill('abcdefghij').join(' ')} abcdefghijklmnopqrstuvwxy`,
    ],
    [
      'too many hashes',
      `${prose(89)} ${Array(11).fill('a#').join(' ')}`,
      `${prose(90)} ${Array(10).fill('a#').join(' ')}`,
    ],
    [
      'too many ellipses',
      `${prose(89)} ${Array(11).fill('...a').join(' ')}`,
      `${prose(90)} ${Array(10).fill('…a').join(' ')}`,
    ],
    ['too many bullets', lines(91, 9, '- '), lines(90, 10, '- ')],
    ['too many lines end in an ellipsis', lines(31, 69, '', '…'), lines(30, 70, '', '...')],
    [
      'too few words with letters',
      `${prose(79)} ${Array(21).fill('12345').join(' ')}`,
      `${prose(80)} ${Array(20).fill('12345').join(' ')}`,
    ],
    ['too few stop words', ['the', 'the', ...words(60)].join(' '), ['the', 'with', ...words(60)].join(' ')],
  ])('removes for: %s, and not at the limit', (expected, bad, good) => {
    expect(reason(step, bad)).toBe(expected);
    expect(reason(step, good)).toBeUndefined();
  });

  /** Lines of twelve words, so that ellipses to words stay few. */
  function lines(numMarked: number, numOthers: number, before: string, after = ''): string {
    const line = (i: number) => ['the', 'of', ...words(10, 10 * i)].join(' ');
    return Array.from({ length: numMarked + numOthers }, (_, i) =>
      i < numMarked ? `${before}${line(i)}${after}` : line(i),
    ).join('\n');
  }

  it('says what it measured', () => {
    expect(run(step, prose(20)).removed).toEqual({ reason: 'too few words', value: 20, limit: 50 });
  });

  it('counts words without punctuation that stands alone', () => {
    expect(reason(step, `${prose(49)} – – – . ,`)).toBe('too few words');
  });

  it('takes other limits and stop words', async () => {
    const loose = await make('gopher-quality', { minWords: 5, minStopWords: 1, stopWords: ['der'] });
    expect(reason(loose, `der ${words(5).join(' ')}`)).toBeUndefined();
    expect(reason(loose, `the ${words(5).join(' ')}`)).toBe('too few stop words');
  });

  it('knows the stop words of the language that the document is labelled with', () => {
    const german = ['der', 'und', ...words(60)].join(' ');
    expect(reason(step, german)).toBe('too few stop words');
    expect(reason(step, german, { language: 'de' })).toBeUndefined();
    expect(reason(step, prose(60), { language: 'de' })).toBe('too few stop words');
    // Nobody has told which words these are.
    expect(reason(step, german, { language: 'sw' })).toBeUndefined();
  });

  it('leaves the rules on words out where words are not parted by spaces', () => {
    expect(reason(step, '我們從未見過這樣的事情。今天的天氣很好。'.repeat(20))).toBeUndefined();
    expect(reason(step, Array(20).fill('- 今天的天氣很好').join('\n'))).toBe('too many bullets');
  });
});

describe('gopher-repetition', async () => {
  const step = await make('gopher-repetition');

  it('keeps what does not repeat', () => expect(run(step, prose(300)).removed).toBeUndefined());

  /** Different long lines, and as many copies of short ones as asked. */
  function withCopies(numLines: number, numCopies: number, separator: string, copy: string): string {
    const own = Array.from({ length: numLines - numCopies - 1 }, (_, i) => words(12, 12 * i).join(' '));
    return [...own, ...Array(numCopies + 1).fill(copy)].join(separator);
  }

  it.each([
    ['repeated lines', withCopies(100, 31, '\n', 'ab'), withCopies(100, 30, '\n', 'ab')],
    ['repeated paragraphs', withCopies(100, 31, '\n\n', 'ab'), withCopies(100, 30, '\n\n', 'ab')],
  ])('removes for: %s, and not at the limit', (expected, bad, good) => {
    expect(reason(step, bad)).toBe(expected);
    expect(reason(step, good)).toBeUndefined();
  });

  it('counts the characters of copies', async () => {
    const onLines = await make('gopher-repetition', { topNgrams: {}, duplicateNgrams: {} });
    // 10 lines of 100 characters and their ends: 1009. Two copies are 200 of them, three are more than a fifth.
    const line = (i: number) =>
      words(20, 20 * i)
        .join('')
        .slice(0, 100);
    const text = (numCopies: number) =>
      Array.from({ length: 10 }, (_, i) => line(i < 10 - numCopies ? i : 0)).join('\n');
    expect(reason(onLines, text(2))).toBeUndefined();
    expect(run(onLines, text(3)).removed).toEqual({ reason: 'text in repeated lines', value: 300 / 1009, limit: 0.2 });
    expect(reason(onLines, text(3).replaceAll('\n', '\n\n'))).toBe('text in repeated paragraphs');
  });

  it.each([
    [2, 0.2],
    [3, 0.18],
    [4, 0.16],
  ])('finds the most frequent %i-gram', async (n, limit) => {
    const only = await make('gopher-repetition', { topNgrams: { [n]: limit }, duplicateNgrams: {} });
    const ngram = words(n, 9000).join(' ');
    // Occurrences between different words, so that nothing longer repeats; 1000 characters all in all.
    const text = (times: number) => {
      const filler = words(400);
      const parts = Array.from({ length: times }, (_, i) => `${filler[i]} ${ngram}`);
      const length = parts.join(' ').length;
      return `${parts.join(' ')} ${'x'.repeat(1000 - length - 1)}`;
    };
    const most = Math.floor((limit * 1000) / ngram.length);
    expect(reason(only, text(most))).toBeUndefined();
    expect(run(only, text(most + 1)).removed).toEqual({
      reason: `most frequent ${n}-gram`,
      value: ((most + 1) * ngram.length) / 1000,
      limit,
    });
  });

  it.each([5, 6, 7, 8, 9, 10])('finds repeated %i-grams', async (n) => {
    const limit = 0.1 + (10 - n) / 100;
    const only = await make('gopher-repetition', { topNgrams: {}, duplicateNgrams: { [n]: limit } });
    const ngram = words(n, 9000).join(' ');
    const chars = 5 * n;
    const text = (length: number) => `${ngram} aaaaaa ${ngram} ${'x'.repeat(length - 2 * ngram.length - 9)}`;
    const enough = Math.ceil(chars / limit);
    expect(reason(only, text(enough))).toBeUndefined();
    expect(run(only, text(enough - 1)).removed).toMatchObject({ reason: `text in repeated ${n}-grams`, limit });
  });

  it('judges nothing on words where they are not parted by spaces', () => {
    expect(reason(step, '我們從未見過這樣的事情。 今天的天氣很好。')).toBeUndefined();
  });

  it('agrees with a plain count on random texts', () => {
    const measured = makePlain();
    const few = fc.array(fc.constantFrom('a', 'bb', 'ccc', 'dd', 'e', '\n', 'ffff', 'é', '𝒳'), {
      minLength: 1,
      maxLength: 80,
    });
    const steps: Promise<Step>[] = [];
    for (const n of [2, 3, 5, 7])
      steps.push(make('gopher-repetition', { topNgrams: { [n]: 0 }, duplicateNgrams: {}, ...NO_LINES }));
    for (const n of [2, 3, 5, 7])
      steps.push(make('gopher-repetition', { topNgrams: {}, duplicateNgrams: { [n]: 0 }, ...NO_LINES }));
    return Promise.all(steps).then((made) => {
      fc.assert(
        fc.property(few, (parts) => {
          const text = parts.join(' ').trim() || 'a';
          for (const [i, one] of made.entries()) {
            const n = [2, 3, 5, 7][i % 4]!;
            expect(run(one, text).removed?.value ?? 0).toBeCloseTo(measured(text, n, i < 4), 12);
          }
        }),
        { numRuns: 300, seed: 3 },
      );
    });
  });
});

const NO_LINES = {
  maxDuplicateLines: 1,
  maxDuplicateLineChars: 1,
  maxDuplicateParagraphs: 1,
  maxDuplicateParagraphChars: 1,
};

/** The rules as the paper's table and datatrove's comments word them, on strings. */
function makePlain() {
  return (text: string, n: number, isTop: boolean): number => {
    const all = text.split(/\s+/).filter(Boolean);
    const ngrams = all.slice(0, Math.max(0, all.length - n + 1)).map((_, i) => all.slice(i, i + n));
    if (ngrams.length === 0) return 0;
    if (isTop) {
      const counts = new Map<string, number>();
      for (const ngram of ngrams) counts.set(ngram.join(' '), (counts.get(ngram.join(' ')) ?? 0) + 1);
      let [best, most] = ['', 0];
      for (const [ngram, count] of counts) if (count > most) [best, most] = [ngram, count];
      return (best.length * most) / text.length;
    }
    const seen = new Set<string>();
    let chars = 0;
    for (let i = 0; i < ngrams.length; ) {
      const key = ngrams[i]!.join(' ');
      if (seen.has(key)) {
        chars += ngrams[i]!.join('').length;
        i += n;
      } else {
        seen.add(key);
        i++;
      }
    }
    return chars / text.length;
  };
}
