// A model beside the one that it came from, on the same questions: what it learned, what it forgot, and whether that can be told from
// chance. Verdicts rest on tests of pairs, and on all tasks' tests together.
import { ConfigError } from '../../base/errors.ts';
import {
  ALPHA,
  accuracyInterval,
  criticalT,
  type Difference,
  holm,
  mcnemar,
  mean,
  pairedBitsPerByte,
  pairedBootstrap,
  pairedDifference,
  smallestVisible,
  standardError,
  twoSidedP,
} from '../stats/index.ts';
import type { TaskResult } from '../types.ts';
import { type Example, exampleOf } from './examples.ts';
import { shortName } from './names.ts';
import type { EvalResults } from './results.ts';
import { type PairedScores, pairScores, passagesOf, type Unit } from './scores.ts';

export interface CompareOptions {
  /** What the models are called; their names in the reports by default. */
  baseLabel?: string;
  tunedLabel?: string;
  /** Metrics to compare by, the first that a task has; a task's own first one by default. */
  metrics?: readonly string[];
  /** Examples kept of each kind and task. */
  numExamples?: number;
  /** Of the bootstrap. */
  seed?: number;
}

/** better, worse: the difference is real at the level, all tasks considered. unclear: it is not told from chance. same: not one answer differs. */
export type TaskVerdict = 'better' | 'worse' | 'unclear' | 'same';

export interface TaskComparison {
  task: string;
  alias: string;
  groups: readonly string[];
  metric: string;
  filter: string;
  higherIsBetter: boolean;
  unit: Unit;
  base: number;
  tuned: number;
  /** Standard errors of the two scores by themselves. */
  baseStderr: number;
  tunedStderr: number;
  numPairs: number;
  /** Right answers that guessing among the choices would give, a share; 0 where answers are written. Of right or wrong answers alone. */
  guessing?: number;
  /** Documents that one side alone has: left out. */
  numUnpaired: number;
  /** Field of the documents that several share, and how many texts it has. */
  passages?: { field: string; num: number };
  /** Tuned minus base, in the metric's own direction. */
  difference: number;
  stderr: number;
  low: number;
  high: number;
  test: 'McNemar' | 'bootstrap' | 't';
  p: number;
  /** After Holm, over all tasks compared. */
  adjustedP: number;
  /** The smallest difference that would have been called real here, at the strictest level that Holm asks of this many tasks. */
  smallestVisible: number;
  /** Right or wrong answers: in all four ways. Graded ones: those that rose, those that fell and those that stayed ("kept"). */
  counts: { learned: number; forgotten: number; kept: number; stillWrong: number };
  isBinary: boolean;
  verdict: TaskVerdict;
  examples: { learned: Example[]; forgotten: Example[] };
}

export interface Comparison {
  base: string;
  tuned: string;
  tasks: TaskComparison[];
  /** Mean over the tasks that are measured in points, each task counting once (independent sets: their variances add). */
  mean?: { numTasks: number; difference: number; stderr: number; low: number; high: number; p: number };
  /** Tasks that were not compared, each with the reason. */
  leftOut: { task: string; why: string }[];
}

/**
 * Compares two models' answers to the same tasks, document by document.
 * @throws ConfigError where a task was not put to both in the same way, or nothing can be compared
 */
export function compareReports(base: EvalResults, tuned: EvalResults, options: CompareOptions = {}): Comparison {
  refuseMismatches(base, tuned);
  const leftOut: Comparison['leftOut'] = onlyOnOneSide(base, tuned);
  const found: { task: TaskResult; scores: PairedScores }[] = [];
  for (const task of base.report.tasks) {
    const other = tuned.report.tasks.find((one) => one.task === task.task);
    if (!other) continue;
    const paired = pairTask(task, base, tuned, options);
    if (typeof paired === 'string') leftOut.push({ task: task.task, why: paired });
    else found.push({ task, scores: paired });
  }
  if (found.length === 0)
    throw new ConfigError(
      `${nameOf(base)} and ${nameOf(tuned)}: no task can be compared${leftOut.map(({ task, why }) => `\n  ${task}: ${why}`).join('')}`,
    );
  const level = ALPHA / found.length;
  const compared = found.map(({ task, scores }) => compareTask(task, scores, level, options));
  const adjusted = holm(compared.map(({ p }) => p));
  const tasks = compared.map((task, i) => judged(task, adjusted[i]!));
  return {
    base: options.baseLabel ?? shortName(base.report.model),
    tuned: options.tunedLabel ?? shortName(tuned.report.model),
    tasks,
    mean: meanOf(tasks),
    leftOut,
  };
}

