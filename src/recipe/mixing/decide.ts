// From what a run has shown to the shares of its next steps: a method's weights, kept within bounds, put upon each phase's planned blend.
import type { MixingMethod } from '../../config/index.ts';
import { normalizeWeights } from '../blends.ts';
import type { Blend } from '../types.ts';
import { ado } from './ado.ts';
import { doge } from './doge.ts';
import { doremi } from './doremi.ts';
import { odm } from './odm.ts';
import { pplChange } from './ppl-change.ts';
import type { Mixer, MixHistory, MixSetting } from './types.ts';
import { normalised } from './types.ts';
import { velocitune } from './velocitune.ts';

/** In the plan and the job: how shares are decided while the run goes on. */
export interface PlanMixing {
  method: MixingMethod;
  /** Steps between two decisions. */
  everySteps: number;
  /** Steps at the planned blend before the first one; a multiple of everySteps. */
  firstStep: number;
  /** Least share of a corpus that its phase blends. */
  floor: number;
  /** Least share of all general corpora together; absent: the phase's. */
  minReplay?: number;
  /** How far one decision goes; without meaning for odm and ado. */
  rate: number;
  /** Bits per byte by corpus. */
  targets?: Record<string, number>;
  /** Corpora that shall be learned; absent: all. */
  toward?: string[];
  /** By corpus, tokens beyond which nothing more is drawn of it while others have text left. */
  mostTokens: Record<string, number>;
}

/** A mixer and what the engine must measure for it. */
export interface MixMethod {
  title: string;
  source: string;
  /** What it looks at: the losses of training, held-out text, gradients, or losses above those of a reference model. */
  reads: 'losses' | 'heldOut' | 'gradients' | 'excess';
  mixer: Mixer<unknown>;
}

export const MIX_METHODS: Readonly<Record<MixingMethod, MixMethod>> = {
  odm: {
    title: 'a bandit whose reward is the training loss: what is hard gets more',
    source: 'Albalak et al. 2023, arXiv 2312.02406',
    reads: 'losses',
    mixer: odm as Mixer<unknown>,
  },
  ado: {
    title: 'each corpus by how steeply the scaling law of its own training loss still falls',
    source: 'Jiang et al. 2024, arXiv 2410.11820',
    reads: 'losses',
    mixer: ado as Mixer<unknown>,
  },
  velocitune: {
    title: 'each corpus by how much of the way to its target is left',
    source: 'Luo et al. 2025, arXiv 2411.14318',
    reads: 'heldOut',
    mixer: velocitune as Mixer<unknown>,
  },
  'ppl-change': {
    title: 'what improved least since the last measurement gets more',
    source: 'Chen et al. 2024, arXiv 2407.18743',
    reads: 'heldOut',
    mixer: pplChange as Mixer<unknown>,
  },
  doge: {
    title: "each corpus by how much its gradient helps the others'",
    source: 'Fan et al. 2023, arXiv 2310.15393',
    reads: 'gradients',
    mixer: doge as Mixer<unknown>,
  },
  doremi: {
    title: 'each corpus by how far its loss still is above that of the reference model',
    source: 'Xie et al. 2023, arXiv 2305.10429',
    reads: 'excess',
    mixer: doremi as Mixer<unknown>,
  },
};

export interface MixPhase {
  firstStep: number;
  numSteps: number;
  blend: Readonly<Record<string, number>>;
}

export interface MixCorpus {
  name: string;
  role: 'domain' | 'general' | 'instruction';
  /** Tokens drawn until now. */
  usedTokens: number;
}

/** What is kept from one decision to the next. */
export interface MixState {
  /** By corpus; sums to 1. */
  weights: Record<string, number>;
  /** Of the method. */
  own: unknown;
}

export interface MixInputs {
  mixing: PlanMixing;
  corpora: readonly MixCorpus[];
  phases: readonly MixPhase[];
  numSteps: number;
  tokensPerStep: number;
  history: MixHistory;
  state?: MixState;
}

export interface MixDecision {
  parts: { numSteps: number; blend: Blend }[];
  state: MixState;
  /** The method had what it needs; else the weights stay. */
  isNew: boolean;
}

/** Shares of each corpus of the blends over the whole run as planned, in the order of `corpora`. */
export function priorsOf(corpora: readonly { name: string }[], phases: readonly MixPhase[]): number[] {
  return normalised(
    corpora.map(({ name }) => phases.reduce((sum, phase) => sum + phase.numSteps * (phase.blend[name] ?? 0), 0)),
  );
}

