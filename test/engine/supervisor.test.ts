// The supervisor, and what becomes of an engine whose parent dies.
import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { type EngineMessage, superviseEngine } from '../../src/engine/index.ts';
import { explainAllocation } from '../../src/engine/native-engine.ts';
import {
  ENGINE,
  killEngines,
  makeRun,
  makeWorld,
  readLines,
  runEngine,
  SAME,
  sameState,
  startEngine,
  type World,
} from './fixtures.ts';

let world: World;
beforeAll(async () => {
  world = await makeWorld('supervisor');
});
const spawned: number[] = [];
afterEach(() => {
  killEngines();
  for (const pid of spawned.splice(0)) if (isAlive(pid)) process.kill(pid, 'SIGKILL');
});
afterAll(() => fs.rmSync(world.root, { recursive: true, force: true }));

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !/\) Z /.test(fs.readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

test('an engine that is killed is started again and the run ends as if nothing had happened', async () => {
  const options = { checkpoint: { everySteps: 4, keep: 2 } };
  const [run, uninterrupted] = [await makeRun(world, options), await makeRun(world, options)];
  const said: string[] = [];
  const killAt = new Set([6, 25]);
  let pid = 0;
  const result = await superviseEngine({
    jobFolder: path.join(run, 'job'),
    threads: 1,
    say: (line) => said.push(line),
    onMessage: (message) => {
      if (message.type === 'hello') pid = message.pid;
      if (message.type === 'step' && killAt.delete(message.step)) process.kill(pid, 'SIGKILL');
    },
  });
  const checkpoint = path.join(run, 'checkpoints', 'step-00000040');
  expect(result).toEqual({ status: 'finished', step: 40, checkpoint, numRestarts: 2 });
  expect(said).toHaveLength(2);
  expect(said[0]).toMatch(/was killed by SIGKILL at step \d+; starting it again from its newest checkpoint in 0.5 s/);
  await runEngine(uninterrupted);
  expect(sameState(run, uninterrupted)).toEqual(SAME);
});

test('an engine that dies again and again is given up, with its last words', async () => {
  const run = await makeRun(world);
  const before = process.env.NODE_OPTIONS;
  // Every life ends before it is an engine.
  const broken = path.join(world.root, 'broken.cjs');
  fs.writeFileSync(broken, 'process.stderr.write("no such luck\\n"); process.exit(7);');
  process.env.NODE_OPTIONS = `--require ${broken}`;
  try {
    await expect(superviseEngine({ jobFolder: path.join(run, 'job') })).rejects.toThrow(
      /the engine ended with code 7 4 times in a row without finishing a new step\. Its last words:\nno such luck/,
    );
  } finally {
    if (before === undefined) delete process.env.NODE_OPTIONS;
    else process.env.NODE_OPTIONS = before;
  }
}, 30_000);

test('steps made again are no progress: an engine that always dies at the same place is given up', async () => {
  const run = await makeRun(world, { checkpoint: { everySteps: 100, keep: 1 } });
  const preload = path.join(world.root, 'third-step.cjs');
  fs.writeFileSync(
    preload,
    `const fs = require('node:fs');
const write = fs.writeSync;
let steps = 0;
fs.writeSync = (fd, bytes, ...rest) => {
  const count = write(fd, bytes, ...rest);
  if (fd === 1 && String(bytes).includes('"type":"step"') && ++steps === 3) process.exit(7);
  return count;
};
require('node:module').syncBuiltinESMExports();`,
  );
  process.env.NODE_OPTIONS = `--require ${preload}`;
  try {
    await expect(superviseEngine({ jobFolder: path.join(run, 'job'), threads: 1 })).rejects.toThrow(
      /the engine ended with code 7 4 times in a row without finishing a new step/,
    );
  } finally {
    delete process.env.NODE_OPTIONS;
  }
}, 30_000);

test('a run that goes on with other kernels says so', async () => {
  const run = await makeRun(world, { numSteps: 4, checkpoint: { everySteps: 2, keep: 4 } });
  const said: string[] = [];
  const supervise = () =>
    superviseEngine({ jobFolder: path.join(run, 'job'), threads: 1, say: (line) => said.push(line) });
  await supervise();
  fs.rmSync(path.join(run, 'checkpoints', 'step-00000004'), { recursive: true });
  const before = process.env.CONTINUO_KERNELS;
  if (before === 'reference') delete process.env.CONTINUO_KERNELS;
  else process.env.CONTINUO_KERNELS = 'reference';
  try {
    await supervise();
  } finally {
    if (before === undefined) delete process.env.CONTINUO_KERNELS;
    else process.env.CONTINUO_KERNELS = before;
  }
  const warning = /^warning: step 2 was computed with the \w+ kernels, this process has \w+: the run goes on/;
  expect(said.filter((line) => warning.test(line))).toHaveLength(1);
  expect(readLines(path.join(run, 'events.jsonl')).filter(({ type }) => type === 'warning')).toHaveLength(1);
}, 30_000);

test('memory that the system refuses is told as such', () => {
  let thrown: unknown;
  try {
    new ArrayBuffer(2 ** 53 - 1);
  } catch (error) {
    thrown = error;
  }
  expect(explainAllocation(thrown)).toMatchObject({
    name: 'EngineError',
    message: expect.stringMatching(
      /^memory ran out .* Set training\.recompute: true and go on, or lower training\.microBatch/,
    ),
  });
  const other = new RangeError('Invalid count value: -1');
  expect(explainAllocation(other)).toBe(other);
});

test.each([
  ['process.stdout.write("good morning\\n")', /wrote something else than JSON on stdout: good morning/],
  [
    'process.stdout.write(JSON.stringify({ type: "start", step: 0, numSteps: 1 }) + "\\n"); setTimeout(() => {}, 1e4)',
    /did not say hello first/,
  ],
  [
    'process.stdout.write(JSON.stringify({ type: "hello", protocol: 99 }) + "\\n"); setTimeout(() => {}, 1e4)',
    /speaks protocol 99, this version needs 1/,
  ],
])('an engine that says %s is not trusted', async (script, message) => {
  const run = await makeRun(world);
  const preload = path.join(world.root, 'preload.cjs');
  fs.writeFileSync(preload, `${script}; Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);`);
  process.env.NODE_OPTIONS = `--require ${preload}`;
  try {
    await expect(superviseEngine({ jobFolder: path.join(run, 'job') })).rejects.toThrow(message);
  } finally {
    delete process.env.NODE_OPTIONS;
  }
});

test("the engine's refusal reaches the caller as the error that it was", async () => {
  const run = await makeRun(world, { model: path.join(world.root, 'nowhere') });
  await expect(superviseEngine({ jobFolder: path.join(run, 'job') })).rejects.toMatchObject({
    name: 'ConfigError',
    message: expect.stringContaining('nowhere: no such file or folder'),
  });
});

test.each([1, 2])('%i interrupt(s): stopped, and the same call goes on', async (numInterrupts) => {
  const run = await makeRun(world, { numSteps: 60, checkpoint: { everySteps: 10, keep: 2 } });
  const supervise = (onMessage: (message: EngineMessage) => void, say: (line: string) => void = () => {}) =>
    superviseEngine({ jobFolder: path.join(run, 'job'), threads: 1, onMessage, say });
  const said: string[] = [];
  const first = await supervise(
    (message) => {
      if (message.type === 'step' && message.step === 13)
        for (let i = 0; i < numInterrupts; i++) process.emit('SIGINT', 'SIGINT');
    },
    (line) => said.push(line),
  );
  expect(first.status).toBe('stopped');
  expect(said[0]).toContain('the engine saves a checkpoint first');
  expect(said).toHaveLength(numInterrupts);
  let resumedAt = 0;
  const second = await supervise((message) => {
    if (message.type === 'resume') resumedAt = message.step;
  });
  expect(second.status).toBe('finished');
  expect(resumedAt).toBeGreaterThanOrEqual(numInterrupts === 1 ? 14 : 10);
});

test('an engine whose parent is killed leaves, and the next one starts at once', async () => {
  const run = await makeRun(world, { numSteps: 4000 });
  const wrapper = spawn(process.execPath, [
    fileURLToPath(new URL('./wrapper.mjs', import.meta.url)),
    ENGINE,
    path.join(run, 'job'),
  ]);
  spawned.push(wrapper.pid!);
  const pid = await new Promise<number>((resolve) => wrapper.stdout.once('data', (text) => resolve(Number(text))));
  spawned.push(pid);
  const metrics = path.join(run, 'metrics.jsonl');
  while (!fs.existsSync(metrics) || fs.statSync(metrics).size === 0)
    await new Promise((resolve) => setTimeout(resolve, 20));
  wrapper.kill('SIGKILL');
  const next = startEngine(run);
  await next.until(({ type }) => type === 'step');
  expect(isAlive(pid)).toBe(false);
  expect(fs.readFileSync(path.join(run, 'engine.lock'), 'utf8')).toMatch(new RegExp(`^${next.child.pid} `));
});

test.skipIf(process.platform !== 'linux')(
  'a stopped engine that lost its parent is ended by the next one',
  async () => {
    const run = await makeRun(world, { numSteps: 4000 });
    const wrapper = spawn(process.execPath, [
      fileURLToPath(new URL('./wrapper.mjs', import.meta.url)),
      ENGINE,
      path.join(run, 'job'),
    ]);
    spawned.push(wrapper.pid!);
    const pid = await new Promise<number>((resolve) => wrapper.stdout.once('data', (text) => resolve(Number(text))));
    spawned.push(pid);
    const metrics = path.join(run, 'metrics.jsonl');
    while (!fs.existsSync(metrics) || fs.statSync(metrics).size === 0)
      await new Promise((resolve) => setTimeout(resolve, 20));
    // It cannot notice anything: like an engine in a step of half a minute.
    process.kill(pid, 'SIGSTOP');
    wrapper.kill('SIGKILL');
    const next = startEngine(run);
    await next.until(({ type }) => type === 'step');
    expect(isAlive(pid)).toBe(false);
  },
);

test('a lock whose owner is gone, or whose process id another program has, is taken over', async () => {
  const run = await makeRun(world, { numSteps: 3 });
  const lock = path.join(run, 'engine.lock');
  for (const content of ['999999999 5\n1 1\n', `${process.pid} 1\n1 1\n`, 'nonsense', '']) {
    fs.writeFileSync(lock, content);
    expect((await runEngine(run)).code).toBe(0);
    expect(fs.existsSync(lock)).toBe(false);
  }
  expect(readLines(path.join(run, 'metrics.jsonl'))).toHaveLength(3);
});
