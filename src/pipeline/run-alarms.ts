// A run's alarms at work: hears of every step and measurement while the engine waits, and does what an alarm asks for. Order, blend and LR
// are changed by amending the job, so that a resumed run does the same again; each alarm is a line of events.jsonl, written after what it
// did, so that after a crash it is either done and recorded or comes anew.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ConfigError, isUserError } from '../base/errors.ts';
import { fileStamp, writeAll } from '../base/files.ts';
import type { AlarmAction } from '../config/index.ts';
import {
  type Answer,
  type Attended,
  checkpointName,
  type EngineControl,
  type Fatal,
  isKept,
  listCheckpoints,
} from '../engine/index.ts';
import type { Plan } from '../recipe/index.ts';
import { type Alarm, type AlarmWatch, alarmsOf, makeWatch, measurementsAt, readRun } from '../runs/index.ts';
import { JobAmender } from '../shards/index.ts';
import type { PipelineOptions } from './types.ts';

/** What lower-lr multiplies the LR with, from the next step to the end. */
const LR_FACTOR = 0.5;
/** What raise-replay multiplies the general share with, what it adds at least, and where it ends. */
const REPLAY = { factor: 2, least: 0.05, most: 0.5 };
/** Rollbacks so near to each other that the next one would not help either: the run is stopped. */
const MAX_ROLLBACKS = 3;
const ROLLBACK_STEPS = 100;
/** How often the disk is looked at, a pause for its end, and a checkpoint for being whole. */
const DISK_MS = 5000;
const PAUSE_MS = 500;
const KEPT_MS = 20;
const WEBHOOK_MS = 10_000;

/** A line of events.jsonl. */
interface AlarmEvent {
  time: string;
  type: 'alarm';
  step: number;
  alarm: string;
  subject?: string;
  value: number;
  limit: number;
  message: string;
  /** What was done, in words. */
  done: string[];
  /** Steps completed where the run went on from, after a rollback. */
  rolledBackTo?: number;
}

/** What the actions of an alarm come to. */
interface Outcome {
  done: string[];
  pause: boolean;
  stop: boolean;
  /** Batches to leave out, going back to before them. */
  skip?: { first: number; last: number };
}

export class RunAlarms {
  private readonly runFolder: string;
  private readonly plan: Plan;
  private readonly options: PipelineOptions;
  private readonly webhook: string | undefined;
  private watch: AlarmWatch;
  private amender: JobAmender | undefined;
  private lastDiskLook = -Infinity;
  /** Alarms that are recorded, by name, subject and step: a resumed run comes by them again. */
  private readonly known = new Set<string>();
  private readonly rollbacks: number[] = [];
  /** From what is measured beside the training: due at the next step. */
  private waiting: Alarm[] = [];
  private readonly posts: Promise<void>[] = [];

  /**
   * @param plan one with alarms
   * @throws ConfigError where the webhook's address is not in the environment
   */
  constructor(runFolder: string, plan: Plan, options: PipelineOptions) {
    this.runFolder = runFolder;
    this.plan = plan;
    this.options = options;
    this.webhook = addressOf(plan.alarms!.webhook);
    this.watch = this.newWatch();
    for (const event of readRun(runFolder).events)
      if (event.type === 'alarm') this.remember(event as unknown as AlarmEvent);
  }

  private newWatch(): AlarmWatch {
    return makeWatch(this.runFolder, this.plan);
  }

  private remember({ alarm, subject, step, rolledBackTo }: AlarmEvent): void {
    this.known.add(keyOf({ alarm, subject, step }));
    if (rolledBackTo === undefined) return;
    this.rollbacks.push(step);
    // The steps after it are another history.
    for (const key of this.known) if (Number(key.split('\n')[2]) > rolledBackTo) this.known.delete(key);
  }

