// The native engine: a child process that executes one job folder on this machine. It decides nothing: LR and order of samples come from files.
// Usage: node native-engine.js JOB_FOLDER [--threads N] [--recompute] [--profile STEPS] [--attended]. Started again on a run with checkpoints, it goes on from the newest.
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { ConfigError, DataError, EngineError, isUserError } from '../base/errors.ts';
import { explainSystemError, writeAll, writeJsonAtomic } from '../base/files.ts';
import { memoryLimit, peakMemory } from '../base/machine.ts';
import { formatBytes } from '../base/units.ts';
import { openModel } from '../checkpoint/index.ts';
import { type AnchorOptions, pickKernels, traceKernels } from '../kernels/index.ts';
import {
  adamwStep,
  addLora,
  type Decoder,
  freezeTensors,
  gradNorm,
  loadDecoder,
  type Parameter,
  prepareEma,
  prepareTraining,
  RouterStep,
  stopTokens,
  updateEma,
  withEma,
} from '../nn/index.ts';
import { type JobReader, openJob, type Sequence } from '../shards/index.ts';
import { Answers } from './answers.ts';
import { bestCheckpoint, tasksFile } from './best.ts';
import {
  beginWithAdapter,
  type CheckpointContext,
  checkpointName,
  keepCheckpoint,
  listCheckpoints,
  removeLeftovers,
  restoreCheckpoint,
  saveCheckpoint,
} from './checkpoints.ts';
import { scoreSet, toBatch } from './evaluate.ts';
import { comparesGradients, GradientDots, byCorpus as sequencesByCorpus } from './gradient-dots.ts';
import { preparePenalty } from './guard.ts';
import { lockRun } from './lock.ts';
import { Profiler, phase } from './profile.ts';
import {
  type EngineMessage,
  type EvalDocumentsResult,
  type EvalResult,
  EXIT_FATAL,
  EXIT_FINISHED,
  EXIT_STOPPED,
  type ExpertMetrics,
  PROTOCOL_VERSION,
  type StepMetrics,
  type WritingRecord,
} from './protocol.ts';
import { countTargets, TokenLosses } from './token-losses.ts';
import { writeSamples, writingFile } from './writing.ts';

function send(message: EngineMessage): void {
  try {
    writeAll(1, Buffer.from(`${JSON.stringify(message)}\n`));
  } catch (error) {
    // Nobody reads any more: the parent went away.
    if ((error as NodeJS.ErrnoException).code === 'EPIPE') process.exit(EXIT_STOPPED);
    throw error;
  }
}

/** Leaves an evaluation that a signal cut short: it is made again when the run goes on. */
class Interrupted extends Error {}

/** Appends whole lines; a line torn by an earlier crash is closed first. */
class LineLog {
  private readonly fd: number;
  private readonly file: string;

  constructor(file: string) {
    this.file = file;
    try {
      this.fd = fs.openSync(file, 'a+');
    } catch (error) {
      throw explainSystemError(error, file, 'opening it');
    }
    const { size } = fs.fstatSync(this.fd);
    const last = Buffer.alloc(1);
    if (size > 0 && fs.readSync(this.fd, last, 0, 1, size - 1) === 1 && last[0] !== 10) this.write('\n');
  }

  append(value: object): void {
    this.write(`${JSON.stringify(value)}\n`);
  }

  private write(text: string): void {
    try {
      writeAll(this.fd, Buffer.from(text));
    } catch (error) {
      throw explainSystemError(error, this.file, 'appending to it');
    }
  }
}

const breathe = () => new Promise<void>((resolve) => setImmediate(resolve));

/** Set by signals and by the parent's going away; looked at between steps. */
let stopRequested = false;
const answers = new Answers();

function watchParentAndSignals(): void {
  process.stdin.on('end', () => process.exit(EXIT_STOPPED));
  process.stdin.on('error', () => process.exit(EXIT_STOPPED));
  createInterface({ input: process.stdin }).on('line', (line) => answers.push(line));
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.on(signal, () => {
      if (stopRequested) process.exit(EXIT_STOPPED);
      stopRequested = true;
      answers.stop();
    });
}

interface EngineOptions {
  threads: number;
  recompute: boolean;
  /** Steps to trace; 0: none. */
  profileSteps: number;
  /** Somebody attends the run and answers after each step and measurement. */
  attended: boolean;
}

