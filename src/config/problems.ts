// Turns what is wrong with continuo.yaml into messages: file:line:column, name, expected, found, nearest known key. All problems are
// listed at once, in the order of the file.
import { type Document, isMap, isScalar, isSeq, type LineCounter, type Node } from 'yaml';
import type { z } from 'zod';
import { ConfigError, nearestName } from '../base/errors.ts';

export interface Problem {
  /** Keys and indices from the root. */
  path: readonly (string | number)[];
  /** Ends without a full stop. */
  message: string;
  /** Point at the key instead of its value. */
  atKey?: boolean;
}

interface Located {
  line: number;
  column: number;
  message: string;
}

/** @param data the file as plain values, for what was found */
export function problemsOf(error: z.ZodError, data: unknown): Problem[] {
  return error.issues.flatMap((issue): Problem[] => {
    const path = issue.path.filter((key) => typeof key !== 'symbol');
    if (issue.code === 'unrecognized_keys') {
      const known = issue.message.split(', ');
      return issue.keys.map((key) => {
        const nearest = nearestName(key, known);
        const hint = nearest ? `did you mean "${nearest}"? ` : '';
        return { path: [...path, key], atKey: true, message: `unknown key: ${hint}known here: ${issue.message}` };
      });
    }
    const found = valueAt(data, path);
    if (found === undefined) return [{ path, message: `missing: expected ${issue.message}` }];
    return [{ path, message: `expected ${issue.message}, found ${describe(found)}` }];
  });
}

/** Throws one ConfigError that lists all problems. */
export function refuse(file: string, located: Located[]): never {
  const sorted = [...located].sort((a, b) => a.line - b.line || a.column - b.column);
  const lines = sorted.map(({ line, column, message }) => `${file}:${line}:${column}: ${message}.`);
  if (lines.length > 1) lines.push(`${lines.length} problems. Correct these places and run the same command again.`);
  throw new ConfigError(lines.join('\n'));
}

export function locate(problem: Problem, document: Document, lines: LineCounter): Located {
  const { line, col } = lines.linePos(offsetOf(problem, document));
  const name = problem.path.join('.');
  return { line, column: col, message: name ? `${name}: ${problem.message}` : problem.message };
}

/** Offset of the problem's node, or of the nearest node around it where the path does not exist in the file. */
function offsetOf(problem: Problem, document: Document): number {
  let node = document.contents as Node | null;
  let offset = node?.range?.[0] ?? 0;
  for (const [depth, key] of problem.path.entries()) {
    if (isMap(node)) {
      const pair = node.items.find((item) => String(isScalar(item.key) ? item.key.value : item.key) === String(key));
      if (!pair) break;
      const keyNode = pair.key as Node;
      const valueNode = pair.value as Node | null;
      offset = keyNode.range?.[0] ?? offset;
      if (depth === problem.path.length - 1 && problem.atKey) break;
      if (valueNode?.range && !(isScalar(valueNode) && valueNode.value === null)) offset = valueNode.range[0];
      node = valueNode;
    } else if (isSeq(node)) {
      node = (node.items[Number(key)] as Node | undefined) ?? null;
      offset = node?.range?.[0] ?? offset;
    } else break;
  }
  return offset;
}

function valueAt(data: unknown, path: readonly (string | number)[]): unknown {
  let value = data;
  for (const key of path) value = (value as Record<string | number, unknown> | null | undefined)?.[key];
  return value;
}

function describe(value: unknown): string {
  if (value === null) return 'nothing';
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === 'object') return `a map with ${Object.keys(value).slice(0, 4).join(', ') || 'no keys'}`;
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 77)}..."` : text;
}
