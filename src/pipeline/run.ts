// The main job: model -> corpora -> plan -> job -> training -> report, each stage reused when nothing it depends on has changed.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { ConfigError } from '../base/errors.ts';
import { fileStamp, readJson, writeFileAtomic, writeJsonAtomic } from '../base/files.ts';
import { fingerprint } from '../base/hash.ts';
import { Progress } from '../base/progress.ts';
import { formatCount, formatSeconds } from '../base/units.ts';
import { loadConfig } from '../config/index.ts';
import {
  type EngineMessage,
  listCheckpoints,
  lockRun,
  type StepProfile,
  type SuperviseResult,
  superviseEngine,
} from '../engine/index.ts';
import { jobPhases, lrCurve, MIX_METHODS, type Plan, unevenStep } from '../recipe/index.ts';
import { forecastText, writeReport } from '../report/index.ts';
import { forecastRun, type RunSummary, readRun, summarise } from '../runs/index.ts';
import { compileJob, type JobOptions, type OrderStatistics, readJob } from '../shards/index.ts';
import { modelDigest } from './facts.ts';
import { prepareGuard } from './fisher.ts';
import { attendedProgram, followBatch, type Launched, launchOf, prepareLaunch, refuseSeveralNodes } from './launch.ts';
import { mixWhileTraining } from './mixing.ts';
import { RunAlarms } from './run-alarms.ts';
import { RunTasks } from './run-tasks.ts';
import { samplesOf } from './samples.ts';
import { type Overrides, type Prepared, prepare } from './stages.ts';
import { engineOf } from './torch.ts';
import type { PipelineOptions, RunResult } from './types.ts';

/** All stages of a configuration. Interrupted at any moment, the same call goes on where it was. */
export async function run(
  configFile: string,
  options: PipelineOptions = {},
  overrides: Overrides = {},
): Promise<RunResult> {
  // Known to be wrong before the corpora are read.
  const given = loadConfig(configFile);
  if (options.launch) launchOf(given, options.launch);
  else refuseSeveralNodes(given.engine);
  const prepared = await prepare(configFile, options, overrides);
  const { runFolder, stages } = prepared;
  if (options.fresh) moveAside(runFolder, options);
  const plan = await stages.run('plan', async () => decidePlan(prepared, options));
  refuseErrors(plan, options.strict);
  sayChecks(plan, options);
  await stages.run('job', async () => ({ value: undefined, reused: !(await compile(prepared, plan, options)) }));
  const { training } = prepared.config;
  const resources = { threads: options.threads ?? training.threads, recompute: training.recompute };
  const { status, profile } = await stages.run('training', async () => {
    const before = listCheckpoints(runFolder).at(-1)?.step;
    const { launch, log } = options;
    const elsewhere = launch && prepareLaunch(prepared.config, launch, runFolder, plan, log);
    const value = await train(path.join(runFolder, 'job'), plan, { ...options, ...resources }, elsewhere);
    return { value, reused: before === plan.numSteps };
  });
  await stages.run('report', async () => ({ value: writeReport(runFolder), reused: false }));
  return { folder: runFolder, plan, ...outcome(runFolder, status), profile, stages: stages.records };
}

/** What to tell after a run was stopped. */
export function stoppedHint(fresh: boolean | undefined): string {
  return `Stopped. The same command ${fresh ? 'without --fresh ' : ''}goes on from here.`;
}

export interface TrainResult {
  folder: string;
  checkpoint: string;
  summary: RunSummary;
  /** Where a profile was asked for and the run had steps left to trace. */
  profile?: StepProfile;
}

/** The engine alone, on a run folder or the job folder inside one. */
export async function trainJob(folder: string, options: PipelineOptions = {}): Promise<TrainResult> {
  const absolute = path.resolve(folder);
  const runFolder = fs.existsSync(path.join(absolute, 'job.json')) ? path.dirname(absolute) : absolute;
  const jobFolder = path.join(runFolder, 'job');
  if (!fs.existsSync(path.join(jobFolder, 'job.json')))
    throw new ConfigError(
      `${absolute}: neither a run folder nor a job folder (no job.json). \`continuo run\` compiles jobs.`,
    );
  const plan = readJson<Plan>(path.join(runFolder, 'plan.json'));
  if (plan.engine) refuseSeveralNodes(plan.engine);
  const { status, profile } = await train(jobFolder, plan, options);
  return { folder: runFolder, ...outcome(runFolder, status), profile };
}