function nameOf({ source, report }: EvalResults): string {
  return source ?? report.model;
}

/** Reports are comparable only where each common task asked the same of both models. */
function refuseMismatches(base: EvalResults, tuned: EvalResults): void {
  const problems = base.report.tasks.flatMap((task) => {
    const other = tuned.report.tasks.find((one) => one.task === task.task);
    if (!other) return [];
    const differs = (what: string, a: unknown, b: unknown): string[] => (a === b ? [] : [`${what} ${a} against ${b}`]);
    const parts = [
      ...differs('version', task.version, other.version),
      ...differs('examples in the prompt', task.numFewShot, other.numFewShot),
      ...(task.fingerprint && other.fingerprint ? differs('fingerprint', task.fingerprint, other.fingerprint) : []),
    ];
    return parts.length > 0 ? [`  ${task.task}: ${parts.join(', ')}`] : [];
  });
  if (problems.length > 0)
    throw new ConfigError(
      `${nameOf(base)} and ${nameOf(tuned)}: not comparable, these tasks were put differently:\n${problems.join('\n')}\nEvaluate both models with the same task files, settings and limits.`,
    );
}

function onlyOnOneSide(base: EvalResults, tuned: EvalResults): Comparison['leftOut'] {
  const names = ({ report }: EvalResults) => new Set(report.tasks.map(({ task }) => task));
  const missing = (from: EvalResults, other: EvalResults) =>
    [...names(from)]
      .filter((task) => !names(other).has(task))
      .map((task) => ({ task, why: `only ${nameOf(from)} has it` }));
  return [...missing(base, tuned), ...missing(tuned, base)];
}

/** @returns why a task cannot be compared */
function pairTask(
  task: TaskResult,
  base: EvalResults,
  tuned: EvalResults,
  { metrics }: CompareOptions,
): PairedScores | string {
  const [first, second] = [base.samples.get(task.task), tuned.samples.get(task.task)];
  if (!first || !second) return `no samples of ${nameOf(first ? tuned : base)}: evaluate it again, and keep them`;
  const preferred = (metrics ?? []).flatMap((name) => task.metrics.filter(({ metric }) => metric === name));
  const scores = pairScores(task, first, second, preferred.length > 0 ? preferred : task.metrics);
  if (scores) return scores;
  const hashes = new Set(first.map(({ docHash }) => docHash));
  return second.some(({ docHash }) => hashes.has(docHash))
    ? 'none of its metrics is kept by document'
    : 'the two have no document in common';
}

type Unjudged = Omit<TaskComparison, 'adjustedP' | 'verdict'>;

function compareTask(
  { task, alias, groups }: TaskResult,
  scores: PairedScores,
  level: number,
  { seed, numExamples = 3 }: CompareOptions,
): Unjudged {
  const { unit, metric, filter, higherIsBetter, isBinary, pairs, numUnpaired } = scores;
  const passages = passagesOf(pairs.map(({ base }) => base.doc));
  const isRatio = unit === 'bits per byte' || unit === 'bits per word';
  const [first, second] = [pairs.map(({ baseScore }) => baseScore), pairs.map(({ tunedScore }) => tunedScore)];
  const sign = higherIsBetter ? 1 : -1;
  const of = (holds: (change: number, before: number) => boolean) =>
    pairs.filter(({ baseScore, tunedScore }) => holds(sign * (tunedScore - baseScore), baseScore));
  const [learned, forgotten] = [of((change) => change > 0), of((change) => change < 0)];
  const stillWrong = isBinary ? of((change, before) => change === 0 && before === 0).length : 0;
  const counts = {
    learned: learned.length,
    forgotten: forgotten.length,
    kept: pairs.length - learned.length - forgotten.length - stillWrong,
    stillWrong,
  };
  const clusters = passages?.clusters;
  const tested = isRatio
    ? ratioTest(pairs, clusters)
    : isBinary
      ? answerTest(first, second, clusters)
      : { ...pairedBootstrap(first, second, { clusters, seed }), test: 'bootstrap' as const };
  const { difference, stderr, low, high, p, test } = tested;
  const df = (passages ? new Set(clusters).size : pairs.length) - 1;
  const visible =
    test === 'McNemar'
      ? smallestVisible(pairs.length, learned.length + forgotten.length, level)
      : criticalT(level, Math.max(1, df)) * stderr;
  const examples = (list: typeof pairs) =>
    list.slice(0, numExamples).map(({ base, tuned }) => exampleOf(base, tuned, metric, filter));
  return {
    task,
    alias,
    groups,
    metric,
    filter,
    higherIsBetter,
    unit,
    ...levels(pairs, isRatio, clusters),
    numPairs: pairs.length,
    numUnpaired,
    ...(isBinary &&
      higherIsBetter && {
        guessing: mean(pairs.map(({ base }) => (base.requests.length > 1 ? 1 / base.requests.length : 0))),
      }),
    ...(passages && { passages: { field: passages.field, num: new Set(passages.clusters).size } }),
    difference,
    stderr,
    low,
    high,
    test,
    p,
    smallestVisible: visible,
    counts,
    isBinary,
    examples: isRatio ? { learned: [], forgotten: [] } : { learned: examples(learned), forgotten: examples(forgotten) },
  };
}

