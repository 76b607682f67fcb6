// Jinja templates as lm-evaluation-harness renders them: undefined names are errors, values are written as Python writes them (True, None,
// ['a', 'b'], 5.0), blocks keep their line ends. Lexer and parser are @huggingface/jinja's; its interpreter is made for chat templates and
// differs in all of these (an undefined name is empty, lists are JSON), so the tree is evaluated here, in plain values (text.ts).
// Nothing of the machine can be reached from a template: functions are the ones below, properties are entries of plain values.
import { parse, tokenize } from '@huggingface/jinja';
import { compileRegex, substitute } from './regex.ts';
import {
  isDigits,
  isSpace,
  lengthOf,
  PyFloat,
  repr,
  split,
  splitLines,
  str,
  strip,
  stripEnd,
  stripStart,
} from './text.ts';

/** The parser's nodes, whose classes the package does not export. */
interface Node {
  type: string;
  // biome-ignore lint/suspicious/noExplicitAny: each type of node has other members
  [member: string]: any;
}

type Dict = Record<string, unknown>;
type Named = ReadonlyMap<string, unknown>;
type Callable = (args: unknown[], named: Named) => unknown;

class Undefined {
  readonly what: string;
  constructor(what: string) {
    this.what = what;
  }
}

/** What {% set ns.x = ... %} may write to. */
class Namespace {
  readonly entries: Dict = {};
}

export class TemplateError extends Error {}

export interface Template {
  /** @throws TemplateError */
  render(variables: Readonly<Dict>): string;
}

/** @throws TemplateError where it is no template */
export function compileTemplate(source: string): Template {
  let tree: Node;
  try {
    // The lexer drops one line end at the end, which is kept here.
    const tokens = tokenize(forLexer(source.endsWith('\n') ? `${source}\n` : source));
    for (const token of tokens) if (token.type === 'Identifier') token.value = token.value.replace(CODED, decode);
    tree = parse(tokens) as unknown as Node;
  } catch (error) {
    throw new TemplateError((error as Error).message);
  }
  return { render: (variables) => renderBlock(tree.body, new Scope(undefined, variables)) };
}

const BLOCKS = /\{\{[\s\S]*?\}\}|\{%[\s\S]*?%\}/g;
const STRINGS_AND_LETTERS = /'(?:\\[\s\S]|[^'\\])*'|"(?:\\[\s\S]|[^"\\])*"|[^\x00-\x7f]/gu;

const CODED = /__u([\da-f]+)__/g;
const decode = (_: string, hex: string): string => String.fromCodePoint(Number.parseInt(hex, 16));

/** The lexer refuses escapes that Python keeps as they are, and letters beyond ASCII in names. */
function forLexer(source: string): string {
  return source.replace(BLOCKS, (block) =>
    block.replace(STRINGS_AND_LETTERS, (part) =>
      part[0] === "'" || part[0] === '"'
        ? part.replace(/\\([\s\S])/g, (whole, c: string) => ('ntrbfv\'"\\xu'.includes(c) ? whole : `\\\\${c}`))
        : `__u${part.codePointAt(0)!.toString(16)}__`,
    ),
  );
}

class Scope {
  private readonly own = new Map<string, unknown>();
  private readonly parent: Scope | undefined;
  private readonly variables: Readonly<Dict>;

  constructor(parent: Scope | undefined, variables: Readonly<Dict> = {}) {
    this.parent = parent;
    this.variables = variables;
  }

  get(name: string): unknown {
    if (this.own.has(name)) return this.own.get(name);
    if (Object.hasOwn(this.variables, name)) return this.variables[name];
    return this.parent ? this.parent.get(name) : (GLOBALS[name] ?? new Undefined(`"${name}"`));
  }

  set(name: string, value: unknown): void {
    this.own.set(name, value);
  }
}

class LoopEnd extends Error {
  readonly isBreak: boolean;
  constructor(isBreak: boolean) {
    super('a loop ends');
    this.isBreak = isBreak;
  }
}

function fail(message: string): never {
  throw new TemplateError(message);
}

/** The value itself: undefined ones cannot be used. */
function used(value: unknown): unknown {
  return value instanceof Undefined ? fail(`${value.what} is undefined`) : value;
}

function renderBlock(body: readonly Node[], scope: Scope): string {
  let text = '';
  for (const node of body) text += renderNode(node, scope);
  return text;
}

