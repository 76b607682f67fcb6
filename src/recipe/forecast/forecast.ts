// A forecast of a held-out loss, from a part of a run for the rest of it, or from other runs for a run with another schedule.
//
// The training loss is dense, but noisy and of other documents; the held-out loss exact, but rare. Both are taken to move alike:
//   heldOut(s) = level + ratio (law(s) - law(origin)), with a prior near 1 on the ratio, and the law of annealing-law.ts.
// One run does not determine the whole law (pretraining's area dwarfs the run's; annealing has hardly begun when a forecast is wanted). So
// what it leaves open has a prior, and the interval is that of the posterior: what the data do not say widens it. Residuals that hang
// together, and misses of forecasts from an earlier part of the same run, widen it further. docs/LOG.md has its record on real runs.
//
// Parametrisation of continued pretraining: the level before the first step, which is measured, and what pretraining could still have
// removed, G = A S1before^-alpha, which enters as G [(1 + S1/S1before)^-alpha - 1]. As S1 is far below S1before, only alpha G / S1before
// matters, so S1before itself is given or assumed and its uncertainty is in G's prior: from 5 to 100 times the run's area, forecasts of
// our runs moved by less than 0.6 of the half-width of their intervals.
import { type LossLaw, lossAt, TYPICAL_C } from './annealing-law.ts';
import { lrAreas, numWarmupSteps } from './areas.ts';
import { derivative, fitRobust, type Prior, type RobustFit } from './least-squares.ts';

/** What a run has recorded. */
export interface ObservedRun {
  /** LR of each step, at least up to the last record. */
  lr: ArrayLike<number>;
  /** Loss of the batch after `index` steps, nats; NaN where there is none. Of text read for the first time: repeated text is memorised. */
  training?: ArrayLike<number>;
  /** Nats, after `step` steps. */
  heldOut: readonly { step: number; loss: number }[];
}

export interface ForecastInputs {
  /** Size of the held-out set. */
  heldOutTokens?: number;
  /** From the same weights, on the same blend and batch. */
  runs: readonly ObservedRun[];
  /** LR of each step of the run to forecast. */
  lr: ArrayLike<number>;
  /** Forward area of pretraining; 0: the weights were random; undefined: unknown. */
  s1Before?: number;
  /** Numbers of steps done for which a loss is wanted; the last one's interval decides whether there is a forecast. */
  steps: readonly number[];
}

export interface ForecastPoint {
  step: number;
  /** Nats. */
  loss: number;
  /** 90 % interval, nats. */
  low: number;
  high: number;
}

/** `why`: what keeps the data from determining one. */
export type Forecast = { points: ForecastPoint[]; why?: undefined } | { points?: undefined; why: string };

/** Two-sided 90 % of a normal distribution. */
const Z90 = 1.645;
const MAX_BINS = 80;
/** Of a run from random weights, left out. */
const EARLY_SHARE = 0.05;
/** Bins of training loss that stand in for further scores. */
const MIN_BINS = 10;
const MIN_SCORES = { withTraining: 2, alone: 4 };
/** Scores that differ by less are equal. */
const MIN_MOVEMENT = 1e-6;
/** Huber's constant: 95 % efficiency on normal residuals. In log loss it is above the 1e-3 that suits curves without noise. */
const HUBER_SIGMAS = 1.345;
/**
 * Scatter of a held-out loss around a smooth law, relative: documents are learned one by one, so a small set moves in jerks. Assumption: 0.6
 * over the root of its tokens, 0.8 % at 6k, at least 0.3 %; docs/LOG.md has how often intervals then held.
 */
const HELD_OUT_SCATTER = { perRootToken: 0.6, least: 0.003 };
/** Where a set's size is not given. */
const TYPICAL_HELD_OUT_TOKENS = 40_000;
/** An interval that reaches further than the scores have moved, and than this share of the loss, is no forecast. */
const MAX_HALF_WIDTH = 0.02;
/**
 * 1 - lambda in units of one over the run's steps: S2 is computed for these and interpolated between them. The paper has 20 to 60 (0.999 in runs of
 * 20,000 to 60,000 steps), our shorter runs fit best with 6 to 60: a fall of the LR works over a share of the run, not over so many steps.
 */
const FORGETTING = [2, 5, 10, 20, 50, 100];
const LOG_FORGETTING = FORGETTING.map(Math.log);
/** Lambda is at least this, in runs of a few steps. */
const MIN_LAMBDA = 0.5;
/** Where pretraining's area is unknown, in multiples of the run's. Assumption; it hardly matters (see above). */
const ASSUMED_S1_BEFORE = 20;

