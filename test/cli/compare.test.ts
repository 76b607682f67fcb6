// continuo compare on run folders that are made from closed formulas.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { paretoFront } from '../../src/runs/index.ts';
import { temporaryFolder, writeRunFolder } from '../runs/fixture.ts';
import { runInProcess } from './in-process.ts';

const root = temporaryFolder();
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

const make = (name: string, more: Parameters<typeof writeRunFolder>[1] = {}) =>
  writeRunFolder(path.join(root, name), { name, documents: true, ...more });
const careful = make('careful');
const naive = make('naive', {
  replay: [0, 0],
  constantLr: true,
  domain: (done) => 1.62 - 0.33 * done,
  general: (done) => 1.1 + 0.14 * done,
});
const idle = make('idle', { domain: () => 1.62, general: (done) => 1.1 + 0.2 * done });

describe('continuo compare', () => {
  test('lays scores, tests and plans side by side', async () => {
    const { code, out } = await runInProcess(['compare', careful, naive, idle]);
    expect(code).toBe(0);
    expect(out).toContain(
      'naive ended lowest on the domain, careful on general text. Worse than another model on one of the two and no better on the other: idle.',
    );
    const line = (start: RegExp) => out.split('\n').find((text) => start.test(text)) ?? '';
    expect(line(/^careful /)).toMatch(/1\.3100 +-19\.14 % +1\.1070 +\+0\.64 %.* yes$/);
    expect(line(/^idle /)).not.toContain('yes');
    expect(line(/^base /)).toContain('yes');
    expect(line(/^web \(general\) +naive +careful/)).toMatch(/\+0\.1330 +\+0\.1\d+ to \+0\.1\d+ +< 0\.001 +worse$/);
    expect(line(/^handbook \(domain\) +naive +careful/)).toMatch(/−0\.0200 .*better$/);
    expect(out).toMatch(/naive +phase 1 .*web 65 %.*handbook 100 %/);
  });

  test('writes pages with curves and the front', async () => {
    const folder = path.join(root, 'page');
    const { out } = await runInProcess(['compare', careful, naive, idle, '--out', folder, '--json']);
    const { rows, differences, files } = JSON.parse(out);
    expect(rows.map((row: { label: string; onFront: boolean }) => [row.label, row.onFront])).toEqual([
      ['base', true],
      ['careful', true],
      ['naive', true],
      ['idle', false],
    ]);
    expect(differences).toHaveLength(4);
    const html = fs.readFileSync(files.html, 'utf8');
    for (const text of ['Where they ended', 'More than chance?', 'How they differ', 'Learned against forgotten'])
      expect(html).toContain(text);
    expect(fs.readFileSync(files.md, 'utf8')).toContain('| web (general) | naive | careful | +0.1330 |');
  });

  test('tests nothing that was not scored on the same documents', async () => {
    const other = make('other');
    const file = path.join(other, 'evals', 'documents-step-00000400.json');
    const record = JSON.parse(fs.readFileSync(file, 'utf8'));
    record.sets.web.bytes[0]++;
    fs.writeFileSync(file, JSON.stringify(record));
    const { out, err } = await runInProcess(['compare', careful, other]);
    expect(out).toMatch(/handbook \(domain\) .*unclear/);
    expect(out).not.toMatch(/^web \(general\)/m);
    expect(err).toContain('web: careful and other were scored on other documents; no test of their difference.');
    const alone = await runInProcess(['compare', careful]);
    expect(alone.code).toBe(2);
    expect(alone.err).toContain('expected at least two run folders');
  });

  test('a front holds equals and leaves out what has no scores', () => {
    const row = (label: string, domain: number | undefined, general: number | undefined) =>
      ({ label, domain, general }) as Parameters<typeof paretoFront>[0][number];
    const rows = [row('a', 1, 2), row('b', 1, 2), row('c', 1, 3), row('d', 0, 5), row('e', undefined, 0)];
    expect([...paretoFront(rows)]).toEqual(['a', 'b', 'd']);
  });
});
