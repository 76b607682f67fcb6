// Chat messages -> the text that a model was trained on, by its own Jinja template. The template language has no access to the
// machine: an interpreter for templates, no code execution. range, raise_exception and strftime_now come with the interpreter.
import { Template } from '@huggingface/jinja';
import { ConfigError } from '../base/errors.ts';
import type { ChatMessage, Tokenizer } from './types.ts';

/** How speakers are named where a model has no template: as in Jiang et al. 2024 (arXiv 2402.12847). */
const PLAIN_NAMES = { system: '', user: 'Question: ', assistant: 'Answer: ', tool: 'Result: ' } as const;

/**
 * Ids of a conversation as the model shall read it in training: by its chat template, else as questions and answers. Without the start
 * token, which every document gets.
 * @throws ConfigError when the template refuses the messages
 */
export function encodeConversation(tokenizer: Tokenizer, messages: readonly ChatMessage[]): number[] {
  if (tokenizer.chatTemplate === undefined)
    return tokenizer.encode(messages.map(({ role, content }) => `${PLAIN_NAMES[role]}${content}`).join('\n'));
  const ids = tokenizer.encode(renderChat(tokenizer, messages, { addGenerationPrompt: false }), { parseSpecial: true });
  return ids[0] === tokenizer.documentStart ? ids.slice(1) : ids;
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