function renderNode(node: Node, scope: Scope): string {
  switch (node.type) {
    case 'Comment':
      return '';
    case 'If':
      return renderBlock(isTrue(evaluate(node.test, scope)) ? node.body : node.alternate, scope);
    case 'For':
      return renderFor(node, scope);
    case 'Set':
      setVariable(node, scope);
      return '';
    case 'Macro':
      defineMacro(node, scope);
      return '';
    case 'FilterStatement':
      return str(applyFilter(node.filter, renderBlock(node.body, scope), scope));
    case 'Break':
    case 'Continue':
      throw new LoopEnd(node.type === 'Break');
    case 'CallStatement':
      return fail('{% call %} is not supported');
    default:
      return written(used(evaluate(node, scope)));
  }
}

function written(value: unknown): string {
  return typeof value === 'function' ? fail('a function cannot be written') : str(plain(value));
}

/** Without the wrappers of this module. */
function plain(value: unknown): unknown {
  return value instanceof Namespace ? value.entries : value;
}

function setVariable(node: Node, scope: Scope): void {
  const value = node.value ? used(evaluate(node.value, scope)) : renderBlock(node.body, scope);
  if (node.assignee.type !== 'MemberExpression') {
    assign(node.assignee, value, scope);
    return;
  }
  const target = evaluate(node.assignee.object, scope);
  if (!(target instanceof Namespace)) fail('only attributes of a namespace() can be set');
  target.entries[node.assignee.property.value] = value;
}

function assign(target: Node, value: unknown, scope: Scope): void {
  if (target.type === 'Identifier') {
    scope.set(target.value, value);
    return;
  }
  const items = itemsOf(value);
  if (items.length !== target.value.length) fail(`${target.value.length} values expected, ${items.length} found`);
  target.value.forEach((inner: Node, i: number) => {
    assign(inner, items[i], scope);
  });
}

function renderFor(node: Node, outer: Scope): string {
  const isFiltered = node.iterable.type === 'SelectExpression';
  let items = itemsOf(evaluate(isFiltered ? node.iterable.lhs : node.iterable, outer));
  const scopeOf = (item: unknown) => {
    const scope = new Scope(outer);
    assign(node.loopvar, item, scope);
    return scope;
  };
  if (isFiltered) items = items.filter((item) => isTrue(evaluate(node.iterable.test, scopeOf(item))));
  if (items.length === 0) return renderBlock(node.defaultBlock, outer);
  let text = '';
  for (let i = 0; i < items.length; i++) {
    const scope = scopeOf(items[i]);
    scope.set('loop', {
      index: i + 1,
      index0: i,
      revindex: items.length - i,
      revindex0: items.length - i - 1,
      first: i === 0,
      last: i === items.length - 1,
      length: items.length,
      previtem: i > 0 ? items[i - 1] : new Undefined('loop.previtem'),
      nextitem: i + 1 < items.length ? items[i + 1] : new Undefined('loop.nextitem'),
      cycle: ((args) => args[i % args.length]) satisfies Callable,
    });
    try {
      text += renderBlock(node.body, scope);
    } catch (error) {
      if (!(error instanceof LoopEnd)) throw error;
      if (error.isBreak) break;
    }
  }
  return text;
}

function defineMacro(node: Node, scope: Scope): void {
  const macro: Callable = (args, named) => {
    const inner = new Scope(scope);
    node.args.forEach((parameter: Node, i: number) => {
      const hasDefault = parameter.type === 'KeywordArgumentExpression';
      const name: string = hasDefault ? parameter.key.value : parameter.value;
      const fallback = () => (hasDefault ? evaluate(parameter.value, inner) : new Undefined(`"${name}"`));
      inner.set(name, i < args.length ? args[i] : named.has(name) ? named.get(name) : fallback());
    });
    return renderBlock(node.body, inner);
  };
  scope.set(node.name.value, macro);
}

