// Robust nonlinear least squares for a handful of parameters: Levenberg-Marquardt (Marquardt 1963) on Huber's loss by iterative
// reweighting, with Gaussian priors as further residuals. Jacobians by central differences: a fit has at most ten parameters.

export interface Prior {
  mean: number;
  sd: number;
}

export interface RobustProblem {
  /** Residuals at a point, each over its standard deviation; may be infinite outside the model's domain. */
  residuals: (parameters: Float64Array) => Float64Array;
  start: ArrayLike<number>;
  /** By parameter; undefined: flat. */
  priors?: readonly (Prior | undefined)[];
  /** Where Huber's loss turns from quadratic to linear, in the residuals' unit. */
  delta: number;
}

export interface RobustFit {
  parameters: Float64Array;
  /** Huber's loss plus the priors' half squares. */
  cost: number;
  /** Inverse of the reweighted normal matrix with the priors: covariance of the parameters where residuals have unit variance. */
  covariance: Float64Array[];
  /** At the solution, without the priors. */
  residuals: Float64Array;
}

const MAX_ITERATIONS = 200;
/** Relative gain of cost below which a minimum is taken as found. */
const TOLERANCE = 1e-10;

/** @returns undefined where the start lies outside the model's domain or the curvature cannot be inverted */
export function fitRobust(problem: RobustProblem): RobustFit | undefined {
  let parameters = Float64Array.from(problem.start);
  let residuals = problem.residuals(parameters);
  let cost = costOf(residuals, parameters, problem);
  if (!Number.isFinite(cost)) return undefined;
  let damping = 1e-3;
  for (let iteration = 0; iteration < MAX_ITERATIONS; iteration++) {
    const { normal, gradient } = linearise(problem, parameters, residuals);
    let gained = 0;
    for (; damping < 1e12; damping *= 4) {
      const damped = normal.map((row, i) => row.map((x, j) => (i === j ? x * (1 + damping) + 1e-12 : x)));
      const step = solve(damped, gradient);
      if (!step) continue;
      const tried = parameters.map((x, i) => x - step[i]!);
      const triedResiduals = problem.residuals(tried);
      const triedCost = costOf(triedResiduals, tried, problem);
      if (!(triedCost < cost)) continue;
      gained = cost - triedCost;
      [parameters, residuals, cost] = [tried, triedResiduals, triedCost];
      damping = Math.max(damping / 10, 1e-12);
      break;
    }
    if (gained <= TOLERANCE * cost) break;
  }
  const covariance = invert(linearise(problem, parameters, residuals).normal);
  return covariance && { parameters, cost, covariance, residuals };
}

function costOf(residuals: Float64Array, parameters: Float64Array, { delta, priors = [] }: RobustProblem): number {
  let cost = 0;
  for (const r of residuals) {
    const size = Math.abs(r);
    cost += size <= delta ? 0.5 * r * r : delta * (size - 0.5 * delta);
  }
  priors.forEach((prior, i) => {
    if (prior) cost += 0.5 * ((parameters[i]! - prior.mean) / prior.sd) ** 2;
  });
  return cost;
}

function linearise(
  { residuals: f, delta, priors = [] }: RobustProblem,
  parameters: Float64Array,
  residuals: Float64Array,
): { normal: Float64Array[]; gradient: Float64Array } {
  const n = parameters.length;
  const columns = Array.from({ length: n }, (_, j) => derivative(f, parameters, j));
  const weights = residuals.map((r) => (Math.abs(r) <= delta ? 1 : delta / Math.abs(r)));
  const normal = Array.from({ length: n }, () => new Float64Array(n));
  const gradient = new Float64Array(n);
  for (let j = 0; j < n; j++) {
    const column = columns[j]!;
    for (let i = 0; i < residuals.length; i++) gradient[j]! += weights[i]! * column[i]! * residuals[i]!;
    for (let k = 0; k <= j; k++) {
      const other = columns[k]!;
      let sum = 0;
      for (let i = 0; i < residuals.length; i++) sum += weights[i]! * column[i]! * other[i]!;
      normal[j]![k] = sum;
      normal[k]![j] = sum;
    }
    const prior = priors[j];
    if (!prior) continue;
    normal[j]![j]! += 1 / prior.sd ** 2;
    gradient[j]! += (parameters[j]! - prior.mean) / prior.sd ** 2;
  }
  return { normal, gradient };
}

/** Of every value by one parameter. */
export function derivative(
  f: (parameters: Float64Array) => Float64Array,
  parameters: Float64Array,
  index: number,
): Float64Array {
  const h = 1e-5 * Math.max(1, Math.abs(parameters[index]!));
  const shifted = (by: number): Float64Array => {
    const moved = Float64Array.from(parameters);
    moved[index]! += by;
    return f(moved);
  };
  const [up, down] = [shifted(h), shifted(-h)];
  return up.map((x, i) => {
    const slope = (x - down[i]!) / (2 * h);
    return Number.isFinite(slope) ? slope : 0;
  });
}

/** L of a symmetric positive definite matrix L L^T; undefined where it is not. */
function cholesky(matrix: readonly Float64Array[]): Float64Array[] | undefined {
  const lower = matrix.map((row) => new Float64Array(row.length));
  for (let i = 0; i < matrix.length; i++)
    for (let j = 0; j <= i; j++) {
      let sum = matrix[i]![j]!;
      for (let k = 0; k < j; k++) sum -= lower[i]![k]! * lower[j]![k]!;
      if (i === j && !(sum > 0)) return undefined;
      lower[i]![j] = i === j ? Math.sqrt(sum) : sum / lower[j]![j]!;
    }
  return lower;
}

/** x of A x = b for a symmetric positive definite A. */
export function solve(matrix: readonly Float64Array[], right: ArrayLike<number>): Float64Array | undefined {
  const lower = cholesky(matrix);
  if (!lower) return undefined;
  const n = matrix.length;
  const x = Float64Array.from(right);
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < i; k++) x[i]! -= lower[i]![k]! * x[k]!;
    x[i]! /= lower[i]![i]!;
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let k = i + 1; k < n; k++) x[i]! -= lower[k]![i]! * x[k]!;
    x[i]! /= lower[i]![i]!;
  }
  return x;
}

function invert(matrix: readonly Float64Array[]): Float64Array[] | undefined {
  const n = matrix.length;
  // A direction that nothing determines gets an enormous variance instead of none.
  const largest = Math.max(...matrix.map((row, i) => row[i]!));
  const regular = matrix.map((row, i) => row.map((x, j) => (i === j ? x + 1e-12 * largest : x)));
  const columns = Array.from({ length: n }, (_, j) =>
    solve(
      regular,
      Array.from({ length: n }, (_, i) => (i === j ? 1 : 0)),
    ),
  );
  return columns.every((column) => column !== undefined) ? columns : undefined;
}
