// A feed-forward layer of experts. Each token's row is copied once for each of its experts; the copies, sorted by expert, are slots of one
// buffer, so that every expert multiplies its own rows and no size changes from step to step.
//
// out = residual + sum over a token's experts of weight * down(activation(gate) * up). Since `down` is linear, the weights' gradient can be
// had in front of it, as x . dx there: so neither the copies nor what `down` gives are kept for the way back.
import type { ActivationFunction, Floats } from '../../kernels/index.ts';
import type { ExpertsConfig, ExpertsOf } from '../families/index.ts';
import type { RouterBatch } from '../routing.ts';
import type { Tape } from '../tape.ts';
import type { Activation, Parameter } from '../tensor.ts';

/** Where a layer's routing is recorded. */
export interface RouterPlace {
  batch: RouterBatch;
  layer: number;
}

/** @param residual what the experts' sum is added to @param place undefined where nothing is trained or recorded */
export function experts(
  tape: Tape,
  x: Activation,
  residual: Activation,
  { router, each }: ExpertsOf<Parameter>,
  config: ExpertsConfig,
  activation: ActivationFunction,
  place: RouterPlace | undefined,
): Activation {
  const { kernels, precision } = tape;
  const [d, f] = [x.cols, config.ffn];
  const routed = route(tape, x, router, config);
  const { slots, weights, tokens } = routed;
  const numSlots = x.rows * config.perToken;
  place?.batch.record(place.layer, routed.probs, routed.chosen, routed.lse, kernels);

  const out = tape.activation(x.rows, d);
  const gateUp = tape.buffer(numSlots * 2 * f, precision);
  const inner = tape.buffer(numSlots * f, precision);
  tape.withScratch(numSlots * d, tape.precision, (rows) => {
    kernels.embeddingForward(rows, x.data, tokens, d, 1);
    forEach(each, routed, ({ up }, of, n) =>
      kernels.gemm(of(gateUp, 2 * f), of(rows, d), up.data, n, 2 * f, d, false, true, null, null),
    );
    kernels.gluForward(inner, gateUp, numSlots, f, activation);
    if (tape.isKept(out)) return;
    forEach(each, routed, ({ down }, of, n) =>
      kernels.gemm(of(rows, d), of(inner, f), down.data, n, d, f, false, true, null, null),
    );
    kernels.combineRows(out.data, rows, slots, weights, residual.data, x.rows, config.perToken, d);
  });

  /** Sets dWeights, and `rows` to the gradient of each slot's copy of x. */
  const eachBackward = (rows: Floats, dWeights: Float32Array, dGateUp: Floats, dInner: Floats) => {
    kernels.embeddingForward(rows, out.grad!, tokens, d, 1);
    forEach(each, routed, ({ down }, of, n) =>
      kernels.gemm(of(dInner, f), of(rows, d), down.data, n, f, d, false, false, null, null),
    );
    kernels.weighRows(dWeights, inner, dInner, weights, slots, numSlots, f);
    forEach(each, routed, ({ down: { grad } }, of, n) => {
      if (grad) kernels.gemm(grad, of(rows, d), of(inner, f), d, f, n, true, false, grad, null);
    });
    kernels.gluBackward(dGateUp, dInner, gateUp, numSlots, f, activation);
    kernels.embeddingForward(rows, x.data, tokens, d, 1);
    forEach(each, routed, ({ up: { data, grad } }, of, n) => {
      if (grad) kernels.gemm(grad, of(dGateUp, 2 * f), of(rows, d), 2 * f, d, n, true, false, grad, null);
      kernels.gemm(of(rows, d), of(dGateUp, 2 * f), data, n, d, 2 * f, false, false, null, null);
    });
  };
  tape.record(out, [...routed.saved, gateUp, inner], () => {
    tape.withScratch(numSlots * d, tape.precision, (rows) =>
      tape.withScratch(numSlots, 'f32', (dWeights) => {
        tape.withScratch(numSlots * 2 * f, tape.precision, (dGateUp) =>
          tape.withScratch(numSlots * f, tape.precision, (dInner) => eachBackward(rows, dWeights, dGateUp, dInner)),
        );
        tape.accumulateGrad(x, (dx) => {
          routerBackward(tape, dx, dWeights, x, router, routed, config, place);
          kernels.combineRows(dx, rows, slots, null, dx, x.rows, config.perToken, d);
        });
      }),
    );
    tape.passGrad(out, residual);
  });
  return out;
}