function evaluate(node: Node, scope: Scope): unknown {
  switch (node.type) {
    case 'IntegerLiteral':
    case 'StringLiteral':
      return node.value;
    case 'FloatLiteral':
      return new PyFloat(node.value);
    case 'ArrayLiteral':
    case 'TupleLiteral':
      return node.value.map((inner: Node) => evaluate(inner, scope));
    case 'ObjectLiteral':
      return Object.fromEntries(
        [...node.value].map(([key, value]: [Node, Node]) => [str(evaluate(key, scope)), evaluate(value, scope)]),
      );
    case 'Identifier':
      return CONSTANTS.has(node.value) ? CONSTANTS.get(node.value) : scope.get(node.value);
    case 'MemberExpression':
      return member(node, scope);
    case 'CallExpression':
      return call(node, scope);
    case 'FilterExpression':
      return applyFilter(node.filter, evaluate(node.operand, scope), scope);
    case 'TestExpression':
      return test(node, scope) !== node.negate;
    case 'UnaryExpression':
      return unary(node.operator.value, evaluate(node.argument, scope));
    case 'BinaryExpression':
      return binary(node, scope);
    case 'Ternary':
      return evaluate(isTrue(evaluate(node.condition, scope)) ? node.trueExpr : node.falseExpr, scope);
    case 'SelectExpression':
      return isTrue(evaluate(node.test, scope))
        ? evaluate(node.lhs, scope)
        : new Undefined('an inline "if" without an "else"');
    default:
      return fail(`${node.type} is not supported`);
  }
}

const CONSTANTS: ReadonlyMap<string, unknown> = new Map<string, unknown>([
  ['true', true],
  ['True', true],
  ['false', false],
  ['False', false],
  ['none', null],
  ['None', null],
]);

function argumentsOf(nodes: readonly Node[], scope: Scope): { args: unknown[]; named: Named } {
  const args: unknown[] = [];
  const named = new Map<string, unknown>();
  for (const node of nodes) {
    if (node.type === 'KeywordArgumentExpression') named.set(node.key.value, used(evaluate(node.value, scope)));
    else if (node.type === 'SpreadExpression') args.push(...itemsOf(evaluate(node.argument, scope)));
    else if (node.type === 'KeywordSpreadExpression')
      for (const [key, value] of Object.entries(dictOf(evaluate(node.argument, scope)))) named.set(key, value);
    else args.push(used(evaluate(node, scope)));
  }
  return { args, named };
}

function call(node: Node, scope: Scope): unknown {
  const callee = used(evaluate(node.callee, scope));
  if (typeof callee !== 'function') fail(`${describe(callee)} cannot be called`);
  const { args, named } = argumentsOf(node.args, scope);
  return (callee as Callable)(args, named);
}

function applyFilter(filter: Node, operand: unknown, scope: Scope): unknown {
  const name: string = filter.type === 'CallExpression' ? filter.callee.value : filter.value;
  const { args, named } =
    filter.type === 'CallExpression'
      ? argumentsOf(filter.args, scope)
      : { args: [] as unknown[], named: new Map<string, unknown>() };
  return filterNamed(name)(name === 'default' || name === 'd' ? operand : used(operand), args, named);
}

function filterNamed(name: string): Filter {
  return FILTERS[name] ?? fail(`the filter "${name}" is not supported`);
}

function test(node: Node, scope: Scope): boolean {
  const value = evaluate(node.operand, scope);
  const name: string = node.test.value;
  if (name === 'defined') return !(value instanceof Undefined);
  if (name === 'undefined') return value instanceof Undefined;
  return testNamed(name)(used(value));
}

function testNamed(name: string): (value: unknown) => boolean {
  return TESTS[name] ?? fail(`the test "${name}" is not supported`);
}

/** After a dot: methods come first, then entries. In brackets: entries first. */
function member(node: Node, scope: Scope): unknown {
  const object = used(evaluate(node.object, scope));
  if (node.computed && node.property.type === 'SliceExpression') {
    const bound = (part: Node | undefined) => (part ? wholeOf(evaluate(part, scope)) : undefined);
    return slice(object, bound(node.property.start), bound(node.property.stop), bound(node.property.step));
  }
  const key = node.computed ? used(evaluate(node.property, scope)) : node.property.value;
  const method = typeof key === 'string' ? methodOf(object, key) : undefined;
  if (method && !node.computed) return method;
  if (object instanceof Namespace || isDict(object)) {
    const entries = object instanceof Namespace ? object.entries : object;
    if (Object.hasOwn(entries, str(key))) return entries[str(key)];
  } else if (typeof key === 'number' && (Array.isArray(object) || typeof object === 'string')) {
    const items = typeof object === 'string' ? Array.from(object) : object;
    const found = items[key < 0 ? items.length + key : key];
    if (found !== undefined) return found;
  }
  return method ?? new Undefined(`${JSON.stringify(key)} of ${describe(object)}`);
}

