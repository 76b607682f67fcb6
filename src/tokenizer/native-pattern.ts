// Patterns -> programs for the native matcher (native/text/pattern.h), and the tables of the classes that they name. Membership in a class
// is asked of the JavaScript expression of the reference, so both engines cut at the same places whatever Unicode this Node knows.
import { MAX_TEXT_CLASSES, TEXT_OPERATIONS, type TextEncoderSpec, type TextSplit } from '../kernels/index.ts';
import type { Pattern, PatternPart } from './pattern.ts';

/** The native engine cannot say this; the reference runs instead. */
export class NotNative extends Error {
  override readonly name = 'NotNative';
}

const UNLIMITED = 0x7fffffff;
const NUM_CODE_POINTS = 0x110000;
const BLOCK = 128;
const { match, one, run, try: attempt, jump, ahead } = TEXT_OPERATIONS;
/** Numbers an instruction, by operation. */
const SIZES = { [match]: 1, [one]: 2, [run]: 5, [attempt]: 2, [jump]: 2, [ahead]: 3 };

/** Gives the classes of all patterns of one pipeline their bits. */
export class ClassBits {
  private readonly sources: string[] = [];

  of(source: string): number {
    let bit = this.sources.indexOf(source);
    if (bit < 0) bit = this.sources.push(source) - 1;
    if (bit >= MAX_TEXT_CLASSES) throw new NotNative('too many classes of characters');
    return 1 << bit;
  }

  tables(): TextEncoderSpec['classes'] {
    const bits = new Uint32Array(NUM_CODE_POINTS);
    this.sources.forEach((source, bit) => {
      const runs = codePointRuns(source);
      for (let i = 0; i < runs.length; i += 2)
        for (let code = runs[i]!; code < runs[i + 1]!; code++) bits[code] = bits[code]! | (1 << bit);
    });
    return { ascii: bits.slice(0, 128), ...intoBlocks(bits) };
  }
}

function intoBlocks(bits: Uint32Array): { blockOf: Uint16Array; blocks: Uint32Array } {
  const blockOf = new Uint16Array(NUM_CODE_POINTS / BLOCK);
  const starts: number[] = [];
  const known = new Map<string, number>();
  const bytes = Buffer.from(bits.buffer);
  for (let i = 0; i < blockOf.length; i++) {
    const content = bytes.toString('latin1', i * BLOCK * 4, (i + 1) * BLOCK * 4);
    let block = known.get(content);
    if (block === undefined) {
      block = starts.push(i * BLOCK) - 1;
      known.set(content, block);
    }
    blockOf[i] = block;
  }
  const blocks = new Uint32Array(starts.length * BLOCK);
  starts.forEach((start, block) => {
    blocks.set(bits.subarray(start, start + BLOCK), block * BLOCK);
  });
  return { blockOf, blocks };
}

/** Code points that are looked at one by one; beyond them a plane is uniform but for its last two (first, end, where it is asked). */
const SCANNED: [number, number][] = [
  [0, 0x40000],
  [0xe0000, 0xe1000],
];
const UNIFORM: [number, number, number][] = [
  [0x40000, 0xe0000, 0x50000],
  [0xe1000, 0xf0000, 0x50000],
  [0xf0000, 0xffffe, 0xf0000],
  [0xffffe, 0x100000, 0xffffe],
  [0x100000, 0x10fffe, 0x100000],
  [0x10fffe, 0x110000, 0x10fffe],
];

let scannedTexts: string[] | undefined;
const knownRuns = new Map<string, number[]>();

/** First and end of each run of code points in the class, in order. */
function codePointRuns(source: string): number[] {
  const known = knownRuns.get(source);
  if (known) return known;
  const runs = literalRuns(source) ?? scannedRuns(source);
  knownRuns.set(source, runs);
  return runs;
}

/** Of a class that lists characters, without the search. */
function literalRuns(source: string): number[] | undefined {
  if (!/^(?:\[(?:[A-Za-z0-9]|\\u\{[0-9a-f]+\})+\]|[A-Za-z0-9]|\\u\{[0-9a-f]+\})$/.test(source)) return undefined;
  const codes = [...source.matchAll(/\\u\{([0-9a-f]+)\}|[A-Za-z0-9]/g)].map((found) =>
    found[1] === undefined ? found[0].codePointAt(0)! : Number.parseInt(found[1], 16),
  );
  return codes.flatMap((code) => [code, code + 1]);
}

function scannedRuns(source: string): number[] {
  for (const [, code] of source.matchAll(/\\u\{([0-9a-f]+)\}/g))
    if (Number.parseInt(code!, 16) >= 0x40000 && code !== '10ffff') throw new NotNative('a class of rare planes');
  scannedTexts ??= SCANNED.map(([first, end]) => {
    let text = '';
    for (let code = first; code < end; code++) if (code < 0xd800 || code > 0xdfff) text += String.fromCodePoint(code);
    return text;
  });
  const runs: number[] = [];
  const expression = new RegExp(`(?:${source})+`, 'gv');
  scannedTexts.forEach((text, i) => {
    const first = SCANNED[i]![0];
    for (const found of text.matchAll(expression))
      runs.push(codePointAtUnit(first, found.index), codePointAtUnit(first, found.index + found[0].length));
  });
  const single = new RegExp(source, 'v');
  for (const [first, end, asked] of UNIFORM) if (single.test(String.fromCodePoint(asked))) runs.push(first, end);
  return runs;
}

