// Files that are either whole or absent. Everything durable is written to a temporary sibling, fsynced, then renamed.
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { threadId } from 'node:worker_threads';
import { ConfigError, DataError } from './errors.ts';

function errorCode(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | undefined)?.code;
}

/** Now, as a part of a file's name: 2026-11-21-203005-123. */
export function fileStamp(): string {
  return new Date().toISOString().slice(0, 23).replaceAll(':', '').replace(/[T.]/g, '-');
}

/** Rewords the system's error for the user; `doing` completes "while ...". */
export function explainSystemError(error: unknown, file: string, doing: string): Error {
  switch (errorCode(error)) {
    case 'ENOENT':
      return new ConfigError(`${file}: no such file or folder (while ${doing}). Check the path.`);
    case 'EACCES':
    case 'EPERM':
      return new ConfigError(`${file}: no permission (while ${doing}). Change its permissions or choose another path.`);
    case 'EISDIR':
      return new ConfigError(`${file}: is a folder, expected a file (while ${doing}).`);
    case 'ENOTDIR':
    case 'EEXIST':
      return new ConfigError(`${file}: a part of this path is a file, expected a folder (while ${doing}).`);
    case 'EROFS':
      return new ConfigError(`${file}: lies on a read-only file system (while ${doing}). Choose another path.`);
    case 'ENAMETOOLONG':
      return new ConfigError(
        `${file}: this name is too long for the file system (while ${doing}). Choose a shorter path.`,
      );
    case 'ELOOP':
      return new ConfigError(`${file}: its symbolic links lead in a circle (while ${doing}). Correct them.`);
    case 'EMFILE':
    case 'ENFILE':
      return new ConfigError(
        `${file}: too many files are open (while ${doing}). Raise the limit (\`ulimit -n 4096\`) and run the same command again.`,
      );
    case 'EIO':
      return new DataError(
        file,
        `the device failed to read or write (while ${doing}): look at the system's log and the state of the disk.`,
      );
    case 'ENOSPC':
    case 'EDQUOT':
      return new DataError(
        file,
        `the disk is full (while ${doing}). Nothing that was complete is lost: free some space and run the same command again.`,
      );
    case 'EFBIG':
      return new DataError(
        file,
        `the system refuses a file of this size (while ${doing}): look at \`ulimit -f\` and the file system's limit. Nothing that was complete is lost: run the same command again once larger files are allowed.`,
      );
    default:
      return error instanceof Error ? error : new Error(String(error));
  }
}

export function readText(file: string, doing = 'reading it'): string {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch (error) {
    throw explainSystemError(error, file, doing);
  }
}

/** Parses a JSON file; a broken one is a DataError that names it. */
export function readJson<T = unknown>(file: string, doing = 'reading it'): T {
  const text = readText(file, doing);
  try {
    return JSON.parse(text) as T;
  } catch (error) {
    throw new DataError(file, `is not valid JSON: ${(error as Error).message}`);
  }
}

/** Makes a folder and its parents; nothing where it is there. */
export function makeFolder(folder: string, doing = 'making this folder'): void {
  try {
    fs.mkdirSync(folder, { recursive: true });
  } catch (error) {
    throw explainSystemError(error, folder, doing);
  }
}

