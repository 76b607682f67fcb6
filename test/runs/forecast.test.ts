import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { forecastRun, readRun, reportedForecast } from '../../src/runs/index.ts';
import { type FixtureOptions, temporaryFolder, writeRunFolder } from './fixture.ts';

const root = temporaryFolder();
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

let numFolders = 0;
const runOf = (options: FixtureOptions = {}, edit: (folder: string) => void = () => {}) => {
  const folder = writeRunFolder(path.join(root, `run-${numFolders++}`), options);
  edit(folder);
  return readRun(folder);
};

describe('the forecast of a run', () => {
  test('of a finished run is the one half-way, and holds what came', () => {
    const run = runOf();
    const { madeAt, numSteps, sets } = reportedForecast(run)!;
    expect([madeAt, numSteps]).toEqual([200, 400]);
    const domain = sets.find(({ name }) => name === 'handbook')!;
    expect(domain.role).toBe('domain');
    expect(domain.points[0]!.step).toBe(200);
    const end = domain.points.at(-1)!;
    expect(end.step).toBe(400);
    const came = run.evals.at(-1)!.sets.handbook!.bitsPerByte;
    expect(end.low).toBeLessThan(came);
    expect(end.high).toBeGreaterThan(came);
  });

  test('knows nothing of what came after it was made', () => {
    const whole = forecastRun(runOf(), 200)!;
    const cut = forecastRun(runOf({ recordedSteps: 210 }), 200)!;
    expect(cut).toEqual(whole);
  });

  test('of a run under way is made at its last evaluation', () => {
    expect(reportedForecast(runOf({ recordedSteps: 280 }))!.madeAt).toBe(250);
  });

  test('leaves training losses of repeated text out', () => {
    const repeated = (folder: string): void => {
      const file = path.join(folder, 'plan.json');
      const plan = JSON.parse(fs.readFileSync(file, 'utf8'));
      // Read once after 50 steps of 16384 tokens, 35 % of them of the handbook.
      plan.corpora[0].numTokens = 50 * 16384 * 0.35;
      fs.writeFileSync(file, JSON.stringify(plan));
    };
    const memorised = (folder: string): void => {
      repeated(folder);
      const file = path.join(folder, 'metrics.jsonl');
      const lines = fs.readFileSync(file, 'utf8').trimEnd().split('\n');
      const edited = lines.map((text) => {
        const line = JSON.parse(text);
        if (line.step >= 50) line.lossByCorpus.handbook /= 2;
        return JSON.stringify(line);
      });
      fs.writeFileSync(file, `${edited.join('\n')}\n`);
    };
    expect(forecastRun(runOf({}, memorised), 200)).toEqual(forecastRun(runOf({}, repeated), 200));
  });

  test('says why a set has none', () => {
    const early = forecastRun(runOf(), 130)!.sets;
    const rare = forecastRun(runOf({ evalEvery: 400 }), 200)!.sets;
    for (const [sets, reason] of [
      [early, /less than a third of the run/],
      [rare, /scored 1 of the 2 times/],
    ] as const) {
      expect(sets).toHaveLength(2);
      for (const { points, why } of sets) {
        expect(points).toEqual([]);
        expect(why).toMatch(reason);
      }
    }
  });

  test('is none where the run has no schedule, and at its end', () => {
    const run = runOf({}, (folder) => fs.rmSync(path.join(folder, 'job', 'schedule.f32')));
    expect(run.schedule).toBeUndefined();
    expect(reportedForecast(run)).toBeUndefined();
    expect(forecastRun(runOf(), 400)).toBeUndefined();
  });
});
