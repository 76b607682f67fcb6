// Evaluation items in documents: which are found, how much of them, and what is done.
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Rng } from '../../../src/base/rng.ts';
import { type DecontaminateOptions, decontaminate } from '../../../src/corpus/curate/steps/decontaminate.ts';
import { TextView } from '../../../src/corpus/curate/view.ts';
import {
  buildContamination,
  type ContaminationIndex,
  loadContamination,
} from '../../../src/corpus/dedup/contamination.ts';

let folder: string;
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-contamination-'));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const rng = new Rng(1, 'contamination');
const letters = () => Array.from({ length: 3 + rng.below(6) }, () => 'abcdefghij'[rng.below(10)]).join('');
const some = (count: number) => Array.from({ length: count }, letters);

const question = some(40);
const SHORT = 'What is the sum of 3 and 4, in binary?';
const sets = [
  { name: 'quiz', items: [question.join(' '), SHORT, 'Too short?', some(13).join(' ')] },
  { name: 'other', items: ['', some(100).join(' ')] },
];
const index = buildContamination(sets);

const apply = (text: string, options: Partial<DecontaminateOptions> = {}, of: ContaminationIndex = index) =>
  decontaminate({ index: of, ...options }).apply(new TextView({ id: 'a', source: 'a', text }));

const around = (text: string) => `${some(200).join(' ')}\n${text}\n${some(200).join(' ')}`;

describe('buildContamination', () => {
  it('counts items, and those that are too short', () => {
    expect(index.sets).toEqual([
      { name: 'quiz', numItems: 4, numSkipped: 1 },
      { name: 'other', numItems: 2, numSkipped: 1 },
    ]);
  });

  it('leaves out what more than maxItems items share', () => {
    const prompt = some(20).join(' ');
    const items = Array.from({ length: 11 }, () => `${prompt} ${some(3).join(' ')}`);
    const shared = buildContamination([{ name: 'quiz', items: [...items, prompt] }]);
    expect(shared.match(around(prompt), 0)).toEqual([]);
    expect(shared.sets[0]!.numSkipped).toBe(1);
    expect(shared.match(around(items[4]!), 0)).toMatchObject([{ item: 4, share: 1 }]);
    const few = buildContamination([{ name: 'quiz', items: items.slice(0, 10) }]);
    expect(few.match(around(prompt), 0)).toHaveLength(10);
    // Copies of a short item stay known.
    const copies = buildContamination([{ name: 'quiz', items: Array(20).fill(SHORT) }]);
    expect(copies.match(around(SHORT), 0)).toHaveLength(20);
  });

  it('writes an index that finds the same, and refuses a damaged one', () => {
    const file = path.join(folder, 'index');
    index.write(file);
    const loaded = loadContamination(file);
    const text = around(`${question.slice(3, 30).join(' ')} ${SHORT}`);
    expect(loaded.match(text, 0)).toEqual(index.match(text, 0));
    expect(loaded.match(text, 0)).toHaveLength(2);
    expect(loaded.sets).toEqual(index.sets);
    expect(apply(text, {}, loaded)).toEqual(apply(text));
    const bytes = fs.readFileSync(file);
    bytes[bytes.length - 7]! ^= 1;
    fs.writeFileSync(file, bytes);
    expect(() => loadContamination(file)).toThrow('is damaged');
    fs.writeFileSync(file, 'something else');
    expect(() => loadContamination(file)).toThrow('is damaged');
    expect(() => loadContamination(`${file}.none`)).toThrow('no such file');
  });

  it('takes no senseless options, and no sets', () => {
    expect(() => buildContamination(sets, { ngram: 5, minWords: 8, maxItems: 10 })).toThrow('minWords of 2 to ngram');
    expect(buildContamination([]).match('some text', 0)).toEqual([]);
  });
});

