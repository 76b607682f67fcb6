// A model behind an OpenAI-compatible API as a LanguageModel. Completion APIs that echo the prompt with its log-probabilities give
// likelihoods; chat APIs give answers only. With the model's own tokenizer prompts are sent as token ids, cut by the same rules as a
// checkpoint's here; without it as text, whose tokens are told apart by their places in it.
import { ConfigError, EngineError } from '../../base/errors.ts';
import { fingerprint } from '../../base/hash.ts';
import { renderChat, type Tokenizer } from '../../tokenizer/index.ts';
import type { ChatMessage, LanguageModel, Likelihood, LikelihoodRequest, TextRequest, Tick } from '../types.ts';
import { ApiClient } from './api-client.ts';
import { moveSpaces, RequestEncoder, type Scored } from './encode.ts';

export interface ApiModelOptions {
  /** Up to and with /v1. */
  baseUrl: string;
  /** As the API knows it. */
  model: string;
  kind: 'completions' | 'chat';
  /** Environment variable that holds the key; OPENAI_API_KEY unless given. An API without keys needs none. */
  keyVariable?: string;
  /** The model's own. */
  tokenizer?: Tokenizer;
  /** Room for a request and its answer, tokens; 2048 unless given. */
  maxTokens?: number;
  /** Requests under way at once; 8 unless given. */
  concurrency?: number;
  /** Of one request; 300 000 unless given. */
  timeoutMs?: number;
  /** After 429, 5xx and broken connections; 5 unless given, the first after a second, each pause twice the one before. */
  retries?: number;
  retryMs?: number;
}

/** OpenAI's APIs take no more; the answer is cut here by all of them. */
const MAX_STOPS = 4;
/** Begins the prompt that renderChat makes for a chat API: it holds the messages themselves, which no text can be taken for. */
const MESSAGES = '\u0000messages:';

/** @throws ConfigError for options out of range */
export function apiModel(options: ApiModelOptions): LanguageModel {
  const { concurrency = 8, retries = 5, maxTokens = 2048, timeoutMs = 300_000, retryMs = 1000 } = options;
  for (const [name, value, least] of [
    ['concurrency', concurrency, 1],
    ['retries', retries, 0],
    ['maxTokens', maxTokens, 3],
    ['timeoutMs', timeoutMs, 1],
  ] as const)
    if (!Number.isInteger(value) || value < least)
      throw new ConfigError(`${name}: expected a whole number from ${least}, found ${value}.`);
  const apiKey = process.env[options.keyVariable ?? 'OPENAI_API_KEY'];
  // The address of the route itself is what lm-evaluation-harness is given.
  const baseUrl = options.baseUrl.replace(/(\/chat)?\/completions\/?$/, '');
  const client = new ApiClient({ baseUrl, apiKey, concurrency, timeoutMs, retries, retryMs });
  return new ApiModel(client, { ...options, baseUrl, maxTokens });
}

interface Completion {
  choices?: { text?: string; message?: { content?: string | null }; logprobs?: EchoedLogprobs | null }[];
}

interface EchoedLogprobs {
  tokens?: string[];
  token_logprobs?: (number | null)[];
  top_logprobs?: (Record<string, number> | null)[] | null;
  text_offset?: number[];
}

class ApiModel implements LanguageModel {
  readonly name: string;
  readonly maxTokens: number;
  /** Of the API, not of its weights: they may change behind it. */
  readonly fingerprint: string;
  private readonly client: ApiClient;
  private readonly options: ApiModelOptions;
  private readonly encoder: RequestEncoder | undefined;

  constructor(client: ApiClient, options: ApiModelOptions & { maxTokens: number }) {
    const { model, baseUrl, kind, tokenizer, maxTokens } = options;
    this.client = client;
    this.options = options;
    this.name = model;
    this.maxTokens = maxTokens;
    // An API generates a token at least, and the last of a request's tokens is sent, too.
    this.encoder = tokenizer && new RequestEncoder(tokenizer, maxTokens - 2);
    this.fingerprint = fingerprint({ baseUrl, model, kind, maxTokens, tokenizer: tokenizer?.files });
  }

  async likelihoods(requests: readonly LikelihoodRequest[], tick: Tick = () => {}): Promise<Likelihood[]> {
    this.refuseOnChat();
    const { encoder } = this;
    if (!encoder) return this.client.all(requests, (request) => this.scoreText(request), tick);
    const scored = requests.map((request) => encoder.pair(request));
    return this.client.all(scored, (each) => this.scoreTokens(each), tick);
  }

  async rollingLikelihoods(texts: readonly string[], tick: Tick = () => {}): Promise<number[]> {
    this.refuseOnChat();
    const { encoder } = this;
    if (!encoder)
      throw new ConfigError(
        `${this.name}: the likelihood of a whole text needs the model's own tokenizer, so that it can be cut into windows. Give it.`,
      );
    const score = async (text: string) => {
      let sum = 0;
      for (const window of encoder.windows(text)) sum += (await this.scoreTokens(window)).logLikelihood;
      return sum;
    };
    return this.client.all(texts, score, tick);
  }

  generate(requests: readonly TextRequest[], tick: Tick = () => {}): Promise<string[]> {
    return this.client.all(requests, (request) => this.answer(request), tick);
  }

  renderChat(messages: readonly ChatMessage[]): string {
    const { kind, tokenizer } = this.options;
    if (kind === 'chat') return MESSAGES + JSON.stringify(messages);
    if (!tokenizer)
      throw new ConfigError(
        `${this.name}: a completion API takes no conversations, and without the model's tokenizer its chat template is not known. Give it, or use the chat API.`,
      );
    return renderChat(tokenizer, messages, { addGenerationPrompt: true });
  }

