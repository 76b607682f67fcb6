// A job on other machines: its launcher's file is written beside it, a queue's job is submitted and followed by what it leaves in the run
// folder; over ssh the engine is attended as on this machine.
import { execFile } from 'node:child_process';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { ConfigError, EngineError } from '../base/errors.ts';
import { makeFolder, readJson, writeFileAtomic, writeJsonAtomic } from '../base/files.ts';
import { cacheFolder } from '../base/package.ts';
import { type Config, LAUNCH_TARGETS, type LaunchTarget, loadConfig, withTargets } from '../config/index.ts';
import {
  type BatchLaunch,
  type EngineMessage,
  type EngineProgram,
  environmentFolder,
  fatalError,
  kubernetesLaunch,
  type LaunchFile,
  type LaunchJob,
  launchFolder,
  listCheckpoints,
  messagesFile,
  pythonOf,
  rayLaunch,
  requirementsFile,
  type SuperviseResult,
  skypilotLaunch,
  slurmLaunch,
  sshProgram,
  sshScript,
  workerCopy,
  workerFolder,
} from '../engine/index.ts';
import { type Plan, stepLengths, unevenStep } from '../recipe/index.ts';
import { type Job, readJob } from '../shards/index.ts';
import type { PipelineOptions } from './types.ts';

type TorchEngine = Extract<Config['engine'], { name: 'torch' }>;

/** What a configuration asks of the target. @throws ConfigError where that does not go together */
export function launchOf({ engine, mixing, file }: Config, target: LaunchTarget): TorchEngine {
  if (engine.name !== 'torch')
    throw new ConfigError(
      `${file}: --launch starts the PyTorch engine on other machines; engine is native, which runs on this one. Set engine: { torch: { nodes: 2, gpus: 8, launch: { ${target}: ... } } }.`,
    );
  if (!engine.launch[target] && !HAS_DEFAULTS.has(target))
    throw new ConfigError(
      `${file}: engine.torch.launch.${target} is missing: ${NEEDED[target]}. See docs/launching.md.`,
    );
  if (target !== 'ssh' && mixing)
    throw new ConfigError(
      `${file}: mixing: the run would wait for somebody who decides its shares, and the job of a queue has nobody. Take the key out, or launch over ssh.`,
    );
  return engine;
}

const HAS_DEFAULTS: ReadonlySet<LaunchTarget> = new Set(['slurm', 'ray', 'skypilot']);
const NEEDED: Partial<Record<LaunchTarget, string>> = {
  ssh: 'give the hosts, such as { hosts: [node-1, node-2] }',
  kubernetes: 'give an image and the volumes, such as { image: registry/torch:1, volumes: { /data: claim } }',
};

/** Refuses what needs several machines where only this one is asked. */
export function refuseSeveralNodes(engine: { nodes?: number } | { name: 'native' }): void {
  const nodes = ('nodes' in engine && engine.nodes) || 1;
  if (nodes > 1)
    throw new ConfigError(
      `engine.torch.nodes is ${nodes}: continuo run --launch ${LAUNCH_TARGETS.join('|')} starts them; alone this machine is one.`,
    );
}

/** Where the run will be and what it needs; nothing is prepared. */
function jobOf(config: Config, engine: TorchEngine, target: LaunchTarget, runFolder: string, plan?: Plan): LaunchJob {
  const { nodes, gpus, trustRemoteCode, launch } = engine;
  const compiled = path.join(runFolder, 'job', 'job.json');
  const needs = fs.existsSync(compiled)
    ? pathsOf(readJob(path.dirname(compiled)))
    : [cacheFolder(config.folder), ...(config.model.kind === 'path' ? [config.model.path] : [])];
  return {
    name: config.name,
    runFolder,
    needs,
    nodes,
    gpus,
    trustRemoteCode,
    python: launch.python ?? interpreterFor(target),
    recompute: config.training.recompute ?? plan?.recompute ?? false,
    launch,
  };
}

/** Folders and files that a job reads outside its own folder. */
function pathsOf({ model, shards }: Job): string[] {
  return [...new Set([model, ...shards.map(({ prefix }) => path.dirname(prefix))])].sort();
}

/** Machines that share this one's disks share its interpreter; an image has its own. */
function interpreterFor(target: LaunchTarget): string {
  if (target === 'kubernetes' || target === 'skypilot') return 'python3';
  const setUp = pythonOf(environmentFolder());
  return process.env.CONTINUO_PYTHON ?? (fs.existsSync(setUp) ? setUp : 'python3');
}

