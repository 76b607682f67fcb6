// Curation: the same bytes however the work is shared out, nothing lost without a reason, nothing done twice.
import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packageRoot } from '../../src/base/package.ts';
import { Rng } from '../../src/base/rng.ts';
import type { CleanStepConfig } from '../../src/config/index.ts';
import { type CurateOptions, curateCorpus } from '../../src/corpus/index.ts';

let root: string;
beforeAll(() => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-curate-'));
});
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

/** A part a file, where files have some 100 KB. */
const PART = 100_000;

const STEPS: CleanStepConfig[] = [
  { name: 'unicode', options: {} },
  { name: 'length', options: { minWords: 3 } },
  { name: 'pii', options: {} },
];

function write(name: string, lines: readonly unknown[]): string {
  const file = path.join(root, name);
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, lines.map((line) => `${typeof line === 'string' ? line : JSON.stringify(line)}\n`).join(''));
  return file;
}

/** Some 100 KB of documents a file; every 7th is too short. */
function writeFiles(folder: string, numFiles: number): string {
  const rng = new Rng(1, 'curate');
  const word = () => rng.uint32().toString(36);
  for (let f = 0; f < numFiles; f++)
    write(
      path.join(folder, `${String(f).padStart(2, '0')}.jsonl`),
      Array.from({ length: 140 }, (_, i) => ({
        text: i % 7 === 0 ? 'too short' : `mail me@corp${f}.org ${Array.from({ length: 100 }, word).join(' ')}`,
      })),
    );
  return path.join(root, folder);
}

const options = (more: Partial<CurateOptions> & { paths: CurateOptions['paths'] }): CurateOptions => ({
  name: 'web',
  steps: STEPS,
  cacheFolder: path.join(root, 'cache'),
  quiet: true,
  ...more,
});

/** Every file of a curated folder but the manifest, whose time differs. */
function contentOf(folder: string): Record<string, string> {
  return Object.fromEntries(
    fs
      .readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((name) => name !== 'manifest.json' && fs.statSync(path.join(folder, name)).isFile())
      .sort()
      .map((name) => [name, fs.readFileSync(path.join(folder, name), 'utf8')]),
  );
}

