// continuo data select: what a user sees, and what is refused before anything is read.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Rng } from '../../src/base/rng.ts';
import { temporaryFolder } from '../runs/fixture.ts';
import { runInProcess } from './in-process.ts';

const root = temporaryFolder();
const at = (name: string) => path.join(root, name);
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

const STEMS = ['fox', 'port', 'moon'];

beforeAll(() => {
  const rng = new Rng(1, 'cli');
  const word = (stem: string) => stem + String.fromCharCode(97 + rng.below(12));
  const text = (stem: string) => Array.from({ length: 40 }, () => word(rng.float() < 0.5 ? stem : 'all')).join(' ');
  const rows = (stems: readonly string[], n: number) =>
    stems.flatMap((stem) => Array.from({ length: n }, () => `${JSON.stringify({ text: text(stem) })}\n`)).join('');
  fs.writeFileSync(at('web.jsonl'), rows(STEMS, 40));
  fs.writeFileSync(at('target.jsonl'), rows(['fox'], 10));
  fs.mkdirSync(at('mine'));
  fs.writeFileSync(at('mine/precious.txt'), 'precious');
});

const select = (...args: string[]) => runInProcess(['data', 'select', '--from', at('web.jsonl'), '--quiet', ...args]);
const near = ['--near', at('target.jsonl')];
const few = ['--documents', '20', '--clusters', '6'];

describe('continuo data select', () => {
  test('writes documents, a table and a map, and says what they are worth', async () => {
    const { code, out, err } = await select(
      ...[...near, ...few, '--out', at('a.jsonl'), '--map', at('a.svg'), '--table', at('a.json')],
    );
    expect(err).toBe('');
    expect(code).toBe(0);
    const lines = fs
      .readFileSync(at('a.jsonl'), 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines).toHaveLength(20);
    expect(lines.every(({ text }) => text.includes('fox'))).toBe(true);
    expect(Object.keys(lines[0])).toEqual(['id', 'text', 'source', 'cluster', 'topic', 'weight']);
    expect(out).toMatch(/^selected +20 of 120 documents, .* by crisp, into .*a\.jsonl$/m);
    expect(out).toMatch(/^target +10 documents; distance of topics 0\.\d+ -> 0\.\d+, of words /m);
    expect(out).toMatch(/corpus % +target % +selected % +ratio +words/);
    const { clusters } = JSON.parse(fs.readFileSync(at('a.json'), 'utf8'));
    expect(clusters).toHaveLength(6);
    const centroid = Buffer.from(clusters[0].centroid, 'base64');
    let squares = 0;
    for (let i = 0; i < 256; i++) squares += centroid.readFloatLE(4 * i) ** 2;
    expect(centroid).toHaveLength(1024);
    expect(Math.abs(squares - 1)).toBeLessThan(1e-5);
    const svg = fs.readFileSync(at('a.svg'), 'utf8');
    expect(svg).toMatch(/^<svg .*<\/svg>$/s);
    expect(svg).toContain('120 documents of the corpus');
    expect(svg).toContain('10 documents of the target');
    // A name of each topic stands on the map.
    for (const stem of STEMS) expect(svg).toMatch(new RegExp(`>[^<]*${stem}[a-l]`));
  });

  test('prints JSON, and needs no target for k-centre', async () => {
    const { code, out } = await select(...few, '--out', at('b.jsonl'), '--json');
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ method: 'k-centre', numSelected: 20, unit: 'documents', wanted: 20 });
    expect(JSON.parse(out).likeness).toBeUndefined();
  });

  test('a folder of topics is made again with --force; a folder of anything else never', async () => {
    const args = [...near, ...few, '--split', 'topics', '--topics', '3'];
    expect((await select(...args, '--out', `${at('topics')}/`)).code).toBe(0);
    expect(fs.readFileSync(at('topics/corpora.yaml'), 'utf8')).toContain(`path: "${at('topics/topic-')}`);
    expect((await select(...args, '--out', at('topics'))).err).toContain('exists already');
    expect((await select(...args, '--out', at('topics'), '--force')).code).toBe(0);
    expect((await select(...args, '--out', at('mine'), '--force')).err).toContain('holds other things');
    expect(fs.readFileSync(at('mine/precious.txt'), 'utf8')).toBe('precious');
    expect((await select(...args, '--out', root, '--force')).err).toContain('holds other things');
  });

  const fine = [...near, ...few, '--out', at('c.jsonl')];
  test.each([
    [[...near, '--out', at('c.jsonl')], /How much is wanted\?/],
    [[...fine, '--bytes', '5M'], /Give one of/],
    [[...near, '--bytes', 'x', '--out', at('c.jsonl')], /--bytes: expected a count/],
    [
      [...fine, '--method', 'crips'],
      /expected crisp, dsir, ifd, k-centre, nearest, found crips\. Did you mean crisp\?/,
    ],
    [[...few, '--out', at('c.jsonl'), '--method', 'dsir'], /Give its documents with --near/],
    [[...few, '--out', at('c.jsonl'), '--method', 'ifd'], /Name it with --model/],
    [[...fine, '--model', 'some/model'], /only --method ifd asks a model, found --method crisp/],
    [[...near, ...few, '--out', at('c.txt')], /ends in \.jsonl/],
    [[...fine, '--map', at('c.png')], /ends in \.svg/],
    [[...fine, '--table', at('c.csv')], /ends in \.json/],
    [[...fine, '--split', 'clusters'], /--split: expected topics/],
    [[...fine, '--split', 'topics'], /with --split it is a folder/],
    [[...fine, '--clusters', '5000'], /from 2 to 4096/],
    [[...fine, '--seed', '1.5'], /--seed: expected a whole number/],
    [[...fine, '--repeats', '2', '--method', 'dsir'], /only --method crisp/],
    [[...fine, '--min-quality', '0.5'], /no document has a number in metadata\.quality/],
    [[...near, ...few, '--out', at('web.jsonl')], /exists already/],
    [[...near, ...few, '--out', at('web.jsonl'), '--force'], /a file that is read/],
    [[...near, ...few, '--out', at('web.jsonl/c.jsonl')], /a part of this path is a file/],
    [['--near', at('none.jsonl'), ...few, '--out', at('c.jsonl')], /none\.jsonl/],
  ])('%#: refuses', async (args, message) => {
    const { code, err } = await select(...args);
    expect(err).toMatch(message);
    expect([2, 3]).toContain(code);
    expect(fs.existsSync(at('c.jsonl'))).toBe(false);
  });
});
