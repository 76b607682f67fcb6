// Runs a program that a language model wrote (HumanEval, MBPP). Nothing here starts unless the user said `--run-generated-code`: the runner makes
// `await pythonSandbox()` then, and hands it to metrics as `runCode` (twins/types.ts). It guards against accidents, not against an attacker who
// knows the machine: a process of its own, without network and in a process namespace of its own where the system permits (`unshare`), with limits
// on time, memory, files and their size, an empty environment, a temporary folder, killed with its children at the end. Whoever evaluates models
// that they do not trust should put the whole of it into a container or a virtual machine.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { ConfigError } from '../base/errors.ts';
import type { CodeResult, RunCode } from './twins/types.ts';

/** Seconds that a program may take: the code_eval metric's, so that slow programs fail here where they fail there. */
const TIMEOUT_SECONDS = 3;
const MEMORY_KIB = 2 * 2 ** 20;
/** In blocks of 512 or 1024 bytes, as the shell counts them. */
const FILE_BLOCKS = 65_536;
const OPEN_FILES = 64;
const PROCESSES = 2048;
const AT_ONCE = Math.min(4, os.availableParallelism());

/**
 * The program runs as `exec(program, {})`, so `if __name__ == "__main__"` is not taken, and it has passed when it comes to its end: leaving by
 * sys.exit(0) is not passing. The word that says so comes by standard input, which is at its end for the program.
 */
const RUNNER = `import os, sys
word = sys.stdin.readline().strip()
with open("program.py", encoding="utf-8") as file:
    code = compile(file.read(), "program.py", "exec")
exec(code, {})
os.write(1, ("\\n" + word).encode())
os._exit(0)
`;

/**
 * A way to run generated programs one after another or at once (a few at a time run, the others wait).
 *
 * @param onWarning told once where the system does not let us take the network away
 * @throws ConfigError where there is no python3, or no shell to set limits
 */
export async function pythonSandbox(onWarning: (message: string) => void = () => {}): Promise<RunCode> {
  const python = interpreter();
  if (findProgram('sh') === undefined)
    throw new ConfigError(
      'Generated code cannot be run: there is no sh on the PATH, which sets the limits of its process. Use Linux or macOS.',
    );
  const jail = await findJail();
  if (!jail.network)
    onWarning(
      'Generated code: this system does not let us take the network away from it (unshare -n is refused). Limits on time, memory and files hold.',
    );
  const run = (program: string, timeoutSeconds: number) =>
    runOnce([...jail.command, ...limited(timeoutSeconds), python], program, timeoutSeconds);
  // What an empty program takes is the interpreter's, not the program's.
  const startedAt = performance.now();
  const empty = await run('', 30);
  if (!empty.passed)
    throw new ConfigError(`Generated code cannot be run: an empty program fails in the sandbox: ${empty.result}`);
  const startSeconds = (performance.now() - startedAt) / 1000;
  let running = 0;
  const waiting: (() => void)[] = [];
  return async (program, options = {}) => {
    if (running >= AT_ONCE) await new Promise<void>((resolve) => waiting.push(resolve));
    running++;
    try {
      return await run(program, (options.timeoutSeconds ?? TIMEOUT_SECONDS) + startSeconds);
    } finally {
      running--;
      waiting.shift()?.();
    }
  };
}

function findProgram(name: string): string | undefined {
  for (const folder of (process.env.PATH ?? '').split(path.delimiter)) {
    const file = path.join(folder, name);
    try {
      fs.accessSync(file, fs.constants.X_OK);
      return file;
    } catch {}
  }
  return undefined;
}

