// From a checked request to its answers' text: sequences for the model's thread, and what comes of them, choice by choice.
import { ConfigError } from '../base/errors.ts';
import type { SequenceOptions, TokenLogprob } from '../nn/index.ts';
import type { Tokenizer } from '../tokenizer/index.ts';
import { Answer, type Delta } from './answer.ts';
import { ApiError, badRequest } from './errors.ts';
import type { ModelThread } from './model-thread.ts';
import type { CommonRequest } from './requests.ts';
import type { SequenceEvent, SequenceRequest } from './scheduler.ts';

/** What the model is, to those who answer requests. */
export interface Served {
  name: string;
  tokenizer: Tokenizer;
  thread: ModelThread;
  stopTokens: ReadonlySet<number>;
  vocabSize: number;
  /** Longest sequence, prompt included, tokens. */
  capacity: number;
  /** Sequences that may wait or run, all requests together. */
  maxOpen: number;
  /** Characters of the longest token. */
  longestToken: number;
  startedAt: number;
}

export interface GenerationRequest {
  prompts: Int32Array[];
  maxTokens: number;
  numTop: number | undefined;
  scorePrompt: boolean;
  common: CommonRequest;
}

export interface ChoiceDelta extends Delta {
  /** Place among the request's answers: prompt by prompt, its n answers in a row. */
  index: number;
  /** With the first one of a choice, where asked for. */
  promptLogprobs?: readonly (TokenLogprob | undefined)[];
}

export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
}

/** A request under way. Iterate once; leaving the loop takes its sequences out. */
export class Generation implements AsyncIterable<ChoiceDelta> {
  private readonly thread: ModelThread;
  private readonly request: GenerationRequest;
  private readonly answers: Answer[];
  private readonly ids: number[];
  private readonly queue: { index: number; event: SequenceEvent | Error }[] = [];
  private wake: (() => void) | undefined;
  private isClosed = false;

  /** @throws ApiError where the prompts do not fit, or too much is under way */
  constructor(served: Served, request: GenerationRequest) {
    const { thread, tokenizer } = served;
    const { prompts, common } = request;
    this.thread = thread;
    this.request = request;
    checkSize(served, request);
    const [stops, tokens] = splitStops(common.stop, tokenizer);
    const stopTokens = new Set([...(common.ignore_eos ? [] : served.stopTokens), ...tokens]);
    const seed = common.seed ?? Math.floor(Math.random() * 2 ** 32);
    const sequences = prompts.flatMap((prompt) =>
      Array.from({ length: common.n }, (_, choice) => ({
        prompt,
        options: sequenceOptions(served, request, stopTokens, seed + choice),
      })),
    );
    this.answers = sequences.map(({ prompt }) => answerTo(tokenizer, prompt, stops));
    this.ids = thread.add(
      sequences.map((sequence: Omit<SequenceRequest, 'id'>, index) => ({
        request: sequence,
        listener: (event: SequenceEvent | Error) => {
          this.queue.push({ index, event });
          this.wake?.();
        },
      })),
    );
  }

  get usage(): Usage {
    const prompt = this.request.prompts.reduce((sum, { length }) => sum + length, 0);
    const completion = this.answers.reduce((sum, { numTokens }) => sum + numTokens, 0);
    return { prompt_tokens: prompt, completion_tokens: completion, total_tokens: prompt + completion };
  }

