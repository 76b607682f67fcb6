// continuo mine: what a user sees, and that a killed one leaves nothing.
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as path from 'node:path';
import * as zlib from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { temporaryFolder } from '../runs/fixture.ts';
import { type Ran, runInProcess } from './in-process.ts';

const root = temporaryFolder();
const at = (name: string) => path.join(root, name);
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

const rows = (field: string, texts: string[]) => texts.map((text) => `${JSON.stringify({ [field]: text })}\n`).join('');

beforeAll(() => {
  const examples = [
    'Question: What do red foxes eat? Answer: Mostly mice.',
    'Question: Who built the harbour of Ostia? Answer: Claudius.',
  ];
  fs.writeFileSync(at('qa.jsonl'), rows('text', examples));
  fs.writeFileSync(
    at('web.jsonl.gz'),
    zlib.gzipSync(
      rows('text', [
        'Red foxes eat mice, voles and berries.',
        'The harbour of Ostia was built under Claudius.',
        `Quiz night. ${examples[0]}`,
        'Nothing of the kind.',
      ]),
    ),
  );
});

async function mine(...args: string[]): Promise<Ran> {
  return runInProcess(['mine', ...args]);
}

const usual = (out: string) => ['--near', at('qa.jsonl'), '--from', at('web*.jsonl.gz'), '--out', at(out), '--quiet'];

describe('continuo mine', () => {
  test('writes the nearest documents, best first, and says what was found and left out', async () => {
    const { code, out } = await mine(...usual('mined.jsonl'), '--top', '1');
    expect(code).toBe(0);
    const lines = fs
      .readFileSync(at('mined.jsonl'), 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines.map(({ id, nearest }) => [path.basename(id), path.basename(nearest)])).toEqual([
      ['web.jsonl.gz:2', 'qa.jsonl:2'],
      ['web.jsonl.gz:1', 'qa.jsonl:1'],
    ]);
    expect(Object.keys(lines[0])).toEqual(['id', 'text', 'source', 'score', 'nearest']);
    expect(out).toMatch(/^mined +2 of 4 documents, \d+ B of text, into .*mined\.jsonl$/m);
    expect(out).toMatch(/^examples +2, each with a document of at least 0\.03$/m);
    expect(out).toMatch(/^left out +documents: 1 that hold an example word for word$/m);
    expect(out).toContain('web.jsonl.gz:3 holds ');
  });

  test('--json gives the same as figures', async () => {
    const { code, out, err } = await mine(...usual('json.jsonl'), '--json', '--min-score', '0.01');
    expect([code, err]).toEqual([0, '']);
    expect(JSON.parse(out)).toMatchObject({
      numQueries: 2,
      numDocuments: 4,
      numMined: 3,
      numQueriesWithoutNeighbour: 0,
      contaminated: { numDocuments: 1 },
      top: 50,
      minScore: 0.01,
    });
  });

  test('an existing file is kept, or overwritten with --force, but never while it is read', async () => {
    fs.writeFileSync(at('there.jsonl'), rows('text', ['old']));
    const refused = await mine(...usual('there.jsonl'));
    expect(refused.code).toBe(2);
    expect(refused.err).toContain(
      'there.jsonl: exists already. Choose another name with --out, or overwrite it with --force.',
    );
    expect(fs.readFileSync(at('there.jsonl'), 'utf8')).toBe(rows('text', ['old']));
    expect((await mine(...usual('there.jsonl'), '--force', '--from', at('there.jsonl'))).err).toContain(
      'there.jsonl: is among the files that are read.',
    );
    expect((await mine(...usual('there.jsonl'), '--force')).code).toBe(0);
    expect(fs.readFileSync(at('there.jsonl'), 'utf8')).toContain('Ostia');
  });

  test.each([
    [
      ['--min-score', '0.99'],
      2,
      /of 4 documents none has a cosine of 0\.99 with one of 2 examples; the nearest has 0\.\d\d\. Lower --min-score/,
    ],
    [['--min-score', '0'], 2, /--min-score: expected a cosine above 0, at most 1, found 0\./],
    [['--near-field', 'question'], 3, /no field "question" \(fields: text\)/],
    [['--from', at('nowhere.jsonl')], 2, /nowhere\.jsonl: no such file or folder/],
    [['--out', at('mined.txt')], 2, /--out: expected a name that ends in \.jsonl/],
    [['--out', at('qa.jsonl/mined.jsonl')], 2, /a part of this path is a file, expected a folder/],
    [['--near', at('empty.jsonl')], 0, /^$/],
  ])('%j', async (args, code, message) => {
    fs.writeFileSync(at('empty.jsonl'), '');
    const before = fs.readdirSync(root);
    const result = await mine(...usual('other.jsonl'), ...args);
    expect(result.code).toBe(code);
    expect(result.err).toMatch(message);
    if (code > 0) expect(fs.readdirSync(root)).toEqual(before);
  });

  test('examples without a word are refused', async () => {
    const { code, err } = await mine('--near', at('empty.jsonl'), '--from', at('web.jsonl.gz'), '--out', at('x.jsonl'));
    expect(code).toBe(3);
    expect(err).toContain('empty.jsonl: no query: 1 file, 0 texts, none with a word.');
  });
});

