// Two models' tokens over one text. Vocabularies may differ (one grown from the other): then both sides are joined up to the next place at
// which both have a boundary, so that each piece of text has the loss of either model.
import { ConfigError } from '../../base/errors.ts';
import type { Alternative, ScoredToken } from './score.ts';

/** A piece of text with its loss: a token, or the least number of tokens that both models begin and end together. */
export interface Piece extends ScoredToken {
  base?: { nats: number; numTokens: number; likeliest?: Alternative };
}

/** @throws ConfigError where the two do not stand for the same text */
export function alignTokens(tuned: readonly ScoredToken[], base: readonly ScoredToken[]): Piece[] {
  const pieces: Piece[] = [];
  let [i, j] = [0, 0];
  while (i < tuned.length && j < base.length) {
    const first = { ...tuned[i++]! };
    const second = { ...base[j++]! };
    while (first.text.length !== second.text.length) {
      const [shorter, next] = first.text.length < second.text.length ? [first, tuned[i++]] : [second, base[j++]];
      if (!next) break;
      shorter.text += next.text;
      shorter.nats += next.nats;
      shorter.numTokens += next.numTokens;
    }
    if (first.text !== second.text) differ(first.text, second.text);
    const { nats, numTokens, likeliest } = second;
    pieces.push({ ...first, base: { nats, numTokens, likeliest } });
  }
  if (i < tuned.length || j < base.length) differ(tuned[i]?.text ?? '', base[j]?.text ?? '');
  return pieces;
}

function differ(tuned: string, base: string): never {
  throw new ConfigError(
    `the two models' tokenizers do not give back the same text (${JSON.stringify(tuned.slice(0, 40))} against ${JSON.stringify(base.slice(0, 40))}): they cannot be compared token by token. Leave out --base, and look at both by themselves.`,
  );
}
