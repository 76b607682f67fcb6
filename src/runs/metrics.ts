// metrics.jsonl read into columns, and columns thinned out for charts.
import { readJsonLines } from './jsonl.ts';
import type { Metrics } from './types.ts';

/**
 * Reads metrics.jsonl. After a crash the engine resumes from its last checkpoint and writes some steps again: a line therefore takes
 * back every earlier line of its own or a later step, and what stands at the end is the history of the weights that exist.
 */
export function readMetrics(file: string): Metrics {
  const columns = new Map<string, Column>();
  const column = (name: string): Column => {
    const found = columns.get(name) ?? new Column();
    columns.set(name, found);
    return found;
  };
  let numSteps = 0;
  let gradients: Metrics['gradients'] = [];
  const numSkippedLines = readJsonLines(file, (line) => {
    const step = line.step;
    if (typeof step !== 'number' || !Number.isSafeInteger(step) || step < 0) return;
    numSteps = step + 1;
    for (const known of columns.values()) known.truncate(step);
    for (const name of NUMBERS) column(name).set(step, line[name]);
    if (gradients.at(-1) && gradients.at(-1)!.step >= step) gradients = gradients.filter((one) => one.step < step);
    if (line.gradients !== null && typeof line.gradients === 'object')
      gradients.push({ step, ...(line.gradients as Omit<Metrics['gradients'][number], 'step'>) });
    for (const [key, prefix] of BY_CORPUS) {
      const byCorpus = line[key];
      if (byCorpus !== null && typeof byCorpus === 'object')
        for (const [corpus, value] of Object.entries(byCorpus)) column(`${prefix}${corpus}`).set(step, value);
    }
  });
  const take = (name: string): Float64Array => column(name).toArray(numSteps);
  const takeAll = (prefix: string): Record<string, Float64Array> =>
    Object.fromEntries(
      [...columns.keys()]
        .filter((name) => name.startsWith(prefix))
        .map((name) => [name.slice(prefix.length), take(name)]),
    );
  return {
    numSteps,
    loss: take('loss'),
    ...(Object.fromEntries(BY_CORPUS.map(([key, prefix]) => [key, takeAll(prefix)])) as ByCorpus),
    lr: take('lr'),
    gradNorm: take('gradNorm'),
    tokens: take('tokens'),
    tokensPerSecond: take('tokensPerSecond'),
    stepMs: take('stepMs'),
    rssBytes: take('rssBytes'),
    gradients,
    distillKl: take('distillKl'),
    penalty: take('penalty'),
    numSkippedLines,
  };
}

const NUMBERS = [
  'loss',
  'lr',
  'gradNorm',
  'tokens',
  'tokensPerSecond',
  'stepMs',
  'rssBytes',
  'distillKl',
  'penalty',
] as const;
/** Names of columns that there is one of for each corpus begin so. */
const BY_CORPUS = [
  ['lossByCorpus', 'loss of '],
  ['excessByCorpus', 'excess of '],
] as const;
type ByCorpus = Pick<Metrics, (typeof BY_CORPUS)[number][0]>;

/** A growing array of numbers; NaN where nothing was set. */
class Column {
  private values = new Float64Array(1024).fill(Number.NaN);
  private length = 0;

  set(index: number, value: unknown): void {
    if (index >= this.values.length) {
      const grown = new Float64Array(Math.max(index + 1, this.values.length * 2)).fill(Number.NaN);
      grown.set(this.values);
      this.values = grown;
    }
    this.values[index] = typeof value === 'number' ? value : Number.NaN;
    this.length = Math.max(this.length, index + 1);
  }

  truncate(length: number): void {
    if (length >= this.length) return;
    this.values.fill(Number.NaN, length, this.length);
    this.length = length;
  }

  toArray(length: number): Float64Array {
    const result = new Float64Array(length).fill(Number.NaN);
    result.set(this.values.subarray(0, Math.min(length, this.length)));
    return result;
  }
}

/** A bucket of consecutive steps. */
export interface CurvePoint {
  /** Middle of the bucket's steps. */
  step: number;
  min: number;
  max: number;
  mean: number;
}

export const MAX_CURVE_POINTS = 2000;

/** A column in at most `maxPoints` buckets of equal width in steps; buckets without a finite value are left out. */
export function curve(values: ArrayLike<number>, maxPoints = MAX_CURVE_POINTS): CurvePoint[] {
  const width = Math.max(1, Math.ceil(values.length / maxPoints));
  const points: CurvePoint[] = [];
  for (let first = 0; first < values.length; first += width) {
    const end = Math.min(first + width, values.length);
    let [min, max, sum, count] = [Infinity, -Infinity, 0, 0];
    for (let i = first; i < end; i++) {
      const value = values[i]!;
      if (!Number.isFinite(value)) continue;
      min = Math.min(min, value);
      max = Math.max(max, value);
      sum += value;
      count++;
    }
    if (count > 0) points.push({ step: (first + end - 1) / 2, min, max, mean: sum / count });
  }
  return points;
}

/** Median of the finite values; undefined when there are none. */
export function median(values: ArrayLike<number>): number | undefined {
  return quantile(values, 0.5);
}

/** Quantile of the finite values, interpolated linearly; undefined when there are none. */
export function quantile(values: ArrayLike<number>, share: number): number | undefined {
  const sorted = Float64Array.from(values).filter(Number.isFinite).sort();
  if (sorted.length === 0) return undefined;
  const at = share * (sorted.length - 1);
  const low = Math.floor(at);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low]! + (sorted[high]! - sorted[low]!) * (at - low);
}
