// Oniguruma patterns (what tokenizer.json holds) -> a tree, and the tree -> JavaScript regular expressions that match the same text. Not a
// full Oniguruma: what cannot be said exactly throws UnsupportedPattern, and the tokenizer then runs on the fallback engine.
// The differences that matter: \s is White_Space (with U+0085, without U+FEFF), ^ and $ are line anchors, properties are those of
// Unicode 16, (?i:s) also matches U+017F, and possessive quantifiers exist (written here as a captured lookahead and a backreference).
import { propertyClass } from './unicode.ts';

export class UnsupportedPattern extends Error {
  override readonly name = 'UnsupportedPattern';
}

export type PatternPart =
  /** One code point: the JavaScript source (v flag) of a class or of an escaped character. */
  | { type: 'class'; source: string }
  | { type: 'group'; branches: Pattern; atomic: boolean }
  /** Infinity is no upper limit. */
  | { type: 'repeat'; part: PatternPart; min: number; max: number; mode: 'greedy' | 'lazy' | 'possessive' }
  | { type: 'look'; branches: Pattern; ahead: boolean; negative: boolean };

/** Alternatives, the first that matches wins; each a sequence. */
export type Pattern = PatternPart[][];

/** @returns a global or sticky (`flag`) expression; throws UnsupportedPattern where it could not be exact. */
export function compilePattern(source: string, flag: 'g' | 'y'): RegExp {
  return new RegExp(translatePattern(source), `${flag}v`);
}

/** The JavaScript source (for the v flag) of an Oniguruma pattern. */
export function translatePattern(source: string): string {
  return printPattern(parsePattern(source));
}

/** Throws UnsupportedPattern. */
export function parsePattern(source: string): Pattern {
  const parser = new Parser(source);
  const result = parser.alternation(false);
  if (!parser.atEnd()) throw parser.unsupported('an unmatched )');
  return result;
}

/** The JavaScript source, for the v flag. */
export function printPattern(pattern: Pattern): string {
  let numAtomic = 0;
  const atomic = (inner: string): string => {
    const name = `a${++numAtomic}`;
    return `(?:(?=(?<${name}>${inner}))\\k<${name}>)`;
  };
  const print = (part: PatternPart): string => {
    switch (part.type) {
      case 'class':
        return part.source;
      case 'group':
        return part.atomic ? atomic(printAll(part.branches)) : `(?:${printAll(part.branches)})`;
      case 'look':
        return `(?${part.ahead ? '' : '<'}${part.negative ? '!' : '='}${printAll(part.branches)})`;
      case 'repeat': {
        const repeated = print(part.part) + printCount(part.min, part.max);
        if (part.mode === 'possessive') return atomic(repeated);
        return part.mode === 'lazy' ? `${repeated}?` : repeated;
      }
      default:
        return part satisfies never;
    }
  };
  const printAll = (branches: Pattern): string => branches.map((parts) => parts.map(print).join('')).join('|');
  return printAll(pattern);
}

function printCount(min: number, max: number): string {
  if (min === max) return `{${min}}`;
  if (max !== Number.POSITIVE_INFINITY) return min === 0 && max === 1 ? '?' : `{${min},${max}}`;
  if (min > 1) return `{${min},}`;
  return min === 1 ? '+' : '*';
}

/** Pairs that fold to one code point under (?i), such as U+00DF for "ss"; there Oniguruma matches what JavaScript would not. */
const MULTI_CHAR_FOLDS = /^(?:ss|st|ff|fi|fl)$/i;

const CONTROL_ESCAPES: Record<string, number> = { n: 10, r: 13, t: 9, f: 12, v: 11, a: 7, e: 27 };

class Parser {
  private readonly chars: string[];
  private position = 0;
  private readonly source: string;

  constructor(source: string) {
    this.source = source;
    this.chars = Array.from(source);
  }

  atEnd(): boolean {
    return this.position >= this.chars.length;
  }

  unsupported(what: string): UnsupportedPattern {
    return new UnsupportedPattern(`${what} in the pattern ${JSON.stringify(this.source)}`);
  }

  private peek(offset = 0): string | undefined {
    return this.chars[this.position + offset];
  }

  private take(): string {
    const char = this.chars[this.position++];
    if (char === undefined) throw this.unsupported('an unexpected end');
    return char;
  }

  private accept(text: string): boolean {
    const expected = Array.from(text);
    if (!expected.every((char, i) => this.peek(i) === char)) return false;
    this.position += expected.length;
    return true;
  }

