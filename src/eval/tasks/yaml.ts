// A task file and what it includes, as one mapping: YAML 1.1 as PyYAML reads it (yes and on are true, a key given twice keeps its last
// value), `include` relative to the file that says it, the file's own keys over included ones. `!function module.name` stays a name.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { isScalar, LineCounter, parseDocument, type ScalarTag } from 'yaml';
import { ConfigError, DataError } from '../../base/errors.ts';
import { explainSystemError } from '../../base/files.ts';

/** What stands after !function, and the folder of the file that says it. */
export class FunctionName {
  readonly name: string;
  readonly folder: string;
  constructor(name: string, folder: string) {
    this.name = name;
    this.folder = folder;
  }
  /** Without the module, as Python's __name__. */
  get shortName(): string {
    return this.name.slice(this.name.lastIndexOf('.') + 1);
  }
  toJSON(): string {
    return `!function ${this.name}`;
  }
}

export type RawConfig = Record<string, unknown>;

export function readText(file: string): string {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch (error) {
    throw explainSystemError(error, file, 'reading a task file');
  }
}

/** One mapping, its includes not followed. @throws DataError with line and column */
export function parseYaml(text: string, file: string): RawConfig {
  const folder = path.dirname(file);
  const functionTag: ScalarTag = {
    tag: '!function',
    resolve: (name: string) => new FunctionName(name.trim(), folder),
  };
  const lines = new LineCounter();
  const document = parseDocument(text, {
    version: '1.1',
    customTags: (tags) => [...tags, functionTag],
    uniqueKeys: false,
    merge: true,
    lineCounter: lines,
    logLevel: 'silent',
  });
  const error = document.errors[0];
  if (error) {
    const { line, col } = lines.linePos(error.pos[0]);
    throw new DataError(file, `line ${line}, column ${col}: ${error.message.split('\n')[0]}`);
  }
  // A version is a name: 1.0 stays "1.0".
  const version = document.getIn(['metadata', 'version'], true);
  if (isScalar(version) && typeof version.value === 'number') version.value = version.source ?? String(version.value);
  const value: unknown = document.toJS();
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new DataError(file, 'expected a mapping of keys, as task files are.');
  return value as RawConfig;
}

/** @throws ConfigError, DataError */
export function loadTaskFile(file: string, seen: readonly string[] = []): RawConfig {
  const absolute = path.resolve(file);
  if (seen.includes(absolute)) throw new ConfigError(`${absolute}: includes itself.`);
  const { include, ...own } = parseYaml(readText(absolute), absolute);
  const merged: RawConfig = {};
  for (const name of include === undefined ? [] : [include].flat()) {
    const target = path.resolve(path.dirname(absolute), String(name));
    if (!fs.existsSync(target))
      throw new ConfigError(`${absolute}: includes ${String(name)}, which does not exist at ${target}.`);
    const { task_list: _, ...included } = loadTaskFile(target, [...seen, absolute]);
    Object.assign(merged, included);
  }
  return Object.assign(merged, own);
}

export interface Heading {
  kind: 'task' | 'group' | 'class' | 'none';
  name: string;
  tags: string[];
}

/**
 * What a file defines, without parsing all of it: a folder may hold ten thousand. Only the keys that matter here are read.
 * @param known headings already read, by file
 */
export function readHeading(file: string, known: Map<string, HeadingKeys>): Heading {
  const keys = headingKeys(path.resolve(file), known, []);
  const tags = (keys.tag === undefined || keys.tag === null ? [] : [keys.tag].flat()).map(String);
  const kind = 'class' in keys ? 'class' : 'group' in keys ? 'group' : 'task' in keys ? 'task' : 'none';
  const name = kind === 'group' ? keys.group : keys.task;
  return typeof name === 'string' || typeof name === 'number'
    ? { kind, name: String(name), tags }
    : { kind: 'none', name: '', tags: [] };
}

export type HeadingKeys = RawConfig;

// MMLU's and BIG-Bench Hard's files write their keys in quotes.
const HEADING_KEYS = /^(['"]?)(?:task|group|tag|include|class)\1[ \t]*:/;
const PLAIN = /^(['"]?)(\w+)\1[ \t]*:[ \t]*(['"]?)([A-Za-z_][\w./+-]*)\3[ \t]*(?:#.*)?$/;
const PLAIN_ITEM = /^[ \t]*-[ \t]+(['"]?)([A-Za-z_][\w./+-]*)\1[ \t]*(?:#.*)?$/;
/** Words that YAML takes for something else than a string. */
const NOT_STRINGS = /^(?:y|n|yes|no|on|off|true|false|null)$/i;

function headingKeys(file: string, known: Map<string, HeadingKeys>, seen: readonly string[]): HeadingKeys {
  const before = known.get(file);
  if (before) return before;
  const own: HeadingKeys = {};
  const lines = readText(file).split(/\r?\n/);
  for (let i = 0; i < lines.length; i++) {
    if (!HEADING_KEYS.test(lines[i])) continue;
    const plain = PLAIN.exec(lines[i]);
    if (plain && !NOT_STRINGS.test(plain[4])) {
      own[plain[2]] = plain[4];
      continue;
    }
    let end = i + 1;
    while (end < lines.length && /^(?:[ \t]|-|$|#)/.test(lines[end])) end++;
    const part = lines.slice(i, end).filter((line) => line.trim() !== '');
    const items = part.slice(1).map((line) => PLAIN_ITEM.exec(line)?.[2]);
    // Members of a group are read when it is chosen.
    if (/^(['"]?)task\1[ \t]*:[ \t]*$/.test(part[0])) own.task = part.length > 1 ? [] : null;
    else if (/:[ \t]*$/.test(part[0]) && items.length > 0 && items.every((item) => item && !NOT_STRINGS.test(item)))
      own[part[0].split(':')[0].trim().replace(/['"]/g, '')] = items;
    else Object.assign(own, parseYaml(part.join('\n'), file));
  }
  const { include, ...rest } = own;
  const merged: HeadingKeys = {};
  for (const name of include === undefined ? [] : [include].flat()) {
    const target = path.resolve(path.dirname(file), String(name));
    if (!seen.includes(target) && fs.existsSync(target))
      Object.assign(merged, headingKeys(target, known, [...seen, file]));
  }
  Object.assign(merged, rest);
  known.set(file, merged);
  return merged;
}
