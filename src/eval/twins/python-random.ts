// Python's random.Random, as far as tasks use it: MT19937 (Matsumoto and Nishimura 1998) seeded by array, integers below n by rejection of bits.

const N = 624;
const M = 397;

export class PythonRandom {
  private readonly state = new Uint32Array(N);
  private at = N;

  /** @param seed a whole number from 0 to 2^32 - 1, as random.Random(seed) */
  constructor(seed: number) {
    const s = this.state;
    s[0] = 19650218;
    for (let i = 1; i < N; i++) s[i] = Math.imul(1812433253, s[i - 1]! ^ (s[i - 1]! >>> 30)) + i;
    let i = 1;
    for (let k = 0; k < N; k++) {
      s[i] = (s[i]! ^ Math.imul(s[i - 1]! ^ (s[i - 1]! >>> 30), 1664525)) + seed;
      if (++i >= N) {
        s[0] = s[N - 1]!;
        i = 1;
      }
    }
    for (let k = 1; k < N; k++) {
      s[i] = (s[i]! ^ Math.imul(s[i - 1]! ^ (s[i - 1]! >>> 30), 1566083941)) - i;
      if (++i >= N) {
        s[0] = s[N - 1]!;
        i = 1;
      }
    }
    s[0] = 0x80000000;
  }

  private uint32(): number {
    const s = this.state;
    if (this.at === N) {
      for (let i = 0; i < N; i++) {
        const y = (s[i]! & 0x80000000) | (s[(i + 1) % N]! & 0x7fffffff);
        s[i] = s[(i + M) % N]! ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
      }
      this.at = 0;
    }
    let y = s[this.at++]!;
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  /** Uniform integer in [0, n), n < 2^32. */
  below(n: number): number {
    const bits = 32 - Math.clz32(n);
    for (;;) {
      const value = bits === 0 ? 0 : this.uint32() >>> (32 - bits);
      if (value < n) return value;
    }
  }

  /** random.shuffle, in place. */
  shuffle<T>(items: T[]): T[] {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [items[i], items[j]] = [items[j]!, items[i]!];
    }
    return items;
  }
}