function batchLaunch(job: LaunchJob, target: Exclude<LaunchTarget, 'ssh'>): BatchLaunch {
  const { slurm, ray, skypilot, kubernetes } = withTargets(job.launch);
  switch (target) {
    case 'slurm':
      return slurmLaunch(job, slurm);
    case 'kubernetes':
      return kubernetesLaunch(job, kubernetes!);
    case 'ray':
      return rayLaunch(job, ray);
    case 'skypilot':
      return skypilotLaunch(job, skypilot);
    default:
      return target satisfies never;
  }
}

function fileOf(job: LaunchJob, target: LaunchTarget): LaunchFile {
  return target === 'ssh' ? sshScript(job, job.launch.ssh!) : batchLaunch(job, target).file;
}

export interface LaunchWritten {
  target: LaunchTarget;
  text: string;
  /** Where the text was written; absent where it was only asked for. */
  file?: string;
  /** What submits or starts it. */
  command: string;
}

/** The file of a target, without preparing or starting anything. */
export function writeLaunch(configFile: string, target: LaunchTarget, out?: string): LaunchWritten {
  const config = loadConfig(configFile);
  const engine = launchOf(config, target);
  const runFolder = path.join(config.output, config.name);
  const job = jobOf(config, engine, target, runFolder);
  const { name, text } = fileOf(job, target);
  const file = path.resolve(out ?? path.join(launchFolder(runFolder), name));
  if (out !== undefined) writeFileAtomic(file, text);
  const submit = target === 'ssh' ? [['bash', file]] : batchLaunch(job, target).submit;
  const command = submit.map((words) => words.join(' ').replace(path.join(launchFolder(runFolder), name), file));
  return { target, text, ...(out !== undefined && { file }), command: command.join(' && ') };
}

export interface Launched {
  job: LaunchJob;
  target: LaunchTarget;
  file: string;
}

/** Puts beside the compiled job what the machines need: the worker's code and the launcher's file. */
export function prepareLaunch(
  config: Config,
  target: LaunchTarget,
  runFolder: string,
  plan: Plan,
  log: PipelineOptions['log'],
): Launched {
  const engine = launchOf(config, target);
  const job = jobOf(config, engine, target, runFolder, plan);
  refuseUnevenSteps(plan, job);
  const folder = launchFolder(runFolder);
  makeFolder(folder, 'making the folder of the launch');
  const copy = workerCopy(runFolder);
  fs.rmSync(copy, { recursive: true, force: true });
  fs.cpSync(workerFolder(), copy, { recursive: true, filter: (source) => !/(__pycache__|\.mypy_cache)$/.test(source) });
  fs.copyFileSync(requirementsFile(), path.join(folder, 'requirements.txt'));
  const { name, text } = fileOf(job, target);
  const file = path.join(folder, name);
  writeFileAtomic(file, text);
  if (job.nodes > 1) for (const warning of storageWarnings([runFolder, ...(job.needs ?? [])])) log?.(warning);
  return { job, target, file };
}

/** Known before hours in a queue. */
function refuseUnevenSteps(plan: Plan, { nodes, gpus }: LaunchJob): void {
  const ranks = nodes * gpus;
  const uneven = unevenStep(plan, ranks);
  if (uneven !== undefined)
    throw new ConfigError(
      `a step of ${uneven} sequences cannot be divided among ${ranks} ranks (${nodes} nodes of ${gpus}). Set training.batchTokens to a multiple of ${ranks * Math.max(...stepLengths(plan))}, or take other numbers.`,
    );
}

/** File systems that other machines do not see, unless this one exports them. */
const LOCAL_DISKS = new Set(['ext2', 'ext3', 'ext4', 'xfs', 'btrfs', 'zfs', 'tmpfs', 'overlay', 'apfs', 'f2fs']);

/** What can be told of shared storage from here: the kind of disk. Whether the machines mount it at the same path only they can tell. */
export function storageWarnings(paths: readonly string[], mounts = readMounts()): string[] {
  const local = paths.flatMap((one) => {
    const mount = mounts
      .filter(({ folder }) => isBelow(one, folder))
      .sort((a, b) => b.folder.length - a.folder.length)[0];
    return mount && LOCAL_DISKS.has(mount.type) ? [`${one} (${mount.type})`] : [];
  });
  if (local.length === 0) return [];
  return [
    `warning: several machines need the same files, and these are on a disk that looks like this machine's own: ${local.join(', ')}. Set output and CONTINUO_CACHE to shared storage, unless this disk is exported to all of them.`,
  ];
}

function isBelow(one: string, folder: string): boolean {
  return folder === '/' || one === folder || one.startsWith(`${folder}/`);
}

