// Likelihoods of many requests at once: their shared prefixes are read once, and what follows them is read by many sequences together, each
// in a slot of a key-value cache that begins with a copy of its prefix.
// Vocabularies are projected for the tokens that bear a target only, a chunk at a time.
import * as os from 'node:os';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { memoryLimit } from '../../base/machine.ts';
import { type Decoder, KeyValueCache } from '../../nn/index.ts';
import type { Likelihood, Tick } from '../types.ts';
import type { Scored } from './encode.ts';
import { type PrefixNode, prefixForest, type Target } from './prefixes.ts';

/** Tokens that pass the model together, where enough are waiting: products are at full speed from some hundred on. */
const PASS_TOKENS = 1024;
const MAX_SLOTS = 64;
/** Fewer of the longest request's length, and the shorter ones go by themselves. */
const FEW_SLOTS = 16;
/** Of the memory that is free, for keys and values; and at most. */
const CACHE_SHARE = 1 / 4;
const MAX_CACHE_BYTES = 2 ** 31;
/** Prefixes cut off behind each other: examples, questions, choices, and one to spare. */
const MAX_DEPTH = 4;

/** Slots of a cache for sequences of so many tokens, as memory allows; at least one. */
export function planSlots(decoder: Decoder, capacity: number, wanted: number): number {
  const budget = Math.min(CACHE_SHARE * Math.min(os.freemem(), memoryLimit()), MAX_CACHE_BYTES);
  const perSlot = capacity * KeyValueCache.bytesPerToken(decoder.config, decoder.precision);
  return Math.max(1, Math.min(wanted, Math.floor(budget / perSlot)));
}

/**
 * @param needsGreedy whether isGreedy is asked for; otherwise it is false
 * @returns in the order of the requests
 */
export async function score(
  decoder: Decoder,
  requests: readonly Scored[],
  needsGreedy: boolean,
  tick: Tick = () => {},
): Promise<Likelihood[]> {
  const results: Likelihood[] = new Array(requests.length);
  let numDone = 0;
  for (const members of groupsByLength(decoder, requests)) {
    const group = members.map((i) => requests[i]!);
    const capacity = longestOf(group);
    const numSlots = planSlots(decoder, capacity, Math.min(group.length, MAX_SLOTS));
    const cache = new KeyValueCache(decoder.config, decoder.precision, numSlots, capacity);
    const scoring = new Scoring(decoder, cache);
    for (const { targets } of group)
      scoring.results.push({ logLikelihood: 0, isGreedy: needsGreedy, numTokens: targets.length });
    // Half of the slots that are free may hold prefixes, at every depth.
    const maxDepth = Math.min(MAX_DEPTH, Math.floor(Math.log2(numSlots)));
    await scoring.read(prefixForest(group, maxDepth), (done) => tick(numDone + done));
    numDone += members.length;
    members.forEach((i, at) => {
      results[i] = scoring.results[at]!;
    });
  }
  return results;
}

/**
 * All requests, where memory has slots enough of the longest one's length; else the shorter ones by themselves, in as many slots as their
 * own lengths allow. Places in the list.
 */
function groupsByLength(decoder: Decoder, requests: readonly Scored[]): number[][] {
  const groups: number[][] = [];
  let rest = requests.map((_, i) => i);
  while (rest.length > 0) {
    const longest = longestOf(rest.map((i) => requests[i]!));
    const isRoomy = planSlots(decoder, longest, FEW_SLOTS) === FEW_SLOTS;
    const [long, short] = [[] as number[], [] as number[]];
    for (const i of rest) (isRoomy || requests[i]!.inputs.length > longest / 2 ? long : short).push(i);
    groups.push(long);
    rest = short;
  }
  return groups;
}

function longestOf(requests: readonly Scored[]): number {
  return requests.reduce((longest, { inputs }) => Math.max(longest, inputs.length), 0);
}

class Scoring {
  readonly results: Likelihood[] = [];
  private readonly decoder: Decoder;
  private readonly cache: KeyValueCache;
  private readonly freeSlots: number[];
  private readonly slotOf = new Map<PrefixNode, number>();
  /** By slot: the node whose tokens, and those before them, are at its beginning. */
  private readonly holds: (PrefixNode | undefined)[] = [];
  private numDone = 0;

