// One engine a run folder: a lock file that holds the owner's process id. A lock whose process is gone is taken over.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { ConfigError } from '../base/errors.ts';
import { explainSystemError } from '../base/files.ts';

/** @returns releases the lock */
export function lockRun(runFolder: string): () => void {
  const file = path.join(runFolder, 'engine.lock');
  for (let attempt = 0; attempt < 2; attempt++) {
    try {
      fs.writeFileSync(file, `${process.pid} ${startTime(process.pid)}\n`, { flag: 'wx' });
      return () => fs.rmSync(file, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw explainSystemError(error, file, 'locking the run');
    }
    const [pid = '', started = ''] = fs.readFileSync(file, 'utf8').trim().split(' ');
    if (isAlive(Number(pid)) && startTime(Number(pid)) === started)
      throw new ConfigError(
        `${runFolder}: another engine (process ${pid}) is working in this run folder. Wait for it, stop it, or give this run another name.`,
      );
    fs.rmSync(file, { force: true });
  }
  throw new ConfigError(`${runFolder}: its lock is being taken by another process right now. Try again.`);
}

function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid < 1) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** Linux: the process's start tick, which tells a re-used process id apart; elsewhere nothing. */
function startTime(pid: number): string {
  try {
    return fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')[19]!;
  } catch {
    return '';
  }
}
