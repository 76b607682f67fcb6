// A profiled run: the same bits as without, a trace whose slices nest, and shares that add up to the step.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { collectSpans, type Slice, span } from '../../src/base/trace.ts';
import { formatProfile } from '../../src/cli/profile.ts';
import { type StepProfile, superviseEngine } from '../../src/engine/index.ts';
import { killEngines, makeRun, makeWorld, runEngine, SAME, sameState, type World } from './fixtures.ts';

let world: World;
beforeAll(async () => {
  world = await makeWorld('profile');
});
afterEach(killEngines);
afterAll(() => fs.rmSync(world.root, { recursive: true, force: true }));

interface TraceEvent {
  name: string;
  cat: string;
  ph: string;
  ts: number;
  dur: number;
  args: Record<string, unknown>;
}

test('spans are recorded only while somebody collects, also when they throw', () => {
  const slices: Slice[] = [];
  const work = () =>
    span('outer', 'a', () =>
      span(
        'inner',
        'b',
        () => 7,
        () => ({ detail: 1 }),
      ),
    );
  expect(work()).toBe(7);
  expect(collectSpans(slices, work)).toBe(7);
  expect(slices).toMatchObject([
    { name: 'inner', category: 'b', args: { detail: 1 } },
    { name: 'outer', category: 'a' },
  ]);
  const fail = () =>
    span('failing', 'a', () => {
      throw new Error('no');
    });
  expect(() => collectSpans(slices, fail)).toThrow('no');
  expect(slices[2]!.name).toBe('failing');
  work();
  expect(slices).toHaveLength(3);
});

test('a profiled run has the bits of one without, and a trace that a viewer opens', async () => {
  const options = { precision: 'bf16', numSteps: 6, checkpoint: { everySteps: 3, keep: 2 } } as const;
  const [plain, traced] = [await makeRun(world, options), await makeRun(world, options)];
  expect((await runEngine(plain)).code).toBe(0);
  let profile: StepProfile | undefined;
  await superviseEngine({
    jobFolder: path.join(traced, 'job'),
    threads: 1,
    profileSteps: 2,
    onMessage: (message) => {
      if (message.type === 'profile') profile = message;
    },
  });
  expect(sameState(traced, plain)).toEqual(SAME);
  expect(fs.existsSync(path.join(plain, 'trace.json'))).toBe(false);

  const read = (name: string) => JSON.parse(fs.readFileSync(path.join(traced, name), 'utf8'));
  const { traceEvents } = read('trace.json') as { traceEvents: TraceEvent[] };
  const named = traceEvents.filter(({ ph }) => ph === 'M').map(({ name }) => name);
  expect(named).toEqual(['process_name', 'thread_name']);
  const slices = traceEvents.filter(({ ph }) => ph === 'X');
  const steps = slices.filter(({ cat }) => cat === 'step');
  // The first step is left out.
  expect(steps.map(({ name }) => name)).toEqual(['step 1', 'step 2']);
  const phases = new Set(slices.filter(({ cat }) => cat === 'phase').map(({ name }) => name));
  expect([...phases].sort()).toEqual(
    ['backward', 'checkpoint', 'data', 'evaluation', 'forward', 'gradient norm', 'optimizer'].sort(),
  );
  for (const { ts, dur, name } of slices.filter(({ cat }) => cat !== 'step' && cat !== 'phase'))
    expect(
      steps.some((step) => step.ts <= ts && ts + dur <= step.ts + step.dur + 0.01),
      name,
    ).toBe(true);
  const gemm = slices.find(({ cat, args }) => cat === 'gemm' && args.n === 96)!;
  // Of a micro-batch of 2 sequences of 64 tokens: gate and up of the first layer.
  expect(gemm.args).toMatchObject({ m: 128, n: 96, k: 32, transA: false, transB: true, dtype: 'bf16' });

  const { type: _, ...said } = profile as StepProfile & { type: string };
  const written = read('profile.json') as StepProfile;
  expect(written).toEqual(said);
  expect(written).toMatchObject({ steps: [1, 2], tokensPerStep: 256, threads: 1 });
  expect(written.parts.reduce((sum, part) => sum + part.msPerStep, 0)).toBeCloseTo(written.msPerStep, 6);
  expect(written.parts.every(({ share }) => share > 0 && share < 1)).toBe(true);
  expect(written.phases.every(({ share }) => share > 0 && share < 1)).toBe(true);
  const table = formatProfile(written).split('\n');
  expect(table[0]).toMatch(/^Profile of steps 1 to 2: [\d.]+ ms a step/);
  expect(table[3]).toMatch(/^gemm +[\d.]+ %.*GFLOP\/s$/);
  expect(table.at(-1)).toMatch(/^By stage: data/);
});

test('a run with fewer steps left than asked for is traced as far as it goes', async () => {
  const run = await makeRun(world, { numSteps: 2 });
  await superviseEngine({ jobFolder: path.join(run, 'job'), threads: 1, profileSteps: 50 });
  expect(JSON.parse(fs.readFileSync(path.join(run, 'profile.json'), 'utf8')).steps).toEqual([0, 1]);
});