class Training {
  private readonly reader: JobReader;
  private readonly decoder: Decoder;
  private readonly tokenLosses: TokenLosses;
  private readonly context: Omit<CheckpointContext, 'record' | 'exportEma' | 'jobFingerprint'>;
  private readonly source;
  private readonly metrics: LineLog;
  private readonly events: LineLog;
  private readonly runFolder: string;
  private readonly penalty: AnchorOptions | undefined;
  private readonly profileSteps: number;
  private readonly attended: boolean;
  private profiler: Profiler | undefined;
  private tokens = 0;

  constructor(runFolder: string, reader: JobReader, { threads, recompute, profileSteps, attended }: EngineOptions) {
    const { job } = reader;
    this.runFolder = runFolder;
    this.reader = reader;
    this.profileSteps = profileSteps;
    this.attended = attended;
    const kernels = profileSteps > 0 ? traceKernels(pickKernels()) : pickKernels();
    kernels.setNumThreads(threads);
    send({
      type: 'hello',
      protocol: PROTOCOL_VERSION,
      engine: 'native',
      kernels: kernels.variant,
      threads: kernels.numThreads,
      pid: process.pid,
    });
    this.source = openModel(job.model);
    this.decoder = loadDecoder(this.source, job.precision, kernels);
    this.decoder.recompute = recompute;
    if (job.lora) addLora(this.decoder, { ...job.lora, seed: job.seed });
    if (job.lora?.from) beginWithAdapter(this.decoder, job.lora.from);
    if (job.freeze) freezeTensors(this.decoder, job.freeze);
    prepareTraining(this.decoder.trained());
    this.tokenLosses = new TokenLosses(job, this.decoder);
    for (const parameter of this.decoder.embeddings()) parameter.lrFactor = job.optimizer.embeddingLrFactor;
    this.penalty = preparePenalty(reader, this.decoder, this.source);
    if (job.ema !== undefined) prepareEma(this.decoder.trained(), kernels);
    const lora = job.lora && { settings: { ...job.lora, seed: job.seed }, base: job.model };
    const { keep, always = [], best } = job.checkpoint;
    this.context = {
      ...{ runFolder, keep, lora },
      always: () => [...always, ...(best ? [bestCheckpoint(runFolder, best)?.step ?? -1] : [])],
    };
    this.metrics = new LineLog(path.join(runFolder, 'metrics.jsonl'));
    this.events = new LineLog(path.join(runFolder, 'events.jsonl'));
  }

  event(type: string, fields: object = {}): void {
    this.events.append({ time: new Date().toISOString(), type, ...fields });
  }

  /** Kept in the run's events and, by way of stderr, said to the user. */
  private warn(message: string): void {
    this.event('warning', { message });
    process.stderr.write(`warning: ${message}\n`);
  }

  async run(): Promise<number> {
    const { job } = this.reader;
    let step = this.resume();
    const kernels = this.decoder.kernels;
    this.event(step > 0 ? 'resume' : 'start', {
      step,
      engine: 'native',
      kernels: kernels.variant,
      threads: kernels.numThreads,
      machine: os.cpus()[0]?.model.trim(),
    });
    send({ type: step > 0 ? 'resume' : 'start', step, numSteps: job.numSteps });
    if (this.profileSteps > 0 && step < job.numSteps)
      this.profiler = new Profiler(this.profileSteps, job.numSteps - step, {
        kernels: kernels.variant,
        threads: kernels.numThreads,
        tokensPerStep: job.batch.sequencesPerStep * job.batch.seqLen,
      });
    await this.evaluate(step);
    while (step < job.numSteps && (await this.hasOrder(step))) {
      this.announcePhase(step);
      const metrics = this.profiler ? this.profiledStep(this.profiler, step) : this.step(step);
      step++;
      this.metrics.append(metrics);
      await this.tell(step, { type: 'step', ...metrics });
      await breathe();
      if (this.isCheckpointDue(step)) await this.checkpoint(step);
      await this.evaluate(step);
      await this.pause(step);
    }
    if (step < job.numSteps || this.isEvaluationDue(step)) return this.stop(step);
    const folder = path.join(this.runFolder, 'checkpoints', checkpointName(job.numSteps));
    // Again, now with the checkpoints and evaluations that followed.
    this.profiler?.write(this.runFolder);
    this.event('finish', { step, ...this.memory() });
    send({ type: 'finished', step, folder });
    return EXIT_FINISHED;
  }

