// Thrift's compact protocol, as far as Parquet uses it, read without trust: every length is checked against the bytes that are left before
// anything is allocated, and nesting is limited. Values keep their field numbers; footer.ts and pages.ts give them meaning.

export type ThriftValue = number | boolean | Uint8Array | ThriftValue[] | ThriftStruct;
/** Values by field number. */
export type ThriftStruct = Map<number, ThriftValue>;

const MAX_DEPTH = 16;

/** The bytes end inside a value: more of them may help. */
export class ThriftEnd extends Error {}

export class ThriftReader {
  private readonly bytes: Uint8Array;
  position: number;

  constructor(bytes: Uint8Array, position = 0) {
    this.bytes = bytes;
    this.position = position;
  }

  struct(depth = 0): ThriftStruct {
    if (depth > MAX_DEPTH) throw new Error('structures nested too deep');
    const fields: ThriftStruct = new Map();
    let id = 0;
    for (;;) {
      const head = this.byte();
      if (head === 0) return fields;
      id = head >> 4 === 0 ? this.zigzag() : id + (head >> 4);
      fields.set(id, this.value(head & 15, depth));
    }
  }

  private value(type: number, depth: number): ThriftValue {
    switch (type) {
      case 1:
        return true;
      case 2:
        return false;
      case 3:
        return (this.byte() << 24) >> 24;
      case 4:
      case 5:
      case 6:
        return this.zigzag();
      case 7:
        return this.double();
      case 8:
        return this.binary();
      case 9:
      case 10:
        return this.list(depth);
      case 12:
        return this.struct(depth + 1);
      default:
        throw new Error(`field of unknown type ${type}`);
    }
  }

  private list(depth: number): ThriftValue[] {
    if (depth > MAX_DEPTH) throw new Error('structures nested too deep');
    const head = this.byte();
    const count = head >> 4 === 15 ? this.varint() : head >> 4;
    // Each element takes a byte or more.
    if (count > this.bytes.length - this.position) throw new ThriftEnd(`list of ${count} elements`);
    const type = head & 15;
    const items: ThriftValue[] = [];
    for (let i = 0; i < count; i++) items.push(type <= 2 ? this.byte() === 1 : this.value(type, depth + 1));
    return items;
  }

  private byte(): number {
    if (this.position >= this.bytes.length) throw new ThriftEnd('structure ends early');
    return this.bytes[this.position++];
  }

  /** Unsigned, exact to 2^53; beyond that only an approximation, which no valid file holds. */
  varint(): number {
    let result = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.byte();
      result += (byte & 127) * scale;
      if (byte < 128) return result;
      if (scale > 2 ** 63) throw new Error('integer of more than 64 bits');
    }
  }

  zigzag(): number {
    const raw = this.varint();
    return raw % 2 === 0 ? raw / 2 : -(raw + 1) / 2;
  }

  private double(): number {
    const at = this.position;
    this.skip(8);
    return new DataView(this.bytes.buffer, this.bytes.byteOffset + at, 8).getFloat64(0, true);
  }

  private binary(): Uint8Array {
    const length = this.varint();
    const at = this.position;
    this.skip(length);
    return this.bytes.subarray(at, at + length);
  }

  private skip(length: number): void {
    if (length > this.bytes.length - this.position) throw new ThriftEnd(`value of ${length} bytes`);
    this.position += length;
  }
}

export function numberField(fields: ThriftStruct, id: number, name: string): number {
  const value = fields.get(id);
  if (typeof value !== 'number') throw new Error(`no ${name}`);
  return value;
}

export function structField(fields: ThriftStruct, id: number, name: string): ThriftStruct {
  const value = fields.get(id);
  if (!(value instanceof Map)) throw new Error(`no ${name}`);
  return value;
}

export function structsField(fields: ThriftStruct, id: number, name: string): ThriftStruct[] {
  const value = fields.get(id);
  if (!Array.isArray(value) || !value.every((item): item is ThriftStruct => item instanceof Map))
    throw new Error(`no ${name}`);
  return value;
}

export function textOf(value: ThriftValue | undefined, name: string): string {
  if (!(value instanceof Uint8Array)) throw new Error(`no ${name}`);
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('utf8');
}
