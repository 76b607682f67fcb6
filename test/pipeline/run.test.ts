// The main job from one configuration: all stages, what is reused, what is refused, what is moved aside.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type EvalResult, listCheckpoints } from '../../src/engine/index.ts';
import { evaluate, planRun, type RunResult, run, trainJob } from '../../src/pipeline/index.ts';
import { finalState, writeTinyModel } from '../engine/fixtures.ts';
import { makeProject, NEW_MODEL, type Project } from './fixtures.ts';

const QUIET = { quiet: true, threads: 1 };
const projects: Project[] = [];
function project(changes: Record<string, unknown> = {}): Project {
  const made = makeProject(changes);
  projects.push(made);
  return made;
}
afterAll(() => {
  for (const { root } of projects) fs.rmSync(root, { recursive: true, force: true });
});

const reused = (result: RunResult) =>
  Object.fromEntries(result.stages.map((stage) => [stage.name, stage.reused] as const));

describe('a new model from nothing', () => {
  let p: Project;
  let first: RunResult;
  beforeAll(async () => {
    p = project();
    first = await run(p.config, QUIET);
  });

  test('every stage is run, the model learns, and the reports are there', () => {
    expect(new Set(Object.values(reused(first)))).toEqual(new Set([false]));
    expect(first.stages.map(({ name }) => name)).toEqual([
      'model',
      'corpus domain',
      'corpus general',
      'corpus exam',
      'plan',
      'job',
      'training',
      'report',
    ]);
    expect(first.folder).toBe(p.runFolder);
    expect(first.checkpoint).toBe(path.join(p.runFolder, 'checkpoints', 'step-00000024'));
    expect(first.summary).toMatchObject({ status: 'finished', numSteps: 24, plannedSteps: 24, tokens: 24 * 256 });
    expect(first.summary.domain!.deltaPercent).toBeLessThan(-10);
    for (const file of ['report.html', 'report.md', 'plan.json', 'continuo.yaml', 'job/job.json'])
      expect(fs.statSync(path.join(p.runFolder, file)).size, file).toBeGreaterThan(100);
  });

  test('its configuration says how it was pretrained', () => {
    const config = JSON.parse(finalState(p.runFolder).config) as { continuo: Record<string, unknown> };
    expect(config.continuo).toMatchObject({ recipe: 'from-scratch', step: 24, pretraining: { tokens: 24 * 256 } });
  });

  test('called again, all but the report is reused', async () => {
    const before = finalState(p.runFolder);
    const second = await run(p.config, QUIET);
    expect(reused(second)).toEqual({ ...reused(second), report: false });
    expect(Object.values({ ...reused(second), report: true })).not.toContain(false);
    expect(second.summary.status).toBe('finished');
    expect(finalState(p.runFolder)).toEqual(before);
  });

  test('the number of threads may change', async () => {
    p.configure({ training: { seqLen: 64, batchTokens: 256, microBatch: 2, precision: 'f32', seed: 3, threads: 2 } });
    expect(reused(await run(p.config, { quiet: true }))).toMatchObject({ plan: true, job: true, training: true });
    p.configure({});
  });

  test.each([
    ['a setting', { training: { seqLen: 64, batchTokens: 256, microBatch: 2, precision: 'f32', seed: 4 } }],
    ['the budget', { budget: { steps: 48 } }],
    ['the model', { model: { new: { ...NEW_MODEL.new, ffn: 64 } } }],
  ])('%s changed after checkpoints exist: refused, and nothing is touched', async (_what, changes) => {
    const before = finalState(p.runFolder);
    p.configure(changes);
    await expect(run(p.config, QUIET)).rejects.toThrow(
      /this run was begun with other settings or other data .*another name in continuo\.yaml, or use --fresh/s,
    );
    expect(finalState(p.runFolder)).toEqual(before);
    p.configure({});
  });

  test('the held-out score of the final checkpoint is the one that `evaluate` finds', async () => {
    const file = path.join(p.runFolder, 'evals', 'step-00000024.json');
    const { sets } = JSON.parse(fs.readFileSync(file, 'utf8')) as EvalResult;
    const table = await evaluate(first.checkpoint, { data: [], configFile: p.config, seqLen: 64 }, QUIET);
    expect(table.rows.map(({ name }) => name)).toEqual(['domain', 'general', 'exam']);
    for (const row of table.rows) {
      const { bitsPerByte, perplexity, numTokens, numBytes, numDocuments } = sets[row.name]!;
      expect(row).toMatchObject({ numTokens, numBytes, numDocuments });
      expect(Math.abs(row.bitsPerByte - bitsPerByte)).toBeLessThan(1e-6);
      expect(Math.abs(row.perplexity / perplexity - 1)).toBeLessThan(1e-6);
    }
    // The same documents read from the file itself.
    const [exam] = (await evaluate(first.checkpoint, { data: [path.join(p.root, 'exam.jsonl')], seqLen: 64 }, QUIET))
      .rows;
    expect(exam).toMatchObject({ numTokens: sets.exam!.numTokens, numBytes: sets.exam!.numBytes });
    expect(Math.abs(exam!.bitsPerByte - sets.exam!.bitsPerByte)).toBeLessThan(1e-6);
  });

  test('a model with another tokenizer is scored on the same text, in its own tokens', async () => {
    const other = await writeTinyModel(path.join(p.root, 'bytes'));
    const said: string[] = [];
    const options = { ...QUIET, log: (line: string) => said.push(line) };
    const { rows, precision } = await evaluate(other, { data: [], configFile: p.config, seqLen: 64 }, options);
    expect(precision).toBe('f32');
    expect(said.join('\n')).toContain('tokenised again');
    const [exam] = (await evaluate(other, { data: [path.join(p.root, 'exam.jsonl')], seqLen: 64 }, QUIET)).rows;
    const { numTokens, numBytes, numDocuments } = exam!;
    const row = rows.find(({ name }) => name === 'exam')!;
    expect(row).toMatchObject({ numTokens, numBytes, numDocuments });
    expect(Math.abs(row.bitsPerByte - exam!.bitsPerByte)).toBeLessThan(1e-6);
  });

  test('the trained model is continued as an existing folder, in bf16, by the default recipe', async () => {
    const more = project({
      model: first.checkpoint,
      recipe: 'reuse-dont-retrain',
      training: { seqLen: 64, batchTokens: 256, microBatch: 2, precision: 'bf16' },
    });
    const result = await run(more.config, QUIET);
    expect(result.summary.status).toBe('finished');
    expect(result.plan.schedule).toMatchObject({ peakLr: first.plan.recordsPretraining!.finalLr });
    expect(JSON.parse(finalState(more.runFolder).config)).toMatchObject({ torch_dtype: 'bfloat16' });
  });

  test('--fresh moves the run aside and makes the same one again', async () => {
    const before = finalState(p.runFolder);
    const said: string[] = [];
    const again = await run(p.config, { ...QUIET, fresh: true, log: (line) => said.push(line) });
    expect(said.join('\n')).toContain('The earlier run was moved to');
    const aside = fs.readdirSync(path.join(p.root, 'runs')).filter((name) => name.startsWith('tiny.before-'));
    expect(aside).toHaveLength(1);
    expect(finalState(path.join(p.root, 'runs', aside[0]!))).toEqual(before);
    expect(reused(again)).toMatchObject({ 'corpus domain': false, plan: false, job: false, training: false });
    expect(finalState(p.runFolder)).toEqual(before);
  });

  test('documents changed after checkpoints exist: refused', async () => {
    fs.appendFileSync(path.join(p.root, 'domain.jsonl'), '{"text":"one more document"}\n');
    await expect(run(p.config, QUIET)).rejects.toThrow(/other settings or other data/);
  });
});