describe('match', () => {
  it('finds an item whatever its case, punctuation, accents, digits and white space', () => {
    const written = question.map((word, i) =>
      i % 3 === 0 ? `${word.toUpperCase()},` : i % 7 === 0 ? `${word}\u0301\n` : word,
    );
    const item = `${question.slice(0, 20).join(' ')} 1984 ${question.slice(20).join(' ')}`;
    const withYear = buildContamination([{ name: 'quiz', items: [item] }]);
    const text = around([...written.slice(0, 20), '"2,024"', ...written.slice(20)].join(' '));
    const [match] = withYear.match(text, 0.5);
    expect(match).toMatchObject({ set: 'quiz', item: 0, share: 1 });
    expect(match!.spans).toHaveLength(1);
    const { start, end } = match!.spans[0]!;
    expect(text.slice(start, end).startsWith(written[0]!.slice(0, 3))).toBe(true);
    expect(text.slice(start, end).toLowerCase().endsWith(question.at(-1)!)).toBe(true);
  });

  it('gives the share of n-grams that a brute force counts', () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat({ max: 39 }), { maxLength: 6 }),
        fc.constantFrom(0, 0.2, 0.6),
        (changed, minShare) => {
          const words = question.map((word, i) => (changed.includes(i) ? 'changed' : word));
          const numGrams = 40 - 13 + 1;
          let whole = 0;
          for (let i = 0; i < numGrams; i++) if (!changed.some((at) => at >= i && at < i + 13)) whole++;
          const expected =
            whole > 0 && whole / numGrams >= minShare ? [{ set: 'quiz', item: 0, share: whole / numGrams }] : [];
          expect(index.match(around(words.join(' ')), minShare)).toMatchObject(expected);
          expect(index.match(around(words.join(' ')), minShare)).toHaveLength(expected.length);
        },
      ),
    );
  });

  it('finds short items by all their words, with their digits', () => {
    expect(index.match(around('what is the sum of 3 and 4 in binary'), 1)).toMatchObject([
      { set: 'quiz', item: 1, share: 1 },
    ]);
    expect(index.match(around('What is the sum of 5 and 4, in binary?'), 0)).toEqual([]);
    expect(index.match(around('What is the sum of 3 and 4?'), 0)).toEqual([]);
    const chinese = buildContamination([{ name: 'zh', items: ['今天的天气怎么样？'] }]);
    expect(chinese.match('我想问，今天的天气怎么样呢', 0)).toMatchObject([{ set: 'zh', item: 0 }]);
    expect(chinese.match('今天的天气很好', 0)).toEqual([]);
  });

  it('finds nothing in other text', () => {
    expect(index.match(around(''), 0)).toEqual([]);
    expect(index.match('', 0)).toEqual([]);
  });
});

describe('decontaminate', () => {
  it('removes a document with the item and the words', () => {
    const text = around(`${question.join('  ')} and then ${SHORT}`);
    const result = apply(text);
    expect(result).toMatchObject({ removed: { reason: 'holds an item of quiz', value: 1, limit: 0.25 } });
    const { evidence } = (result as { removed: { evidence: string } }).removed;
    expect(evidence.startsWith(`quiz #0, quiz #1: "${question.slice(0, 10).join(' ')}`)).toBe(true);
    expect(apply(around(question.slice(0, 14).join(' ')))).toBeUndefined();
    expect(apply(around(question.slice(0, 14).join(' ')), { minShare: 0 })).toMatchObject({
      removed: { value: 0.0714 },
    });
  });

  it('cuts the item with its neighbourhood', () => {
    const [before, behind] = [some(200).join(' '), some(200).join(' ')];
    const text = `${before}\n${question.join(' ')}\n${behind}`;
    const result = apply(text, { action: 'cut' }) as {
      text: string;
      changes: unknown;
      metadata: { contamination: string };
    };
    const [first, second, ...more] = result.text.split('\n\n');
    expect(more).toEqual([]);
    expect(before.startsWith(first!)).toBe(true);
    expect(behind.endsWith(second!)).toBe(true);
    // 200 characters on each side, to the next white space.
    expect(before.length - first!.length).toBeGreaterThanOrEqual(199);
    expect(before.length - first!.length).toBeLessThan(215);
    expect(behind.length - second!.length).toBeLessThan(215);
    expect(result.changes).toEqual({ 'places with items of quiz': 1 });
    expect(result.metadata.contamination).toContain('quiz #0');
    expect(index.match(result.text, 0)).toEqual([]);
  });

  it('removes a conversation whole', () => {
    const text = around(question.join(' '));
    const messages = [{ role: 'user' as const, content: text }];
    const view = new TextView({ id: 'a', source: 'a', text, messages });
    expect(decontaminate({ index, action: 'cut' }).apply(view)).toMatchObject({ removed: { value: 1 } });
  });

  it('cuts through no character where there is no white space', () => {
    const emoji = '😀'.repeat(401);
    for (const margin of [100, 101]) {
      const result = apply(`${emoji} x ${question.join(' ')} ${emoji}`, { action: 'cut', margin, minPieceChars: 10 });
      expect((result as { text: string }).text.replace(/[😀\n]/gu, '')).toBe('');
    }
  });

  it('removes what would fall into too many pieces, or of which nothing is left', () => {
    const text = Array.from({ length: 10 }, () => around(question.join(' '))).join('\n');
    expect(apply(text, { action: 'cut' })).toMatchObject({ removed: { reason: 'holds an item of quiz' } });
    expect(apply(text, { action: 'cut', maxPieces: 11 })).toMatchObject({
      changes: { 'places with items of quiz': 10 },
    });
    expect(apply(question.join(' '), { action: 'cut' })).toMatchObject({ removed: { value: 1 } });
  });
});
