// Alarms at work in whole runs. Passes over a corpus are known in advance, so an alarm with a low limit on them is sure to sound, at a known step.
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import * as path from 'node:path';
import { afterAll, expect, test, vi } from 'vitest';
import { openModel } from '../../src/checkpoint/index.ts';
import { checkpointName, isKept, listCheckpoints } from '../../src/engine/index.ts';
import { readPlan, run } from '../../src/pipeline/index.ts';
import { alarmsOf, makeWatch, marginsOf } from '../../src/runs/index.ts';
import { finalState, readLines, temporaryFolder } from '../engine/fixtures.ts';
import { makeProject, type Project, startCli } from './fixtures.ts';

vi.setConfig({ testTimeout: 180_000 });

const QUIET = { quiet: true, threads: 1 };
const projects: Project[] = [];
function project(alarms: unknown, changes: Record<string, unknown> = {}): Project {
  const made = makeProject({ budget: { steps: 32 }, ...changes, alarms });
  projects.push(made);
  return made;
}
afterAll(() => {
  for (const { root } of projects) fs.rmSync(root, { recursive: true, force: true });
});

interface Event {
  type: string;
  step: number;
  alarm: string;
  subject?: string;
  value: number;
  limit: number;
  message: string;
  done: string[];
  rolledBackTo?: number;
}

const alarmsIn = ({ runFolder }: Project) =>
  (readLines(path.join(runFolder, 'events.jsonl')) as unknown as Event[]).filter(({ type }) => type === 'alarm');
const lrs = ({ runFolder }: Project) => readLines(path.join(runFolder, 'metrics.jsonl')).map(({ lr }) => lr as number);
const isCheckpointName = (name: string) => /^step-\d+$/.test(name);
/** Sounds for both corpora at some step; every action is then taken twice. */
const PASSES = 0.2;

test('a run that is watched, its writing too, ends in the bytes of one that is not, and nothing sounds', async () => {
  const [watched, plain] = [project({ writing: true }), project(false)];
  await run(watched.config, QUIET);
  await run(plain.config, QUIET);
  expect(alarmsIn(watched)).toEqual([]);
  expect(finalState(watched.runFolder).weights.equals(finalState(plain.runFolder).weights)).toBe(true);
  const { samples } = JSON.parse(
    fs.readFileSync(path.join(watched.runFolder, 'evals', 'writing-step-00000032.json'), 'utf8'),
  );
  expect(samples).toHaveLength(32);
  // How near it came: what was silent stayed under each limit, and a limit put where it came to would have sounded.
  const plan = readPlan(watched.runFolder);
  const margins = marginsOf(watched.runFolder, plan);
  expect(margins.map(({ alarm, subject }) => subject ?? alarm)).toEqual(
    expect.arrayContaining(['general', 'spike', 'epochs', 'repetition', 'incoherence', 'language']),
  );
  for (const { alarm, ratio } of margins) if (alarm !== 'writing') expect(ratio).toBeLessThan(1);
  const { ratio } = margins.find(({ alarm }) => alarm === 'epochs')!;
  const under = (limit: number) => ({ ...plan, alarms: { watch: { epochs: { limit, actions: ['note' as const] } } } });
  const soundsAt = (share: number) =>
    alarmsOf(watched.runFolder, makeWatch(watched.runFolder, under(share * ratio * plan.alarms!.watch.epochs!.limit)));
  expect([soundsAt(0.999).length > 0, soundsAt(1.001).length > 0]).toEqual([true, false]);
});

const smallDisk = mountSmallDisk();
afterAll(() => {
  if (!smallDisk) return;
  execFileSync('umount', [smallDisk]);
  fs.rmdirSync(smallDisk);
});

/** A memory disk of 16 MiB; undefined where this user may not mount one. */
function mountSmallDisk(): string | undefined {
  const folder = temporaryFolder('small-disk');
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', folder], { stdio: 'ignore' });
    return folder;
  } catch {
    fs.rmdirSync(folder);
    return undefined;
  }
}

