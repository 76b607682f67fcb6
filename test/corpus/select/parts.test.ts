// The parts of selection, each against its definition.

import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Rng } from '../../../src/base/rng.ts';
import { instructionFollowingDifficulty } from '../../../src/corpus/index.ts';
import { NUM_BUCKETS } from '../../../src/corpus/mining/features.ts';
import { embedInPlane, principalComponents } from '../../../src/corpus/select/embed.ts';
import { divergence, gumbel, logRatios, NUM_NGRAMS } from '../../../src/corpus/select/importance.ts';
import { farthestFirst } from '../../../src/corpus/select/k-centre.ts';
import { dot, kmeans, type Points } from '../../../src/corpus/select/kmeans.ts';
import { crispQuotas, effectiveNumber, roundQuotas, totalVariation } from '../../../src/corpus/select/quotas.ts';
import { DocumentRecords, findEdges, isChosen } from '../../../src/corpus/select/records.ts';
import { DIMENSIONS, Vectoriser } from '../../../src/corpus/select/vectors.ts';

let folder: string;
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-select-parts-'));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

/** Points on the sphere about `numCentres` directions. */
function pointsAbout(seed: number, numCentres: number, numPoints: number, noise: number, numDims = 16): Points {
  const rng = new Rng(seed, 'points');
  const centres = Array.from({ length: numCentres }, () => Array.from({ length: numDims }, () => rng.normal()));
  const vectors = new Float32Array(numPoints * numDims);
  for (let p = 0; p < numPoints; p++) {
    const vector = centres[p % numCentres].map((value) => value + noise * rng.normal());
    const length = Math.hypot(...vector);
    vectors.set(
      vector.map((value) => value / length),
      p * numDims,
    );
  }
  return { vectors, numPoints, numDims };
}

describe('vectors', () => {
  it('keep cosines of the words they are made of, within the error of the projection', () => {
    const rng = new Rng(1, 'vectors');
    const inverse = new Float32Array(NUM_BUCKETS).fill(1);
    const vectoriser = new Vectoriser();
    const errors: number[] = [];
    for (let pair = 0; pair < 200; pair++) {
      const [both, each] = [rng.below(60), 60];
      const words = (label: string, n: number) => Array.from({ length: n }, (_, i) => `${label}${pair}x${i}`).join(' ');
      const vectors = new Float32Array(2 * DIMENSIONS);
      ['a', 'b'].forEach((label, i) => {
        vectoriser.read(`${words('shared', both)} ${words(label, each)}`);
        vectoriser.project(inverse, vectors, i * DIMENSIONS);
      });
      errors.push(dot(vectors, 0, vectors, DIMENSIONS, DIMENSIONS) - both / (both + each));
    }
    const mean = errors.reduce((a, b) => a + b) / errors.length;
    const deviation = Math.sqrt(errors.reduce((sum, error) => sum + error ** 2, 0) / errors.length);
    // 1 / sqrt(256) = 0.0625 for one pair; the mean of 200 is four times its standard error off at most.
    expect(deviation).toBeLessThan(0.075);
    expect(Math.abs(mean)).toBeLessThan((4 * 0.0625) / Math.sqrt(200));
  });

  it('are zero for text without a word that counts', () => {
    const vectoriser = new Vectoriser();
    const out = new Float32Array(DIMENSIONS).fill(7);
    vectoriser.read('words that nobody else has');
    expect(vectoriser.project(new Float32Array(NUM_BUCKETS), out, 0)).toBe(false);
    expect(out.every((value) => value === 0)).toBe(true);
  });
});

describe('k-means', () => {
  it('never joins groups that lie apart, given a few clusters more, and has centroids of length 1', async () => {
    const points = pointsAbout(2, 5, 500, 0.2);
    const { clusters, centroids, numClusters } = await kmeans(points, 10, new Rng(1));
    const groups = new Map<number, number>();
    for (let p = 0; p < 500; p++) {
      if (!groups.has(clusters[p])) groups.set(clusters[p], p % 5);
      expect(groups.get(clusters[p])).toBe(p % 5);
    }
    expect(numClusters).toBe(10);
    expect(groups.size).toBe(10);
    for (let c = 0; c < 10; c++) expect(Math.abs(dot(centroids, c * 16, centroids, c * 16, 16) - 1)).toBeLessThan(1e-6);
  });

  it('makes no more clusters than there are different points', async () => {
    const { vectors, numDims } = pointsAbout(3, 3, 3, 0);
    const copies = new Float32Array(60 * numDims);
    for (let p = 0; p < 60; p++) copies.set(vectors.subarray((p % 3) * numDims, ((p % 3) + 1) * numDims), p * numDims);
    const { numClusters, clusters } = await kmeans({ vectors: copies, numPoints: 60, numDims }, 10, new Rng(1));
    expect(numClusters).toBe(3);
    expect(new Set(clusters).size).toBe(3);
  });

  it('leaves no cluster empty where points differ', async () => {
    for (let seed = 0; seed < 20; seed++) {
      const points = pointsAbout(seed, 4, 40, 0.5);
      const { numClusters, clusters } = await kmeans(points, 12, new Rng(seed));
      expect(numClusters).toBe(12);
      expect(new Set(clusters).size).toBe(12);
    }
  });
});

