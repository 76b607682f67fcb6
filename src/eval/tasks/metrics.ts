// Scores of single documents, and of all of them: lm_eval/api/metrics.py and sklearn's f1 and Matthews correlation, with the standard
// errors that lm-evaluation-harness gives: the formula for means, the bootstrap for what it names, none for the rest.
import { ConfigError } from '../../base/errors.ts';
import { PythonRandom } from '../python/random.ts';
import { compileRegex, substitute } from '../python/regex.ts';
import { lengthOf, str } from '../python/text.ts';
import type { RunCode, Twin } from '../twins/index.ts';
import type { OutputType } from './definition.ts';
import { twinOf } from './definition.ts';
import { FunctionName, type RawConfig } from './yaml.ts';

export interface Aggregation {
  name: string;
  of: (items: readonly unknown[]) => number;
  /** A task's own function, which may take its time. */
  twin?: Twin;
  stderr: 'mean' | 'bootstrap' | 'none';
}

/** @param runCode runs a generated program, where the user allowed it */
export type ScoreText = (references: readonly unknown[], predictions: readonly unknown[], runCode?: RunCode) => unknown;

export interface Metric {
  name: string;
  aggregation: Aggregation;
  higherIsBetter: boolean;
  /** Of generated text. */
  scoreText?: ScoreText;
}

/** Resamples of the bootstrap: 100 times 1000, as lm-evaluation-harness by default. */
const CHUNKS = 100;
const CHUNK = 1000;
/** Draws at most: with more than 1000 documents fewer resamples are made, whose error is still below 2 % at 50 000 documents. */
const MAX_DRAWS = 1e8;

function numbers(items: readonly unknown[]): number[] {
  return items.map((item) => {
    if (typeof item === 'number') return item;
    if (typeof item === 'boolean') return Number(item);
    throw new ConfigError(
      `a mean of ${JSON.stringify(item)?.slice(0, 80)} was asked for: only numbers have one. Name another aggregation.`,
    );
  });
}

export function mean(values: readonly number[]): number {
  let sum = 0;
  for (const value of values) sum += value;
  return sum / values.length;
}

function sampleDeviation(values: readonly number[]): number {
  const middle = mean(values);
  let sum = 0;
  for (const value of values) sum += (value - middle) ** 2;
  return Math.sqrt(sum / (values.length - 1));
}

type Pair = readonly [number, number];

function weightedMean(items: readonly unknown[]): number {
  let a = 0;
  let b = 0;
  for (const [value, weight] of items as Pair[]) {
    a += value;
    b += weight;
  }
  return a / b;
}

/** Of labels 0 and 1, 1 being the one looked for. */
function binaryF1(items: readonly unknown[]): number {
  let both = 0;
  let either = 0;
  for (const [gold, predicted] of items as Pair[]) {
    if (![0, 1].includes(Number(gold)) || ![0, 1].includes(Number(predicted)))
      throw new ConfigError(
        `the metric f1 is of labels 0 and 1, found ${String(gold)} and ${String(predicted)}. For more classes use acc or mcc.`,
      );
    if (Number(gold) === 1 && predicted === 1) both++;
    either += Number(gold) + predicted;
  }
  return either === 0 ? 0 : (2 * both) / either;
}

/** Of any number of classes (Gorodkin 2004), as sklearn has it. */
function matthews(items: readonly unknown[]): number {
  const golds = new Map<unknown, number>();
  const guesses = new Map<unknown, number>();
  let correct = 0;
  for (const [gold, guess] of items as [unknown, unknown][]) {
    golds.set(gold, (golds.get(gold) ?? 0) + 1);
    guesses.set(guess, (guesses.get(guess) ?? 0) + 1);
    if (gold === guess) correct++;
  }
  const n = items.length;
  let cross = 0;
  let goldSquares = 0;
  let guessSquares = 0;
  for (const [label, count] of golds) {
    cross += count * (guesses.get(label) ?? 0);
    goldSquares += count * count;
  }
  for (const count of guesses.values()) guessSquares += count * count;
  const scale = Math.sqrt((n * n - goldSquares) * (n * n - guessSquares));
  return scale === 0 ? 0 : (correct * n - cross) / scale;
}

