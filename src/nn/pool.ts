// Buffers for activations, reused by exact size. After the first step nothing is allocated: every later step asks for the same sizes.
import type { Floats } from '../kernels/index.ts';
import { allocateFloats, type Precision } from './tensor.ts';

export class BufferPool {
  private readonly free = new Map<string, Floats[]>();
  private readonly keys = new Map<Floats, string>();
  private readonly allocate: (precision: Precision, length: number) => Floats;
  /** Bytes ever allocated by this pool, all still held. */
  sizeBytes = 0;

  constructor(allocate = allocateFloats) {
    this.allocate = allocate;
  }

  take(precision: Precision, length: number): Floats {
    const key = precision + length;
    const reused = this.free.get(key)?.pop();
    if (reused) return reused;
    this.sizeBytes += length * (precision === 'bf16' ? 2 : 4);
    const buffer = this.allocate(precision, length);
    this.keys.set(buffer, key);
    return buffer;
  }

  /** @param buffer as take() returned it */
  give(buffer: Floats): void {
    const key = this.keys.get(buffer)!;
    const list = this.free.get(key);
    if (list) list.push(buffer);
    else this.free.set(key, [buffer]);
  }
}
