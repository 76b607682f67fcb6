// Keys and values of the tokens that a model has read, for several sequences at once. A sequence occupies a numbered slot with a length of
// its own, so sequences may begin and end at any step. Windows and document boundaries are no business of the cache: all tokens stay.
import { ConfigError } from '../../base/errors.ts';
import { formatBytes } from '../../base/units.ts';
import type { Floats } from '../../kernels/index.ts';
import type { DecoderConfig } from '../families/index.ts';
import { allocateFloats, type Precision } from '../tensor.ts';

export interface LayerCache {
  /** [numSlots, capacity, numKvHeads * headDim], rotated and normed as attention uses them. */
  keys: Floats;
  values: Floats;
}

export class KeyValueCache {
  readonly numSlots: number;
  /** Tokens that a slot has room for. */
  readonly capacity: number;
  /** Tokens in each slot. Lowering an entry forgets the tokens behind it. */
  readonly lengths: Int32Array;
  readonly layers: readonly LayerCache[];
  /** Elements of a token's keys, or values, in a layer. */
  private readonly width: number;

  /** @throws ConfigError where the model cannot have positions up to `capacity`, or memory for them is not to be had */
  constructor(config: DecoderConfig, precision: Precision, numSlots: number, capacity: number) {
    this.numSlots = numSlots;
    this.capacity = capacity;
    this.lengths = new Int32Array(numSlots);
    this.width = config.numKvHeads * config.headDim;
    const length = numSlots * capacity * this.width;
    try {
      this.layers = config.layers.map(() => ({
        keys: allocateFloats(precision, length),
        values: allocateFloats(precision, length),
      }));
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      const sizeBytes = numSlots * capacity * KeyValueCache.bytesPerToken(config, precision);
      throw new ConfigError(
        `a key-value cache for ${numSlots} x ${capacity} tokens needs ${formatBytes(sizeBytes)}, which this machine does not grant. Use fewer or shorter sequences.`,
      );
    }
  }

  /** Bytes that a token takes in a slot. */
  static bytesPerToken({ numLayers, numKvHeads, headDim }: DecoderConfig, precision: Precision): number {
    return 2 * numLayers * numKvHeads * headDim * (precision === 'bf16' ? 2 : 4);
  }

  /** Makes the tokens from..to-1 of a slot those of another, and the last ones that it holds. */
  copy(source: number, target: number, from: number, to: number): void {
    if (source !== target)
      for (const { keys, values } of this.layers)
        for (const x of [keys, values]) {
          const [sourceAt, targetAt] = [source, target].map((slot) => (slot * this.capacity + from) * this.width);
          x.copyWithin(targetAt!, sourceAt!, sourceAt! + (to - from) * this.width);
        }
    this.lengths[target] = to;
  }

  /** Bytes of keys and values. */
  get sizeBytes(): number {
    return this.layers.reduce((sum, { keys, values }) => sum + keys.byteLength + values.byteLength, 0);
  }
}