type Status = SuperviseResult['status'];

/** An engine that was stopped at once had no time to record it: what the supervisor saw counts. */
function outcome(runFolder: string, status: Status): { summary: RunSummary; checkpoint: string } {
  const summary = { ...summarise(readRun(runFolder)), status };
  return { summary, checkpoint: summary.checkpoint ?? '' };
}

/** Never deletes: a run that is to be made again is renamed. */
function moveAside(runFolder: string, options: PipelineOptions): void {
  if (!fs.existsSync(runFolder)) return;
  // Refused while an engine works in it.
  lockRun(runFolder)();
  const stamp = fileStamp();
  fs.renameSync(runFolder, `${runFolder}.before-${stamp}`);
  options.log?.(`The earlier run was moved to ${runFolder}.before-${stamp}.`);
}

/** What an engine leaves in a run folder besides checkpoints. */
const RECORDS = ['metrics.jsonl', 'events.jsonl', 'evals'];

/**
 * The plan of this run: the one in its folder while what it was made from is unchanged (a measured speed must not change a run that has
 * begun), else the new one, unless training has begun with the old.
 */
async function decidePlan(prepared: Prepared, options: PipelineOptions): Promise<{ value: Plan; reused: boolean }> {
  const { config, runFolder, plan } = prepared;
  const inputs = inputsOf(prepared);
  const { inputsFile, planFile } = planFiles(runFolder);
  if (fs.existsSync(inputsFile) && fs.existsSync(planFile)) {
    const before = readJson<{ fingerprint: string }>(inputsFile).fingerprint;
    const hasBegun = listCheckpoints(runFolder).length > 0;
    const uneven = before === inputs ? unevenStep(readJson<Plan>(planFile), ranksOf(plan)) : undefined;
    if (before === inputs && uneven === undefined) return { value: withCurrent(planFile, plan), reused: true };
    if (uneven !== undefined && hasBegun)
      throw new ConfigError(
        `${runFolder}: this run was begun with steps of ${uneven} sequences, which cannot be divided among ${ranksOf(plan)} GPUs. Go on with a number of GPUs that divides ${uneven}, or use --fresh, which moves the old run aside.`,
      );
    if (hasBegun)
      throw new ConfigError(
        `${runFolder}: this run was begun with other settings or other data (fingerprint ${before}, now ${inputs}). Its checkpoints are kept. ` +
          'Give the changed run another name in continuo.yaml, or use --fresh, which moves the old run aside.',
      );
    // What was measured under the old plan must not mix with what will be under the new one.
    if (RECORDS.some((name) => fs.existsSync(path.join(runFolder, name)))) moveAside(runFolder, options);
    fs.rmSync(inputsFile, { force: true });
  }
  writeFileAtomic(path.join(runFolder, 'continuo.yaml'), fs.readFileSync(config.file));
  writeJsonAtomic(planFile, plan);
  writeJsonAtomic(inputsFile, { fingerprint: inputs });
  return { value: plan, reused: false };
}

const planFiles = (runFolder: string) => ({
  inputsFile: path.join(runFolder, 'inputs.json'),
  planFile: path.join(runFolder, 'plan.json'),
});

/** The plan in the run's folder, where it was made from the same. */
export function keptPlan(prepared: Prepared): Plan | undefined {
  const { inputsFile, planFile } = planFiles(prepared.runFolder);
  if (!fs.existsSync(inputsFile) || !fs.existsSync(planFile)) return undefined;
  const isSame = readJson<{ fingerprint: string }>(inputsFile).fingerprint === inputsOf(prepared);
  return isSame ? readJson<Plan>(planFile) : undefined;
}

const ranksOf = ({ engine }: Plan) => (engine ? engine.gpus * (engine.nodes ?? 1) : 1);