  /**
   * The engine begins, or begins again, after `step` steps: what is recorded up to there is taken in. An alarm among it that a crash, or
   * limits that were set later, kept from being recorded is noted; to act is too late. `done`: what is noted.
   */
  begin(step: number, done = 'heard only when the run went on'): void {
    this.watch = this.newWatch();
    for (const alarm of alarmsOf(this.runFolder, this.watch, step))
      if (!this.known.has(keyOf(alarm))) this.record(alarm, { done: [done] });
  }

  /** What the engine is told after a step or a measurement. */
  async attend(message: Attended, engine: EngineControl): Promise<Answer> {
    const step = message.type === 'step' ? message.step + 1 : message.step;
    const alarms =
      message.type === 'step' ? this.watch.step(message) : measurementsAt(this.runFolder, step, this.watch);
    const all = [...this.waiting, ...alarms, ...(message.type === 'step' ? this.lookAtDisk(step) : [])];
    this.waiting = [];
    return this.answer(all, step, engine);
  }

  /** Tasks have been measured after `step` steps. What follows from it waits until the engine does. */
  measured(step: number): void {
    this.waiting.push(...measurementsAt(this.runFolder, step, this.watch, { onlyTasks: true }));
  }

  /** What the engine is told at a pause. */
  async atPause(step: number, engine: EngineControl): Promise<Answer> {
    const alarms = this.waiting;
    this.waiting = [];
    return this.answer(alarms, step, engine);
  }

