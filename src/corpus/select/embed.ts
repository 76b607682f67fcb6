// Vectors -> the plane, for a map: principal components, then t-SNE (van der Maaten and Hinton 2008), exact, begun from the first two
// components (Kobak and Berens 2019), so that there is no chance in it. Near points are near in the documents too; distances between far
// groups, and the sizes of groups, mean little.
import { Rng } from '../../base/rng.ts';

const NUM_COMPONENTS = 30;
const POWER_ITERATIONS = 30;
const ITERATIONS = 400;
const EXAGGERATION = 12;
const EARLY_ITERATIONS = 120;
const PERPLEXITY = 20;

/**
 * The first components of points about their mean, by subspace iteration on their covariance.
 * @param vectors numPoints x numDims; @returns numPoints x numComponents, largest variance first
 */
export function principalComponents(vectors: Float32Array, numDims: number, numComponents: number): Float64Array {
  const numPoints = vectors.length / numDims;
  const mean = new Float64Array(numDims);
  for (let i = 0; i < vectors.length; i++) mean[i % numDims] += vectors[i] / numPoints;
  const centred = Float64Array.from(vectors, (value, i) => value - mean[i % numDims]);
  const covariance = new Float64Array(numDims * numDims);
  for (let at = 0; at < centred.length; at += numDims)
    for (let i = 0; i < numDims; i++)
      for (let j = 0; j < numDims; j++) covariance[i * numDims + j] += (centred[at + i] * centred[at + j]) / numPoints;
  // Rows of `basis` are the components; any beginning that is across none of them will do.
  const rng = new Rng(1, 'components');
  let basis: Float64Array[] = Array.from({ length: numComponents }, () =>
    Float64Array.from({ length: numDims }, () => rng.normal()),
  );
  orthonormalise(basis);
  for (let iteration = 0; iteration < POWER_ITERATIONS; iteration++) {
    basis = basis.map((component) => product(covariance, component));
    orthonormalise(basis);
  }
  const result = new Float64Array(numPoints * numComponents);
  for (let point = 0; point < numPoints; point++)
    basis.forEach((component, c) => {
      let sum = 0;
      for (let i = 0; i < numDims; i++) sum += centred[point * numDims + i] * component[i];
      result[point * numComponents + c] = sum;
    });
  return result;
}

function product(matrix: Float64Array, vector: Float64Array): Float64Array {
  return vector.map((_, i) => {
    let sum = 0;
    for (let j = 0; j < vector.length; j++) sum += matrix[i * vector.length + j] * vector[j];
    return sum;
  });
}

/** Gram-Schmidt, in place; what is left of a vector that depends on those before it becomes zero. */
function orthonormalise(vectors: Float64Array[]): void {
  vectors.forEach((vector, i) => {
    const before = Math.hypot(...vector);
    for (const other of vectors.slice(0, i)) {
      const along = vector.reduce((sum, value, j) => sum + value * other[j], 0);
      for (let j = 0; j < vector.length; j++) vector[j] -= along * other[j];
    }
    const length = Math.hypot(...vector);
    const scale = length > 1e-10 * before ? 1 / length : 0;
    for (let j = 0; j < vector.length; j++) vector[j] *= scale;
  });
}

/** @param vectors numPoints x numDims; @returns x and y of each point, about 0 */
export function embedInPlane(vectors: Float32Array, numDims: number): Float64Array {
  const numPoints = vectors.length / numDims;
  if (numPoints < 3) return Float64Array.from({ length: 2 * numPoints }, (_, i) => (i === 2 ? 1 : 0));
  const numComponents = Math.min(NUM_COMPONENTS, numDims);
  const reduced = principalComponents(vectors, numDims, numComponents);
  const affinities = neighbourAffinities(reduced, numComponents);
  // A small beginning lets groups pass through each other.
  const spread = deviation(reduced, numComponents) || 1;
  const places = Float64Array.from(
    { length: 2 * numPoints },
    (_, i) => (reduced[(i >> 1) * numComponents + (i & 1)] / spread) * 1e-2,
  );
  descend(places, affinities);
  return places;
}

function deviation(points: Float64Array, numDims: number): number {
  let squares = 0;
  for (let at = 0; at < points.length; at += numDims) squares += points[at] ** 2;
  return Math.sqrt(squares / (points.length / numDims));
}

