// What Python's strings, numbers and numpy's sums do where JavaScript's do something else. Twins use these, so that equal texts score equally.

/** Inside of a character class: what Python counts as white space (str.isspace, re's \s). */
export const SPACE = '\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';
/** Inside of a character class of a `u` expression: what re's \w means for text. */
export const WORD = '\\p{L}\\p{N}_';

const LEADING = new RegExp(`^[${SPACE}]+`);
const TRAILING = new RegExp(`[${SPACE}]+$`);
const SPACES = new RegExp(`[${SPACE}]+`);

/** string.punctuation */
export const PUNCTUATION: ReadonlySet<string> = new Set('!"#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~');

/** str.strip() */
export function strip(text: string): string {
  return text.replace(LEADING, '').replace(TRAILING, '');
}

/** str.rstrip() */
export function stripEnd(text: string): string {
  return text.replace(TRAILING, '');
}

/** str.split() without arguments */
export function words(text: string): string[] {
  const stripped = strip(text);
  return stripped === '' ? [] : stripped.split(SPACES);
}

/** str.capitalize(): the first character as in a title, the rest small. */
export function capitalize(text: string): string {
  const first = String.fromCodePoint(...(text === '' ? [] : [text.codePointAt(0)!]));
  const upper = [...first.toUpperCase()];
  return (upper[0] ?? '') + upper.slice(1).join('').toLowerCase() + text.slice(first.length).toLowerCase();
}

/** re.escape for an expression of ours: matches this very text. */
export function escapeRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
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

/** repr of a float: the shortest digits, with an exponent below 1e-4 and from 1e16 on. */
export function floatText(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value < 0 ? '-inf' : 'inf';
  if (value === 0) return Object.is(value, -0) ? '-0.0' : '0.0';
  const [mantissa, exponentText] = value.toExponential().split('e') as [string, string];
  const exponent = Number(exponentText);
  if (exponent < -4 || exponent >= 16)
    return `${mantissa}e${exponent < 0 ? '-' : '+'}${String(Math.abs(exponent)).padStart(2, '0')}`;
  const digits = mantissa.replace(/[-.]/g, '');
  const sign = value < 0 ? '-' : '';
  if (exponent < 0) return `${sign}0.${'0'.repeat(-exponent - 1)}${digits}`;
  const whole = digits.slice(0, exponent + 1).padEnd(exponent + 1, '0');
  return `${sign}${whole}.${digits.slice(exponent + 1) || '0'}`;
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

/**
 * Reads a literal as ast.literal_eval does: numbers, texts, True, False, None, lists, tuples and dictionaries.
 *
 * @throws Error where the text is no literal
 */
export function literal(text: string): unknown {
  let at = 0;
  const fail = (): never => {
    throw new Error(`not a Python literal at character ${at}: ${text.slice(at, at + 40)}`);
  };
  const skip = () => {
    while (at < text.length && /\s/.test(text[at]!)) at++;
  };
  const list = (end: string): unknown[] => {
    const items: unknown[] = [];
    for (at++, skip(); text[at] !== end; skip()) {
      items.push(value());
      skip();
      if (text[at] === ',') at++;
      else if (text[at] !== end) fail();
    }
    at++;
    return items;
  };
  const string = (): string => {
    const quote = text.startsWith('"""', at) || text.startsWith("'''", at) ? text.slice(at, at + 3) : text[at]!;
    let out = '';
    for (at += quote.length; !text.startsWith(quote, at); ) {
      if (at >= text.length) fail();
      if (text[at] !== '\\') {
        out += text[at++];
        continue;
      }
      const rest = text.slice(at + 1);
      const coded = /^(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{1,3}))/.exec(rest);
      if (coded) {
        const hex = coded[1] ?? coded[2] ?? coded[3];
        out += String.fromCodePoint(hex === undefined ? Number.parseInt(coded[4]!, 8) : Number.parseInt(hex, 16));
        at += 1 + coded[0].length;
      } else {
        const simple = SIMPLE_ESCAPES[rest[0]!];
        out += simple ?? `\\${rest[0]}`;
        at += 2;
      }
    }
    at += quote.length;
    return out;
  };
  const value = (): unknown => {
    skip();
    const c = text[at];
    if (c === '[') return list(']');
    if (c === '(') return list(')');
    if (c === '"' || c === "'") {
      let joined = string();
      for (skip(); text[at] === '"' || text[at] === "'"; skip()) joined += string();
      return joined;
    }
    if (c === '{') {
      const entries: Record<string, unknown> = {};
      for (at++, skip(); text[at] !== '}'; skip()) {
        const key = value();
        skip();
        if (text[at] !== ':') fail();
        at++;
        entries[String(key)] = value();
        skip();
        if (text[at] === ',') at++;
        else if (text[at] !== '}') fail();
      }
      at++;
      return entries;
    }
    const word = /^(?:True|False|None|[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)/.exec(text.slice(at))?.[0];
    if (word === undefined) return fail();
    at += word.length;
    return word === 'True' ? true : word === 'False' ? false : word === 'None' ? null : Number(word);
  };
  const result = value();
  skip();
  return at === text.length ? result : fail();
}

const SIMPLE_ESCAPES: Readonly<Record<string, string>> = {
  '\\': '\\',
  "'": "'",
  '"': '"',
  n: '\n',
  r: '\r',
  t: '\t',
  a: '\x07',
  b: '\b',
  f: '\f',
  v: '\v',
  '\n': '',
};