export function fsyncPath(target: string): void {
  const fd = fs.openSync(target, 'r');
  try {
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}

/** Writes `data` so that `file` holds either its old content or all of the new one. */
export function writeFileAtomic(file: string, data: string | Uint8Array): void {
  const temporary = temporaryName(file);
  try {
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fillAndRename(temporary, file, (fd) => fs.writeFileSync(fd, data));
  } catch (error) {
    fs.rmSync(temporary, { force: true });
    throw explainSystemError(error, file, 'writing it');
  }
}

function fillAndRename(temporary: string, file: string, fill: (fd: number) => void): void {
  const fd = fs.openSync(temporary, 'w');
  try {
    fill(fd);
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
  fs.renameSync(temporary, file);
}

export function writeJsonAtomic(file: string, value: unknown): void {
  writeFileAtomic(file, `${JSON.stringify(value, null, 2)}\n`);
}

/** Writes all of `bytes` at the file's current end position; retries short writes. */
export function writeAll(fd: number, bytes: Uint8Array): void {
  let done = 0;
  while (done < bytes.byteLength) done += fs.writeSync(fd, bytes, done, bytes.byteLength - done);
}

/** Fills `bytes` from `position`; a short file is a DataError. */
export function readExactly(fd: number, bytes: Uint8Array, position: number, file: string): void {
  let done = 0;
  while (done < bytes.byteLength) {
    const n = fs.readSync(fd, bytes, done, bytes.byteLength - done, position + done);
    if (n === 0)
      throw new DataError(
        file,
        `ends early: expected ${bytes.byteLength} bytes here, found ${done}. Is it truncated?`,
        position,
      );
    done += n;
  }
}

/** Machines that share a folder count their processes by themselves. Short, since names have an end. */
const HOST = os
  .hostname()
  .replace(/[^\w-]/g, '_')
  .slice(0, 32);

/** A name beside `target` that nobody else uses; removeLeftOvers knows whose it is. */
function temporaryName(target: string): string {
  return `${target}.${HOST}@${process.pid}-${threadId}-${++numTemporaries}.tmp`;
}

/**
 * A folder beside `target` for work in progress, of this process alone; the caller removes it. Those of killed processes are removed first.
 */
export function makeTemporaryFolder(target: string, doing: string): string {
  const folder = temporaryName(target);
  beingFilled.add(path.basename(folder));
  removeLeftOvers(target);
  makeFolder(folder, doing);
  return folder;
}

/** Temporary files and folders that this process is filling, which are no left-overs. */
const beingFilled = new Set<string>();
let numTemporaries = 0;

/**
 * Builds a folder beside `folder` and renames it into place when `fill` has returned, so that `folder` is whole or absent.
 * Left-overs of killed processes are removed first. Of two processes that build the same folder at a time the later one stays.
 */
export async function writeFolderAtomic(
  folder: string,
  fill: (temporary: string) => Promise<void> | void,
): Promise<void> {
  const temporary = temporaryName(folder);
  beingFilled.add(path.basename(temporary));
  try {
    removeLeftOvers(folder);
    fs.mkdirSync(temporary, { recursive: true });
    await fill(temporary);
    syncTree(temporary);
    replaceFolder(folder, temporary);
    fsyncPath(path.dirname(folder));
  } catch (error) {
    fs.rmSync(temporary, { recursive: true, force: true });
    throw explainSystemError(error, folder, 'writing it');
  } finally {
    beingFilled.delete(path.basename(temporary));
  }
}

/** A file that is being filled under another name. */
export interface AtomicFile {
  readonly file: string;
  /** To write to. */
  readonly fd: number;
  /** Puts it in place, synced. */
  finish(): void;
  /** Leaves nothing; after finish() nothing is done. */
  discard(): void;
}

/**
 * Begins a file that will hold its old content until finish(), and all of the new one from then on. Left-overs of killed processes are
 * removed first.
 */
export function createFileAtomic(file: string): AtomicFile {
  const temporary = temporaryName(file);
  let fd: number;
  try {
    removeLeftOvers(file);
    fd = fs.openSync(temporary, 'w');
  } catch (error) {
    throw explainSystemError(error, file, 'writing it');
  }
  beingFilled.add(path.basename(temporary));
  let isOpen = true;
  const close = () => {
    if (isOpen) fs.closeSync(fd);
    isOpen = false;
    beingFilled.delete(path.basename(temporary));
  };
  const discard = () => {
    if (!isOpen) return;
    close();
    fs.rmSync(temporary, { force: true });
  };
  const finish = () => {
    try {
      fs.fsyncSync(fd);
      close();
      fs.renameSync(temporary, file);
    } catch (error) {
      close();
      fs.rmSync(temporary, { force: true });
      throw explainSystemError(error, file, 'writing it');
    }
  };
  return { file, fd, finish, discard };
}

/** Writes a file piece by piece, for what does not fit into memory, as createFileAtomic does. */
export function writeFileInPieces(file: string, fill: (write: (bytes: Uint8Array) => void) => void): void {
  const target = createFileAtomic(file);
  try {
    fill((bytes) => writeAll(target.fd, bytes));
  } catch (error) {
    target.discard();
    throw explainSystemError(error, file, 'writing it');
  }
  target.finish();
}

const MAX_REPLACE_ATTEMPTS = 10;

/**
 * Renames `temporary` to `folder`. What was there is moved out of the way first, not removed, so that `folder` is absent for no longer
 * than a rename takes: another process that works with it finds the same files in the new one. It may be doing just the same. Where the
 * new folder cannot be put in place, the old one comes back.
 */
function replaceFolder(folder: string, temporary: string): void {
  const old = temporary.replace(/\.tmp$/, '.old.tmp');
  for (let attempt = 1; ; attempt++) {
    let wasThere = true;
    try {
      fs.renameSync(folder, old);
    } catch (error) {
      if (errorCode(error) !== 'ENOENT') throw error;
      wasThere = false;
    }
    try {
      fs.renameSync(temporary, folder);
      break;
    } catch (error) {
      const isThereAgain = ['ENOTEMPTY', 'EEXIST'].includes(errorCode(error) ?? '');
      if (isThereAgain) fs.rmSync(old, { recursive: true, force: true });
      else if (wasThere) fs.renameSync(old, folder);
      if (!isThereAgain || attempt === MAX_REPLACE_ATTEMPTS) throw error;
    }
  }
  fs.rmSync(old, { recursive: true, force: true });
}

/** Nobody knows whether processes of another machine live: what they have not touched for so long is left over. */
const FOREIGN_MS = 24 * 3600 * 1000;

/** Removes temporary siblings of a file or folder whose process is gone, or was this thread. */
function removeLeftOvers(target: string): void {
  const parent = path.dirname(target);
  const prefix = `${path.basename(target)}.`;
  for (const name of fs.existsSync(parent) ? fs.readdirSync(parent) : []) {
    if (!name.startsWith(prefix)) continue;
    const [, host = HOST, pid, thread] =
      /^(?:([\w-]+)@)?(\d+)(?:-(\d+)-\d+)?(?:\.old)?\.tmp$/.exec(name.slice(prefix.length)) ?? [];
    if (pid === undefined || beingFilled.has(name.replace('.old.tmp', '.tmp'))) continue;
    const file = path.join(parent, name);
    const isOwn = Number(pid) === process.pid && (thread === undefined || Number(thread) === threadId);
    if (host === HOST ? !isOwn && isAlive(Number(pid)) : !isOlder(file, FOREIGN_MS)) continue;
    fs.rmSync(file, { recursive: true, force: true });
  }
}

function isOlder(file: string, ms: number): boolean {
  const stat = fs.statSync(file, { throwIfNoEntry: false });
  return stat !== undefined && Date.now() - stat.mtimeMs > ms;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errorCode(error) === 'EPERM';
  }
}

function syncTree(folder: string): void {
  for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
    const child = path.join(folder, entry.name);
    if (entry.isDirectory()) syncTree(child);
    else if (entry.isFile()) fsyncPath(child);
  }
  fsyncPath(folder);
}
