// What a part keeps of its documents for the search for duplicates: a record a document, no text. Parts are made anywhere; the search
// (duplicates.ts) reads these files only.
import { createHash } from 'node:crypto';
import { Rng } from '../../base/rng.ts';
import { mixPair, pickKernels } from '../../kernels/index.ts';
import { foldingTable } from './folding.ts';
import { type RecordKind, RecordWriter } from './record-file.ts';

/** MinHash LSH; the defaults are FineWeb's (Penedo et al. 2024, arXiv 2406.17557): 112 hashes of word 5-grams in 14 bands of 8. */
export interface MinHashOptions {
  /** Words of an n-gram. */
  ngram: number;
  /** Two documents meet where all hashes of a band agree: for n-gram sets of Jaccard similarity s with probability 1 - (1 - s^rows)^bands. */
  bands: number;
  /** Hashes a band. */
  rows: number;
  seed: number;
}

export const FINEWEB_MIN_HASH: MinHashOptions = { ngram: 5, bands: 14, rows: 8, seed: 1 };

export interface SignatureOptions {
  /** Copies of the same text, but for white space and Unicode's ways to write a letter. */
  exact: boolean;
  /** Near copies. */
  minHash: MinHashOptions | undefined;
}

export const DEFAULT_SIGNATURES: SignatureOptions = { exact: true, minHash: FINEWEB_MIN_HASH };

/** Where a record's words stand. */
export interface SignatureLayout {
  /** 128 bits of SHA-256 of the text (normaliseExact). */
  digest: number;
  /** Number of n-grams. */
  numNgrams: number;
  /** 64 bits a band. */
  bands: number;
  /** The low byte of each hash: b-bit MinHash (Li & König 2010), from which similarity is estimated. */
  sketch: number;
  sketchWords: number;
  numWords: number;
}

export function signatureLayout({ exact, minHash }: SignatureOptions): SignatureLayout {
  const digest = 0;
  const numNgrams = digest + (exact ? 4 : 0);
  const bands = numNgrams + 1;
  const sketch = bands + 2 * (minHash?.bands ?? 0);
  const sketchWords = minHash ? Math.ceil((minHash.bands * minHash.rows) / 4) : 0;
  return { digest, numNgrams, bands, sketch, sketchWords, numWords: sketch + sketchWords };
}

export function signatureKind(options: SignatureOptions): RecordKind {
  return { kind: 'signatur', numWords: signatureLayout(options).numWords, options };
}

/** 1 for white space, by code unit. */
const SPACE = Uint8Array.from({ length: 1 << 16 }, (_, unit) => Number(/\s/.test(String.fromCharCode(unit))));

/**
 * The text whose equality makes an exact copy: in Unicode's form NFC, white space runs as one space, none at the ends. Case and punctuation
 * count. Done in place; returns the number of units. Without branches, which are guessed wrongly at every second word: that took twice the time.
 */
function normaliseExact(units: Uint16Array): number {
  let end = 0;
  let last = 1;
  for (let i = 0; i < units.length; i++) {
    const unit = units[i];
    const space = SPACE[unit];
    units[end] = unit ^ ((unit ^ 0x20) & -space);
    end += 1 - (space & last);
    last = space;
  }
  return end > 0 ? end - last : 0;
}

/** A larger space is given back after the document. */
const MAX_KEPT_BYTES = 8 << 20;

/** Writes the signatures of one part's documents, in order. */
export class SignatureWriter {
  private readonly layout: SignatureLayout;
  private readonly writer: RecordWriter;
  private readonly options: SignatureOptions;
  private readonly minHash: MinHasher | undefined;
  private units = Buffer.alloc(1 << 16);

  constructor(file: string, options: SignatureOptions = DEFAULT_SIGNATURES) {
    this.options = options;
    this.layout = signatureLayout(options);
    this.writer = new RecordWriter(file, signatureKind(options));
    this.minHash = options.minHash && new MinHasher(options.minHash);
  }

  /** The next document. Its index is the number of documents before it. */
  add(text: string): void {
    // Below U+0300 every text is in that form already.
    const composed = /[\u0300-\uffff]/.test(text) ? text.normalize('NFC') : text;
    const numBytes = 2 * composed.length;
    if (numBytes > this.units.length) this.units = Buffer.alloc(2 * numBytes);
    this.units.write(composed, 'utf16le');
    const units = new Uint16Array(this.units.buffer, this.units.byteOffset, composed.length);
    const { words, at } = this.writer.next();
    words[at + this.layout.numNgrams] = this.minHash?.read(units, words, at, this.layout) ?? 0;
    if (this.options.exact) {
      const bytes = this.units.subarray(0, 2 * normaliseExact(units));
      const digest = createHash('sha256').update(bytes).digest();
      for (let i = 0; i < 4; i++) words[at + this.layout.digest + i] = digest.readUInt32LE(4 * i);
    }
    if (this.units.length > MAX_KEPT_BYTES) this.units = Buffer.alloc(1 << 16);
  }

  /** Puts the file in place. */
  finish(): void {
    this.writer.finish();
  }

  /** Leaves nothing. */
  discard(): void {
    this.writer.discard();
  }
}

class MinHasher {
  private readonly options: MinHashOptions;
  private readonly multipliers: BigInt64Array;
  private readonly addends: BigInt64Array;
  private readonly minima: BigInt64Array;
  private readonly halves: Int32Array;
  private readonly pair = new Int32Array(2);
  private readonly kernels = pickKernels(() => {});
  private readonly folding = foldingTable();

  constructor(options: MinHashOptions) {
    this.options = options;
    const numHashes = options.bands * options.rows;
    const rng = new Rng(options.seed, 'minhash');
    const draw = (): bigint => (BigInt(rng.uint32()) << 32n) | BigInt(rng.uint32());
    // Odd, so that different n-grams stay different.
    this.multipliers = BigInt64Array.from({ length: numHashes }, () => BigInt.asIntN(64, draw() | 1n));
    this.addends = BigInt64Array.from({ length: numHashes }, () => BigInt.asIntN(64, draw()));
    this.minima = new BigInt64Array(numHashes);
    this.halves = new Int32Array(this.minima.buffer);
  }

  /** Writes bands and sketch of a text to its record; returns its number of n-grams. */
  read(units: Uint16Array, words: Uint32Array, at: number, layout: SignatureLayout): number {
    const { bands, rows, ngram } = this.options;
    const { minima, halves, pair } = this;
    const { multipliers, addends, folding } = this;
    const numNgrams = this.kernels.minHash(minima, units, units.length, folding, multipliers, addends, ngram);
    for (let band = 0, hash = 0; band < bands; band++) {
      pair[0] = band;
      pair[1] = 0;
      for (let row = 0; row < rows; row++, hash++) {
        pair[0] ^= halves[2 * hash];
        pair[1] ^= halves[2 * hash + 1];
        mixPair(pair, 0);
      }
      words[at + layout.bands + 2 * band] = pair[1];
      words[at + layout.bands + 2 * band + 1] = pair[0];
    }
    words.fill(0, at + layout.sketch, at + layout.sketch + layout.sketchWords);
    for (let hash = 0; hash < bands * rows; hash++)
      words[at + layout.sketch + (hash >> 2)] |= (halves[2 * hash] & 0xff) << (8 * (hash & 3));
    return numNgrams;
  }
}
