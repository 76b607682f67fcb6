// Globs without a dependency: *, **, ?, [abc], [!abc], {a,b}. Not here: extended globs. A pattern is walked segment by segment from its
// literal beginning, so "docs/**/*.md" never lists anything outside docs/. Hidden names match only a segment that begins with a dot.
import * as fs from 'node:fs';
import * as path from 'node:path';
import ignore, { type Ignore } from 'ignore';
import { ConfigError } from '../base/errors.ts';
import { explainSystemError } from '../base/files.ts';

const MAX_GITIGNORE_BYTES = 1 << 20;
const MAGIC = /[*?[\]{}]/;

export function hasGlobMagic(pattern: string): boolean {
  return MAGIC.test(pattern);
}

/** "a.{md,txt}" -> ["a.md", "a.txt"]; nested braces too. Unbalanced braces stay as they are. */
export function expandBraces(pattern: string): string[] {
  let depth = 0;
  let open = -1;
  let cuts: number[] = [];
  for (let i = 0; i < pattern.length; i++) {
    const c = pattern[i];
    if (c === '{') {
      if (depth++ === 0) {
        open = i;
        cuts = [i];
      }
    } else if (c === ',' && depth === 1) cuts.push(i);
    else if (c === '}' && depth > 0 && --depth === 0) {
      cuts.push(i);
      const head = pattern.slice(0, open);
      const tails = expandBraces(pattern.slice(i + 1));
      return cuts
        .slice(1)
        .flatMap((end, k) => expandBraces(pattern.slice(cuts[k] + 1, end)))
        .flatMap((choice) => tails.map((tail) => head + choice + tail));
    }
  }
  return [pattern];
}

function segmentSource(segment: string): string {
  let source = '';
  for (let i = 0; i < segment.length; i++) {
    const c = segment[i];
    if (c === '*') source += '[^/]*';
    else if (c === '?') source += '[^/]';
    else if (c === '[') {
      const end = segment.indexOf(']', i + 2);
      if (end < 0) source += '\\[';
      else {
        const body = segment
          .slice(i + 1, end)
          .replace(/^!/, '^')
          .replace(/\\/g, '\\\\');
        source += `[${body}]`;
        i = end;
      }
    } else source += c.replace(/[\\^$+.()|{}\]]/g, '\\$&');
  }
  return source;
}

function segmentToRegExp(segment: string): RegExp {
  try {
    return new RegExp(`^${segmentSource(segment)}$`, 'u');
  } catch {
    throw new ConfigError(`glob "${segment}": its [...] is not a set of characters such as [abc], [a-z] or [!0-9].`);
  }
}

/** Whether a path with slashes matches, by the rules of globFiles. @throws ConfigError */
export function globMatcher(pattern: string): (name: string) => boolean {
  const isHidden = '(?!\\.)';
  const alternatives = expandBraces(pattern).map((plain) => {
    const segments = plain.split('/');
    return segments
      .map((segment, i) => {
        const isLast = i === segments.length - 1;
        if (segment === '**') return `(?:${isHidden}[^/]+/)*${isLast ? `${isHidden}[^/]+` : ''}`;
        segmentToRegExp(segment);
        return `${/^[*?[]/.test(segment) ? isHidden : ''}${segmentSource(segment)}${isLast ? '' : '/'}`;
      })
      .join('');
  });
  const regExp = new RegExp(`^(?:${alternatives.join('|')})$`, 'u');
  return (name) => regExp.test(name);
}

function listFolder(folder: string): fs.Dirent[] {
  try {
    return fs.readdirSync(folder, { withFileTypes: true });
  } catch (error) {
    // Vanished on the way: the caller reports a pattern without any match.
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return [];
    throw explainSystemError(error, folder, 'looking for documents');
  }
}

function isFolder(folder: string, entry: fs.Dirent): boolean {
  if (!entry.isSymbolicLink()) return entry.isDirectory();
  try {
    return fs.statSync(path.join(folder, entry.name), { throwIfNoEntry: false })?.isDirectory() ?? false;
  } catch {
    return false; // a link to itself: what reads it says so
  }
}

