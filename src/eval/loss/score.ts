// Each token's loss in a text, with the text that the token stands for, and what the model would rather have read there.
import { ConfigError } from '../../base/errors.ts';
import { toBatch } from '../../engine/index.ts';
import { type Decoder, KeyValueCache } from '../../nn/index.ts';
import { TextStream, type Tokenizer } from '../../tokenizer/index.ts';

/** The likeliest token at a place. */
export interface Alternative {
  text: string;
  /** From 0 to 1. */
  probability: number;
}

/** A token, or as many as it takes to complete a character. */
export interface ScoredToken {
  text: string;
  nats: number;
  numTokens: number;
  /** First of them. */
  id: number;
  /** Tokens that the model read before it, the document's start token included. */
  context: number;
  likeliest?: Alternative;
}

export interface ScoreOptions {
  /** Tokens of context at most: a text is cut in windows that share no predicted token. */
  seqLen: number;
  /** Also the likeliest token at each place; slower. */
  alternatives?: boolean;
  /** Spellings of special tokens are these tokens. */
  parseSpecial?: boolean;
}

/** Tokens whose logits are held at a time. */
const CHUNK = 64;

/** @throws ConfigError where the text is empty for this tokenizer */
export function scoreTokens(
  decoder: Decoder,
  tokenizer: Tokenizer,
  text: string,
  { seqLen, alternatives = false, parseSpecial = false }: ScoreOptions,
): ScoredToken[] {
  const ids = Int32Array.from([tokenizer.documentStart, ...tokenizer.encode(text, { parseSpecial })]);
  const numPredicted = ids.length - 1;
  if (numPredicted === 0) throw new ConfigError('a text without a token cannot be scored.');
  const losses = new Float64Array(numPredicted);
  const best = alternatives ? new Int32Array(numPredicted) : undefined;
  const chances = new Float64Array(alternatives ? numPredicted : 0);
  for (let from = 0; from < numPredicted; from += seqLen) {
    const window = ids.subarray(from, Math.min(from + seqLen, numPredicted) + 1);
    const found = best ? likeliestOf(decoder, window, seqLen) : { losses: lossesOf(decoder, window, seqLen) };
    losses.set(found.losses, from);
    if (best && 'best' in found) {
      best.set(found.best, from);
      chances.set(found.probabilities, from);
    }
  }
  return joinTokens(tokenizer, ids, seqLen, losses, (i) =>
    best ? { text: tokenizer.decode([best[i]!]), probability: chances[i]! } : undefined,
  );
}

/** window[0 .. n-1] predict window[1 .. n]. */
function lossesOf(decoder: Decoder, window: Int32Array, seqLen: number): Float32Array {
  const n = window.length - 1;
  const sequence = {
    inputs: new Int32Array(seqLen),
    targets: new Int32Array(seqLen).fill(-1),
    docStart: new Int32Array(seqLen).fill(n, n),
    shard: new Int32Array(seqLen),
  };
  sequence.inputs.set(window.subarray(0, -1));
  sequence.targets.set(window.subarray(1));
  return decoder.scoreBatch(toBatch([sequence])).subarray(0, n);
}

/** The same through logits, a chunk at a time, which also show the likeliest token. */
function likeliestOf(decoder: Decoder, window: Int32Array, seqLen: number) {
  const n = window.length - 1;
  const cache = new KeyValueCache(decoder.config, decoder.precision, 1, seqLen);
  const [losses, best, probabilities] = [new Float32Array(n), new Int32Array(n), new Float64Array(n)];
  for (let from = 0; from < n; from += CHUNK) {
    const tokens = window.subarray(from, Math.min(from + CHUNK, n));
    const logits = decoder.extend(cache, [{ slot: 0, tokens, logits: 'all' }]);
    const width = logits.length / tokens.length;
    for (let i = 0; i < tokens.length; i++) {
      const row = logits.subarray(i * width, (i + 1) * width);
      let top = 0;
      for (let id = 1; id < width; id++) if (row[id]! > row[top]!) top = id;
      let sum = 0;
      for (let id = 0; id < width; id++) sum += Math.exp(row[id]! - row[top]!);
      losses[from + i] = Math.log(sum) + row[top]! - row[window[from + i + 1]!]!;
      best[from + i] = top;
      probabilities[from + i] = 1 / sum;
    }
  }
  return { losses, best, probabilities };
}

function joinTokens(
  tokenizer: Tokenizer,
  ids: Int32Array,
  seqLen: number,
  losses: Float64Array,
  likeliest: (i: number) => Alternative | undefined,
): ScoredToken[] {
  const stream = new TextStream(tokenizer, [], false);
  const joined: ScoredToken[] = [];
  let open: ScoredToken | undefined;
  for (let i = 0; i < losses.length; i++) {
    const text = stream.push(ids[i + 1]!);
    open ??= { text: '', nats: 0, numTokens: 0, id: ids[i + 1]!, context: (i % seqLen) + 1, likeliest: likeliest(i) };
    open.nats += losses[i]!;
    open.numTokens++;
    open.text += text;
    if (text === '') continue;
    joined.push(open);
    open = undefined;
  }
  const rest = stream.end();
  if (open) joined.push({ ...open, text: open.text + rest });
  return joined;
}