function slice(object: unknown, start?: number, stop?: number, step = 1): unknown {
  if (isDict(object)) fail('a dict has no slices');
  const items = itemsOf(object);
  const n = items.length;
  if (step === 0) fail('a slice with step 0');
  const clamp = (at: number, low: number, high: number) => Math.max(low, Math.min(high, at < 0 ? at + n : at));
  const taken: unknown[] = [];
  if (step > 0) for (let i = clamp(start ?? 0, 0, n); i < clamp(stop ?? n, 0, n); i += step) taken.push(items[i]);
  else {
    const last = stop === undefined ? -1 : clamp(stop, -1, n - 1);
    for (let i = clamp(start ?? n - 1, -1, n - 1); i > last; i += step) taken.push(items[i]);
  }
  return typeof object === 'string' ? taken.join('') : taken;
}

function unary(operator: string, value: unknown): unknown {
  if (operator === 'not') return !isTrue(value);
  const number = numberOf(value);
  const result = operator === '-' ? -number : number;
  return value instanceof PyFloat ? new PyFloat(result) : result;
}

function binary(node: Node, scope: Scope): unknown {
  const operator: string = node.operator.value;
  const left = evaluate(node.left, scope);
  if (operator === 'and') return isTrue(left) ? evaluate(node.right, scope) : left;
  if (operator === 'or') return isTrue(left) ? left : evaluate(node.right, scope);
  const a = used(left);
  const b = used(evaluate(node.right, scope));
  switch (operator) {
    case '~':
      return written(a) + written(b);
    case 'in':
      return contains(b, a);
    case 'not in':
      return !contains(b, a);
    case '==':
      return isEqual(a, b);
    case '!=':
      return !isEqual(a, b);
    case '<':
      return order(a, b) < 0;
    case '<=':
      return order(a, b) <= 0;
    case '>':
      return order(a, b) > 0;
    case '>=':
      return order(a, b) >= 0;
    default:
      return compute(operator, a, b);
  }
}

function compute(operator: string, a: unknown, b: unknown): unknown {
  if (operator === '+' && typeof a === 'string' && typeof b === 'string') return a + b;
  if (operator === '+' && Array.isArray(a) && Array.isArray(b)) return [...a, ...b];
  if (operator === '*' && typeof b === 'number') {
    if (typeof a === 'string') return a.repeat(Math.max(0, b));
    if (Array.isArray(a)) return Array.from({ length: Math.max(0, b) }, () => a).flat();
  }
  const [x, y] = [numberOf(a), numberOf(b)];
  if (['/', '//', '%'].includes(operator) && y === 0) fail('division by zero');
  const operations: Readonly<Record<string, () => number>> = {
    '+': () => x + y,
    '-': () => x - y,
    '*': () => x * y,
    '/': () => x / y,
    '//': () => Math.floor(x / y),
    '%': () => x - y * Math.floor(x / y),
    '**': () => x ** y,
  };
  const result = operations[operator]?.();
  if (result === undefined) fail(`the operator "${operator}" is not supported`);
  const isFloat = operator === '/' || isFloating(a) || isFloating(b) || !Number.isInteger(result);
  return isFloat ? new PyFloat(result) : result;
}

function isFloating(value: unknown): boolean {
  return value instanceof PyFloat || (typeof value === 'number' && !Number.isInteger(value));
}

function isDict(value: unknown): value is Dict {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof PyFloat);
}

function describe(value: unknown): string {
  if (value === null) return 'None';
  if (typeof value === 'function') return 'a function';
  return typeof value === 'string'
    ? 'a string'
    : Array.isArray(value)
      ? 'a list'
      : isDict(value)
        ? 'a dict'
        : 'a number';
}

function dictOf(value: unknown): Dict {
  return isDict(value) ? value : fail(`a dict expected, found ${describe(value)}`);
}

function itemsOf(value: unknown): unknown[] {
  const items = used(value);
  if (Array.isArray(items)) return items;
  if (typeof items === 'string') return Array.from(items);
  return isDict(items) ? Object.keys(items) : fail(`${describe(items)} has no items`);
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : fail(`a string expected, found ${describe(value)}`);
}