  /** A loss or gradient that is not a number. @returns whether the engine is to be started again */
  onFatal({ nonFiniteStep: step, message }: Fatal): boolean {
    const setting = this.plan.alarms!.watch.nonFinite;
    if (step === undefined || !setting) return false;
    const rollsBack = setting.actions.includes('rollback');
    const steps = { first: step, last: step };
    const values = /\(loss [^)]*\)/.exec(message)?.[0] ?? '';
    const alarm: Alarm = {
      ...{ alarm: 'nonFinite', value: 0, limit: 0, severity: 1, steps, step, actions: setting.actions },
      message: `step ${step + 1}: the loss or the gradient norm is not a number ${values}`.trim(),
    };
    const outcome: Outcome = { done: [], pause: false, stop: false };
    if (setting.actions.includes('webhook')) this.post(alarm, outcome);
    if (!rollsBack || !this.mayRollBack(step, outcome) || !this.act(outcome, () => this.leaveOut(steps, alarm))) {
      this.record(alarm, outcome);
      return false;
    }
    this.record(alarm, outcome, newestCheckpoint(this.runFolder, step));
    return true;
  }

  /** Records what came after the last step, and waits for what is on its way to a webhook. */
  async finish(): Promise<void> {
    for (const alarm of this.waiting) this.record(alarm, { done: ['heard when the run was over'] });
    this.waiting = [];
    await Promise.all(this.posts);
  }

  private lookAtDisk(step: number): Alarm[] {
    const now = performance.now();
    if (now - this.lastDiskLook < DISK_MS || !this.plan.alarms!.watch.disk) return [];
    this.lastDiskLook = now;
    const { bavail, bsize } = fs.statfsSync(this.runFolder);
    return this.watch.disk(step, bavail * bsize, checkpointBytes(this.plan, this.runFolder));
  }

  private async answer(alarms: readonly Alarm[], step: number, engine: EngineControl): Promise<Answer> {
    const fresh = alarms.filter((alarm) => !this.known.has(keyOf(alarm)));
    let answer: Answer = 'continue';
    for (const alarm of fresh) {
      const outcome = this.take(alarm, step, engine);
      if (outcome.skip) {
        const { skip } = outcome;
        if (alarm.actions.includes('checkpoint')) await this.untilKept(step, engine);
        const to = newestCheckpoint(this.runFolder, skip.first);
        return {
          restart: () => {
            this.rollBack(skip, alarm);
            this.record(alarm, outcome, to);
          },
        };
      }
      this.record(alarm, outcome);
      if (outcome.pause && !outcome.stop) await this.pause(alarm, step, engine);
      if (outcome.stop) answer = 'stop';
    }
    return answer;
  }

  /** Does all that an alarm asks for, but for waiting and ending. */
  private take(alarm: Alarm, step: number, engine: EngineControl): Outcome {
    const outcome: Outcome = { done: [], pause: false, stop: false };
    for (const action of alarm.actions) this.takeOne(action, alarm, step, engine, outcome);
    return outcome;
  }

  private takeOne(action: AlarmAction, alarm: Alarm, step: number, engine: EngineControl, outcome: Outcome): void {
    switch (action) {
      case 'note':
        return;
      case 'checkpoint':
      case 'pause':
      case 'stop':
        if (action !== 'stop' && step > 0) engine.checkpoint();
        if (action !== 'checkpoint') outcome[action] = true;
        outcome.done.push({ checkpoint: 'checkpoint kept', pause: 'paused', stop: 'stopped' }[action]);
        return;
      case 'lower-lr':
        this.act(outcome, () => this.lowerLr(alarm, step));
        return;
      case 'raise-replay':
        this.act(outcome, () => this.raiseReplay(alarm, step));
        return;
      case 'rollback': {
        const { steps } = alarm;
        if (!steps) outcome.done.push('not rolled back: no batch is known that it came from');
        else if (this.mayRollBack(step, outcome)) {
          outcome.skip = steps;
          outcome.done.push(this.rollbackText(steps));
        }
        return;
      }
      case 'webhook':
        this.post(alarm, outcome);
        return;
      default:
        action satisfies never;
    }
  }

  /** What cannot be done is said, and the run goes on. @returns whether it was done */
  private act(outcome: Outcome, action: () => string): boolean {
    try {
      outcome.done.push(action());
      return true;
    } catch (error) {
      if (!isUserError(error)) throw error;
      outcome.done.push(error.message);
      return false;
    }
  }

  private get job(): JobAmender {
    this.amender ??= new JobAmender(path.join(this.runFolder, 'job'));
    return this.amender;
  }

  private lowerLr(alarm: Alarm, step: number): string {
    const reason = `LR lowered: ${reasonOf(alarm)}`;
    const { view } = this.job;
    if (step >= view.job.numSteps) throw new ConfigError('LR not lowered: the run has no more steps');
    // Done by an earlier life of the run, which did not come to record it.
    if (!view.amendments.some((one) => one.fromStep === step && one.reason === reason))
      this.job.amend({ fromStep: step, reason, lrFactor: LR_FACTOR * view.lrFactorAt(step) });
    return `LR times ${Number(this.job.view.lrFactorAt(step).toPrecision(3))} from step ${step + 1} on`;
  }

  private raiseReplay(alarm: Alarm, step: number): string {
    const reason = `replay raised: ${reasonOf(alarm)}`;
    const { view } = this.job;
    if (this.plan.mixing) throw new ConfigError('replay not raised: mixing decides the shares of this run');
    const { shards } = view.job;
    const general = this.plan.corpora.filter(
      ({ name, role }) =>
        role === 'general' && shards.some(({ corpus, split }) => corpus === name && split === 'train'),
    );
    if (general.length === 0) throw new ConfigError('replay not raised: there is no general corpus to train on');
    const ends = this.orderedSteps(step);
    if (ends <= step) throw new ConfigError('replay not raised: the run has no more steps');
    if (!view.amendments.some((one) => one.fromStep === step && one.reason === reason))
      this.job.amend({ fromStep: step, reason, parts: this.parts(step, ends, (blend) => withReplay(blend, general)) });
    const share = general.reduce((sum, { name }) => sum + (this.job.view.blendAt(step)[name] ?? 0), 0);
    return `general text is ${Number((100 * share).toPrecision(3))} % of the tokens from step ${step + 1} on`;
  }

  /** Where the order that is decided ends. */
  private orderedSteps(step: number): number {
    const { view } = this.job;
    let end = step;
    while (end < view.job.numSteps && view.layerAt(end)) end++;
    return end;
  }

  /** The blends of steps, as they stand or changed, in stretches of equal ones. */
  private parts(
    from: number,
    until: number,
    change: (blend: Record<string, number>) => Record<string, number> = (x) => x,
  ) {
    const { view } = this.job;
    const parts: { numSteps: number; blend: Record<string, number> }[] = [];
    for (let step = from; step < until; step++) {
      const blend = change(view.blendAt(step));
      const last = parts.at(-1);
      if (last && JSON.stringify(last.blend) === JSON.stringify(blend)) last.numSteps++;
      else parts.push({ numSteps: 1, blend });
    }
    return parts;
  }

  private mayRollBack(step: number, outcome: Outcome): boolean {
    if (this.rollbacks.filter((other) => Math.abs(other - step) <= ROLLBACK_STEPS).length < MAX_ROLLBACKS) return true;
    outcome.stop = true;
    outcome.done.push(`stopped: ${MAX_ROLLBACKS} rollbacks within ${ROLLBACK_STEPS} steps have not helped`);
    return false;
  }

  private rollbackText({ first, last }: { first: number; last: number }): string {
    const batches =
      first === last ? `the batch of step ${first + 1}` : `the batches of steps ${first + 1} to ${last + 1}`;
    return `rolled back to step ${newestCheckpoint(this.runFolder, first)}; ${batches} left out`;
  }

  /** Takes the run back to before the batches, whose place what follows takes. The engine is not running. */
  private rollBack(steps: { first: number; last: number }, alarm: Alarm): void {
    const aside = path.join(this.runFolder, `rolled-back-${fileStamp()}`);
    const moveAside = (from: string) => {
      fs.mkdirSync(aside, { recursive: true });
      fs.renameSync(from, path.join(aside, path.basename(from)));
    };
    for (const { step, folder } of listCheckpoints(this.runFolder))
      if (step > steps.first) {
        if (isKept(folder)) moveAside(folder);
        else fs.rmSync(folder, { recursive: true });
      }
    const evals = path.join(this.runFolder, 'evals');
    for (const name of fs.existsSync(evals) ? fs.readdirSync(evals) : [])
      if (Number(/step-(\d+)/.exec(name)?.[1]) > steps.first) moveAside(path.join(evals, name));
    this.leaveOut(steps, alarm);
  }

  private leaveOut(steps: { first: number; last: number }, alarm: Alarm): string {
    const { first, last } = steps;
    const text = this.rollbackText(steps);
    const parts = this.parts(first, this.orderedSteps(first));
    this.job.amend({ fromStep: first, reason: `batches left out: ${reasonOf(alarm)}`, parts, skipUntil: last + 1 });
    return text;
  }

  private record(alarm: Alarm, { done }: Pick<Outcome, 'done'>, rolledBackTo?: number): void {
    const { step, subject, value, limit, message } = alarm;
    const event: AlarmEvent = {
      ...{ time: new Date().toISOString(), type: 'alarm', step, alarm: alarm.alarm },
      ...(subject && { subject }),
      ...{ value, limit, message, done },
      ...(rolledBackTo !== undefined && { rolledBackTo }),
    };
    const fd = fs.openSync(path.join(this.runFolder, 'events.jsonl'), 'a');
    writeAll(fd, Buffer.from(`${JSON.stringify(event)}\n`));
    fs.closeSync(fd);
    this.remember(event);
    this.options.log?.(`ALARM at step ${step}: ${message}.${done.length > 0 ? ` ${done.join('; ')}.` : ''}`);
  }

  private async pause(alarm: Alarm, step: number, { gone }: EngineControl): Promise<void> {
    const file = path.join(this.runFolder, 'continue');
    fs.rmSync(file, { force: true });
    this.options.log?.(
      `Paused after step ${step} by the alarm ${alarm.alarm}. \`touch ${file}\` goes on, Ctrl-C ends it; the same command goes on from there.`,
    );
    while (!gone.aborted && !fs.existsSync(file)) await sleep(PAUSE_MS);
    fs.rmSync(file, { force: true });
  }

  /** The engine is about to be ended: a checkpoint that was asked for has to be whole by then. */
  private async untilKept(step: number, { gone }: EngineControl): Promise<void> {
    const folder = path.join(this.runFolder, 'checkpoints', checkpointName(step));
    while (step > 0 && !gone.aborted && !isKept(folder)) await sleep(KEPT_MS);
  }

  private post(alarm: Alarm, outcome: Outcome): void {
    const { step, subject, value, limit, message } = alarm;
    const body = { run: this.plan.name, step, alarm: alarm.alarm, subject, value, limit, message };
    outcome.done.push('webhook called');
    this.posts.push(
      fetch(this.webhook!, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
        redirect: 'error',
        signal: AbortSignal.timeout(WEBHOOK_MS),
      }).then(
        ({ ok, status }) => {
          if (!ok) this.options.log?.(`warning: the webhook answered ${status}.`);
        },
        // The address may hold a secret: it is not said.
        (error: Error) => this.options.log?.(`warning: the webhook could not be called: ${error.message}`),
      ),
    );
  }
}

