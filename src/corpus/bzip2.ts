// bzip2 -> bytes, a block of at most 900 KB at a time, with checksums. Our own code: the package that we know (unbzip2-stream) sums up run
// lengths in 32 bits without a limit, so that some hundred crafted bytes keep it busy for ever, collects a block's bytes in a list of
// numbers, and takes three times as long. The format is that of bzip2 1.0.8 (there is no other description than its source).

const BLOCK_MAGIC_HIGH = 0x314159;
const BLOCK_MAGIC_LOW = 0x265359;
const END_MAGIC_HIGH = 0x177245;
const END_MAGIC_LOW = 0x385090;
const GROUP_SIZE = 50;
const MAX_CODE_BITS = 20;
const MAX_SYMBOLS = 258;
/** Codes of at most so many bits are looked up in one step. */
const FAST_BITS = 10;
/** Output is handed on in pieces of about this size, once the checksum of its block is right: a block of runs can make 46 MB. */
const PIECE_BYTES = 1 << 20;

/** CRC-32 with the most significant bit first. */
const CRC = new Int32Array(256);
for (let i = 0; i < 256; i++) {
  let crc = i << 24;
  for (let bit = 0; bit < 8; bit++) crc = crc < 0 ? (crc << 1) ^ 0x04c11db7 : crc << 1;
  CRC[i] = crc;
}

/** Thrown where the bytes end inside a stream. */
export class Bzip2End extends Error {
  override readonly message = 'ends early';
}

/**
 * All streams of an input, one after the other.
 * @throws Bzip2End; Error saying what is damaged
 */
export async function* decodeBzip2(
  input: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const bits = new BitReader(input);
  let numStreams = 0;
  while (await bits.alignAndFill(numStreams === 0)) {
    if (bits.take(24) !== 0x425a68)
      throw new Error(numStreams === 0 ? 'no bzip2 header' : 'what follows the data is none');
    const level = bits.take(8) - 48;
    if (level < 1 || level > 9) throw new Error('no bzip2 header');
    const block = new Block(level * 100_000);
    let streamCrc = 0;
    for (;;) {
      await bits.fillBlock(level);
      const [high, low] = [bits.take(24), bits.take(24)];
      const expected = bits.take32();
      if (high === END_MAGIC_HIGH && low === END_MAGIC_LOW) {
        if (expected !== streamCrc) throw new Error('wrong checksum of a stream');
        break;
      }
      if (high !== BLOCK_MAGIC_HIGH || low !== BLOCK_MAGIC_LOW) throw new Error('no block where one should begin');
      block.read(bits);
      const pieces = [...block.output()];
      if (block.crc !== expected) throw new Error('wrong checksum of a block');
      yield* pieces;
      streamCrc = ((streamCrc << 1) | (streamCrc >>> 31)) ^ block.crc;
    }
    numStreams++;
  }
}

/** Bits of a stream of bytes, the most significant first. */
class BitReader {
  private readonly source: AsyncIterator<Uint8Array> | Iterator<Uint8Array>;
  private buffer: Uint8Array = new Uint8Array(0);
  private position = 0;
  private isOver = false;
  private window = 0;
  private numBits = 0;

  constructor(source: Iterable<Uint8Array> | AsyncIterable<Uint8Array>) {
    this.source = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
  }

  /** At the beginning of a stream: drops the bits up to the next byte. False where nothing follows. */
  async alignAndFill(isFirst: boolean): Promise<boolean> {
    this.numBits -= this.numBits % 8;
    await this.fill(4);
    if (this.numBits > 0 || this.position < this.buffer.length) return true;
    if (isFirst) throw new Bzip2End();
    return false;
  }

  /** What a block can take at most: 20 bits a symbol, and its head. */
  fillBlock(level: number): Promise<void> {
    return this.fill(level * 250_000 + 30_000);
  }

  private async fill(numBytes: number): Promise<void> {
    let length = this.buffer.length - this.position;
    if (length >= numBytes || this.isOver) return;
    const pieces = [this.buffer.subarray(this.position)];
    while (length < numBytes) {
      const { value, done } = await this.source.next();
      if (done) {
        this.isOver = true;
        break;
      }
      pieces.push(value);
      length += value.length;
    }
    this.buffer = Buffer.concat(pieces, length);
    this.position = 0;
  }

