import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { ConfigError, DataError } from '../../src/base/errors.ts';
import { compareRuns, curve, judge, meanShares, median, quantile, readRun, summarise } from '../../src/runs/index.ts';
import { temporaryFolder, writeRunFolder } from './fixture.ts';

const root = temporaryFolder();
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

let numFolders = 0;
const fresh = (): string => path.join(root, `run-${numFolders++}`);

function withMetrics(text: string): ReturnType<typeof readRun> {
  const folder = writeRunFolder(fresh(), { numSteps: 10 });
  fs.writeFileSync(path.join(folder, 'metrics.jsonl'), text);
  return readRun(folder);
}

const line = (step: number, loss: number): string => `${JSON.stringify({ step, loss, lossByCorpus: { a: loss } })}\n`;

describe('readRun', () => {
  test('reads plan, job, metrics, events, evaluations and complete checkpoints', () => {
    const run = readRun(writeRunFolder(fresh(), { numSteps: 400 }));
    expect(run.name).toBe('handbook');
    expect(run.plan?.numSteps).toBe(400);
    expect(run.job?.batch.seqLen).toBe(1024);
    expect(run.metrics.numSteps).toBe(400);
    expect(Object.keys(run.metrics.lossByCorpus)).toEqual(['handbook', 'web']);
    expect(run.evals.map((record) => record.step)).toEqual([0, 50, 100, 150, 200, 250, 300, 350, 400]);
    expect(run.checkpoints.map((checkpoint) => checkpoint.step)).toEqual([200, 400]);
  });

  test('a repeated step after a crash replaces the first attempt and everything after it', () => {
    const run = withMetrics(line(0, 5) + line(1, 4) + line(2, 3) + line(3, 2) + line(2, 3.5));
    expect([...run.metrics.loss]).toEqual([5, 4, 3.5]);
    expect([...run.metrics.lossByCorpus.a!]).toEqual([5, 4, 3.5]);
  });

  test('a torn last line is left out and counted', () => {
    const run = withMetrics(`${line(0, 5)}{"step":1,"lo`);
    expect([...run.metrics.loss]).toEqual([5]);
    expect(run.metrics.numSkippedLines).toBe(1);
  });

  test('a line glued to a torn one is still read', () => {
    const run = withMetrics(`${line(0, 5)}{"step":1,"lossByCorpus":{"a":1},"lo${line(1, 4)}${line(2, 3)}`);
    expect([...run.metrics.loss]).toEqual([5, 4, 3]);
    expect(run.metrics.numSkippedLines).toBe(1);
  });

  test('a loss that is not a number stays a gap', () => {
    const run = withMetrics(line(0, 5) + line(1, Number.NaN) + line(2, 3));
    expect([...run.metrics.loss]).toEqual([5, Number.NaN, 3]);
  });

  test('a divergence stands where a step had one', () => {
    const run = withMetrics(`${line(0, 5)}{"step":1,"loss":4,"distillKl":0.25}\n${line(2, 3)}`);
    expect([...run.metrics.distillKl]).toEqual([Number.NaN, 0.25, Number.NaN]);
  });

  test('reads lines that are longer than a reading chunk, and characters cut by its border', () => {
    const folder = writeRunFolder(fresh(), { numSteps: 10 });
    const event = { time: '2026-11-21T10:00:00.000Z', type: 'alarm', message: 'ü'.repeat(700_001) };
    fs.writeFileSync(
      path.join(folder, 'events.jsonl'),
      `${JSON.stringify(event)}\n${JSON.stringify({ ...event, message: 'short' })}\n`,
    );
    expect(readRun(folder).events.map((found) => found.message)).toEqual([event.message, 'short']);
  });

  test('a folder that is no run is refused with what was expected and found', () => {
    const folder = fresh();
    fs.mkdirSync(folder);
    fs.writeFileSync(path.join(folder, 'notes.txt'), '');
    expect(() => readRun(folder)).toThrow(ConfigError);
    expect(() => readRun(folder)).toThrow(
      /not a run folder: expected plan\.json or job\/job\.json in it, found notes\.txt/,
    );
    expect(() => readRun(path.join(folder, 'absent'))).toThrow(/no such file or folder/);
    expect(() => readRun(path.join(folder, 'notes.txt'))).toThrow(ConfigError);
  });

  test('a broken evaluation is named', () => {
    const folder = writeRunFolder(fresh(), { numSteps: 10 });
    fs.writeFileSync(path.join(folder, 'evals', 'step-00000010.json'), '{"step": 10');
    expect(() => readRun(folder)).toThrow(DataError);
    expect(() => readRun(folder)).toThrow(/step-00000010\.json: is not valid JSON/);
  });
});