/** Losses with their intervals, or why there are none. Unusable input determines no forecast; nothing is thrown. */
export function forecastLoss({ heldOutTokens, runs, lr, s1Before, steps }: ForecastInputs): Forecast {
  const { perRootToken, least } = HELD_OUT_SCATTER;
  const heldOutSd = Math.max(least, perRootToken / Math.sqrt(heldOutTokens ?? TYPICAL_HELD_OUT_TOKENS));
  const target = scheduleOf(lr, lr.length);
  const observations = runs
    .flatMap((run) => observe(run, run.lr === lr ? target : scheduleOf(run.lr, lr.length), s1Before === 0, heldOutSd))
    .toSorted((a, b) => a.step - b.step);
  const scores = observations.filter(({ isHeldOut }) => isHeldOut).map(({ logLoss }) => logLoss);
  const enough = observations.length - scores.length >= MIN_BINS ? MIN_SCORES.withTraining : MIN_SCORES.alone;
  if (scores.length < enough)
    return { why: `it has been scored ${scores.length} of the ${enough} times that it takes` };
  const moved = Math.max(...scores) - Math.min(...scores);
  if (moved < MIN_MOVEMENT) return { why: 'its score has not moved' };
  const total = target.s1.at(-1)!;
  const scene = { isNew: s1Before === 0, s1Before: s1Before ?? ASSUMED_S1_BEFORE * total, total, numSteps: lr.length };
  const fitted = fitLaw(observations, scene);
  if (!fitted) return { why: 'the law does not fit what was measured' };
  const inflation = scatter(fitted.best.residuals) * pastMisses(observations, scene);
  const points = steps.map((step) => {
    const { value, sd } = fitted.predict(at(target, step), true);
    const half = Z90 * Math.hypot(sd * Math.sqrt(inflation), heldOutSd * value);
    return { step, loss: value, low: value - half, high: value + half };
  });
  const last = points.at(-1);
  if (!last || !Number.isFinite(last.high) || last.loss <= 0) return { why: 'the law does not fit what was measured' };
  if ((last.high - last.loss) / last.loss > Math.max(moved, MAX_HALF_WIDTH))
    return { why: 'its interval would be wider than all that the score has moved' };
  return { points };
}

/** Where a schedule is, as the law sees it: S2 by FORGETTING. */
interface Place {
  s1: number;
  s2: readonly number[];
}

interface Observation extends Place {
  step: number;
  logLoss: number;
  /** Of logLoss. */
  sd: number;
  isHeldOut: boolean;
}

/** Of the run to forecast. */
interface Scene {
  isNew: boolean;
  s1Before: number;
  total: number;
  numSteps: number;
}

/** @param numSteps of the run to forecast */
function scheduleOf(
  lr: ArrayLike<number>,
  numSteps: number,
): { s1: Float64Array; s2: Float64Array[]; numWarmup: number } {
  const areas = FORGETTING.map((x) => lrAreas(lr, Math.max(MIN_LAMBDA, 1 - x / numSteps)));
  return { s1: areas[0]!.s1, s2: areas.map(({ s2 }) => s2), numWarmup: numWarmupSteps(lr) };
}

function at({ s1, s2 }: ReturnType<typeof scheduleOf>, step: number): Place {
  return { s1: s1[step]!, s2: s2.map((values) => values[step]!) };
}

function interpolateS2(s2: readonly number[], logForgetting: number): number {
  const next = LOG_FORGETTING.findIndex((x) => x > logForgetting);
  const i = next < 0 ? LOG_FORGETTING.length - 2 : Math.max(0, next - 1);
  const [from, to] = [LOG_FORGETTING[i]!, LOG_FORGETTING[i + 1]!];
  const share = Math.max(0, Math.min(1, (logForgetting - from) / (to - from)));
  return s2[i]! * (1 - share) + s2[i + 1]! * share;
}

/** What the parameters of a fit mean, and where the search begins. */
interface Model {
  /** Loss at parameters p, nats. */
  value: (p: Float64Array, place: Place, isHeldOut: boolean) => number;
  priors: (Prior | undefined)[];
  starts: number[][];
}