function brier(items: readonly unknown[]): number {
  return mean(
    (items as [number, number[]][]).map(([gold, probabilities]) =>
      probabilities.reduce((sum, p, i) => sum + (p - (i === gold ? 1 : 0)) ** 2, 0),
    ),
  );
}

const AGGREGATIONS: Readonly<Record<string, Aggregation>> = Object.fromEntries(
  (
    [
      ['mean', (items) => mean(numbers(items)), 'mean'],
      ['median', (items) => numbers(items).sort((a, b) => a - b)[items.length >> 1], 'bootstrap'],
      ['nanmean', (items) => mean(numbers(items).filter((value) => !Number.isNaN(value))), 'bootstrap'],
      ['perplexity', (items) => Math.exp(-mean(items as number[])), 'bootstrap'],
      ['weighted_perplexity', (items) => Math.exp(-weightedMean(items)), 'none'],
      ['bits_per_byte', (items) => -weightedMean(items) / Math.LN2, 'none'],
      ['f1', binaryF1, 'bootstrap'],
      ['matthews_corrcoef', matthews, 'bootstrap'],
      ['brier_score', brier, 'none'],
      ['bypass', () => 999, 'none'],
    ] as [string, Aggregation['of'], Aggregation['stderr']][]
  ).map(([name, of, stderr]) => [name, { name, of, stderr }]),
);

/** The standard error of an aggregation over a task's documents; undefined where lm-evaluation-harness gives none. */
export function standardError(aggregation: Aggregation, items: readonly unknown[]): number | undefined {
  if (items.length < 2 || aggregation.stderr === 'none') return undefined;
  if (aggregation.stderr === 'mean') return sampleDeviation(numbers(items)) / Math.sqrt(items.length);
  const chunks = Math.max(1, Math.min(CHUNKS, Math.floor(MAX_DRAWS / (CHUNK * items.length))));
  const n = items.length;
  const results: number[] = [];
  const drawn: unknown[] = new Array(n);
  for (let chunk = 0; chunk < chunks; chunk++) {
    const random = new PythonRandom(chunk);
    for (let i = 0; i < CHUNK; i++) {
      for (let j = 0; j < n; j++) drawn[j] = items[Math.floor(random.random() * n)];
      results.push(aggregation.of(drawn));
    }
  }
  return sampleDeviation(results);
}

/** Of the mean over all documents of several tasks. */
export function pooledError(stderrs: readonly number[], sizes: readonly number[]): number {
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const variance = stderrs.reduce((sum, stderr, i) => sum + (sizes[i] - 1) * stderr ** 2 * sizes[i], 0);
  return Math.sqrt(variance / (total - sizes.length) / total);
}

/** Of the mean of several tasks' means. */
export function unweightedError(stderrs: readonly number[]): number {
  return Math.sqrt(stderrs.reduce((sum, stderr) => sum + stderr ** 2, 0)) / stderrs.length;
}

interface Known {
  aggregation: string;
  higherIsBetter: boolean;
  types: readonly OutputType[];
}