  private isCheckpointDue(step: number): boolean {
    const { numSteps, checkpoint } = this.reader.job;
    return (
      step === numSteps ||
      step % checkpoint.everySteps === 0 ||
      (checkpoint.always ?? []).includes(step) ||
      this.isPauseDue(step) ||
      // Any step that is measured may turn out to be the best.
      (checkpoint.best !== undefined && this.isEvaluationDue(step))
    );
  }

  private async stop(step: number): Promise<number> {
    if (step > 0) await this.checkpoint(step);
    this.event('stop', { step, ...this.memory() });
    send({ type: 'stopped', step });
    return EXIT_STOPPED;
  }

  private isPauseDue(step: number): boolean {
    return (this.reader.job.evaluation.pauses ?? []).includes(step) && !fs.existsSync(tasksFile(this.runFolder, step));
  }

  /** Waits while somebody else measures the checkpoint just made. */
  private async pause(step: number): Promise<void> {
    if (!this.isPauseDue(step) || stopRequested) return;
    const folder = path.join(this.runFolder, 'checkpoints', checkpointName(step));
    await this.tell(step, { type: 'paused', step, folder }, true);
  }

  /** Asks for the order of a step that has none. @returns whether it is to be trained */
  private async hasOrder(step: number): Promise<boolean> {
    if (stopRequested || this.reader.isOrdered(step)) return !stopRequested;
    await this.tell(step, { type: 'orderWanted', step }, true);
    if (!stopRequested && !this.reader.isOrdered(step))
      throw new EngineError(
        `the order of samples ends before step ${step}, and none was decided when it was asked for.`,
      );
    return !stopRequested;
  }

  /** Says it; where somebody attends the run, waits for what is to be done about it, and reads what was decided about the job meanwhile. */
  private async tell(step: number, message: EngineMessage, waits = this.attended): Promise<void> {
    send(message);
    if (!waits) return;
    let answer = await answers.next();
    for (; answer === 'checkpoint'; answer = await answers.next()) {
      await this.checkpoint(step);
      keepCheckpoint(this.runFolder, step);
    }
    if (answer === 'stop') stopRequested = true;
    this.reader.refresh();
  }

  private memory() {
    return { peakRssBytes: peakMemory(), activationBytes: this.decoder.activationBytes };
  }

  private resume(): number {
    removeLeftovers(this.runFolder);
    const newest = listCheckpoints(this.runFolder).at(-1);
    if (!newest) return 0;
    const fingerprint = this.reader.fingerprintAt(newest.step);
    const { step, tokens, kernels } = restoreCheckpoint(newest.folder, fingerprint, this.decoder);
    this.tokens = tokens;
    const { variant } = this.decoder.kernels;
    if (kernels !== undefined && kernels !== variant)
      this.warn(
        `step ${step} was computed with the ${kernels} kernels, this process has ${variant}: the run goes on, but not bit for bit as it would have with the former.`,
      );
    return step;
  }

  private announcePhase(step: number): void {
    const phase = this.reader.job.phases.find((p) => p.firstStep === step);
    if (phase) this.event('phase', { step, name: phase.name, blend: this.reader.blendAt(step) });
    for (const { reason, order, lrFactor } of this.reader.amendmentsAt(step))
      this.event('amendment', {
        step,
        reason,
        ...(order && { blend: this.reader.blendAt(step) }),
        ...(lrFactor !== undefined && { lrFactor }),
      });
  }

  /** The files are there as soon as the last step is traced: a long run need not be waited for. */
  private profiledStep(profiler: Profiler, step: number): StepMetrics {
    const wasComplete = profiler.isComplete;
    const metrics = profiler.step(step, () => this.step(step));
    if (profiler.isComplete && !wasComplete) send({ type: 'profile', ...profiler.write(this.runFolder) });
    return metrics;
  }

  /** The step's sequences, by forward pass, and in how many places something is predicted. */
  private read(step: number): { passes: Sequence[][]; numTargets: number } {
    const { firstSequence, sequencesPerStep, sequencesPerMicroBatch } = this.reader.stepAt(step);
    const sequences = Array.from({ length: sequencesPerStep }, (_, i) => this.reader.sequence(firstSequence + i));
    const passes = Array.from({ length: sequencesPerStep / sequencesPerMicroBatch }, (_, i) =>
      sequences.slice(i * sequencesPerMicroBatch, (i + 1) * sequencesPerMicroBatch),
    );
    return { passes, numTargets: countTargets(sequences) };
  }

