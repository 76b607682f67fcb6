// /v1/chat/completions: a conversation, written by the model's own chat template, and the assistant's next turn.
import { ConfigError } from '../base/errors.ts';
import type { TokenLogprob } from '../nn/index.ts';
import { type ChatMessage, renderChat, type Tokenizer, type TokenTexts } from '../tokenizer/index.ts';
import { badRequest } from './errors.ts';
import type { ChoiceDelta, GenerationRequest, Served } from './generation.ts';
import type { ChatRequest } from './requests.ts';

interface LoggedText {
  token: string;
  logprob: number;
  bytes: readonly number[];
}

interface ChunkChoice {
  index: number;
  delta: { role?: 'assistant'; content?: string };
  logprobs: { content: (LoggedText & { top_logprobs: LoggedText[] })[]; refusal: null } | null;
  finish_reason: string | null;
}

export class ChatCompletion {
  readonly kind = 'chat.completion';
  readonly generation: GenerationRequest;
  private readonly request: ChatRequest;
  private readonly texts: TokenTexts;

  constructor({ tokenizer, capacity, longestToken }: Served, texts: TokenTexts, request: ChatRequest) {
    this.request = request;
    this.texts = texts;
    const text = writeConversation(tokenizer, request);
    if (text.length > capacity * longestToken)
      throw badRequest(
        'messages',
        `the conversation has ${text.length} characters: expected at most ${capacity} tokens here.`,
        'context_length_exceeded',
      );
    this.generation = {
      prompts: [Int32Array.from(tokenizer.encode(text, { parseSpecial: true }))],
      maxTokens: request.max_completion_tokens ?? request.max_tokens ?? capacity,
      numTop: request.logprobs ? (request.top_logprobs ?? 0) : undefined,
      scorePrompt: false,
      common: request,
    };
  }

  chunk({ index, text, tokens, finished }: ChoiceDelta, isFirst: boolean): ChunkChoice {
    return {
      index,
      delta: { ...(isFirst && { role: 'assistant' }), ...((text || isFirst) && { content: text }) },
      logprobs: this.request.logprobs ? { content: tokens.map((token) => this.log(token)), refusal: null } : null,
      finish_reason: finished ?? null,
    };
  }

  choice(parts: readonly ChunkChoice[]) {
    const { index, finish_reason } = parts.at(-1)!;
    const content = parts.map(({ delta }) => delta.content ?? '').join('');
    return {
      index,
      message: { role: 'assistant', content, refusal: null },
      logprobs: this.request.logprobs
        ? { content: parts.flatMap(({ logprobs }) => logprobs?.content ?? []), refusal: null }
        : null,
      finish_reason,
    };
  }

  private log({ token, logprob, top }: TokenLogprob) {
    return { ...this.textOf(token, logprob), top_logprobs: top.map((one) => this.textOf(one.token, one.logprob)) };
  }

  private textOf(token: number, logprob: number): LoggedText {
    const { text, bytes } = this.texts.of(token);
    return { token: text, logprob, bytes };
  }
}

/** @throws ApiError where the model has no template, or its template refuses the conversation */
function writeConversation(tokenizer: Tokenizer, { messages }: ChatRequest): string {
  const conversation = messages.map(({ role, content }): ChatMessage => {
    if (role === 'tool' && !tokenizer.chatTemplate?.includes('tool'))
      throw badRequest(
        'messages',
        "messages: the model's chat template has no tool messages.",
        'unsupported_parameter',
      );
    const text = typeof content === 'string' ? content : content.map((part) => part.text).join('');
    return { role: role === 'developer' ? 'system' : role, content: text };
  });
  try {
    return renderChat(tokenizer, conversation, { addGenerationPrompt: true });
  } catch (error) {
    throw error instanceof ConfigError ? badRequest('messages', error.message) : error;
  }
}
