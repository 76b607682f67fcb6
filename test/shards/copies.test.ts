// What one corpus holds out, no other corpus of the job trains on.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compileOrder, openShard, type PreparedCorpus, prepareCorpus, readOrderFile } from '../../src/shards/index.ts';
import { END, makeFolder, words, writeByteTokenizer, writeJsonl } from './fixtures.ts';

let folder: string;
let modelFolder: string;
beforeAll(() => {
  folder = makeFolder('copies');
  modelFolder = writeByteTokenizer(path.join(folder, 'model'));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const prepare = (name: string, texts: readonly string[], role: 'domain' | 'evaluation' = 'domain') =>
  prepareCorpus({
    name,
    role,
    paths: writeJsonl(path.join(folder, `${name}.jsonl`), texts),
    modelFolder,
    cacheFolder: path.join(folder, 'cache'),
    numWorkers: 1,
    quiet: true,
  });

function textsOf(prefix: string): string[] {
  const shard = openShard(prefix);
  const all = Array.from({ length: shard.numDocuments }, (_, i) => shard.read(...shard.documentRange(i)));
  shard.close();
  return all.map((ids) => Buffer.from(ids.filter((id) => id !== END)).toString('utf8'));
}

/** The order of one epoch and a bit of each corpus, as the texts that are trained on. */
function train(corpora: readonly PreparedCorpus[]) {
  const trained = corpora.filter(({ role }) => role !== 'evaluation');
  const out = path.join(folder, 'order');
  const { files, statistics } = compileOrder({
    phases: trained.map(({ name, manifest }) => ({
      name,
      numSequences: Math.ceil(manifest.train.numTokens / 64) + 5,
      blend: { [name]: 1 },
    })),
    shards: [
      ...trained.map(({ name, trainPrefix }) => ({ prefix: trainPrefix, corpus: name, split: 'train' as const })),
      ...corpora.map(({ name, heldOutPrefix }) => ({ prefix: heldOutPrefix, corpus: name, split: 'heldOut' as const })),
    ],
    seqLen: 64,
    seed: 1,
    folder: out,
  });
  const segments = files.flatMap(({ file }) => {
    const order = readOrderFile(path.join(out, file));
    return Array.from({ length: order.numSequences }, (_, i) => order.segments(i)).flat();
  });
  const used = trained.map(({ trainPrefix }, k) => {
    const shard = openShard(trainPrefix);
    const firsts = segments.filter((s) => s.shard === k).map((s) => s.first);
    const texts = textsOf(trainPrefix).filter((_, i) => {
      const [start, length] = shard.documentRange(i);
      return firsts.some((first) => first >= start && first < start + length);
    });
    shard.close();
    return texts;
  });
  return { used, statistics };
}

describe('copies across corpora', () => {
  const texts = Array.from({ length: 400 }, (_, i) => `${i} ${words(i, 5 + (i % 20))}`);

  it('are left out of training and counted, whole documents of held-out parts too; the rest is used', async () => {
    const book = words(7, 3000);
    const corpora = [
      await prepare('notes', texts.slice(0, 250)),
      await prepare('web', [...texts.slice(100, 390), book]),
      await prepare('book', [book]),
      await prepare('exam', [...texts.slice(50, 55), ...texts.slice(380, 390), 'on its own'], 'evaluation'),
    ];
    expect(corpora[2].manifest.partChars).toBeDefined();
    const heldOut = corpora.map(({ heldOutPrefix }) => textsOf(heldOutPrefix));
    const { used, statistics } = train(corpora);
    corpora.slice(0, 3).forEach((corpus, k) => {
      const elsewhere = new Set(heldOut.flatMap((list, i) => (i === k ? [] : list)));
      const isCopy = (text: string) => elsewhere.has(text) || (corpus.name === 'web' && text === book);
      const all = textsOf(corpus.trainPrefix);
      const dropped = all.filter(isCopy);
      expect(used[k]).toEqual(all.filter((text) => !isCopy(text)));
      expect(statistics.corpora[k].heldOutElsewhere).toEqual({
        numDocuments: dropped.length,
        // Start and end token.
        numTokens: dropped.reduce((sum, text) => sum + Buffer.byteLength(text) + 2, 0),
      });
    });
    const numDropped = statistics.corpora.map(({ heldOutElsewhere }) => heldOutElsewhere.numDocuments);
    expect(numDropped[0]).toBeGreaterThanOrEqual(5);
    expect(numDropped[1]).toBeGreaterThanOrEqual(11);
    expect(numDropped[2]).toBe(0);
  });

  it('are refused when nothing else is left, with the reason', async () => {
    const corpora = [await prepare('all', texts.slice(0, 60)), await prepare('same', texts.slice(0, 60), 'evaluation')];
    expect(() => train(corpora)).toThrow(
      /52 of corpus "all"'s 52 documents are copies of what other corpora of this job hold out .*listed under two corpora\?/,
    );
  });

  it('cannot be seen beside shards without hashes, and damaged hashes are refused', async () => {
    const corpora = [
      await prepare('plain', texts.slice(0, 60)),
      await prepare('part', texts.slice(0, 10), 'evaluation'),
    ];
    const before = train(corpora).statistics.corpora[0].heldOutElsewhere.numDocuments;
    expect(before).toBeGreaterThan(5);
    const file = `${corpora[0].trainPrefix}.hashes`;
    fs.truncateSync(file, 80);
    expect(() => train(corpora)).toThrow(/train\.hashes: 80 bytes, expected 416 \(8 for each of 52 documents\)/);
    fs.truncateSync(file, 81);
    expect(() => train(corpora)).toThrow(/train\.hashes: 81 bytes, not a multiple of 8/);
    expect((await prepare('plain', texts.slice(0, 60))).reused).toBe(false);
    fs.rmSync(file);
    expect(train(corpora).statistics.corpora[0].heldOutElsewhere.numDocuments).toBe(0);
  });
});
