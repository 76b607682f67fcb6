// Reader of one GGUF file, versions 2 and 3: metadata, then tensor infos, then aligned tensor data.
// Not a model: names and shapes mean what llama.cpp means by them until gguf-llama.ts translates them.
// The header is untrusted. It is read through a window of the file; a count or length is compared with the bytes that are left
// before anything of that size is made, so that a damaged header costs no more memory than the file has bytes.
import * as fs from 'node:fs';
import { DataError } from '../base/errors.ts';
import { openForReading, readChunks, readInto } from './blocks.ts';
import { dequantise, GGML_TYPES, type GgmlType } from './gguf-quants.ts';
import { elementCount, f32ToBf16 } from './numbers.ts';

const WINDOW_BYTES = 256 << 10;
const MAX_KEY_BYTES = 65535;
const MAX_KEYS = 100_000;
const MAX_TENSORS = 100_000;
/** Of all arrays together: a vocabulary of 262,144 tokens with its scores, types and merges has 1.3 million. */
const MAX_ARRAY_ELEMENTS = 8 << 20;
const MAX_ARRAY_DEPTH = 3;
const MAX_DIMS = 4;
const MAX_ALIGNMENT = 65536;

/** Smallest bytes that a value of each type takes in the file, by type id (8 is a string, 9 an array). */
const VALUE_BYTES = [1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8];
const STRING = 8;
const ARRAY = 9;

export type GgufMetadata = Record<string, unknown>;

export interface GgufTensor {
  name: string;
  /** Sizes as llama.cpp orders them: the fastest first, the reverse of Hugging Face's shape. */
  dims: number[];
  type: GgmlType;
  /** Absolute offset in the file. */
  start: number;
  numBytes: number;
  numElements: number;
}

export class GgufFile {
  readonly file: string;
  readonly version: number;
  /** Without a prototype. Numbers are numbers where they are safe integers, else bigint; arrays are plain arrays. */
  readonly metadata: GgufMetadata;
  readonly tensors: ReadonlyMap<string, GgufTensor>;
  private fd: number;

  /** Opens and checks the header. Throws ConfigError where the file cannot be opened, DataError where it is not sound. */
  constructor(file: string) {
    const { fd, size } = openForReading(file);
    this.file = file;
    this.fd = fd;
    try {
      const header = readHeader(new HeaderCursor(fd, file, size));
      this.version = header.version;
      this.metadata = header.metadata;
      this.tensors = header.tensors;
    } catch (error) {
      fs.closeSync(fd);
      throw error;
    }
  }

  /** The tensor's elements in file order, dequantised. */
  readF32(name: string): Float32Array {
    const tensor = this.tensor(name);
    const out = new Float32Array(tensor.numElements);
    if (tensor.type.name === 'F32') readInto(this.fd, new Uint8Array(out.buffer), tensor.start, this.file);
    else this.readBlocks(tensor, (chunk, first) => dequantise(tensor.type, out, first, chunk));
    return out;
  }

  /** The same as bf16 bits: exact from BF16, rounded to nearest even from everything else. */
  readBf16(name: string): Uint16Array {
    const tensor = this.tensor(name);
    const out = new Uint16Array(tensor.numElements);
    if (tensor.type.name === 'BF16') {
      readInto(this.fd, new Uint8Array(out.buffer), tensor.start, this.file);
      return out;
    }
    const { blockElements, blockBytes } = tensor.type;
    let wide = new Float32Array(0);
    this.readBlocks(tensor, (chunk, first) => {
      const numElements = (chunk.byteLength / blockBytes) * blockElements;
      if (wide.length !== numElements) wide = new Float32Array(numElements);
      dequantise(tensor.type, wide, 0, chunk);
      f32ToBf16(out, first, wide);
    });
    return out;
  }

  close(): void {
    if (this.fd >= 0) fs.closeSync(this.fd);
    this.fd = -1;
  }

  private readBlocks(tensor: GgufTensor, take: (chunk: Uint8Array, firstElement: number) => void): void {
    const { blockElements, blockBytes } = tensor.type;
    readChunks(this.fd, this.file, tensor.start, tensor.numBytes, blockBytes, (chunk, done) =>
      take(chunk, (done / blockBytes) * blockElements),
    );
  }

  private tensor(name: string): GgufTensor {
    const tensor = this.tensors.get(name);
    if (!tensor) throw new DataError(this.file, `holds no tensor named ${JSON.stringify(name)}.`);
    return tensor;
  }
}

/** Reads the header forwards; every request is checked against the end of the file. */
class HeaderCursor {
  readonly file: string;
  readonly size: number;
  position = 0;
  private readonly fd: number;
  private window = Buffer.alloc(0);
  private windowStart = 0;

