// Text -> hashes of its words. A word is a run of letters, marks and digits in lower case; in scripts that put no spaces between words
// (Chinese, Japanese, Thai, Khmer, Lao, Burmese) each character is one. Punctuation and white space only separate.
const ALONE = 1 << 16;
const FNV_OFFSET = 0x811c9dc5 | 0;
const FNV_PRIME = 0x01000193;
/** Beyond so many words (4 MiB) the space is given back after the document. */
const KEPT_WORDS = 1 << 20;

/** By UTF-16 code unit: 0 where it separates, else its lower-case form, with ALONE where it is a word by itself. */
const FOLDED = foldingTable();

function foldingTable(): Uint32Array {
  const table = new Uint32Array(1 << 16);
  const alone =
    /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Khmer}\p{Script=Lao}\p{Script=Myanmar}]/u;
  for (let unit = 0; unit < table.length; unit++) {
    const isSurrogate = unit >= 0xd800 && unit <= 0xdfff;
    const char = String.fromCharCode(unit);
    if (!isSurrogate && !/[\p{L}\p{M}\p{N}]/u.test(char)) continue;
    const lower = char.toLowerCase();
    table[unit] = (lower.length === 1 ? lower.charCodeAt(0) : unit) | (alone.test(char) ? ALONE : 0);
  }
  return table;
}

/** Spreads the bits of a 32-bit number evenly (MurmurHash3's finaliser). */
export function mixBits(h: number): number {
  let x = h;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}

/** The words of one text at a time, in space that is used again for the next. */
export class WordList {
  words = new Uint32Array(1 << 12);
  length = 0;

  read(text: string): void {
    this.length = 0;
    if (this.words.length > KEPT_WORDS) this.words = new Uint32Array(KEPT_WORDS);
    let hash = FNV_OFFSET;
    let inWord = false;
    for (let i = 0; i < text.length; i++) {
      const unit = FOLDED[text.charCodeAt(i)];
      if (unit > 0 && unit < ALONE) {
        hash = Math.imul(hash ^ unit, FNV_PRIME);
        inWord = true;
        continue;
      }
      if (inWord) this.push(hash);
      if (unit > 0) this.push(Math.imul(FNV_OFFSET ^ (unit & 0xffff), FNV_PRIME));
      hash = FNV_OFFSET;
      inWord = false;
    }
    if (inWord) this.push(hash);
  }

  private push(hash: number): void {
    if (this.length === this.words.length) {
      const larger = new Uint32Array(2 * this.length);
      larger.set(this.words);
      this.words = larger;
    }
    this.words[this.length++] = mixBits(hash);
  }
}