  private step(step: number): StepMetrics {
    const { job } = this.reader;
    const start = performance.now();
    const { passes, numTargets } = phase('data', () => this.read(step));
    if (numTargets === 0)
      throw new EngineError(
        `step ${step} has no token that bears loss: its sequences hold no part of an answer. Raise training.seqLen or training.batchTokens, or let every token bear loss (objective: all).`,
      );
    const byCorpus = new Map<string, { nats: number; tokens: number }>();
    const routers = this.decoder.config.experts && new RouterStep(job.routers ?? { balance: 0, z: 0 });
    let nats = 0;
    const gradients = comparesGradients(job, step) ? new GradientDots() : undefined;
    const groups = gradients
      ? sequencesByCorpus(passes.flat(), this.reader, passes[0]!.length)
      : [{ corpus: '', micros: passes }];
    const numKept = this.tokenLosses.countKept(groups.flatMap(({ micros }) => micros));
    for (const { corpus, micros } of groups) {
      for (const micro of micros) {
        const batch = phase('data', () => toBatch(micro));
        const { weights, extras, done } = this.tokenLosses.prepare(batch, micro, numTargets, numKept);
        const losses = this.decoder.trainBatch(batch, weights, routers, extras);
        done();
        nats += this.addLosses(losses, micro, byCorpus);
      }
      gradients?.add(corpus, (byCorpus.get(corpus)?.tokens ?? 0) / numTargets, this.decoder.trained());
    }
    const loss = nats / numTargets;
    const lr = this.reader.lrAt(step);
    const parameters = this.decoder.trained();
    const norm = phase('gradient norm', () => gradNorm(parameters, this.decoder.kernels));
    this.checkFinite(step, loss, norm, lr);
    const penalty = phase('optimizer', () => {
      const value = adamwStep(parameters, this.decoder.kernels, job.optimizer, lr, step + 1, norm, this.penalty);
      if (job.ema !== undefined) updateEma(parameters, this.decoder.kernels, job.ema);
      return value;
    });
    this.tokens += numTargets;
    const stepMs = performance.now() - start;
    return {
      step,
      loss,
      lossByCorpus: Object.fromEntries([...byCorpus].map(([corpus, sum]) => [corpus, sum.nats / sum.tokens])),
      lr,
      gradNorm: norm,
      ...(this.penalty && { penalty }),
      tokens: this.tokens,
      tokensPerSecond: (numTargets / stepMs) * 1000,
      stepMs,
      rssBytes: process.memoryUsage.rss(),
      phase: job.phases.findLast((p) => p.firstStep <= step)!.name,
      ...this.tokenLosses.takeMetrics(),
      ...(gradients && { gradients: gradients.result(job.optimizer.clipNorm) }),
      ...(routers && { experts: expertMetrics(routers) }),
    };
  }

  /** Sums a micro-batch's losses into `byCorpus`; returns their total, nats. */
  private addLosses(
    losses: Float32Array,
    sequences: readonly Sequence[],
    byCorpus: Map<string, { nats: number; tokens: number }>,
  ): number {
    let total = 0;
    sequences.forEach((sequence, row) => {
      const seqLen = sequence.inputs.length;
      for (let t = 0; t < seqLen; t++) {
        if (sequence.targets[t]! < 0) continue;
        const corpus = this.reader.job.shards[sequence.shard[t]!]!.corpus;
        const sum = byCorpus.get(corpus) ?? { nats: 0, tokens: 0 };
        byCorpus.set(corpus, sum);
        sum.nats += losses[row * seqLen + t]!;
        sum.tokens++;
        total += losses[row * seqLen + t]!;
      }
    });
    return total;
  }

  private checkFinite(step: number, loss: number, norm: number, lr: number): void {
    if (Number.isFinite(loss) && Number.isFinite(norm)) return;
    const good = listCheckpoints(this.runFolder).at(-1);
    throw new NonFiniteError(
      step,
      `training stopped at step ${step}: the ${Number.isFinite(loss) ? 'gradient norm' : 'loss'} is not a number (loss ${loss}, gradient norm ${norm}, LR ${lr.toExponential(2)}). ` +
        `The weights were not touched by this step; the newest checkpoint is ${good ? good.folder : 'the model that the run began with'}. ${ON_DIVERGENCE}`,
    );
  }

