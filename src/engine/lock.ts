// One engine a run folder: a lock file that names its owner and the owner's parent. A lock whose owner is gone is taken over; an owner
// whose parent is gone would leave after its current step anyway and is ended, so that a killed command can be started again at once.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { ConfigError } from '../base/errors.ts';
import { explainSystemError } from '../base/files.ts';
import { processExists } from '../base/process.ts';

const WAIT_MS = 50;
/** How long a lock without content may be one that is being written. */
const MAX_EMPTY_MS = 500;
/** How long an ended owner may take to go; it may hang in a disk write. */
const MAX_LEAVING_MS = 30_000;

/** @returns releases the lock @throws ConfigError when another engine works in this folder */
export function lockRun(runFolder: string): () => void {
  const file = path.join(runFolder, 'engine.lock');
  const deadline = performance.now() + MAX_LEAVING_MS;
  let emptyMs = 0;
  while (performance.now() < deadline) {
    if (takeLock(file)) return () => fs.rmSync(file, { force: true });
    const content = readLock(file);
    const [owner, parent] = parse(content);
    if (!owner && emptyMs < MAX_EMPTY_MS) {
      emptyMs += WAIT_MS;
      pause();
    } else if (!owner || !isRunning(owner)) {
      removeStale(file, content);
    } else if (parent && !isRunning(parent)) {
      // Its start time proves that the process id was not given to another program since.
      if (owner.started) endProcess(owner.pid);
      pause();
    } else break;
  }
  const pid = parse(readLock(file))[0]?.pid;
  throw new ConfigError(
    `${runFolder}: another engine (process ${pid ?? 'unknown'}) is working in this run folder. Wait for it, stop it, or give this run another name.`,
  );
}

interface ProcessId {
  pid: number;
  /** Start tick; empty where the system does not tell. */
  started: string;
}

function takeLock(file: string): boolean {
  let fd: number;
  try {
    fd = fs.openSync(file, 'wx');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw explainSystemError(error, file, 'locking the run');
  }
  try {
    const text = [process.pid, process.ppid].map((pid) => `${pid} ${startTime(pid)}\n`);
    fs.writeFileSync(fd, text.join(''));
  } catch (error) {
    fs.rmSync(file, { force: true });
    throw explainSystemError(error, file, 'locking the run');
  } finally {
    fs.closeSync(fd);
  }
  return true;
}

/** Moved away before it is looked at again: of several that find the same stale lock only one gets it, and none removes a newer one. */
function removeStale(file: string, content: string): void {
  const aside = `${file}.${process.pid}`;
  try {
    fs.renameSync(file, aside);
  } catch {
    return; // another was first
  }
  try {
    if (readLock(aside) !== content) fs.linkSync(aside, file);
  } catch {
    // A third took the lock in between: it keeps it.
  }
  fs.rmSync(aside, { force: true });
}

function readLock(file: string): string {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

/** Owner and its parent. */
function parse(content: string): ProcessId[] {
  return content.split('\n').flatMap((line) => {
    const [pid = '', started = ''] = line.split(' ');
    return Number(pid) >= 1 ? [{ pid: Number(pid), started }] : [];
  });
}

function isRunning({ pid, started }: ProcessId): boolean {
  return processExists(pid) && startTime(pid) === started;
}

function endProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It left in between, or belongs to somebody else: then it is waited for.
  }
}

/** Linux: the process's start tick, which tells a re-used process id apart, and nothing for one that has ended; elsewhere nothing. */
function startTime(pid: number): string {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? '' : fields[19]!;
  } catch {
    return '';
  }
}

function pause(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, WAIT_MS);
}