  constructor(fd: number, file: string, size: number) {
    this.fd = fd;
    this.file = file;
    this.size = size;
  }

  fail(message: string): never {
    throw new DataError(this.file, message, this.position);
  }

  /** Refuses a number of bytes that the file does not have. */
  expect(numBytes: number, what: string): void {
    const left = this.size - this.position;
    if (numBytes > left)
      this.fail(
        `${what} needs at least ${numBytes} bytes, but ${left} are left. The file is truncated or damaged: fetch it again.`,
      );
  }

  /** The next bytes; valid until the next call. */
  take(numBytes: number, what: string): Buffer {
    this.expect(numBytes, what);
    let at = this.position - this.windowStart;
    if (at + numBytes > this.window.length) {
      this.window = Buffer.alloc(Math.min(Math.max(numBytes, WINDOW_BYTES), this.size - this.position));
      readInto(this.fd, this.window, this.position, this.file);
      this.windowStart = this.position;
      at = 0;
    }
    this.position += numBytes;
    return this.window.subarray(at, at + numBytes);
  }

  u32(what: string): number {
    return this.take(4, what).readUInt32LE();
  }

  /** A u64 that must be a safe integer; anything larger cannot be a count, size or offset of a real file. */
  u64(what: string): number {
    const value = this.take(8, what).readBigUInt64LE();
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
      this.position -= 8;
      this.fail(`${what} is ${value}, which is not possible. The file is damaged.`);
    }
    return Number(value);
  }

  /** `strict`: bytes that are not UTF-8 are an error (else they become U+FFFD). */
  string(what: string, strict: boolean, maxBytes = Number.MAX_SAFE_INTEGER): string {
    const length = this.u64(`length of ${what}`);
    if (length > maxBytes) this.fail(`${what} has ${length} bytes, more than ${maxBytes}. The file is damaged.`);
    const bytes = this.take(length, what);
    const text = bytes.toString('utf8');
    if (strict && text.includes('\ufffd') && !Buffer.from(text).equals(bytes)) this.fail(`${what} is not valid UTF-8.`);
    return text;
  }
}

interface Header {
  version: number;
  metadata: GgufMetadata;
  tensors: Map<string, GgufTensor>;
}

function readHeader(cursor: HeaderCursor): Header {
  const magic = cursor.take(4, 'the magic number').toString('latin1');
  if (magic !== 'GGUF') {
    cursor.position = 0;
    cursor.fail(`is not a GGUF file: it begins with ${JSON.stringify(magic)}, expected "GGUF".`);
  }
  const version = cursor.u32('the version');
  if (version !== 2 && version !== 3)
    cursor.fail(
      (version & 0xffff) === 0
        ? 'is a big-endian GGUF file; only little-endian ones can be read.'
        : `is GGUF version ${version}; versions 2 and 3 can be read. Convert the model again with a current llama.cpp.`,
    );
  const numTensors = cursor.u64('the number of tensors');
  const numKeys = cursor.u64('the number of metadata keys');
  if (numTensors > MAX_TENSORS || numKeys > MAX_KEYS)
    cursor.fail(
      `claims ${numTensors} tensors and ${numKeys} metadata keys; at most ${MAX_TENSORS} of each are accepted.`,
    );
  cursor.expect(numKeys * 13 + numTensors * 24, `a header of ${numKeys} keys and ${numTensors} tensors`);
  const metadata = readMetadata(cursor, numKeys);
  return { version, metadata, tensors: readTensors(cursor, numTensors, alignmentOf(cursor, metadata)) };
}

function readMetadata(cursor: HeaderCursor, numKeys: number): GgufMetadata {
  const metadata = Object.create(null) as GgufMetadata;
  const budget = { elements: MAX_ARRAY_ELEMENTS };
  for (let i = 0; i < numKeys; i++) {
    const key = cursor.string(`metadata key ${i}`, true, MAX_KEY_BYTES);
    if (key in metadata) cursor.fail(`metadata key ${JSON.stringify(key)} appears twice.`);
    metadata[key] = readValue(cursor, cursor.u32(`type of ${key}`), key, budget, 0);
  }
  return metadata;
}

function readValue(
  cursor: HeaderCursor,
  type: number,
  key: string,
  budget: { elements: number },
  depth: number,
): unknown {
  if (type === ARRAY) return readArray(cursor, key, budget, depth);
  // Text that ends up in the vocabulary must be exact; a stray byte in a description harms nobody.
  if (type === STRING) return cursor.string(key, key.startsWith('tokenizer.'));
  const numBytes = VALUE_BYTES[type];
  if (numBytes === undefined) return cursor.fail(`metadata ${key} has the unknown value type ${type}.`);
  const bytes = cursor.take(numBytes, key);
  switch (type) {
    case 0:
      return bytes.readUInt8();
    case 1:
      return bytes.readInt8();
    case 2:
      return bytes.readUInt16LE();
    case 3:
      return bytes.readInt16LE();
    case 4:
      return bytes.readUInt32LE();
    case 5:
      return bytes.readInt32LE();
    case 6:
      return bytes.readFloatLE();
    case 7:
      return bytes.readUInt8() !== 0;
    case 10:
      return smallest(bytes.readBigUInt64LE());
    case 11:
      return smallest(bytes.readBigInt64LE());
    default:
      return bytes.readDoubleLE();
  }
}