/** Fingerprint of all that a plan is made from. */
function inputsOf({ config, plan, facts, corpora, model, reference }: Prepared): string {
  const { corpora: listed, file: _file, folder: _folder, output: _output, ...given } = config;
  // Neither changes a bit of the result: a run may go on with another number of threads, or in less memory.
  // Nor do alarms, until one acts; and whoever is told by one may want to set others before going on.
  const training = { ...given.training, threads: undefined, recompute: undefined };
  // Nor does the number of ranks, but for the order of sums; a run goes on with others, or elsewhere.
  const asked = { ...given, training, alarms: undefined, engine: { name: given.engine.name } };
  return fingerprint({
    asked,
    roles: listed.map(({ name, role, weight }) => ({ name, role, weight })),
    facts,
    weights: modelDigest(model),
    ...(reference !== undefined && { reference: modelDigest(reference) }),
    ...(plan.lora?.from && { adapter: modelDigest(plan.lora.from) }),
    corpora: corpora.map((c) => c.manifest.fingerprint),
    // What probes found is an input like a setting, where the file asks for it.
    ...(config.recipe.asksFound && { probes: plan.probes }),
  });
}

/** What a run is watched for, and where it runs, may change while it goes on. */
function withCurrent(planFile: string, { alarms, engine }: Plan): Plan {
  const { alarms: alarmsBefore, engine: engineBefore, ...kept } = readJson<Plan>(planFile);
  const plan: Plan = { ...kept, ...(engine && { engine }), ...(alarms && { alarms }) };
  const changed = fingerprint({ alarms, engine }) !== fingerprint({ alarms: alarmsBefore, engine: engineBefore });
  if (changed) writeJsonAtomic(planFile, plan);
  return plan;
}

export function refuseErrors(plan: Plan, strict = false): void {
  const errors = plan.warnings.filter(({ severity }) => severity === 'error' || (strict && severity === 'warning'));
  if (errors.length === 0) return;
  throw new ConfigError(errors.map((e) => `${e.message} (${e.evidence}) ${e.fix}`).join('\n'));
}

/** What `continuo plan` shows of the checks, before the hours are spent. */
export function sayChecks({ numSteps, tokensPerStep, expected, warnings }: Plan, { log }: PipelineOptions): void {
  const time = expected.seconds ? `, about ${formatSeconds(expected.seconds)}` : '';
  log?.(`${numSteps} steps of ${formatCount(tokensPerStep)} tokens${time}; \`continuo plan\` gives the reasons.`);
  for (const { severity, message, evidence, fix } of warnings) log?.(`${severity}: ${message} (${evidence}) ${fix}`);
}

/** @returns whether the job had to be compiled */
export async function compile(
  prepared: Pick<Prepared, 'runFolder' | 'corpora' | 'model' | 'reference' | 'cache'>,
  plan: Plan,
  options: PipelineOptions,
): Promise<boolean> {
  const { runFolder, corpora, model } = prepared;
  const job = path.join(runFolder, 'job');
  const stamp = path.join(runFolder, 'job-inputs.json');
  const adapter = plan.lora?.from && modelDigest(plan.lora.from);
  const data = {
    ...(adapter && { adapter }),
    model: [model, modelDigest(model)],
    ...(prepared.reference !== undefined && { reference: [prepared.reference, modelDigest(prepared.reference)] }),
    corpora: corpora.map((c) => [c.folder, c.manifest.fingerprint]),
  };
  const { alarms: _, engine: __, ...decided } = plan;
  const inputs = { fingerprint: fingerprint({ plan: decided, ...data }) };
  if (
    fs.existsSync(path.join(job, 'job.json')) &&
    fs.existsSync(stamp) &&
    readJson<typeof inputs>(stamp).fingerprint === inputs.fingerprint
  )
    return false;
  const frozen = frozenModels(prepared, plan);
  const { statistics } = await compileJob({
    folder: job,
    name: plan.name,
    model,
    precision: plan.precision,
    seed: plan.seed,
    numSteps: plan.numSteps,
    batch: {
      seqLen: plan.seqLen,
      sequencesPerStep: plan.sequencesPerStep,
      sequencesPerMicroBatch: plan.sequencesPerMicroBatch,
    },
    optimizer: { name: 'adamw', ...plan.optimizer },
    lora: plan.lora,
    freeze: plan.freeze,
    ema: plan.ema,
    routers: plan.routers,
    guard: plan.guard && { ...(await prepareGuard(prepared, plan, options)), ...frozen.guard },
    selectTokens: frozen.selectTokens,
    packing: plan.packing,
    numOrderedSteps: plan.mixing?.firstStep,
    ...(plan.mixing &&
      MIX_METHODS[plan.mixing.method].reads === 'gradients' && {
        gradientDots: { everySteps: plan.mixing.everySteps },
      }),
    schedule: lrCurve(plan.schedule),
    phases: jobPhases(plan),
    shards: corpora
      .filter(({ role }) => role !== 'evaluation')
      .map(({ name, trainPrefix, inOrder }) => ({ corpus: name, prefix: trainPrefix, inOrder })),
    checkpoint: plan.checkpoint,
    evaluation: {
      everySteps: plan.evaluation.everySteps,
      pauses: plan.evaluation.tasks?.atSteps,
      samples: plan.evaluation.samples && samplesOf(plan.evaluation.samples, plan, model),
      sets: corpora.map(({ name, role, heldOutPrefix }) => ({
        name,
        role,
        prefix: heldOutPrefix,
        maxTokens: plan.evaluation.tokensPerSet,
      })),
    },
    record: { recipe: plan.preset },
    recordAtEnd: plan.recordsPretraining ? { pretraining: plan.recordsPretraining } : {},
  });
  for (const { corpus, heldOutElsewhere } of statistics.corpora)
    if (heldOutElsewhere.numDocuments > 0)
      options.log?.(
        `${corpus}: ${heldOutElsewhere.numDocuments} documents are not trained on, because another corpus holds out the same text.`,
      );
  options.log?.(`sequences (packing: ${plan.packing ?? 'fill'}): ${describeLosses(statistics)}.`);
  writeJsonAtomic(stamp, inputs);
  return true;
}

