// Spherical k-means (Dhillon and Modha 2001): vectors of length 1, clusters by the largest cosine, centroids of length 1. Seeded by k-means++
// (Arthur and Vassilvitskii 2007) on a part of the points. Sums run in the order of the points on one thread, and a point's cluster depends
// on nothing but the point and the centroids, so the result is the same for any number of threads.
import type { Rng } from '../../base/rng.ts';
import { shared } from '../mining/query-index.ts';

/** Points a cluster from which centroids are seeded; all points would take as long as an iteration more. */
const SEEDING_POINTS = 16;
const MAX_ITERATIONS = 20;
/** Relative gain of the mean cosine below which more iterations are not worth their time (assumption). */
const MIN_GAIN = 1e-3;

export interface Points {
  /** numPoints x numDims, each of length 1. */
  vectors: Float32Array;
  numPoints: number;
  numDims: number;
  /** How much each counts; 1 where absent. */
  weights?: Float64Array;
}

export interface Clustering {
  /** numClusters x numDims, of length 1, in shared memory. */
  centroids: Float32Array;
  numClusters: number;
  /** By point. */
  clusters: Int32Array;
  cosines: Float32Array;
}

/** Writes the nearest centroid of points `start` to `end`, and its cosine; of equal ones the first. */
export function assign(
  points: Points,
  centroids: Float32Array,
  start: number,
  end: number,
  { clusters, cosines }: Pick<Clustering, 'clusters' | 'cosines'>,
): void {
  const { vectors, numDims } = points;
  for (let point = start; point < end; point++) {
    const best = nearest(vectors, point * numDims, centroids, numDims);
    clusters[point] = best.index;
    cosines[point] = best.cosine;
  }
}

const found = { index: 0, cosine: 0 };

/** The row of `centroids` with the largest product with the vector at `at`. The object is the same each time. */
export function nearest(vectors: Float32Array, at: number, centroids: Float32Array, numDims: number): typeof found {
  const { length } = centroids;
  let best = Number.NEGATIVE_INFINITY;
  let index = 0;
  let row = 0;
  // Four rows at a time read the vector once.
  for (; row + 4 * numDims <= length; row += 4 * numDims) {
    let s0 = 0;
    let s1 = 0;
    let s2 = 0;
    let s3 = 0;
    for (let i = 0, r = row; i < numDims; i++, r++) {
      const x = vectors[at + i];
      s0 += x * centroids[r];
      s1 += x * centroids[r + numDims];
      s2 += x * centroids[r + 2 * numDims];
      s3 += x * centroids[r + 3 * numDims];
    }
    const first = row / numDims;
    if (s0 > best) [best, index] = [s0, first];
    if (s1 > best) [best, index] = [s1, first + 1];
    if (s2 > best) [best, index] = [s2, first + 2];
    if (s3 > best) [best, index] = [s3, first + 3];
  }
  for (; row < length; row += numDims) {
    const product = dot(vectors, at, centroids, row, numDims);
    if (product > best) [best, index] = [product, row / numDims];
  }
  found.index = index;
  found.cosine = best;
  return found;
}

export function dot(a: Float32Array, at: number, b: Float32Array, bt: number, length: number): number {
  let sum = 0;
  for (let i = 0; i < length; i++) sum += a[at + i] * b[bt + i];
  return sum;
}

/**
 * At most `numClusters`, fewer where there are not so many different points.
 * @param assignAll assigns all points, by itself or on threads
 */
export async function kmeans(
  points: Points,
  numClusters: number,
  rng: Rng,
  assignAll: (
    points: Points,
    centroids: Float32Array,
    result: Pick<Clustering, 'clusters' | 'cosines'>,
  ) => Promise<void> = async (all, centroids, result) => assign(all, centroids, 0, all.numPoints, result),
): Promise<Clustering> {
  const { numPoints, numDims } = points;
  const seeds = seedCentroids(points, numClusters, rng);
  const centroids = shared(Float32Array, seeds.length * numDims);
  seeds.forEach((point, c) => {
    centroids.set(points.vectors.subarray(point * numDims, (point + 1) * numDims), c * numDims);
  });
  const result = { clusters: shared(Int32Array, numPoints), cosines: shared(Float32Array, numPoints) };
  let mean = 0;
  for (let iteration = 0; ; iteration++) {
    await assignAll(points, centroids, result);
    const before = mean;
    mean = weightedMean(result.cosines, points.weights);
    if (iteration === MAX_ITERATIONS || mean - before < MIN_GAIN * before) break;
    moveCentroids(points, centroids, result);
  }
  return { centroids, numClusters: seeds.length, ...result };
}