test.skipIf(!smallDisk)(
  'a small disk is heard at the first step, and stops the run (needs permission to mount a tmpfs)',
  async () => {
    // Nowhere else would it sound: a checkpoint takes some 0.4 MiB.
    const p = project({ disk: { below: 60, do: 'stop' } }, { output: smallDisk });
    expect((await run(p.config, QUIET)).summary.status).toBe('stopped');
    const [event] = alarmsIn({ ...p, runFolder: path.join(smallDisk!, 'tiny') });
    expect(event).toMatchObject({ alarm: 'disk', step: 1, limit: 60, done: ['stopped'] });
    expect(event!.message).toMatch(/are left on the disk, room for [\d.]+ checkpoints of/);
    expect(event!.value).toBeGreaterThan(2);
  },
);

test('LR lowered, replay raised, a checkpoint kept, a webhook called; killed and resumed, the same bytes', async () => {
  const bodies: Record<string, unknown>[] = [];
  const server = createServer((request, response) => {
    let text = '';
    request.on('data', (data) => {
      text += data;
    });
    request.on('end', () => {
      bodies.push(JSON.parse(text));
      response.end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const alarms = {
    epochs: { above: PASSES, do: ['lower-lr', 'raise-replay', 'checkpoint', 'webhook'] },
    webhook: `http://127.0.0.1:${port}/hook`,
  };
  const blend = { domain: 0.8, general: 0.2 };
  const changes = { recipe: { preset: 'from-scratch', blend, warmup: 0 }, checkpoints: { every: '10 steps', keep: 1 } };
  const [whole, killed, plain] = [project(alarms, changes), project(alarms, changes), project(false, changes)];
  await run(whole.config, QUIET);
  await run(plain.config, QUIET);
  server.close();
  const [first] = alarmsIn(whole);
  const { step } = first!;
  expect(first).toMatchObject({ alarm: 'epochs', subject: 'domain' });
  expect(first!.done).toEqual([
    `LR times 0.5 from step ${step + 1} on`,
    `general text is 40 % of the tokens from step ${step + 1} on`,
    'checkpoint kept',
    'webhook called',
  ]);
  expect(bodies[0]).toMatchObject({ run: 'tiny', step, alarm: 'epochs', subject: 'domain' });
  const [changed, usual] = [lrs(whole), lrs(plain)];
  expect(changed.slice(0, step)).toEqual(usual.slice(0, step));
  expect(changed[step]! / usual[step]!).toBeCloseTo(0.5, 6);
  expect(listCheckpoints(whole.runFolder).map((checkpoint) => checkpoint.step)).toContain(step);
  // Both decisions are announced, so that the report draws them.
  const announced = readLines(path.join(whole.runFolder, 'events.jsonl')).filter((event) => event.type === 'amendment');
  expect(announced).toContainEqual(expect.objectContaining({ step, lrFactor: 0.5 }));
  expect(announced).toContainEqual(
    expect.objectContaining({ step, blend: { domain: expect.closeTo(0.6, 6), general: expect.closeTo(0.4, 6) } }),
  );

  const cli = startCli(killed, 'run', 'continuo.yaml', '--threads', '1');
  while (!fs.existsSync(path.join(killed.runFolder, 'checkpoints', `step-${String(step).padStart(8, '0')}`)))
    await new Promise((resolve) => setTimeout(resolve, 5));
  cli.kill('SIGKILL');
  await cli.ended;
  await run(killed.config, QUIET);
  expect(finalState(killed.runFolder).weights.equals(finalState(whole.runFolder).weights)).toBe(true);
  expect(alarmsIn(killed).map((event) => event.step)).toEqual(alarmsIn(whole).map((event) => event.step));
});

test('back to a checkpoint, and the batches left out; after three times the run is stopped', async () => {
  // Nothing is learned, so that losses are noise, and a hundredth of its standard deviation is soon passed.
  const recipe = { preset: 'from-scratch', peakLr: 1e-9, warmup: 0 };
  const changes = { budget: { steps: 40 }, checkpoints: { every: '4 steps', keep: 2 }, recipe };
  const [p, plain] = [
    project({ spike: { above: 0.01, do: ['checkpoint', 'rollback'] } }, changes),
    project(false, changes),
  ];
  await run(plain.config, QUIET);
  expect((await run(p.config, QUIET)).summary.status).toBe('stopped');
  const events = alarmsIn(p);
  expect(events.map((event) => event.rolledBackTo === undefined)).toEqual([false, false, false, true]);
  expect(events[3]!.done).toEqual(['checkpoint kept', 'stopped: 3 rollbacks within 100 steps have not helped']);
  const [{ step, rolledBackTo, done }] = events as [Event];
  expect(rolledBackTo! % 4).toBe(0);
  const [, first, last] = /^rolled back to step \d+; the batch(?:es)? of steps? (\d+)(?: to (\d+))? left out$/.exec(
    done[1]!,
  )!;
  expect([Number(last ?? first), rolledBackTo! < Number(first)]).toEqual([step, true]);
  // What an alarm had kept is not removed, nor is it where the run went on from.
  const aside = fs.readdirSync(p.runFolder).filter((name) => name.startsWith('rolled-back-'));
  expect(aside.sort().map((name) => fs.readdirSync(path.join(p.runFolder, name)).filter(isCheckpointName))).toEqual(
    events.slice(0, 3).map((event) => [checkpointName(event.step)]),
  );
  const kept = path.join(p.runFolder, aside[0]!, checkpointName(step));
  expect(isKept(kept)).toBe(true);
  expect(openModel(kept).tensors.size).toBeGreaterThan(0);
  const [amendment] = readLines(path.join(p.runFolder, 'job', 'amendments.jsonl')) as unknown as [
    { fromStep: number; order: { skipped: { numSequences: Record<string, number> }[] } },
  ];
  expect(amendment.fromStep).toBe(Number(first) - 1);
  const skipped = Object.values(amendment.order.skipped[0]!.numSequences).reduce((sum, count) => sum + count, 0);
  expect(skipped).toBe(4 * (step - Number(first) + 1));
  // Up to the batches the run is the same; they were trained on first, and then others in their place.
  const lossesAt = (project: Project, at: number) =>
    readLines(path.join(project.runFolder, 'metrics.jsonl'))
      .filter((line) => line.step === at)
      .map(({ loss }) => loss);
  for (let at = rolledBackTo!; at < Number(first) - 1; at++) expect(lossesAt(p, at)[1]).toBe(lossesAt(p, at)[0]);
  const [before, after] = lossesAt(p, Number(first) - 1);
  expect([before]).toEqual(lossesAt(plain, Number(first) - 1));
  expect(after).not.toBe(before);
});

test('a loss that is no number: the batch is left out, and what does not help ends the run with the reason', async () => {
  const p = project(undefined, { recipe: { preset: 'from-scratch', peakLr: 1e30, warmup: 0 } });
  await expect(run(p.config, QUIET)).rejects.toThrow(/not a number/);
  const events = alarmsIn(p);
  expect(events.map(({ alarm }) => alarm)).toEqual(['nonFinite', 'nonFinite', 'nonFinite', 'nonFinite']);
  expect(events[0]!.done[0]).toMatch(/left out$/);
  expect(events[3]!.done).toEqual(['stopped: 3 rollbacks within 100 steps have not helped']);
});

test('paused until a file says go on, stopped in good order', async () => {
  const p = project({ epochs: { above: PASSES, do: ['pause', 'stop'] } });
  expect((await run(p.config, QUIET)).summary.status).toBe('stopped');
  const [{ step }] = alarmsIn(p) as [Event];
  expect(listCheckpoints(p.runFolder).at(-1)!.step).toBe(step);
  // The file may change what is watched while the run stands.
  p.configure({ budget: { steps: 32 }, alarms: { epochs: { above: 2 * PASSES, do: 'pause' } } });
  const said: string[] = [];
  const going = run(p.config, { ...QUIET, log: (line) => said.push(line) });
  const touch = setInterval(() => {
    if (said.some((line) => line.startsWith('Paused'))) fs.writeFileSync(path.join(p.runFolder, 'continue'), '');
  }, 50);
  expect((await going).summary.status).toBe('finished');
  clearInterval(touch);
  expect(said.filter((line) => line.startsWith('Paused')).length).toBeGreaterThan(0);
});