describe('summarise', () => {
  test('gives first, last, change, speed, time and interruptions', () => {
    const summary = summarise(readRun(writeRunFolder(fresh(), { numSteps: 400 })));
    expect(summary.status).toBe('finished');
    expect(summary.domain?.first).toBeCloseTo(1.62, 10);
    expect(summary.domain?.last).toBeCloseTo(1.31, 10);
    expect(summary.domain?.deltaPercent).toBeCloseTo((100 * -0.31) / 1.62, 8);
    expect(summary.general?.delta).toBeCloseTo(0.007, 10);
    expect(summary.general?.stderr).toBeCloseTo(Math.hypot(0.004, 0.004), 12);
    expect(summary.trainSeconds).toBe(800);
    expect(summary.wallSeconds).toBe(870);
    expect(summary.tokens).toBe(400 * 16384);
    expect(summary).toMatchObject({ numStops: 0, numCrashes: 1, peakRssBytes: 1.4e9 });
    expect(summary.checkpoint).toMatch(/step-00000400$/);
  });

  test('pools the sets of a role by their bytes', () => {
    const folder = writeRunFolder(fresh(), { numSteps: 10 });
    const score = (bitsPerByte: number, numBytes: number) => ({
      role: 'domain',
      bitsPerByte,
      numBytes,
      numTokens: 1,
      numDocuments: 1,
    });
    const write = (step: string, a: number, b: number): void =>
      fs.writeFileSync(
        path.join(folder, 'evals', `step-${step}.json`),
        JSON.stringify({ sets: { a: score(a, 300), b: score(b, 100) } }),
      );
    write('00000000', 2, 4);
    write('00000010', 1, 2);
    const summary = summarise(readRun(folder));
    expect(summary.domain).toMatchObject({ first: 2.5, last: 1.25, deltaPercent: -50, stderr: undefined });
    expect(summary.general).toBeUndefined();
  });

  test('a run that is under way is unfinished, and one without a second evaluation has no change', () => {
    const folder = writeRunFolder(fresh(), { numSteps: 400, recordedSteps: 40 });
    const summary = summarise(readRun(folder));
    expect(summary).toMatchObject({
      status: 'unfinished',
      numSteps: 40,
      plannedSteps: 400,
      domain: undefined,
      sets: [],
    });
  });

  test('counts stops and crashes apart', () => {
    const folder = writeRunFolder(fresh(), { numSteps: 10 });
    const events = ['start', 'stop', 'resume', 'resume', 'resume', 'stop'].map((type, i) => ({
      type,
      time: `2026-01-01T00:00:0${i}Z`,
    }));
    fs.writeFileSync(path.join(folder, 'events.jsonl'), events.map((event) => `${JSON.stringify(event)}\n`).join(''));
    expect(summarise(readRun(folder))).toMatchObject({ status: 'stopped', numStops: 1, numCrashes: 2 });
  });
});

