// Many tests at once: with twenty tasks one is below 0.05 by chance. Both functions give p values to be held against the level itself.

/** Holm 1979: keeps the chance of any false claim at the level, whatever the tests' dependence. */
export function holm(ps: readonly number[]): number[] {
  let largest = 0;
  return inOrder(ps, ascending(ps), (p, rank) => {
    largest = Math.max(largest, Math.min(1, p * (ps.length - rank)));
    return largest;
  });
}

/** Benjamini and Hochberg 1995: keeps the expected share of false claims among the claims at the level, for independent or positively dependent tests. */
export function benjaminiHochberg(ps: readonly number[]): number[] {
  let smallest = 1;
  return inOrder(ps, ascending(ps).reverse(), (p, place) => {
    smallest = Math.min(smallest, (p * ps.length) / (ps.length - place));
    return smallest;
  });
}

function ascending(ps: readonly number[]): number[] {
  return ps.map((_, i) => i).sort((a, b) => ps[a]! - ps[b]! || a - b);
}

function inOrder(
  ps: readonly number[],
  order: readonly number[],
  adjust: (p: number, place: number) => number,
): number[] {
  const result = new Array<number>(ps.length);
  order.forEach((index, place) => {
    result[index] = adjust(ps[index]!, place);
  });
  return result;
}
