// Conversations with one model or, side by side, several: each has its own answers to the same messages.
import { cacheFolder } from '../base/package.ts';
import { openModel, resolveModel } from '../checkpoint/index.ts';
import {
  checkSampling,
  type Decoder,
  generateText,
  loadForInference,
  type SamplingOptions,
  stopTokens,
} from '../nn/index.ts';
import { type ChatMessage, renderChat, type Tokenizer } from '../tokenizer/index.ts';
import type { PipelineOptions } from './types.ts';

export interface ChatSettings {
  maxTokens: number;
  /** Each answer is drawn with the next seed. */
  sampling: SamplingOptions;
  /** What the system message says, where there is one. */
  system?: string;
}

/** Of the context, what is kept for an answer when a conversation has grown too long. */
const ANSWER_SHARE = 0.25;

/** One model's half of a conversation. */
export class ChatSide {
  readonly name: string;
  /** False: a base model, which goes on with the text instead of answering. */
  readonly hasTemplate: boolean;
  /** What was said, the system message included. */
  messages: ChatMessage[] = [];
  /** Messages that the model no longer sees, for want of room. */
  numForgotten = 0;
  private readonly decoder: Decoder;
  private readonly tokenizer: Tokenizer;
  private readonly stopTokens: ReadonlySet<number>;

  constructor(name: string, decoder: Decoder, tokenizer: Tokenizer, stops: ReadonlySet<number>) {
    this.name = name;
    this.decoder = decoder;
    this.tokenizer = tokenizer;
    this.stopTokens = stops;
    this.hasTemplate = tokenizer.chatTemplate !== undefined;
  }

  /**
   * The next answer, piece by piece; what came of it stays in the conversation, also where the loop is left.
   * @throws ConfigError where the last message alone is too long, or the template refuses the conversation
   */
  async *answer({ maxTokens, sampling }: ChatSettings): AsyncGenerator<string> {
    const prompt = this.fit(maxTokens);
    const answer: ChatMessage = { role: 'assistant', content: '' };
    this.messages.push(answer);
    const options = { maxTokens, stop: [], stopTokens: this.stopTokens, sampling };
    for await (const piece of generateText(this.decoder, this.tokenizer, prompt, options)) {
      answer.content += piece;
      yield piece;
    }
  }

  /** The conversation's tokens, without its oldest turns where there is no room for them. */
  private fit(maxTokens: number): Int32Array {
    const { context } = this.decoder.config;
    const room = context - Math.min(maxTokens, Math.floor(context * ANSWER_SHARE));
    const firstTurn = this.messages.findIndex(({ role }) => role !== 'system');
    const [head, turns] = [this.messages.slice(0, firstTurn), this.messages.slice(firstTurn)];
    for (let from = 0; ; ) {
      const prompt = this.encode([...head, ...turns.slice(from)]);
      const next = turns.findIndex(({ role }, i) => i > from && role === 'user');
      this.numForgotten = from;
      if (prompt.length <= room || next < 0) return prompt;
      from = next;
    }
  }

  private encode(messages: readonly ChatMessage[]): Int32Array {
    const { tokenizer } = this;
    if (this.hasTemplate)
      return Int32Array.from(
        tokenizer.encode(renderChat(tokenizer, messages, { addGenerationPrompt: true }), { parseSpecial: true }),
      );
    // What a base model reads is one text: its answer follows the message as it stands.
    const text = messages.map(({ role, content }, i) => (role === 'user' && i > 0 ? `\n${content}` : content)).join('');
    return Int32Array.from([tokenizer.documentStart, ...tokenizer.encode(text)]);
  }
}

export class Chat {
  readonly sides: readonly ChatSide[];
  private readonly settings: ChatSettings;
  private system: string | undefined;
  private numAnswers = 0;

  constructor(sides: readonly ChatSide[], settings: ChatSettings) {
    this.sides = sides;
    this.settings = settings;
    this.system = settings.system;
    this.reset();
  }

  /** A new conversation, with the same system message unless another is given; '' for none. */
  reset(system = this.system): void {
    this.system = system;
    for (const side of this.sides) side.messages = system ? [{ role: 'system', content: system }] : [];
  }

  /** @returns each side's answer, to be read in any order */
  say(text: string): AsyncGenerator<string>[] {
    for (const side of this.sides) side.messages.push({ role: 'user', content: text });
    return this.answers();
  }

  /** Other answers to the last message; undefined where there is none. */
  sayAgain(): AsyncGenerator<string>[] | undefined {
    for (const { messages } of this.sides) if (messages.at(-1)?.role === 'assistant') messages.pop();
    return this.sides[0]!.messages.at(-1)?.role === 'user' ? this.answers() : undefined;
  }

  /** Forgets a message that could not be answered. */
  takeBack(): void {
    for (const { messages } of this.sides) if (messages.at(-1)?.role === 'user') messages.pop();
  }

  /** What was said, as JSON lines hold conversations: one for each model. */
  toJson(): { model: string; messages: ChatMessage[] }[] {
    return this.sides.map(({ name, messages }) => ({ model: name, messages }));
  }

  private answers(): AsyncGenerator<string>[] {
    const { sampling } = this.settings;
    const settings = { ...this.settings, sampling: { ...sampling, seed: sampling.seed + this.numAnswers++ } };
    return this.sides.map((side) => side.answer(settings));
  }
}

/** @throws ConfigError, DataError */
export async function openChat(
  models: readonly string[],
  settings: ChatSettings,
  options: PipelineOptions = {},
): Promise<Chat> {
  checkSampling(settings.sampling);
  const sides: ChatSide[] = [];
  for (const model of models) {
    const source = openModel(await resolveModel(model, cacheFolder(process.cwd()), { quiet: options.quiet }));
    try {
      const { decoder } = loadForInference(source, options);
      sides.push(new ChatSide(model, decoder, source.tokenizer(), stopTokens(source)));
    } finally {
      source.close();
    }
  }
  return new Chat(sides, settings);
}