  close(): void {}

  private refuseOnChat(): void {
    if (this.options.kind === 'chat')
      throw new ConfigError(
        `${this.name}: a chat API gives no likelihoods of a given text, so tasks that compare choices cannot be put to it. Use the completion API, or tasks that generate.`,
      );
  }

  private async answer({ prompt, until, maxTokens, temperature, topP, topK, seed }: TextRequest): Promise<string> {
    const { model, kind, tokenizer, baseUrl } = this.options;
    const stops = [...new Set([...until, tokenizer?.eosToken ?? ''])].filter((text) => text !== '');
    const isOpenAi = new URL(baseUrl).hostname.endsWith('.openai.com');
    const body = {
      model,
      temperature: temperature ?? 0,
      ...(topP !== undefined && { top_p: topP }),
      ...(topK !== undefined && { top_k: topK }),
      ...(seed !== undefined && { seed }),
      ...(stops.length > 0 && { stop: stops.slice(0, MAX_STOPS) }),
      ...(isOpenAi && kind === 'chat' ? { max_completion_tokens: maxTokens } : { max_tokens: maxTokens }),
    };
    const text =
      kind === 'chat'
        ? (await this.ask('/chat/completions', { ...body, messages: messagesOf(prompt) })).message?.content
        : (await this.ask('/completions', { ...body, prompt: this.promptOf(prompt, maxTokens) })).text;
    return stops.reduce((rest, stop) => rest.split(stop, 1)[0]!, text ?? '');
  }

  private promptOf(prompt: string, maxTokens: number): string | number[] {
    return this.encoder ? [...this.encoder.prompt(prompt, maxTokens)] : prompt;
  }

  private async scoreTokens({ inputs, targets }: Scored): Promise<Likelihood> {
    const tokens = [...inputs, targets.at(-1)!];
    const echoed = await this.echo(tokens);
    return this.sum(echoed, tokens.length - targets.length, tokens.length);
  }

  private async scoreText(request: LikelihoodRequest): Promise<Likelihood> {
    const { context, continuation } = moveSpaces(request);
    const echoed = await this.echo(context + continuation);
    const ends = echoed.isWhole ? tokenEnds(echoed, context + continuation) : undefined;
    if (!ends) return this.sum(echoed, 0, Number.POSITIVE_INFINITY);
    // A token that reaches into the continuation belongs to it.
    const first = ends.findIndex((end) => end > context.length);
    const after = ends.findIndex((end) => end >= context.length + continuation.length) + 1;
    return this.sum(echoed, first, after);
  }

  /** Log-probabilities of the prompt and of one token more; isWhole says whether they begin with a text that was sent. */
  private async echo(prompt: string | number[]): Promise<EchoedLogprobs & { isWhole: boolean }> {
    const { model } = this.options;
    const body = { model, prompt, max_tokens: 1, temperature: 0, logprobs: 1, echo: true };
    const { text, logprobs } = await this.ask('/completions', body);
    // An API that does not know echo has them of the token that it makes, and of its text.
    return { ...logprobs, isWhole: typeof prompt === 'string' && text?.startsWith(prompt) === true };
  }

  private sum({ token_logprobs: all = [], top_logprobs: top }: EchoedLogprobs, from: number, to: number): Likelihood {
    const own = all.slice(from, to);
    if (to > all.length || from < 0 || own.length === 0 || own.some((value) => typeof value !== 'number'))
      throw new ConfigError(
        `${this.name}: expected log-probabilities of the prompt's tokens (echo and logprobs), found ${
          all.length === 0 ? 'none' : own.includes(null) ? "none for the text's first token" : `${all.length} values`
        }. ${this.encoder ? 'Likelihoods cannot be had from this API; use tasks that generate.' : "Give the model's tokenizer, or use tasks that generate."}`,
      );
    const isGreedy = (value: number | null, i: number) => {
      const others = top?.[from + i];
      return others !== null && others !== undefined && value! >= Math.max(...Object.values(others));
    };
    return {
      logLikelihood: own.reduce<number>((sum, value) => sum + value!, 0),
      isGreedy: own.every(isGreedy),
      numTokens: own.length,
    };
  }

  private async ask(route: string, body: object) {
    const answer = (await this.client.post(route, body)) as Completion;
    const choice = answer?.choices?.[0];
    if (!choice)
      throw new EngineError(
        `POST ${this.options.baseUrl}${route}: expected a list of choices, found ${JSON.stringify(answer)?.slice(0, 200)}.`,
      );
    return choice;
  }
}

function messagesOf(prompt: string): ChatMessage[] {
  return prompt.startsWith(MESSAGES)
    ? (JSON.parse(prompt.slice(MESSAGES.length)) as ChatMessage[])
    : [{ role: 'user', content: prompt }];
}

/**
 * Where each token of the text ends, in UTF-16 units; undefined where that is not told. Tokens' own texts are sure where they make the
 * text; else, where characters are split over tokens, offsets count characters.
 */
function tokenEnds({ tokens, text_offset: offsets }: EchoedLogprobs, text: string): number[] | undefined {
  if (tokens?.join('').startsWith(text)) {
    let end = 0;
    return tokens.map((token) => {
      end += token.length;
      return end;
    });
  }
  if (!offsets) return undefined;
  const starts = [0];
  for (const character of text) starts.push(starts.at(-1)! + character.length);
  return offsets.map((_, i) => starts[offsets[i + 1] ?? starts.length - 1] ?? text.length);
}