/** The interpreter itself, where python3 is a script that sets an environment and starts it (pyenv). */
function interpreter(): string {
  try {
    return execFileSync('python3', ['-I', '-c', 'import sys; print(sys.executable)'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    throw new ConfigError(
      'Generated code cannot be run: there is no python3 on the PATH that starts. Install Python 3, or leave out --run-generated-code and ' +
        'the tasks that need it (humaneval, mbpp).',
    );
  }
}

/** The strictest `unshare` that this system permits: without network, and where possible in a process namespace that dies as a whole. */
async function findJail(): Promise<{ command: string[]; network: boolean }> {
  const unshare = findProgram('unshare');
  if (unshare === undefined) return { command: [], network: false };
  for (const flags of [
    ['--net', '--pid', '--fork', '--kill-child'],
    ['--map-root-user', '--net', '--pid', '--fork', '--kill-child'],
    ['--net'],
    ['--map-root-user', '--net'],
  ]) {
    const command = [unshare, ...flags];
    const permitted = await new Promise<boolean>((resolve) => {
      const child = spawn(command[0]!, [...command.slice(1), 'true'], {
        stdio: 'ignore',
        env: { PATH: process.env.PATH },
      });
      child.once('error', () => resolve(false));
      child.once('exit', (code) => resolve(code === 0));
    });
    if (permitted) return { command, network: true };
  }
  return { command: [], network: false };
}

/** A shell that sets limits and becomes the program. A limit that a system does not know (memory on macOS) is left out there. */
function limited(timeoutSeconds: number): string[] {
  const limits = [
    ['c', 0],
    ['t', Math.ceil(timeoutSeconds) + 1],
    ['v', MEMORY_KIB],
    ['f', FILE_BLOCKS],
    ['n', OPEN_FILES],
    ['u', PROCESSES],
  ];
  const set = limits.map(([flag, value]) => `ulimit -${flag} ${value} 2>/dev/null`).join('; ');
  return [findProgram('sh')!, '-c', `${set}; exec "$@"`, 'sh'];
}

async function runOnce(command: readonly string[], program: string, timeoutSeconds: number): Promise<CodeResult> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-code-'));
  try {
    fs.writeFileSync(path.join(folder, 'program.py'), program);
    const word = randomBytes(16).toString('hex');
    const child = spawn(command[0]!, [...command.slice(1), '-I', '-X', 'utf8', '-c', RUNNER], {
      cwd: folder,
      env: {},
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
    });
    return await outcome(child, word, timeoutSeconds);
  } finally {
    fs.rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  }
}

function outcome(child: ChildProcess, word: string, timeoutSeconds: number): Promise<CodeResult> {
  return new Promise((resolve) => {
    let said = '';
    let errors = '';
    let timedOut = false;
    const killAll = () => {
      try {
        process.kill(-child.pid!, 'SIGKILL');
      } catch {}
    };
    const timer = setTimeout(() => {
      timedOut = true;
      killAll();
    }, timeoutSeconds * 1000);
    process.once('exit', killAll);
    let left = false;
    const finish = () => {
      if (left) return;
      left = true;
      clearTimeout(timer);
      process.removeListener('exit', killAll);
      child.stdout!.destroy();
      child.stderr!.destroy();
      if (said.endsWith(word)) resolve({ passed: true, result: 'passed' });
      else if (timedOut) resolve({ passed: false, result: 'timed out' });
      else
        resolve({ passed: false, result: `failed: ${errors.trim().split('\n').at(-1) || 'it left before its end'}` });
    };
    child.stdout!.on('data', (data: Buffer) => {
      said = (said + data.toString('latin1')).slice(-64);
    });
    child.stderr!.on('data', (data: Buffer) => {
      errors = (errors + data.toString('utf8')).slice(-4096);
    });
    child.stdin!.on('error', () => {});
    child.stdin!.end(`${word}\n`);
    child.once('error', (error) => {
      errors += error.message;
      finish();
    });
    // Whatever the program started goes with it. A process that escaped could hold the pipes open: they are not waited for long.
    child.once('exit', () => {
      killAll();
      setTimeout(finish, 500).unref();
    });
    child.once('close', finish);
  });
}