const CHOICE: readonly OutputType[] = ['multiple_choice'];
const KNOWN: Readonly<Record<string, Known>> = {
  acc: { aggregation: 'mean', higherIsBetter: true, types: ['loglikelihood', 'multiple_choice'] },
  acc_norm: { aggregation: 'mean', higherIsBetter: true, types: CHOICE },
  acc_bytes: { aggregation: 'mean', higherIsBetter: true, types: CHOICE },
  acc_mutual_info: { aggregation: 'mean', higherIsBetter: true, types: CHOICE },
  exact_match: { aggregation: 'mean', higherIsBetter: true, types: ['multiple_choice', 'generate_until'] },
  f1: { aggregation: 'f1', higherIsBetter: true, types: CHOICE },
  mcc: { aggregation: 'matthews_corrcoef', higherIsBetter: true, types: CHOICE },
  brier_score: { aggregation: 'brier_score', higherIsBetter: false, types: CHOICE },
  likelihood: { aggregation: 'mean', higherIsBetter: true, types: CHOICE },
  perplexity: { aggregation: 'perplexity', higherIsBetter: false, types: ['loglikelihood'] },
  word_perplexity: { aggregation: 'weighted_perplexity', higherIsBetter: false, types: ['loglikelihood_rolling'] },
  byte_perplexity: { aggregation: 'weighted_perplexity', higherIsBetter: false, types: ['loglikelihood_rolling'] },
  bits_per_byte: { aggregation: 'bits_per_byte', higherIsBetter: false, types: ['loglikelihood_rolling'] },
  bypass: {
    aggregation: 'bypass',
    higherIsBetter: true,
    types: ['loglikelihood', 'multiple_choice', 'generate_until'],
  },
};
const DEFAULTS: Readonly<Record<OutputType, readonly string[]>> = {
  loglikelihood: ['perplexity', 'acc'],
  loglikelihood_rolling: ['word_perplexity', 'byte_perplexity', 'bits_per_byte'],
  multiple_choice: ['acc', 'acc_norm'],
  generate_until: ['exact_match'],
};
const OPTIONS = ['metric', 'aggregation', 'higher_is_better', 'hf_evaluate'];

/** @param isOwn the task's process_results gives the scores @throws ConfigError */
export function readMetrics(given: unknown, outputType: OutputType, isOwn: boolean, where: string): Metric[] {
  const list =
    given === undefined || given === null ? DEFAULTS[outputType].map((metric) => ({ metric })) : [given].flat();
  return list.map((item) => readMetric(item as RawConfig, outputType, isOwn, where));
}

function readMetric(item: RawConfig, outputType: OutputType, isOwn: boolean, where: string): Metric {
  const { metric } = item;
  if (metric === undefined) throw new ConfigError(`${where}: an entry has no "metric".`);
  const own = metric instanceof FunctionName;
  const name = own ? metric.shortName : String(metric);
  const known = !own && Object.hasOwn(KNOWN, name) ? KNOWN[name] : undefined;
  const parameters = Object.fromEntries(Object.entries(item).filter(([key]) => !OPTIONS.includes(key)));
  const result: Metric = {
    name,
    aggregation: readAggregation(item.aggregation ?? known?.aggregation ?? 'mean', `${where}: ${name}`),
    higherIsBetter:
      typeof item.higher_is_better === 'boolean' ? item.higher_is_better : (known?.higherIsBetter ?? true),
  };
  if (isOwn) return result;
  if (own) {
    const twin = twinOf(metric, `${where}: ${name}`);
    const scoreText: ScoreText = (references, predictions, runCode) =>
      twin({ ...parameters, references, predictions, ...(runCode && { runCode }) });
    return { ...result, scoreText };
  }
  if (!known || (item.hf_evaluate === true && outputType === 'generate_until' && name !== 'exact_match'))
    throw new ConfigError(`${where}: the metric "${name}" is not supported; ${Object.keys(KNOWN).join(', ')} are.`);
  if (outputType !== 'generate_until') return result;
  if (name === 'exact_match') return { ...result, scoreText: exactMatch(parameters, where) };
  if (name === 'bypass') return { ...result, scoreText: () => null };
  throw new ConfigError(`${where}: the metric "${name}" is not one of generated text; exact_match is.`);
}

function readAggregation(given: unknown, where: string): Aggregation {
  if (given instanceof FunctionName) {
    const twin: Twin = twinOf(given, where);
    return { name: given.shortName, of: (items) => twin(items) as number, twin, stderr: 'none' };
  }
  const found = Object.hasOwn(AGGREGATIONS, String(given)) ? AGGREGATIONS[String(given)] : undefined;
  if (found) return found;
  throw new ConfigError(
    `${where}: the aggregation "${String(given)}" is not supported; ${Object.keys(AGGREGATIONS).join(', ')} are.`,
  );
}

