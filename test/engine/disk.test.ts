// A disk that fills up, and a limit on the size of files: said in words, nothing half written, and the same command goes on afterwards.
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { listCheckpoints } from '../../src/engine/index.ts';
import {
  killEngines,
  makeRun,
  makeWorld,
  runEngine,
  SAME,
  sameState,
  temporaryFolder,
  type World,
} from './fixtures.ts';

let world: World;
let reference: string;
const mounted = mountSmallDisk();
const OPTIONS = { numSteps: 20, checkpoint: { everySteps: 5, keep: 2 } };

beforeAll(async () => {
  world = await makeWorld('disk');
  reference = await makeRun(world, OPTIONS);
  await runEngine(reference);
});
afterEach(killEngines);
afterAll(() => {
  if (mounted) {
    execFileSync('umount', [mounted]);
    fs.rmdirSync(mounted);
  }
  fs.rmSync(world.root, { recursive: true, force: true });
});

/** A memory disk of 1 MiB; undefined where this user may not mount one. */
function mountSmallDisk(): string | undefined {
  const folder = temporaryFolder('small-disk');
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', folder], { stdio: 'ignore' });
    return folder;
  } catch {
    fs.rmdirSync(folder);
    return undefined;
  }
}

/** The same job, so that the final states can be compared: its fingerprint does not depend on where it lies. */
function copyOfJob(runFolder: string): string {
  fs.mkdirSync(runFolder);
  fs.cpSync(path.join(reference, 'job'), path.join(runFolder, 'job'), { recursive: true });
  return runFolder;
}

test.skipIf(!mounted)('the disk is full (needs permission to mount a tmpfs)', async () => {
  const run = copyOfJob(path.join(mounted!, 'run'));
  const ballast = path.join(mounted!, 'ballast');
  // A checkpoint takes some 260 KiB: the second one does not fit.
  fs.writeFileSync(ballast, Buffer.alloc(500 << 10));
  const ended = await runEngine(run);
  expect(ended.code, ended.stderr).toBe(4);
  const message = (ended.messages.at(-1) as { message: string }).message;
  expect(message).toMatch(/the disk is full \(while .*free some space and run the same command again/);
  expect(listCheckpoints(run).map(({ step }) => step)).toEqual([5]);
  expect(fs.readdirSync(path.join(run, 'checkpoints'))).toEqual(['step-00000005']);
  const again = await runEngine(run);
  expect(again.code).toBe(4);
  fs.rmSync(ballast);
  const last = await runEngine(run);
  expect(last.messages.find(({ type }) => type === 'resume')).toMatchObject({ step: 5 });
  expect(last.code).toBe(0);
  expect(sameState(run, reference)).toEqual(SAME);
});

test.skipIf(!mounted)('not even a line fits (needs permission to mount a tmpfs)', async () => {
  for (const name of fs.readdirSync(mounted!)) fs.rmSync(path.join(mounted!, name), { recursive: true });
  const run = copyOfJob(path.join(mounted!, 'full'));
  const ballast = path.join(mounted!, 'ballast');
  const fd = fs.openSync(ballast, 'w');
  try {
    for (;;) fs.writeSync(fd, Buffer.alloc(4096));
  } catch (error) {
    expect(error).toMatchObject({ code: 'ENOSPC' });
  }
  fs.closeSync(fd);
  const ended = await runEngine(run);
  expect(ended.code, ended.stderr).toBe(4);
  expect(ended.messages.at(-1)).toMatchObject({ type: 'fatal', message: expect.stringContaining('the disk is full') });
  fs.rmSync(ballast);
  expect((await runEngine(run)).code).toBe(0);
  expect(sameState(run, reference)).toEqual(SAME);
});

test.skipIf(process.platform === 'win32')('a limit on the size of files', async () => {
  const run = copyOfJob(path.join(world.root, 'limited'));
  // ulimit counts KiB; the weights take 90.
  const ended = await runEngine(run, { under: 'ulimit -f 60' });
  expect(ended.code, ended.stderr).toBe(4);
  const message = (ended.messages.at(-1) as { message: string }).message;
  expect(message).toMatch(/refuses a file of this size .*ulimit -f.*run the same command again/);
  expect(fs.readdirSync(path.join(run, 'checkpoints'))).toEqual([]);
  expect((await runEngine(run)).code).toBe(0);
  expect(sameState(run, reference)).toEqual(SAME);
});
