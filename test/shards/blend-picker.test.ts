// The picker with heaps against the one that looks at every corpus for every sequence, which says what is meant.
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BlendPicker } from '../../src/shards/blend-picker.ts';

class PlainPicker {
  private readonly shares: readonly number[];
  private readonly used: number[];
  private readonly bound: number;
  private numPicked = 0;

  constructor(shares: readonly number[]) {
    const sum = shares.reduce((a, b) => a + b, 0);
    this.shares = shares.map((share) => share / sum);
    this.used = shares.map(() => 0);
    const m = shares.filter((share) => share > 0).length;
    this.bound = m > 1 ? 1 / (2 * m - 2) : 0;
  }

  next(): number {
    const n = ++this.numPicked;
    let best = -1;
    let earliest = Number.POSITIVE_INFINITY;
    this.shares.forEach((share, i) => {
      if (share <= 0) return;
      const deficit = share * n - this.used[i];
      if (deficit < this.bound - 1e-9) return;
      const due = (1 - this.bound - deficit) / share;
      if (due < earliest - 1e-9) {
        earliest = due;
        best = i;
      }
    });
    this.used[best]++;
    return best;
  }
}

/** The first pick that differs; -1 where none does. */
function firstDifference(shares: number[], numPicks: number): number {
  const [fast, plain] = [new BlendPicker(shares), new PlainPicker(shares)];
  for (let i = 0; i < numPicks; i++) if (fast.next() !== plain.next()) return i;
  return -1;
}

const sameAs = (shares: number[]) => firstDifference(shares, 700) === -1;
const some = (list: number[]) => list.some((x) => x > 0);
const lists = (share: fc.Arbitrary<number>, maxLength = 40) =>
  fc.array(share, { minLength: 1, maxLength }).filter(some);

describe('the picks', () => {
  it.each([
    ['small whole weights, many of them equal', lists(fc.nat(6))],
    ['shares on a grid of a millionth', lists(fc.nat(1e6).map((n) => n / 1e6))],
    ['any shares, the least a billionth of the largest', lists(fc.double({ min: 1e-9, max: 1, noNaN: true }))],
    ['shares that differ in their last digits only', lists(fc.nat(5).map((k) => 0.1 + k * 1e-16))],
    ['shares whose deadlines lie within the tolerance of one another', lists(fc.nat(9).map((k) => 0.1 + k * 4e-12))],
    ['powers of two', lists(fc.nat(12).map((k) => 2 ** -k))],
  ])('%s', (_name, shares) => {
    fc.assert(fc.property(shares, sameAs), { numRuns: 150, endOnFailure: true });
  });

  it('of hundreds of corpora', () => {
    fc.assert(fc.property(lists(fc.nat(1000), 400), sameAs), { numRuns: 20, endOnFailure: true });
  });

  it('late in a long order', () => {
    expect(firstDifference([0.7, 0.1, 0.1, 0.05, 0.03, 0.02], 300_000)).toBe(-1);
  });
});
