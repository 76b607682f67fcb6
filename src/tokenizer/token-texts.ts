// The text and the bytes of single tokens as they stand inside a text, for lists of likely tokens.
import { byteLevelBytes } from './decoder.ts';
import type { Tokenizer } from './types.ts';

export interface TokenText {
  /** A special token's is its spelling; a part of a character has U+FFFD. */
  text: string;
  bytes: readonly number[];
  /** Its bytes are text by themselves. */
  isWhole: boolean;
}

export class TokenTexts {
  private readonly tokenizer: Tokenizer;
  /** A token before, since some tokenizers drop a leading space at the beginning of a text. */
  private readonly before: number;
  private readonly beforeLength: number;
  private readonly known = new Map<number, TokenText>();

  constructor(tokenizer: Tokenizer) {
    this.tokenizer = tokenizer;
    this.before = tokenizer.encode('a').at(-1)!;
    this.beforeLength = this.decode([this.before]).length;
  }

  of(token: number): TokenText {
    const found = this.known.get(token) ?? this.make(token);
    this.known.set(token, found);
    return found;
  }

  private make(token: number): TokenText {
    const text = this.decode([this.before, token]).slice(this.beforeLength);
    const spelling = this.tokenizer.idToToken(token) ?? '';
    if (!text.includes('\ufffd')) return { text, bytes: [...Buffer.from(text)], isWhole: true };
    const fallback = /^<0x([0-9A-Fa-f]{2})>$/.exec(spelling);
    const bytes = fallback ? [Number.parseInt(fallback[1]!, 16)] : [...byteLevelBytes(spelling)];
    return { text, bytes, isWhole: Buffer.from(bytes).toString() === text && !isCut(bytes) };
  }

  private decode(ids: number[]): string {
    return this.tokenizer.decode(ids, { skipSpecial: false });
  }
}

/** Whether the bytes are not UTF-8. */
function isCut(bytes: readonly number[]): boolean {
  return Buffer.compare(Buffer.from(Buffer.from(bytes).toString()), Buffer.from(bytes)) !== 0;
}
