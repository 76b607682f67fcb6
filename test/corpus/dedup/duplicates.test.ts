// Signatures and the search for duplicates: what is found beside the truth by brute force, and what must not change it.
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Rng } from '../../../src/base/rng.ts';
import { Components } from '../../../src/corpus/dedup/components.ts';
import { type FindDuplicatesOptions, findDuplicates, readDuplicates } from '../../../src/corpus/dedup/duplicates.ts';
import { RecordSorter } from '../../../src/corpus/dedup/record-sorter.ts';
import { FINEWEB_MIN_HASH, type SignatureOptions, SignatureWriter } from '../../../src/corpus/dedup/signatures.ts';

let folder: string;
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-dedup-'));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

let numFiles = 0;
function sign(texts: readonly string[], options?: SignatureOptions): string {
  const file = path.join(folder, `${++numFiles}.signatures`);
  const writer = new SignatureWriter(file, options);
  for (const text of texts) writer.add(text);
  writer.finish();
  return file;
}

type Found = { part: number; index: number; kind: string; copyOf: { part: number; index: number } };

async function find(parts: readonly (readonly string[])[], options: Partial<FindDuplicatesOptions> = {}) {
  const files = parts.map((texts) => {
    const signatures = sign(texts, options.options);
    return { signatures, duplicates: `${signatures}.duplicates` };
  });
  const summary = await findDuplicates({ parts: files, folder, ...options });
  const found: Found[] = files.flatMap(({ duplicates }, part) =>
    [...readDuplicates(duplicates)].map((duplicate) => ({ part, ...duplicate })),
  );
  return { summary, found, files };
}

const vocabulary = Array.from({ length: 5000 }, (_, i) => `word${i.toString(36)}`);
const randomWords = (rng: Rng, count: number) => Array.from({ length: count }, () => vocabulary[rng.below(5000)]);

describe('RecordSorter', () => {
  it('sorts any records in any memory as one sort in memory does', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 4 }),
        fc.array(fc.oneof(fc.integer({ min: 0, max: 0xffffffff }), fc.integer({ min: 0, max: 3 })), {
          maxLength: 3000,
        }),
        fc.constantFrom(100, 2000, 40_000, 1 << 20),
        (numWords, numbers, memoryBytes) => {
          const records = Array.from({ length: Math.floor(numbers.length / numWords) }, (_, i) =>
            numbers.slice(i * numWords, (i + 1) * numWords),
          );
          const numKeyWords = Math.max(1, numWords - 1);
          const sorter = new RecordSorter(numWords, { folder, memoryBytes }, numKeyWords);
          for (const record of records) {
            const at = sorter.next();
            sorter.words.set(record, at);
          }
          const read = () => [...sorter.blocks()].length;
          const all: number[] = [];
          for (const block of sorter.blocks()) all.push(...block);
          const keyOf = (record: number[]) => record.slice(0, numKeyWords);
          const expected = records
            .map((record, i) => ({ record, i }))
            .sort((a, b) => {
              const [x, y] = [keyOf(a.record), keyOf(b.record)];
              const at = x.findIndex((word, i) => word !== y[i]);
              return at < 0 ? a.i - b.i : x[at]! - y[at]!;
            });
          expect(all).toEqual(expected.flatMap(({ record }) => record));
          // A second time, as the first.
          expect(read()).toBeGreaterThanOrEqual(records.length > 0 ? 1 : 0);
          sorter.close();
        },
      ),
      { numRuns: 60 },
    );
  });

  it('leaves no file behind', () => {
    const own = fs.mkdtempSync(path.join(folder, 'sort-'));
    const sorter = new RecordSorter(2, { folder: own, memoryBytes: 1000 });
    for (let i = 0; i < 5000; i++) sorter.push2(i % 77, i);
    expect([...sorter.blocks()].length).toBeGreaterThan(0);
    expect(fs.readdirSync(own)).toEqual([]);
    sorter.close();
  });
});

