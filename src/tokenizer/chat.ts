// Chat messages -> the text that a model was trained on, by its own Jinja template. The template language has no access to the
// machine: an interpreter for templates, no code execution. range, raise_exception and strftime_now come with the interpreter.
import { Template } from '@huggingface/jinja';
import { ConfigError } from '../base/errors.ts';
import type { ChatMessage, Tokenizer } from './types.ts';

/** How speakers are named where a model has no template: as in Jiang et al. 2024 (arXiv 2402.12847). */
const PLAIN_NAMES = { system: '', user: 'Question: ', assistant: 'Answer: ', tool: 'Result: ' } as const;

export interface EncodedConversation {
  ids: number[];
  /** For each id, 1 where the assistant says it, the end of its turn included; 0 elsewhere. */
  answers: Uint8Array;
}

/**
 * A conversation as the model shall read it in training: by its chat template, else as questions and answers. Without the start token,
 * which every document gets.
 * @throws ConfigError when the template refuses the messages
 */
export function encodeConversation(tokenizer: Tokenizer, messages: readonly ChatMessage[]): EncodedConversation {
  const { chatTemplate, documentStart } = tokenizer;
  const render = (part: readonly ChatMessage[], addGenerationPrompt: boolean) =>
    chatTemplate === undefined
      ? plainText(part, addGenerationPrompt)
      : renderChat(tokenizer, part, { addGenerationPrompt });
  const encode = (text: string) => tokenizer.encode(text, { parseSpecial: chatTemplate !== undefined });
  const text = render(messages, false);
  const ids = encode(text);
  const answers = new Uint8Array(ids.length);
  for (const [from, to] of answerSpans(text, messages, render))
    answers.fill(1, tokensBefore(encode(text.slice(0, from)), ids), tokensBefore(encode(text.slice(0, to)), ids));
  // The template's own start token is the document's.
  const skip = chatTemplate !== undefined && ids[0] === documentStart ? 1 : 0;
  return { ids: ids.slice(skip), answers: answers.slice(skip) };
}

/** Each message on a line of its own, with its speaker's name. */
function plainText(messages: readonly ChatMessage[], addGenerationPrompt: boolean): string {
  const lines = messages.map(({ role, content }) => `${PLAIN_NAMES[role]}${content}`);
  return [...lines, ...(addGenerationPrompt ? [PLAIN_NAMES.assistant] : [])].join('\n');
}

/**
 * Where in the text the assistant's turns stand: from where the model is asked to speak to where its turn ends. Templates that write the
 * same turn otherwise when more follows are searched for what was said.
 */
function answerSpans(
  text: string,
  messages: readonly ChatMessage[],
  render: (part: readonly ChatMessage[], addGenerationPrompt: boolean) => string,
): [number, number][] {
  const spans: [number, number][] = [];
  let done = 0;
  messages.forEach(({ role, content }, i) => {
    if (role !== 'assistant') return;
    const before = messages.slice(0, i);
    const asked = prefixLength(text, () => render(before, true));
    const said = prefixLength(text, () => render(messages.slice(0, i + 1), false));
    const found = text.indexOf(content.trim(), Math.max(done, asked ?? 0));
    // A template that does not ask has the speaker's name still to come.
    const asks = asked !== prefixLength(text, () => render(before, false));
    const span: [number, number] | undefined =
      asked !== undefined && said !== undefined && asked >= done && said >= asked
        ? [asks || found < 0 || found > said ? asked : found, said]
        : found >= 0
          ? [found, found + content.trim().length]
          : undefined;
    if (!span) return;
    spans.push(span);
    done = span[1];
  });
  return spans;
}

function prefixLength(text: string, render: () => string): number | undefined {
  try {
    const part = render();
    return text.startsWith(part) ? part.length : undefined;
  } catch (error) {
    // Some templates refuse a conversation that stops in the middle.
    if (error instanceof ConfigError) return undefined;
    throw error;
  }
}

/** Ids that belong to a prefix of the text: those with which its own encoding begins like the whole's. */
function tokensBefore(prefix: readonly number[], whole: readonly number[]): number {
  let n = 0;
  while (n < prefix.length && prefix[n] === whole[n]) n++;
  return n;
}

export interface ChatOptions {
  /** End with the opening of the assistant's turn, for generation. */
  addGenerationPrompt: boolean;
}

/**
 * Renders a conversation; encode the result with `parseSpecial`.
 * @throws ConfigError when the model has no chat template, or its template refuses these messages
 */
export function renderChat(tokenizer: Tokenizer, messages: readonly ChatMessage[], options: ChatOptions): string {
  const { chatTemplate } = tokenizer;
  if (chatTemplate === undefined)
    throw new ConfigError(
      'The tokenizer has no chat template, so a conversation cannot be written for this model. Use an instruction-tuned model, ' +
        'or put a chat_template.jinja beside its tokenizer.json.',
    );
  try {
    return new Template(chatTemplate).render({
      messages,
      add_generation_prompt: options.addGenerationPrompt,
      bos_token: tokenizer.bosToken ?? '',
      eos_token: tokenizer.eosToken ?? '',
      tools: null,
      documents: null,
    });
  } catch (error) {
    const roles = messages.map((message) => message.role).join(', ');
    throw new ConfigError(
      `The model's chat template refused the conversation (roles: ${roles || 'none'}): ` +
        `${error instanceof Error ? error.message : String(error)}. ` +
        'Many templates want user and assistant in turns, with at most one system message at the start.',
      { cause: error },
    );
  }
}
