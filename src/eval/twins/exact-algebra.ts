// Are two LaTeX expressions the same number or the same rational function? Exact where it answers: numbers, fractions, decimals, roots and
// powers, factorials, sums and products with variables, in whatever order. It stands where lm-evaluation-harness asks sympy to simplify a
// difference to zero. It never calls different expressions equal; what it cannot read (matrices, intervals, lists, logarithms of sums that would
// need an identity) it calls unequal unless both are written alike.

interface Fraction {
  num: bigint;
  den: bigint;
}
/** Sum of terms: a product of powers of atoms ("x", "\pi", "√3") -> its coefficient. */
type Polynomial = Map<string, Fraction>;
interface Ratio {
  over: Polynomial;
  under: Polynomial;
}

const MAX_TERMS = 400;
const MAX_POWER = 64;

class Unreadable extends Error {}

/** @returns whether they are equal; undefined where one of them cannot be read */
export function sameExpression(a: string, b: string): boolean | undefined {
  try {
    const x = parse(a);
    const y = parse(b);
    return add(multiply(x.over, y.under), scale(multiply(y.over, x.under), { num: -1n, den: 1n })).size === 0;
  } catch (error) {
    if (error instanceof Unreadable) return undefined;
    throw error;
  }
}

function reduced(num: bigint, den: bigint): Fraction {
  let [a, b] = [num < 0n ? -num : num, den < 0n ? -den : den];
  while (b) [a, b] = [b, a % b];
  const g = den < 0n ? -a : a;
  return { num: num / g, den: den / g };
}

function constant(value: Fraction): Polynomial {
  return value.num === 0n ? new Map() : new Map([['', value]]);
}

const ONE: Polynomial = constant({ num: 1n, den: 1n });
const whole = (n: bigint): Ratio => ({ over: constant({ num: n, den: 1n }), under: ONE });

function put(terms: Polynomial, key: string, value: Fraction): void {
  const old = terms.get(key);
  const sum = old ? reduced(old.num * value.den + value.num * old.den, old.den * value.den) : value;
  if (sum.num === 0n) terms.delete(key);
  else terms.set(key, sum);
  if (terms.size > MAX_TERMS) throw new Unreadable();
}

function add(a: Polynomial, b: Polynomial): Polynomial {
  const sum = new Map(a);
  for (const [key, value] of b) put(sum, key, value);
  return sum;
}

function scale(a: Polynomial, by: Fraction): Polynomial {
  return new Map([...a].map(([key, value]) => [key, reduced(value.num * by.num, value.den * by.den)]));
}

const ATOM_END = '\u0001';
const POWER = '\u0002';

function factorsOf(key: string): Map<string, number> {
  return new Map(
    key
      .split(ATOM_END)
      .filter(Boolean)
      .map((part) => part.split(POWER) as [string, string])
      .map(([atom, power]) => [atom, Number(power)]),
  );
}

/** The product of two terms. Roots of whole numbers are kept by their primes, squares of them become numbers. */
function timesTerm(a: string, b: string): { key: string; factor: bigint } {
  const powers = factorsOf(a);
  let factor = 1n;
  for (const [atom, power] of factorsOf(b)) {
    let sum = (powers.get(atom) ?? 0) + power;
    if (atom.startsWith('√')) {
      factor *= BigInt(atom.slice(1)) ** BigInt(Math.floor(sum / 2));
      sum %= 2;
    }
    if (sum > MAX_POWER) throw new Unreadable();
    powers.set(atom, sum);
  }
  const parts = [...powers].filter(([, power]) => power > 0).map(([atom, power]) => atom + POWER + power);
  return { key: parts.sort().join(ATOM_END), factor };
}

function multiply(a: Polynomial, b: Polynomial): Polynomial {
  const product: Polynomial = new Map();
  for (const [ka, va] of a)
    for (const [kb, vb] of b) {
      const { key, factor } = timesTerm(ka, kb);
      put(product, key, reduced(va.num * vb.num * factor, va.den * vb.den));
    }
  return product;
}

const plus = (a: Ratio, b: Ratio): Ratio => ({
  over: add(multiply(a.over, b.under), multiply(b.over, a.under)),
  under: multiply(a.under, b.under),
});
const times = (a: Ratio, b: Ratio): Ratio => ({ over: multiply(a.over, b.over), under: multiply(a.under, b.under) });
const negative = (a: Ratio): Ratio => ({ over: scale(a.over, { num: -1n, den: 1n }), under: a.under });

function inverse(a: Ratio): Ratio {
  if (a.over.size === 0) throw new Unreadable();
  return { over: a.under, under: a.over };
}