function numberOf(value: unknown): number {
  if (value instanceof PyFloat) return value.value;
  if (typeof value === 'number' || typeof value === 'boolean' || typeof value === 'bigint') return Number(value);
  return fail(`a number expected, found ${describe(value)}`);
}

function wholeOf(value: unknown): number {
  const number = numberOf(used(value));
  return Number.isInteger(number) ? number : fail(`a whole number expected, found ${number}`);
}

function isTrue(value: unknown): boolean {
  const given = used(value);
  if (given instanceof PyFloat) return given.value !== 0;
  if (Array.isArray(given)) return given.length > 0;
  return isDict(given) ? Object.keys(given).length > 0 : Boolean(given);
}

function isNumeric(value: unknown): boolean {
  return (
    typeof value === 'number' || typeof value === 'boolean' || typeof value === 'bigint' || value instanceof PyFloat
  );
}

function isEqual(a: unknown, b: unknown): boolean {
  if (isNumeric(a) && isNumeric(b)) return numberOf(a) === numberOf(b);
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((item, i) => isEqual(item, b[i]));
  if (isDict(a) && isDict(b)) {
    const keys = Object.keys(a);
    return (
      keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && isEqual(a[key], b[key]))
    );
  }
  return a === b;
}

function order(a: unknown, b: unknown): number {
  if (isNumeric(a) && isNumeric(b)) return numberOf(a) - numberOf(b);
  if (typeof a === 'string' && typeof b === 'string') return Buffer.compare(Buffer.from(a), Buffer.from(b));
  if (Array.isArray(a) && Array.isArray(b)) {
    const at = a.findIndex((item, i) => i >= b.length || !isEqual(item, b[i]));
    return at < 0 ? a.length - b.length : at >= b.length ? 1 : order(a[at], b[at]);
  }
  return fail(`${describe(a)} and ${describe(b)} have no order`);
}

function contains(container: unknown, item: unknown): boolean {
  if (typeof container === 'string') return container.includes(textOf(item));
  if (isDict(container)) return Object.hasOwn(container, str(item));
  return itemsOf(container).some((inner) => isEqual(inner, item));
}

const titleCase = (text: string): string => text.toLowerCase().replace(/\p{L}+/gu, (word) => capitalize(word));

function capitalize(text: string): string {
  const [first = '', ...rest] = Array.from(text);
  return first.toUpperCase() + rest.join('').toLowerCase();
}

function replaceText(text: string, from: string, to: string, count = -1): string {
  if (count < 0) return text.replaceAll(from, () => to);
  let result = text;
  let at = 0;
  for (let i = 0; i < count; i++) {
    const found = result.indexOf(from, at);
    if (found < 0) break;
    result = result.slice(0, found) + to + result.slice(found + from.length);
    at = found + to.length;
  }
  return result;
}

type Method<T> = (self: T, args: unknown[], named: Named) => unknown;

const optionalText = (value: unknown): string | null => (value == null ? null : textOf(value));
const startsOrEnds =
  (is: (text: string, part: string) => boolean): Method<string> =>
  (self, [parts]) =>
    (Array.isArray(parts) ? parts : [parts]).some((part) => is(self, textOf(part)));
const found = (at: number, text: string): number => (at < 0 ? at : lengthOf(text.slice(0, at)));

