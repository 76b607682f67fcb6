import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packageRoot } from '../../src/base/package.ts';
import type { SeenSequence } from '../../src/pipeline/look.ts';
import { makeRun, makeWorld } from '../engine/fixtures.ts';
import { temporaryFolder } from '../runs/fixture.ts';
import { runInProcess } from './in-process.ts';

const ITEM = 'Which of these ten words of the question would a model have read before the examination began?';
const root = temporaryFolder();
const config = path.join(root, 'continuo.yaml');
const cache = path.join(root, '.continuo-cache');
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));
beforeAll(() => {
  const nouns = ['ants', 'bees', 'cows', 'dogs', 'eels', 'fish', 'goats', 'hens'];
  const docs = nouns.map(
    (one) => `About ${one}: ${one} eat, ${one} sleep, ${one} walk, and nobody but ${one} knows why.`,
  );
  const write = (name: string, texts: readonly string[]) =>
    fs.writeFileSync(path.join(root, name), texts.map((text) => `${JSON.stringify({ text })}\n`).join(''));
  write('docs.jsonl', [...docs, 'tiny', `Somebody pasted it here. ${ITEM} And went on.`]);
  write('web.jsonl', ['Another text altogether, as long as it has to be.', docs[2]!]);
  write('exam.jsonl', [ITEM]);
  fs.writeFileSync(
    config,
    [
      `model: ${path.join(packageRoot(), 'data/base-en-8m')}`,
      'corpora:',
      '  docs: { path: docs.jsonl, role: domain, clean: [{ length: { minWords: 3 } }] }',
      '  web: { path: web.jsonl, role: general }',
      '  exam: { path: exam.jsonl, role: evaluation }',
      'dedup: true',
      'budget: { steps: 1 }',
      '',
    ].join('\n'),
  );
});

describe('continuo data', () => {
  it('cleans, finds evaluation items and copies across corpora, and draws it', async () => {
    const { code, out } = await runInProcess([
      'data',
      'clean',
      config,
      '--quiet',
      '--plot',
      path.join(root, 'pictures'),
    ]);
    expect(code).toBe(0);
    expect(out).toMatch(/docs: 8 of 10 documents/);
    expect(out).toMatch(/web: 1 of 2 documents/);
    expect(out).toMatch(/decontaminate +1 .* holds an item of exam 1/);
    expect(out).toMatch(/copies +1 .* exact copy 1/);
    expect(fs.readFileSync(path.join(root, 'pictures', 'docs.svg'), 'utf8')).toContain('decontaminate');
    const json = JSON.parse((await runInProcess(['data', 'clean', config, '--json'])).out);
    expect(json.corpora.map(({ reused }: { reused: boolean }) => reused)).toEqual([true, true]);
  });

  it('shows what stays, and what went with the words that were found', async () => {
    const folder = (name: string) => path.join(cache, fs.readdirSync(cache).find((entry) => entry.startsWith(name))!);
    const stays = await runInProcess(['data', 'look', folder('deduplicated-docs'), '--num', '20', '--json']);
    expect(JSON.parse(stays.out)).toMatchObject({ kind: 'documents', numSeen: 8 });
    const went = await runInProcess(['data', 'look', folder('curated-docs'), '--removed', 'decontaminate']);
    expect(went.out).toContain('removed by decontaminate: holds an item of exam');
    expect(went.out).toContain('"Which of these ten words of the question');
    const none = await runInProcess(['data', 'look', folder('curated-docs'), '--removed', 'unheard']);
    expect([none.code, none.err]).toEqual([2, expect.stringContaining('cleaning removed nothing by "unheard"')]);
    const tokens = await runInProcess([
      'data',
      'look',
      path.join(root, 'web.jsonl'),
      '--model',
      path.join(packageRoot(), 'data/base-en-8m'),
    ]);
    expect(tokens.out).toContain('An|other| text| alt');
  });

  it('shows the packed sequences of a run', async () => {
    const world = await makeWorld('look');
    const run = await makeRun(world);
    const { out } = await runInProcess(['data', 'look', run, '--step', '39', '--num', '9', '--json']);
    const { sequences } = JSON.parse(out) as { sequences: SeenSequence[] };
    expect(sequences.map(({ step, index }) => [step, index])).toEqual([0, 1, 2, 3].map((i) => [39, 156 + i]));
    for (const { segments, numPadding } of sequences) {
      expect(numPadding).toBe(0);
      expect(segments.reduce((sum, { numTokens }) => sum + numTokens, 0)).toBe(64);
      // One token a byte here.
      for (const { runs, numTokens } of segments)
        expect(Buffer.byteLength(runs.map(({ text }) => text.replaceAll('<|endoftext|>', '.')).join(''))).toBe(
          numTokens,
        );
    }
    const page = await runInProcess(['data', 'look', run, '--num', '1']);
    expect(page.out).toMatch(/step 0, sequence 0: \d+ documents or parts of them\n\[(domain|general), \d+ tokens\]/);
    expect((await runInProcess(['data', 'look', run, '--step', '40'])).err).toContain(
      'the run has 40 steps, counted from 0',
    );
    fs.rmSync(world.root, { recursive: true, force: true });
  });

  it('verifies what was written', async () => {
    expect((await runInProcess(['data', 'verify', root, '--quiet'])).code).toBe(0);
    const folder = path.join(cache, fs.readdirSync(cache).find((entry) => entry.startsWith('curated-web'))!);
    fs.appendFileSync(path.join(folder, 'documents', '000000.jsonl'), '{"text":"smuggled in"}\n');
    const { code, out } = await runInProcess(['data', 'verify', root, '--quiet']);
    expect(code).toBe(3);
    expect(out).toContain('000000.jsonl was changed');
    expect((await runInProcess(['data', 'verify', path.join(root, 'pictures')])).code).toBe(2);
  });

  it('shares out parts, and refuses what is no share', async () => {
    const shares = await runInProcess(['data', 'clean', config, '--fresh', '--part', '0/2', '--quiet']);
    expect(shares.out).toMatch(/docs.*: 1 of 1 parts are this share/);
    const { code, err } = await runInProcess(['data', 'clean', config, '--part', '2/2']);
    expect([code, err]).toEqual([2, expect.stringContaining('Expected i/n with i from 0 to n - 1')]);
    expect((await runInProcess(['data', 'clean', config, '--corpus', 'web'])).err).toContain('Leave --corpus out');
  });
});
