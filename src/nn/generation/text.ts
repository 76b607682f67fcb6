// Text from a prompt, piece by piece, ended by stop texts and stop tokens.
import { setImmediate as nextTurn } from 'node:timers/promises';
import { ConfigError } from '../../base/errors.ts';
import type { ModelSource } from '../../checkpoint/index.ts';
import { TextStream, type Tokenizer } from '../../tokenizer/index.ts';
import type { Decoder } from '../decoder.ts';
import { type FinishReason, GenerationBatch, type SequenceOptions } from './batch.ts';

export interface TextOptions extends SequenceOptions {
  /** Texts that end the answer; they are not part of it. */
  stop: readonly string[];
}

export interface GeneratedText {
  text: string;
  /** Those behind the text, and what a stop text was found in. */
  tokens: number[];
  finishReason: FinishReason;
  /** Milliseconds until the prompt was read and the first token known, and for all tokens after it. */
  promptMs: number;
  decodeMs: number;
}

/** Cuts a stream of text at the first of some stop texts; what may be the beginning of one is held back. */
export class StopTexts {
  private readonly stops: readonly string[];
  private held = '';
  found = false;

  /** @throws ConfigError for an empty text, which would stop everything */
  constructor(stops: readonly string[]) {
    if (stops.includes('')) throw new ConfigError('stop: expected texts of at least one character.');
    this.stops = stops;
  }

  /** Text that is certain not to belong to a stop text. */
  push(text: string): string {
    const all = this.held + text;
    const at = Math.min(...this.stops.map((stop) => all.indexOf(stop)).filter((index) => index >= 0));
    this.found = at !== Infinity;
    const end = this.found ? at : all.length - this.lengthToHold(all);
    this.held = this.found ? '' : all.slice(end);
    return all.slice(0, end);
  }

  /** What was held back, when nothing more comes. */
  end(): string {
    const { held } = this;
    this.held = '';
    return held;
  }

  /** The longest end of `text` that a stop text begins with. */
  private lengthToHold(text: string): number {
    const longest = Math.max(0, ...this.stops.map((stop) => stop.length - 1));
    for (let length = Math.min(longest, text.length); length > 0; length--)
      if (this.stops.some((stop) => stop.startsWith(text.slice(-length)))) return length;
    return 0;
  }
}

/**
 * Yields text as soon as it is certain, and returns the whole. Between tokens other work of the process gets its turn.
 * @throws ConfigError for a prompt without room for an answer in the model's context, or options out of range
 */
export async function* generateText(
  decoder: Decoder,
  tokenizer: Tokenizer,
  prompt: Int32Array,
  options: TextOptions,
): AsyncGenerator<string, GeneratedText> {
  const { context } = decoder.config;
  if (prompt.length >= context)
    throw new ConfigError(
      `the prompt has ${prompt.length} tokens, the model's context ${context}: no room for an answer. Shorten the prompt.`,
    );
  const stops = new StopTexts(options.stop);
  const stream = new TextStream(tokenizer, prompt);
  const batch = new GenerationBatch(decoder, 1, Math.min(prompt.length + options.maxTokens, context));
  const sequence = batch.add(prompt, options);
  const start = performance.now();
  let firstToken = start;
  let text = '';
  let numSeen = 0;
  while (batch.isBusy && !stops.found) {
    if (batch.step().length === 0) {
      await nextTurn();
      continue;
    }
    if (firstToken === start) firstToken = performance.now();
    if (sequence.tokens.length === numSeen) continue;
    const piece = stops.push(stream.push(sequence.tokens[numSeen++]!));
    text += piece;
    if (piece) yield piece;
    await nextTurn();
  }
  const decodeMs = performance.now() - firstToken;
  if (!stops.found) {
    let rest = stops.push(stream.end());
    if (!stops.found) rest += stops.end();
    text += rest;
    if (rest) yield rest;
  }
  return {
    text,
    tokens: [...sequence.tokens],
    finishReason: stops.found ? 'stop' : sequence.finished!,
    promptMs: firstToken - start,
    decodeMs,
  };
}

/** What ends an answer: the model's end-of-sequence tokens, of which there may be several, and the separator of its documents. */
export function stopTokens(source: ModelSource): Set<number> {
  const named = source.generationConfig?.eos_token_id ?? source.config.eos_token_id ?? [];
  const ids = Array.isArray(named) ? named : [named];
  if (!ids.every((id) => Number.isInteger(id)))
    throw new ConfigError(
      `${source.path}: eos_token_id: expected a token id or a list of them, found ${JSON.stringify(named)}.`,
    );
  return new Set([...(ids as number[]), source.tokenizer().documentEnd]);
}
