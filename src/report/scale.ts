// Axes: extents and ticks that a reader can count on. Pure numbers, no drawing.

export interface Scale {
  kind: 'linear' | 'log';
  min: number;
  max: number;
  ticks: number[];
}

export interface ScaleOptions {
  kind?: 'linear' | 'log';
  /** A value that must lie inside, such as 0. */
  include?: number;
  /** About how many ticks to aim for. */
  numTicks?: number;
  /** Widen the extent to the ticks around it (a y axis) or keep it as it is (an x axis). */
  nice?: boolean;
}

/** A scale over the finite values given; a single value, or none, gets an extent around it. */
export function scaleOver(values: Iterable<number>, options: ScaleOptions = {}): Scale {
  let [min, max] = [Infinity, -Infinity];
  for (const value of options.include === undefined ? values : [...values, options.include]) {
    if (!Number.isFinite(value) || (options.kind === 'log' && value <= 0)) continue;
    min = Math.min(min, value);
    max = Math.max(max, value);
  }
  if (min > max) [min, max] = [0, 1];
  return options.kind === 'log' && min > 0 ? logScale(min, max) : linearScale(min, max, options);
}

/** Where `value` lies: 0 at the scale's minimum, 1 at its maximum. */
export function position(scale: Scale, value: number): number {
  if (scale.kind === 'log')
    return Math.log(Math.max(value, Number.MIN_VALUE) / scale.min) / Math.log(scale.max / scale.min);
  return (value - scale.min) / (scale.max - scale.min);
}

function linearScale(min: number, max: number, { numTicks = 5, nice = true }: ScaleOptions): Scale {
  // An extent narrower than the values' own rounding would give ticks that read the same.
  const spread = Math.max(max - min, Math.max(Math.abs(max), Math.abs(min)) * 1e-4, 1e-12);
  if (max - min < spread) {
    const middle = (min + max) / 2;
    [min, max] = min >= 0 && middle - spread / 2 < 0 ? [0, spread] : [middle - spread / 2, middle + spread / 2];
  }
  const step = niceStep((max - min) / numTicks);
  // A hair of tolerance keeps 0.3 on the tick 3 * 0.1, and a learning rate that went through f32 on its own.
  const low = nice ? Math.floor(min / step + 1e-6) : Math.ceil(min / step - 1e-6);
  const high = nice ? Math.ceil(max / step - 1e-6) : Math.floor(max / step + 1e-6);
  const ticks = Array.from({ length: high - low + 1 }, (_, i) => Number(((low + i) * step).toPrecision(12)));
  return { kind: 'linear', min: nice ? ticks[0]! : min, max: nice ? ticks.at(-1)! : max, ticks };
}

/** 1, 2 or 5 times a power of ten, the nearest to `rough` on a logarithmic scale. */
export function niceStep(rough: number): number {
  const power = 10 ** Math.floor(Math.log10(rough));
  const factor = rough / power;
  return (factor < Math.SQRT2 ? 1 : factor < Math.sqrt(10) ? 2 : factor < Math.sqrt(50) ? 5 : 10) * power;
}

function logScale(min: number, max: number): Scale {
  if (max / min < 1.5) [min, max] = [min / 1.3, max * 1.3];
  const candidates = [[1], [1, 3], [1, 2, 5]].map((factors) => {
    const ticks: number[] = [];
    for (let power = Math.floor(Math.log10(min)) - 1; power <= Math.ceil(Math.log10(max)) + 1; power++)
      for (const factor of factors) ticks.push(Number((factor * 10 ** power).toPrecision(3)));
    const low = ticks.findLastIndex((tick) => tick <= min * (1 + 1e-9));
    const high = ticks.findIndex((tick) => tick >= max * (1 - 1e-9));
    return ticks.slice(low, high + 1);
  });
  // The densest set that stays readable.
  const ticks = candidates.findLast((set) => set.length <= 7) ?? candidates[0]!;
  return { kind: 'log', min: ticks[0]!, max: ticks.at(-1)!, ticks };
}

/** Tick labels with as many digits as it takes to write each tick exactly, and thousands shortened: 0, 500, 1k, 1.5k, 2e-4. */
export function formatTicks(ticks: readonly number[]): string[] {
  const largest = Math.max(...ticks.map(Math.abs));
  const [unit, suffix] =
    largest >= 1e9 ? [1e9, 'B'] : largest >= 1e6 ? [1e6, 'M'] : largest >= 1e4 ? [1e3, 'k'] : [1, ''];
  const tiny = largest > 0 && largest < 1e-3;
  const write = (tick: number, digits: number): string =>
    tiny ? tick.toExponential(digits) : (tick / unit).toFixed(digits);
  const tolerance = (ticks.length > 1 ? ticks[1]! - ticks[0]! : largest) / 1000;
  const isExact = (tick: number, digits: number): boolean =>
    Math.abs(Number(write(tick, digits)) * unit - tick) <= tolerance;
  const digits = DIGITS.find((count) => ticks.every((tick) => isExact(tick, count))) ?? DIGITS.at(-1)!;
  return ticks.map((tick) => (tick === 0 ? '0' : `${write(tick, digits).replace(/^-/, '−')}${suffix}`));
}

const DIGITS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