/**
 * Models that are read beside the one that is trained. What they say is kept in the cache by weights, precision and question, for all
 * runs that ask the same.
 */
function frozenModels(
  { model, reference, cache }: Pick<Prepared, 'model' | 'reference' | 'cache'>,
  { guard, selectTokens, precision }: Plan,
): Pick<JobOptions, 'guard' | 'selectTokens'> {
  const kept = (folder: string, question: object) =>
    path.join(cache, `said-${fingerprint({ version: 1, weights: modelDigest(folder), precision, ...question })}`);
  const { distill } = guard ?? {};
  const { on: _on, topK, ...rest } = distill ?? {};
  return {
    ...(distill && {
      guard: {
        distill: {
          ...(rest as Omit<typeof distill, 'on' | 'topK'>),
          ...(topK !== undefined && {
            top: { k: topK, cache: kept(model, { topK, temperature: distill.temperature }) },
          }),
        },
      },
    }),
    ...(selectTokens && {
      selectTokens: { model: reference!, keep: selectTokens.keep, cache: kept(reference!, { question: 'losses' }) },
    }),
  };
}

/** "0.02 % padding, 0 % of the tokens stand in two sequences, 3 in 100 documents or parts are cut" over all corpora. */
function describeLosses({ corpora, phases }: OrderStatistics): string {
  const sum = (value: (corpus: OrderStatistics['corpora'][number]) => number) =>
    corpora.reduce((total, corpus) => total + value(corpus), 0);
  const numTokens = sum((corpus) => corpus.numTokens);
  const padding = sum(({ losses }) => losses.numPadding);
  const repeated = sum(({ losses }) => losses.numRepeated);
  const numSequences = phases.reduce((total, phase) => total + phase.numSequences, 0);
  const percent = (part: number, whole: number) => `${Number(((100 * part) / whole).toPrecision(2))} %`;
  return [
    `${percent(padding, numTokens + padding)} padding`,
    ...(repeated > 0 ? [`${percent(repeated, numTokens)} of the tokens in two of them`] : []),
    `a document is cut at the end of ${percent(
      sum(({ losses }) => losses.numCuts),
      numSequences,
    )} of them`,
  ].join(', ');
}