/** Parameters 0 to 4: level, log G, log alpha, log C, log ((1 - lambda) steps); then, in continued pretraining, B, log E, log beta; then level and log ratio of the held-out loss. */
function modelOf(observations: readonly Observation[], scene: Scene): Model {
  const { isNew, s1Before, total, numSteps } = scene;
  const end = observations.reduce((a, b) => (b.s1 > a.s1 ? b : a));
  const isBoth = new Set(observations.map((o) => o.isHeldOut)).size === 2;
  const [first, level] = [Math.exp(observations[0]!.logLoss), Math.exp(end.logLoss)];
  // G is what is left to remove after this area.
  const reference = isNew ? end.s1 : s1Before;
  const origin = isNew ? end : { s1: 0, s2: FORGETTING.map(() => 0) };
  const iTie = isNew ? 5 : 8;
  const lawOf = (p: Float64Array): LossLaw => {
    const alpha = Math.exp(p[2]!);
    const a = Math.exp(p[1]! + alpha * Math.log(reference));
    const forget = Math.exp(p[4]!) / numSteps;
    return {
      l0: isNew ? p[0]! : p[0]! - Math.exp(p[1]!),
      a,
      alpha,
      // Fits of one curve with different lambdas have C about proportional to this root.
      c: Math.exp(p[3]!) * Math.sqrt(forget / 0.001),
      lambda: 1 - forget,
      s1Before: isNew ? 0 : s1Before,
      ...(!isNew && { shift: { b: p[5]!, e: Math.exp(p[6]!) / total, beta: Math.exp(p[7]!) } }),
    };
  };
  const value = (p: Float64Array, place: Place, isHeldOut: boolean): number => {
    const law = lawOf(p);
    const loss = ({ s1, s2 }: Place): number => lossAt(law, s1, interpolateS2(s2, p[4]!));
    return isBoth && isHeldOut ? p[iTie]! + Math.exp(p[iTie + 1]!) * (loss(place) - loss(origin)) : loss(place);
  };
  // Assumptions, wide ones. Alpha and C: published fits and ours lie between 0.16 and 0.6, and near 0.5. lambda: see
  // FORGETTING. The shift moves on the scale of the run. The ratio: held-out documents of a corpus that is
  // read once moved by 0.87 to 1.07 of its training loss on our runs.
  const priors: Model['priors'] = [
    isNew ? { mean: 0.6 * level, sd: 0.3 * level } : undefined,
    { mean: Math.log(0.3 * level), sd: isNew ? 1 : 0.7 },
    { mean: Math.log(0.4), sd: isNew ? 0.6 : 0.3 },
    { mean: Math.log(TYPICAL_C), sd: 0.7 },
    { mean: Math.log(10), sd: 1 },
    ...(isNew
      ? []
      : [
          { mean: 0, sd: 0.5 * level },
          { mean: Math.log(5), sd: 1.2 },
          { mean: Math.log(0.5), sd: 0.3 },
        ]),
    ...(isBoth ? [undefined, isNew ? { mean: -0.05, sd: 0.1 } : { mean: -0.05, sd: 0.12 }] : []),
  ];
  const scores = observations.filter((o) => o.isHeldOut);
  const tie = [Math.exp(scores.at(isNew ? -1 : 0)?.logLoss ?? 0), 0];
  const common = [Math.log(TYPICAL_C), Math.log(10)];
  const starts = isNew
    ? [0.2, 0.5, 1].map((alpha) => [0.6 * level, Math.log(0.3 * level), Math.log(alpha), ...common])
    : [2, 10, 50].map((e) => {
        const done = 1 - (1 + (e * end.s1) / total) ** -0.5;
        const shift = [(level - first) / Math.max(done, 1e-3), Math.log(e), Math.log(0.5)];
        return [first, Math.log(0.3 * level), Math.log(0.4), ...common, ...shift];
      });
  return { value, priors, starts: starts.map((start) => [...start, ...(isBoth ? tie : [])]) };
}

interface Fitted {
  best: RobustFit;
  predict: (place: Place, isHeldOut: boolean) => { value: number; sd: number };
}

function fitLaw(observations: readonly Observation[], scene: Scene): Fitted | undefined {
  const { value, priors, starts } = modelOf(observations, scene);
  const residuals = (p: Float64Array): Float64Array =>
    Float64Array.from(observations, (o) => {
      const predicted = value(p, o, o.isHeldOut);
      return predicted > 0 ? (Math.log(predicted) - o.logLoss) / o.sd : Number.POSITIVE_INFINITY;
    });
  const best = starts
    .map((start) => fitRobust({ residuals, start, priors, delta: HUBER_SIGMAS }))
    .filter((found) => found !== undefined)
    .toSorted((a, b) => a.cost - b.cost)[0];
  if (!best) return undefined;
  return { best, predict: (place, isHeldOut) => withSd(best, (p) => value(p, place, isHeldOut)) };
}

/** A function of the parameters with its standard deviation, to first order. */
function withSd({ parameters, covariance }: RobustFit, f: (p: Float64Array) => number): { value: number; sd: number } {
  const gradient = parameters.map((_, j) => derivative((p) => Float64Array.of(f(p)), parameters, j)[0]!);
  const variance = gradient.reduce(
    (sum, gi, i) => sum + gi * gradient.reduce((inner, gj, j) => inner + gj * covariance[i]![j]!, 0),
    0,
  );
  return { value: f(parameters), sd: Math.sqrt(Math.max(0, variance)) };
}