function readMounts(): { folder: string; type: string }[] {
  try {
    const lines = fs.readFileSync('/proc/self/mounts', 'utf8').trim().split('\n');
    return lines
      .map((line) => line.split(' '))
      .map(([, folder = '', type = '']) => ({ folder: folder.replaceAll('\\040', ' '), type }));
  } catch {
    return [];
  }
}

/** The engine's program where it is attended from here. */
export function attendedProgram({ job, target }: Launched): EngineProgram | undefined {
  return target === 'ssh' ? sshProgram(job.runFolder) : undefined;
}

// --- The job of a queue

interface Submitted {
  target: LaunchTarget;
  id: string;
  time: string;
  /** Where its messages begin. */
  offset: number;
}

const READ_MS = 500;
/** Queues ask to be asked seldom. */
const STATE_MS = 5000;
/** Queues are out of reach at times; one that does not know the job any more says so each time. */
const MAX_FAILED = 5;
/** How long what a job wrote may take to be seen here: NFS keeps what it knows of a file for up to a minute. */
const LAST_WORDS_MS = 60_000;

/**
 * Submits the job, or finds the one that was submitted before, and follows it to its end. Ctrl-C ends the following, not the job.
 * @throws ConfigError where the queue's tool is missing; what the job said was fatal; EngineError where it ended without a word
 */
export async function followBatch(
  { job, target, file }: Launched,
  options: PipelineOptions,
  onMessage: (message: EngineMessage) => void,
  { stateMs = STATE_MS, lastWordsMs = LAST_WORDS_MS } = {},
): Promise<Pick<SuperviseResult, 'status' | 'checkpoint'>> {
  const launch = batchLaunch(job, target as Exclude<LaunchTarget, 'ssh'>);
  const say = options.log ?? (() => {});
  const detached = new AbortController();
  const detach = () => detached.abort();
  process.on('SIGINT', detach).on('SIGTERM', detach);
  try {
    const submitted = (await earlier(launch, target, job)) ?? (await submit(launch, target, job, file));
    const { id } = submitted;
    say(`Job ${id} of ${target} (${file}). To stop it with a checkpoint: ${launch.stop(id)}`);
    const reader = new MessageReader(messagesFile(job.runFolder), submitted.offset);
    let askAt = performance.now() + stateMs;
    let overSince: number | undefined;
    let last: EngineMessage | undefined;
    let numFailed = 0;
    for (;;) {
      if (detached.signal.aborted) {
        say(`The job goes on; the same command follows it again. To stop it: ${launch.stop(id)}`);
        return { status: 'stopped', checkpoint: newest(job) };
      }
      for (const message of reader.read()) {
        last = message;
        onMessage(message);
        if (message.type === 'fatal') throw fatalError(message);
        if (message.type !== 'finished') continue;
        // The message may have come back before the checkpoint did.
        if (launch.fetch) await outcome(launch.fetch(id));
        return { status: 'finished', checkpoint: newest(job) };
      }
      if (overSince !== undefined) {
        // A job that was stopped may go on from the queue; one that is over does not.
        if (last?.type === 'stopped') return { status: 'stopped', checkpoint: newest(job) };
        if (performance.now() - overSince > lastWordsMs)
          throw new EngineError(endedWithoutWord(id, target, launch, job));
      } else if (performance.now() > askAt) {
        if (launch.fetch) await outcome(launch.fetch(id));
        const { stdout, succeeded } = await outcome(launch.state(id));
        numFailed = succeeded ? 0 : numFailed + 1;
        if (succeeded ? launch.isOver(stdout) : numFailed === MAX_FAILED) overSince = performance.now();
        askAt = performance.now() + stateMs;
      }
      await sleep(READ_MS, undefined, { signal: detached.signal }).catch(() => {});
    }
  } finally {
    process.off('SIGINT', detach).off('SIGTERM', detach);
  }
}

const newest = ({ runFolder }: LaunchJob) => listCheckpoints(runFolder).at(-1)?.folder;
const submittedFile = ({ runFolder }: LaunchJob) => path.join(launchFolder(runFolder), 'submitted.json');

/**
 * A job that is still there: it is not submitted twice.
 * @throws ConfigError where it is another queue's, unless that one says that it is over
 */
async function earlier(launch: BatchLaunch, target: LaunchTarget, job: LaunchJob): Promise<Submitted | undefined> {
  if (!fs.existsSync(submittedFile(job))) return undefined;
  const before = readJson<Submitted>(submittedFile(job));
  if (before.target !== target) {
    await refuseUnlessOver(before, job);
    return undefined;
  }
  const { stdout, succeeded } = await outcome(launch.state(before.id));
  return !succeeded || launch.isOver(stdout) ? undefined : before;
}

