// What Python's strings, numbers and numpy's sums do where JavaScript's do something else, beyond ../python/text.ts. Twins use these, so that
// equal texts score equally.
import { strip } from '../python/text.ts';

/** Inside of a character class of a `u` expression: what re's \w means for text. */
export const WORD = '\\p{L}\\p{N}_';

/** string.punctuation */
export const PUNCTUATION: ReadonlySet<string> = new Set('!"#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~');

/** str.capitalize(): the first character as in a title, the rest small. */
export function capitalize(text: string): string {
  const first = String.fromCodePoint(...(text === '' ? [] : [text.codePointAt(0)!]));
  const upper = [...first.toUpperCase()];
  return (upper[0] ?? '') + upper.slice(1).join('').toLowerCase() + text.slice(first.length).toLowerCase();
}

/** An expression for one of the words, alone, as \b(...)\b finds it in Python: between characters that are no letters of any script. */
export function wholeWords(alternatives: string): RegExp {
  return new RegExp(`(?<![${WORD}])(?:${alternatives})(?![${WORD}])`, 'gu');
}

/** float(text); undefined where Python raises ValueError. */
export function parseFloatStrict(text: string): number | undefined {
  const t = strip(text).replace(/\p{Nd}/gu, (digit) => String(digitValue(digit)));
  if (/^[+-]?(?:inf|infinity)$/i.test(t)) return t.startsWith('-') ? -Infinity : Infinity;
  if (/^[+-]?nan$/i.test(t)) return NaN;
  const digits = '\\d(?:_?\\d)*';
  if (!new RegExp(`^[+-]?(?:${digits}\\.?(?:${digits})?|\\.${digits})(?:[eE][+-]?${digits})?$`).test(t))
    return undefined;
  return Number(t.replaceAll('_', ''));
}

/** Decimal digits of a script lie together, zero first. */
function digitValue(digit: string): number {
  const code = digit.codePointAt(0)!;
  if (code < 128) return code - 48;
  // Mathematical digits are five alphabets of ten in a row; every other script's zero is at a multiple of ten from a boundary of digits.
  if (code >= 0x1d7ce && code <= 0x1d7ff) return (code - 0x1d7ce) % 10;
  let zero = code;
  while (code - zero < 9 && /\p{Nd}/u.test(String.fromCodePoint(zero - 1))) zero--;
  return code - zero;
}

/** numpy's round of a float64: half to even, after scaling. */
export function roundDecimals(value: number, decimals: number): number {
  const scaled = value * 10 ** decimals;
  const floor = Math.floor(scaled);
  const part = scaled - floor;
  const rounded = part < 0.5 || (part === 0.5 && floor % 2 === 0) ? floor : floor + 1;
  return rounded / 10 ** decimals;
}

/** numpy's sum: eight running sums, in halves above 128 numbers. Its last digit is not that of a plain loop. */
export function pairwiseSum(values: readonly number[], from = 0, to = values.length): number {
  const n = to - from;
  if (n < 8) {
    let sum = 0;
    for (let i = from; i < to; i++) sum += values[i]!;
    return sum;
  }
  if (n > 128) {
    let half = Math.floor(n / 2);
    half -= half % 8;
    return pairwiseSum(values, from, from + half) + pairwiseSum(values, from + half, to);
  }
  const r = values.slice(from, from + 8);
  let i = from + 8;
  for (; i + 8 <= to; i += 8) for (let k = 0; k < 8; k++) r[k]! += values[i + k]!;
  let sum = r[0]! + r[1]! + (r[2]! + r[3]!) + (r[4]! + r[5]! + (r[6]! + r[7]!));
  for (; i < to; i++) sum += values[i]!;
  return sum;
}

export function mean(values: readonly number[]): number {
  return pairwiseSum(values) / values.length;
}

/** How often each value comes. */
export function count<T>(values: Iterable<T>): Map<T, number> {
  const counts = new Map<T, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return counts;
}

/** {"a": 1} and {"a": 2, "b": 1}: how many are in both, each as often as in the rarer. */
export function overlap<T>(a: ReadonlyMap<T, number>, b: ReadonlyMap<T, number>): number {
  let shared = 0;
  for (const [value, n] of a) shared += Math.min(n, b.get(value) ?? 0);
  return shared;
}
