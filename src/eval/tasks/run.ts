// Puts tasks to a model: requests of all tasks of one kind go to it together, so that it can sort them by length; then filters, scores and
// their errors. A result is known by the model and all that was asked of it, so one that is kept is not computed again.
import { ConfigError } from '../../base/errors.ts';
import { fingerprint, sha256 } from '../../base/hash.ts';
import type { RunCode } from '../twins/index.ts';
import type { EvalReport, LanguageModel, Likelihood, MetricResult, Sample, TaskResult, TextRequest } from '../types.ts';
import type { DataOptions } from './dataset.ts';
import { defineTask } from './definition.ts';
import { mean, pooledError, standardError, unweightedError } from './metrics.ts';
import type { ChosenGroup, Selection } from './registry.ts';
import { type PromptOptions, type Request, Task } from './task.ts';
import type { RawConfig } from './yaml.ts';

export interface RunTasksOptions extends DataOptions {
  /** Few-shot examples, except of tasks that say 0. */
  numFewShot?: number;
  /** Documents a task at most; below 1 a share of them. */
  limit?: number;
  /** Of the draw of few-shot examples, and of sampled answers; 1234, lm-evaluation-harness's, by default. */
  seed?: number;
  applyChatTemplate?: boolean;
  fewshotAsMultiturn?: boolean;
  systemInstruction?: string;
  countTokens?: (text: string) => number;
  /** Given where generated programs may be run. */
  runCode?: RunCode;
  /** Results that were computed before, by fingerprint. */
  kept?: KeptResults;
}

export interface KeptResults {
  get(fingerprint: string): TaskOutcome | undefined;
  put(fingerprint: string, outcome: TaskOutcome): void;
}

export interface TaskOutcome {
  result: TaskResult;
  samples: Sample[];
  /** The task's whole configuration, as it was used. */
  config: RawConfig;
  /** Documents of the evaluated split. */
  numAllDocs: number;
}

/** What is being done; of `total` tasks or requests. */
export type RunProgress = (
  what: 'reading tasks' | 'likelihoods' | 'texts' | 'answers',
  done: number,
  total: number,
) => void;

export interface TasksResult {
  report: EvalReport;
  outcomes: TaskOutcome[];
  /** Tasks whose kept results were taken. */
  numKept: number;
}

const DEFAULT_SEED = 1234;

/** @throws ConfigError, DataError naming the task and the document */
export async function runTasks(
  model: LanguageModel,
  selection: Selection,
  options: RunTasksOptions,
  progress: RunProgress = () => {},
): Promise<TasksResult> {
  const start = performance.now();
  const prepared = await prepareTasks(model, selection, options, progress);
  const asked = prepared.filter(({ outcome }) => !outcome);
  await answer(model, asked, options, progress);
  for (const task of asked) {
    task.outcome = await scoreTask(task);
    options.kept?.put(task.fingerprint, task.outcome);
  }
  const outcomes = prepared.map(({ outcome, task }) => {
    const { alias, groups } = task.definition;
    return { ...outcome!, result: { ...outcome!.result, alias, groups } };
  });
  const report: EvalReport = {
    version: 1,
    model: model.name,
    modelFingerprint: model.fingerprint,
    createdAt: new Date().toISOString(),
    seconds: (performance.now() - start) / 1000,
    tasks: outcomes.map(({ result }) => result),
    groups: selection.groups.flatMap((group) => aggregate(group, outcomes)),
  };
  return { report, outcomes, numKept: prepared.length - asked.length };
}

/** A task with its requests, and what became of them. */
interface Prepared {
  task: Task;
  /** Of all that the answers depend on: results are kept under it. */
  fingerprint: string;
  /** Of what was asked, whoever answers: two models' results with the same one can be compared. */
  asked: string;
  numDocs: number;
  requests: Request[][];
  /** Of each document and request the answers, several where a task repeats. */
  answers: unknown[][][];
  outcome?: TaskOutcome;
}

