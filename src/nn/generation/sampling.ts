// The choice of the next token from its logits: biases and OpenAI's penalties first, then in the order of Hugging Face's processors repetition
// penalty, temperature, top-k, top-p, min-p, each working on what the one before it left. The same seed and logits give the same tokens.
import { ConfigError, EngineError } from '../../base/errors.ts';
import { Rng } from '../../base/rng.ts';

export interface SamplingOptions {
  /** Divides the logits; 0 takes the likeliest token (the lowest id among equals). */
  temperature: number;
  /** Only so many of the likeliest tokens; 0: all. */
  topK: number;
  /** Only the likeliest tokens that together reach this probability (Holtzman et al. 2020); 1: all. */
  topP: number;
  /** Only tokens at least this times as likely as the likeliest (Nguyen et al. 2024); 0: all. */
  minP: number;
  /** Divides positive and multiplies negative logits of tokens that the prompt or the answer holds (Keskar et al. 2019); 1: none. */
  repetitionPenalty: number;
  /** Subtracted from the logit of a token that the answer holds; 0 unless given. */
  presencePenalty?: number;
  /** Subtracted from a token's logit once for each time that the answer holds it; 0 unless given. */
  frequencyPenalty?: number;
  /** Added to the logits of some tokens. */
  logitBias?: ReadonlyMap<number, number>;
  seed: number;
}

export const GREEDY: SamplingOptions = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  seed: 0,
};

/** @throws ConfigError that names the option */
export function checkSampling(options: SamplingOptions): void {
  const check = (name: Exclude<keyof SamplingOptions, 'logitBias'>, holds: boolean, expected: string) => {
    const words = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    if (!holds) throw new ConfigError(`${words}: expected ${expected}, found ${options[name]}.`);
  };
  const { temperature, topK, topP, minP, repetitionPenalty, seed } = options;
  check('temperature', temperature >= 0 && Number.isFinite(temperature), 'a number from 0');
  check('topK', Number.isInteger(topK) && topK >= 0, 'a whole number from 0');
  check('topP', topP > 0 && topP <= 1, 'a number above 0, at most 1');
  check('minP', minP >= 0 && minP <= 1, 'a number from 0 to 1');
  check('repetitionPenalty', repetitionPenalty > 0 && Number.isFinite(repetitionPenalty), 'a positive number');
  check('seed', Number.isSafeInteger(seed), 'a whole number');
  for (const name of ['presencePenalty', 'frequencyPenalty'] as const)
    check(name, Number.isFinite(options[name] ?? 0), 'a number');
}

/** Chooses the tokens of one sequence. */
export class Sampler {
  private readonly options: SamplingOptions;
  private readonly rng: Rng;
  private readonly seen: Set<number>;
  /** How often the answer holds a token; kept where penalties ask for it. */
  private readonly counts = new Map<number, number>();

  /** @throws ConfigError */
  constructor(options: SamplingOptions, prompt: ArrayLike<number>) {
    checkSampling(options);
    this.options = options;
    this.rng = new Rng(options.seed, 'sampling');
    this.seen = new Set(options.repetitionPenalty === 1 ? [] : Array.from(prompt));
  }

  /**
   * The next token. May change the logits.
   * @param logits of the whole vocabulary
   * @throws EngineError where no logit is a number
   */
  next(logits: Float32Array): number {
    const { temperature, repetitionPenalty, presencePenalty = 0, frequencyPenalty = 0, logitBias } = this.options;
    if (logitBias) for (const [id, bias] of logitBias) logits[id]! += bias;
    for (const [id, count] of this.counts) logits[id]! -= presencePenalty + count * frequencyPenalty;
    if (repetitionPenalty !== 1)
      for (const id of this.seen) logits[id]! *= logits[id]! > 0 ? 1 / repetitionPenalty : repetitionPenalty;
    const best = likeliest(logits);
    const id = temperature === 0 ? best : this.draw(logits, logits[best]!);
    if (repetitionPenalty !== 1) this.seen.add(id);
    if (presencePenalty !== 0 || frequencyPenalty !== 0) this.counts.set(id, (this.counts.get(id) ?? 0) + 1);
    return id;
  }