async function refuseUnlessOver({ target, id, time }: Submitted, job: LaunchJob): Promise<void> {
  const was = `this run was last submitted to ${target} as ${id} (${time})`;
  const isKnown = target !== 'ssh' && (job.launch[target] !== undefined || HAS_DEFAULTS.has(target));
  const other = isKnown ? batchLaunch(job, target) : undefined;
  const found = other && (await outcome(other.state(id)));
  if (found?.succeeded && other!.isOver(found.stdout)) return;
  if (found?.succeeded)
    throw new ConfigError(
      `${was}, and that job is not over: two jobs would write one run folder. Stop it with a checkpoint (${other!.stop(id)}) and give this command again, or follow it with --launch ${target}.`,
    );
  const why = found
    ? `${other!.state(id).join(' ')}: ${found.stderr.trim().split('\n').at(-1)}`
    : `engine.torch.launch.${target} is no longer in the file`;
  throw new ConfigError(
    `${was}, and whether that job is over cannot be asked (${why}). If it is: rm "${submittedFile(job)}", then this command again. If it is not, two jobs would write one run folder.`,
  );
}

async function submit(launch: BatchLaunch, target: LaunchTarget, job: LaunchJob, file: string): Promise<Submitted> {
  const messages = messagesFile(job.runFolder);
  const offset = fs.existsSync(messages) ? fs.statSync(messages).size : 0;
  const byHand = `The job is prepared; ${file} is written. Where ${target} is at hand: ${launch.submit.map((words) => words.join(' ')).join(' && ')}`;
  if (!isOnPath(launch.tool))
    throw new ConfigError(`--launch ${target}: ${launch.tool} is not on this machine's PATH. ${byHand}`);
  let printed = '';
  for (const words of launch.submit) {
    const { stdout, stderr, succeeded } = await outcome(words);
    if (!succeeded) throw new EngineError(`${words.join(' ')} failed: ${stderr.trim() || stdout.trim()}. ${byHand}`);
    printed = stdout;
  }
  const id = launch.idOf(printed);
  if (id === undefined)
    throw new EngineError(`${launch.submit.at(-1)!.join(' ')} printed no job's name: ${printed.trim() || '(nothing)'}`);
  const submitted: Submitted = { target, id, time: new Date().toISOString(), offset };
  writeJsonAtomic(submittedFile(job), submitted);
  return submitted;
}

interface Outcome {
  stdout: string;
  stderr: string;
  succeeded: boolean;
}

function isOnPath(tool: string): boolean {
  return (process.env.PATH ?? '').split(path.delimiter).some((folder) => fs.existsSync(path.join(folder, tool)));
}

async function outcome([command, ...args]: string[]): Promise<Outcome> {
  try {
    return { ...(await promisify(execFile)(command!, args)), succeeded: true };
  } catch (error) {
    const { stdout = '', stderr = '', message } = error as Error & { stdout?: string; stderr?: string };
    return { stdout, stderr: stderr || message, succeeded: false };
  }
}

/** Whole lines that were added to a file since the last look. */
class MessageReader {
  private readonly file: string;
  private offset: number;

  constructor(file: string, offset: number) {
    this.file = file;
    this.offset = offset;
  }

  read(): EngineMessage[] {
    if (!fs.existsSync(this.file)) return [];
    const fd = fs.openSync(this.file, 'r');
    try {
      const bytes = Buffer.alloc(Math.max(0, fs.fstatSync(fd).size - this.offset));
      const text = bytes.subarray(0, fs.readSync(fd, bytes, 0, bytes.length, this.offset));
      const end = text.lastIndexOf('\n') + 1;
      this.offset += end;
      return text
        .subarray(0, end)
        .toString('utf8')
        .split('\n')
        .flatMap((line) => {
          try {
            return [JSON.parse(line) as EngineMessage];
          } catch {
            // Two ranks that fail at once may write into each other's line.
            return [];
          }
        });
    } finally {
      fs.closeSync(fd);
    }
  }
}

function endedWithoutWord(id: string, target: LaunchTarget, launch: BatchLaunch, job: LaunchJob): string {
  const checkpoint = newest(job);
  const stands = checkpoint
    ? `The newest checkpoint is ${checkpoint}; the same command goes on from it`
    : 'There is no checkpoint yet; the same command starts again';
  return `job ${id} of ${target} ended without finishing. What it printed: ${launch.logs(id)}. ${stands}.`;
}
