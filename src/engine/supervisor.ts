// Starts an engine, follows it, and starts it again when it crashes. Ctrl-C once: the engine checkpoints and stops; twice: it stops at once.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { entryFile } from '../base/entry.ts';
import { ConfigError, DataError, EngineError } from '../base/errors.ts';
import type { Recompute } from '../config/index.ts';
import { type EngineMessage, EXIT_FATAL, EXIT_STOPPED, PROTOCOL_VERSION, recomputeFlag } from './protocol.ts';

/** How an engine's process is started; the job folder and the contract's flags follow. */
export interface EngineProgram {
  command: string;
  args: string[];
  env?: NodeJS.ProcessEnv;
  /** It knows --profile. */
  takesProfile: boolean;
}

export interface SuperviseOptions {
  jobFolder: string;
  /** Absent: the native one. */
  engine?: EngineProgram;
  threads?: number;
  /** Run layers again on the way back instead of keeping them. */
  recompute?: Recompute;
  /** Steps to trace into trace.json and profile.json of the run folder. */
  profileSteps?: number;
  /** Every message of the engine, in order. */
  onMessage?: (message: EngineMessage) => void;
  /** Measures a checkpoint; the engine waits until it is settled. */
  onPause?: (step: number, folder: string, engine: EngineControl) => Promise<Answer> | Promise<void>;
  /** Hears of every step and measurement, the engine waiting for the answer. What it throws ends the run. */
  attend?: (message: Attended, engine: EngineControl) => Promise<Answer>;
  /** Hears of what would end the run. @returns whether the engine is to be started again instead */
  onFatal?: (message: Fatal) => boolean;
  /** Decides the order of samples from this step on (JobAmender); the engine waits until it is settled. What it throws ends the run. */
  onOrderWanted?: (step: number) => Promise<void>;
  /** One line for people: restarts, signals. */
  say?: (line: string) => void;
}

export type Attended = Extract<EngineMessage, { type: 'step' | 'eval' }>;
export type Fatal = Extract<EngineMessage, { type: 'fatal' }>;

/** stop: in good order, with a checkpoint. restart: the engine is ended as it stands, the function called, and the engine started again. */
export type Answer = 'continue' | 'stop' | { restart: () => void };

/** An engine that waits for an answer. */
export interface EngineControl {
  /** Makes a checkpoint of where it stands, which is kept for good, and goes on waiting. */
  checkpoint: () => void;
  /** It has ended, so that no answer is needed any more. */
  gone: AbortSignal;
}

export interface SuperviseResult {
  status: 'finished' | 'stopped';
  step: number;
  /** Folder of the newest checkpoint seen. */
  checkpoint: string | undefined;
  numRestarts: number;
}

/** Crashes in a row without a new step after which the run is given up. */
const MAX_RESTARTS = 3;
const STDERR_LINES = 20;

interface Ended {
  /** The user asked for it. */
  interrupted: boolean;
  /** Set where it was ended to be started again. */
  restart: (() => void) | undefined;
  code: number | null;
  signal: NodeJS.Signals | null;
  fatal: Fatal | undefined;
  stderr: string[];
  /** The last line of stderr that says why, in words: a launcher's own report may follow it. */
  complaint: string | undefined;
}

/** Runs a job to its end. @throws ConfigError, DataError or EngineError as the engine reported, EngineError after repeated crashes */
export async function superviseEngine(options: SuperviseOptions): Promise<SuperviseResult> {
  const say = options.say ?? (() => {});
  if (options.profileSteps && options.engine?.takesProfile === false)
    throw new ConfigError('--profile traces the native engine; this plan has engine: torch. Leave it out.');
  const state = { step: 0, checkpoint: undefined as string | undefined };
  let numRestarts = 0;
  let crashes = 0;
  // A new life begins at the last checkpoint: only a step that no earlier life reached is progress.
  let highest = 0;
  for (;;) {
    const highestBefore = highest;
    const ended = await runOnce(options, say, (message) => {
      if (message.type === 'step') state.step = message.step + 1;
      if (message.type === 'stopped') state.step = message.step;
      // One that was written beside the training is of an earlier step.
      if (message.type === 'checkpoint' || message.type === 'finished') state.checkpoint = message.folder;
      if (message.type === 'finished') state.step = message.step;
      highest = Math.max(highest, state.step);
      options.onMessage?.(message);
    });
    if (ended.restart) {
      ended.restart();
      continue;
    }
    if (ended.code === 0) return { status: 'finished', ...state, numRestarts };
    if (ended.code === EXIT_STOPPED || (ended.interrupted && !ended.fatal))
      return { status: 'stopped', ...state, numRestarts };
    if (ended.code === EXIT_FATAL && ended.fatal) {
      if (options.onFatal?.(ended.fatal)) continue;
      throw fatalError(ended.fatal);
    }
    crashes = highest > highestBefore ? 1 : crashes + 1;
    const how = ended.signal ? `was killed by ${ended.signal}` : `ended with code ${ended.code}`;
    if (crashes > MAX_RESTARTS)
      throw new EngineError(
        `the engine ${how} ${crashes} times in a row without finishing a new step. Its last words:\n${ended.complaint ?? (ended.stderr.join('\n') || '(none)')}\n` +
          (ended.signal === 'SIGKILL'
            ? 'SIGKILL most often means that memory ran out: set training.recompute: true and go on, or lower training.microBatch or training.seqLen.'
            : ''),
      );
    numRestarts++;
    const seconds = 2 ** (crashes - 1) * 0.5;
    const why = ended.complaint ? ` (${ended.complaint})` : '';
    say(`The engine ${how} at step ${state.step}${why}; starting it again from its newest checkpoint in ${seconds} s.`);
    await sleep(seconds * 1000);
  }
}

