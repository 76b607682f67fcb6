// Tasks in the loop of a run: its model is put to them before the first step, at pauses on the way, and after the last, each time by a
// process of its own, so that a fault in one leaves the training alone.
import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { entryFile } from '../base/entry.ts';
import { EngineError } from '../base/errors.ts';
import { checkpointName, tasksFile } from '../engine/index.ts';
import type { Plan } from '../recipe/index.ts';
import type { PipelineOptions } from './types.ts';

/** With at least so many cores, training and measuring have room beside each other. */
const CORES_FOR_BOTH = 16;
/** Share of the cores that measuring beside the training takes. */
const SHARE_BESIDE = 1 / 4;

/** What the process is handed, as JSON. */
export interface TaskProcessRequest {
  model: string;
  tasks: Omit<NonNullable<Plan['evaluation']['tasks']>, 'atSteps' | 'beside'>;
  seed: number;
  /** Written when all is measured: the report, and a folder of samples, a JSONL file a task. */
  reportFile: string;
  samplesFolder: string;
  threads: number;
  quiet: boolean;
}

export class RunTasks {
  private readonly runFolder: string;
  private readonly plan: Plan;
  private readonly options: PipelineOptions;
  private readonly onMeasured: (step: number) => void;
  /** Measurements beside the training, one after the other. */
  private beside: Promise<void> = Promise.resolve();

  /** @param plan one with tasks; @param onMeasured called when results of a step have been added */
  constructor(runFolder: string, plan: Plan, options: PipelineOptions, onMeasured: (step: number) => void = () => {}) {
    this.runFolder = runFolder;
    this.plan = plan;
    this.options = options;
    this.onMeasured = onMeasured;
  }

  /**
   * What the tasks find after `step` steps, in evals/; what is there already stays.
   * @throws EngineError where the process ended early; what it had to say stands on stderr
   */
  async measure(
    step: number,
    model: string,
    threads = this.options.threads ?? os.availableParallelism(),
  ): Promise<void> {
    const reportFile = tasksFile(this.runFolder, step);
    if (fs.existsSync(reportFile)) return;
    const { atSteps: _, beside: __, ...tasks } = this.plan.evaluation.tasks!;
    this.options.log?.(`Putting step ${step} to the tasks ${tasks.names.join(', ')}.`);
    await runProcess({
      model,
      tasks,
      seed: this.plan.seed,
      reportFile,
      samplesFolder: path.join(this.runFolder, 'evals', `samples-${checkpointName(step)}`),
      threads,
      quiet: this.options.quiet ?? false,
    });
    this.onMeasured(step);
  }

  /** At a pause of the engine: it may go on when this is settled. */
  async atPause(step: number, checkpoint: string): Promise<void> {
    const cores = os.availableParallelism();
    if (!(this.plan.evaluation.tasks!.beside ?? cores >= CORES_FOR_BOTH)) return this.measure(step, checkpoint);
    this.besideTraining(step, checkpoint);
  }

  /** Takes hold of the checkpoint and measures it when those before it are measured. */
  besideTraining(step: number, checkpoint: string): void {
    const cores = os.availableParallelism();
    // The run may remove the checkpoint before it is measured.
    const copy = path.join(this.runFolder, 'evals', `pending-${checkpointName(step)}`);
    const linked = new Promise<void>((resolve) => resolve(linkModel(checkpoint, copy)));
    linked.catch(() => {});
    this.beside = this.beside
      .then(() => linked)
      .then(() => this.measure(step, copy, Math.max(1, Math.floor(cores * SHARE_BESIDE))))
      .catch((error: Error) => this.options.log?.(`warning: step ${step} could not be measured: ${error.message}`))
      .finally(() => fs.rmSync(copy, { recursive: true, force: true }));
  }

  /** Waits for what is measured beside the training. */
  finish(): Promise<void> {
    return this.beside;
  }
}

/** A model folder's files under a second name: no copy of the bytes. */
function linkModel(from: string, to: string): void {
  fs.rmSync(to, { recursive: true, force: true });
  fs.mkdirSync(to, { recursive: true });
  for (const entry of fs.readdirSync(from, { withFileTypes: true }))
    if (entry.isFile()) fs.linkSync(path.join(from, entry.name), path.join(to, entry.name));
}

function runProcess(request: TaskProcessRequest): Promise<void> {
  const args = [entryFile(import.meta.url, './tasks-process.ts'), JSON.stringify(request)];
  // stdin ends with this process, and with it the child: nothing goes on measuring for nobody.
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'ignore', 'inherit'] });
  const listen = () => {
    process.on('SIGINT', stop);
    process.on('SIGTERM', stop);
  };
  const unlisten = () => {
    process.off('SIGINT', stop);
    process.off('SIGTERM', stop);
  };
  const stop = (signal: NodeJS.Signals) => {
    child.kill(signal);
    unlisten();
    // Where no engine is to be stopped first, the signal does what it does without us.
    if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
  };
  listen();
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      unlisten();
      if (code === 0) resolve();
      else reject(new EngineError(`the tasks were not measured: the process ended with ${signal ?? `code ${code}`}.`));
    });
  });
}