describe('Components', () => {
  it('finds what union-find finds', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 200 }),
        fc.array(fc.tuple(fc.nat(), fc.nat()), { maxLength: 250 }),
        fc.constantFrom(64, 4000, 1 << 20),
        (numNodes, pairs, memoryBytes) => {
          const parents = Array.from({ length: numNodes }, (_, i) => i);
          const rootOf = (node: number): number => (parents[node] === node ? node : rootOf(parents[node]!));
          const components = new Components({ folder, memoryBytes });
          for (const [a, b] of pairs) {
            components.addEdge(a % numNodes, b % numNodes);
            const [x, y] = [rootOf(a % numNodes), rootOf(b % numNodes)];
            parents[Math.max(x, y)] = Math.min(x, y);
          }
          components.connect();
          const expected = parents
            .map((_, node) => ({ node, root: rootOf(node) }))
            .filter(({ node, root }) => node !== root);
          expect([...components.roots()]).toEqual(expected);
          components.close();
        },
      ),
      { numRuns: 100 },
    );
  });

  it('joins a long chain', () => {
    const components = new Components({ folder, memoryBytes: 1 << 20 });
    const order = new Rng(3, 'chain').shuffle(Array.from({ length: 3000 }, (_, i) => i));
    for (let i = 1; i < order.length; i++) components.addEdge(order[i - 1]!, order[i]!);
    components.connect();
    expect([...components.roots()].map(({ root }) => root)).toEqual(Array(2999).fill(0));
    components.close();
  });
});

describe('exact copies', () => {
  it('are texts that differ in white space and Unicode composition only; the first stays', async () => {
    const { found, summary } = await find(
      [
        ['A text.', 'Another', 'A  text.\n', 'caf\u00e9', ''],
        ['a text.', '\u2003A\ttext.', 'cafe\u0301', 'Atext.', 'Another text', ''],
      ],
      { minHash: false },
    );
    expect(found).toEqual([
      { part: 0, index: 2, kind: 'exact', copyOf: { part: 0, index: 0 } },
      { part: 1, index: 1, kind: 'exact', copyOf: { part: 0, index: 0 } },
      { part: 1, index: 2, kind: 'exact', copyOf: { part: 0, index: 3 } },
      { part: 1, index: 5, kind: 'exact', copyOf: { part: 0, index: 4 } },
    ]);
    expect(summary).toEqual({
      numDocuments: 11,
      numExact: 4,
      numNear: 0,
      clusterSizes: [
        { size: 2, numClusters: 2 },
        { size: 3, numClusters: 1 },
      ],
      numRejectedPairs: 0,
    });
  });
});

/** Texts in clusters of near copies, far from each other, with exact copies and short texts among them. */
function clusteredTexts(seed: number, numClusters: number) {
  const rng = new Rng(seed, 'clusters');
  const texts: { text: string; cluster: number }[] = [];
  for (let cluster = 0; cluster < numClusters; cluster++) {
    const words = randomWords(rng, 120 + rng.below(200));
    const size = 1 + rng.below(4);
    for (let copy = 0; copy < size; copy++) {
      const changed = [...words];
      // One word of a hundred or so: a similarity of about 0.95.
      if (copy > 0 && copy < 3) changed[rng.below(words.length)] = `new${rng.below(1e6)}`;
      texts.push({ text: changed.join(copy === 2 ? '  ' : ' '), cluster });
    }
  }
  for (let i = 0; i < 10; i++) texts.push({ text: `too short ${i}`, cluster: numClusters + i });
  return rng.shuffle(texts);
}

/** Each document but the first of its cluster, with that one, by number through all parts. */
function numbered(found: readonly Found[], sizes: readonly number[]) {
  const start = (part: number) => sizes.slice(0, part).reduce((sum, size) => sum + size, 0);
  return found.map(({ part, index, copyOf, kind }) => ({
    document: start(part) + index,
    of: start(copyOf.part) + copyOf.index,
    kind,
  }));
}

