// Selection on synthetic text of known topics: what is selected, and what must hold beside.

import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Rng } from '../../../src/base/rng.ts';
import {
  type SelectedDocument,
  type SelectOptions,
  type SelectSummary,
  selectDocuments,
} from '../../../src/corpus/index.ts';

let folder: string;
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-select-'));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const TOPICS = ['whale', 'senate', 'kernel', 'garden', 'violin', 'planet'];
/** Letters alone, so that words can be labels: "whaleab". */
const wordOf = (stem: string, i: number) => stem + String.fromCharCode(97 + (i % 26), 97 + Math.floor(i / 26));

/** Two fifths of a text's words are its topic's, the others everybody's; the topic's first word is its most frequent. */
function textOf(rng: Rng, topic: string, numWords = 120): string {
  return Array.from({ length: numWords }, () =>
    rng.float() < 0.4 ? wordOf(topic, Math.floor(40 * rng.float() ** 2)) : wordOf('common', rng.below(200)),
  ).join(' ');
}

interface Labelled {
  topic: string;
  text: string;
}

/** `counts` texts of each topic, in a mixed order. */
function texts(seed: number, counts: readonly number[], numWords?: (rng: Rng) => number): Labelled[] {
  const rng = new Rng(seed, 'texts');
  const list = counts.flatMap((n, i) =>
    Array.from({ length: n }, () => ({ topic: TOPICS[i], text: textOf(rng, TOPICS[i], numWords?.(rng)) })),
  );
  return rng.shuffle(list);
}

function write(name: string, records: readonly object[]): string {
  const file = path.join(folder, name);
  fs.writeFileSync(file, records.map((record) => `${JSON.stringify(record)}\n`).join(''));
  return file;
}

let numRuns = 0;
async function select(
  from: readonly object[],
  near: readonly object[] | undefined,
  options: Partial<SelectOptions> = {},
): Promise<{ summary: SelectSummary; selected: SelectedDocument[]; bytes: string }> {
  numRuns++;
  const file = path.join(folder, `selected-${numRuns}.jsonl`);
  const summary = await selectDocuments({
    method: 'crisp',
    from: { paths: write(`from-${numRuns}.jsonl`, from) },
    near: near && { paths: write(`near-${numRuns}.jsonl`, near) },
    wanted: { unit: 'documents', amount: 100 },
    numClusters: 12,
    seed: 1,
    maxRepeats: 1,
    output: { file },
    numWorkers: 1,
    quiet: true,
    ...options,
  });
  const bytes = fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : '';
  return { summary, bytes, selected: parse(bytes) };
}

const parse = (bytes: string) =>
  bytes
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as SelectedDocument);

/** The topic whose words the text has most of. */
const topicOf = (text: string) =>
  TOPICS.reduce((best, topic) => (text.split(topic).length > text.split(best).length ? topic : best));

function countTopics(documents: readonly { text?: string }[]): number[] {
  return TOPICS.map((topic) => documents.filter(({ text }) => topicOf(text!) === topic).length);
}

describe('CRISP', () => {
  it("gives the target's share of topics, each document once", async () => {
    const corpus = texts(1, [300, 300, 300, 300, 300, 300]);
    const target = texts(2, [60, 30, 10, 0, 0, 0]);
    const { selected, summary } = await select(corpus, target, { wanted: { unit: 'documents', amount: 200 } });
    expect(selected).toHaveLength(200);
    expect(new Set(selected.map(({ id }) => id)).size).toBe(200);
    // Quotas are shares of clusters, which are nearly pure: of 200 documents a topic is off by what its impure clusters hold.
    countTopics(selected).forEach((count, i) => {
      expect(Math.abs(count - [120, 60, 20, 0, 0, 0][i])).toBeLessThanOrEqual(8);
    });
    expect(summary.likeness!.corpusDistance).toBeGreaterThan(0.4);
    // Only rounding of 12 quotas of documents: half a document each at most.
    expect(summary.likeness!.selectedDistance).toBeLessThan(0.03);
    expect(summary.likeness!.selectedDivergence).toBeLessThan(summary.likeness!.corpusDivergence);
    expect(summary.shortfall).toBe(0);
    for (const { cluster, weight } of selected) expect(weight).toBeCloseTo(summary.clusters[cluster].ratio!, 4);
  });

  it('counts bytes where bytes are wanted', async () => {
    const corpus = texts(3, [200, 200, 200, 0, 0, 0], (rng) => 20 + rng.below(400));
    const target = texts(4, [40, 40, 0, 0, 0, 0], (rng) => 20 + rng.below(400));
    const { summary, selected } = await select(corpus, target, { wanted: { unit: 'bytes', amount: 100_000 } });
    const numBytes = selected.reduce((sum, { text }) => sum + Buffer.byteLength(text!), 0);
    expect(numBytes).toBe(summary.numBytesSelected);
    // The last document of each of 12 clusters is off by half of one, 3.3 kB at most.
    expect(Math.abs(numBytes - 100_000)).toBeLessThan(12 * 1700);
  });

  it('repeats documents of scarce clusters no more often than allowed, and says what is missing', async () => {
    const corpus = texts(5, [20, 300, 300, 0, 0, 0]);
    const target = texts(6, [50, 0, 0, 0, 0, 0]);
    const once = await select(corpus, target, { wanted: { unit: 'documents', amount: 100 } });
    expect(once.summary.numRepeated).toBe(0);
    expect(once.selected.length).toBeLessThanOrEqual(60);
    expect(once.summary.shortfall).toBe(100 - once.selected.length);
    const thrice = await select(corpus, target, { wanted: { unit: 'documents', amount: 50 }, maxRepeats: 3 });
    const copies = new Map<string, number>();
    for (const { id } of thrice.selected) copies.set(id, (copies.get(id) ?? 0) + 1);
    expect(Math.max(...copies.values())).toBeLessThanOrEqual(3);
    expect(thrice.selected).toHaveLength(50);
    expect(thrice.summary.numRepeated).toBe(50 - copies.size);
  });
});

