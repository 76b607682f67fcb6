// Numbers as the report shows them. Signs are always shown on changes; a minus is a true minus sign.
import { formatCount } from '../base/units.ts';

export const NONE = '–';

/** Bits per byte, three decimals: the third is about the noise of a held-out set of a few hundred kilobytes. */
export function formatScore(value: number | undefined): string {
  return value === undefined || !Number.isFinite(value) ? NONE : value.toFixed(3);
}

/** "+0.006", "−0.310", "0.000". */
export function formatDelta(value: number | undefined, digits = 3): string {
  return value === undefined || !Number.isFinite(value) ? NONE : signed(value, digits);
}

/** A standard error beside such a change: with a digit more where three would show none. */
export function formatError(stderr: number): string {
  return stderr.toFixed(stderr < 0.0005 ? 4 : 3);
}

/** "+0.6 %", "−19.1 %". */
export function formatPercent(value: number | undefined, digits = 1): string {
  return value === undefined || !Number.isFinite(value) ? NONE : `${signed(value, digits)} %`;
}

/** "3e-4", "2.5e-5", "0". */
export function formatLr(value: number): string {
  return value === 0 ? '0' : Number(value.toPrecision(3)).toExponential();
}

/** Tokens a second and other rates: "1.24k". */
export function formatRate(value: number | undefined): string {
  return value === undefined || !Number.isFinite(value) ? NONE : formatCount(value);
}

/** 1 -> "1 restart", 2 -> "2 restarts". */
export function plural(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? '' : 's'}`;
}

function signed(value: number, digits: number): string {
  const text = Math.abs(value).toFixed(digits);
  if (Number(text) === 0) return text;
  return `${value > 0 ? '+' : '−'}${text}`;
}
