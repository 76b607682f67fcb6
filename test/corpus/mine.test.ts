// Mining against a brute-force cosine over plain strings, and what must hold beside the ranking.

import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Rng } from '../../src/base/rng.ts';
import { type MinedDocument, type MineOptions, type MineSummary, mineDocuments } from '../../src/corpus/index.ts';
import { mergeNearest, NearestDocuments } from '../../src/corpus/mining/nearest.ts';
import { WordList } from '../../src/corpus/mining/words.ts';

let folder: string;
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-mine-'));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

function writeTexts(name: string, texts: readonly string[]): string {
  const file = path.join(folder, name);
  fs.writeFileSync(file, texts.map((text) => `${JSON.stringify({ text })}\n`).join(''));
  return file;
}

let numRuns = 0;
async function mine(
  queries: readonly string[] | string,
  documents: readonly string[] | string,
  options: Partial<MineOptions> = {},
): Promise<{ summary: MineSummary; mined: MinedDocument[]; bytes: string }> {
  numRuns++;
  const near = typeof queries === 'string' ? queries : writeTexts(`queries-${numRuns}.jsonl`, queries);
  const from = typeof documents === 'string' ? documents : writeTexts(`documents-${numRuns}.jsonl`, documents);
  const file = path.join(folder, `mined-${numRuns}.jsonl`);
  const summary = await mineDocuments({
    near: { paths: near },
    from: { paths: from },
    top: 50,
    minScore: 1e-6,
    file,
    numWorkers: 1,
    quiet: true,
    ...options,
  });
  const bytes = fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : '';
  const mined = bytes
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as MinedDocument);
  return { summary, mined, bytes };
}

/** Number of a record: ids end in its line, counted from 1. */
const numberOf = (id: string): number => Number(/:(\d+)$/.exec(id)![1]) - 1;
const numbers = (mined: readonly MinedDocument[]) => mined.map(({ id }) => numberOf(id));

/** Words of a corpus of natural skew; every text its own. */
function randomTexts(rng: Rng, numTexts: number, numWords: (i: number) => number, vocabulary = 300): string[] {
  const word = () => `w${Math.floor(vocabulary * rng.float() ** 3)}`;
  return Array.from({ length: numTexts }, (_, i) => Array.from({ length: numWords(i) }, word).join(' '));
}

type Vector = Map<string, number>;

function featuresOf(text: string): Vector {
  const words = text.toLowerCase().match(/[\p{L}\p{M}\p{N}]+/gu) ?? [];
  const counts: Vector = new Map();
  for (const feature of [...words, ...words.slice(1).map((word, i) => `${words[i]} ${word}`)])
    counts.set(feature, (counts.get(feature) ?? 0) + 1);
  return counts;
}

/** Union of the top nearest, straight from the definition: [document, score, nearest query] best first. */
function bruteForce(queries: readonly string[], documents: readonly string[], top: number): [number, number, number][] {
  const counts = documents.map(featuresOf);
  const frequencies: Vector = new Map();
  for (const features of counts)
    for (const feature of features.keys()) frequencies.set(feature, (frequencies.get(feature) ?? 0) + 1);
  const vector = (features: Vector): Vector => {
    const weights: Vector = new Map();
    for (const [feature, count] of features) {
      const df = frequencies.get(feature) ?? 0;
      if (df > Math.max(100, 0.1 * documents.length)) continue;
      weights.set(feature, (1 + Math.log(count)) * (Math.log((1 + documents.length) / (1 + df)) + 1));
    }
    const norm = Math.hypot(...weights.values());
    return new Map([...weights].map(([feature, weight]) => [feature, weight / norm]));
  };
  const vectors = counts.map(vector);
  const best = new Map<number, [number, number, number]>();
  queries.forEach((query, q) => {
    const scored: [number, number, number][] = [];
    const weights = vector(featuresOf(query));
    vectors.forEach((other, document) => {
      let score = 0;
      for (const [feature, weight] of weights) score += weight * (other.get(feature) ?? 0);
      if (score >= 1e-6) scored.push([document, score, q]);
    });
    scored.sort((a, b) => b[1] - a[1] || a[0] - b[0]);
    for (const entry of scored.slice(0, top)) {
      const before = best.get(entry[0]);
      if (!before || entry[1] > before[1]) best.set(entry[0], entry);
    }
  });
  return [...best.values()].sort((a, b) => b[1] - a[1] || a[0] - b[0]);
}