  /** @param max the largest logit */
  private draw(logits: Float32Array, max: number): number {
    const { temperature, topK, topP, minP } = this.options;
    const weights = new Float32Array(logits.length);
    for (let id = 0; id < logits.length; id++) weights[id] = Math.exp((logits[id]! - max) / temperature);
    const share = this.rng.float();
    if (topK === 0 && topP === 1) {
      // The likeliest token weighs 1, so min-p is a bound on the weights themselves.
      const kept = minP === 0 ? weights : weights.map((weight) => (weight >= minP ? weight : 0));
      return atShare(kept, share);
    }
    let ids = topK > 0 ? ranked(weights, (count) => count >= topK).slice(0, topK) : undefined;
    if (topP < 1) ids = nucleus(weights, ids, topP);
    const kept = ids!.filter((id) => weights[id]! >= minP);
    return kept[
      atShare(
        Float32Array.from(kept, (id) => weights[id]!),
        share,
      )
    ]!;
  }
}

/** A token's log-probability, nats, beside the likeliest tokens at its place, likeliest first. */
export interface TokenLogprob {
  token: number;
  logprob: number;
  top: { token: number; logprob: number }[];
}

/** What the model itself predicts: before biases, penalties and temperature. */
export function tokenLogprob(logits: Float32Array, token: number, numTop: number): TokenLogprob {
  const max = logits[likeliest(logits)]!;
  let sum = 0;
  for (let id = 0; id < logits.length; id++) sum += Math.exp(logits[id]! - max);
  const shift = max + Math.log(sum);
  const top = largest(logits, numTop).map((id) => ({ token: id, logprob: logits[id]! - shift }));
  return { token, logprob: logits[token]! - shift, top };
}

/** Ids of the `count` largest, largest first, the lower id first among equals. For few: each newcomer is put in its place. */
function largest(logits: Float32Array, count: number): number[] {
  const ids: number[] = [];
  let bound = -Infinity;
  for (let id = 0; id < logits.length && count > 0; id++) {
    const logit = logits[id]!;
    if (ids.length === count && !(logit > bound)) continue;
    let at = ids.length;
    while (at > 0 && logits[ids[at - 1]!]! < logit) at--;
    ids.splice(at, 0, id);
    if (ids.length > count) ids.pop();
    bound = logits[ids.at(-1)!]!;
  }
  return ids;
}

/** Position of the largest logit, the first among equals. @throws EngineError where there is none */
export function likeliest(logits: Float32Array): number {
  let best = -1;
  let max = -Infinity;
  for (let id = 0; id < logits.length; id++)
    if (logits[id]! > max) {
      max = logits[id]!;
      best = id;
    }
  if (best < 0 || max === Infinity)
    throw new EngineError(
      'the model gives no finite logits: its weights are damaged, or too large for the precision they are computed in. `continuo eval` shows its loss.',
    );
  return best;
}

/** Index at which the running sum of the weights passes `share` of their total. */
function atShare(weights: Float32Array, share: number): number {
  let total = 0;
  for (let i = 0; i < weights.length; i++) total += weights[i]!;
  let rest = share * total;
  let last = 0;
  for (let i = 0; i < weights.length; i++) {
    if (weights[i] === 0) continue;
    last = i;
    rest -= weights[i]!;
    if (rest < 0) return i;
  }
  return last;
}

/** Ids by falling weight, as many as satisfy `enough` or all; the largest weight is 1. Sorting the whole vocabulary would take longer than the model. */
function ranked(weights: Float32Array, enough: (count: number, mass: number) => boolean): number[] {
  for (let bound = 1 / 16; ; bound /= 256) {
    const ids: number[] = [];
    let mass = 0;
    for (let id = 0; id < weights.length; id++)
      if (weights[id]! >= bound) {
        ids.push(id);
        mass += weights[id]!;
      }
    if (bound === 0 || ids.length === weights.length || enough(ids.length, mass))
      return ids.sort((a, b) => weights[b]! - weights[a]! || a - b);
    if (bound < 1e-30) bound = 0;
  }
}

/** The likeliest of `ids` (undefined: of all) that together reach `topP` of their weight; at least one. */
function nucleus(weights: Float32Array, ids: number[] | undefined, topP: number): number[] {
  let total = 0;
  if (ids) for (const id of ids) total += weights[id]!;
  else for (let id = 0; id < weights.length; id++) total += weights[id]!;
  const needed = topP * total;
  const candidates = ids ?? ranked(weights, (_, mass) => mass >= needed);
  let sum = 0;
  let count = 0;
  while (count < candidates.length && sum < needed) sum += weights[candidates[count++]!]!;
  return candidates.slice(0, count);
}
