// Byte-pair encoding of one piece of text (a "word" that the pre-tokenizer cut out). Knows no pre-tokenizer and no special token.
// A merge is chosen by lowest rank, leftmost on ties, as Hugging Face tokenizers does. Short words scan for the lowest rank; long
// ones use a heap over a linked list, so that a megabyte without a space costs n log n. Results are cached by piece.
import { ConfigError } from '../base/errors.ts';
import { BYTE_CHARS, detach } from './unicode.ts';

export interface BpeOptions {
  /** Symbols to begin with: the UTF-8 bytes of the piece in the byte alphabet, or its characters. */
  spelling: 'bytes' | 'chars';
  /** A piece that is in the vocabulary is one token, whatever the merges say. */
  ignoreMerges: boolean;
  /** Characters outside the vocabulary become <0xNN> tokens where all of them exist. */
  byteFallback: boolean;
  /** Token for what has no other; undefined drops it. */
  unknownId: number | undefined;
  /** Neighbouring unknowns become one. */
  fuseUnknown: boolean;
}

/** Up to here a scan for the lowest rank beats the heap. */
const SCAN_LIMIT = 40;
/** Pieces up to this length are cached; longer ones seldom repeat. */
const CACHED_LENGTH = 128;
/** The cache is emptied when it holds this many pieces. */
const CACHE_LIMIT = 400_000;
const POSITION_SPAN = 2 ** 32;

const encoder = new TextEncoder();

/**
 * Left, right and merged id of each merge.
 * @param merges pairs of token spellings, best first; throws ConfigError where one is not in the vocabulary
 */
export function mergeIds(
  vocab: ReadonlyMap<string, number>,
  merges: readonly (readonly [string, string])[],
): Int32Array {
  const ids = new Int32Array(merges.length * 3);
  merges.forEach(([left, right], rank) => {
    const [leftId, rightId, newId] = [vocab.get(left), vocab.get(right), vocab.get(left + right)];
    if (leftId === undefined || rightId === undefined || newId === undefined)
      throw new ConfigError(
        `tokenizer: merge ${rank} joins ${JSON.stringify(left)} and ${JSON.stringify(right)}, but ` +
          `${JSON.stringify(leftId === undefined ? left : rightId === undefined ? right : left + right)} is not in the ` +
          'vocabulary. The vocabulary and the merges belong to different tokenizers.',
      );
    ids[3 * rank] = leftId;
    ids[3 * rank + 1] = rightId;
    ids[3 * rank + 2] = newId;
  });
  return ids;
}

/** Token of each byte: its character of the byte alphabet, or <0xNN>; -1 where the vocabulary lacks it. */
export function byteIds(vocab: ReadonlyMap<string, number>, spelling: BpeOptions['spelling']): Int32Array {
  return Int32Array.from(BYTE_CHARS, (char, byte) => vocab.get(spelling === 'bytes' ? char : byteToken(byte)) ?? -1);
}

/** Tokens of one character, by code point. */
export function charIds(vocab: ReadonlyMap<string, number>): Map<number, number> {
  const ids = new Map<number, number>();
  for (const [token, id] of vocab) {
    const code = token.codePointAt(0);
    if (code !== undefined && token.length === (code > 0xffff ? 2 : 1)) ids.set(code, id);
  }
  return ids;
}

export class Bpe {
  private readonly vocab: ReadonlyMap<string, number>;
  private readonly options: BpeOptions;
  private readonly merges: MergeTable;
  private readonly byteIds: Int32Array;
  private readonly charIds: ReadonlyMap<number, number> = new Map();
  private readonly cache = new Map<string, number | Int32Array>();
  private symbols = new Int32Array(256);
  private bytes = new Uint8Array(1024);
  private readonly ranks = new Int32Array(SCAN_LIMIT);

  /** @param merges as mergeIds() gives them */
  constructor(vocab: ReadonlyMap<string, number>, merges: Int32Array, options: BpeOptions) {
    this.vocab = vocab;
    this.options = options;
    this.merges = new MergeTable(merges.length / 3);
    for (let i = 0; i < merges.length; i += 3) this.merges.set(merges[i], merges[i + 1], i / 3, merges[i + 2]);
    this.byteIds = byteIds(vocab, options.spelling);
    if (options.spelling === 'chars') this.charIds = charIds(vocab);
  }

