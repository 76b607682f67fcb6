// What routers add to the loss of a step, and how evenly they spread its tokens. A row after its sequence's last prediction, such as
// padding, is routed like any other but counts here for nothing: no loss depends on it.
import type { Kernels } from '../kernels/index.ts';
import type { DecoderConfig } from './families/index.ts';

/** Coefficients of the routers' own losses. */
export interface RouterLosses {
  /**
   * Of the load-balancing loss (Fedus et al. 2021, eq. 4 to 6, as transformers computes it): experts * sum over them of (choices a token) *
   * (mean probability), both over the tokens of all sparse layers together. All alike, it is the number of experts a token goes to.
   */
  balance: number;
  /** Of the z-loss: the mean of (log-sum-exp of a token's router logits)^2 over the same tokens (Zoph et al. 2022, eq. 5). */
  z: number;
}

export interface LayerLoad {
  /** Load of the expert with the most tokens and of the one with the fewest, as a multiple of the mean. */
  maxLoad: number;
  minLoad: number;
  /** Of the loads, over that of equal loads: 1 when all are alike. */
  entropy: number;
}

/** maxLoad and minLoad are the extremes over layers, entropy their mean. Losses are without their coefficients. */
export interface ExpertLoad extends LayerLoad {
  auxLoss: number;
  zLoss: number;
  byLayer: { [K in keyof LayerLoad]: number[] };
}

/** One step, over its micro-batches. */
export class RouterStep {
  readonly losses: RouterLosses;
  /** Choices of each expert, by layer. */
  readonly loads = new Map<number, Float64Array>();
  private auxLoss = 0;
  private zLoss = 0;

  constructor(losses: RouterLosses) {
    this.losses = losses;
  }

  add(batch: RouterBatch): void {
    for (const [layer, { choices }] of batch.records) {
      const before = this.loads.get(layer);
      this.loads.set(layer, before ? before.map((load, e) => load + choices[e]!) : choices);
    }
    this.auxLoss += batch.share * batch.balanceLoss();
    this.zLoss += batch.share * batch.zLoss();
  }

  summary(): ExpertLoad {
    const layers = [...this.loads.values()].map(loadOf);
    return {
      maxLoad: Math.max(...layers.map((layer) => layer.maxLoad)),
      minLoad: Math.min(...layers.map((layer) => layer.minLoad)),
      entropy: layers.reduce((sum, layer) => sum + layer.entropy, 0) / layers.length,
      auxLoss: this.auxLoss,
      zLoss: this.zLoss,
      byLayer: {
        maxLoad: layers.map((layer) => layer.maxLoad),
        minLoad: layers.map((layer) => layer.minLoad),
        entropy: layers.map((layer) => layer.entropy),
      },
    };
  }
}

function loadOf(loads: Float64Array): LayerLoad {
  const total = loads.reduce((sum, load) => sum + load, 0);
  const mean = total / loads.length;
  const nats = loads.reduce((sum, load) => (load > 0 ? sum - (load / total) * Math.log(load / total) : sum), 0);
  return {
    maxLoad: Math.max(...loads) / mean,
    minLoad: Math.min(...loads) / mean,
    entropy: loads.length > 1 ? nats / Math.log(loads.length) : 1,
  };
}

/** Sums over a layer's live rows. */
interface RouterRecord {
  choices: Float64Array;
  probs: Float32Array;
  squaredLse: number;
}

/**
 * One batch. Routers record here on the way forward; on the way back, when all have, it has the gradients of their losses. Those are
 * weighted by the batch's share of the step, which is the sum of its weights.
 */
export class RouterBatch {
  /** By layer. */
  readonly records = new Map<number, RouterRecord>();
  /** 1 where a loss depends on the row, else 0. */
  readonly live: Float32Array;
  readonly share: number;
  private readonly losses: RouterLosses;
  private readonly numExperts: number;
  private readonly numLive: number;

  constructor(losses: RouterLosses, config: DecoderConfig, seqLen: number, targets: Int32Array, weights: Float32Array) {
    this.losses = losses;
    this.numExperts = config.experts!.num;
    this.live = liveRows(targets, seqLen);
    this.share = weights.reduce((sum, weight, row) => (targets[row]! >= 0 ? sum + weight : sum), 0);
    const perLayer = this.live.reduce((sum, live) => sum + live, 0);
    this.numLive = Math.max(1, perLayer * config.layers.filter((layer) => layer.sparse).length);
  }

  /** A layer that is recorded twice counts once. */
  record(layer: number, probs: Float32Array, experts: Int32Array, lse: Float32Array, kernels: Kernels): void {
    const { numExperts, live } = this;
    const perToken = experts.length / live.length;
    const choices = new Float64Array(numExperts);
    for (let i = 0; i < experts.length; i++) choices[experts[i]!]! += live[Math.floor(i / perToken)]!;
    const sums = new Float32Array(numExperts);
    kernels.gemm(sums, live, probs, 1, numExperts, live.length, false, false, null, null);
    const squaredLse = lse.reduce((sum, x, row) => sum + live[row]! * x * x, 0);
    this.records.set(layer, { choices, probs: sums, squaredLse });
  }

  balanceLoss(): number {
    const slope = this.balanceSlope();
    return this.sum(({ probs }) => probs.reduce((sum, p, e) => sum + p * slope[e]!, 0));
  }

  zLoss(): number {
    return this.sum(({ squaredLse }) => squaredLse) / this.numLive;
  }

  /** Gradient of a live token's probabilities, of whatever layer. */
  dProbs(): Float32Array {
    const factor = this.losses.balance * this.share;
    return Float32Array.from(this.balanceSlope(), (slope) => factor * slope);
  }

  /** Gradient of a live token's lse^2. */
  dSquaredLse(): number {
    return (this.losses.z * this.share) / this.numLive;
  }

  /** d balanceLoss / d prob, by expert: which expert is chosen has no derivative. */
  private balanceSlope(): Float64Array {
    const perChoice = this.numExperts / this.numLive ** 2;
    return Float64Array.from({ length: this.numExperts }, (_, e) => perChoice * this.sum(({ choices }) => choices[e]!));
  }

  private sum(of: (record: RouterRecord) => number): number {
    return [...this.records.values()].reduce((sum, record) => sum + of(record), 0);
  }
}

function liveRows(targets: Int32Array, seqLen: number): Float32Array {
  const live = new Float32Array(targets.length);
  for (let from = 0; from < targets.length; from += seqLen) {
    const last = targets.subarray(from, from + seqLen).findLastIndex((target) => target >= 0);
    live.fill(1, from, from + last + 1);
  }
  return live;
}
