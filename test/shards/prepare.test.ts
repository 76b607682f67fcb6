import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import * as zlib from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { sha256File } from '../../src/base/hash.ts';
import type { PreparedCorpus, PrepareOptions } from '../../src/shards/index.ts';
import { openShard, prepareCorpus } from '../../src/shards/index.ts';
import { END, makeFolder, words, writeByteTokenizer, writeJsonl } from './fixtures.ts';

let folder: string;
let modelFolder: string;
beforeAll(() => {
  folder = makeFolder('prepare');
  modelFolder = writeByteTokenizer(path.join(folder, 'model'));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const prepare = (name: string, paths: string, options: Partial<PrepareOptions> = {}): Promise<PreparedCorpus> =>
  prepareCorpus({
    name,
    role: 'domain',
    paths,
    modelFolder,
    cacheFolder: path.join(folder, 'cache'),
    numWorkers: 2,
    quiet: true,
    ...options,
  });

/** Token ids of every document. */
function documents(prefix: string): number[][] {
  const shard = openShard(prefix);
  const all = Array.from({ length: shard.numDocuments }, (_, i) => Array.from(shard.read(...shard.documentRange(i))));
  shard.close();
  return all;
}
const textOf = (ids: readonly number[]) => Buffer.from(ids.filter((id) => id !== END)).toString('utf8');
const digests = (corpus: PreparedCorpus) =>
  ['train.bin', 'train.idx', 'heldout.bin', 'heldout.idx', 'heldout.bytes'].map((file) =>
    sha256File(path.join(corpus.folder, file)),
  );

describe('prepareCorpus', () => {
  const texts = Array.from({ length: 1000 }, (_, i) => `${i} ünï ${words(i, 20 + (i % 60))}`);

  it('splits documents between training and held-out, each text once, with start and end tokens', async () => {
    const corpus = await prepare('plain', writeJsonl(path.join(folder, 'plain.jsonl'), texts));
    const train = documents(corpus.trainPrefix);
    const heldOut = documents(corpus.heldOutPrefix);
    expect(heldOut).toHaveLength(20);
    expect(train).toHaveLength(980);
    expect([...train, ...heldOut].map(textOf).sort()).toEqual([...texts].sort());
    for (const ids of train) expect([ids[0], ids.at(-1)]).toEqual([END, END]);
    for (const ids of heldOut) {
      expect(ids[0]).toBe(END);
      expect(ids.at(-1)).not.toBe(END);
    }
    const bytesOf = (docs: number[][]) => docs.reduce((sum, ids) => sum + Buffer.byteLength(textOf(ids)), 0);
    const { manifest } = corpus;
    expect(manifest.train).toMatchObject({
      numDocuments: 980,
      numTokens: train.flat().length,
      numBytes: bytesOf(train),
    });
    expect(manifest.heldOut).toMatchObject({
      numDocuments: 20,
      numTokens: heldOut.flat().length - 20,
      numBytes: bytesOf(heldOut),
    });
    const sizes = fs.readFileSync(`${corpus.heldOutPrefix}.bytes`);
    expect(heldOut.map((_, i) => sizes.readUInt32LE(4 * i))).toEqual(
      heldOut.map((ids) => Buffer.byteLength(textOf(ids))),
    );
    expect(manifest.partChars).toBeUndefined();
    expect(fs.readdirSync(corpus.folder).sort()).toEqual(
      [
        ...['heldout.bin', 'heldout.bytes', 'heldout.hashes', 'heldout.idx', 'manifest.json'],
        ...['removed', 'train.bin', 'train.hashes', 'train.idx'],
      ].sort(),
    );
  });

  it('gives the same bytes with one and three workers, and for the same documents in other files the same split', async () => {
    const big = Array.from({ length: 1400 }, (_, i) => words(i % 7, 250) + i);
    const file = writeJsonl(path.join(folder, 'big.jsonl'), big);
    const runs: PreparedCorpus[] = [];
    for (const numWorkers of [1, 3])
      runs.push(await prepare('big', file, { numWorkers, cacheFolder: path.join(folder, `cache-${numWorkers}`) }));
    expect(digests(runs[1])).toEqual(digests(runs[0]));
    writeJsonl(path.join(folder, 'halves/a.jsonl'), big.slice(700));
    writeJsonl(path.join(folder, 'halves/b.jsonl'), big.slice(0, 700));
    const halves = await prepare('halves', path.join(folder, 'halves'));
    expect(documents(halves.heldOutPrefix)).toEqual(documents(runs[0].heldOutPrefix));
  });

  it('is reused while nothing changed, and made again when a file, an option or the tokenizer did', async () => {
    const file = writeJsonl(path.join(folder, 'reuse.jsonl'), texts);
    const first = await prepare('reuse', file);
    const again = await prepare('reuse', file);
    expect([first.reused, again.reused]).toEqual([false, true]);
    expect(again.manifest).toEqual(first.manifest);
    expect((await prepare('reuse', file, { heldOut: { minDocuments: 9 } })).reused).toBe(false);
    expect((await prepare('reuse', file, { fresh: true })).reused).toBe(false);
    fs.truncateSync(path.join(first.folder, 'train.bin'), 1000);
    const repaired = await prepare('reuse', file);
    expect(repaired.reused).toBe(false);
    expect(digests(repaired)).toEqual(digests(await prepare('reuse', file)));
    fs.appendFileSync(file, `${JSON.stringify({ text: 'one more' })}\n`);
    const longer = await prepare('reuse', file);
    expect(longer.reused).toBe(false);
    expect(longer.folder).not.toBe(first.folder);
  });

  it('never trains on a copy of a held-out text', async () => {
    const file = writeJsonl(path.join(folder, 'copies.jsonl'), [...texts, ...texts.slice(0, 500)]);
    const corpus = await prepare('copies', file, { heldOut: { share: 0.1 } });
    const heldOut = new Set(documents(corpus.heldOutPrefix).map(textOf));
    const train = documents(corpus.trainPrefix).map(textOf);
    expect(heldOut.size).toBe(150);
    expect(train.filter((text) => heldOut.has(text))).toEqual([]);
    expect(corpus.manifest.removed.heldOutCopies).toBeGreaterThan(0);
    expect(train.length + heldOut.size + corpus.manifest.removed.heldOutCopies).toBe(1500);
  });

  it('counts words, copies that stay, and languages', async () => {
    const sentence =
      'It is the same with the other parts of the pump, which are not to be removed before they are cold.';
    const unlike = Array.from({ length: 300 }, (_, i) => `${i} ${sentence}`);
    const repeated = Array.from({ length: 40 }, () => `again: ${sentence}`);
    const file = writeJsonl(path.join(folder, 'statistics.jsonl'), [...unlike, ...repeated, 'qwer '.repeat(200)]);
    const { manifest, trainPrefix, heldOutPrefix } = await prepare('statistics', file);
    const train = documents(trainPrefix).map(textOf);
    const numWords = (all: string[]) => all.reduce((sum, text) => sum + text.trim().split(/\s+/).length, 0);
    expect(manifest.train.numWords).toBe(numWords(train));
    expect(manifest.heldOut.numWords).toBe(numWords(documents(heldOutPrefix).map(textOf)));
    expect(manifest.train.numCopies).toBe(train.length - new Set(train).size);
    const bytes = [...unlike, ...repeated].reduce((sum, text) => sum + Buffer.byteLength(text), 0) + 1000;
    expect(manifest.languages).toEqual({ en: bytes });
  });

  it('holds parts of a single book out, and joins the rest again', async () => {
    const book = `${words(5, 60_000)}\nEnd.`;
    fs.mkdirSync(path.join(folder, 'book'), { recursive: true });
    fs.writeFileSync(path.join(folder, 'book/book.txt'), book);
    const corpus = await prepare('book', path.join(folder, 'book'));
    const { manifest } = corpus;
    expect(manifest.partChars).toBeGreaterThan(10_000);
    expect(manifest.train.numCopies).toBe(0);
    const heldOut = documents(corpus.heldOutPrefix).map(textOf);
    const train = documents(corpus.trainPrefix).map(textOf);
    expect(heldOut).toHaveLength(8);
    expect(train.length).toBeLessThanOrEqual(9);
    for (const text of heldOut)
      expect(book.includes(text) && (text.endsWith('\n\n') || text.endsWith('End.'))).toBe(true);
    // Put back where they were, all pieces make the book.
    const pieces = [...heldOut, ...train].sort((a, b) => book.indexOf(a) - book.indexOf(b));
    expect(pieces.join('') === book).toBe(true);
  });

  it('cuts documents that are short in characters but long in tokens', async () => {
    // Three bytes, hence three tokens, a character.
    const letter = (i: number, k: number) => String.fromCharCode(0x4e00 + ((i * 7919 + k * 104_729) % 20_000));
    const chinese = Array.from({ length: 20 }, (_, i) => Array.from({ length: 1500 }, (_, k) => letter(i, k)).join(''));
    const corpus = await prepare('cjk', writeJsonl(path.join(folder, 'cjk.jsonl'), chinese), {
      heldOut: { minDocuments: 4, maxTokens: 8000, share: 0.01 },
    });
    expect(corpus.manifest.partChars).toBe(444);
    const heldOut = documents(corpus.heldOutPrefix);
    expect(heldOut).toHaveLength(4);
    for (const ids of heldOut) expect(ids.length - 1).toBeLessThanOrEqual(2000);
    const rest = documents(corpus.trainPrefix).map(textOf);
    const numChars = [...heldOut.map(textOf), ...rest].reduce((sum, text) => sum + text.length, 0);
    expect(numChars).toBe(20 * 1500);
    for (const text of rest) expect(chinese.some((whole) => whole.includes(text))).toBe(true);
  });

  it('stops at exactly limitTokens', async () => {
    const file = writeJsonl(path.join(folder, 'limit.jsonl'), texts);
    const corpus = await prepare('limit', file, { limitTokens: 10_000, heldOut: { maxTokens: 8000 } });
    expect(corpus.manifest.train.numTokens).toBe(10_000);
    expect(corpus.manifest.limitTokens).toBe(10_000);
    expect(documents(corpus.trainPrefix).flat()).toHaveLength(10_000);
    const unlimited = await prepare('limit', file, { limitTokens: 10_000_000 });
    expect(unlimited.manifest.limitTokens).toBeUndefined();
  });

  it('keeps to the token limit of the held-out set', async () => {
    const corpus = await prepare('caps', writeJsonl(path.join(folder, 'caps.jsonl'), texts), {
      heldOut: { share: 0.5, maxTokens: 8000 },
    });
    expect(corpus.manifest.heldOut.numTokens).toBeLessThanOrEqual(8000);
    expect(corpus.manifest.heldOut.numTokens).toBeGreaterThan(7000);
  });

  it('holds out the whole of an evaluation corpus', async () => {
    const corpus = await prepare('eval', writeJsonl(path.join(folder, 'eval.jsonl'), texts.slice(0, 3)), {
      role: 'evaluation',
    });
    expect(corpus.manifest.heldOut.numDocuments).toBe(3);
    expect(corpus.manifest.train.numTokens).toBe(0);
  });

  it('writes bad records down, and says in one line what it left out', async () => {
    const file = writeJsonl(path.join(folder, 'bad/bad.jsonl'), texts);
    fs.appendFileSync(file, 'not json\n{"text":""}\n');
    fs.writeFileSync(path.join(folder, 'bad/image.png'), 'x');
    const stderr = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    const corpus = await prepare('bad', path.join(folder, 'bad'), { quiet: false });
    const lines = stderr.mock.calls.map(([line]) => String(line));
    stderr.mockRestore();
    expect(lines.filter((line) => line.includes('left out'))).toEqual([
      `corpus "bad": left out 1 bad record, 1 empty document, 1 file without a reader (.png) (${corpus.folder}/manifest.json)\n`,
    ]);
    expect(corpus.manifest.removed).toEqual({ badRecords: 1, emptyDocuments: 1, leftOut: 0, heldOutCopies: 0 });
    const log = fs.readFileSync(path.join(corpus.folder, 'removed/bad-records.jsonl'), 'utf8').trim().split('\n');
    expect(log.map((line) => JSON.parse(line))).toMatchObject([
      { file, line: 1001, reason: expect.stringMatching(/not valid JSON/) },
    ]);
  });

  it('says with numbers why a corpus cannot be used, and leaves nothing behind', async () => {
    const cacheFolder = path.join(folder, 'cache-errors');
    const empty = writeJsonl(path.join(folder, 'empty.jsonl'), ['', ' \n']);
    await expect(prepare('empty', empty, { cacheFolder })).rejects.toThrow(
      /corpus "empty" is empty: 1 files, 2 empty documents, 0 bad records/,
    );
    const small = writeJsonl(
      path.join(folder, 'small.jsonl'),
      texts.slice(0, 8).map((text) => text.slice(0, 30)),
    );
    await expect(prepare('small', small, { cacheFolder })).rejects.toThrow(
      /smaller than its held-out split: it has 8 documents or parts \(8 distinct\), of which 8 must be held out/,
    );
    const same = writeJsonl(path.join(folder, 'same.jsonl'), Array(50).fill('the same text'));
    await expect(prepare('same', same, { cacheFolder })).rejects.toThrow(/50 documents or parts \(1 distinct\)/);
    const long = writeJsonl(path.join(folder, 'long.jsonl'), texts.slice(0, 3));
    await expect(
      prepare('long', long, { cacheFolder, role: 'evaluation', heldOut: { maxTokens: 50 } }),
    ).rejects.toThrow(
      /cannot be scored: it has 3 documents or parts \(3 distinct\), of which 1 must be; 0 could be held out\. 3 are longer than the 50 tokens that one may have \(heldOut: 50 tokens \/ 1 documents\)\. Raise the tokens of heldOut/,
    );
    const cut = path.join(folder, 'cut.jsonl.gz');
    const packed = zlib.gzipSync(fs.readFileSync(writeJsonl(path.join(folder, 'uncut.jsonl'), texts)));
    fs.writeFileSync(cut, packed.subarray(0, packed.length / 2));
    await expect(prepare('cut', cut, { cacheFolder })).rejects.toThrow(
      /cut\.jsonl\.gz \(at byte \d+\): gzip data ends early .*lost to corpus "cut".*maxBadShare/,
    );
    expect(fs.readdirSync(cacheFolder)).toEqual([]);
    const file = writeJsonl(path.join(folder, 'ok.jsonl'), texts);
    await expect(prepare('ok', file, { vocabSize: 200 })).rejects.toThrow(
      /tokenizer\.json: its token 256 \("<\|endoftext\|>"\) has no row/,
    );
    fs.writeFileSync(path.join(folder, 'blocked'), 'a file');
    await expect(prepare('ok', file, { cacheFolder: path.join(folder, 'blocked/cache') })).rejects.toThrow(
      /a part of this path is a file/,
    );
  });

  it('survives being killed: what is there without a manifest is done again', async () => {
    const big = Array.from({ length: 1000 }, (_, i) => words(i % 7, 300) + i);
    const file = writeJsonl(path.join(folder, 'killed.jsonl'), big);
    const cacheFolder = path.join(folder, 'cache-killed');
    const request = {
      name: 'killed',
      role: 'domain',
      paths: file,
      modelFolder,
      cacheFolder,
      numWorkers: 1,
      quiet: true,
    };
    const entry = path.resolve('dist/shards/index.js');
    const script = `import(${JSON.stringify(entry)}).then((m) => m.prepareCorpus(${JSON.stringify(request)}))`;
    const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'inherit', 'inherit'] });
    const staged = async () => {
      for (let i = 0; i < 400; i++) {
        const left = fs.existsSync(cacheFolder) ? fs.readdirSync(cacheFolder) : [];
        if (left.length > 0) return left;
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      return [];
    };
    expect(await staged()).toEqual([expect.stringMatching(/^corpus-killed-.*\.tmp$/)]);
    child.kill('SIGKILL');
    await once(child, 'exit');
    const redone = await prepare('killed', file, { cacheFolder });
    expect(redone.reused).toBe(false);
    expect(fs.readdirSync(cacheFolder)).toEqual([path.basename(redone.folder)]);
    expect(digests(redone)).toEqual(
      digests(await prepare('killed', file, { cacheFolder: path.join(folder, 'cache-other') })),
    );
  });

  // Needs the right to mount; elsewhere the writers' ENOSPC path is only covered by its wording.
  const small = path.join(os.tmpdir(), `continuo-small-${process.pid}`);
  fs.mkdirSync(small, { recursive: true });
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=300k', 'tmpfs', small]).status === 0;
  afterAll(() => {
    if (mounted) spawnSync('umount', [small]);
    fs.rmdirSync(small);
  });

  it.skipIf(!mounted)(
    'says so when the disk is full, keeps nothing half done, and goes on once there is room',
    async () => {
      const file = writeJsonl(path.join(folder, 'full.jsonl'), [...texts, ...texts.map((text) => `${text} again`)]);
      await expect(prepare('full', file, { cacheFolder: small })).rejects.toThrow(
        /the disk is full .*Nothing that was complete is lost/,
      );
      expect(fs.readdirSync(small)).toEqual([]);
      spawnSync('mount', ['-o', 'remount,size=20m', small]);
      expect((await prepare('full', file, { cacheFolder: small })).manifest.train.numDocuments).toBe(1960);
    },
  );
});
