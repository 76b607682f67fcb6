// continuo probes: what a user sees, and tasks that run.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { temporaryFolder } from '../runs/fixture.ts';
import { runInProcess } from './in-process.ts';

const root = temporaryFolder();
const at = (name: string) => path.join(root, name);
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

const TOWNS = ['Arden', 'Belmar', 'Corvo', 'Dunmore', 'Elsted', 'Farrow', 'Gorham', 'Halden'];

beforeAll(() => {
  fs.mkdirSync(at('docs'));
  TOWNS.forEach((town, i) => {
    const text = `The market hall of ${town} was opened in ${1700 + 7 * i} after a quarrel.\n\nThe tower of the church in ${town} is ${31 + 3 * i} meters high.\n`;
    fs.writeFileSync(at(`docs/${town}.md`), text);
  });
});

const make = (...args: string[]) => runInProcess(['probes', ...args, '--quiet']);

describe('continuo probes', () => {
  test('makes a folder of tasks, and says what of', async () => {
    const { code, out } = await make(at('docs'), '--out', at('probes'));
    expect(code).toBe(0);
    expect(out).toContain('16 (8 number, 8 date)');
    expect(out).toContain('16 facts of 8 documents');
    const items = fs.readFileSync(at('probes/items.jsonl'), 'utf8').trimEnd().split('\n');
    expect(JSON.parse(items[0]!)).toMatchObject({ document: expect.stringContaining('.md'), span: expect.any(Array) });
  });

  test('lists its tasks for eval', async () => {
    const { out } = await runInProcess(['eval', '--list-tasks', '--include-path', at('probes')]);
    for (const name of ['probes-cloze', 'probes-qa', 'probes-extraction', 'probes-recall']) expect(out).toContain(name);
  });

  test('keeps what is there, and says what to do', async () => {
    expect(await make(at('docs'), '--out', at('probes'))).toMatchObject({
      code: 2,
      err: expect.stringContaining('--force'),
    });
    expect(await make(at('docs'), '--out', at('probes'), '--force')).toMatchObject({ code: 0 });
    expect(await make(at('docs/Arden.md'), '--out', at('few'))).toMatchObject({
      code: 2,
      err: expect.stringContaining('Give more documents'),
    });
    expect(fs.existsSync(at('few'))).toBe(false);
    expect(await make(at('docs'), '--out', at('more'), '--writer', 'http://127.0.0.1:1/v1')).toMatchObject({
      code: 2,
      err: expect.stringContaining('--writer-model'),
    });
    const nothing = await runInProcess(['probes', 'know', 'model', '--probes', at('docs'), '--quiet']);
    expect(nothing).toMatchObject({ code: 2, err: expect.stringContaining('items.jsonl') });
  });
});
