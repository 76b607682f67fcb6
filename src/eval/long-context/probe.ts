// How far back a model finds what it was told: RULER's samples over lengths and depths, answered and scored.
import { ConfigError } from '../../base/errors.ts';
import { wilsonInterval } from '../stats/index.ts';
import type { LanguageModel, Tick } from '../types.ts';
import { type LongContextKind, longContextSample, scoreLongContext } from './generate.ts';

export interface LongContextProbe {
  kinds: readonly LongContextKind[];
  /** Tokens of prompt and answer together. */
  lengths: readonly number[];
  /** 0: at the beginning of the prompt, 1: at its end. */
  depths: readonly number[];
  /** Of each kind, length and depth. */
  numSamples: number;
  seed: number;
  /** Tokens of a text, as the model reads it. */
  countTokens: (text: string) => number;
}

export interface LongContextCell {
  kind: LongContextKind;
  length: number;
  depth: number;
  /** Mean share of the answers that were found, 0 to 1. */
  score: number;
  /** Wilson's 95 % interval, each sample counted as its score. */
  low: number;
  high: number;
  numSamples: number;
}

/**
 * Equal samples for every model with the same tokenizer, so that two models can be held against each other.
 * @throws ConfigError where a length is beyond the model's context, or has no room for the question
 */
export async function probeLongContext(
  model: LanguageModel,
  { kinds, lengths, depths, numSamples, seed, countTokens }: LongContextProbe,
  tick?: Tick,
): Promise<LongContextCell[]> {
  const tooLong = lengths.filter((length) => length > model.maxTokens);
  if (tooLong.length > 0)
    throw new ConfigError(
      `lengths: ${model.name} has a context of ${model.maxTokens} tokens, found ${tooLong.join(', ')}. Ask for at most that.`,
    );
  const places = kinds.flatMap((kind) => lengths.flatMap((length) => depths.map((depth) => ({ kind, length, depth }))));
  const samples = places.flatMap(({ kind, length, depth }) =>
    Array.from({ length: numSamples }, (_, i) =>
      longContextSample({ kind, lengthTokens: length, depth, seed: seed + i, countTokens }),
    ),
  );
  const answers = await model.generate(
    samples.map(({ prompt, maxAnswerTokens }) => ({ prompt, until: [], maxTokens: maxAnswerTokens })),
    tick,
  );
  const scores = samples.map(({ kind, answers: wanted }, i) => scoreLongContext(kind, answers[i]!, wanted));
  return places.map((place, i) => {
    const own = scores.slice(i * numSamples, (i + 1) * numSamples);
    const sum = own.reduce((total, score) => total + score, 0);
    return { ...place, score: sum / numSamples, ...wilsonInterval(sum, numSamples), numSamples };
  });
}