/** Verdicts of several comparisons as one family of tests, by comparison. */
export function adjustTogether(comparisons: readonly Comparison[]): Map<Comparison, TaskComparison[]> {
  const all = comparisons.flatMap(({ tasks }) => tasks);
  const adjusted = holm(all.map(({ p }) => p));
  const judgedTasks = all.map((task, i) => judged(task, adjusted[i]!));
  let next = 0;
  return new Map(
    comparisons.map((comparison) => {
      const own = judgedTasks.slice(next, next + comparison.tasks.length);
      next += own.length;
      return [comparison, own];
    }),
  );
}

type Tested = Difference & { test: TaskComparison['test'] };

/** Right or wrong: McNemar, or a t test over passages where questions share them. */
function answerTest(first: number[], second: number[], clusters: string[] | undefined): Tested {
  const result = pairedDifference(first, second, { clusters });
  const learned = first.filter((score, i) => score < second[i]!).length;
  const forgotten = first.filter((score, i) => score > second[i]!).length;
  if (clusters && result.stderr > 0) return { ...result, test: 't' };
  const { midP } = mcnemar(learned, forgotten);
  return { ...result, ...accuracyInterval(learned, forgotten, first.length), p: midP, test: 'McNemar' };
}

function ratioTest(pairs: PairedScores['pairs'], clusters: string[] | undefined): Tested {
  const documents = pairs.map(({ baseScore, tunedScore, size }, i) => ({
    first: baseScore,
    second: tunedScore,
    size,
    cluster: clusters?.[i],
  }));
  return { ...pairedBitsPerByte(documents), test: 't' };
}

/** The two scores by themselves, over the pairs. */
function levels(pairs: PairedScores['pairs'], isRatio: boolean, clusters: string[] | undefined) {
  const size = pairs.reduce((sum, pair) => sum + pair.size, 0);
  const of = (score: (pair: PairedScores['pairs'][number]) => number) => {
    const values = pairs.map(score);
    if (!isRatio) return { value: mean(values), stderr: standardError(values, clusters) };
    const value = values.reduce((sum, nats) => sum + nats, 0) / Math.LN2 / size;
    const residuals = pairs.map((pair, i) => ((values[i]! / Math.LN2 - value * pair.size) * pairs.length) / size);
    return { value, stderr: standardError(residuals, clusters) };
  };
  const [base, tuned] = [of(({ baseScore }) => baseScore), of(({ tunedScore }) => tunedScore)];
  return { base: base.value, tuned: tuned.value, baseStderr: base.stderr, tunedStderr: tuned.stderr };
}

function judged(task: Unjudged, adjustedP: number): TaskComparison {
  const gain = task.higherIsBetter ? task.difference : -task.difference;
  const verdict =
    adjustedP < ALPHA && gain !== 0
      ? gain > 0
        ? 'better'
        : 'worse'
      : task.counts.learned + task.counts.forgotten === 0
        ? 'same'
        : 'unclear';
  return { ...task, adjustedP, verdict };
}

function meanOf(tasks: readonly TaskComparison[]): Comparison['mean'] {
  const inPoints = tasks.filter(({ unit, higherIsBetter }) => unit === 'points' && higherIsBetter);
  if (inPoints.length < 2) return undefined;
  const numTasks = inPoints.length;
  const difference = mean(inPoints.map((task) => task.difference));
  // The half interval stands for the error: it is not 0 where no answer differed.
  const z = criticalT(ALPHA);
  const stderr =
    Math.sqrt(inPoints.reduce((sum, { stderr: own, low, high }) => sum + Math.max(own, (high - low) / 2 / z) ** 2, 0)) /
    numTasks;
  return {
    numTasks,
    difference,
    stderr,
    low: difference - z * stderr,
    high: difference + z * stderr,
    p: twoSidedP(difference / stderr, Infinity),
  };
}