describe('the result', () => {
  const corpus = texts(7, [90, 90, 90, 90, 90, 90]);
  const target = texts(8, [20, 5, 5, 0, 0, 0]);

  it.each(['crisp', 'dsir', 'nearest', 'k-centre'] as const)(
    'of %s is the same for any number of threads, and another by another seed',
    async (method) => {
      const options = { method, wanted: { unit: 'documents', amount: 60 } } as const;
      const one = await select(corpus, target, options);
      const three = await select(corpus, target, { ...options, numWorkers: 3 });
      expect(three.bytes.replaceAll(/from-\d+/g, '')).toBe(one.bytes.replaceAll(/from-\d+/g, ''));
      expect(one.selected).toHaveLength(60);
      const other = await select(corpus, target, { ...options, seed: 2 });
      expect(other.bytes.replaceAll(/from-\d+/g, '')).not.toBe(one.bytes.replaceAll(/from-\d+/g, ''));
    },
  );

  it('names clusters and topics by planted words', async () => {
    const { summary } = await select(corpus, target, { numTopics: 6 });
    for (const { words, corpusShare } of summary.clusters) {
      if (corpusShare < 0.02) continue;
      const stems = words.map((word) => TOPICS.find((topic) => word.startsWith(topic)));
      // All of one topic; of a topic's 40 words each document has a third, so a few common ones may come in by chance.
      const most = Math.max(...TOPICS.map((topic) => stems.filter((stem) => stem === topic).length));
      expect(most).toBeGreaterThanOrEqual(words.length - 1);
      expect(words.length).toBeGreaterThan(3);
    }
    expect(summary.topics.map(({ words }) => TOPICS.find((topic) => words[0].startsWith(topic))).toSorted()).toEqual(
      TOPICS.toSorted(),
    );
    expect(summary.topics.flatMap(({ clusters }) => clusters).toSorted((a, b) => a - b)).toEqual(
      summary.clusters.map(({ cluster }) => cluster),
    );
  });

  it('has a map in which documents of a topic lie together', async () => {
    const { summary } = await select(corpus, target, { withMap: true, numTopics: 6 });
    const points = summary.map!;
    expect(points.filter(({ isTarget }) => isTarget)).toHaveLength(30);
    const numTogether = points.filter((point, i) => {
      const others = points.map((other, j) =>
        i === j ? Infinity : (other.x - point.x) ** 2 + (other.y - point.y) ** 2,
      );
      return points[others.indexOf(Math.min(...others))].topic === point.topic;
    }).length;
    // By chance a sixth would have a neighbour of their own topic.
    expect(numTogether).toBeGreaterThan(0.9 * points.length);
  });

  it('leaves out documents of little quality, and keeps what is known of the others', async () => {
    // Given by the record itself, or as cleaned corpora have it.
    const judged = corpus.map(({ text }, i) => {
      const quality = (i % 10) / 10;
      return i % 3 === 0 ? { text, quality } : { text, metadata: { quality } };
    });
    const { selected, summary } = await select(judged, target, { minQuality: 0.5 });
    expect(Math.min(...selected.map(({ metadata }) => metadata!.quality as number))).toBe(0.5);
    expect(summary.numBelowQuality).toBe(270);
    expect(summary.quality!.corpus).toBeCloseTo(0.45, 10);
    expect(summary.quality!.selected).toBeGreaterThan(0.5);
    await expect(select(judged, target, { minQuality: 2 })).rejects.toThrow('no document may be selected');
    await expect(select(corpus, target, { minQuality: 0.5 })).rejects.toThrow(
      'no document has a number in metadata.quality',
    );
  });

  it('comes as one corpus a topic, with the lines of continuo.yaml', async () => {
    const out = path.join(folder, 'by-topic');
    const { summary } = await select(corpus, target, { output: { folder: out }, numTopics: 6 });
    const names = fs.readdirSync(out);
    const yaml = fs.readFileSync(path.join(out, 'corpora.yaml'), 'utf8');
    let numSelected = 0;
    let weights = 0;
    for (const name of names.filter((file) => file.endsWith('.jsonl'))) {
      const documents = parse(fs.readFileSync(path.join(out, name), 'utf8'));
      numSelected += documents.length;
      expect(new Set(documents.map(({ topic }) => topic)).size).toBe(1);
      const line = yaml.split('\n').find((text) => text.includes(name))!;
      const { targetShare } = summary.topics[documents[0].topic];
      const weight = Number(/weight: ([\d.]+)/.exec(line)![1]);
      expect(weight).toBeCloseTo(targetShare!, 3);
      weights += weight;
    }
    expect(numSelected).toBe(summary.numSelected);
    expect(weights).toBeCloseTo(1, 2);
  });
});

