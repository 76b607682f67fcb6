// Token sequences as a forest of shared prefixes: few-shot examples, then questions, then choices. What several sequences begin with
// stands in it once. A prefix is only cut off where that saves enough, since each cut is another pass through the model.
import type { Scored } from './encode.ts';

/** A target that the token at `row` of a node predicts. */
export interface Target {
  row: number;
  token: number;
  /** Whose target it is, and whether it is that request's last. */
  request: number;
  isLast: boolean;
}

export interface PrefixNode {
  parent: PrefixNode | undefined;
  /** Tokens before this node's, those of all its ancestors. */
  start: number;
  tokens: Int32Array;
  /** By row. */
  targets: Target[];
  children: PrefixNode[];
}

/** Tokens that a cut has to save: a pass over the weights for a few tokens costs as much as one for some ten. */
const MIN_SAVED = 32;

/** @param maxDepth nodes with children above each other, at most */
export function prefixForest(requests: readonly Scored[], maxDepth: number): PrefixNode[] {
  const order = requests.map((_, i) => i).sort((a, b) => compare(requests[a]!.inputs, requests[b]!.inputs) || a - b);
  const inputs = order.map((request) => requests[request]!.inputs);

  /** The nodes below `parent` for the sequences from..to-1, which begin with its path. */
  function grow(from: number, to: number, parent: PrefixNode | undefined, depth: number): PrefixNode[] {
    const start = endOf(parent);
    const [first, last] = [inputs[from]!, inputs[to - 1]!];
    const shared = commonLength(first, last, start);
    if (shared === last.length) return [node(from, to, parent, shared)];
    const branches: [number, number][] = [];
    for (let at = from; at < to; ) {
      let end = at + 1;
      while (end < to && inputs[end]![shared] === inputs[at]![shared]) end++;
      branches.push([at, end]);
      at = end;
    }
    if (depth === maxDepth || (branches.length - 1) * (shared - start) < MIN_SAVED)
      return branches.flatMap(([a, b]) => grow(a, b, parent, depth));
    const stem = node(from, to, parent, shared);
    stem.children = branches
      .filter(([a]) => inputs[a]!.length > shared)
      .flatMap(([a, b]) => grow(a, b, stem, depth + 1));
    return [stem];
  }

  /** Tokens up to `end` of sequences that share them, with the targets that lie among these. */
  function node(from: number, to: number, parent: PrefixNode | undefined, end: number): PrefixNode {
    const start = endOf(parent);
    const targets: Target[] = [];
    for (let i = from; i < to; i++) {
      const request = order[i]!;
      const { inputs: all, targets: tokens } = requests[request]!;
      const first = all.length - tokens.length;
      for (let at = Math.max(start, first); at < Math.min(end, all.length); at++)
        targets.push({
          row: at - start,
          token: tokens[at - first]!,
          request,
          isLast: at === all.length - 1,
        });
    }
    targets.sort((a, b) => a.row - b.row || a.request - b.request);
    return { parent, start, tokens: inputs[from]!.subarray(start, end), targets, children: [] };
  }

  return order.length > 0 ? grow(0, order.length, undefined, 0) : [];
}

function endOf(node: PrefixNode | undefined): number {
  return node ? node.start + node.tokens.length : 0;
}

function commonLength(a: Int32Array, b: Int32Array, from: number): number {
  const end = Math.min(a.length, b.length);
  let at = from;
  while (at < end && a[at] === b[at]) at++;
  return at;
}

function compare(a: Int32Array, b: Int32Array): number {
  const at = commonLength(a, b, 0);
  return at < a.length && at < b.length ? a[at]! - b[at]! : a.length - b.length;
}
