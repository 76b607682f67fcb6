// Text of tokens as they come. A token may end inside a character, and its text may depend on the tokens before it (a leading space), so
// the last few tokens are decoded again with each new one, and what is new at the end is handed on.
import type { Tokenizer } from './types.ts';

/** Tokens before a new one that are decoded with it. */
const CONTEXT_TOKENS = 8;

export class TextStream {
  private readonly tokenizer: Tokenizer;
  private readonly skipSpecial: boolean;
  /** Context, then tokens whose text is not complete. */
  private window: number[];
  /** Text of the window that was handed on, or belongs to the prompt. */
  private done: string;

  /** @param prompt the tokens before, whose text is not repeated */
  constructor(tokenizer: Tokenizer, prompt: ArrayLike<number> = [], skipSpecial = true) {
    this.tokenizer = tokenizer;
    this.skipSpecial = skipSpecial;
    this.window = Array.from(prompt).slice(-CONTEXT_TOKENS);
    // A prompt that ends inside a character has its last character completed by what follows.
    this.done = this.decode().replace(/\ufffd+$/, '');
  }

  /** Text that this token completes; "" where a character is still incomplete. */
  push(token: number): string {
    this.window.push(token);
    const text = this.decode();
    // A character that is cut off ends as U+FFFD; the next tokens complete it, or show that its bytes are wrong.
    if (text.endsWith('\ufffd')) return '';
    const added = text.slice(this.done.length);
    this.window = this.window.slice(-CONTEXT_TOKENS);
    this.done = this.decode();
    return added;
  }

  /** What is left when no more tokens come: incomplete characters, as U+FFFD. */
  end(): string {
    const added = this.decode().slice(this.done.length);
    this.window = [];
    this.done = '';
    return added;
  }

  private decode(): string {
    return this.tokenizer.decode(this.window, { skipSpecial: this.skipSpecial });
  }
}