  /** Takes the sequences out at once; the loop ends. */
  close(): void {
    this.isClosed = true;
    this.thread.cancel(this.ids);
    this.wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<ChoiceDelta> {
    try {
      while (!this.isClosed && this.answers.some(({ finished }) => finished === undefined)) {
        const next = this.queue.shift();
        if (!next) {
          await new Promise<void>((resolve) => {
            this.wake = resolve;
          });
          continue;
        }
        if (next.event instanceof Error) throw next.event;
        yield* this.deltas(next.index, next.event);
      }
    } finally {
      this.close();
    }
  }

  private *deltas(index: number, event: SequenceEvent): Generator<ChoiceDelta> {
    const answer = this.answers[index]!;
    const { token, logprob, promptLogprobs } = event;
    // What was computed before the model heard of a stop text.
    if (answer.finished) return;
    if (token !== undefined || promptLogprobs)
      yield {
        ...(token === undefined ? { text: '', tokens: [] } : answer.push(token, logprob)),
        index,
        promptLogprobs,
      };
    if (answer.finished) this.thread.cancel([this.ids[index]!]);
    else if (event.finished) yield { ...answer.end(event.finished, token === undefined ? logprob : undefined), index };
  }
}

function checkSize(
  { thread, capacity, maxOpen, vocabSize }: Served,
  { prompts, maxTokens, common }: GenerationRequest,
): void {
  for (const prompt of prompts) {
    if (prompt.length === 0) throw badRequest('prompt', 'the prompt is empty: expected at least one token.');
    const room = maxTokens > 0 ? capacity - 1 : capacity;
    if (prompt.length > room)
      throw badRequest(
        'prompt',
        `the prompt has ${prompt.length} tokens: expected at most ${room} here.`,
        'context_length_exceeded',
      );
    const wrong = prompt.find((id) => id >= vocabSize);
    if (wrong !== undefined)
      throw badRequest('prompt', `prompt: the model has no token ${wrong}; expected ids below ${vocabSize}.`);
  }
  const count = prompts.length * common.n;
  if (count > maxOpen)
    throw badRequest(
      'prompt',
      `${count} answers in one request: expected at most ${maxOpen} here. Send several requests.`,
    );
  if (thread.numOpen + count > maxOpen)
    throw new ApiError(
      429,
      `${thread.numOpen} sequences are under way or waiting, of at most ${maxOpen}. Try again later.`,
      {
        type: 'rate_limit_error',
        code: 'queue_full',
        headers: { 'retry-after': '1' },
      },
    );
}

function sequenceOptions(
  { vocabSize }: Served,
  { maxTokens, numTop, scorePrompt, common }: GenerationRequest,
  stopTokens: ReadonlySet<number>,
  seed: number,
): SequenceOptions {
  const logitBias = new Map(Object.entries(common.logit_bias).map(([id, bias]) => [Number(id), bias]));
  for (const id of logitBias.keys())
    if (id >= vocabSize)
      throw badRequest('logit_bias', `logit_bias: the model has no token ${id}; expected ids below ${vocabSize}.`);
  return {
    maxTokens,
    stopTokens,
    numTop,
    scorePrompt,
    // Who gives a seed wants the same text again, whatever else is asked for meanwhile.
    isSteady: common.seed !== undefined,
    sampling: {
      temperature: common.temperature,
      topK: Math.max(0, common.top_k),
      topP: common.top_p,
      minP: common.min_p,
      repetitionPenalty: common.repetition_penalty,
      presencePenalty: common.presence_penalty,
      frequencyPenalty: common.frequency_penalty,
      logitBias: logitBias.size > 0 ? logitBias : undefined,
      seed,
    },
  };
}

/** Stop texts, and those among them that are special tokens: these are no part of any text, so they stop as tokens. */
function splitStops(stop: string | readonly string[], tokenizer: Tokenizer): [string[], number[]] {
  const texts: string[] = [];
  const tokens: number[] = [];
  for (const text of typeof stop === 'string' ? [stop] : stop) {
    const id = tokenizer.tokenToId(text);
    if (id !== undefined && isSpecial(tokenizer, id)) tokens.push(id);
    else texts.push(text);
  }
  return [texts, tokens];
}

export function isSpecial(tokenizer: Tokenizer, id: number): boolean {
  return tokenizer.decode([id], { skipSpecial: true }) === '' && tokenizer.decode([id], { skipSpecial: false }) !== '';
}

function answerTo(tokenizer: Tokenizer, prompt: Int32Array, stops: readonly string[]): Answer {
  try {
    return new Answer(tokenizer, prompt, stops);
  } catch (error) {
    throw error instanceof ConfigError ? badRequest('stop', error.message) : error;
  }
}
