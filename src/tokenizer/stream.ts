// Text of tokens as they come. Tokens may end inside a character, and a token's text may depend on its neighbours (a leading space), so a
// short window of tokens is decoded again each time and what is new at its end is handed on.
import type { Tokenizer } from './types.ts';

/** Tokens of the prompt that the window begins with. */
const CONTEXT_TOKENS = 8;

export class TextStream {
  private readonly tokenizer: Tokenizer;
  private readonly skipSpecial: boolean;
  private window: number[];
  /** Text of the window that has been handed on, or belongs to the prompt. */
  private done: string;
  /** Tokens of the window that `done` covers. */
  private doneTokens: number;

  /** @param prompt the tokens before, whose text is not repeated */
  constructor(tokenizer: Tokenizer, prompt: ArrayLike<number> = [], skipSpecial = true) {
    this.tokenizer = tokenizer;
    this.skipSpecial = skipSpecial;
    this.window = Array.from(prompt).slice(-CONTEXT_TOKENS);
    // A prompt that ends inside a character has its last character completed by what follows.
    this.done = this.decode().replace(/\ufffd+$/, '');
    this.doneTokens = this.window.length;
  }

  /** Text that this token completes; "" where a character is still incomplete. */
  push(token: number): string {
    this.window.push(token);
    const text = this.decode();
    // A character that is cut off ends as U+FFFD; the next tokens complete it, or show that its bytes are wrong.
    if (text.endsWith('\ufffd')) return '';
    const added = text.slice(this.done.length);
    // Tokens that were complete before this one are context enough.
    this.window = this.window.slice(this.doneTokens);
    this.doneTokens = this.window.length;
    this.done = this.decode();
    return added;
  }

  /** What is left when no more tokens come: incomplete characters, as U+FFFD. */
  end(): string {
    const added = this.decode().slice(this.done.length);
    this.window = [];
    this.done = '';
    this.doneTokens = 0;
    return added;
  }

  private decode(): string {
    return this.tokenizer.decode(this.window, { skipSpecial: this.skipSpecial });
  }
}