/** Each token's experts, and where its copies are. C experts a token, S = tokens * C slots. */
interface Routed {
  probs: Float32Array;
  lse: Float32Array;
  /** [tokens, C] */
  weights: Float32Array;
  chosen: Int32Array;
  slots: Int32Array;
  /** Token of each slot. */
  tokens: Int32Array;
  /** First slot of each expert, and the end. */
  starts: Int32Array;
  /** The memory of these. */
  saved: Float32Array[];
}

function route(tape: Tape, x: Activation, router: Parameter, { num, perToken, normalise }: ExpertsConfig): Routed {
  const { kernels } = tape;
  const saved: Float32Array[] = [];
  const floats = (length: number) => {
    const buffer = tape.buffer(length, 'f32') as Float32Array;
    saved.push(buffer);
    return buffer;
  };
  const integers = (size: number) => {
    const { buffer, byteOffset, length } = floats(size);
    return new Int32Array(buffer, byteOffset, length);
  };
  const numSlots = x.rows * perToken;
  const [probs, lse, weights] = [floats(x.rows * num), floats(x.rows), floats(numSlots)];
  const [chosen, slots, tokens] = [integers(numSlots), integers(numSlots), integers(numSlots)];
  tape.withScratch(x.rows * num, 'f32', (logits) => {
    kernels.gemm(logits, x.data, router.data, x.rows, num, x.cols, false, true, null, null);
    kernels.routeForward(probs, weights, chosen, lse, logits, x.rows, num, perToken, normalise);
  });
  const starts = sortByExpert(tokens, slots, chosen, num, perToken);
  return { probs, lse, weights, chosen, slots, tokens, starts, saved };
}

/**
 * Fills `tokens` (token of each slot) and `slots` (slot of each choice [token][c]) and returns each expert's first slot, and the end.
 * Stable: an expert's slots are in the order of tokens.
 */
export function sortByExpert(
  tokens: Int32Array,
  slots: Int32Array,
  chosen: Int32Array,
  numExperts: number,
  perToken: number,
): Int32Array {
  const starts = new Int32Array(numExperts + 1);
  for (const e of chosen) starts[e + 1]!++;
  for (let e = 0; e < numExperts; e++) starts[e + 1]! += starts[e]!;
  const next = starts.slice(0, numExperts);
  for (let i = 0; i < chosen.length; i++) {
    const slot = next[chosen[i]!]!++;
    slots[i] = slot;
    tokens[slot] = Math.floor(i / perToken);
  }
  return starts;
}

/** The part of a buffer of all slots, `cols` wide, that is one expert's. */
type SlotsOf = (all: Floats, cols: number) => Floats;

/** Experts with tokens, in order. */
function forEach<T>(each: readonly T[], { starts }: Routed, body: (expert: T, of: SlotsOf, numSlots: number) => void) {
  each.forEach((expert, e) => {
    const [from, to] = [starts[e]!, starts[e + 1]!];
    if (to > from) body(expert, (all, cols) => all.subarray(from * cols, to * cols) as Floats, to - from);
  });
}

/** Sets dx to what comes by way of the router. All in f32: rounded to bf16, differences of the choices' worth would be lost. */
function routerBackward(
  tape: Tape,
  dx: Floats,
  dWeights: Float32Array,
  x: Activation,
  router: Parameter,
  { probs, weights, chosen, lse }: Routed,
  { num, perToken, normalise }: ExpertsConfig,
  place: RouterPlace | undefined,
): void {
  const { kernels } = tape;
  const [t, d] = [x.rows, x.cols];
  const live = place?.batch.live ?? new Float32Array(t);
  const dProbs = place?.batch.dProbs() ?? new Float32Array(num);
  const dSquaredLse = place?.batch.dSquaredLse() ?? 0;
  const inF32 = ({ data, rows, cols }: Activation | Parameter, body: (f32: Float32Array) => void) => {
    if (tape.precision === 'f32') return body(data as Float32Array);
    tape.withScratch(rows * cols, 'f32', (f32) => {
      kernels.convert(f32, data);
      body(f32);
    });
  };
  tape.withScratch(t * num, 'f32', (dLogits) => {
    kernels.routeBackward(
      ...([dLogits, dWeights, probs, weights, chosen, lse, live, dProbs, dSquaredLse] as const),
      ...([t, num, perToken, normalise] as const),
    );
    inF32(router, (w) => kernels.gemm(dx, dLogits, w, t, d, num, false, false, null, null));
    const { grad } = router;
    if (grad) inF32(x, (rows) => kernels.gemm(grad, dLogits, rows, num, d, t, true, false, grad, null));
  });
}