describe('curateCorpus', () => {
  it('keeps, edits, and removes with the reason; every document and byte is accounted for', async () => {
    const file = write('mixed.jsonl', [
      { text: 'A plain sentence of words.', url: 'https://a.example.org/' },
      { text: 'short' },
      'not json',
      { text: '  ' },
      { text: 'write to someone@corp.org about it' },
      {
        messages: [
          { role: 'user', content: 'mail someone@corp.org' },
          { role: 'assistant', content: 'I have done that' },
        ],
      },
    ]);
    const { folder, manifest, files } = await curateCorpus(options({ name: 'mixed', paths: file, maxBadShare: 0.5 }));
    expect(manifest.read).toMatchObject({ numRecords: 6, numDocuments: 4, numBadRecords: 1, numEmptyDocuments: 1 });
    expect(manifest).toMatchObject({ given: { numDocuments: 4 }, kept: { numDocuments: 3 } });
    const removedBytes = manifest.steps.reduce(
      (sum, { removed, changed }) => sum + removed.numBytes + changed.numBytes,
      0,
    );
    expect(manifest.given.numBytes).toBe(manifest.kept.numBytes + removedBytes);
    const lines = fs
      .readFileSync(files[0]!, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines[0]).toMatchObject({ id: `${file}:1`, text: 'A plain sentence of words.' });
    expect(lines[1].text).not.toContain('someone@corp.org');
    expect(lines[2].text).toBeUndefined();
    expect(lines[2].messages[0].content).not.toContain('someone@corp.org');
    expect(lines[2].messages[1]).toEqual({ role: 'assistant', content: 'I have done that' });
    const removed = fs.readFileSync(path.join(folder, 'removed/000000.jsonl'), 'utf8').trimEnd().split('\n');
    expect(removed.map((line) => JSON.parse(line))).toMatchObject([
      { id: `${file}:2`, step: 'length', text: 'short', value: 1, limit: 3 },
    ]);
    expect(fs.readFileSync(path.join(folder, 'bad-records/000000.jsonl'), 'utf8')).toContain('not valid JSON');
  });

  it('writes the same bytes for any number of workers, and reuses what is there', async () => {
    const paths = writeFiles('many', 12);
    // Parts of one file each.
    const one = await curateCorpus(
      options({ paths, cacheFolder: path.join(root, 'one'), numWorkers: 1, partBytes: PART }),
    );
    const two = await curateCorpus(
      options({ paths, cacheFolder: path.join(root, 'two'), numWorkers: 2, partBytes: PART }),
    );
    expect(one.manifest.parts).toHaveLength(12);
    expect(contentOf(two.folder)).toEqual(contentOf(one.folder));
    expect(one.manifest.kept.numDocuments).toBe(12 * 120);
    expect((await curateCorpus(options({ paths, cacheFolder: path.join(root, 'one'), partBytes: PART }))).reused).toBe(
      true,
    );
  });

  it('is shared out among machines and brought together', async () => {
    const paths = writeFiles('shares', 9);
    const whole = await curateCorpus(options({ paths, cacheFolder: path.join(root, 'whole'), partBytes: PART }));
    const shared = options({ paths, cacheFolder: path.join(root, 'shared'), partBytes: PART });
    const works = await Promise.all([0, 1, 2].map((index) => curateCorpus({ ...shared, share: { index, count: 4 } })));
    expect(works.map(({ numDone, numParts }) => [numDone, numParts])).toEqual([
      [3, 9],
      [2, 9],
      [2, 9],
    ]);
    const done = fs.statSync(path.join(works[0]!.folder, 'documents/000000.jsonl')).mtimeMs;
    // The fourth share never came: the last command does it, and only it.
    const merged = await curateCorpus(shared);
    expect(fs.statSync(path.join(merged.folder, 'documents/000000.jsonl')).mtimeMs).toBe(done);
    expect(contentOf(merged.folder)).toEqual(contentOf(whole.folder));
  });

  it('goes on where a killed process was', async () => {
    const paths = writeFiles('killed', 30);
    const cacheFolder = path.join(root, 'killed-cache');
    const script = `import { curateCorpus } from ${JSON.stringify(path.join(packageRoot(), 'dist/corpus/index.js'))};
      await curateCorpus(${JSON.stringify(options({ paths, cacheFolder, numWorkers: 1, partBytes: PART }))});`;
    const program = path.join(root, 'killed.mjs');
    fs.writeFileSync(program, script);
    const child = spawn(process.execPath, [program], { stdio: 'ignore' });
    const parts = () => partsIn(cacheFolder);
    while (parts().length < 5 && child.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 5));
    child.kill('SIGKILL');
    const before = new Map(parts().map((file) => [file, fs.statSync(file).mtimeMs]));
    expect(before.size).toBeGreaterThanOrEqual(5);
    const result = await curateCorpus(options({ paths, cacheFolder, partBytes: PART }));
    for (const [file, time] of before) expect(fs.statSync(file).mtimeMs).toBe(time);
    const whole = await curateCorpus(options({ paths, cacheFolder: path.join(root, 'unkilled'), partBytes: PART }));
    expect(contentOf(result.folder)).toEqual(contentOf(whole.folder));
  });

  it('cuts a large file of JSON lines, and loses no line', async () => {
    const file = write(
      'large.jsonl',
      Array.from({ length: 3000 }, (_, i) => ({ text: `document number ${i} ${'é'.repeat(i % 50)}` })),
    );
    const whole = await curateCorpus(options({ name: 'whole', paths: file }));
    const cut = await curateCorpus(options({ name: 'cut', paths: file, partBytes: 1000 }));
    const texts = (files: readonly string[]) =>
      files.flatMap((one) => fs.readFileSync(one, 'utf8').trimEnd().split('\n')).map((line) => JSON.parse(line).text);
    expect(cut.manifest.parts.length).toBeGreaterThan(50);
    expect(texts(cut.files)).toEqual(texts(whole.files));
  });

  it('judges bad records over all parts, and says when nothing is left', async () => {
    for (let f = 0; f < 3; f++) write(`bad/${f}.jsonl`, ['broken', { text: 'a few words here' }]);
    await expect(curateCorpus(options({ paths: path.join(root, 'bad'), partBytes: PART }))).rejects.toThrow(
      '3 of 6 records of corpus "web" cannot be used (50 %, at most 1 % accepted)',
    );
    const file = write('short.jsonl', [{ text: 'two words' }]);
    await expect(curateCorpus(options({ paths: file }))).rejects.toThrow(
      'corpus "web": nothing is left of 1 documents after cleaning (length 1)',
    );
  });
});

function partsIn(cache: string): string[] {
  if (!fs.existsSync(cache)) return [];
  return fs.readdirSync(cache).flatMap((stage) => {
    const folder = path.join(cache, stage, 'parts');
    return fs.existsSync(folder)
      ? fs
          .readdirSync(folder)
          .filter((name) => name.endsWith('.json'))
          .map((name) => path.join(folder, name))
      : [];
  });
}