const PUNCTUATION = /[!-/:-@[-`{-~]/g;

/** The share of predictions that equal their references, after what the options leave out. */
function exactMatch(options: RawConfig, where: string): ScoreText {
  let ignored: RegExp[];
  try {
    ignored = ((options.regexes_to_ignore ?? []) as unknown[]).map((pattern) => compileRegex(String(pattern)));
  } catch (error) {
    throw new ConfigError(`${where}: exact_match: ${(error as Error).message}.`);
  }
  const simplify = (value: unknown): string => {
    let text = ignored.reduce((rest, pattern) => substitute(pattern, '', rest), str(value));
    if (options.ignore_case) text = text.toLowerCase();
    if (options.ignore_punctuation) text = text.replace(PUNCTUATION, '');
    return options.ignore_numbers ? text.replace(/\d/g, '') : text;
  };
  return (references, predictions) =>
    mean(predictions.map((prediction, i) => (simplify(prediction) === simplify(references[i]) ? 1 : 0)));
}

/** A document's scores by multiple choice. */
export interface ChoiceAnswer {
  choices: readonly string[];
  /** Of each choice, given the context. */
  logLikelihoods: readonly number[];
  isGreedy: readonly boolean[];
  /** Of each choice by itself, where they were asked for. */
  unconditional?: readonly number[];
  /** Index of the right choice, or its text, or several indices. */
  gold: unknown;
  hasSeveralTargets: boolean;
}

/** All scores that multiple choice has, by name. */
export function scoreChoice(answer: ChoiceAnswer): Record<string, unknown> {
  const { choices, logLikelihoods, isGreedy, unconditional, hasSeveralTargets } = answer;
  const gold = goldIndex(answer.gold, choices);
  const best = argMax(logLikelihoods);
  const bestNorm = argMax(logLikelihoods.map((value, i) => value / lengthOf(choices[i])));
  const bestBytes = argMax(logLikelihoods.map((value, i) => value / Buffer.byteLength(choices[i])));
  const isRight = (index: number): number =>
    hasSeveralTargets ? Number(Array.isArray(gold) && gold.includes(index)) : Number(index === gold);
  const greedyAt = (index: unknown): boolean =>
    typeof index === 'number' && index !== NO_CHOICE && (isGreedy.at(index) ?? false);
  const isMatch = Array.isArray(gold) ? gold.some(greedyAt) : greedyAt(gold);
  const scores: Record<string, unknown> = {
    acc: isRight(best),
    f1: [gold, best],
    mcc: [gold, best],
    acc_norm: isRight(bestNorm),
    acc_bytes: isRight(bestBytes),
    exact_match: Number(isMatch),
    brier_score: [gold, softmax(logLikelihoods)],
    likelihood: [gold, logLikelihoods],
  };
  if (unconditional) {
    const information = logLikelihoods.map((value, i) => value - unconditional[i]);
    scores.acc_mutual_info = Number(argMax(information) === gold);
  }
  return scores;
}

const NO_CHOICE = -100;

function goldIndex(gold: unknown, choices: readonly string[]): unknown {
  if (Array.isArray(gold)) return gold.map((index) => (Number(index) < choices.length ? Number(index) : NO_CHOICE));
  if (typeof gold === 'string') return choices.includes(gold) ? choices.indexOf(gold) : NO_CHOICE;
  const index = typeof gold === 'boolean' ? Number(gold) : gold;
  return typeof index === 'number' && index >= choices.length ? NO_CHOICE : index;
}

/** The first of the largest. */
function argMax(values: readonly number[]): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

function softmax(values: readonly number[]): number[] {
  const largest = Math.max(...values);
  const powers = values.map((value) => Math.exp(value - largest));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}