export async function train(
  jobFolder: string,
  plan: Plan,
  options: PipelineOptions,
  elsewhere?: Launched,
): Promise<{ status: Status; profile: StepProfile | undefined }> {
  const runFolder = path.dirname(path.resolve(jobFolder));
  const alarms = plan.alarms && new RunAlarms(runFolder, plan, options);
  const tasks = plan.evaluation.tasks && new RunTasks(runFolder, plan, options, (step) => alarms?.measured(step));
  // Before anything is spent, so that a task that cannot be measured is known at once.
  await tasks?.measure(0, readJob(jobFolder).model);
  const follow = followTraining(plan, runFolder, options);
  const attended = elsewhere ? attendedProgram(elsewhere) : engineOf(plan);
  if (elsewhere && !attended) return followElsewhere(elsewhere, plan, follow, { tasks, alarms }, options);
  let profile: StepProfile | undefined;
  try {
    const { status, checkpoint } = await superviseEngine({
      jobFolder,
      engine: attended,
      threads: options.threads,
      recompute: options.recompute ?? plan.recompute,
      profileSteps: options.profileSteps,
      onMessage: (message) => {
        if (message.type === 'profile') {
          const { type: _, ...rest } = message;
          profile = rest;
        }
        if (message.type === 'start' || message.type === 'resume') alarms?.begin(message.step);
        follow(message);
      },
      onOrderWanted: mixWhileTraining(runFolder, plan, options.log),
      onPause: async (step, folder, engine) => {
        await tasks?.atPause(step, folder);
        return alarms?.atPause(step, engine) ?? 'continue';
      },
      attend: alarms && ((message, engine) => alarms.attend(message, engine)),
      onFatal: alarms && ((fatal) => alarms.onFatal(fatal)),
      say: options.log,
    });
    follow.finish();
    await tasks?.finish();
    if (status === 'finished') await tasks?.measure(plan.numSteps, checkpoint!);
    await alarms?.finish();
    return { status, profile };
  } finally {
    follow.finish();
  }
}

/** The job of a queue, which waits for nobody: tasks are measured beside it, alarms recorded. */
async function followElsewhere(
  elsewhere: Launched,
  plan: Plan,
  follow: ReturnType<typeof followTraining>,
  { tasks, alarms }: { tasks?: RunTasks; alarms?: RunAlarms },
  options: PipelineOptions,
): Promise<{ status: Status; profile: undefined }> {
  const hear = (step: number) => alarms?.begin(step, 'not acted on: the job of a queue waits for nobody');
  try {
    const { status, checkpoint } = await followBatch(elsewhere, options, (message) => {
      follow(message);
      if (message.type === 'paused') tasks?.besideTraining(message.step, message.folder);
      // What came before it is recorded by then.
      if (message.type === 'eval' || message.type === 'finished') hear(message.step);
    });
    follow.finish();
    await tasks?.finish();
    if (status === 'finished') await tasks?.measure(plan.numSteps, checkpoint!);
    await alarms?.finish();
    return { status, profile: undefined };
  } finally {
    follow.finish();
  }
}

/** What the end will be like, as far as it can be told after `step` steps. */
function sayForecast(runFolder: string, step: number, { log }: PipelineOptions): void {
  if (!log) return;
  try {
    const run = readRun(runFolder);
    const text = forecastText(run, forecastRun(run, step));
    if (text) log(`forecast of the end, bits per byte (90 %), ${text}`);
  } catch {
    // A remark must not end a run; the report will say what cannot be read.
  }
}

/** Progress of training and of the evaluations inside it. */
function followTraining(plan: Plan, runFolder: string, options: PipelineOptions) {
  let progress: Progress | undefined;
  let scoring: Progress | undefined;
  const follow = (message: EngineMessage) => {
    switch (message.type) {
      case 'start':
      case 'resume':
        progress = new Progress({
          label: `training ${plan.name}`,
          total: message.numSteps,
          unit: 'steps',
          quiet: options.quiet,
        });
        progress.resumeAt(message.step);
        break;
      case 'step':
        progress?.update(
          message.step + 1,
          `loss ${message.loss.toFixed(3)}, LR ${message.lr.toExponential(2)}, ${Math.round(message.tokensPerSecond)} tokens/s${message.mfu === undefined ? '' : `, ${Math.round(100 * message.mfu)} % of the peak`}`,
        );
        break;
      case 'evalProgress':
        scoring ??= new Progress({
          label: `measuring step ${message.step}`,
          total: message.total,
          quiet: options.quiet,
        });
        scoring.update(message.done);
        break;
      case 'eval': {
        const scores = Object.entries(message.sets).map(([name, set]) => {
          const average = message.ema?.[name];
          const ofAverage = average ? ` (average of the weights ${average.bitsPerByte.toFixed(4)})` : '';
          return `${name} ${set.bitsPerByte.toFixed(4)}${ofAverage}`;
        });
        scoring?.finish(`${scores.join(', ')} bits per byte`);
        scoring = undefined;
        sayForecast(runFolder, message.step, options);
        break;
      }
      case 'finished':
        progress?.finish();
        progress = undefined;
        break;
      default:
    }
  };
  return Object.assign(follow, {
    finish: () => {
      scoring?.finish();
      scoring = undefined;
      progress?.finish();
      progress = undefined;
    },
  });
}