  /** Appends the piece's ids to `out`. `piece` is well-formed. */
  encode(piece: string, out: number[]): void {
    const cached = this.cache.get(piece);
    if (cached !== undefined) {
      if (typeof cached === 'number') out.push(cached);
      else for (let i = 0; i < cached.length; i++) out.push(cached[i]);
      return;
    }
    const n = this.encodeToSymbols(piece);
    const symbols = this.symbols;
    for (let i = 0; i < n; i++) out.push(symbols[i]);
    if (piece.length > CACHED_LENGTH) return;
    if (this.cache.size >= CACHE_LIMIT) this.cache.clear();
    this.cache.set(detach(piece), n === 1 ? symbols[0] : symbols.slice(0, n));
  }

  /** Leaves the ids in `this.symbols` and returns how many. */
  private encodeToSymbols(piece: string): number {
    if (this.options.ignoreMerges) {
      const whole = this.vocab.get(this.options.spelling === 'bytes' ? this.spellBytes(piece) : piece);
      if (whole !== undefined) {
        this.symbols[0] = whole;
        return 1;
      }
    }
    const n = this.options.spelling === 'bytes' ? this.byteSymbols(piece) : this.charSymbols(piece);
    if (n < 2) return n;
    return n <= SCAN_LIMIT ? this.mergeByScan(n) : this.mergeByHeap(n);
  }

  private encodeBytes(piece: string): number {
    if (this.bytes.length < piece.length * 3) this.bytes = new Uint8Array(piece.length * 4);
    return encoder.encodeInto(piece, this.bytes).written;
  }

  private spellBytes(piece: string): string {
    const n = this.encodeBytes(piece);
    let out = '';
    for (let i = 0; i < n; i++) out += BYTE_CHARS[this.bytes[i]];
    return out;
  }

  private reserve(n: number): void {
    if (this.symbols.length < n) this.symbols = new Int32Array(n * 2);
  }

  /** A byte that the vocabulary lacks is unknown, or left out where there is no unknown token. */
  private byteSymbols(piece: string): number {
    const numBytes = this.encodeBytes(piece);
    this.reserve(numBytes);
    let n = 0;
    let unknownBefore = false;
    for (let i = 0; i < numBytes; i++) {
      const id = this.byteIds[this.bytes[i]];
      if (id >= 0) this.symbols[n++] = id;
      else n = this.addUnknown(n, unknownBefore);
      unknownBefore = id < 0;
    }
    return n;
  }

  private addUnknown(n: number, unknownBefore: boolean): number {
    const { unknownId, fuseUnknown } = this.options;
    if (unknownId === undefined || (fuseUnknown && unknownBefore)) return n;
    this.symbols[n] = unknownId;
    return n + 1;
  }

  private charSymbols(piece: string): number {
    this.reserve(piece.length * 3);
    let n = 0;
    let unknownBefore = false;
    for (let i = 0; i < piece.length; i++) {
      const code = piece.codePointAt(i)!;
      if (code > 0xffff) i++;
      const id = this.charIds.get(code);
      if (id !== undefined) {
        this.symbols[n++] = id;
        unknownBefore = false;
        continue;
      }
      const numBytes = this.options.byteFallback ? this.fallbackBytes(code, n) : 0;
      if (numBytes > 0) {
        n += numBytes;
        unknownBefore = false;
      } else {
        n = this.addUnknown(n, unknownBefore);
        unknownBefore = true;
      }
    }
    return n;
  }

  /** Writes the <0xNN> tokens of a code point at `n`; 0 where one of them is missing. */
  private fallbackBytes(code: number, n: number): number {
    const numBytes = this.encodeBytes(String.fromCodePoint(code));
    for (let i = 0; i < numBytes; i++) {
      const id = this.byteIds[this.bytes[i]];
      if (id < 0) return 0;
      this.symbols[n + i] = id;
    }
    return numBytes;
  }

  private mergeByScan(numSymbols: number): number {
    const { symbols, ranks, merges } = this;
    let n = numSymbols;
    for (let i = 0; i + 1 < n; i++) ranks[i] = merges.rank(symbols[i], symbols[i + 1]);
    while (n > 1) {
      let best = 0;
      for (let i = 1; i + 1 < n; i++) if (ranks[i] < ranks[best]) best = i;
      if (ranks[best] === NO_MERGE) break;
      symbols[best] = merges.newId(symbols[best], symbols[best + 1]);
      n--;
      for (let i = best + 1; i < n; i++) {
        symbols[i] = symbols[i + 1];
        ranks[i] = ranks[i + 1];
      }
      if (best > 0) ranks[best - 1] = merges.rank(symbols[best - 1], symbols[best]);
      if (best + 1 < n) ranks[best] = merges.rank(symbols[best], symbols[best + 1]);
    }
    return n;
  }

