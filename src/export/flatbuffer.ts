// The few flatbuffers that Arrow's messages are made of, written from the end towards the beginning, children before what points at them
// (https://flatbuffers.dev/internals/). Places are counted in bytes from the end.

/** A field of a table by its slot: a number of so many bytes, or the place of a child. */
export type FlatField = { slot: number } & ({ bytes: 1 | 2 | 4 | 8; value: number } | { child: number });

export class FlatBuilder {
  private buffer = Buffer.alloc(256);
  private used = 0;
  private widest = 1;

  /** @returns the place of the table */
  table(fields: readonly FlatField[]): number {
    const start = this.used;
    const places = new Map<number, number>();
    for (const field of fields) {
      if ('child' in field) this.pointer(field.child);
      else this.number(field.value, field.bytes);
      places.set(field.slot, this.used);
    }
    this.number(0, 4);
    const table = this.used;
    const numSlots = Math.max(-1, ...places.keys()) + 1;
    for (let slot = numSlots - 1; slot >= 0; slot--) this.number(places.has(slot) ? table - places.get(slot)! : 0, 2);
    this.number(table - start, 2);
    this.number(2 * (numSlots + 2), 2);
    this.buffer.writeInt32LE(this.used - table, this.buffer.length - table);
    return table;
  }

  /** @returns the place of a vector of tables */
  vector(children: readonly number[]): number {
    this.align(4, 4 * children.length);
    for (const child of children.toReversed()) this.pointer(child);
    this.number(children.length, 4);
    return this.used;
  }

  /** @returns the place of a vector of structs of 64-bit numbers */
  structs(rows: readonly (readonly number[])[]): number {
    const numbers = rows.flat();
    this.align(4, 8 * numbers.length);
    this.align(8, 8 * numbers.length);
    for (const value of numbers.toReversed()) this.number(value, 8);
    this.number(rows.length, 4);
    return this.used;
  }

  text(value: string): number {
    const bytes = Buffer.from(value, 'utf8');
    this.align(4, bytes.length + 1);
    this.number(0, 1);
    this.room(bytes.length);
    this.used += bytes.length;
    bytes.copy(this.buffer, this.buffer.length - this.used);
    this.number(bytes.length, 4);
    return this.used;
  }

  /** The whole buffer, a multiple of 8 bytes long. */
  finish(root: number): Buffer {
    this.align(Math.max(8, this.widest), 4);
    this.pointer(root);
    return Buffer.from(this.buffer.subarray(this.buffer.length - this.used));
  }

  private pointer(child: number): void {
    this.align(4, 0);
    this.number(this.used - child + 4, 4);
  }

  private number(value: number, bytes: 1 | 2 | 4 | 8): void {
    this.align(bytes, 0);
    this.room(bytes);
    this.used += bytes;
    const at = this.buffer.length - this.used;
    if (bytes === 8) this.buffer.writeBigInt64LE(BigInt(value), at);
    else this.buffer.writeIntLE(value, at, bytes);
  }

  /** Pads so that after `ahead` more bytes the place is a multiple of `bytes`. */
  private align(bytes: number, ahead: number): void {
    this.widest = Math.max(this.widest, bytes);
    const padding = (bytes - ((this.used + ahead) % bytes)) % bytes;
    this.room(padding);
    this.used += padding;
  }

  private room(bytes: number): void {
    while (this.used + bytes > this.buffer.length) {
      const larger = Buffer.alloc(2 * this.buffer.length);
      this.buffer.copy(larger, this.buffer.length);
      this.buffer = larger;
    }
  }
}
