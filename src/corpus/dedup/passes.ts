// Passes over sorted records.
import type { RecordSorter } from './record-sorter.ts';

/** Lets timers and signals have their turn. */
export const breathe = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Hands over every record of a sorter, in order: its words stand in `words` from `at` on. */
export async function eachRecord(
  sorter: RecordSorter,
  numWords: number,
  visit: (words: Uint32Array, at: number) => void,
): Promise<void> {
  for (const words of sorter.blocks()) {
    for (let at = 0; at < words.length; at += numWords) visit(words, at);
    await breathe();
  }
}

/** Of records sorted by their first word, those of a number, which is asked for in ascending order. */
export class Cursor {
  words = new Uint32Array(0);
  at = 0;
  private readonly blocks: Iterator<Uint32Array>;
  private readonly numWords: number;

  constructor(blocks: Iterator<Uint32Array>, numWords = 2) {
    this.blocks = blocks;
    this.numWords = numWords;
    this.take();
  }

  private take(): void {
    this.words = this.blocks.next().value ?? new Uint32Array(0);
    this.at = 0;
  }

  /** Gives the file back before its end. Whether there were records left. */
  close(): boolean {
    const isLeft = this.words.length > 0;
    this.blocks.return?.();
    this.words = new Uint32Array(0);
    return isLeft;
  }

  get second(): number {
    return this.words[this.at + 1];
  }

  advance(): void {
    this.at += this.numWords;
    if (this.at >= this.words.length) this.take();
  }

  /** Passes what is below `first`; whether there is a record of it then. */
  isAt(first: number): boolean {
    while (this.words[this.at] < first) this.advance();
    return this.words[this.at] === first;
  }
}