  private mergeByHeap(numSymbols: number): number {
    const { symbols, merges } = this;
    const next = new Int32Array(numSymbols);
    const previous = new Int32Array(numSymbols);
    const heap = new RankHeap(numSymbols * 3);
    for (let i = 0; i < numSymbols; i++) {
      next[i] = i + 1 < numSymbols ? i + 1 : -1;
      previous[i] = i - 1;
    }
    const offer = (left: number): void => {
      const rank = merges.rank(symbols[left], symbols[next[left]]);
      if (rank !== NO_MERGE) heap.push(rank * POSITION_SPAN + left);
    };
    for (let i = 0; i + 1 < numSymbols; i++) offer(i);
    while (heap.size > 0) {
      const entry = heap.pop();
      const rank = Math.floor(entry / POSITION_SPAN);
      const left = entry - rank * POSITION_SPAN;
      // Entries go stale when a neighbour was merged first; a removed symbol is -1 and no merge knows it.
      const right = next[left];
      if (right < 0 || merges.rank(symbols[left], symbols[right]) !== rank) continue;
      symbols[left] = merges.newId(symbols[left], symbols[right]);
      symbols[right] = -1;
      next[left] = next[right];
      next[right] = -1;
      if (next[left] >= 0) {
        previous[next[left]] = left;
        offer(left);
      }
      if (previous[left] >= 0) offer(previous[left]);
    }
    let n = 0;
    for (let i = 0; i >= 0; i = next[i]) symbols[n++] = symbols[i];
    return n;
  }
}

export function byteToken(byte: number): string {
  return `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;
}

const NO_MERGE = 0x7fffffff;

/** (left id, right id) -> rank and merged id: open addressing over typed arrays, since a Map keyed by numbers above 2^31 boxes them. */
class MergeTable {
  private readonly mask: number;
  private readonly lefts: Int32Array;
  private readonly rights: Int32Array;
  private readonly rankOf: Int32Array;
  private readonly idOf: Int32Array;

  constructor(numMerges: number) {
    const size = 2 ** Math.ceil(Math.log2(Math.max(16, numMerges * 2.5)));
    this.mask = size - 1;
    this.lefts = new Int32Array(size).fill(-1);
    this.rights = new Int32Array(size);
    this.rankOf = new Int32Array(size).fill(NO_MERGE);
    this.idOf = new Int32Array(size);
  }

  /** The slot of the pair, or of the free slot where it would go. */
  private slot(left: number, right: number): number {
    let h = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
    h = (h ^ (h >>> 15)) & this.mask;
    while (this.lefts[h] !== -1 && (this.lefts[h] !== left || this.rights[h] !== right)) h = (h + 1) & this.mask;
    return h;
  }

  set(left: number, right: number, rank: number, newId: number): void {
    const h = this.slot(left, right);
    this.lefts[h] = left;
    this.rights[h] = right;
    this.rankOf[h] = rank;
    this.idOf[h] = newId;
  }

  rank(left: number, right: number): number {
    return this.rankOf[this.slot(left, right)];
  }

  newId(left: number, right: number): number {
    return this.idOf[this.slot(left, right)];
  }
}

/** A binary min-heap of numbers (rank * 2^32 + position): lowest rank first, leftmost on ties. */
class RankHeap {
  size = 0;
  private readonly items: Float64Array;

  constructor(capacity: number) {
    this.items = new Float64Array(capacity);
  }

  push(item: number): void {
    const { items } = this;
    let i = this.size++;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (items[parent] <= item) break;
      items[i] = items[parent];
      i = parent;
    }
    items[i] = item;
  }

  pop(): number {
    const { items } = this;
    const top = items[0];
    const last = items[--this.size];
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= this.size) break;
      if (child + 1 < this.size && items[child + 1] < items[child]) child++;
      if (items[child] >= last) break;
      items[i] = items[child];
      i = child;
    }
    items[i] = last;
    return top;
  }
}