describe('DSIR', () => {
  it('takes text like the target first, short or long', async () => {
    const corpus = texts(9, [60, 200, 200, 0, 0, 0], (rng) => (rng.float() < 0.5 ? 30 : 600));
    const target = texts(10, [30, 0, 0, 0, 0, 0]);
    const { selected } = await select(corpus, target, { method: 'dsir', wanted: { unit: 'documents', amount: 50 } });
    const [like, ...unlike] = countTopics(selected);
    expect(like).toBeGreaterThanOrEqual(48);
    expect(unlike.reduce((a, b) => a + b)).toBeLessThanOrEqual(2);
    const numShort = selected.filter(({ text }) => text!.split(' ').length === 30).length;
    expect(numShort).toBeGreaterThan(10);
  });
});

describe('nearest', () => {
  it('takes what is nearest to parts of the target', async () => {
    const corpus = texts(11, [60, 60, 200, 200, 0, 0]);
    const { selected } = await select(corpus, texts(12, [30, 30, 0, 0, 0, 0]), { method: 'nearest' });
    expect(countTopics(selected).slice(2)).toEqual([0, 0, 0, 0]);
  });
});

describe('k-centre', () => {
  it('covers rare topics that a random choice of the same size misses', async () => {
    // Four topics of four documents each beside two of 400.
    const corpus = texts(13, [400, 400, 4, 4, 4, 4]);
    const { selected } = await select(corpus, undefined, {
      method: 'k-centre',
      wanted: { unit: 'documents', amount: 40 },
    });
    expect(selected).toHaveLength(40);
    expect(Math.min(...countTopics(selected))).toBeGreaterThan(0);
  });
});

describe('what is refused', () => {
  const corpus = texts(14, [40, 40, 0, 0, 0, 0]);
  const target = texts(15, [5, 0, 0, 0, 0, 0]);

  it.each([
    ['an empty corpus', [], target, {}, 'too few documents to select from: expected at least 20, found 0'],
    ['a corpus of a few documents', corpus.slice(0, 10), target, {}, 'found 10'],
    ['a target without a document', corpus, [], {}, 'no target'],
    ['a target in other words', corpus, [{ text: 'völlig anderes' }], {}, 'shares a word that counts'],
    ['more than there is', corpus, target, { wanted: { unit: 'documents', amount: 80 } }, 'nothing to select'],
    ['too many clusters', corpus, target, { numClusters: 41 }, '41 clusters of 80 documents'],
    [
      'documents without a word in common',
      Array.from({ length: 30 }, (_, i) => ({ text: `w${i}` })),
      target,
      { wanted: { unit: 'documents', amount: 5 } },
      'too few words in common',
    ],
  ] as const)('%s', async (_, from, near, options, message) => {
    await expect(select(from, near, { wanted: { unit: 'documents', amount: 5 }, ...options })).rejects.toThrow(message);
  });

  it('hostile text is survived: no words, one word a million times, copies alone', async () => {
    const hostile = [
      { text: '!!! ??? \u{1f600}' },
      { text: 'a '.repeat(1_000_000) },
      { text: '\u202e\u0000constructor __proto__ toString' },
      { text: 'x'.repeat(1_000_000) },
      ...Array.from({ length: 200 }, () => ({ text: corpus[0].text })),
    ];
    for (const method of ['crisp', 'dsir', 'nearest', 'k-centre'] as const) {
      const { selected, summary } = await select([...hostile, ...corpus], target, {
        method,
        wanted: { unit: 'documents', amount: 30 },
      });
      expect(selected.length + summary.shortfall).toBe(30);
      expect(summary.numWithoutCluster).toBeGreaterThan(0);
      expect(summary.clusters.every(({ corpusShare }) => Number.isFinite(corpusShare))).toBe(true);
    }
  });

  it('a failure leaves no file behind', async () => {
    const before = fs.readdirSync(folder).length;
    await expect(select(corpus, [], {})).rejects.toThrow();
    // The two inputs.
    expect(fs.readdirSync(folder).length).toBe(before + 2);
  });
});