describe('the nearest documents', () => {
  it('are those of a brute-force cosine, with its scores, best first', async () => {
    const rng = new Rng(7, 'mine');
    // So few words that no two features fall into one bucket, and more than 1000 documents, so that words in a tenth of them are common.
    const queries = randomTexts(rng, 40, () => 12, 40);
    const documents = randomTexts(rng, 1200, () => 8 + rng.below(30), 40);
    const expected = bruteForce(queries, documents, 7);
    const { mined, summary } = await mine(queries, documents, { top: 7 });
    expect(numbers(mined)).toEqual(expected.map(([document]) => document));
    expect(mined.map(({ nearest }) => numberOf(nearest))).toEqual(expected.map(([, , query]) => query));
    // Weights of queries are f32, and scores are written with six digits.
    mined.forEach(({ id, text, score }, i) => {
      expect(Math.abs(score - expected[i][1])).toBeLessThan(1e-6);
      expect(text).toBe(documents[numberOf(id)]);
    });
    expect(summary).toMatchObject({ numQueries: 40, numDocuments: 1200, numMined: expected.length });
    const takers = new Map<number, number>();
    for (const query of queries)
      for (const [document] of bruteForce([query], documents, 7)) takers.set(document, (takers.get(document) ?? 0) + 1);
    expect(summary.numNearSeveral).toBe([...takers.values()].filter((n) => n > 1).length);
  });

  it('do not depend on the number of threads, byte for byte', async () => {
    const rng = new Rng(11, 'threads');
    const queries = randomTexts(rng, 60, () => 20, 3000);
    // 2.5 million characters: five batches.
    const documents = randomTexts(rng, 5000, () => 100, 3000);
    const file = writeTexts('many.jsonl', documents);
    const runs = [];
    for (const numWorkers of [1, 2, 4]) runs.push(await mine(queries, file, { top: 5, numWorkers }));
    expect(runs[0].mined.length).toBeGreaterThan(200);
    // The queries' files have names of their own.
    const plain = ({ bytes }: { bytes: string }) => bytes.replace(/queries-\d+/g, 'queries');
    expect(plain(runs[1])).toBe(plain(runs[0]));
    expect(plain(runs[2])).toBe(plain(runs[0]));
    expect(runs[2].summary).toEqual(runs[0].summary);
  });

  it('ties go to the document that is read first', async () => {
    const texts = ['blue whales sing', 'Blue whales sing.', 'blue, whales: sing', 'whales, blue! sing'];
    const { mined } = await mine(['when do blue whales sing songs'], texts, { top: 2 });
    expect(numbers(mined)).toEqual([0, 1]);
    expect(mined[0].score).toBe(mined[1].score);
  });

  it('copies of a text are taken once, and leave their place to another', async () => {
    const texts = ['red foxes hunt mice', 'red foxes hunt mice', 'grey wolves', 'red foxes hunt mice', 'red foxes'];
    const { mined, summary } = await mine(['do red foxes hunt', 'where do red foxes live'], texts, { top: 2 });
    expect(numbers(mined).sort()).toEqual([0, 4]);
    expect(summary).toMatchObject({ numCopies: 2, numMined: 2, numNearSeveral: 2, numQueriesWithoutNeighbour: 0 });
  });

  it('only from the least score on; queries without any are counted', async () => {
    const texts = ['green tea from japan', 'black coffee and a lot of other things to drink', 'stones'];
    const queries = ['green tea from china', 'coffee', 'the moon'];
    const all = await mine(queries, texts);
    expect(all.summary).toMatchObject({ numMined: 2, numQueriesWithoutNeighbour: 1 });
    const few = await mine(queries, texts, { minScore: 0.5 });
    expect(numbers(few.mined)).toEqual([0]);
    expect(few.summary).toMatchObject({ numQueriesWithoutNeighbour: 2, bestScore: all.summary.bestScore });
    const none = await mine(queries, texts, { minScore: 1 });
    expect(none.summary).toMatchObject({ numMined: 0, bestScore: all.summary.bestScore, scores: undefined });
    expect(none.bytes).toBe('');
  });

  it('a word of more than 2000 queries counts for nothing', async () => {
    const queries = Array.from({ length: 2001 }, (_, i) => `question q${i}`);
    const { mined } = await mine(queries, ['question and more', 'q17 and more', 'stones']);
    expect(numbers(mined)).toEqual([1]);
    const fewer = await mine(queries.slice(0, 2000), ['question and more', 'q17 and more', 'stones']);
    expect(numbers(fewer.mined).sort()).toEqual([0, 1]);
  });

  it('of conversations stay conversations; pairs of question and answer are examples', async () => {
    const near = path.join(folder, 'pairs.jsonl');
    fs.writeFileSync(near, `${JSON.stringify({ question: 'Do red foxes hunt?', answer: 'At night.' })}\n`);
    const messages = [
      { role: 'user', content: 'What hunts at night?' },
      { role: 'assistant', content: 'Red foxes.' },
    ];
    const from = path.join(folder, 'chats.jsonl');
    fs.writeFileSync(from, `${JSON.stringify({ messages })}\n${JSON.stringify({ text: 'A red fox hunts.' })}\n`);
    const { mined } = await mine(near, from);
    expect(mined.map(({ messages, text }) => messages ?? text)).toEqual([messages, 'A red fox hunts.']);
  });

  it('finds words of scripts without spaces', async () => {
    const { mined } = await mine(['東京の天気'], ['明日の東京は晴れ', '犬と猫', 'weather in Tokyo']);
    expect(numbers(mined)).toEqual([0]);
  });
});

