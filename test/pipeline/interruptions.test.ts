// The promise of the command line: killed or stopped at any moment, the same command goes on where it was and ends with the same bits.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Rng } from '../../src/base/rng.ts';
import { listCheckpoints } from '../../src/engine/index.ts';
import { readLines, SAME, sameState } from '../engine/fixtures.ts';
import { type CliEnded, makeProject, type Project, startCli } from './fixtures.ts';

const RUN = ['run', '--threads', '1'];
let uninterrupted: Project;
let whole: CliEnded;
const projects: Project[] = [];

function project(): Project {
  const made = makeProject({ budget: { steps: 60 }, checkpoints: { every: '4 steps', keep: 2 } });
  projects.push(made);
  return made;
}

beforeAll(async () => {
  uninterrupted = project();
  whole = await startCli(uninterrupted, ...RUN).ended;
});
afterAll(() => {
  for (const { root } of projects) fs.rmSync(root, { recursive: true, force: true });
});

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

test('undisturbed: exit 0, result on stdout, progress on stderr', () => {
  expect(whole.code, whole.err).toBe(0);
  expect(whole.out).toMatch(/^result +.*bits per byte/m);
  expect(whole.out).toContain(path.join('runs', 'tiny', 'checkpoints', 'step-00000060'));
  expect(whole.err).toContain('Training a tokenizer of 300 tokens.');
  expect(whole.err).not.toMatch(/internal:|defect/);
});

test('killed at eight random moments from its start on, preparation included', async () => {
  const p = project();
  const rng = new Rng(21, 'kills');
  let numKilled = 0;
  for (let life = 0; life < 8; life++) {
    const cli = startCli(p, ...RUN);
    await Promise.race([pause(rng.float() * whole.elapsedMs * 0.9), cli.ended]);
    cli.kill('SIGKILL');
    const ended = await cli.ended;
    if (ended.signal === 'SIGKILL') numKilled++;
    else expect(ended.code, ended.err).toBe(0);
  }
  expect(numKilled).toBeGreaterThan(0);
  const last = await startCli(p, ...RUN).ended;
  expect(last.code, last.err).toBe(0);
  expect(sameState(p.runFolder, uninterrupted.runFolder)).toEqual(SAME);
  expect(fs.readdirSync(path.join(p.runFolder, 'checkpoints'))).toEqual(['step-00000056', 'step-00000060']);
  const events = readLines(path.join(p.runFolder, 'events.jsonl'));
  expect(events.filter(({ type }) => type === 'error')).toEqual([]);
  expect(events.some(({ type, step }) => type === 'resume' && (step as number) > 0)).toBe(true);
}, 180_000);

test('Ctrl-C: exit 130 with a checkpoint; the same command goes on', async () => {
  const p = project();
  const cli = startCli(p, ...RUN);
  const metrics = path.join(p.runFolder, 'metrics.jsonl');
  while (!fs.existsSync(metrics) || fs.readFileSync(metrics, 'utf8').split('\n').length < 6) await pause(5);
  cli.kill('SIGINT');
  const ended = await cli.ended;
  expect(ended.code, ended.err).toBe(130);
  expect(ended.err).toContain('the engine saves a checkpoint first');
  expect(ended.err).toContain('The same command goes on from here');
  const stopped = listCheckpoints(p.runFolder).at(-1)!.step;
  expect(stopped).toBeGreaterThanOrEqual(5);
  expect(stopped).toBeLessThan(60);
  const last = await startCli(p, ...RUN, '--json').ended;
  expect(last.code, last.err).toBe(0);
  expect(JSON.parse(last.out)).toMatchObject({ summary: { status: 'finished', numStops: 1, numCrashes: 0 } });
  expect(sameState(p.runFolder, uninterrupted.runFolder)).toEqual(SAME);
});

test('Ctrl-C twice: exit 130 at once; the same command goes on', async () => {
  const p = project();
  const cli = startCli(p, ...RUN);
  const metrics = path.join(p.runFolder, 'metrics.jsonl');
  while (!fs.existsSync(metrics) || fs.statSync(metrics).size === 0) await pause(5);
  cli.kill('SIGINT');
  while (!cli.err().includes('Stopping')) await pause(1);
  cli.kill('SIGINT');
  expect((await cli.ended).code).toBe(130);
  const last = await startCli(p, ...RUN).ended;
  expect(last.code, last.err).toBe(0);
  expect(sameState(p.runFolder, uninterrupted.runFolder)).toEqual(SAME);
});

test('Ctrl-C while the corpora are read ends it, and leaves nothing half made', async () => {
  const p = project();
  const cli = startCli(p, ...RUN);
  while (!cli.err().includes('tokenising domain')) await pause(5);
  cli.kill('SIGINT');
  const { code, signal } = await cli.ended;
  // Ended by the signal itself, which a shell reports as 130.
  expect(code === 130 || signal === 'SIGINT').toBe(true);
  const last = await startCli(p, ...RUN).ended;
  expect(last.code, last.err).toBe(0);
  expect(sameState(p.runFolder, uninterrupted.runFolder)).toEqual(SAME);
  expect(fs.readdirSync(path.join(p.root, '.continuo-cache')).filter((name) => name.includes('tmp'))).toEqual([]);
});

test('two commands at a time may share a cache, and one run folder has one engine', async () => {
  const p = project();
  const other = path.join(p.root, 'other.yaml');
  fs.writeFileSync(other, fs.readFileSync(p.config, 'utf8').replace('name: tiny', 'name: other'));
  const ends = await Promise.all([startCli(p, ...RUN).ended, startCli(p, 'run', other, '--threads', '1').ended]);
  for (const { code, err } of ends) expect(code, err).toBe(0);
  expect(sameState(p.runFolder, uninterrupted.runFolder)).toEqual(SAME);
  // Its configuration records its own name.
  expect(sameState(path.join(p.root, 'runs', 'other'), uninterrupted.runFolder)).toEqual({ ...SAME, config: false });
  fs.rmSync(path.join(p.runFolder, 'checkpoints'), { recursive: true });
  const both = await Promise.all([startCli(p, ...RUN).ended, startCli(p, ...RUN).ended]);
  const refused = both.find(({ code }) => code !== 0);
  if (refused) expect(refused.err).toMatch(/another engine \(process \d+\) is working in this run folder/);
  expect(both.some(({ code }) => code === 0)).toBe(true);
  expect(sameState(p.runFolder, uninterrupted.runFolder)).toEqual(SAME);
});
