// What a launcher is given and what it makes.
import type { LaunchConfig, Recompute } from '../../config/index.ts';

/** A compiled job that is to run elsewhere. All paths are absolute and the same on every machine. */
export interface LaunchJob {
  name: string;
  runFolder: string;
  /** Model, shards and caches that the job reads beside its run folder; undefined while it is not compiled. */
  needs?: string[];
  nodes: number;
  gpus: number;
  /** The interpreter on the machines. */
  python: string;
  recompute: Recompute;
  /** The model's own Python files may be run. */
  trustRemoteCode: boolean;
  launch: LaunchConfig;
}

/** A file for people and for the tool that takes it. */
export interface LaunchFile {
  /** In the run folder's `launch/`. */
  name: string;
  text: string;
}

/** A job that a queue runs, with nobody at its other end: commands for what the queue's own tool does. */
export interface BatchLaunch {
  file: LaunchFile;
  /** The queue's own program, which must be on the PATH. */
  tool: string;
  /** One after the other; what the last one prints names the job. */
  submit: string[][];
  idOf(output: string): string | undefined;
  state(id: string): string[];
  /** From what `state` printed. */
  isOver(output: string): boolean;
  /** For people: stops the job in good order. */
  stop(id: string): string;
  /** For people: shows what the job printed. */
  logs(id: string): string;
  /** Brings what the run folder holds there; absent: it is the same folder. */
  fetch?(id: string): string[];
}

export const launchFolder = (runFolder: string): string => `${runFolder}/launch`;
/** What rank 0 says, a JSON object a line: the engine contract's messages. */
export const messagesFile = (runFolder: string): string => `${launchFolder(runFolder)}/messages.jsonl`;
/** The worker's Python code, beside the job, so that all machines run the same. */
export const workerCopy = (runFolder: string): string => `${launchFolder(runFolder)}/worker`;