  /** At most 24 bits. */
  take(n: number): number {
    while (this.numBits < n) this.addByte();
    this.numBits -= n;
    return (this.window >>> this.numBits) & ((1 << n) - 1);
  }

  take32(): number {
    const high = this.take(16);
    return (high << 16) | this.take(16);
  }

  /** The next bits without taking them; zeros after the end. */
  peek(n: number): number {
    while (this.numBits < n) {
      if (this.position === this.buffer.length) return (this.window << (n - this.numBits)) & ((1 << n) - 1);
      this.addByte();
    }
    return (this.window >>> (this.numBits - n)) & ((1 << n) - 1);
  }

  private addByte(): void {
    if (this.position === this.buffer.length) throw new Bzip2End();
    this.window = (this.window << 8) | this.buffer[this.position++];
    this.numBits += 8;
  }
}

/** A Huffman code: lengths of codes, in order of symbols, are the whole of it. */
class HuffmanTable {
  private readonly limits = new Int32Array(MAX_CODE_BITS + 2);
  private readonly bases = new Int32Array(MAX_CODE_BITS + 2);
  private readonly symbols: Uint16Array;
  /** By the next FAST_BITS bits: symbol * 32 + length; 0 where the code is longer. */
  private readonly fast = new Uint16Array(1 << FAST_BITS);

  constructor(lengths: Uint8Array, numSymbols: number) {
    this.symbols = new Uint16Array(numSymbols);
    let code = 0;
    let index = 0;
    for (let length = 1; length <= MAX_CODE_BITS; length++) {
      this.bases[length] = index - code;
      for (let symbol = 0; symbol < numSymbols; symbol++) {
        if (lengths[symbol] !== length) continue;
        this.symbols[index++] = symbol;
        if (length <= FAST_BITS) {
          const first = code << (FAST_BITS - length);
          this.fast.fill(symbol * 32 + length, first, first + (1 << (FAST_BITS - length)));
        }
        code++;
      }
      this.limits[length] = code;
      if (code > 2 ** length) throw new Error('a code with too many symbols');
      code <<= 1;
    }
  }

  next(bits: BitReader): number {
    const entry = this.fast[bits.peek(FAST_BITS)];
    if (entry > 0) {
      bits.take(entry & 31);
      return entry >> 5;
    }
    let code = bits.take(1);
    for (let length = 1; length <= MAX_CODE_BITS; length++) {
      if (code < this.limits[length]) {
        const symbol = this.symbols[this.bases[length] + code];
        if (symbol !== undefined) return symbol;
        break;
      }
      code = (code << 1) | bits.take(1);
    }
    throw new Error('a code that stands for nothing');
  }
}