/** Points that lie far from those chosen before, by chance: each with a probability that grows with its squared distance from them. */
function seedCentroids({ vectors, numPoints, numDims, weights }: Points, numClusters: number, rng: Rng): number[] {
  const numCandidates = Math.min(numPoints, SEEDING_POINTS * numClusters);
  const candidates = Array.from({ length: numCandidates }, (_, i) => Math.floor((i * numPoints) / numCandidates));
  const distances = new Float64Array(numCandidates).fill(1);
  const chances = new Float64Array(numCandidates);
  const seeds: number[] = [];
  while (seeds.length < numClusters) {
    let sum = 0;
    for (let i = 0; i < numCandidates; i++) {
      chances[i] = distances[i] * (weights ? weights[candidates[i]] : 1);
      sum += chances[i];
    }
    if (sum === 0) break;
    let left = rng.float() * sum;
    let chosen = chances.findLastIndex((chance) => chance > 0);
    for (let i = 0; i < numCandidates; i++) {
      left -= chances[i];
      if (left < 0) {
        chosen = i;
        break;
      }
    }
    seeds.push(candidates[chosen]);
    const at = candidates[chosen] * numDims;
    for (let i = 0; i < numCandidates; i++) {
      const distance = 2 - 2 * dot(vectors, candidates[i] * numDims, vectors, at, numDims);
      // Below f32's rounding of a length it is the same point.
      distances[i] = distance < 1e-5 ? 0 : Math.min(seeds.length === 1 ? 4 : distances[i], distance);
    }
  }
  return seeds;
}

function moveCentroids(
  points: Points,
  centroids: Float32Array,
  { clusters, cosines }: Omit<Clustering, 'centroids' | 'numClusters'>,
): void {
  const { vectors, numPoints, numDims, weights } = points;
  const sums = new Float64Array(centroids.length);
  const sizes = new Uint32Array(centroids.length / numDims);
  for (let point = 0; point < numPoints; point++) sizes[clusters[point]]++;
  fillEmpty(sizes, clusters, cosines);
  for (let point = 0; point < numPoints; point++) {
    const to = clusters[point] * numDims;
    const weight = weights ? weights[point] : 1;
    for (let i = 0, from = point * numDims; i < numDims; i++) sums[to + i] += weight * vectors[from + i];
  }
  for (let start = 0; start < centroids.length; start += numDims) {
    let squares = 0;
    for (let i = start; i < start + numDims; i++) squares += sums[i] * sums[i];
    // Points that cancel out leave the centroid where it was.
    if (squares > 0) for (let i = start; i < start + numDims; i++) centroids[i] = sums[i] / Math.sqrt(squares);
  }
}

/** A cluster without points gets the point that lies farthest from its own centroid, of a cluster that keeps others. */
function fillEmpty(sizes: Uint32Array, clusters: Int32Array, cosines: Float32Array): void {
  for (let cluster = 0; cluster < sizes.length; cluster++) {
    if (sizes[cluster] > 0) continue;
    let farthest = -1;
    for (let point = 0; point < clusters.length; point++)
      if (sizes[clusters[point]] > 1 && (farthest < 0 || cosines[point] < cosines[farthest])) farthest = point;
    if (farthest < 0) return;
    sizes[clusters[farthest]]--;
    sizes[cluster]++;
    clusters[farthest] = cluster;
    cosines[farthest] = 1;
  }
}

function weightedMean(values: Float32Array, weights: Float64Array | undefined): number {
  let sum = 0;
  let all = 0;
  for (let i = 0; i < values.length; i++) {
    const weight = weights ? weights[i] : 1;
    sum += weight * values[i];
    all += weight;
  }
  return sum / all;
}