describe('k-centre', () => {
  it('chooses as the definition says, and covers better than chance', () => {
    const { vectors, numPoints, numDims } = pointsAbout(4, 30, 300, 0.3);
    const distance = (a: number, b: number) =>
      Math.max(0, 1 - dot(vectors, a * numDims, vectors, b * numDims, numDims));
    const { order, radii } = farthestFirst(vectors, numDims, 7, 30);
    const chosen = [7];
    for (let i = 1; i < 30; i++) {
      const distances = Array.from({ length: numPoints }, (_, p) => Math.min(...chosen.map((c) => distance(p, c))));
      const farthest = distances.indexOf(Math.max(...distances));
      expect(order[i]).toBe(farthest);
      expect(radii[i]).toBeCloseTo(distances[farthest], 12);
      chosen.push(farthest);
    }
    const radius = (centres: ArrayLike<number>) =>
      Math.max(...Array.from({ length: numPoints }, (_, p) => Math.min(...Array.from(centres, (c) => distance(p, c)))));
    const rng = new Rng(5);
    for (let trial = 0; trial < 20; trial++)
      expect(radius(order)).toBeLessThan(
        radius(rng.shuffle(Array.from({ length: numPoints }, (_, p) => p)).slice(0, 30)),
      );
  });

  it('takes every point once at most, copies too', () => {
    const vectors = new Float32Array(20 * 4);
    for (let p = 0; p < 20; p++) vectors[4 * p] = 1;
    const { order } = farthestFirst(vectors, 4, 3, 50);
    expect([...order].toSorted((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, p) => p));
  });
});

describe('quotas', () => {
  const amounts = fc.array(
    // Amounts are counts: zero, or far from the smallest numbers that there are.
    fc.oneof(fc.constant(0), fc.double({ min: 1e-3, max: 1000, noNaN: true })),
    { minLength: 1, maxLength: 20 },
  );

  it('follow the target where there is enough, never exceed what there is, and add up', () => {
    fc.assert(
      fc.property(
        amounts,
        amounts,
        fc.double({ min: 1, max: 5000, noNaN: true }),
        fc.integer({ min: 1, max: 4 }),
        (t, s, wanted, repeats) => {
          const target = Float64Array.from(t);
          const supply = Float64Array.from(target, (_, i) => s[i % s.length]);
          const { amounts: quotas, shortfall } = crispQuotas(target, supply, wanted, repeats);
          const sum = quotas.reduce((a, b) => a + b);
          expect(sum + shortfall).toBeCloseTo(wanted, 6);
          quotas.forEach((quota, i) => {
            expect(quota).toBeLessThanOrEqual(repeats * supply[i] + 1e-6);
            if (target[i] === 0) expect(quota).toBe(0);
          });
          // Those that are not all used up are in the target's proportions.
          const open = [...quotas.keys()].filter((i) => quotas[i] > 0 && quotas[i] < repeats * supply[i] - 1e-6);
          for (const i of open) expect(quotas[i] * target[open[0]]).toBeCloseTo(quotas[open[0]] * target[i], 3);
          if (shortfall > 1e-6) expect(open).toEqual([]);
        },
      ),
    );
  });

  it('round to whole numbers of the same sum', () => {
    expect([...roundQuotas(Float64Array.of(1.5, 1.2, 0.3, 2))]).toEqual([2, 1, 0, 2]);
    fc.assert(
      fc.property(amounts, (list) => {
        const rounded = roundQuotas(Float64Array.from(list));
        expect(rounded.reduce((a, b) => a + b)).toBe(Math.round(list.reduce((a, b) => a + b)));
        rounded.forEach((value, i) => {
          expect(Math.abs(value - list[i])).toBeLessThanOrEqual(1);
        });
      }),
    );
  });

  it('are compared by half the sum of differences; diversity is exp of the entropy', () => {
    expect(totalVariation(Float64Array.of(1, 0), Float64Array.of(0, 1))).toBe(1);
    expect(totalVariation(Float64Array.of(0.5, 0.5), Float64Array.of(0.25, 0.75))).toBe(0.25);
    expect(effectiveNumber(Float64Array.of(0.25, 0.25, 0.25, 0.25, 0))).toBeCloseTo(4, 12);
  });
});

