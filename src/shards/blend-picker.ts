// Which corpus the next sequence is of. Corpora of one share take turns, so a class of equal shares is one entry; entries wait in two heaps:
// until they are due for another sequence, then by deadline. A pick costs the logarithm of the number of different shares.
import { internal } from '../base/errors.ts';

/** Two deadlines nearer than this, in sequences, are one; the corpus that is named first goes first. */
const TOLERANCE = 1e-9;

/** Corpora of one share. They are picked in turn, so all have `floor(numPicked / members)` sequences or one more. */
interface ShareClass {
  share: number;
  /** Ascending. */
  members: number[];
  numPicked: number;
}

/**
 * Picks a corpus for each next sequence: among those that are not ahead of their share, the one whose next sequence is due first. Every
 * prefix then deviates from the shares by at most 1 - 1/(2m-2) sequences for m corpora (Tijdeman 1980, "The chairman assignment problem").
 */
export class BlendPicker {
  private readonly bound: number;
  private readonly minShare: number;
  /** By the sequence from which on they may be picked. */
  private readonly waiting = new MinHeap<ShareClass>();
  /** By the sequence at which they must have been picked. */
  private readonly ready = new MinHeap<ShareClass>();
  private numPicked = 0;

  /** @param shares not negative, one or more above 0; in any unit */
  constructor(shares: readonly number[]) {
    const sum = shares.reduce((a, b) => a + b, 0);
    const classes = new Map<number, ShareClass>();
    shares.forEach((amount, i) => {
      if (amount <= 0) return;
      const share = amount / sum;
      const known = classes.get(share);
      if (known) known.members.push(i);
      else classes.set(share, { share, members: [i], numPicked: 0 });
    });
    const m = shares.filter((share) => share > 0).length;
    this.bound = m > 1 ? 1 / (2 * m - 2) : 0;
    this.minShare = Math.min(...classes.keys());
    for (const one of classes.values()) this.wait(one);
  }

  /** Index into the shares. */
  next(): number {
    const n = ++this.numPicked;
    // Keys and the comparisons below round differently, by a few units in the last place of n and 1/share: whatever could be due, or could
    // tie, by the keys is looked at.
    const slack = 8 * Number.EPSILON * (n + 2 / this.minShare);
    while (this.waiting.minKey <= n + slack) {
      const one = this.waiting.pop();
      this.ready.push((usedOf(one) + 1 - this.bound) / one.share, one);
    }
    const looked: { key: number; one: ShareClass }[] = [];
    let lastKey = Number.POSITIVE_INFINITY;
    while (
      this.ready.size > 0 &&
      (lastKey === Number.POSITIVE_INFINITY || this.ready.minKey <= lastKey + TOLERANCE + slack)
    ) {
      const key = this.ready.minKey;
      const one = this.ready.pop();
      looked.push({ key, one });
      if (this.isDue(one, n)) lastKey = key;
    }
    const best = this.earliest(
      looked.map(({ one }) => one),
      n,
    );
    for (const { key, one } of looked) if (one !== best) this.ready.push(key, one);
    const index = memberOf(best);
    best.numPicked++;
    this.wait(best);
    return index;
  }

  private wait(one: ShareClass): void {
    this.waiting.push((usedOf(one) + this.bound - TOLERANCE) / one.share, one);
  }

  private deficit(one: ShareClass, n: number): number {
    return one.share * n - usedOf(one);
  }

  /** The tolerance keeps sums such as 0.1 * 30 - 3 from hiding a corpus that is exactly due. */
  private isDue(one: ShareClass, n: number): boolean {
    return this.deficit(one, n) >= this.bound - TOLERANCE;
  }

  /** In the order of the corpora, so that of deadlines that are one the first stays. */
  private earliest(classes: ShareClass[], n: number): ShareClass {
    let best: ShareClass | undefined;
    let earliest = Number.POSITIVE_INFINITY;
    for (const one of classes.sort((a, b) => memberOf(a) - memberOf(b))) {
      if (!this.isDue(one, n)) continue;
      const due = (1 - this.bound - this.deficit(one, n)) / one.share;
      if (due >= earliest - TOLERANCE) continue;
      earliest = due;
      best = one;
    }
    return best ?? internal('no corpus is due');
  }
}

const usedOf = ({ members, numPicked }: ShareClass): number => Math.floor(numPicked / members.length);
const memberOf = ({ members, numPicked }: ShareClass): number => members[numPicked % members.length];

/** A binary heap. */
class MinHeap<T> {
  private readonly entries: { key: number; item: T }[] = [];

  get size(): number {
    return this.entries.length;
  }

  /** Infinity where there is none. */
  get minKey(): number {
    return this.entries[0]?.key ?? Number.POSITIVE_INFINITY;
  }

  push(key: number, item: T): void {
    const { entries } = this;
    let i = entries.length;
    entries.push({ key, item });
    while (i > 0 && entries[(i - 1) >> 1].key > key) {
      entries[i] = entries[(i - 1) >> 1];
      i = (i - 1) >> 1;
    }
    entries[i] = { key, item };
  }

  /** Removes the entry of the least key; there must be one. */
  pop(): T {
    const { entries } = this;
    const first = entries[0];
    const last = entries.pop()!;
    if (entries.length === 0) return first.item;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= entries.length) break;
      if (child + 1 < entries.length && entries[child + 1].key < entries[child].key) child++;
      if (entries[child].key >= last.key) break;
      entries[i] = entries[child];
      i = child;
    }
    entries[i] = last;
    return first.item;
  }
}
