// continuo eval-writing on the embedded base model.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { temporaryFolder } from '../runs/fixture.ts';
import { runInProcess } from './in-process.ts';

const root = temporaryFolder();
const model = path.join(import.meta.dirname, '../../data/base-en-8m');
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

describe('continuo eval-writing', () => {
  test('shows a model beside its base, what was written, and no sign where they are the same', async () => {
    const prompts = path.join(root, 'prompts.txt');
    fs.writeFileSync(prompts, 'The town lies\n\nTo make soup you\n');
    const args = ['eval-writing', model, '--base', model, '--prompts', prompts, '--max-tokens', '12', '--quiet'];
    const { code, out } = await runInProcess([...args, '--show']);
    expect(code).toBe(0);
    expect(out.split('\n').filter((line) => line.startsWith(model) && / 2 +\d/.test(line))).toHaveLength(2);
    expect(out).toContain('To make soup you');
    expect(out).toContain('No sign that the answers are worse than the base writes.');
    const { out: text } = await runInProcess([...args, '--json']);
    const { model: summary, base, warnings } = JSON.parse(text);
    expect(summary.generations).toEqual(base.generations);
    expect(summary.generations[0].prompt).toBe('The town lies');
    expect(warnings).toEqual([]);
  });

  test('refuses a file without prompts', async () => {
    const file = path.join(root, 'empty.txt');
    fs.writeFileSync(file, '\n');
    const { code, err } = await runInProcess(['eval-writing', model, '--prompts', file]);
    expect(code).not.toBe(0);
    expect(err).toContain('expected prompts, one a line');
  });
});