test('a plan alone makes no run, and a job is trained by itself', async () => {
  const p = project({ budget: { steps: 6 } });
  const { text, folder } = await planRun(p.config, QUIET);
  expect(text).toContain('peak LR');
  expect(fs.existsSync(folder)).toBe(false);
  await expect(trainJob(p.root, QUIET)).rejects.toThrow(/neither a run folder nor a job folder/);
  const { runFolder, checkpoint } = { runFolder: p.runFolder, ...(await run(p.config, QUIET)) };
  fs.rmSync(path.join(runFolder, 'checkpoints'), { recursive: true });
  expect(await trainJob(path.join(runFolder, 'job'), QUIET)).toMatchObject({ checkpoint, folder: runFolder });
});

test('settings changed before the first checkpoint: what was measured is moved aside', async () => {
  const p = project({ budget: { steps: 6 } });
  await run(p.config, QUIET);
  fs.rmSync(path.join(p.runFolder, 'checkpoints'), { recursive: true });
  p.configure({ budget: { steps: 5 } });
  const result = await run(p.config, QUIET);
  expect(result.summary).toMatchObject({ status: 'finished', numSteps: 5, numCrashes: 0, numStops: 0 });
  const names = ['00000000', '00000005'].map((step) => `step-${step}.json`);
  expect(fs.readdirSync(path.join(p.runFolder, 'evals'))).toEqual([
    ...names.map((name) => `documents-${name}`),
    ...names,
  ]);
  expect(fs.readdirSync(path.join(p.root, 'runs')).filter((name) => name.startsWith('tiny.before-'))).toHaveLength(1);
});

test('an existing folder as the model; its weights are left alone', async () => {
  const p = project({ model: './base', recipe: 'naive', budget: { steps: 6 } });
  await writeTinyModel(path.join(p.root, 'base'));
  const before = fs.readFileSync(path.join(p.root, 'base', 'model.safetensors'));
  const result = await run(p.config, QUIET);
  expect(result.summary.status).toBe('finished');
  expect(listCheckpoints(p.runFolder).at(-1)!.step).toBe(6);
  expect(fs.readFileSync(path.join(p.root, 'base', 'model.safetensors')).equals(before)).toBe(true);
});

test('what cannot be scored is said', async () => {
  const p = project({ model: './base' });
  await writeTinyModel(path.join(p.root, 'base'));
  const model = path.join(p.root, 'base');
  await expect(evaluate(model, { data: [] }, QUIET)).rejects.toThrow(/nothing to score: give --data PATH/);
  fs.writeFileSync(path.join(p.root, 'empty.jsonl'), '{"text":""}\n');
  await expect(evaluate(model, { data: [path.join(p.root, 'empty.jsonl')] }, QUIET)).rejects.toThrow(
    /no text to score/,
  );
  const exam = path.join(p.root, 'exam.jsonl');
  await expect(evaluate(model, { data: [exam], configFile: p.config }, QUIET)).rejects.toThrow(
    /--data and --config: give one of them/,
  );
  await expect(evaluate(model, { data: [exam], seqLen: 256 }, QUIET)).rejects.toThrow(
    /--seq-len: expected at most the model's context of 128 tokens, found 256/,
  );
});
