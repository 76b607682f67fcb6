// The best checkpoint by a user's rule, and pauses in which somebody else measures.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { bestCheckpoint, listCheckpoints, superviseEngine, tasksFile } from '../../src/engine/index.ts';
import {
  killEngines,
  makeRun,
  makeWorld,
  measured,
  readLines,
  runEngine,
  SAME,
  sameState,
  type World,
} from './fixtures.ts';

describe('bestCheckpoint', () => {
  let run: string;
  beforeAll(() => {
    run = fs.mkdtempSync(path.join(fs.realpathSync('/tmp'), 'continuo-best-'));
    fs.mkdirSync(path.join(run, 'evals'));
  });
  afterAll(() => fs.rmSync(run, { recursive: true }));

  const set = (role: string, bitsPerByte: number, numBytes = 100) => ({ role, bitsPerByte, numBytes });
  const write = (step: number, notes: number, web: number, wiki: number, acc?: number) => {
    const sets = { notes: set('domain', notes), web: set('general', web), wiki: set('general', wiki, 300) };
    fs.writeFileSync(
      path.join(run, 'evals', `step-${String(step).padStart(8, '0')}.json`),
      JSON.stringify({ step, sets }),
    );
    const metrics = [{ value: acc, higherIsBetter: true }];
    if (acc !== undefined)
      fs.writeFileSync(
        tasksFile(run, step),
        JSON.stringify({ tasks: [{ task: 'quiz', metrics }], groups: [{ group: 'all', metrics }] }),
      );
  };

  test('nothing measured, or the base alone, has no best', () => {
    expect(bestCheckpoint(run, { of: 'domain', within: {} })).toBeUndefined();
    write(0, 2, 1, 1, 0.5);
    expect(bestCheckpoint(run, { of: 'domain', within: {} })).toBeUndefined();
  });

  test('of what the rule names, with little enough lost elsewhere', () => {
    write(10, 1.8, 1.01, 1.01, 0.52);
    write(20, 1.6, 1.1, 1.0, 0.4);
    write(30, 1.5, 1.1, 1.1);
    const best = (of: string, within: Record<string, number> = {}) => bestCheckpoint(run, { of, within })?.step;
    expect(best('domain')).toBe(30);
    // Bytes weigh: (1.1 * 100 + 1.0 * 300) / 400 is 2.5 % above the base's.
    expect(best('domain', { general: 2.6 })).toBe(20);
    expect(best('domain', { general: 2.4 })).toBe(10);
    expect(best('domain', { web: 2 })).toBe(10);
    expect(best('domain', { wiki: 0.5 })).toBe(20);
    expect(best('domain', { general: 0.5 })).toBeUndefined();
    // Only where the task was measured; a fall of 20 % is a loss although the number is a score.
    expect(best('domain', { quiz: 19.9 })).toBe(10);
    expect(best('domain', { all: 20.1 })).toBe(20);
    expect(best('quiz')).toBe(10);
    expect(bestCheckpoint(run, { of: 'domain', within: { quiz: 10 } })!.values).toEqual({
      domain: { value: 1.8, gainPercent: expect.closeTo(10) },
      quiz: { value: 0.52, gainPercent: expect.closeTo(4) },
    });
  });
});

describe('an engine', () => {
  let world: World;
  beforeAll(async () => {
    world = await makeWorld('best');
  });
  afterEach(killEngines);
  afterAll(() => fs.rmSync(world.root, { recursive: true, force: true }));

  test('keeps the best checkpoint besides the newest ones', async () => {
    const run = await makeRun(world, {
      schedule: Float32Array.from({ length: 40 }, (_, step) => (step < 10 ? 3e-3 : 2)),
      evaluation: { ...measured(world), everySteps: 10 },
      checkpoint: { everySteps: 40, keep: 1, best: { of: 'domain', within: {} } },
    });
    await runEngine(run);
    expect(bestCheckpoint(run, { of: 'domain', within: {} })!.step).toBe(10);
    expect(listCheckpoints(run).map(({ step }) => step)).toEqual([10, 40]);
  });

  test('waits at pauses while others measure, and the run ends in the same bytes', async () => {
    const [paused, straight] = [
      await makeRun(world, { evaluation: { ...measured(world), pauses: [7, 12] } }),
      await makeRun(world),
    ];
    const seen: [number, boolean, number][] = [];
    const said: string[] = [];
    const result = await superviseEngine({
      jobFolder: path.join(paused, 'job'),
      threads: 1,
      say: (line) => said.push(line),
      onPause: async (step, folder) => {
        await new Promise((resolve) => setTimeout(resolve, 300));
        seen.push([
          step,
          fs.existsSync(path.join(folder, 'config.json')),
          readLines(path.join(paused, 'metrics.jsonl')).length,
        ]);
        if (step === 7) throw new Error('no such task');
        fs.writeFileSync(tasksFile(paused, step), '{}');
      },
    });
    expect(result.status).toBe('finished');
    expect(seen).toEqual([
      [7, true, 7],
      [12, true, 12],
    ]);
    expect(said).toEqual(['warning: step 7 could not be measured: no such task']);
    await runEngine(straight);
    expect(sameState(paused, straight)).toEqual(SAME);
  });
});