/** The blends of the steps from `history.step` to the next decision, or to the end. Corpora that no phase blends must be left out. */
export function decideMix(inputs: MixInputs): MixDecision {
  const { mixing, corpora, phases, numSteps, history } = inputs;
  const priors = priorsOf(corpora, phases);
  const setting: MixSetting = {
    corpora: corpora.map(({ name, role }, k) => ({
      ...{ name, role, prior: priors[k]! },
      target: mixing.targets?.[name] ?? Number.NaN,
      wanted: mixing.toward?.includes(name) ?? true,
    })),
    rate: mixing.rate,
    numSteps,
  };
  const before = inputs.state ? corpora.map(({ name }) => inputs.state!.weights[name] ?? 0) : priors;
  const decided = MIX_METHODS[mixing.method].mixer(setting, history, before, inputs.state?.own);
  const weights = normalised(decided?.weights ?? before);
  const end = Math.min(numSteps, history.step + mixing.everySteps);
  const parts: MixDecision['parts'] = [];
  // What is remembered are the shares that were handed out: where a bound holds a corpus, its weight must not drift on behind it.
  let kept = weights;
  for (let step = history.step; step < end; ) {
    const phase = phases.findLast(({ firstStep }) => firstStep <= step)!;
    const until = Math.min(end, phase.firstStep + phase.numSteps);
    const blend = blendFor(phase, weights, priors, inputs, end - history.step);
    parts.push({ numSteps: until - step, blend });
    kept = normalised(
      corpora.map(({ name }, k) =>
        phase.blend[name] ? (priors[k]! * (blend[name] ?? 0)) / phase.blend[name] : weights[k]!,
      ),
    );
    step = until;
  }
  const own = decided ? decided.state : inputs.state?.own;
  return {
    parts,
    state: { weights: Object.fromEntries(corpora.map(({ name }, k) => [name, kept[k]!])), own },
    isNew: decided !== undefined,
  };
}

/** A phase's planned shares times how far the method has moved each corpus from its prior, within the bounds. */
function blendFor(
  { blend }: MixPhase,
  weights: readonly number[],
  priors: readonly number[],
  { mixing, corpora, tokensPerStep }: MixInputs,
  chunkSteps: number,
): Blend {
  const planned = corpora.map(({ name }) => blend[name] ?? 0);
  const moved = normalised(planned.map((share, k) => (share > 0 ? share * (weights[k]! / priors[k]!) : 0)));
  const chunk = chunkSteps * tokensPerStep;
  const bounds = corpora.map(({ name, usedTokens }, k) => {
    const left = (mixing.mostTokens[name] ?? Number.POSITIVE_INFINITY) - usedTokens;
    const high = planned[k]! > 0 ? Math.min(1, Math.max(0, left / chunk)) : 0;
    return { low: Math.min(mixing.floor, planned[k]!, high), high };
  });
  const isGeneral = corpora.map(({ role }) => role === 'general');
  const sum = (values: readonly number[], general: boolean) =>
    values.reduce((total, x, k) => (isGeneral[k] === general ? total + x : total), 0);
  const least = Math.min(mixing.minReplay ?? sum(planned, true), sum(planned, true) > 0 ? 1 : 0);
  const general = sum(planned, false) > 0 ? Math.max(least, sum(moved, true)) : 1;
  const shares = corpora.map(() => 0);
  for (const [side, total] of [
    [true, general],
    [false, 1 - general],
  ] as const) {
    const members = corpora.flatMap((_, k) => (isGeneral[k] === side && planned[k]! > 0 ? [k] : []));
    const kept = withinBounds(
      members.map((k) => moved[k]!),
      members.map((k) => bounds[k]!),
      total,
    );
    members.forEach((k, i) => {
      shares[k] = kept[i]!;
    });
  }
  return normalizeWeights(Object.fromEntries(corpora.map(({ name }, k) => [name, shares[k]!])));
}

/**
 * Shares in proportion to `weights` that sum to `total`, each within its bounds: clamp(c w_i, low_i, high_i) with the c that makes the sum.
 * Upper bounds that leave no room are dropped: a corpus is then repeated.
 */
export function withinBounds(
  weights: readonly number[],
  bounds: readonly { low: number; high: number }[],
  total: number,
): number[] {
  const room = bounds.reduce((sum, { high }) => sum + high, 0);
  const clamp = (c: number) =>
    weights.map((weight, i) =>
      Math.max(Math.min(bounds[i]!.low, total), Math.min(room < total ? 1 : bounds[i]!.high, c * weight)),
    );
  const sumAt = (c: number) => clamp(c).reduce((sum, share) => sum + share, 0);
  let [low, high] = [0, 1];
  while (sumAt(high) < total && high < 1e12) high *= 2;
  for (let i = 0; i < 200; i++) {
    const middle = (low + high) / 2;
    if (sumAt(middle) < total) low = middle;
    else high = middle;
  }
  return clamp(high);
}