/** The number that this is, where it is one without roots and variables. */
function rational(a: Ratio): Fraction | undefined {
  const only = (p: Polynomial) => (p.size === 0 ? { num: 0n, den: 1n } : p.size === 1 ? p.get('') : undefined);
  const over = only(a.over);
  const under = only(a.under);
  return over && under ? reduced(over.num * under.den, over.den * under.num) : undefined;
}

function power(base: Ratio, exponent: Ratio): Ratio {
  const e = rational(exponent);
  if (e && e.den === 1n && e.num >= -BigInt(MAX_POWER) && e.num <= BigInt(MAX_POWER)) {
    let result = whole(1n);
    for (let i = 0n; i < (e.num < 0n ? -e.num : e.num); i++) result = times(result, base);
    return e.num < 0n ? inverse(result) : result;
  }
  if (e && e.den === 2n) return power(squareRoot(base), whole(e.num));
  const value = rational(base);
  if (e && value && value.num >= 0n && e.den < 20n && e.num > 0n && e.num < 20n) {
    const roots = [value.num, value.den].map((n) => wholeRoot(n, e.den));
    if (roots.every((n) => n !== undefined))
      return power(times(whole(roots[0]!), inverse(whole(roots[1]!))), whole(e.num));
  }
  return atom(`pow(${written(base)},${written(exponent)})`);
}

function squareRoot(a: Ratio): Ratio {
  const value = rational(a);
  if (value === undefined || value.num < 0n) return atom(`sqrt(${written(a)})`);
  // √(p/q) = √(pq) / q
  let rest = value.num * value.den;
  if (rest > 10n ** 12n) return atom(`sqrt(${written(a)})`);
  let result: Ratio = { over: ONE, under: constant({ num: value.den, den: 1n }) };
  for (let prime = 2n; prime * prime <= rest; prime++)
    while (rest % prime === 0n) {
      result = times(result, atom(`√${prime}`));
      rest /= prime;
    }
  if (rest === 0n) return whole(0n);
  return rest === 1n ? result : times(result, atom(`√${rest}`));
}

function atom(name: string): Ratio {
  return { over: new Map([[name + POWER + '1', { num: 1n, den: 1n }]]), under: ONE };
}

/** One text for one way of writing it: enough to know an argument again. */
function written(a: Ratio): string {
  const side = (p: Polynomial) =>
    [...p]
      .sort(([x], [y]) => (x < y ? -1 : 1))
      .map(([key, value]) => `${value.num}/${value.den}*${key.replaceAll(ATOM_END, '.').replaceAll(POWER, '^')}`)
      .join('+');
  const value = rational(a);
  return value ? `${value.num}/${value.den}` : `${side(a.over)}:${side(a.under)}`;
}

const TOKEN =
  /\s+|\\[,;:! ]|\\(?:left|right)(?![a-zA-Z])|~|(\d+(?:,\d{3})*(?:\.\d+)?)|(\\[a-zA-Z]+|\\%)|([a-zA-Z])|([-+*/^_{}()[\]!|])/y;
const FUNCTIONS = new Set([
  '\\sin',
  '\\cos',
  '\\tan',
  '\\cot',
  '\\sec',
  '\\csc',
  '\\ln',
  '\\log',
  '\\exp',
  '\\arcsin',
  '\\arccos',
  '\\arctan',
]);
const SYMBOLS = new Set(
  `\\pi \\theta \\alpha \\beta \\gamma \\delta \\lambda \\mu \\phi \\varphi \\omega \\sigma \\rho \\tau \\epsilon \\varepsilon \\infty`.split(
    ' ',
  ),
);

function tokens(text: string): string[] {
  const found: string[] = [];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.length) {
    const match = TOKEN.exec(text);
    if (!match) throw new Unreadable();
    const token = match[1] ?? match[2] ?? match[3] ?? match[4];
    if (token !== undefined) found.push(token);
  }
  return found;
}