function smallest(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

function readArray(cursor: HeaderCursor, key: string, budget: { elements: number }, depth: number): unknown[] {
  if (depth >= MAX_ARRAY_DEPTH) cursor.fail(`metadata ${key} nests arrays more than ${MAX_ARRAY_DEPTH} deep.`);
  const type = cursor.u32(`element type of ${key}`);
  const length = cursor.u64(`length of ${key}`);
  const elementBytes = VALUE_BYTES[type];
  if (elementBytes === undefined) return cursor.fail(`metadata ${key} has the unknown element type ${type}.`);
  cursor.expect(length * elementBytes, `array ${key} of ${length} elements`);
  budget.elements -= length;
  if (budget.elements < 0)
    cursor.fail(`metadata ${key}: its arrays hold more than ${MAX_ARRAY_ELEMENTS} elements in all.`);
  const values: unknown[] = [];
  for (let i = 0; i < length; i++) values.push(readValue(cursor, type, key, budget, depth + 1));
  return values;
}

function alignmentOf(cursor: HeaderCursor, metadata: GgufMetadata): number {
  const alignment = metadata['general.alignment'] ?? 32;
  if (
    typeof alignment !== 'number' ||
    alignment < 1 ||
    alignment > MAX_ALIGNMENT ||
    !Number.isInteger(Math.log2(alignment))
  )
    return cursor.fail(`general.alignment is ${String(alignment)}, expected a power of two up to ${MAX_ALIGNMENT}.`);
  return alignment;
}

function readTensors(cursor: HeaderCursor, numTensors: number, alignment: number): Map<string, GgufTensor> {
  const tensors = new Map<string, GgufTensor>();
  for (let i = 0; i < numTensors; i++) {
    const tensor = readTensor(cursor, i, alignment);
    if (tensors.has(tensor.name)) cursor.fail(`tensor ${JSON.stringify(tensor.name)} appears twice.`);
    tensors.set(tensor.name, tensor);
  }
  const dataStart = Math.ceil(cursor.position / alignment) * alignment;
  let end = dataStart;
  for (const tensor of [...tensors.values()].sort((a, b) => a.start - b.start)) {
    tensor.start += dataStart;
    if (tensor.start < end)
      cursor.fail(`tensor ${JSON.stringify(tensor.name)} overlaps another one. The file is damaged.`);
    end = tensor.start + tensor.numBytes;
    if (end > cursor.size)
      cursor.fail(
        `tensor ${JSON.stringify(tensor.name)} ends at byte ${end}, the file has ${cursor.size}. It is truncated: fetch it again.`,
      );
  }
  return tensors;
}

/** Its `start` is still relative to the data section. */
function readTensor(cursor: HeaderCursor, index: number, alignment: number): GgufTensor {
  const name = cursor.string(`name of tensor ${index}`, true, MAX_KEY_BYTES);
  const what = `tensor ${JSON.stringify(name)}`;
  const numDims = cursor.u32(`${what}: number of dimensions`);
  if (numDims < 1 || numDims > MAX_DIMS) cursor.fail(`${what} has ${numDims} dimensions, expected 1 to ${MAX_DIMS}.`);
  const dims: number[] = [];
  for (let d = 0; d < numDims; d++) dims.push(cursor.u64(`${what}: dimension ${d}`));
  const typeId = cursor.u32(`${what}: type`);
  const type = GGML_TYPES.get(typeId);
  if (!type) return cursor.fail(`${what} has the unknown type ${typeId}.`);
  const start = cursor.u64(`${what}: offset`);
  if (start % alignment !== 0) cursor.fail(`${what}: offset ${start} is not a multiple of the alignment ${alignment}.`);
  const numElements = elementCount(dims);
  if (!numElements || dims[0]! % type.blockElements !== 0)
    return cursor.fail(
      `${what}: sizes [${dims}] are not possible for ${type.name}, whose blocks hold ${type.blockElements} elements.`,
    );
  const numBytes = (numElements / type.blockElements) * type.blockBytes;
  if (!Number.isSafeInteger(numBytes + start)) cursor.fail(`${what}: sizes [${dims}] are too large.`);
  return { name, dims, type, start, numBytes, numElements };
}