  alternation(ignoreCase: boolean): Pattern {
    let fold = ignoreCase;
    if (this.accept('(?i)')) fold = true;
    const branches = [this.sequence(fold)];
    while (this.accept('|')) branches.push(this.sequence(fold));
    return branches;
  }

  private sequence(ignoreCase: boolean): PatternPart[] {
    const parts: PatternPart[] = [];
    let previous = '';
    while (!this.atEnd() && this.peek() !== '|' && this.peek() !== ')') {
      const char = this.peek()!;
      if (ignoreCase && MULTI_CHAR_FOLDS.test(previous + char))
        throw this.unsupported(`(?i) over "${previous}${char}"`);
      previous = char;
      parts.push(this.quantified(this.atom(ignoreCase)));
    }
    return parts;
  }

  private quantified(part: PatternPart): PatternPart {
    const count = this.quantifier();
    if (!count) return part;
    let mode: 'greedy' | 'lazy' | 'possessive' = 'greedy';
    if (this.peek() === '?' || this.peek() === '+') {
      if (count.isInterval) throw this.unsupported('an interval with a suffix');
      mode = this.take() === '?' ? 'lazy' : 'possessive';
    } else if (this.peek() === '*') throw this.unsupported('a doubled quantifier');
    return { type: 'repeat', part, min: count.min, max: count.max, mode };
  }

  private quantifier(): { min: number; max: number; isInterval: boolean } | undefined {
    const char = this.peek();
    if (char === '*' || char === '+' || char === '?') {
      this.take();
      return { min: char === '+' ? 1 : 0, max: char === '?' ? 1 : Number.POSITIVE_INFINITY, isInterval: false };
    }
    if (char !== '{') return undefined;
    const interval = /^\{(\d*)(,?)(\d*)\}/.exec(this.chars.slice(this.position, this.position + 16).join(''));
    if (!interval || (interval[1] === '' && interval[3] === '')) throw this.unsupported('a bare {');
    this.position += interval[0].length;
    const min = Number(interval[1] || 0);
    const open = interval[3] === '' ? Number.POSITIVE_INFINITY : Number(interval[3]);
    return { min, max: interval[2] === '' ? min : open, isInterval: true };
  }

  private atom(ignoreCase: boolean): PatternPart {
    const char = this.take();
    switch (char) {
      case '(':
        return this.group(ignoreCase);
      case '[':
        return oneOf(this.characterClass(ignoreCase));
      case '.':
        return oneOf('[^\\n]');
      case '^':
      case '$':
        return { type: 'look', branches: [[oneOf('[^\\n]')]], ahead: char === '$', negative: true };
      case '\\':
        return oneOf(this.escape(ignoreCase));
      case '*':
      case '+':
      case '?':
        throw this.unsupported('a quantifier without a target');
      default:
        return oneOf(this.literal(char.codePointAt(0)!, ignoreCase));
    }
  }

  private group(ignoreCase: boolean): PatternPart {
    if (!this.accept('?')) return { type: 'group', branches: this.closed(ignoreCase), atomic: false };
    if (this.accept(':')) return { type: 'group', branches: this.closed(ignoreCase), atomic: false };
    if (this.accept('i:')) return { type: 'group', branches: this.closed(true), atomic: false };
    if (this.accept('>')) return { type: 'group', branches: this.closed(ignoreCase), atomic: true };
    for (const [opening, ahead] of [
      ['', true],
      ['<', false],
    ] as const)
      for (const [sign, negative] of [
        ['=', false],
        ['!', true],
      ] as const)
        if (this.accept(opening + sign)) return { type: 'look', branches: this.closed(ignoreCase), ahead, negative };
    throw this.unsupported(`(?${this.peek() ?? ''}`);
  }

  private closed(ignoreCase: boolean): Pattern {
    const inner = this.alternation(ignoreCase);
    if (!this.accept(')')) throw this.unsupported('a missing )');
    return inner;
  }

  private literal(codePoint: number, ignoreCase: boolean): string {
    const variants = ignoreCase ? this.caseVariants(codePoint) : [codePoint];
    const spelled = variants.map(spell).join('');
    return variants.length === 1 ? spelled : `[${spelled}]`;
  }

  /** Simple case folding of the ASCII letters, with the two letters beyond ASCII that fold to one (long s, Kelvin sign). */
  private caseVariants(codePoint: number): number[] {
    const char = String.fromCodePoint(codePoint);
    if (!/\p{Cased}/u.test(char)) return [codePoint];
    if (codePoint > 0x7f) throw this.unsupported(`(?i) over "${char}"`);
    const variants = [char.toLowerCase().codePointAt(0)!, char.toUpperCase().codePointAt(0)!];
    if (/s/i.test(char)) variants.push(0x17f);
    if (/k/i.test(char)) variants.push(0x212a);
    return variants;
  }