describe('near copies', () => {
  it('finds known clusters and nothing else, however parts and memory are cut', async () => {
    const texts = clusteredTexts(1, 150);
    const firsts = new Map<number, number>();
    for (const [i, { cluster }] of texts.entries()) if (!firsts.has(cluster)) firsts.set(cluster, i);
    const expected = texts
      .map(({ cluster }, i) => ({ document: i, of: firsts.get(cluster)! }))
      .filter(({ document, of }) => document !== of);
    let reference: unknown;
    for (const [numParts, memoryBytes] of [
      [1, 64 << 20],
      [3, 64 << 20],
      [7, 4000],
      [40, 60_000],
    ]) {
      const size = Math.ceil(texts.length / numParts!);
      const parts = Array.from({ length: numParts! }, (_, i) =>
        texts.slice(i * size, (i + 1) * size).map(({ text }) => text),
      );
      const { found, summary } = await find(parts, { memoryBytes });
      const result = numbered(
        found,
        parts.map((part) => part.length),
      );
      expect(result.map(({ document, of }) => ({ document, of }))).toEqual(expected);
      expect(summary.numNear + summary.numExact).toBe(expected.length);
      expect(summary.clusterSizes.reduce((sum, { size, numClusters }) => sum + (size - 1) * numClusters, 0)).toBe(
        expected.length,
      );
      reference ??= { result, sizes: summary.clusterSizes };
      expect({ result, sizes: summary.clusterSizes }).toEqual(reference);
    }
  });

  it('meets with probability 1 - (1 - s^8)^14 at similarity s', async () => {
    const numPairs = 300;
    const rng = new Rng(5, 'pairs');
    // With two sets of n n-grams that share m, s = m / (2n - m). Words that differ at the end change a tail of n-grams only.
    for (const shared of [0.6, 0.75, 0.86, 0.95]) {
      const numWords = 154;
      const numShared = Math.round(shared * 150);
      const texts: string[] = [];
      for (let pair = 0; pair < numPairs; pair++) {
        const head = Array.from({ length: numShared + 4 }, () =>
          `h${rng.uint32()}x`.replace(/\d/g, (d) => 'abcdefghij'[Number(d)]!),
        );
        for (let copy = 0; copy < 2; copy++) {
          const tail = Array.from({ length: numWords - head.length }, () =>
            `t${rng.uint32()}y`.replace(/\d/g, (d) => 'abcdefghij'[Number(d)]!),
          );
          texts.push([...head, ...tail].join(' '));
        }
      }
      const similarity = numShared / (300 - numShared);
      const expected = 1 - (1 - similarity ** 8) ** 14;
      const { summary } = await find([texts], { exact: false });
      // Four standard deviations of the number of successes in 300 trials.
      const tolerance = 4 * Math.sqrt((expected * (1 - expected)) / numPairs) + 1e-9;
      expect(Math.abs(summary.numNear / numPairs - expected), `at similarity ${similarity}`).toBeLessThan(tolerance);
    }
  });

  it('verifies by estimated similarity on request', async () => {
    const rng = new Rng(9, 'verify');
    const words = randomWords(rng, 300);
    const change = (from: number) => [...words.slice(0, from), ...randomWords(rng, 300 - from)].join(' ');
    const near = [...words];
    near[150] = 'changed';
    // Similarities with the first text: 0.97, 1, and 100 of about 0.5, of which some meet it by chance.
    const texts = [
      words.join(' '),
      near.join(' '),
      words.join(' | '),
      ...Array.from({ length: 100 }, () => change(200)),
    ];
    const loose = await find([texts], { exact: false });
    expect(loose.summary.numNear).toBeGreaterThan(2);
    const strict = await find([texts.slice(0, 50), texts.slice(50)], { exact: false, minSimilarity: 0.8 });
    expect(strict.found).toEqual([
      { part: 0, index: 1, kind: 'near', copyOf: { part: 0, index: 0 } },
      { part: 0, index: 2, kind: 'near', copyOf: { part: 0, index: 0 } },
    ]);
    expect(strict.summary.numRejectedPairs).toBeGreaterThan(0);
  });

  it('keeps the corpus that comes first, and everything that it is compared against', async () => {
    const rng = new Rng(11, 'order');
    const [a, b, c] = [0, 1, 2].map(() => randomWords(rng, 100).join(' ')) as [string, string, string];
    const against = sign([`${b} more`, b, 'other']);
    const { found, summary } = await find(
      [
        [a, b],
        [c, `${a} again`, b],
      ],
      { against: [against] },
    );
    expect(found).toEqual([
      { part: 0, index: 1, kind: 'exact', copyOf: { part: 2, index: 1 } },
      { part: 1, index: 1, kind: 'near', copyOf: { part: 0, index: 0 } },
      { part: 1, index: 2, kind: 'exact', copyOf: { part: 2, index: 1 } },
    ]);
    expect(summary.numDocuments).toBe(5);
  });

  it('sees through case, punctuation, digits, marks and scripts', async () => {
    const rng = new Rng(13, 'fold');
    const words = randomWords(rng, 60).map((word) => word.replace(/\d/g, ''));
    const texts = [
      `${words.join(' ')} café 12.5`,
      `${words.join(', ').toUpperCase()}! CAFE\u0301 1,234`,
      '分かち書きのない文は一字ずつ見る。'.repeat(3),
      '分かち書きのない、文は一字ずつ見る'.repeat(3),
      '🦉🦊🦋🐙🐚🐛',
      '🦉🦊🦋🐙🐚🐝',
    ];
    const { found } = await find([texts], {});
    expect(found).toEqual([
      { part: 0, index: 1, kind: 'near', copyOf: { part: 0, index: 0 } },
      { part: 0, index: 3, kind: 'near', copyOf: { part: 0, index: 2 } },
    ]);
  });

  it('takes parts without documents, and no parts', async () => {
    const { found, summary, files } = await find([[], ['a'], [], ['a', 'b'], []]);
    expect(found).toEqual([{ part: 3, index: 0, kind: 'exact', copyOf: { part: 1, index: 0 } }]);
    expect(files.every(({ duplicates }) => fs.existsSync(duplicates))).toBe(true);
    expect(summary.numDocuments).toBe(3);
    expect((await find([])).summary.numDocuments).toBe(0);
  });
});

