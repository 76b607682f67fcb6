// Python's random.Random, so that a task draws the same few-shot examples here as in lm-evaluation-harness: the Mersenne Twister MT19937
// (Matsumoto and Nishimura 1998), seeded and drawn from as CPython's Modules/_randommodule.c and Lib/random.py do.

const N = 624;
const M = 397;

export class PythonRandom {
  private readonly state = new Uint32Array(N);
  private at = N;

  /** @param seed a non-negative integer below 2^53 */
  constructor(seed: number) {
    const key = [seed >>> 0];
    if (seed >= 2 ** 32) key.push(Math.floor(seed / 2 ** 32));
    this.seedByArray(key);
  }

  private seedByArray(key: readonly number[]): void {
    const { state } = this;
    state[0] = 19650218;
    for (let i = 1; i < N; i++) state[i] = Math.imul(1812433253, state[i - 1] ^ (state[i - 1] >>> 30)) + i;
    let i = 1;
    let j = 0;
    for (let k = Math.max(N, key.length); k > 0; k--) {
      state[i] = (state[i] ^ Math.imul(state[i - 1] ^ (state[i - 1] >>> 30), 1664525)) + key[j] + j;
      if (++i >= N) {
        state[0] = state[N - 1];
        i = 1;
      }
      if (++j >= key.length) j = 0;
    }
    for (let k = N - 1; k > 0; k--) {
      state[i] = (state[i] ^ Math.imul(state[i - 1] ^ (state[i - 1] >>> 30), 1566083941)) - i;
      if (++i >= N) {
        state[0] = state[N - 1];
        i = 1;
      }
    }
    state[0] = 0x80000000;
  }

  private refill(): void {
    const { state } = this;
    for (let k = 0; k < N; k++) {
      const y = (state[k] & 0x80000000) | (state[(k + 1) % N] & 0x7fffffff);
      state[k] = state[(k + M) % N] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.at = 0;
  }

  uint32(): number {
    if (this.at >= N) this.refill();
    let y = this.state[this.at++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  /** Uniform in [0, 1), 53 bits. */
  random(): number {
    const high = this.uint32() >>> 5;
    return (high * 67108864 + (this.uint32() >>> 6)) / 9007199254740992;
  }

  /** Uniform integer in [0, n), n below 2^32. */
  below(n: number): number {
    const bits = 32 - Math.clz32(n);
    for (;;) {
      const drawn = this.uint32() >>> (32 - bits);
      if (drawn < n) return drawn;
    }
  }

  /** `k` of the items without replacement, as random.sample. */
  sample<T>(items: readonly T[], k: number): T[] {
    const n = items.length;
    if (k > n) throw new RangeError(`sample of ${k} wanted of ${n}`);
    // Where the pool is small a copy of it is drawn from, else places are drawn until they are new: other draws, so other samples.
    const setSize = 21 + (k > 5 ? 4 ** Math.ceil(Math.log(k * 3) / Math.log(4)) : 0);
    const result: T[] = [];
    if (n <= setSize) {
      const pool = [...items];
      for (let i = 0; i < k; i++) {
        const j = this.below(n - i);
        result.push(pool[j]);
        pool[j] = pool[n - i - 1];
      }
      return result;
    }
    const taken = new Set<number>();
    while (result.length < k) {
      const j = this.below(n);
      if (taken.has(j)) continue;
      taken.add(j);
      result.push(items[j]);
    }
    return result;
  }

  /** Fisher-Yates from the end, in place, as random.shuffle. */
  shuffle<T>(items: T[]): T[] {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [items[i], items[j]] = [items[j], items[i]];
    }
    return items;
  }
}
