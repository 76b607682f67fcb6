// CRISP, clustered importance sampling (Grangier et al. 2024, arXiv 2410.03735): the large corpus is sampled so that its clusters have the
// shares that they have in the small target. The loss on the target is then the mean, weighed by its shares, of the losses in clusters,
// under the assumption that inside a cluster target and corpus are alike.

export interface Quotas {
  /** By cluster: how much of it is wanted, in documents or bytes. */
  amounts: Float64Array;
  /** What the clusters of the target cannot give. */
  shortfall: number;
}

/**
 * Shares out `wanted` by the target's shares. A cluster that has less gives all it has, `maxRepeats` times; the rest goes to the other
 * clusters of the target, by their shares.
 * @param supply by cluster, what the corpus has
 */
export function crispQuotas(target: Float64Array, supply: Float64Array, wanted: number, maxRepeats: number): Quotas {
  const amounts = new Float64Array(target.length);
  let left = wanted;
  let open = [...target.keys()].filter((cluster) => target[cluster] > 0 && supply[cluster] > 0);
  while (left > 0 && open.length > 0) {
    const sum = open.reduce((all, cluster) => all + target[cluster], 0);
    const full = open.filter((cluster) => (left * target[cluster]) / sum >= maxRepeats * supply[cluster]);
    for (const cluster of full.length > 0 ? full : open)
      amounts[cluster] = full.length > 0 ? maxRepeats * supply[cluster] : (left * target[cluster]) / sum;
    if (full.length === 0) return { amounts, shortfall: 0 };
    left = wanted - amounts.reduce((all, amount) => all + amount, 0);
    open = open.filter((cluster) => !full.includes(cluster));
  }
  return { amounts, shortfall: Math.max(0, left) };
}

/** Whole numbers with the same sum (rounded), each next to its own: largest remainders first, of equal ones the first. */
export function roundQuotas(amounts: Float64Array): Float64Array {
  const rounded = amounts.map(Math.floor);
  let left = Math.round(amounts.reduce((sum, amount, i) => sum + amount - rounded[i], 0));
  const order = [...amounts.keys()].sort((a, b) => amounts[b] - rounded[b] - (amounts[a] - rounded[a]) || a - b);
  for (const i of order) {
    if (left-- <= 0) break;
    rounded[i]++;
  }
  return rounded;
}

/** Each over their sum; zeros where there is nothing. */
export function shares(amounts: Float64Array): Float64Array {
  const sum = amounts.reduce((all, amount) => all + amount, 0);
  return amounts.map((amount) => (sum > 0 ? amount / sum : 0));
}

/** Half the sum of the differences of two histograms of shares: 0 where they are equal, 1 where they have nothing in common. */
export function totalVariation(a: Float64Array, b: Float64Array): number {
  return a.reduce((sum, share, i) => sum + Math.abs(share - b[i]) / 2, 0);
}

/** exp of the entropy of shares: as many clusters as of equal share would be as diverse. */
export function effectiveNumber(of: Float64Array): number {
  return Math.exp(-of.reduce((sum, share) => sum + (share > 0 ? share * Math.log(share) : 0), 0));
}
