// Guards by the main job: text that the base writes itself, the Fisher measured on it, a second round that builds on the first.
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { planRun, run } from '../../src/pipeline/index.ts';
import { readLines, writeTinyModel } from '../engine/fixtures.ts';
import { makeProject, type Project } from './fixtures.ts';

const QUIET = { quiet: true, threads: 1 };
let p: Project;
beforeAll(async () => {
  p = makeProject();
  await writeTinyModel(path.join(p.root, 'base'));
  configure({});
});
afterAll(() => fs.rmSync(p.root, { recursive: true, force: true }));

function configure(changes: Record<string, unknown>): void {
  p.configure({
    model: 'base',
    corpora: {
      domain: { path: 'domain.jsonl', role: 'domain', heldOut: { documents: 4 } },
      memory: { generated: { tokens: 1500, documentTokens: 40 }, role: 'general', heldOut: { documents: 4 } },
    },
    recipe: { phases: [{ shares: { domain: 0.5, general: 0.5 } }], peakLr: 1e-2 },
    guard: { ewc: { strength: 5, sequences: 6 } },
    budget: { steps: 4 },
    checkpoints: { every: '4 steps' },
    ...changes,
  });
}

const inCache = (prefix: string) => {
  const cache = path.join(p.root, '.continuo-cache');
  return fs
    .readdirSync(cache)
    .filter((name) => name.startsWith(prefix))
    .map((name) => path.join(cache, name));
};

test('the base writes documents, which are replayed and weighed; a stage that was killed goes on to the same ones', async () => {
  await run(p.config, QUIET);
  const [folder] = inCache('generated-');
  const file = path.join(folder!, 'documents.jsonl');
  const documents = readLines(file) as { id: number; text: string; tokens: number }[];
  const tokens = documents.reduce((sum, document) => sum + document.tokens, 0);
  expect(tokens).toBeGreaterThanOrEqual(1500);
  expect(tokens).toBeLessThan(1500 + 40);
  expect(Math.max(...documents.map((document) => document.tokens))).toBe(40);
  expect(new Set(documents.map(({ text }) => text)).size).toBe(documents.length);
  const metrics = readLines(path.join(p.runFolder, 'metrics.jsonl'));
  const corpora = metrics.flatMap(({ lossByCorpus }) => Object.keys(lossByCorpus as object));
  expect(new Set(corpora)).toEqual(new Set(['domain', 'memory']));
  expect(metrics[0]!.penalty).toBe(0);
  expect(metrics.at(-1)!.penalty).toBeGreaterThan(0);

  const [fisher] = inCache('fisher-');
  const facts = JSON.parse(fs.readFileSync(path.join(fisher!, 'fisher.json'), 'utf8')) as Record<string, number>;
  expect(facts).toMatchObject({ per: 'sequence', numGradients: 6, seqLen: 64 });
  expect(facts.sum).toBeGreaterThan(0);

  const whole = fs.readFileSync(file);
  const partialOf = (pid: number) => path.join(folder!, `documents.${pid}.partial.jsonl`);
  const torn = partialOf(spawnSync(process.execPath, ['--version']).pid);
  fs.writeFileSync(torn, whole.subarray(0, Math.floor(whole.length * 0.6)));
  // That of a process which is running is its own.
  const others = partialOf(process.ppid);
  fs.writeFileSync(others, 'not to be read');
  fs.rmSync(file);
  const { plan } = await planRun(p.config, QUIET);
  expect(fs.readFileSync(file).equals(whole)).toBe(true);
  expect(fs.existsSync(torn)).toBe(false);
  expect(fs.readFileSync(others, 'utf8')).toBe('not to be read');
  const generated = plan.warnings.find(({ id }) => id === 'general-text-of-its-own');
  expect(generated?.message).toContain('the model wrote itself');
}, 60_000);

test('a second round adds the decayed Fisher of the first; a run without one is refused by its key', async () => {
  const before = inCache('fisher-');
  configure({ name: 'second', guard: { ewc: { strength: 5, sequences: 6, previous: 'runs/tiny', decay: 0.5 } } });
  await run(p.config, QUIET);
  const [added] = inCache('fisher-').filter((folder) => !before.includes(folder));
  const sum = (folder: string) =>
    (JSON.parse(fs.readFileSync(path.join(folder, 'fisher.json'), 'utf8')) as { sum: number }).sum;
  // Both rounds read the same text with the same base here; bf16 keeps 8 bits of each value.
  expect(sum(added!) / sum(before[0]!)).toBeCloseTo(1.5, 2);
  const plan = JSON.parse(fs.readFileSync(path.join(p.root, 'runs/second/plan.json'), 'utf8'));
  expect(plan.guard.ewc).toEqual({
    ...{ strength: 5, sequences: 6, per: 'sequence', previous: path.join(p.root, 'runs/tiny'), decay: 0.5 },
  });
  configure({ name: 'third', guard: { ewc: { previous: 'runs/none' } } });
  await expect(run(p.config, QUIET)).rejects.toThrow(
    /guard\.ewc\.previous: expected the folder of a run with guard\.ewc/,
  );
}, 60_000);

test('a penalty takes the place of the usual decay, and its bytes are counted', async () => {
  configure({ name: 'alike', guard: { l2: { toward: 'base', strength: 0.5 } } });
  const { plan, text } = await planRun(p.config, QUIET);
  expect(plan.optimizer.weightDecay).toBe(0);
  expect(text).toContain('0.5 toward the base');
  configure({ name: 'alike', guard: undefined });
  const { plan: plain } = await planRun(p.config, QUIET);
  expect(plain.optimizer.weightDecay).toBe(0.1);
  // f32: an anchor is 4 bytes a parameter.
  expect(plan.expected.memory.stateBytes - plain.expected.memory.stateBytes).toBe(4 * plan.model.numParameters);
}, 60_000);