describe('the choice among records', () => {
  function chosenOf(
    keys: readonly number[],
    strata: readonly number[],
    sizes: readonly number[],
    quotas: number[],
  ): number[] {
    const records = new DocumentRecords(path.join(folder, 'out.jsonl'));
    try {
      keys.forEach((key, i) => {
        records.push({ key, numBytes: sizes[i], cluster: strata[i], score: 0 });
      });
      const edges = findEdges(
        records,
        Float64Array.from(quotas),
        ({ cluster }) => cluster,
        ({ numBytes }) => numBytes,
      );
      const chosen: number[] = [];
      for (const { cluster, key, document } of records)
        if (cluster >= 0 && isChosen(edges, cluster, key, document)) chosen.push(document);
      return chosen;
    } finally {
      records.close();
    }
  }

  function expected(
    keys: readonly number[],
    strata: readonly number[],
    sizes: readonly number[],
    quotas: readonly number[],
  ): number[] {
    return quotas
      .flatMap((quota, stratum) => {
        const order = [...keys.keys()].filter((i) => strata[i] === stratum).sort((a, b) => keys[b] - keys[a] || a - b);
        let sum = 0;
        const end = order.findIndex((i) => {
          if (sum + sizes[i] / 2 > quota) return true;
          sum += sizes[i];
          return false;
        });
        return end < 0 ? order : order.slice(0, end);
      })
      .sort((a, b) => a - b);
  }

  it('is that of a sort in memory', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.tuple(fc.integer({ min: -3, max: 3 }), fc.integer({ min: -1, max: 2 }), fc.integer({ min: 1, max: 9 })),
          { minLength: 1, maxLength: 60 },
        ),
        fc.array(fc.integer({ min: 0, max: 60 }), { minLength: 3, maxLength: 3 }),
        (rows, quotas) => {
          const [keys, strata, sizes] = [0, 1, 2].map((column) => rows.map((row) => row[column]));
          expect(chosenOf(keys, strata, sizes, quotas)).toEqual(expected(keys, strata, sizes, quotas));
        },
      ),
    );
  });

  it('needs no more memory for many: narrowed bin by bin, ties by their order', () => {
    const rng = new Rng(6);
    const numDocuments = 300_000;
    // Half of the keys of stratum 0 are equal, and the edge lies among them.
    const keys = Array.from({ length: numDocuments }, () => (rng.float() < 0.5 ? 0.5 : rng.float()));
    const strata = keys.map(() => (rng.float() < 0.97 ? 0 : 1));
    const sizes = keys.map(() => 1);
    const quotas = [130_000, 100];
    // Compared as text: a difference of 130,000 numbers takes the runner minutes to print.
    expect(chosenOf(keys, strata, sizes, quotas).join() === expected(keys, strata, sizes, quotas).join()).toBe(true);
  });
});

describe('importance', () => {
  it('is the ratio of the smoothed models', () => {
    const target = new Float64Array(NUM_NGRAMS);
    const corpus = new Float64Array(NUM_NGRAMS).fill(10);
    target[3] = 500;
    const ratios = logRatios(target, corpus);
    // 500 of 500 features in bucket 3, and a prior worth 10,000 features spread evenly.
    expect(ratios[3]).toBeCloseTo(Math.log((501 / 10_500) * NUM_NGRAMS), 10);
    expect(ratios[4]).toBeCloseTo(Math.log((1 / 10_500) * NUM_NGRAMS), 10);
    expect(divergence(target, target)).toBe(0);
    expect(divergence(target, corpus)).toBeGreaterThan(0);
  });

  it('is sampled by Gumbel noise in proportion', () => {
    const rng = new Rng(7);
    const weights = [1, 2, 5];
    const counts = [0, 0, 0];
    for (let trial = 0; trial < 8000; trial++) {
      const keys = weights.map((weight) => Math.log(weight) + gumbel(rng.float()));
      counts[keys.indexOf(Math.max(...keys))]++;
    }
    // Four standard errors of 8000 draws.
    weights.forEach((weight, i) => {
      expect(Math.abs(counts[i] - 1000 * weight)).toBeLessThan(4 * Math.sqrt(8000 * (weight / 8) * (1 - weight / 8)));
    });
  });

  it('difficulty of instructions is the ratio of losses', () => {
    expect(instructionFollowingDifficulty(1.2, 2.4)).toBe(0.5);
  });
});

describe('the plane', () => {
  it('has the directions of largest variance first', () => {
    const rng = new Rng(8);
    const vectors = new Float32Array(400 * 6);
    for (let p = 0; p < 400; p++) {
      vectors[6 * p + 4] = 5 * rng.normal();
      vectors[6 * p + 1] = 2 * rng.normal();
      vectors[6 * p] = 0.1 * rng.normal();
    }
    const components = principalComponents(vectors, 6, 2);
    const variance = (c: number) =>
      Array.from({ length: 400 }, (_, p) => components[2 * p + c] ** 2).reduce((a, b) => a + b) / 400;
    expect(variance(0)).toBeGreaterThan(20);
    expect(variance(1)).toBeGreaterThan(3);
    expect(variance(1)).toBeLessThan(5);
  });

  it('puts points of a group beside each other, also copies and a handful', () => {
    const { vectors, numDims } = pointsAbout(9, 3, 90, 0.1);
    const places = embedInPlane(vectors, numDims);
    for (let p = 0; p < 90; p++) {
      const distances = Array.from({ length: 90 }, (_, q) =>
        p === q ? Infinity : Math.hypot(places[2 * p] - places[2 * q], places[2 * p + 1] - places[2 * q + 1]),
      );
      expect(distances.indexOf(Math.min(...distances)) % 3).toBe(p % 3);
    }
    for (const n of [0, 1, 2, 5]) {
      const copies = new Float32Array(n * 4).fill(0.5);
      expect(embedInPlane(copies, 4).every(Number.isFinite)).toBe(true);
    }
  });
});