async function prepareTasks(
  model: LanguageModel,
  { tasks }: Selection,
  options: RunTasksOptions,
  progress: RunProgress,
): Promise<Prepared[]> {
  const {
    limit,
    applyChatTemplate,
    numFewShot,
    seed = DEFAULT_SEED,
    systemInstruction,
    countTokens,
    runCode,
  } = options;
  // Mistakes in any task's file show before anything is read.
  const definitions = tasks.map(defineTask);
  const prompts: PromptOptions = {
    numFewShot,
    seed,
    systemInstruction,
    countTokens,
    runCode,
    renderChat: applyChatTemplate ? (messages) => model.renderChat(messages) : undefined,
    fewshotAsMultiturn: options.fewshotAsMultiturn ?? true,
  };
  const prepared: Prepared[] = [];
  for (const definition of definitions) {
    progress('reading tasks', prepared.length, definitions.length);
    const task = await Task.open(definition, prompts, options);
    const numAll = task.docs.length;
    const wanted = limit === undefined ? numAll : limit < 1 ? Math.ceil(numAll * limit) : limit;
    const numDocs = Math.min(numAll, wanted);
    const requests = Array.from({ length: numDocs }, (_, i) => task.requests(i));
    const definitionAndDocs = {
      definition: definition.raw,
      docs: task.docs.slice(0, numDocs).map((doc) => fingerprint(doc)),
    };
    const fingerprintOf = fingerprint({
      version: 2,
      model: model.fingerprint,
      maxTokens: model.maxTokens,
      ...definitionAndDocs,
      requests: sha256(JSON.stringify(requests)),
      seed: definition.generation.temperature > 0 ? seed : undefined,
    });
    // Not of the requests themselves: each model's own template writes them.
    const asked = fingerprint({ ...definitionAndDocs, numFewShot, seed, applyChatTemplate, systemInstruction });
    const outcome = options.kept?.get(fingerprintOf);
    prepared.push({ task, fingerprint: fingerprintOf, asked, numDocs, requests, answers: [], outcome });
  }
  progress('reading tasks', prepared.length, prepared.length);
  return prepared;
}

/** Where an answer belongs. */
interface Place {
  prepared: Prepared;
  doc: number;
  request: number;
}

async function answer(
  model: LanguageModel,
  tasks: readonly Prepared[],
  { seed = DEFAULT_SEED }: RunTasksOptions,
  progress: RunProgress,
): Promise<void> {
  const places: Record<Request['kind'], Place[]> = { likelihood: [], rolling: [], generate: [] };
  for (const prepared of tasks)
    prepared.answers = prepared.requests.map((requests, doc) =>
      requests.map((request, i) => {
        places[request.kind].push({ prepared, doc, request: i });
        return [];
      }),
    );
  const requestsOf = <Kind extends Request['kind']>(kind: Kind) =>
    places[kind].map(({ prepared, doc, request }) => prepared.requests[doc][request] as Request & { kind: Kind });
  const tell = (what: Parameters<RunProgress>[0], total: number) => (done: number) => progress(what, done, total);
  const likelihoods = requestsOf('likelihood');
  if (likelihoods.length > 0) {
    const found = await model.likelihoods(likelihoods, tell('likelihoods', likelihoods.length));
    found.forEach((one: Likelihood, i) => {
      deliver(places.likelihood[i], [one.logLikelihood, one.isGreedy]);
    });
  }
  const texts = requestsOf('rolling').map(({ text }) => text);
  if (texts.length > 0)
    (await model.rollingLikelihoods(texts, tell('texts', texts.length))).forEach((one, i) => {
      deliver(places.rolling[i], one);
    });
  // A greedy answer is the same every time, so it is generated once for all repeats.
  const generations = places.generate.flatMap((place) => {
    const { generation, repeats } = place.prepared.task.definition;
    const { prompt } = place.prepared.requests[place.doc][place.request] as Request & { kind: 'generate' };
    const times = generation.temperature > 0 ? repeats : 1;
    return Array.from({ length: times }, (_, i) => ({
      place,
      request: textRequest(prompt, place.prepared.task, seed + i),
    }));
  });
  if (generations.length === 0) return;
  const found = await model.generate(
    generations.map(({ request }) => request),
    tell('answers', generations.length),
  );
  found.forEach((text, i) => {
    deliver(generations[i].place, text);
  });
}

function deliver({ prepared, doc, request }: Place, value: unknown): void {
  const { generation, repeats } = prepared.task.definition;
  const isDrawn = prepared.requests[doc][request].kind === 'generate' && generation.temperature > 0;
  for (let i = 0; i < (isDrawn ? 1 : repeats); i++) prepared.answers[doc][request].push(value);
}

function textRequest(prompt: string, { definition }: Task, seed: number): TextRequest {
  const { until, maxTokens, temperature, topP, topK } = definition.generation;
  return { prompt, until, maxTokens, ...(temperature > 0 && { temperature, topP, topK, seed }) };
}