describe('curves', () => {
  test('long columns come down to the asked number of buckets, with their extremes kept', () => {
    const values = Float64Array.from({ length: 100_001 }, (_, i) => (i === 54_321 ? 1000 : i % 7));
    const points = curve(values, 2000);
    expect(points.length).toBeLessThanOrEqual(2000);
    expect(Math.max(...points.map((point) => point.max))).toBe(1000);
    expect(Math.min(...points.map((point) => point.min))).toBe(0);
    expect(points.every((point) => point.min <= point.mean && point.mean <= point.max)).toBe(true);
    expect(points.at(-1)!.step).toBeLessThanOrEqual(100_000);
  });

  test('short columns are kept point by point, without their gaps', () => {
    expect(curve([3, Number.NaN, 5])).toEqual([
      { step: 0, min: 3, max: 3, mean: 3 },
      { step: 2, min: 5, max: 5, mean: 5 },
    ]);
  });

  test('median and quantiles ignore gaps', () => {
    expect(median([4, Number.NaN, 1, 3, 2])).toBe(2.5);
    expect(quantile([10, 20, 30], 1)).toBe(30);
    expect(median([Number.NaN])).toBeUndefined();
  });
});

test('shares over a stretch of steps count by the steps that they hold for', () => {
  const decided = (step: number, a: number) => ({ time: '', type: 'amendment' as const, step, blend: { a, b: 1 - a } });
  // Step 6 was announced again after a resume.
  const events = [{ ...decided(0, 1), type: 'phase' as const }, decided(4, 0.5), decided(6, 0.9), decided(6, 0)];
  expect(meanShares({ events }, 0, 8)).toEqual({ a: 0.625, b: 0.375 });
  expect(meanShares({ events }, 5, 7)).toEqual({ a: 0.25, b: 0.75 });
});

describe('comparison', () => {
  const summaryOf = (domainEnd: number, generalEnd: number): ReturnType<typeof summarise> =>
    summarise(
      readRun(
        writeRunFolder(fresh(), {
          numSteps: 10,
          evalEvery: 10,
          domain: (done) => 1.6 + (domainEnd - 1.6) * done,
          general: (done) => 1.1 + (generalEnd - 1.1) * done,
        }),
      ),
    );
  const naive = { label: 'naive', summary: summaryOf(1.3, 1.2) };

  test('rows hold the base and each run', () => {
    const rows = compareRuns('base', [naive]);
    expect(rows.map((row) => row.label)).toEqual(['base', 'naive']);
    expect(rows[0]).toMatchObject({ domain: 1.6, general: 1.1, domainPercent: undefined });
    expect(rows[1]!.domain).toBeCloseTo(1.3, 12);
  });

  test('a recipe that keeps the gain and guards the rest holds', () => {
    const verdict = judge(naive, { label: 'recipe', summary: summaryOf(1.306, 1.11) });
    expect(verdict.gainShare).toBeCloseTo(0.98, 10);
    expect(verdict.lossShare).toBeCloseTo(0.1, 10);
    expect(verdict.holds).toBe(true);
    expect(verdict.sentence).toBe(
      'Holds: recipe has 98 % of the gain of naive on the domain (0.294 of 0.300 bits per byte), and 10 % of its loss on the general text (0.010 of 0.100); asked for: at least 95 % of the gain, at most 20 % of the loss.',
    );
  });

  test('too little gain, or too much loss, does not hold and says so', () => {
    expect(judge(naive, { label: 'recipe', summary: summaryOf(1.45, 1.1) }).sentence).toMatch(
      /^Does not hold: recipe has 50 % of the gain/,
    );
    expect(judge(naive, { label: 'recipe', summary: summaryOf(1.3, 1.15) })).toMatchObject({ holds: false });
    expect(judge(naive, { label: 'recipe', summary: summaryOf(1.7, 1.1) }).sentence).toMatch(
      /recipe gained nothing on the domain/,
    );
  });

  test('where naive training forgot nothing, the recipe must not forget either', () => {
    const harmless = { label: 'naive', summary: summaryOf(1.3, 1.05) };
    expect(judge(harmless, { label: 'recipe', summary: summaryOf(1.3, 1.0) })).toMatchObject({
      holds: true,
      lossShare: undefined,
    });
    expect(judge(harmless, { label: 'recipe', summary: summaryOf(1.3, 1.2) })).toMatchObject({
      holds: false,
      lossShare: undefined,
    });
  });
});