  /** A checkpoint that holds an infinity or NaN would push the good ones out. */
  private checkWeights(step: number): void {
    const broken = this.decoder.trained().find((parameter) => !isSound(parameter));
    if (!broken) return;
    const good = listCheckpoints(this.runFolder).at(-1);
    throw new EngineError(
      `training stopped after ${step} steps: ${broken.parts[0]!.name} holds values that are not numbers, so no checkpoint was written. ` +
        `The newest one is ${good ? good.folder : 'the model that the run began with'}. ${ON_DIVERGENCE}`,
    );
  }

  private async checkpoint(step: number): Promise<void> {
    if (listCheckpoints(this.runFolder).at(-1)?.step === step) return;
    await this.rarely('checkpoint', () => this.save(step));
  }

  private async save(step: number): Promise<void> {
    this.checkWeights(step);
    const start = performance.now();
    const { job } = this.reader;
    const record = { ...job.record, ...(step === job.numSteps ? job.recordAtEnd : {}), lr: this.reader.lrAt(step - 1) };
    const jobFingerprint = this.reader.fingerprintAt(step);
    const context = { ...this.context, jobFingerprint, record, exportEma: step === job.numSteps ? job.ema : undefined };
    const folder = await saveCheckpoint(context, this.decoder, this.source, step, this.tokens);
    const seconds = (performance.now() - start) / 1000;
    this.event('checkpoint', { step, folder: path.relative(this.runFolder, folder), seconds });
    send({ type: 'checkpoint', step, folder, seconds });
  }

  private rarely(name: string, body: () => Promise<void>): Promise<void> {
    return this.profiler ? this.profiler.rare(name, body) : body();
  }

  private evaluationFile(step: number): string {
    return path.join(this.runFolder, 'evals', `${checkpointName(step)}.json`);
  }

  /** Before, every so many steps, and after; a result that exists already (before a resume) is kept. */
  private isEvaluationDue(step: number): boolean {
    const { numSteps, evaluation } = this.reader.job;
    const due = step === 0 || step === numSteps || step % evaluation.everySteps === 0;
    return due && evaluation.sets.length > 0 && !fs.existsSync(this.evaluationFile(step));
  }

  /** Scores every held-out set where that is due. Returns early, with nothing written, when a stop is asked for. */
  private async evaluate(step: number): Promise<void> {
    if (!this.isEvaluationDue(step)) return;
    try {
      await this.rarely('evaluation', () => this.scoreSets(step));
    } catch (error) {
      if (!(error instanceof Interrupted)) throw error;
    }
  }

  private async write(step: number): Promise<void> {
    const { numSteps, evaluation } = this.reader.job;
    const { samples } = evaluation;
    if (!samples || (step !== numSteps && step % samples.everySteps !== 0)) return;
    const tick = async () => {
      await breathe();
      if (stopRequested) throw new Interrupted();
    };
    const tokenizer = this.source.tokenizer();
    const written = await writeSamples(this.decoder, tokenizer, stopTokens(this.source), samples, tick);
    const record: WritingRecord = { step, samples: written };
    writeJsonAtomic(writingFile(this.runFolder, step), record);
  }

  private async scoreSets(step: number): Promise<void> {
    const { job } = this.reader;
    const { sets } = job.evaluation;
    // Before the first step the average is the weights.
    const scoresEma = job.ema !== undefined && step > 0;
    const numSequences = sets.reduce((sum, set) => sum + set.order.numSequences, 0);
    const total = scoresEma ? 2 * numSequences : numSequences;
    let done = 0;
    const documents: EvalDocumentsResult = { step, sets: {} };
    const score = async () => {
      const results: EvalResult['sets'] = {};
      for (const set of sets) {
        const before = done;
        const ofSet = this.reader.evalDocuments(set);
        const { result, nats } = await scoreSet(
          this.decoder,
          set,
          (i) => this.reader.evalSequence(set, i),
          ofSet,
          job.batch.sequencesPerMicroBatch,
          async (inSet) => {
            done = before + inSet;
            send({ type: 'evalProgress', step, done, total });
            await breathe();
            if (stopRequested) throw new Interrupted();
          },
        );
        results[set.name] = result;
        // A hundredth of a millinat a document is far below what can be told apart.
        documents.sets[set.name] ??= {
          bytes: [...ofSet.bytes],
          nats: Array.from(nats, (x) => Math.round(x * 1e5) / 1e5),
        };
      }
      return results;
    };
    const result: EvalResult = { step, time: new Date().toISOString(), sets: await score() };
    if (scoresEma) result.ema = await withEma(this.decoder.trained(), this.decoder.kernels, score);
    await this.write(step);
    writeJsonAtomic(path.join(this.runFolder, 'evals', `documents-${checkpointName(step)}.json`), documents);
    writeJsonAtomic(this.evaluationFile(step), result);
    const bitsPerByte = (scores: EvalResult['sets']) =>
      Object.fromEntries(Object.entries(scores).map(([name, set]) => [name, set.bitsPerByte]));
    this.event('eval', {
      step,
      bitsPerByte: bitsPerByte(result.sets),
      ...(result.ema ? { emaBitsPerByte: bitsPerByte(result.ema) } : {}),
    });
    await this.tell(step, { type: 'eval', ...result });
  }
}