const TEXT_METHODS: Readonly<Record<string, Method<string>>> = {
  strip: (self, [characters]) => strip(self, optionalText(characters)),
  lstrip: (self, [characters]) => stripStart(self, optionalText(characters)),
  rstrip: (self, [characters]) => stripEnd(self, optionalText(characters)),
  split: (self, [separator, max], named) =>
    split(self, optionalText(separator ?? named.get('sep')), wholeOf(max ?? named.get('maxsplit') ?? -1)),
  splitlines: (self) => splitLines(self),
  upper: (self) => self.toUpperCase(),
  lower: (self) => self.toLowerCase(),
  casefold: (self) => self.toLowerCase(),
  title: (self) => titleCase(self),
  capitalize: (self) => capitalize(self),
  replace: (self, [from, to, count]) => replaceText(self, textOf(from), textOf(to), wholeOf(count ?? -1)),
  startswith: startsOrEnds((text, part) => text.startsWith(part)),
  endswith: startsOrEnds((text, part) => text.endsWith(part)),
  removeprefix: (self, [part]) => (self.startsWith(textOf(part)) ? self.slice(textOf(part).length) : self),
  removesuffix: (self, [part]) =>
    textOf(part) !== '' && self.endsWith(textOf(part)) ? self.slice(0, -textOf(part).length) : self,
  find: (self, [part]) => found(self.indexOf(textOf(part)), self),
  rfind: (self, [part]) => found(self.lastIndexOf(textOf(part)), self),
  index: (self, [part]) => {
    const at = self.indexOf(textOf(part));
    return at < 0 ? fail(`${repr(part)} is not in the string`) : found(at, self);
  },
  count: (self, [part]) => self.split(textOf(part)).length - 1,
  join: (self, [items]) => itemsOf(items).map(textOf).join(self),
  zfill: (self, [width]) => self.padStart(wholeOf(width), '0'),
  isdigit: (self) => isDigits(self),
  isspace: (self) => self !== '' && Array.from(self).every(isSpace),
  isupper: (self) => self !== self.toLowerCase() && self === self.toUpperCase(),
  islower: (self) => self !== self.toUpperCase() && self === self.toLowerCase(),
  format: (self, args, named) => {
    let next = 0;
    return self.replace(/\{\{|\}\}|\{(\w*)\}/g, (match, name?: string) => {
      if (name === undefined) return match[0];
      const value = name === '' ? args[next++] : /^\d+$/.test(name) ? args[Number(name)] : named.get(name);
      return value === undefined ? fail(`format() has no value for {${name}}`) : str(value);
    });
  },
};

const LIST_METHODS: Readonly<Record<string, Method<unknown[]>>> = {
  index: (self, [item]) => {
    const at = self.findIndex((inner) => isEqual(inner, item));
    return at < 0 ? fail(`${repr(plain(item))} is not in the list`) : at;
  },
  count: (self, [item]) => self.filter((inner) => isEqual(inner, item)).length,
  // Lists of a template's own; the document's are shared by later templates.
  copy: (self) => [...self],
};

const DICT_METHODS: Readonly<Record<string, Method<Dict>>> = {
  items: (self) => Object.entries(self),
  keys: (self) => Object.keys(self),
  values: (self) => Object.values(self),
  get: (self, [key, fallback]) => (Object.hasOwn(self, str(key)) ? self[str(key)] : (fallback ?? null)),
  copy: (self) => ({ ...self }),
};

function methodOf(object: unknown, name: string): Callable | undefined {
  const bind = <T>(methods: Readonly<Record<string, Method<T>>>, self: T): Callable | undefined =>
    Object.hasOwn(methods, name) ? (args, named) => methods[name](self, args, named) : undefined;
  if (typeof object === 'string') return bind(TEXT_METHODS, object);
  if (Array.isArray(object)) return bind(LIST_METHODS, object);
  return isDict(object) ? bind(DICT_METHODS, object) : undefined;
}

type Filter = (value: unknown, args: unknown[], named: Named) => unknown;

const count: Filter = (value) =>
  typeof value === 'string' ? lengthOf(value) : isDict(value) ? Object.keys(value).length : itemsOf(value).length;

const defaultTo: Filter = (value, [fallback = '', whenFalse], named) =>
  value instanceof Undefined || ((whenFalse ?? named.get('boolean')) === true && !isTrue(value)) ? fallback : value;

/** "a.b.0" of an item. */
function attribute(item: unknown, path: unknown): unknown {
  let value = item;
  for (const key of str(path).split('.'))
    value = Array.isArray(value)
      ? value[Number(key)]
      : isDict(value) && Object.hasOwn(value, key)
        ? value[key]
        : new Undefined(`"${key}" of ${describe(value)}`);
  return value;
}

/** map, select and their kin: the filter or test of each item. */
function mapItems(value: unknown, [name, ...rest]: unknown[], named: Named): unknown[] {
  const path = named.get('attribute');
  if (path === undefined) return itemsOf(value).map((item) => filterNamed(str(name))(item, rest, named));
  return itemsOf(value).map((item) => {
    const inner = attribute(item, path);
    return inner instanceof Undefined && named.has('default') ? named.get('default') : inner;
  });
}

