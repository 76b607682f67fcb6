// A document's text as steps look at it: lines and words are found once and shared by all steps until the text changes.
import type { Document } from '../types.ts';

const WORD = /\S+/g;

export class TextView {
  readonly document: Document;
  private current: string;
  private cachedLines: string[] | undefined;
  private cachedWords: string[] | undefined;
  private cachedLower: string[] | undefined;

  constructor(document: Document) {
    this.document = document;
    this.current = document.text;
  }

  get text(): string {
    return this.current;
  }

  set text(text: string) {
    if (text === this.current) return;
    this.current = text;
    this.cachedLines = undefined;
    this.cachedWords = undefined;
    this.cachedLower = undefined;
  }

  /** Without their ends; empty ones too. */
  get lines(): readonly string[] {
    this.cachedLines ??= this.current.split('\n');
    return this.cachedLines;
  }

  /** What stands between white space, as in Gopher's rules (Rae et al. 2021, appendix A.1). */
  get words(): readonly string[] {
    this.cachedWords ??= this.current.match(WORD) ?? [];
    return this.cachedWords;
  }

  /** The words in lower case. */
  get lowerWords(): readonly string[] {
    this.cachedLower ??= this.words.map((word) => word.toLowerCase());
    return this.cachedLower;
  }
}