/** A loss or gradient that is not a number; the weights are as they were before the step. */
class NonFiniteError extends EngineError {
  readonly step: number;
  constructor(step: number, message: string) {
    super(message);
    this.step = step;
  }
}

/** Rounded where there are several numbers a layer. */
function expertMetrics(routers: RouterStep): ExpertMetrics {
  const { byLayer, ...all } = routers.summary();
  const short = (loads: number[]) => loads.map((x) => Math.round(x * 1e4) / 1e4);
  const { maxLoad, minLoad, entropy } = byLayer;
  return { ...all, byLayer: { maxLoad: short(maxLoad), minLoad: short(minLoad), entropy: short(entropy) } };
}

const ON_DIVERGENCE =
  'Most often the LR is too high: lower recipe.peakLr (a third is a good first try) and run under another name; or try training.precision: f32.';

/** In f32 and bf16 alike, infinities and NaN are the values whose exponent bits are all set. */
function isSound({ data }: Parameter): boolean {
  const [bits, exponent] =
    data instanceof Float32Array
      ? [new Uint32Array(data.buffer, data.byteOffset, data.length), 0x7f800000]
      : [data, 0x7f80];
  for (let i = 0; i < bits.length; i++) if ((bits[i]! & exponent) === exponent) return false;
  return true;
}

async function main(args: string[]): Promise<number> {
  const [jobFolder, ...flags] = args;
  if (!jobFolder)
    throw new ConfigError('usage: native-engine JOB_FOLDER [--threads N] [--recompute] [--profile STEPS] [--attended]');
  const flag = (name: string): number | undefined =>
    flags.includes(name) ? Number(flags[flags.indexOf(name) + 1]) : undefined;
  const options: EngineOptions = {
    threads: flag('--threads') ?? os.availableParallelism(),
    recompute: flags.includes('--recompute'),
    profileSteps: flag('--profile') ?? 0,
    attended: flags.includes('--attended'),
  };
  const runFolder = path.dirname(path.resolve(jobFolder));
  const unlock = lockRun(runFolder);
  process.on('exit', unlock);
  const reader = openJob(path.resolve(jobFolder));
  const training = new Training(runFolder, reader, options);
  try {
    return await training.run();
  } catch (error) {
    try {
      training.event('error', { message: (error as Error).message });
    } catch {
      // The disk is full, for one: the error that came first is the one to tell.
    }
    throw error;
  }
}

/** Memory that the system refuses is refused again at the next start: no crash to be tried again. */
export function explainAllocation(error: unknown): unknown {
  if (!(error instanceof RangeError && /allocation failed/i.test(error.message))) return error;
  return new EngineError(
    `memory ran out (${error.message}): this process may use ${formatBytes(memoryLimit())}. Set training.recompute: true and go on, or lower training.microBatch or training.seqLen, or take a smaller model.`,
  );
}

function errorKind(error: unknown): 'ConfigError' | 'DataError' | 'EngineError' {
  if (error instanceof ConfigError) return 'ConfigError';
  return error instanceof DataError ? 'DataError' : 'EngineError';
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  watchParentAndSignals();
  main(process.argv.slice(2)).then(
    (code) => process.exit(code),
    (thrown: unknown) => {
      const error = explainAllocation(thrown);
      // Anything that is not the user's is a crash: its trace goes to stderr and the supervisor decides.
      if (!isUserError(error)) {
        process.stderr.write(`${(error as Error).stack ?? error}\n`);
        process.exit(1);
      }
      const { message } = error as Error;
      const where = error instanceof NonFiniteError ? { nonFiniteStep: error.step } : {};
      send({ type: 'fatal', kind: errorKind(error), message, ...where });
      process.exit(EXIT_FATAL);
    },
  );
}