/** Variance of the residuals beyond what their sd's say, times what it costs that they hang together (a first-order process); at least 1. */
function scatter(residuals: Float64Array): number {
  const n = residuals.length;
  const clipped = residuals.map((r) => Math.max(-4, Math.min(4, r)));
  const square = clipped.reduce((sum, r) => sum + r * r, 0) / n;
  const lag = clipped.reduce((sum, r, i) => sum + (i > 0 ? r * clipped[i - 1]! : 0), 0) / n;
  const rho = square === 0 ? 0 : Math.max(0, Math.min(0.8, lag / square));
  return Math.max(1, square) * ((1 + rho) / (1 - rho));
}

const MIN_KNOWN = 8;
const MIN_REST = 3;

/** Mean squared miss, in its own variance, of forecasts from the first half and three quarters of what is known; at least 1, which counts as one more. */
function pastMisses(observations: readonly Observation[], scene: Scene): number {
  const last = observations.at(-1)!.step;
  const misses = [0.5, 0.75].flatMap((share) => {
    const known = observations.filter(({ step }) => step <= share * last);
    const rest = observations.filter(({ step }) => step > share * last);
    const fitted = known.length < MIN_KNOWN || rest.length < MIN_REST ? undefined : fitLaw(known, scene);
    return fitted ? [squaredMiss(fitted, rest)] : [];
  });
  return Math.max(1, (1 + misses.reduce((sum, x) => sum + x, 0)) / (1 + misses.length));
}

/** Of the weighted mean of `rest`, over the variance expected of it. */
function squaredMiss({ best, predict }: Fitted, rest: readonly Observation[]): number {
  let [miss, modelSd, weights] = [0, 0, 0];
  for (const observation of rest) {
    const predicted = predict(observation, observation.isHeldOut);
    const weight = 1 / observation.sd ** 2;
    miss += weight * (Math.log(predicted.value) - observation.logLoss);
    modelSd += (weight * predicted.sd) / predicted.value;
    weights += weight;
  }
  const variance = (modelSd / weights) ** 2 * scatter(best.residuals) + 1 / weights;
  const squared = (miss / weights) ** 2 / variance;
  return Number.isFinite(squared) ? squared : 0;
}

/** Training losses in bins that are narrow where the curve bends, and the held-out losses. */
function observe(
  { lr, training = [], heldOut }: ObservedRun,
  schedule: ReturnType<typeof scheduleOf>,
  isNew: boolean,
  heldOutSd: number,
): Observation[] {
  const last = Math.min(training.length, lr.length + 1);
  // From random weights, the first steps learn how frequent words are, faster than any power law.
  const from = isNew ? Math.max(2 * schedule.numWarmup, Math.round(EARLY_SHARE * Math.max(last, lr.length)), 1) : 0;
  const result = heldOut
    .filter(({ step, loss }) => isLoss(loss) && step <= lr.length && step >= from)
    .map(({ step, loss }) => ({
      ...at(schedule, step),
      step,
      logLoss: Math.log(loss),
      sd: heldOutSd,
      isHeldOut: true,
    }));
  const noise = noiseOf(training, from);
  for (let bin = 1, first = from; bin <= MAX_BINS && first < last; bin++) {
    const end = Math.min(last, Math.max(first + 1, Math.round(from + (last - from) * (bin / MAX_BINS) ** 2)));
    let [sum, steps, n] = [0, 0, 0];
    for (; first < end; first++) {
      if (!isLoss(training[first]!)) continue;
      sum += Math.log(training[first]!);
      steps += first;
      n++;
    }
    if (n === 0) continue;
    const step = Math.round(steps / n);
    // A thousandth is what any law is good for.
    const sd = Math.max(noise / Math.sqrt(n), 1e-3);
    result.push({ ...at(schedule, step), step, logLoss: sum / n, sd, isHeldOut: false });
  }
  return result;
}

function isLoss(value: number): boolean {
  return value > 0 && Number.isFinite(value);
}

/** Scatter of one step's log loss, from differences of neighbours, which no trend moves. */
function noiseOf(values: ArrayLike<number>, from: number): number {
  const logs = Array.from(values).slice(from).filter(isLoss).map(Math.log);
  const differences = logs.slice(1).map((x, i) => Math.abs(x - logs[i]!));
  const middle = differences.toSorted((a, b) => a - b)[differences.length >> 1] ?? 0;
  return (1.4826 * middle) / Math.SQRT2;
}