  constructor(decoder: Decoder, cache: KeyValueCache) {
    this.decoder = decoder;
    this.cache = cache;
    this.freeSlots = Array.from({ length: cache.numSlots }, (_, slot) => slot);
  }

  /** Reads nodes whose parents are in the cache, and all that is below them. */
  async read(nodes: readonly PrefixNode[], tick: Tick): Promise<void> {
    const leaves = nodes.filter(({ children }) => children.length === 0);
    const stems = nodes.filter(({ children }) => children.length > 0);
    for (let at = 0; at < leaves.length; ) {
      const wave = this.wave(leaves, at, this.freeSlots.length);
      this.forward(wave);
      this.release(wave);
      at += wave.length;
      tick(this.numDone);
      await nextTurn();
    }
    for (let at = 0; at < stems.length; ) {
      const wave = this.wave(stems, at, Math.max(1, Math.floor(this.freeSlots.length / 2)));
      this.forward(wave);
      await this.read(
        wave.flatMap(({ children }) => children),
        tick,
      );
      this.release(wave);
      at += wave.length;
    }
  }

  /** Nodes from `at` on that are read together. */
  private wave(nodes: readonly PrefixNode[], at: number, maxNodes: number): PrefixNode[] {
    let end = at;
    for (let numTokens = 0; end < nodes.length && end - at < maxNodes; end++) {
      numTokens += nodes[end]!.tokens.length;
      if (end > at && numTokens > PASS_TOKENS) break;
    }
    return nodes.slice(at, end);
  }

  private forward(nodes: readonly PrefixNode[]): void {
    /** Targets of the tokens whose logits are asked for, in their order. */
    const asked: Target[][] = [];
    const segments = nodes.map((node) => {
      const logits: number[] = [];
      let ofRow: Target[] = [];
      for (const target of node.targets) {
        if (target.row !== logits.at(-1)) {
          logits.push(target.row);
          ofRow = [];
          asked.push(ofRow);
        }
        ofRow.push(target);
      }
      return { slot: this.place(node), tokens: node.tokens, logits };
    });
    let done = 0;
    this.decoder.extendInChunks(this.cache, segments, (logits, numTokens) => {
      this.count(logits, asked.slice(done, done + numTokens));
      done += numTokens;
    });
  }

  /** A slot that holds what comes before the node. */
  private place(node: PrefixNode): number {
    const { parent, start } = node;
    const at = this.freeSlots.findIndex((slot) => this.holds[slot] === parent);
    const [slot] = this.freeSlots.splice(Math.max(0, at), 1) as [number];
    if (at >= 0) this.cache.lengths[slot] = start;
    else if (parent) this.cache.copy(this.slotOf.get(parent)!, slot, 0, start);
    else this.cache.lengths[slot] = 0;
    this.slotOf.set(node, slot);
    this.holds[slot] = parent;
    return slot;
  }

  private release(nodes: readonly PrefixNode[]): void {
    for (const node of nodes) {
      this.freeSlots.push(this.slotOf.get(node)!);
      this.slotOf.delete(node);
    }
  }

  /** @param logits a row for each list of targets */
  private count(logits: Float32Array, targets: readonly Target[][]): void {
    const { kernels, head } = this.decoder;
    const vocab = head.rows;
    const losses = new Float32Array(targets.length);
    const firsts = Int32Array.from(targets, ([first]) => first!.token);
    kernels.crossEntropy(losses, null, logits, firsts, losses, targets.length, vocab, 0);
    targets.forEach((ofRow, row) => {
      const at = row * vocab;
      const logSum = losses[row]! + logits[at + firsts[row]!]!;
      for (const { token, request, isLast } of ofRow) {
        const result = this.results[request]!;
        result.logLikelihood += token === firsts[row] ? -losses[row]! : logits[at + token]! - logSum;
        if (result.isGreedy) result.isGreedy = isLikeliest(logits.subarray(at, at + vocab), token);
        if (isLast) this.numDone++;
      }
    });
  }
}

/** Whether no token is likelier, and no equal one comes before it. */
function isLikeliest(logits: Float32Array, token: number): boolean {
  const own = logits[token]!;
  for (let id = 0; id < logits.length; id++) if (logits[id]! > own || (id < token && logits[id] === own)) return false;
  return true;
}