const selectItems =
  (isKept: boolean, byAttribute: boolean): Filter =>
  (value, args) => {
    const [path, name, ...rest] = byAttribute ? args : [undefined, ...args];
    return itemsOf(value).filter((item) => {
      const subject = byAttribute ? attribute(item, path) : item;
      const passes =
        name === undefined
          ? isTrue(subject)
          : rest.length > 0
            ? compareNamed(str(name), subject, rest[0])
            : name === 'defined'
              ? !(subject instanceof Undefined)
              : testNamed(str(name))(used(subject));
      return passes === isKept;
    });
  };

function compareNamed(name: string, a: unknown, b: unknown): boolean {
  if (['eq', 'equalto', '=='].includes(name)) return isEqual(a, b);
  if (['ne', '!='].includes(name)) return !isEqual(a, b);
  if (name === 'in') return contains(b, a);
  if (['gt', 'greaterthan', '>'].includes(name)) return order(a, b) > 0;
  if (['lt', 'lessthan', '<'].includes(name)) return order(a, b) < 0;
  return fail(`the test "${name}" is not supported`);
}

const folded = (value: unknown): unknown => (typeof value === 'string' ? value.toLowerCase() : value);

function sorted(items: readonly unknown[], named: Named): unknown[] {
  const path = named.get('attribute');
  const keyOf = (item: unknown) => {
    const key = path === undefined ? item : attribute(item, path);
    return named.get('case_sensitive') === true ? key : folded(key);
  };
  const result = [...items].sort((a, b) => order(keyOf(a), keyOf(b)));
  return named.get('reverse') === true ? result.reverse() : result;
}

function toInteger(value: unknown, fallback: unknown): unknown {
  if (isNumeric(value)) return Math.trunc(numberOf(value));
  const text = typeof value === 'string' ? strip(value).replaceAll('_', '') : '';
  if (/^[-+]?\d+$/.test(text)) return Number(text);
  return text !== '' && Number.isFinite(Number(text)) ? Math.trunc(Number(text)) : fallback;
}