/** Of the UTF-16 unit `unit` of a text of all code points (but surrogates) from `first` on, which is 0 or beyond the first plane. */
function codePointAtUnit(first: number, unit: number): number {
  if (first > 0) return first + unit / 2;
  if (unit < 0xd800) return unit;
  return unit <= 0xf800 ? unit + 0x800 : 0x10000 + (unit - 0xf800) / 2;
}

/** Throws NotNative. */
export function compileProgram(pattern: Pattern, bits: ClassBits): Pick<TextSplit, 'code' | 'alternatives'> {
  const code: number[] = [];
  const alternatives = pattern.map((parts) => {
    const [classes, canBeEmpty] = firstClasses(parts, bits);
    if (canBeEmpty) throw new NotNative('a pattern that matches nothing');
    const start = code.length;
    for (const part of parts) emit(part, bits, code);
    code.push(match);
    return [start, classes] as const;
  });
  if (alternatives.length > 32) throw new NotNative('more than 32 alternatives');
  return { code, alternatives };
}

function emit(part: PatternPart, bits: ClassBits, code: number[]): void {
  switch (part.type) {
    case 'class':
      code.push(one, bits.of(part.source));
      return;
    case 'group': {
      if (part.atomic) throw new NotNative('an atomic group');
      emitBranches(part.branches, bits, code);
      return;
    }
    case 'look': {
      const [only] = part.branches[0]!;
      if (!part.ahead || part.branches.length > 1 || part.branches[0]!.length !== 1 || only!.type !== 'class')
        throw new NotNative('a look at more than the next character');
      code.push(ahead, bits.of(only!.source), part.negative ? 0 : 1);
      return;
    }
    case 'repeat':
      emitRepeat(part, bits, code);
      return;
    default:
      part satisfies never;
  }
}

function emitBranches(branches: Pattern, bits: ClassBits, code: number[]): void {
  const jumps: number[] = [];
  branches.forEach((parts, i) => {
    const start = code.length;
    const isLast = i === branches.length - 1;
    if (!isLast) code.push(attempt, 0);
    for (const part of parts) emit(part, bits, code);
    if (isLast) return;
    jumps.push(code.length);
    code.push(jump, 0);
    code[start + 1] = code.length - start;
  });
  for (const at of jumps) code[at + 1] = code.length - at;
}

function emitRepeat(part: PatternPart & { type: 'repeat' }, bits: ClassBits, code: number[]): void {
  if (part.mode === 'lazy') throw new NotNative('a lazy quantifier');
  if (part.part.type === 'class') {
    const most = Math.min(part.max, UNLIMITED);
    code.push(run, bits.of(part.part.source), part.min, most, part.mode === 'possessive' ? 1 : 0);
    return;
  }
  const isOptional = part.min === 0 && part.max === 1 && part.mode === 'greedy';
  if (!isOptional || part.part.type !== 'group') throw new NotNative('a repeated group');
  const start = code.length;
  code.push(attempt, 0);
  emit(part.part, bits, code);
  code[start + 1] = code.length - start;
}

/** The classes that a match can begin with, and whether it can be empty. */
function firstClasses(parts: readonly PatternPart[], bits: ClassBits): [classes: number, canBeEmpty: boolean] {
  let classes = 0;
  for (const part of parts) {
    if (part.type === 'look') continue;
    const inner: Pattern =
      part.type === 'group' ? part.branches : part.type === 'repeat' ? [[part.part]] : ([] as Pattern);
    const firsts =
      part.type === 'class' ? [[bits.of(part.source), false] as const] : inner.map((p) => firstClasses(p, bits));
    for (const [found] of firsts) classes |= found;
    const canBeEmpty = firsts.some(([, empty]) => empty) || (part.type === 'repeat' && part.min === 0);
    if (!canBeEmpty) return [classes, false];
  }
  return [classes, true];
}

/**
 * Marks the runs that need not try fewer characters when what follows fails: it would fail there too, because nothing follows, or
 * because what must follow is of no class that the run's characters are of.
 */
export function keepRuns(code: readonly number[], { blocks }: TextEncoderSpec['classes']): number[] {
  const words = new Set(blocks);
  const overlap = (a: number, b: number) => [...words].some((word) => (word & a) !== 0 && (word & b) !== 0);
  const kept = [...code];
  for (let at = 0; at < code.length; at += SIZES[code[at] as keyof typeof SIZES]) {
    if (code[at] !== run) continue;
    const next = at + SIZES[run];
    const cannotFail = code[next] === match || (code[next] === run && code[next + 2] === 0 && code[next + 5] === match);
    const mustFollow = code[next] === one || (code[next] === run && code[next + 2]! > 0);
    if (cannotFail || (mustFollow && !overlap(code[at + 1]!, code[next + 1]!))) kept[at + 4] = 1;
  }
  return kept;
}
