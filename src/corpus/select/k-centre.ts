// Diversity: documents such that none is far from a chosen one (k-centre, greedy farthest-first, Gonzalez 1985: at most twice the best
// radius). A greedy choice over everything costs documents x chosen; here a chosen document covers only its own block, documents of one
// cluster, so that the cost falls by the number of blocks and nothing but the open blocks is held. Radii of a greedy choice never grow, so
// the blocks' choices merge by radius into one.
import { dot } from './kmeans.ts';

export interface Centres {
  /** Indices into the block, in the order of choice. */
  order: Uint32Array;
  /** Cosine distance of each from those chosen before it. */
  radii: Float64Array;
}

/**
 * @param vectors of a block, of length 1; @param first the index of the one to begin with; @param numCentres how many at most
 */
export function farthestFirst(vectors: Float32Array, numDims: number, first: number, numCentres: number): Centres {
  const numPoints = vectors.length / numDims;
  const length = Math.min(numPoints, numCentres);
  const distances = new Float64Array(numPoints).fill(Number.POSITIVE_INFINITY);
  const order = new Uint32Array(length);
  const radii = new Float64Array(length);
  let next = first;
  for (let i = 0; i < length; i++) {
    order[i] = next;
    // The first stands for the whole block: before all others, that of the largest block first.
    radii[i] = i === 0 ? 2 + numPoints : Math.max(0, distances[next]);
    const at = next * numDims;
    distances[next] = -1;
    let farthest = -1;
    for (let point = 0; point < numPoints; point++) {
      if (distances[point] < 0) continue;
      const distance = Math.max(0, 1 - dot(vectors, point * numDims, vectors, at, numDims));
      if (distance < distances[point]) distances[point] = distance;
      if (farthest < 0 || distances[point] > distances[farthest]) farthest = point;
    }
    next = farthest;
  }
  return { order, radii };
}