async function scoreTask({ task, asked, numDocs, requests, answers }: Prepared): Promise<TaskOutcome> {
  const { definition } = task;
  const samples: Sample[] = Array.from({ length: numDocs }, (_, docId) => ({
    docId,
    doc: task.docs[docId],
    docHash: fingerprint(task.docs[docId]),
    target: task.targetOf(docId) as Sample['target'],
    requests: requests[docId].map((request) => argumentsOf(request, task)),
    responses: answers[docId].map((repeats) => (definition.repeats === 1 ? repeats[0] : repeats)),
    filtered: {},
    scores: {},
  }));
  const metrics: MetricResult[] = [];
  const docOf = requests.flatMap((list, docId) => list.map(() => task.docs[docId]));
  for (const filter of definition.filters) {
    const filtered = await filter.apply(answers.flat(), docOf);
    const byMetric = new Map<string, unknown[]>();
    let next = 0;
    for (let docId = 0; docId < numDocs; docId++) {
      const own = filtered.slice(next, next + requests[docId].length);
      next += own.length;
      samples[docId].filtered[filter.name] = own.length === 1 ? own[0] : own;
      for (const [metric, value] of Object.entries(await task.score(docId, own))) {
        samples[docId].scores[`${metric},${filter.name}`] = value;
        const items = byMetric.get(metric);
        if (items) items.push(value);
        else byMetric.set(metric, [value]);
      }
    }
    for (const [metric, items] of byMetric) metrics.push(await aggregateItems(task, metric, filter.name, items));
  }
  const result: TaskResult = {
    task: definition.name,
    alias: definition.alias,
    groups: definition.groups,
    version: definition.version,
    outputType: definition.outputType,
    numFewShot: task.numFewShot,
    numDocs,
    fingerprint: asked,
    metrics,
  };
  return { result, samples, config: definition.raw, numAllDocs: task.docs.length };
}

async function aggregateItems(task: Task, metric: string, filter: string, items: unknown[]): Promise<MetricResult> {
  const { definition } = task;
  // A score that the metric list does not name: of a function that gives several, by that function's rules (pass@1 of pass_at_k), else a mean.
  const known =
    definition.metrics.find(({ name }) => name === metric) ??
    (definition.processResults ? undefined : definition.metrics.find(({ scoreText }) => scoreText));
  try {
    const value = known ? Number(await known.aggregation.of(items)) : mean(items as number[]);
    const stderr = known ? standardError(known.aggregation, items) : undefined;
    return {
      metric,
      filter,
      value,
      ...(stderr !== undefined && { stderr }),
      higherIsBetter: known?.higherIsBetter ?? true,
    };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new ConfigError(`${definition.file}: task ${definition.name}: ${metric}: ${error.message}`);
  }
}

function argumentsOf(request: Request, { definition }: Task): unknown[] {
  if (request.kind === 'likelihood') return [request.context, request.continuation];
  return request.kind === 'rolling' ? [request.text] : [request.prompt, definition.generation.raw];
}

/** Means over a group's tasks, as its file asks for them. */
function aggregate(group: ChosenGroup, outcomes: readonly TaskOutcome[]): EvalReport['groups'] {
  const results = outcomes.filter(({ result }) => group.tasks.includes(result.task)).map(({ result }) => result);
  const metrics: MetricResult[] = [];
  for (const { metric, filters, weightBySize } of group.aggregate) {
    const present = new Set(
      results.flatMap((result) => result.metrics.filter((one) => one.metric === metric)).map(({ filter }) => filter),
    );
    for (const filter of filters ?? [...present].sort()) {
      const found = results.flatMap((result) => {
        const one = result.metrics.find((candidate) => candidate.metric === metric && candidate.filter === filter);
        return one ? [{ one, size: result.numDocs }] : [];
      });
      if (found.length === 0) continue;
      const sizes = found.map(({ size }) => size);
      const weights = weightBySize ? sizes : sizes.map(() => 1);
      const total = weights.reduce((a, b) => a + b, 0);
      const value = found.reduce((sum, { one }, i) => sum + one.value * weights[i], 0) / total;
      const stderrs = found.flatMap(({ one }) => (one.stderr === undefined ? [] : [one.stderr]));
      const stderr =
        stderrs.length < found.length
          ? undefined
          : weightBySize
            ? pooledError(stderrs, sizes)
            : unweightedError(stderrs);
      metrics.push({
        metric,
        filter,
        value,
        ...(stderr !== undefined && { stderr }),
        higherIsBetter: found[0].one.higherIsBetter,
      });
    }
  }
  return [{ group: group.name, tasks: group.tasks, metrics }];
}
