// The LR-annealing law (Tissue et al. 2024, arXiv 2408.11029) and its form for continued pretraining (Wang et al. 2025, arXiv 2505.07796):
//
//   L = L0 + A (S1before + S1)^(-alpha) - C S2 + B [1 - (1 + E S1)^(-beta)]
//
// S1 and S2 are the areas of this run's LR. For random weights S1before = 0 and B = 0, which is the first paper's law. In continued
// pretraining, S1before is pretraining's forward area and the last term the shift between its data and this run's: B < 0 where the
// text is being learned, B > 0 where it is being forgotten. Pretraining's own annealing, -C1 S2before, is a constant here and part of L0.
// Verified against the authors' example code and its data (first law) and a public account of the second paper, not the papers themselves.
import { ANNEALING_LAMBDA, lrAreas, numWarmupSteps } from './areas.ts';
import { fitRobust } from './least-squares.ts';

export interface LossLaw {
  /** Nats, as are the other terms. */
  l0: number;
  a: number;
  alpha: number;
  c: number;
  /** Of S2. */
  lambda: number;
  /** Forward area before this run; 0 for random weights. */
  s1Before: number;
  shift?: { b: number; e: number; beta: number };
}

/** Loss at areas S1 and S2 (the latter with the law's lambda), nats; infinite at S1 = 0 of random weights. */
export function lossAt(law: LossLaw, s1: number, s2: number): number {
  const { shift } = law;
  const power = law.a * (law.s1Before + s1) ** -law.alpha;
  return law.l0 + power - law.c * s2 + (shift ? shift.b * (1 - (1 + shift.e * s1) ** -shift.beta) : 0);
}

/** The law's loss after 0 .. numSteps steps of a schedule, nats. @param lr LR of each step */
export function predictCurve(law: LossLaw, lr: ArrayLike<number>): Float64Array {
  const { s1, s2 } = lrAreas(lr, law.lambda);
  return s1.map((area, step) => lossAt(law, area, s2[step]!));
}

/** Losses measured on a schedule. */
export interface MeasuredCurve {
  /** LR of each step. */
  lr: ArrayLike<number>;
  /** Steps done when the loss was measured; those within the warm-up are left out. */
  steps: ArrayLike<number>;
  /** Nats. */
  losses: ArrayLike<number>;
}

export interface LawFit {
  law: LossLaw;
  numPoints: number;
  /** Mean absolute error over the fitted points, nats. */
  mae: number;
  r2: number;
}

/** Huber's delta on log residuals, the paper's. */
const HUBER_DELTA = 1e-3;
/** Four parameters through fewer points than this would be a drawing. */
const MIN_POINTS = 8;
/** Curves that move less than this share say nothing of a law. */
const MIN_MOVEMENT = 1e-6;
const ALPHA_STARTS = [0.15, 0.3, 0.5, 0.8, 1.2];

/**
 * Fits L0, A, alpha and C to curves of models trained from random weights on the same data and batch: Huber's loss (delta 1e-3) on log
 * residuals, positive parameters as exponentials, five starts of alpha; of several lambdas, the one that fits best. The law then predicts
 * any other schedule.
 * @returns undefined where the curves determine no law: too few points, no movement, losses that are not positive and finite
 */
export function fitAnnealingLaw(
  curves: readonly MeasuredCurve[],
  { lambdas = [ANNEALING_LAMBDA] }: { lambdas?: readonly number[] } = {},
): LawFit | undefined {
  const fits = lambdas.map((lambda) => fitWithLambda(curves, lambda)).filter((fit) => fit !== undefined);
  return fits.toSorted((a, b) => a.cost - b.cost)[0]?.fit;
}

function fitWithLambda(curves: readonly MeasuredCurve[], lambda: number): { cost: number; fit: LawFit } | undefined {
  const points = curves.flatMap(({ lr, steps, losses }) => {
    const { s1, s2 } = lrAreas(lr, lambda);
    const warmup = numWarmupSteps(lr);
    return Array.from(steps, (step, i) => ({ s1: s1[step]!, s2: s2[step]!, loss: losses[i]! })).filter(
      (point, i) => steps[i]! > warmup && point.s1 > 0 && point.loss > 0 && Number.isFinite(point.loss),
    );
  });
  const losses = points.map(({ loss }) => loss);
  const [low, high] = extremes(losses);
  if (points.length < MIN_POINTS || high - low < MIN_MOVEMENT * high) return undefined;
  // The power is taken relative to the largest area, so that A does not move by orders of magnitude with alpha.
  const [, reference] = extremes(points.map(({ s1 }) => s1));
  const lawOf = (p: Float64Array): LossLaw => {
    const alpha = Math.exp(p[2]!);
    const a = Math.exp(p[1]! + alpha * Math.log(reference));
    return { l0: Math.exp(p[0]!), a, alpha, c: Math.exp(p[3]!), lambda, s1Before: 0 };
  };
  const residuals = (p: Float64Array): Float64Array => {
    const law = lawOf(p);
    return Float64Array.from(points, ({ s1, s2, loss }) => {
      const predicted = lossAt(law, s1, s2);
      return predicted > 0 ? Math.log(predicted / loss) : Number.POSITIVE_INFINITY;
    });
  };
  const best = ALPHA_STARTS.map((alpha) =>
    fitRobust({
      residuals,
      start: [Math.log(0.7 * low), Math.log(0.3 * low), Math.log(alpha), Math.log(TYPICAL_C)],
      delta: HUBER_DELTA,
    }),
  )
    .filter((fit) => fit !== undefined)
    .toSorted((a, b) => a.cost - b.cost)[0];
  if (!best) return undefined;
  const law = lawOf(best.parameters);
  if (![law.l0, law.a, law.alpha, law.c].every(Number.isFinite)) return undefined;
  const predicted = points.map(({ s1, s2 }) => lossAt(law, s1, s2));
  return { cost: best.cost, fit: { law, numPoints: points.length, ...goodness(predicted, losses) } };
}

function extremes(values: readonly number[]): [low: number, high: number] {
  return values.reduce<[number, number]>(
    ([low, high], x) => [Math.min(low, x), Math.max(high, x)],
    [Infinity, -Infinity],
  );
}

/** C at lambda 0.999: 0.41 on the authors' example data, 0.49 on the embedded base's pretraining. */
export const TYPICAL_C = 0.5;

/** Mean absolute error and the share of variance explained; the latter NaN where nothing varies. */
export function goodness(predicted: ArrayLike<number>, measured: ArrayLike<number>): { mae: number; r2: number } {
  const values = Array.from(measured);
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
  const errors = values.map((x, i) => predicted[i]! - x);
  const total = values.reduce((sum, x) => sum + (x - mean) ** 2, 0);
  return {
    mae: errors.reduce((sum, e) => sum + Math.abs(e), 0) / errors.length,
    r2: total > 0 ? 1 - errors.reduce((sum, e) => sum + e * e, 0) / total : Number.NaN,
  };
}
