// Chat messages -> the text that a model was trained on, by its own Jinja template. The template language has no access to the
// machine: an interpreter for templates, no code execution.
import { Template } from '@huggingface/jinja';
import { ConfigError } from '../base/errors.ts';
import type { ChatMessage, Tokenizer } from './types.ts';

export interface ChatOptions {
  /** End with the opening of the assistant's turn, for generation. */
  addGenerationPrompt: boolean;
  /** What strftime_now() sees; the present moment unless given. */
  now?: Date;
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
  const now = options.now ?? new Date();
  try {
    return new Template(chatTemplate).render({
      messages,
      add_generation_prompt: options.addGenerationPrompt,
      bos_token: tokenizer.bosToken ?? '',
      eos_token: tokenizer.eosToken ?? '',
      tools: null,
      documents: null,
      strftime_now: (format: string) => strftime(now, format),
      raise_exception: (message: string) => {
        throw new ConfigError(message);
      },
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

const MONTHS = 'January February March April May June July August September October November December'.split(' ');
const DAYS = 'Sunday Monday Tuesday Wednesday Thursday Friday Saturday'.split(' ');

/** The directives that chat templates use, in UTC, in English. */
function strftime(date: Date, format: string): string {
  const two = (n: number) => String(n).padStart(2, '0');
  const month = MONTHS[date.getUTCMonth()]!;
  const day = DAYS[date.getUTCDay()]!;
  const values: Record<string, string> = {
    Y: String(date.getUTCFullYear()),
    y: two(date.getUTCFullYear() % 100),
    m: two(date.getUTCMonth() + 1),
    d: two(date.getUTCDate()),
    e: String(date.getUTCDate()).padStart(2, ' '),
    H: two(date.getUTCHours()),
    I: two(date.getUTCHours() % 12 || 12),
    M: two(date.getUTCMinutes()),
    S: two(date.getUTCSeconds()),
    p: date.getUTCHours() < 12 ? 'AM' : 'PM',
    B: month,
    b: month.slice(0, 3),
    A: day,
    a: day.slice(0, 3),
    j: String(Math.floor((date.getTime() - Date.UTC(date.getUTCFullYear(), 0, 1)) / 86_400_000) + 1).padStart(3, '0'),
    Z: 'UTC',
    z: '+0000',
    '%': '%',
  };
  return format.replace(/%([A-Za-z%])/g, (whole, directive: string) => values[directive] ?? whole);
}
