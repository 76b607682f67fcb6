// JSON has one kind of number, Python two: transformers 5 refuses a config.json whose float fields read 30 instead of 30.0. Which keys
// held whole numbers written as floats is remembered beside the parsed object, under a symbol that spreading copies and JSON ignores.
import { readText } from '../base/files.ts';

const FLOAT_KEYS = Symbol('keys of whole numbers written as floats');

/** Remembers in `value`, parsed from the JSON `file`, which of its keys (at any depth) were written as floats. */
export function rememberFloats<T extends object>(value: T, file: string): T {
  const numbers = readText(file, 'reading it').matchAll(
    /"((?:[^"\\]|\\.)*)"\s*:\s*(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)/g,
  );
  const keys = new Set<string>();
  for (const [, key, number] of numbers) if (/[.eE]/.test(number!) && Number.isInteger(Number(number))) keys.add(key!);
  return keys.size > 0 ? Object.assign(value, { [FLOAT_KEYS]: keys }) : value;
}

/** JSON, indented, with whole numbers of remembered keys written as floats again. */
export function stringifyWithFloats(value: unknown): string {
  const keys = (value as { [FLOAT_KEYS]?: Set<string> } | null)?.[FLOAT_KEYS];
  const text = JSON.stringify(value, null, 2);
  if (!keys) return text;
  return text.replace(/^(\s*"((?:[^"\\]|\\.)*)": -?\d+)(,?)$/gm, (line, start: string, key: string, comma: string) =>
    keys.has(key) ? `${start}.0${comma}` : line,
  );
}