describe('contamination', () => {
  const query = 'Question: Who wrote Faust? Answer: Goethe.';

  it('a document that is or holds a query, but for case, punctuation and white space, is left out and counted', async () => {
    const texts = [
      query,
      `From a quiz.\n\nQUESTION: who wrote "Faust"?\n  Answer - Goethe\n\nAnd so on.`,
      'Question: Who wrote Faust? Answer: Marlowe.',
      'Goethe wrote Faust.',
    ];
    const { mined, summary } = await mine([query], texts);
    expect(numbers(mined).sort()).toEqual([2, 3]);
    expect(summary.contaminated.numDocuments).toBe(2);
    expect(summary.contaminated.examples.map(({ document, query: of }) => [numberOf(document), numberOf(of)])).toEqual([
      [0, 0],
      [1, 0],
    ]);
  });

  it('a query of fewer than five words is contained only where it is all of the document', async () => {
    const { mined, summary } = await mine(['how are you'], ['How are you?', 'Hello, how are you today?']);
    expect(numbers(mined)).toEqual([1]);
    expect(summary.contaminated.numDocuments).toBe(1);
  });

  it('is found at every place, among many queries of one template', async () => {
    const rng = new Rng(3, 'templates');
    const queries = Array.from(
      { length: 500 },
      (_, i) => `question what is the value of x${i} answer it is y${i} indeed`,
    );
    const filler = (n: number) => randomTexts(rng, 1, () => n)[0];
    const texts = queries.map((text, i) => `${filler(i % 7)} ${text} ${filler(i % 5)}`);
    texts.push(queries[7].replace(' indeed', ''), queries[7].replace('x7', 'x8'));
    const { summary, mined } = await mine(queries, texts, { top: 5 });
    expect(summary.contaminated.numDocuments).toBe(500);
    expect(numbers(mined).sort()).toEqual([500, 501]);
  });
});

