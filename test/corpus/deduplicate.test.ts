// What the corpora of a run hold more than once goes, the first one stays, in the order of the corpora, whatever the parts and workers.
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Rng } from '../../src/base/rng.ts';
import { type CuratedCorpus, curateCorpus, deduplicate } from '../../src/corpus/index.ts';

let root: string;
beforeAll(() => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-dedup-'));
});
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

const rng = new Rng(5, 'deduplicate');
const words = (n: number) => Array.from({ length: n }, () => rng.uint32().toString(36)).join(' ');
const FOOTER = 'This line stands at the end of very many pages of the site.';
const SPAN = words(60);

function corpusOf(name: string, texts: readonly string[], partBytes?: number): Promise<CuratedCorpus> {
  const file = path.join(root, `${name}.jsonl`);
  fs.writeFileSync(file, texts.map((text) => `${JSON.stringify({ text })}\n`).join(''));
  return curateCorpus({
    name,
    paths: file,
    steps: [],
    cacheFolder: path.join(root, `cache-${partBytes}`),
    partBytes,
    quiet: true,
  });
}

const textsOf = ({ files }: CuratedCorpus): string[] =>
  files.flatMap((file) =>
    fs
      .readFileSync(file, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => (JSON.parse(line) as { text: string }).text),
  );

describe('deduplicate', () => {
  const docs = Array.from({ length: 12 }, () => words(120));
  const near = docs[3]!.replace(/ \S+$/, ' changed');
  const pages = Array.from(
    { length: 10 },
    (_, i) => `${words(100)}${i % 2 === 0 ? ` ${SPAN} ${words(20)}` : ''}\n${FOOTER}`,
  );
  const domain = [...docs, docs[0]!];
  const general = [pages[0]!, ` ${docs[5]}\n`, near, ...pages.slice(1), pages[4]!];
  const dedup = { exact: true, near: {}, lines: { maxDocuments: 3 }, substrings: { minTokens: 40 } };

  it.each([
    [undefined, 1],
    [3000, 2],
  ] as const)('with parts of %s bytes and %s workers', async (partBytes, numWorkers) => {
    const corpora = [await corpusOf('docs', domain, partBytes), await corpusOf('web', general, partBytes)];
    if (partBytes) expect(corpora[1]!.files.length).toBeGreaterThan(2);
    const cacheFolder = path.join(root, `cache-${partBytes}`);
    const [kept, rest] = await deduplicate(corpora, { dedup, cacheFolder, numWorkers, quiet: true });
    expect(textsOf(kept!)).toEqual(docs);
    const texts = textsOf(rest!);
    expect(texts).toHaveLength(10);
    expect(texts.filter((text) => text.includes(FOOTER))).toHaveLength(1);
    expect(texts.filter((text) => text.includes(SPAN))).toHaveLength(1);
    // What surrounds a span that went is still there.
    for (const [i, page] of pages.entries()) expect(texts[i]!.startsWith(page.split(' ')[0]!)).toBe(true);
    const counts = rest!.manifest.steps.map(({ name, removed, changed }) => [
      name,
      removed.numDocuments,
      changed.numDocuments,
    ]);
    expect(counts).toEqual([
      ['copies', 3, 0],
      ['repeated lines', 0, 9],
      ['repeated spans', 0, 4],
    ]);
    const { given, kept: amount, steps } = rest!.manifest;
    expect(given.numBytes - amount.numBytes).toBe(
      steps.reduce((sum, { removed, changed }) => sum + removed.numBytes + changed.numBytes, 0),
    );
    const removed = fs
      .readdirSync(path.join(rest!.folder, 'removed'))
      .flatMap((file) =>
        fs
          .readFileSync(path.join(rest!.folder, 'removed', file), 'utf8')
          .trimEnd()
          .split('\n'),
      )
      .map((line) => JSON.parse(line));
    expect(removed.map(({ reason }) => reason).sort()).toEqual(['exact copy', 'exact copy', 'near copy']);
    // Each names the line of the one that stays.
    const [, part, line] = /\/documents\/(\d+)\.jsonl:(\d+)$/.exec(
      removed.find(({ reason }) => reason === 'near copy').copyOf,
    )!;
    const original = fs.readFileSync(path.join(corpora[0]!.folder, 'documents', `${part}.jsonl`), 'utf8').split('\n');
    expect(JSON.parse(original[Number(line) - 1]!).text).toBe(docs[3]);
    expect(fs.readdirSync(cacheFolder).filter((name) => name.startsWith('deduplicating'))).toEqual([]);
    const again = await deduplicate(corpora, { dedup, cacheFolder, quiet: true });
    expect(again.map(({ reused }) => reused)).toEqual([true, true]);
  });

  it('refuses a corpus that is nothing but copies', async () => {
    const corpora = [await corpusOf('first', docs), await corpusOf('second', docs.slice(0, 3))];
    await expect(deduplicate(corpora, { dedup: { exact: true }, cacheFolder: root, quiet: true })).rejects.toThrow(
      'corpus "second": every document is a copy of what stands before it, in itself or in "first". Is one file listed under two corpora?',
    );
  });
});

it('two that do all again at a time end with the same, and leave nothing behind', async () => {
  const docs = Array.from({ length: 100 }, () => words(40));
  const file = path.join(root, 'twice.jsonl');
  fs.writeFileSync(file, [...docs, ...docs.slice(0, 9)].map((text) => `${JSON.stringify({ text })}\n`).join(''));
  const cacheFolder = path.join(root, 'cache-twice');
  const curate = async (fresh: boolean) => {
    const common = { cacheFolder, fresh, quiet: true, numWorkers: 1 };
    const corpus = await curateCorpus({ name: 'twice', paths: file, steps: [], partBytes: 9000, ...common });
    const [kept] = await deduplicate([corpus], { dedup: { exact: true }, ...common });
    return textsOf(kept!);
  };
  expect(await curate(false)).toEqual(docs);
  for (const texts of await Promise.all([curate(true), curate(true)])) expect(texts).toEqual(docs);
  const left = fs
    .readdirSync(cacheFolder, { recursive: true })
    .filter((name) => /\.tmp|deduplicating/.test(String(name)));
  expect(left).toEqual([]);
});