export interface WalkedFiles {
  files: string[];
  /** Files and whole folders that a .gitignore names. */
  numIgnored: number;
}

/** The rules of one .gitignore, for paths below `folder`. */
interface IgnoreRules {
  folder: string;
  rules: Ignore;
}

/**
 * Files below `folder`: hidden names are left out, and what the .gitignore files in it and below it name (those of folders above it are not
 * looked at: what was asked for is read). Symbolic links are followed, each folder once.
 */
export function walkFolder(folder: string): WalkedFiles {
  const seen = new Set<string>();
  const found: WalkedFiles = { files: [], numIgnored: 0 };
  const walk = (inner: string, above: readonly IgnoreRules[]): void => {
    const real = fs.realpathSync(inner);
    if (seen.has(real)) return;
    seen.add(real);
    const own = ignoreRules(inner);
    const rules = own ? [...above, own] : above;
    for (const entry of fs.readdirSync(inner, { withFileTypes: true })) {
      if (entry.name.startsWith('.')) continue;
      const child = path.join(inner, entry.name);
      const isInner = isFolder(inner, entry);
      if (isIgnored(child, isInner, rules)) found.numIgnored++;
      else if (isInner) walk(child, rules);
      else found.files.push(child);
    }
  };
  walk(folder, []);
  return found;
}

function ignoreRules(folder: string): IgnoreRules | undefined {
  const file = path.join(folder, '.gitignore');
  const stat = fs.statSync(file, { throwIfNoEntry: false });
  if (!stat?.isFile() || stat.size > MAX_GITIGNORE_BYTES) return undefined;
  return { folder, rules: ignore().add(fs.readFileSync(file, 'utf8')) };
}

/** The innermost .gitignore that says something about a path decides. */
function isIgnored(child: string, isInner: boolean, rules: readonly IgnoreRules[]): boolean {
  for (let i = rules.length - 1; i >= 0; i--) {
    const relative = path.relative(rules[i].folder, child).split(path.sep).join('/');
    const { ignored, unignored } = rules[i].rules.test(isInner ? `${relative}/` : relative);
    if (ignored || unignored) return ignored;
  }
  return false;
}

function walkPattern(folder: string, segments: readonly string[], found: Set<string>): void {
  const [segment, ...rest] = segments;
  if (segment === undefined) return;
  if (segment === '**') {
    walkPattern(folder, rest.length ? rest : ['*'], found);
    // Links are not followed below **: a link to a parent would never end.
    for (const entry of listFolder(folder))
      if (entry.isDirectory() && !entry.name.startsWith('.'))
        walkPattern(path.join(folder, entry.name), segments, found);
    return;
  }
  if (!hasGlobMagic(segment)) {
    const child = path.join(folder, segment);
    const stat = fs.statSync(child, { throwIfNoEntry: false });
    if (rest.length === 0 ? stat?.isFile() : stat?.isDirectory()) {
      if (rest.length === 0) found.add(child);
      else walkPattern(child, rest, found);
    }
    return;
  }
  const regExp = segmentToRegExp(segment);
  for (const entry of listFolder(folder)) {
    if (!regExp.test(entry.name) || (entry.name.startsWith('.') && !segment.startsWith('.'))) continue;
    const child = path.join(folder, entry.name);
    if (isFolder(folder, entry)) walkPattern(child, rest, found);
    else if (rest.length === 0) found.add(child);
  }
}

/** Absolute paths of the files that match `pattern`, which is absolute or relative to `baseFolder`; unsorted, each once. */
export function globFiles(pattern: string, baseFolder: string): string[] {
  const found = new Set<string>();
  for (const plain of expandBraces(pattern)) {
    const absolute = path.resolve(baseFolder, plain);
    const root = path.parse(absolute).root;
    walkPattern(root, absolute.slice(root.length).split(path.sep).filter(Boolean), found);
  }
  return [...found];
}