/** Symmetric affinities of all pairs, row by row; those of a point have the same perplexity for all. */
function neighbourAffinities(points: Float64Array, numDims: number): Float32Array {
  const n = points.length / numDims;
  const perplexity = Math.min(PERPLEXITY, (n - 1) / 3);
  const affinities = new Float32Array(n * n);
  const distances = new Float64Array(n);
  const row = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let d = 0; d < numDims; d++) sum += (points[i * numDims + d] - points[j * numDims + d]) ** 2;
      distances[j] = sum;
    }
    let [low, high, beta] = [0, Number.POSITIVE_INFINITY, 1];
    for (let attempt = 0; attempt < 60; attempt++) {
      const entropy = gaussian(distances, i, beta, row);
      if (Math.abs(entropy - Math.log(perplexity)) < 1e-4) break;
      if (entropy > Math.log(perplexity))
        [low, beta] = [beta, high === Number.POSITIVE_INFINITY ? 2 * beta : (beta + high) / 2];
      else [high, beta] = [beta, (low + beta) / 2];
    }
    for (let j = 0; j < n; j++) {
      affinities[i * n + j] += row[j] / (2 * n);
      affinities[j * n + i] += row[j] / (2 * n);
    }
  }
  return affinities;
}

/** Probabilities of neighbours by distance, into `row`; returns their entropy. */
function gaussian(distances: Float64Array, self: number, beta: number, row: Float64Array): number {
  let nearest = Number.POSITIVE_INFINITY;
  for (let j = 0; j < row.length; j++) if (j !== self) nearest = Math.min(nearest, distances[j]);
  let sum = 0;
  let mean = 0;
  for (let j = 0; j < row.length; j++) {
    row[j] = j === self ? 0 : Math.exp(-beta * (distances[j] - nearest));
    sum += row[j];
    mean += row[j] * (distances[j] - nearest);
  }
  for (let j = 0; j < row.length; j++) row[j] /= sum;
  return Math.log(sum) + (beta * mean) / sum;
}

/** Gradient descent with momentum and gains, as in the authors' own program. */
function descend(places: Float64Array, affinities: Float32Array): void {
  const n = places.length / 2;
  const velocity = new Float64Array(2 * n);
  const gains = new Float64Array(2 * n).fill(1);
  const pull = new Float64Array(2 * n);
  const push = new Float64Array(2 * n);
  // Points / exaggeration (Belkina et al. 2019), times the 4 that the gradient below leaves out.
  const rate = Math.max(50, 4 * (n / EXAGGERATION));
  for (let iteration = 0; iteration < ITERATIONS; iteration++) {
    const exaggeration = iteration < EARLY_ITERATIONS ? EXAGGERATION : 1;
    const momentum = iteration < EARLY_ITERATIONS ? 0.5 : 0.8;
    pull.fill(0);
    push.fill(0);
    let sum = 0;
    for (let i = 0; i < n; i++) {
      const [x, y] = [places[2 * i], places[2 * i + 1]];
      let [pullX, pullY, pushX, pushY] = [0, 0, 0, 0];
      for (let j = 0; j < i; j++) {
        const dx = x - places[2 * j];
        const dy = y - places[2 * j + 1];
        const q = 1 / (1 + dx * dx + dy * dy);
        const p = affinities[i * n + j] * q;
        const r = q * q;
        sum += q;
        pullX += p * dx;
        pullY += p * dy;
        pushX += r * dx;
        pushY += r * dy;
        pull[2 * j] -= p * dx;
        pull[2 * j + 1] -= p * dy;
        push[2 * j] -= r * dx;
        push[2 * j + 1] -= r * dy;
      }
      pull[2 * i] += pullX;
      pull[2 * i + 1] += pullY;
      push[2 * i] += pushX;
      push[2 * i + 1] += pushY;
    }
    for (let i = 0; i < 2 * n; i++) {
      const gradient = exaggeration * pull[i] - push[i] / (2 * sum);
      gains[i] = Math.max(0.01, gradient > 0 === velocity[i] > 0 ? gains[i] * 0.8 : gains[i] + 0.2);
      velocity[i] = momentum * velocity[i] - rate * gains[i] * gradient;
      places[i] += velocity[i];
    }
  }
}
