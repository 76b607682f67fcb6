// How Parquet packs values: runs and bits for levels and dictionary indices, deltas for lengths, plain byte arrays. Every decoder is told
// how many values are wanted and writes no more, whatever the bytes claim.
import { ThriftReader } from './thrift.ts';

/** The run-length and bit-packed hybrid: `count` values of `bitWidth` bits. */
export function decodeRuns(bytes: Uint8Array, bitWidth: number, count: number): Uint32Array {
  if (bitWidth > 32) throw new Error(`values of ${bitWidth} bits`);
  const values = new Uint32Array(count);
  if (bitWidth === 0) return values;
  const reader = new ThriftReader(bytes);
  const valueBytes = (bitWidth + 7) >> 3;
  for (let done = 0; done < count; ) {
    const header = reader.varint();
    if (header % 2 === 1) {
      const groups = (header - 1) / 2;
      const n = Math.min(groups * 8, count - done);
      // The last group may be cut short where its rest is not needed.
      unpackBits(bytes, reader.position, bitWidth, values.subarray(done, done + n));
      reader.position += groups * bitWidth;
      done += n;
      if (n === 0) throw new Error('empty run');
    } else {
      const n = Math.min(header / 2, count - done);
      if (n === 0) throw new Error('empty run');
      if (reader.position + valueBytes > bytes.length) throw new Error('run ends early');
      let value = 0;
      for (let k = 0; k < valueBytes; k++) value += bytes[reader.position++] * 2 ** (8 * k);
      values.fill(value, done, done + n);
      done += n;
    }
  }
  return values;
}

/** Fills `values` from bits packed least significant first. */
function unpackBits(bytes: Uint8Array, start: number, bitWidth: number, values: Uint32Array): void {
  if (start + Math.ceil((values.length * bitWidth) / 8) > bytes.length) throw new Error('packed values end early');
  let position = start;
  let numBits = 0;
  // Below 2^40 at all times: exact in a double, where 32-bit shifts would overflow.
  let buffer = 0;
  const modulus = 2 ** bitWidth;
  for (let i = 0; i < values.length; i++) {
    while (numBits < bitWidth) {
      buffer += bytes[position++] * 2 ** numBits;
      numBits += 8;
    }
    values[i] = buffer % modulus;
    buffer = Math.floor(buffer / modulus);
    numBits -= bitWidth;
  }
}

/** DELTA_BINARY_PACKED 32-bit integers from `start`, at most `maxCount`. */
export function decodeDeltas(bytes: Uint8Array, start: number, maxCount: number): { values: Int32Array; end: number } {
  const reader = new ThriftReader(bytes, start);
  const blockSize = reader.varint();
  const numMiniblocks = reader.varint();
  const count = reader.varint();
  const perMiniblock = blockSize / numMiniblocks;
  if (count > maxCount) throw new Error(`${count} lengths, at most ${maxCount} expected`);
  if (!Number.isInteger(perMiniblock) || perMiniblock % 8 !== 0 || perMiniblock < 8 || blockSize > 1 << 20)
    throw new Error(`delta blocks of ${blockSize} values in ${numMiniblocks} parts`);
  const values = new Int32Array(count);
  let value = reader.zigzag();
  if (count > 0) values[0] = value;
  const deltas = new Uint32Array(perMiniblock);
  for (let done = 1; done < count; ) {
    const minDelta = reader.zigzag();
    const widths = bytes.subarray(reader.position, reader.position + numMiniblocks);
    reader.position += numMiniblocks;
    if (reader.position > bytes.length) throw new Error('delta block ends early');
    for (let m = 0; m < numMiniblocks && done < count; m++) {
      if (widths[m] > 32) throw new Error(`deltas of ${widths[m]} bits`);
      unpackBits(bytes, reader.position, widths[m], deltas);
      reader.position += (perMiniblock * widths[m]) / 8;
      for (let k = 0; k < perMiniblock && done < count; k++)
        values[done++] = value = (value + minDelta + deltas[k]) | 0;
    }
  }
  return { values, end: reader.position };
}

/** PLAIN byte arrays: a 32-bit length before each. Views, not copies. */
export function* decodePlain(bytes: Uint8Array, count: number): Generator<Uint8Array> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + 4 > bytes.length) throw new Error('values end early');
    const length = view.getUint32(at, true);
    yield slice(bytes, at + 4, length);
    at += 4 + length;
  }
}

/** DELTA_LENGTH_BYTE_ARRAY: all lengths, then all bytes. */
export function* decodeDeltaLengths(bytes: Uint8Array, count: number): Generator<Uint8Array> {
  const { values: lengths, end } = decodeDeltas(bytes, 0, count);
  let at = end;
  for (const length of lengths) {
    yield slice(bytes, at, length);
    at += length;
  }
}

/** DELTA_BYTE_ARRAY: how much of the previous value to keep, and what to add. `maxBytes` limits the sum, which the input does not. */
export function* decodeDeltaBytes(bytes: Uint8Array, count: number, maxBytes: number): Generator<Uint8Array> {
  const prefixes = decodeDeltas(bytes, 0, count);
  const suffixes = decodeDeltas(bytes, prefixes.end, count);
  if (prefixes.values.length !== suffixes.values.length) throw new Error('prefixes and suffixes differ in number');
  let at = suffixes.end;
  let previous: Uint8Array = new Uint8Array(0);
  let total = 0;
  for (let i = 0; i < prefixes.values.length; i++) {
    const kept = prefixes.values[i];
    const suffix = slice(bytes, at, suffixes.values[i]);
    at += suffix.length;
    if (kept < 0 || kept > previous.length) throw new Error(`prefix of ${kept} bytes`);
    total += kept + suffix.length;
    if (total > maxBytes) throw new Error(`page of more than ${maxBytes} bytes`);
    const value = new Uint8Array(kept + suffix.length);
    value.set(previous.subarray(0, kept));
    value.set(suffix, kept);
    yield value;
    previous = value;
  }
}

function slice(bytes: Uint8Array, at: number, length: number): Uint8Array {
  if (length < 0 || at + length > bytes.length)
    throw new Error(`value of ${length} bytes, ${Math.max(0, bytes.length - at)} left`);
  return bytes.subarray(at, at + length);
}
