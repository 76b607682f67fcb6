// A text as the tokens of substring deduplication: what stands between white space, as it is, and where scripts put no spaces between words
// each character. Character boundaries of UTF-16 are never cut through, nor marks taken off what they stand on.
import { FOLD_BEGINS, FOLD_ENDS, mixPair } from '../../kernels/index.ts';
import { foldingTable } from './folding.ts';

const SPACE = 1;
const BEGINS = 2;
const ENDS = 4;
const JOINS = 8;

let table: Uint8Array | undefined;

function classes(): Uint8Array {
  const folding = foldingTable();
  table ??= Uint8Array.from({ length: 1 << 16 }, (_, unit) => {
    const char = String.fromCharCode(unit);
    if (/\s/u.test(char)) return SPACE;
    // Zero-width joiner and variation selectors are marks or formats.
    if (/[\p{M}\u200d]/u.test(char)) return JOINS;
    return (folding[unit] & FOLD_BEGINS ? BEGINS : 0) | (folding[unit] & FOLD_ENDS ? ENDS : 0);
  });
  return table;
}

/** Places in a text with a hash each, in space that is used again for the next text. */
export class HashedPlaces {
  length = 0;
  /** Two words of 32 bits a place. */
  hashes = new Uint32Array(1 << 12);
  /** Code units of the text; end behind the place. */
  starts = new Uint32Array(1 << 11);
  ends = new Uint32Array(1 << 11);

  protected push(start: number, end: number, low: number, high: number): void {
    const at = this.length++;
    if (at === this.starts.length) this.grow();
    this.starts[at] = start;
    this.ends[at] = end;
    this.hashes[2 * at] = low;
    this.hashes[2 * at + 1] = high;
    mixPair(this.hashes, 2 * at);
  }

  private grow(): void {
    const larger = (array: Uint32Array) => {
      const result = new Uint32Array(2 * array.length);
      result.set(array);
      return result;
    };
    this.starts = larger(this.starts);
    this.ends = larger(this.ends);
    this.hashes = larger(this.hashes);
  }
}

/** The tokens of one text at a time. */
export class TokenList extends HashedPlaces {
  private readonly classes = classes();

  read(text: string): void {
    const { classes } = this;
    this.length = 0;
    let start = -1;
    let mayGoOn = false;
    let low = 0;
    let high = 0;
    for (let i = 0; i < text.length; i++) {
      const unit = text.charCodeAt(i);
      const kind = classes[unit];
      if (kind === SPACE) {
        if (start >= 0) this.push(start, i, low, high);
        start = -1;
        continue;
      }
      if (start >= 0 && kind !== JOINS && (!mayGoOn || kind & BEGINS)) {
        this.push(start, i, low, high);
        start = -1;
      }
      if (start < 0) {
        start = i;
        low = 0x811c9dc5;
        high = 0x9e3779b9;
        mayGoOn = true;
      }
      if (kind & ENDS) mayGoOn = false;
      low = Math.imul(low ^ unit, 0x01000193);
      high = Math.imul(((high << 5) | (high >>> 27)) ^ unit, 0x85ebca6b);
    }
    if (start >= 0) this.push(start, text.length, low, high);
  }
}