/** As the engine said it. */
export function fatalError(fatal: Fatal): Error {
  switch (fatal.kind) {
    case 'ConfigError':
      return new ConfigError(fatal.message);
    case 'DataError':
      return Object.assign(new DataError('', ''), { message: fatal.message });
    case 'EngineError':
      return new EngineError(fatal.message);
    default:
      return fatal.kind satisfies never;
  }
}

const nativeProgram = (): EngineProgram => ({
  command: process.execPath,
  args: [entryFile(import.meta.url, './native-engine.ts')],
  takesProfile: true,
});

function runOnce(
  options: SuperviseOptions,
  say: (line: string) => void,
  onMessage: (message: EngineMessage) => void,
): Promise<Ended> {
  const engine = options.engine ?? nativeProgram();
  const args = [...engine.args, options.jobFolder];
  if (options.threads) args.push('--threads', String(options.threads));
  if (options.recompute) args.push(recomputeFlag(options.recompute));
  if (options.profileSteps) args.push('--profile', String(options.profileSteps));
  if (options.attend) args.push('--attended');
  // Its own process group: Ctrl-C reaches it through us alone. stdin stays open as its sign that we live.
  const child = spawn(engine.command, args, { stdio: ['pipe', 'pipe', 'pipe'], detached: true, env: engine.env });
  const stderr: string[] = [];
  let complaint: string | undefined;
  let fatal: Ended['fatal'];
  let greeted = false;
  let hasStopped = false;
  let interrupts = 0;
  const forward = (signal: NodeJS.Signals) => {
    interrupts++;
    say(
      interrupts === 1
        ? 'Stopping: the engine saves a checkpoint first. Once more to stop at once.'
        : 'Stopping at once.',
    );
    // An engine looks at signals between steps only, and a step may be long; what it has written is safe from being killed.
    child.kill(interrupts === 1 ? signal : 'SIGKILL');
  };
  process.on('SIGINT', forward);
  process.on('SIGTERM', forward);
  // An engine that has gone meanwhile needs no answer.
  child.stdin.on('error', () => {});
  const tell = (word: string) => child.stdin.write(`${word}\n`);
  const goOn = () => tell('continue');
  const gone = new AbortController();
  const control: EngineControl = { checkpoint: () => void tell('checkpoint'), gone: gone.signal };
  let restart: Ended['restart'];
  const answer = (given: Answer) => {
    if (typeof given !== 'object') {
      tell(given);
      return;
    }
    restart = given.restart;
    child.kill('SIGKILL');
  };
  let failure: unknown;
  const fail = (error: unknown) => {
    failure = error;
    child.kill('SIGKILL');
  };
  const lines = createInterface({ input: child.stdout });
  const problem = (why: string) => {
    fatal = { type: 'fatal', kind: 'EngineError', message: why };
    child.kill('SIGKILL');
  };
  lines.on('line', (line) => {
    let message: EngineMessage;
    try {
      message = JSON.parse(line) as EngineMessage;
    } catch {
      problem(`the engine wrote something else than JSON on stdout: ${line.slice(0, 200)}`);
      return;
    }
    if (message.type === 'hello') {
      greeted = true;
      if (message.protocol !== PROTOCOL_VERSION)
        problem(
          `the engine speaks protocol ${message.protocol}, this version needs ${PROTOCOL_VERSION}. Build again: npm run build.`,
        );
    } else if (!greeted && message.type !== 'fatal') problem('the engine did not say hello first.');
    // The first rank that says why is heard; the others fail after it.
    if (message.type === 'fatal') fatal ??= message;
    if (message.type === 'stopped') hasStopped = true;
    onMessage(message);
    if (message.type === 'paused') {
      const settled: Promise<unknown> = options.onPause?.(message.step, message.folder, control) ?? Promise.resolve();
      settled.then(
        (given) => answer((given as Answer | undefined) ?? 'continue'),
        (error: Error) => {
          say(`warning: step ${message.step} could not be measured: ${error.message}`);
          goOn();
        },
      );
    }
    if (options.attend && (message.type === 'step' || message.type === 'eval'))
      options.attend(message, control).then(answer, fail);
    if (message.type === 'orderWanted') {
      const { step } = message;
      const nobody = () =>
        Promise.reject(
          new EngineError(`the job's order ends before step ${step}, and nobody is here to decide what follows.`),
        );
      (options.onOrderWanted ?? nobody)(step).then(goOn, fail);
    }
  });
  createInterface({ input: child.stderr }).on('line', (line) => {
    stderr.push(line);
    if (stderr.length > STDERR_LINES) stderr.shift();
    if (line.startsWith('error: ')) complaint = line.slice('error: '.length);
    if (line.startsWith('warning: ') || line.includes('reference kernels')) say(line);
  });
  return new Promise((resolve, reject) => {
    const done = () => {
      process.off('SIGINT', forward);
      process.off('SIGTERM', forward);
    };
    child.on('error', (error) => {
      done();
      reject(new EngineError(`the engine could not be started: ${error.message}`));
    });
    child.on('close', (given, signal) => {
      done();
      gone.abort();
      // A launcher such as torchrun ends with 1 whatever its processes ended with: what they said counts.
      const code = given === 1 && fatal ? EXIT_FATAL : given === 1 && hasStopped ? EXIT_STOPPED : given;
      if (failure) reject(failure);
      else if (fatal && code !== EXIT_FATAL) reject(fatalError(fatal));
      else resolve({ code, signal, fatal, stderr, complaint, interrupted: interrupts > 0, restart });
    });
  });
}
