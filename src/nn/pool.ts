// Buffers for activations, reused by exact size. After the first step nothing is allocated: every later step asks for the same sizes.
import type { Floats } from '../kernels/index.ts';
import { allocateFloats, type Precision } from './tensor.ts';

export class BufferPool {
  private readonly free = new Map<string, Floats[]>();
  /** Bytes ever allocated by this pool, all still held. */
  sizeBytes = 0;

  take(precision: Precision, length: number): Floats {
    const list = this.free.get(precision + length);
    const reused = list?.pop();
    if (reused) return reused;
    this.sizeBytes += length * (precision === 'bf16' ? 2 : 4);
    return allocateFloats(precision, length);
  }

  give(buffer: Floats): void {
    const key = (buffer instanceof Float32Array ? 'f32' : 'bf16') + buffer.length;
    const list = this.free.get(key);
    if (list) list.push(buffer);
    else this.free.set(key, [buffer]);
  }
}