/** Steps completed of the newest checkpoint that a step can be reached from; 0: the model that the run began with. */
function newestCheckpoint(runFolder: string, step: number): number {
  return listCheckpoints(runFolder).findLast((checkpoint) => checkpoint.step <= step)?.step ?? 0;
}

function keyOf({ alarm, subject = '', step }: { alarm: string; subject?: string; step: number }): string {
  return `${alarm}\n${subject}\n${step}`;
}

function reasonOf({ alarm, subject, step }: Alarm): string {
  return `alarm ${alarm}${subject ? ` (${subject})` : ''} at step ${step}`;
}

/** More of the general corpora, in their proportions (by size where the blend has none of them), less of all others in theirs. */
function withReplay(
  blend: Record<string, number>,
  general: readonly { name: string; numTokens: number }[],
): Record<string, number> {
  const shareOf = (name: string) => blend[name] ?? 0;
  const now = general.reduce((sum, { name }) => sum + shareOf(name), 0);
  const share = Math.max(now, Math.min(REPLAY.most, Math.max(REPLAY.factor * now, now + REPLAY.least)));
  const size = general.reduce((sum, { numTokens }) => sum + numTokens, 0);
  const names = new Set(general.map(({ name }) => name));
  const others = Object.entries(blend).filter(([name]) => !names.has(name));
  // Others keep what is left, so that the shares add up to 1.
  return Object.fromEntries([
    ...others.map(([name, other]) => [name, (other * (1 - share)) / (1 - now)]),
    ...general.map(({ name, numTokens }) => [
      name,
      now > 0 ? (shareOf(name) * share) / now : (share * numTokens) / size,
    ]),
  ]);
}

/** What the next checkpoint takes: as much as the newest one, before it as much as the plan's memory for weights and moments. */
function checkpointBytes({ expected }: Plan, runFolder: string): number {
  const newest = listCheckpoints(runFolder).at(-1);
  if (!newest) return expected.memory.stateBytes;
  const files = fs
    .readdirSync(newest.folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile());
  return files.reduce((sum, entry) => sum + fs.statSync(path.join(entry.parentPath, entry.name)).size, 0);
}

function addressOf(webhook: string | undefined): string | undefined {
  if (!webhook?.startsWith('env:')) return webhook;
  const name = webhook.slice('env:'.length);
  const address = process.env[name];
  if (!address || !/^https?:\/\//.test(address))
    throw new ConfigError(
      `alarms.webhook: ${address ? `the variable ${name} holds no http or https address` : `there is no variable ${name} in the environment`}. Set it, as in ${name}=https://... continuo run continuo.yaml.`,
    );
  return address;
}