describe('killed or disturbed', () => {
  const folder = at('killed');
  const main = path.join(import.meta.dirname, '../../dist/cli/main.js');
  beforeAll(() => {
    fs.mkdirSync(folder);
    for (const name of ['qa.jsonl', 'web.jsonl.gz']) fs.copyFileSync(at(name), path.join(folder, name));
  });

  /** Runs the command in a process of its own, after `hook`, which may call die(): the end by `kill -9`. */
  function runWith(hook: string, from = 'web.jsonl.gz') {
    const script = `import fs from 'node:fs'; import { syncBuiltinESMExports } from 'node:module';
      const die = () => process.kill(process.pid, 'SIGKILL');
      ${hook}
      syncBuiltinESMExports();`;
    const preload = `data:text/javascript,${encodeURIComponent(script)}`;
    const args = ['mine', '--near', 'qa.jsonl', '--from', from, '--out', 'mined.jsonl'];
    const { signal, status, stderr } = spawnSync(process.execPath, ['--import', preload, main, ...args], {
      cwd: folder,
      encoding: 'utf8',
    });
    return {
      signal,
      status,
      stderr,
      left: fs.readdirSync(folder).filter((name) => !['qa.jsonl', 'web.jsonl.gz'].includes(name)),
    };
  }

  const afterLine = (label: string) => `const write = process.stderr.write.bind(process.stderr);
    process.stderr.write = (text, ...rest) => (text.startsWith('${label}') ? die() : write(text, ...rest));`;

  test.each(['counting words', 'scoring documents', 'fetching texts'])('after %s: nothing is left', (label) => {
    expect(runWith(afterLine(label))).toMatchObject({ signal: 'SIGKILL', left: [] });
  });

  test('just before the result is renamed: it is absent, and the next run clears up', () => {
    const { signal, left } = runWith('fs.renameSync = die;');
    expect(signal).toBe('SIGKILL');
    expect(left).toEqual([expect.stringMatching(/^mined\.jsonl\.[\w-]+@\d+-0-1\.tmp$/)]);
    expect(runWith('')).toMatchObject({ signal: null, status: 0, left: ['mined.jsonl'] });
  });

  test.each([
    ['counting words', `${JSON.stringify({ text: 'Another text.' })}\n`],
    ['scoring documents', `${JSON.stringify({ text: 'Another text.' })}\n`.repeat(4)],
  ])('files that change after %s are seen, and nothing is left', (label, content) => {
    fs.rmSync(path.join(folder, 'mined.jsonl'), { force: true });
    fs.writeFileSync(path.join(folder, 'web.jsonl'), zlib.gunzipSync(fs.readFileSync(at('web.jsonl.gz'))));
    const { status, stderr, left } = runWith(
      `const write = process.stderr.write.bind(process.stderr);
      process.stderr.write = (text, ...rest) => {
        if (text.startsWith('${label}')) fs.writeFileSync('web.jsonl', ${JSON.stringify(content)});
        return write(text, ...rest);
      };`,
      'web.jsonl',
    );
    expect(stderr).toMatch(/web\.jsonl: the documents changed while they were read/);
    expect({ status, left }).toEqual({ status: 3, left: ['web.jsonl'] });
  });
});
