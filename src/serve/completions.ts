// /v1/completions: text or token ids in, text out, with the log-probabilities of both in OpenAI's older form (parallel lists).
import type { TokenLogprob } from '../nn/index.ts';
import type { Tokenizer } from '../tokenizer/index.ts';
import { TextStream, type TokenTexts } from '../tokenizer/index.ts';
import { countCharacters } from './answer.ts';
import { badRequest } from './errors.ts';
import { type ChoiceDelta, type GenerationRequest, isSpecial, type Served } from './generation.ts';
import type { CompletionRequest } from './requests.ts';

interface Logprobs {
  tokens: string[];
  token_logprobs: (number | null)[];
  top_logprobs: (Record<string, number> | null)[] | null;
  text_offset: number[];
}

interface Choice {
  index: number;
  text: string;
  logprobs: Logprobs | null;
  finish_reason: string | null;
}

/** A prompt and the part of it that the client has written: `shown` tokens at its end, and their text. */
interface Prompt {
  tokens: Int32Array;
  hidden: number;
  text: string;
}

export class Completion {
  readonly kind = 'text_completion';
  readonly generation: GenerationRequest;
  private readonly request: CompletionRequest;
  private readonly prompts: Prompt[];
  private readonly tokenizer: Tokenizer;
  private readonly texts: TokenTexts;

  constructor(served: Served, texts: TokenTexts, request: CompletionRequest) {
    this.request = request;
    this.tokenizer = served.tokenizer;
    this.texts = texts;
    this.prompts = readPrompts(served, request);
    this.generation = {
      prompts: this.prompts.map(({ tokens }) => tokens),
      maxTokens: request.max_tokens,
      numTop: request.logprobs,
      scorePrompt: request.echo && request.logprobs !== undefined,
      common: request,
    };
  }

  /** A part of a choice as it is streamed; the first one of an echoed choice begins with the prompt. */
  chunk(delta: ChoiceDelta, isFirst: boolean): Choice {
    const prompt = this.prompts[Math.floor(delta.index / this.request.n)]!;
    const echoed = this.request.echo ? prompt.text : '';
    const text = (isFirst ? echoed : '') + delta.text;
    const shift = countCharacters(echoed);
    const isLogged = this.request.logprobs !== undefined;
    const logprobs = isLogged ? this.emptyLogprobs() : null;
    if (logprobs) {
      if (delta.promptLogprobs) this.logPrompt(logprobs, prompt, delta.promptLogprobs);
      for (const token of delta.tokens) this.log(logprobs, token.token, token, token.offset + shift);
    }
    return { index: delta.index, text, logprobs, finish_reason: delta.finished ?? null };
  }

  /** A whole choice from its parts. */
  choice(parts: readonly Choice[]): Choice {
    const logprobs = parts.reduce<Logprobs | null>((all, { logprobs: part }) => {
      if (!all || !part) return all ?? part;
      all.tokens.push(...part.tokens);
      all.token_logprobs.push(...part.token_logprobs);
      all.top_logprobs?.push(...(part.top_logprobs ?? []));
      all.text_offset.push(...part.text_offset);
      return all;
    }, null);
    const { index, finish_reason } = parts.at(-1)!;
    return { index, text: parts.map(({ text }) => text).join(''), logprobs, finish_reason };
  }

  private emptyLogprobs(): Logprobs {
    return { tokens: [], token_logprobs: [], top_logprobs: this.request.logprobs === 0 ? null : [], text_offset: [] };
  }

  private logPrompt(to: Logprobs, { tokens, hidden }: Prompt, logged: readonly (TokenLogprob | undefined)[]): void {
    const stream = new TextStream(this.tokenizer, tokens.subarray(0, hidden), false);
    let offset = 0;
    for (let i = hidden; i < tokens.length; i++) {
      this.log(to, tokens[i]!, logged[i], offset);
      offset += countCharacters(stream.push(tokens[i]!));
    }
  }

  private log(to: Logprobs, token: number, logged: TokenLogprob | undefined, offset: number): void {
    to.tokens.push(this.nameOf(token));
    to.token_logprobs.push(logged ? logged.logprob : null);
    to.top_logprobs?.push(logged ? this.topOf(logged) : null);
    to.text_offset.push(offset);
  }

  /** By text, likeliest first, with the token itself; of tokens with the same text the likeliest counts. */
  private topOf({ token, logprob, top }: TokenLogprob): Record<string, number> {
    const byName: Record<string, number> = {};
    for (const one of [...top, { token, logprob }]) byName[this.nameOf(one.token)] ??= one.logprob;
    return byName;
  }

  private nameOf(token: number): string {
    const { text, bytes, isWhole } = this.texts.of(token);
    return isWhole ? text : `bytes:${bytes.map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('')}`;
  }
}

function readPrompts({ tokenizer, capacity, longestToken }: Served, request: CompletionRequest): Prompt[] {
  const { prompt } = request;
  const list = (typeof prompt === 'string' || typeof prompt[0] === 'number' ? [prompt] : prompt) as (
    | string
    | number[]
  )[];
  return list.map((one) => {
    if (typeof one !== 'string') {
      const tokens = Int32Array.from(one);
      return { tokens, hidden: 0, text: request.echo ? tokenizer.decode(tokens, { skipSpecial: false }) : '' };
    }
    if (one.length > capacity * longestToken)
      throw badRequest(
        'prompt',
        `the prompt has ${one.length} characters: expected at most ${capacity} tokens here.`,
        'context_length_exceeded',
      );
    const ids = tokenizer.encode(one, { parseSpecial: true });
    // As in training and in `continuo generate`, a text begins a document, unless it says itself how it begins.
    const begins = request.add_special_tokens && !(ids.length > 0 && isSpecial(tokenizer, ids[0]!));
    const tokens = Int32Array.from(begins ? [tokenizer.documentStart, ...ids] : ids);
    return { tokens, hidden: begins ? 1 : 0, text: one };
  });
}
