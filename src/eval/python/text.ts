// Python's text, where it differs from JavaScript's: what str() and repr() write, what counts as white space, lengths in code points.
// Values are plain: None is null, a dict an object, a tuple a list; a float that may be whole is a PyFloat, since 5.0 is written otherwise than 5.

export class PyFloat {
  readonly value: number;
  constructor(value: number) {
    this.value = value;
  }
}

/** What str.isspace, strip and split see as white space. */
export const WHITE = '\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';
const LEADING = new RegExp(`^[${WHITE}]+`);
const TRAILING = new RegExp(`[${WHITE}]+$`);
const WORDS = new RegExp(`[^${WHITE}]+`, 'g');
const ONE_WHITE = new RegExp(`^[${WHITE}]$`);
const BREAKS = /\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]/g;

export function isSpace(character: string): boolean {
  return ONE_WHITE.test(character);
}

export function stripStart(text: string, characters?: string | null): string {
  if (characters == null) return text.replace(LEADING, '');
  const points = Array.from(text);
  let from = 0;
  while (from < points.length && characters.includes(points[from])) from++;
  return points.slice(from).join('');
}

export function stripEnd(text: string, characters?: string | null): string {
  if (characters == null) return text.replace(TRAILING, '');
  const points = Array.from(text);
  let to = points.length;
  while (to > 0 && characters.includes(points[to - 1])) to--;
  return points.slice(0, to).join('');
}

export function strip(text: string, characters?: string | null): string {
  return stripEnd(stripStart(text, characters), characters);
}

/** str.split: by runs of white space without a separator. */
export function split(text: string, separator?: string | null, maxSplit = -1): string[] {
  if (separator == null) {
    if (maxSplit < 0) return text.match(WORDS) ?? [];
    const parts: string[] = [];
    let rest = stripStart(text);
    while (rest !== '' && parts.length < maxSplit) {
      const word = rest.match(WORDS)![0];
      parts.push(word);
      rest = stripStart(rest.slice(word.length));
    }
    return rest === '' ? parts : [...parts, stripEnd(rest)];
  }
  if (separator === '') throw new Error('empty separator');
  const parts = text.split(separator);
  if (maxSplit < 0 || parts.length <= maxSplit + 1) return parts;
  return [...parts.slice(0, maxSplit), parts.slice(maxSplit).join(separator)];
}

export function splitLines(text: string): string[] {
  const lines = text.split(BREAKS);
  if (lines.at(-1) === '') lines.pop();
  return lines;
}

/** Length in code points, as len(). */
export function lengthOf(text: string): number {
  let length = text.length;
  for (let i = 0; i < text.length - 1; i++)
    if ((text.charCodeAt(i) & 0xfc00) === 0xd800 && (text.charCodeAt(i + 1) & 0xfc00) === 0xdc00) length--;
  return length;
}

/** What str.isdigit says: decimal digits, and superscripts among others. */
export function isDigits(text: string): boolean {
  return /^[\p{Nd}\u00b2\u00b3\u00b9\u2070\u2074-\u2079\u2080-\u2089]+$/u.test(text);
}

/** str(value). */
export function str(value: unknown): string {
  return typeof value === 'string' ? value : repr(value);
}

/** repr(value). */
export function repr(value: unknown): string {
  if (typeof value === 'string') return reprText(value);
  if (value === null || value === undefined) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (typeof value === 'bigint') return String(value);
  if (typeof value === 'number')
    return Number.isInteger(value) && Math.abs(value) < 1e21 ? String(value) : reprFloat(value);
  if (value instanceof PyFloat) return reprFloat(value.value);
  if (Array.isArray(value)) return `[${value.map(repr).join(', ')}]`;
  if (typeof value === 'object')
    return `{${Object.entries(value)
      .map(([key, inner]) => `${repr(key)}: ${repr(inner)}`)
      .join(', ')}}`;
  throw new Error(`a ${typeof value} has no Python form`);
}

/** The shortest digits that read back as the same float, as Python and JavaScript both write them, in Python's layout. */
function reprFloat(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf';
  if (Object.is(value, -0)) return '-0.0';
  if (value === 0) return '0.0';
  const [digits, exponent] = value.toExponential().split('e');
  const power = Number(exponent);
  if (power < -4 || power >= 16) {
    const sign = power < 0 ? '-' : '+';
    return `${digits}e${sign}${String(Math.abs(power)).padStart(2, '0')}`;
  }
  const plain = String(value);
  return plain.includes('.') ? plain : `${plain}.0`;
}

const NAMED: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t', '\\': '\\\\' };
/** Not printable by str.isprintable: control, format, surrogate, private and unassigned characters, and separators but the space. */
const UNPRINTABLE = /[\\\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu;

function reprText(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const body = text.replace(UNPRINTABLE, (character) => {
    const named = NAMED[character];
    if (named) return named;
    const code = character.codePointAt(0)!;
    const hex = code.toString(16);
    if (code < 0x100) return `\\x${hex.padStart(2, '0')}`;
    return code < 0x10000 ? `\\u${hex.padStart(4, '0')}` : `\\U${hex.padStart(8, '0')}`;
  });
  return `${quote}${quote === "'" ? body.replaceAll("'", "\\'") : body}${quote}`;
}