describe('files of records', () => {
  it('refuses what is damaged, cut, of other options or something else', async () => {
    const file = sign(['one two three four five six', 'another text']);
    const good = fs.readFileSync(file);
    const search = () => findDuplicates({ parts: [{ signatures: file, duplicates: `${file}.duplicates` }], folder });
    await search();
    const damage = (at: number) => {
      const bytes = Buffer.from(good);
      bytes[at] ^= 1;
      fs.writeFileSync(file, bytes);
    };
    damage(good.length - 5);
    await expect(search()).rejects.toThrow('do not match the digest');
    damage(0);
    await expect(search()).rejects.toThrow('is no file of records');
    damage(16);
    await expect(search()).rejects.toThrow('it is damaged');
    fs.writeFileSync(file, good.subarray(0, good.length - 1));
    await expect(search()).rejects.toThrow('it is damaged');
    fs.writeFileSync(file, good.subarray(0, 20));
    await expect(search()).rejects.toThrow('ends early');
    const other = sign(['a'], { exact: true, minHash: { ...FINEWEB_MIN_HASH, seed: 2 } });
    fs.copyFileSync(other, file);
    await expect(search()).rejects.toThrow('was made with other options');
    expect(() => [...readDuplicates(other)]).toThrow('holds "signatur", expected "duplicat"');
    fs.rmSync(file);
    await expect(search()).rejects.toThrow('no such file');
  });

  it('are there when they are whole only', () => {
    const file = path.join(folder, 'whole.signatures');
    const writer = new SignatureWriter(file);
    writer.add('text');
    expect(fs.existsSync(file)).toBe(false);
    writer.discard();
    expect(fs.readdirSync(folder).filter((name) => name.startsWith('whole'))).toEqual([]);
  });

  it('are made again after a kill, whose left-over goes', () => {
    const file = path.join(folder, 'killed.signatures');
    // No process has this number: Linux counts to 2^22.
    fs.writeFileSync(`${file}.99999999-0-1.tmp`, 'half a file');
    const writer = new SignatureWriter(file);
    writer.add('text');
    writer.finish();
    expect(fs.readdirSync(folder).filter((name) => name.startsWith('killed'))).toEqual(['killed.signatures']);
  });

  it('wants the kinds that are asked for', async () => {
    const options = { exact: true, minHash: undefined };
    const file = sign(['a'], options);
    const search = findDuplicates({
      parts: [{ signatures: file, duplicates: `${file}.d` }],
      folder,
      options,
      minHash: true,
    });
    await expect(search).rejects.toThrow('near copies');
  });
});