describe('the heaps', () => {
  it('hold the k best of each query, copies once, whatever the order of scores', () => {
    const offers = fc.array(fc.record({ query: fc.nat(2), score: fc.integer({ min: 1, max: 6 }), text: fc.nat(8) }), {
      maxLength: 120,
    });
    fc.assert(
      fc.property(offers, fc.integer({ min: 1, max: 5 }), (list, top) => {
        const heaps = new NearestDocuments(3, top);
        // Equal texts have equal scores.
        const entries = list.map(({ query, score, text }, document) => {
          const hash = score * 100 + text;
          heaps.offer(query, score, document, hash);
          return { query, score, document, hash };
        });
        const kept: string[] = [];
        heaps.forEach((query, score, document) => {
          kept.push(`${query} ${score} ${document}`);
        });
        const expected = [0, 1, 2].flatMap((query) =>
          entries
            .filter((entry) => entry.query === query)
            .filter((entry, i, own) => own.findIndex(({ hash }) => hash === entry.hash) === i)
            .sort((a, b) => b.score - a.score || a.document - b.document)
            .slice(0, top)
            .map(({ score, document }) => `${query} ${score} ${document}`),
        );
        expect(kept.sort()).toEqual(expected.sort());
        expect(mergeNearest(heaps).documents.length).toBe(new Set(expected.map((text) => text.split(' ')[2])).size);
      }),
    );
  });

  it('do not grow with the number of documents', () => {
    const heaps = new NearestDocuments(4, 10);
    const sizeBytes = () =>
      Object.values(heaps).reduce((sum, value) => sum + (ArrayBuffer.isView(value) ? value.byteLength : 0), 0);
    const before = sizeBytes();
    for (let i = 0; i < 10_000; i++) heaps.offer(i % 4, (i * 7919) % 1000, i, i);
    expect(sizeBytes()).toBe(before);
    expect(before).toBe(4 * 10 * 24 + 4 * 4);
  });
});

describe('words', () => {
  it('give back the space of a giant text', () => {
    const list = new WordList();
    list.read('a '.repeat(3 << 20));
    expect(list.length).toBe(3 << 20);
    list.read('short text');
    expect(list.length).toBe(2);
    expect(list.words.length).toBe(1 << 20);
  });

  it('are alike whatever their case and what separates them', () => {
    const read = (text: string) => {
      const list = new WordList();
      list.read(text);
      return [...list.words.subarray(0, list.length)];
    };
    expect(read('Ünïcode, WORDS—and 42\tthings')).toEqual(read('ünïcode words and 42 things'));
    expect(new Set(read('one two one three')).size).toBe(3);
    expect(read('天気')).toHaveLength(2);
    expect(read('... !?')).toEqual([]);
  });
});

describe('hostile input', () => {
  it('empty documents, punctuation, one giant document, bytes that are not UTF-8', async () => {
    const giant = randomTexts(new Rng(5, 'giant'), 1, () => 300_000, 100_000)[0];
    const lines = [
      ...Array.from({ length: 150 }, (_, i) => `stone number ${i}`),
      '',
      '  \n',
      '?! ...',
      giant,
      'a red fox',
    ];
    const file = path.join(folder, 'hostile.jsonl');
    fs.writeFileSync(
      file,
      Buffer.concat([
        Buffer.from(lines.map((text) => `${JSON.stringify({ text })}\n`).join('')),
        Buffer.from([0x7b, 0xff, 0xfe, 0x7d, 0x0a]),
      ]),
    );
    const { mined, summary } = await mine(['the red fox runs', giant.split(' ').slice(100, 200).join(' ')], file, {
      top: 1,
    });
    expect(mined.map(({ text }) => text?.slice(0, 20))).toEqual(['a red fox']);
    expect(summary).toMatchObject({
      numDocuments: 153,
      numEmptyDocuments: 2,
      numBadRecords: 1,
      contaminated: { numDocuments: 1 },
    });
  });

  it('queries without words, without text, without documents to search', async () => {
    await expect(mine(['?', '...'], ['a'])).rejects.toThrow(/no query: 1 file, 2 texts, none with a word/);
    await expect(mine([], ['a'])).rejects.toThrow(/no query: 1 file, 0 texts/);
    await expect(mine(['a query'], [])).rejects.toThrow(
      /no document to mine: 1 file, 0 empty documents, 0 bad records/,
    );
    await expect(mine(['a query'], path.join(folder, 'nowhere*.jsonl'))).rejects.toThrow(/matches no file/);
  });

  it('more neighbours than memory is set aside for', async () => {
    await expect(mine(['one', 'two', 'three'], ['a'], { top: 7_000_000 })).rejects.toThrow(
      /7000000 neighbours for each of 3 queries or more: expected at most 20M together/,
    );
  });

  it('equal queries are one', async () => {
    const { summary } = await mine(['red fox', 'red fox', 'red  fox'], ['a red fox']);
    expect(summary).toMatchObject({ numQueries: 2, numQueryCopies: 1 });
  });
});