  /** After a backslash: a class, or a literal. */
  private escape(ignoreCase: boolean): string {
    return this.classEscape() ?? this.literal(this.literalEscape(), ignoreCase);
  }

  private classEscape(): string | undefined {
    switch (this.peek()) {
      case 's':
      case 'S':
        return this.take() === 's' ? '\\p{White_Space}' : '\\P{White_Space}';
      case 'd':
      case 'D':
        return propertyClass('Nd', this.take() === 'D');
      case 'p':
      case 'P': {
        let negated = this.take() === 'P';
        const match = /^\{(\^?)([A-Za-z_]+)\}/.exec(this.chars.slice(this.position, this.position + 40).join(''));
        if (!match) throw this.unsupported('a malformed property');
        this.position += match[0].length;
        if (match[1]) negated = !negated;
        const result = propertyClass(match[2]!, negated);
        if (!result) throw this.unsupported(`the property ${match[2]}`);
        return result;
      }
      default:
        return undefined;
    }
  }

  private literalEscape(): number {
    const char = this.take();
    if (char === 'x' || char === 'u') {
      const rest = this.chars.slice(this.position, this.position + 12).join('');
      const match = (char === 'u' ? /^([0-9A-Fa-f]{4})/ : /^(?:\{([0-9A-Fa-f]{1,6})\}|([0-7][0-9A-Fa-f]))/).exec(rest);
      if (!match) throw this.unsupported(`\\${char} without a code`);
      this.position += match[0].length;
      return Number.parseInt(match[1] ?? match[2]!, 16);
    }
    if (CONTROL_ESCAPES[char] !== undefined) return CONTROL_ESCAPES[char];
    if (/[A-Za-z0-9]/.test(char)) throw this.unsupported(`\\${char}`);
    return char.codePointAt(0)!;
  }

  /** After [. Operands of && become nested classes, as the v flag wants them. */
  private characterClass(ignoreCase: boolean): string {
    const negation = this.accept('^') ? '^' : '';
    const operands = [''];
    if (this.peek() === ']') throw this.unsupported('a ] at the start of a class');
    while (!this.accept(']')) {
      if (this.accept('&&')) operands.push('');
      else operands[operands.length - 1] += this.classItem(ignoreCase);
    }
    if (operands.some((operand) => operand === '')) throw this.unsupported('an empty class');
    if (operands.length === 1) return `[${negation}${operands[0]}]`;
    return `[${negation}${operands.map((operand) => `[${operand}]`).join('&&')}]`;
  }

  private classItem(ignoreCase: boolean): string {
    if (this.accept('[:')) throw this.unsupported('a POSIX bracket');
    if (this.accept('[')) return this.characterClass(ignoreCase);
    if (this.peek() === '\\') {
      this.take();
      const named = this.classEscape();
      if (named !== undefined) return named;
      return this.range(this.literalEscape(), ignoreCase);
    }
    return this.range(this.take().codePointAt(0)!, ignoreCase);
  }

  private range(first: number, ignoreCase: boolean): string {
    const isRange = this.peek() === '-' && this.peek(1) !== ']' && this.peek(1) !== undefined;
    if (!isRange) return (ignoreCase ? this.caseVariants(first) : [first]).map(spell).join('');
    this.take();
    if (this.peek() === '[') throw this.unsupported('a range that ends in a class');
    let last: number;
    if (this.accept('\\')) {
      if (this.classEscape() !== undefined) throw this.unsupported('a range that ends in a class');
      last = this.literalEscape();
    } else last = this.take().codePointAt(0)!;
    if (last < first) throw this.unsupported('a range in the wrong order');
    if (!ignoreCase) return `${spell(first)}-${spell(last)}`;
    if (last > 0x7f) throw this.unsupported('(?i) over a range beyond ASCII');
    const all = Array.from({ length: last - first + 1 }, (_, i) => first + i).flatMap((c) => this.caseVariants(c));
    return [...new Set(all)].map(spell).join('');
  }
}

function spell(codePoint: number): string {
  const char = String.fromCodePoint(codePoint);
  return /[A-Za-z0-9]/.test(char) ? char : `\\u{${codePoint.toString(16)}}`;
}

function oneOf(source: string): PatternPart {
  return { type: 'class', source };
}