class Block {
  crc = 0;
  private readonly maxBytes: number;
  /** Low 8 bits: the byte; high 24: where the next one is. */
  private readonly links: Uint32Array;
  private readonly counts = new Int32Array(256);
  private numBytes = 0;
  private origin = 0;

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
    this.links = new Uint32Array(maxBytes);
  }

  /** Huffman codes, move to front, run lengths, and the counts that undo the Burrows-Wheeler transform. */
  read(bits: BitReader): void {
    if (bits.take(1) === 1) throw new Error('a randomised block, as bzip2 0.9 wrote them: not supported');
    this.origin = bits.take(24);
    const bytes = readAlphabet(bits);
    const numSymbols = bytes.length + 2;
    const endOfBlock = numSymbols - 1;
    const numTables = bits.take(3);
    if (numTables < 2 || numTables > 6) throw new Error(`${numTables} codes in a block`);
    const selectors = readSelectors(bits, numTables);
    const tables = Array.from({ length: numTables }, () => new HuffmanTable(readLengths(bits, numSymbols), numSymbols));
    const { links, counts, maxBytes } = this;
    counts.fill(0);
    let n = 0;
    let run = 0;
    let weight = 1;
    let group = 0;
    let left = 0;
    let table = tables[0];
    for (;;) {
      if (left-- === 0) {
        if (group === selectors.length) throw new Error('more codes than were announced');
        table = tables[selectors[group++]];
        left = GROUP_SIZE - 1;
      }
      const symbol = table.next(bits);
      if (symbol <= 1) {
        run += weight << symbol;
        if (run > maxBytes) throw new Error('a run beyond the end of its block');
        weight <<= 1;
        continue;
      }
      if (run > 0) {
        if (n + run > maxBytes) throw new Error('a run beyond the end of its block');
        const byte = bytes[0];
        counts[byte] += run;
        links.fill(byte, n, n + run);
        n += run;
        run = 0;
      }
      weight = 1;
      if (symbol === endOfBlock) break;
      if (n === maxBytes) throw new Error('a block that is longer than it says');
      const byte = bytes[symbol - 1];
      bytes.copyWithin(1, 0, symbol - 1);
      bytes[0] = byte;
      counts[byte]++;
      links[n++] = byte;
    }
    if (this.origin >= n) throw new Error('a block that begins beyond its end');
    this.numBytes = n;
    this.link();
  }

  private link(): void {
    const { links, counts, numBytes } = this;
    let sum = 0;
    for (let byte = 0; byte < 256; byte++) {
      const count = counts[byte];
      counts[byte] = sum;
      sum += count;
    }
    for (let i = 0; i < numBytes; i++) links[counts[links[i] & 255]++] |= i << 8;
  }

  /** The bytes, with the first run lengths undone: after four equal ones stands how many more follow. */
  *output(): Generator<Uint8Array> {
    const { links, numBytes } = this;
    let piece = new Uint8Array(PIECE_BYTES + 256);
    let length = 0;
    let crc = -1;
    let previous = -1;
    let numEqual = 0;
    let next = links[this.origin] >>> 8;
    for (let i = 0; i < numBytes; i++) {
      const link = links[next];
      const byte = link & 255;
      next = link >>> 8;
      if (numEqual === 4) {
        for (let k = 0; k < byte; k++) crc = (crc << 8) ^ CRC[(crc >>> 24) ^ previous];
        piece.fill(previous, length, length + byte);
        length += byte;
        numEqual = 0;
        previous = -1;
      } else {
        numEqual = byte === previous ? numEqual + 1 : 1;
        previous = byte;
        crc = (crc << 8) ^ CRC[(crc >>> 24) ^ byte];
        piece[length++] = byte;
      }
      if (length >= PIECE_BYTES) {
        yield piece.subarray(0, length);
        piece = new Uint8Array(PIECE_BYTES + 256);
        length = 0;
      }
    }
    this.crc = ~crc;
    if (length > 0) yield piece.subarray(0, length);
  }
}

/** The bytes that occur, ascending. */
function readAlphabet(bits: BitReader): Uint8Array {
  const ranges = bits.take(16);
  const bytes: number[] = [];
  for (let i = 0; i < 16; i++) {
    if (((ranges >> (15 - i)) & 1) === 0) continue;
    const inside = bits.take(16);
    for (let k = 0; k < 16; k++) if ((inside >> (15 - k)) & 1) bytes.push(16 * i + k);
  }
  if (bytes.length === 0) throw new Error('a block without bytes');
  return Uint8Array.from(bytes);
}

/** Which code each group of 50 symbols is in, moved to front. */
function readSelectors(bits: BitReader, numTables: number): Uint8Array {
  const selectors = new Uint8Array(bits.take(15));
  const order = [0, 1, 2, 3, 4, 5].slice(0, numTables);
  for (let i = 0; i < selectors.length; i++) {
    let place = 0;
    while (bits.take(1) === 1) if (++place === numTables) throw new Error('a code that is not there');
    const [table] = order.splice(place, 1);
    order.unshift(table);
    selectors[i] = table;
  }
  return selectors;
}

function readLengths(bits: BitReader, numSymbols: number): Uint8Array {
  const lengths = new Uint8Array(MAX_SYMBOLS);
  let length = bits.take(5);
  for (let symbol = 0; symbol < numSymbols; symbol++) {
    for (;;) {
      if (length < 1 || length > MAX_CODE_BITS) throw new Error(`a code of ${length} bits`);
      if (bits.take(1) === 0) break;
      length += bits.take(1) === 0 ? 1 : -1;
    }
    lengths[symbol] = length;
  }
  return lengths;
}