function parse(text: string): Ratio {
  const all = tokens(text);
  let at = 0;
  const expect = (token: string) => {
    if (all[at++] !== token) throw new Unreadable();
  };
  const sum = (): Ratio => {
    let value = product();
    while (all[at] === '+' || all[at] === '-')
      value = all[at++] === '+' ? plus(value, product()) : plus(value, negative(product()));
    return value;
  };
  const product = (): Ratio => {
    let value = signed();
    for (;;) {
      const token = all[at];
      if (token === '*' || token === '\\cdot' || token === '\\times') {
        at++;
        value = times(value, signed());
      } else if (token === '/' || token === '\\div') {
        at++;
        value = times(value, inverse(signed()));
      } else if (token !== undefined && !/^[-+)}\]^_!|]$/.test(token)) value = times(value, raised());
      else return value;
    }
  };
  const signed = (): Ratio => {
    if (all[at] === '-') {
      at++;
      return negative(signed());
    }
    if (all[at] === '+') {
      at++;
      return signed();
    }
    return raised();
  };
  const raised = (): Ratio => {
    let base = single();
    for (; all[at] === '!'; at++) base = whole(factorial(asWhole(base)));
    if (all[at] !== '^') return base;
    at++;
    if (all[at] !== '-') return power(base, single());
    at++;
    return power(base, negative(single()));
  };
  const group = (end: string): Ratio => {
    at++;
    const value = sum();
    expect(end);
    return value;
  };
  const subscript = (): string => {
    if (all[at] !== '_') return '';
    at++;
    if (all[at] !== '{') return `_${all[at++] ?? ''}`;
    const from = ++at;
    while (at < all.length && all[at] !== '}') at++;
    expect('}');
    return `_${all.slice(from, at - 1).join('')}`;
  };
  /** An argument without braces is one digit or letter: \frac12. */
  const argument = (): Ratio => {
    const token = all[at];
    if (token !== undefined && /^\d{2,}$/.test(token)) {
      all[at] = token.slice(1);
      return whole(BigInt(token[0]!));
    }
    return single();
  };
  const single = (): Ratio => {
    const token = all[at];
    if (token === undefined) throw new Unreadable();
    if (token === '{') return group('}');
    if (token === '(') return group(')');
    if (token === '[') return group(']');
    at++;
    if (/^[\d.]/.test(token)) {
      const [integer, decimals = ''] = token.replaceAll(',', '').split('.') as [string, string?];
      if (all[at] === '_') throw new Unreadable();
      const value = reduced(BigInt(integer + decimals), 10n ** BigInt(decimals.length));
      return { over: constant(value), under: ONE };
    }
    if (/^[a-zA-Z]$/.test(token) || SYMBOLS.has(token)) {
      const name = token + subscript();
      // A letter before a parenthesis is a function of what is in it, as sympy reads it.
      return all[at] === '(' ? atom(`${name}(${written(group(')'))})`) : atom(name);
    }
    if (/^\\[dtc]?frac$/.test(token)) {
      const over = argument();
      return times(over, inverse(argument()));
    }
    if (token === '\\sqrt') {
      if (all[at] !== '[') return squareRoot(argument());
      const degree = inverse(group(']'));
      return power(argument(), degree);
    }
    if (token === '\\binom') {
      const [n, k] = [argument(), argument()].map(asWhole) as [bigint, bigint];
      return whole(k > n ? 0n : factorial(n) / factorial(k) / factorial(n - k));
    }
    if (token === '|') {
      const inside = sum();
      expect('|');
      const value = rational(inside);
      return value === undefined ? atom(`abs(${written(inside)})`) : value.num < 0n ? negative(inside) : inside;
    }
    if (token === '\\log' && all[at] === '_') {
      at++;
      const base = argument();
      return logarithm(base, raised());
    }
    if (FUNCTIONS.has(token)) {
      if (all[at] === '^' || all[at] === '_') throw new Unreadable();
      return atom(`${token}(${written(raised())})`);
    }
    throw new Unreadable();
  };
  const value = sum();
  if (at !== all.length || all.length === 0) throw new Unreadable();
  return value;
}

/** The number whose power this is. */
function wholeRoot(n: bigint, degree: bigint): bigint | undefined {
  const near = BigInt(Math.round(Number(n) ** (1 / Number(degree))));
  return near ** degree === n ? near : undefined;
}

function asWhole(a: Ratio): bigint {
  const value = rational(a);
  if (value === undefined || value.den !== 1n || value.num < 0n || value.num > 1000n) throw new Unreadable();
  return value.num;
}

function factorial(n: bigint): bigint {
  if (n > 50n) throw new Unreadable();
  let product = 1n;
  for (let i = 2n; i <= n; i++) product *= i;
  return product;
}

/** A number where the argument is a power of the base, else an atom. */
function logarithm(base: Ratio, a: Ratio): Ratio {
  const [b, value] = [rational(base), rational(a)];
  if (b && value && b.den === 1n && value.den === 1n && b.num > 1n)
    for (let k = 0n, reached = 1n; reached <= value.num && k <= BigInt(MAX_POWER); k++, reached *= b.num)
      if (reached === value.num) return whole(k);
  return atom(`log(${written(base)},${written(a)})`);
}
