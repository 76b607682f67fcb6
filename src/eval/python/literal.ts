// Python literals -> values, as ast.literal_eval reads them: what a template writes for a list of choices is one. Tuples and sets become
// lists; names other than True, False and None, and any computation, are refused.
import { PyFloat } from './text.ts';

/** @throws SyntaxError */
export function literalEval(text: string): unknown {
  const reader = new LiteralReader(text.replace(/^[ \t]+/, ''));
  const value = reader.tupleOrValue();
  reader.end();
  return value;
}

const ESCAPES: Readonly<Record<string, string>> = {
  n: '\n',
  t: '\t',
  r: '\r',
  b: '\b',
  f: '\f',
  v: '\v',
  a: '\x07',
  '\\': '\\',
  "'": "'",
  '"': '"',
  '\n': '',
};

class LiteralReader {
  private readonly text: string;
  private at = 0;
  private depth = 0;

  constructor(text: string) {
    this.text = text;
  }

  end(): void {
    this.skip(true);
    if (this.at < this.text.length) this.fail('the end');
  }

  /** At the top a comma makes a tuple without parentheses. */
  tupleOrValue(): unknown {
    const first = this.value();
    this.skip();
    if (this.text[this.at] !== ',') return first;
    const items = [first];
    while (this.take(',')) {
      this.skip();
      if (this.at >= this.text.length) break;
      items.push(this.value());
      this.skip();
    }
    return items;
  }

  private value(): unknown {
    this.skip();
    const c = this.text[this.at];
    if (c === '[' || c === '(' || c === '{') return this.container(c);
    const string = /^[rRuUbB]?('{3}|"{3}|'|")/.exec(this.text.slice(this.at, this.at + 4));
    if (string) return this.strings();
    const rest = this.text.slice(this.at, this.at + 400);
    const number =
      /^[-+]?\s*(?:0[xX][\da-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][-+]?\d+)?)/.exec(
        rest,
      );
    if (number) {
      this.at += number[0].length;
      return this.number(number[0].replace(/[\s_]/g, ''));
    }
    const word = /^(?:True|False|None)\b/.exec(rest);
    if (!word) this.fail('a literal');
    this.at += word[0].length;
    return word[0] === 'None' ? null : word[0] === 'True';
  }

  private number(text: string): unknown {
    const sign = text.startsWith('-') ? -1 : 1;
    const digits = text.replace(/^[-+]/, '');
    const value = sign * Number(digits);
    if (Number.isNaN(value) || /^0\d/.test(digits)) this.fail('a number');
    const isFloat = /[.eE]/.test(digits) && !/^0[xX]/.test(digits);
    return isFloat && Number.isInteger(value) ? new PyFloat(value) : value;
  }

  private container(open: string): unknown {
    const close = open === '[' ? ']' : open === '(' ? ')' : '}';
    if (++this.depth > 100) this.fail('less nesting');
    this.at++;
    const items: unknown[] = [];
    const entries: [string, unknown][] = [];
    let hasComma = false;
    for (this.skip(); !this.take(close); this.skip()) {
      const item = this.value();
      this.skip();
      if (open === '{' && this.take(':')) entries.push([String(item), this.value()]);
      else items.push(item);
      this.skip();
      if (this.take(',')) hasComma = true;
      else if (this.text[this.at] !== close) this.fail(`"," or "${close}"`);
    }
    this.depth--;
    if (open === '{' && items.length === 0) return Object.fromEntries(entries);
    return open === '(' && items.length === 1 && !hasComma ? items[0] : items;
  }

  /** Strings that stand side by side are one. */
  private strings(): string {
    let result = '';
    for (;;) {
      const start = /^([rRuUbB]?)('{3}|"{3}|'|")/.exec(this.text.slice(this.at, this.at + 4));
      if (!start) return result;
      this.at += start[0].length;
      result += this.string(start[2], /r/i.test(start[1]));
      this.skip();
    }
  }

  private string(quote: string, isRaw: boolean): string {
    let result = '';
    while (!this.text.startsWith(quote, this.at)) {
      const c = this.text[this.at];
      if (c === undefined || (c === '\n' && quote.length === 1)) this.fail(`${quote} at the end of a string`);
      this.at++;
      result += c !== '\\' ? c : isRaw ? c + (this.text[this.at++] ?? '') : this.escape();
    }
    this.at += quote.length;
    return result;
  }

  private escape(): string {
    const c = this.text[this.at++];
    if (c === undefined) this.fail('an escaped character');
    const known = ESCAPES[c];
    if (known !== undefined) return known;
    const length = { x: 2, u: 4, U: 8 }[c];
    if (length) {
      const hex = this.text.slice(this.at, this.at + length);
      if (!new RegExp(`^[\\da-fA-F]{${length}}$`).test(hex)) this.fail(`${length} hexadecimal digits`);
      this.at += length;
      return String.fromCodePoint(Number.parseInt(hex, 16));
    }
    const octal = /^[0-7]{1,3}/.exec(this.text.slice(this.at - 1, this.at + 2));
    if (!octal) return `\\${c}`;
    this.at += octal[0].length - 1;
    return String.fromCodePoint(Number.parseInt(octal[0], 8));
  }

  private take(c: string): boolean {
    if (this.text[this.at] !== c) return false;
    this.at++;
    return true;
  }

  /** Line ends count as space inside brackets, and after everything. */
  private skip(atEnd = false): void {
    const space = this.depth > 0 || atEnd ? /[ \t\r\n\f]/ : /[ \t\f]/;
    while (this.at < this.text.length && space.test(this.text[this.at])) this.at++;
  }

  private fail(expected: string): never {
    const found = this.at < this.text.length ? JSON.stringify(this.text.slice(this.at, this.at + 20)) : 'the end';
    throw new SyntaxError(`not a Python literal: expected ${expected} at character ${this.at + 1}, found ${found}`);
  }
}