function json(value: unknown, indent?: number): string {
  const unwrap = (inner: unknown): unknown => (inner instanceof PyFloat ? inner.value : inner);
  const body = JSON.stringify(value, (_, inner) => unwrap(inner), indent);
  const spaced = indent === undefined ? spaceOut(body) : body;
  return spaced.replace(/[<>&']/g, (c) => `\\u00${c.charCodeAt(0).toString(16)}`);
}

/** Python's separators: ", " and ": ". */
function spaceOut(body: string): string {
  return body.replace(/"(?:\\.|[^"\\])*"|[,:]/g, (part) => (part.length === 1 ? `${part} ` : part));
}

function round(value: number, digits: number, method: unknown): number {
  const scale = 10 ** digits;
  if (method === 'ceil') return Math.ceil(value * scale) / scale;
  if (method === 'floor') return Math.floor(value * scale) / scale;
  // Python rounds halves to even.
  const scaled = value * scale;
  const nearest = Math.round(scaled);
  return (Math.abs(scaled % 1) === 0.5 && nearest % 2 !== 0 ? nearest - 1 : nearest) / scale;
}

const FILTERS: Readonly<Record<string, Filter>> = Object.assign(Object.create(null), {
  abs: (value) => unary(numberOf(value) < 0 ? '-' : '+', value),
  attr: (value, [name]) => attribute(value, name),
  capitalize: (value) => capitalize(str(value)),
  count,
  d: defaultTo,
  default: defaultTo,
  dictsort: (value) => Object.entries(dictOf(value)).sort(([a], [b]) => order(a.toLowerCase(), b.toLowerCase())),
  first: (value) => itemsOf(value)[0] ?? new Undefined('the first item'),
  float: (value, [fallback]) => {
    if (isNumeric(value)) return new PyFloat(numberOf(value));
    const number = typeof value === 'string' && strip(value) !== '' ? Number(strip(value)) : Number.NaN;
    return Number.isNaN(number) ? (fallback ?? new PyFloat(0)) : new PyFloat(number);
  },
  int: (value, [fallback]) => toInteger(value, fallback ?? 0),
  items: (value) => Object.entries(dictOf(value)),
  indent: (value, [width = 4, first]) => {
    const space = typeof width === 'string' ? width : ' '.repeat(wholeOf(width));
    const [head, ...rest] = str(value).split('\n');
    return [first === true ? space + head : head, ...rest.map((line) => (line === '' ? line : space + line))].join(
      '\n',
    );
  },
  join: (value, [separator = ''], named) =>
    (named.has('attribute') ? mapItems(value, [], named) : itemsOf(value)).map(written).join(str(separator)),
  last: (value) => itemsOf(value).at(-1) ?? new Undefined('the last item'),
  length: count,
  list: (value) => itemsOf(value),
  lower: (value) => str(value).toLowerCase(),
  map: (value, args, named) => mapItems(value, args, named),
  max: (value) => itemsOf(value).reduce((a, b) => (order(folded(b), folded(a)) > 0 ? b : a)),
  min: (value) => itemsOf(value).reduce((a, b) => (order(folded(b), folded(a)) < 0 ? b : a)),
  regex_replace: (value, [pattern, replacement, times], named) =>
    substitute(
      compileRegex(textOf(pattern ?? named.get('pattern'))),
      textOf(replacement ?? named.get('repl')),
      textOf(value),
      wholeOf(times ?? named.get('count') ?? 0),
    ),
  reject: selectItems(false, false),
  rejectattr: selectItems(false, true),
  replace: (value, [from, to, times]) => replaceText(str(value), str(from), str(to), wholeOf(times ?? -1)),
  reverse: (value) =>
    typeof value === 'string' ? Array.from(value).reverse().join('') : [...itemsOf(value)].reverse(),
  round: (value, [digits = 0, method]) => new PyFloat(round(numberOf(value), wholeOf(digits), method)),
  safe: (value) => value,
  select: selectItems(true, false),
  selectattr: selectItems(true, true),
  sort: (value, _, named) => sorted(itemsOf(value), named),
  string: (value) => written(value),
  sum: (value, _, named) =>
    (named.has('attribute') ? mapItems(value, [], named) : itemsOf(value)).reduce((a, b) => compute('+', a, b), 0),
  title: (value) => titleCase(str(value)),
  tojson: (value, _, named) => json(value, named.has('indent') ? wholeOf(named.get('indent')) : undefined),
  trim: (value, [characters]) => strip(str(value), optionalText(characters)),
  unique: (value) => {
    const items = itemsOf(value);
    return items.filter((item, i) => items.findIndex((other) => isEqual(folded(other), folded(item))) === i);
  },
  upper: (value) => str(value).toUpperCase(),
  wordcount: (value) => split(str(value)).length,
} satisfies Record<string, Filter>);

const TESTS: Readonly<Record<string, (value: unknown) => boolean>> = Object.assign(Object.create(null), {
  boolean: (value) => typeof value === 'boolean',
  even: (value) => numberOf(value) % 2 === 0,
  false: (value) => value === false,
  float: (value) => isFloating(value),
  integer: (value) => typeof value === 'number' && Number.isInteger(value),
  iterable: (value) => Array.isArray(value) || isDict(value) || typeof value === 'string',
  lower: (value) => str(value) === str(value).toLowerCase(),
  mapping: (value) => isDict(value),
  none: (value) => value === null,
  number: (value) => isNumeric(value),
  odd: (value) => Math.abs(numberOf(value) % 2) === 1,
  sequence: (value) => Array.isArray(value) || isDict(value) || typeof value === 'string',
  string: (value) => typeof value === 'string',
  true: (value) => value === true,
  upper: (value) => str(value) === str(value).toUpperCase(),
} satisfies Record<string, (value: unknown) => boolean>);

/** Longer ranges are taken for a slip. */
const MAX_RANGE = 100_000;

const GLOBALS: Readonly<Record<string, Callable>> = Object.assign(Object.create(null), {
  range: (args) => {
    const [start, stop, step] = args.length === 1 ? [0, wholeOf(args[0]), 1] : [...args.map(wholeOf), 1];
    const length = Math.max(0, Math.ceil((stop - start) / step));
    if (!(length <= MAX_RANGE)) fail(`range() of ${length} numbers`);
    return Array.from({ length }, (_, i) => start + i * step);
  },
  namespace: (_, named) => {
    const space = new Namespace();
    for (const [key, value] of named) space.entries[key] = value;
    return space;
  },
  dict: (_, named) => Object.fromEntries(named),
} satisfies Record<string, Callable>);
