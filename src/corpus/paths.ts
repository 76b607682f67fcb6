// Which files a corpus is read from. The list is sorted by path, so that documents come in one order on every machine.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { ConfigError } from '../base/errors.ts';
import { explainSystemError } from '../base/files.ts';
import { languageOfFile } from './code-languages.ts';
import { globFiles, hasGlobMagic, type WalkedFiles, walkFolder } from './glob.ts';
import type { Compression, InputFile, ReaderKind } from './types.ts';

const KINDS: Record<string, ReaderKind> = {
  ...Object.fromEntries(['.txt', '.md', '.markdown', '.rst', '.adoc', '.org'].map((ending) => [ending, 'text'])),
  ...Object.fromEntries(['.html', '.htm', '.xhtml'].map((ending) => [ending, 'html'])),
  ...Object.fromEntries(['.jsonl', '.ndjson'].map((ending) => [ending, 'jsonl'])),
  ...Object.fromEntries(['.csv', '.tsv'].map((ending) => [ending, 'csv'])),
  '.parquet': 'parquet',
  '.warc': 'warc',
  '.pdf': 'pdf',
  '.docx': 'docx',
  '.epub': 'epub',
};
const COMPRESSIONS: Record<string, Compression> = { '.gz': 'gzip', '.zst': 'zstd', '.bz2': 'bzip2' };
/** Compressed inside. */
const PLAIN_ONLY: readonly ReaderKind[] = ['parquet', 'docx', 'epub'];
export const SUPPORTED_ENDINGS = `${Object.keys(KINDS).join(', ')}; all but .parquet, .docx and .epub also with .gz, .zst or .bz2; source code (.py, .ts, .c and many more)`;

/** How a file is read, by its ending; undefined for an ending that is not supported. */
export function readerOf(file: string): { kind: ReaderKind; compression: Compression } | undefined {
  const outer = path.extname(file).toLowerCase();
  const compression = COMPRESSIONS[outer] ?? 'none';
  const ending = compression === 'none' ? outer : path.extname(file.slice(0, -outer.length)).toLowerCase();
  const kind = KINDS[ending] ?? (compression === 'none' && languageOfFile(file) ? 'code' : undefined);
  if (!kind || (PLAIN_ONLY.includes(kind) && compression !== 'none')) return undefined;
  return { kind, compression };
}

export interface FoundFiles {
  files: InputFile[];
  /** Files of folders and globs that no reader takes, counted by ending. */
  skippedByEnding: Record<string, number>;
  /** Files, and whole folders, that a .gitignore names. */
  numIgnored: number;
}

/**
 * Resolves files, folders (recursive, hidden names left out) and globs to a sorted list without duplicates.
 * @throws ConfigError for a path that is missing or unreadable, a glob without a match, an ending without a reader
 */
export async function findInputFiles(
  paths: string | readonly string[],
  baseFolder = process.cwd(),
): Promise<FoundFiles> {
  const list = typeof paths === 'string' ? [paths] : paths;
  if (list.length === 0) throw new ConfigError('A corpus needs at least one path: a file, a folder or a glob.');
  const found = new Map<string, InputFile>();
  const skippedByEnding: Record<string, number> = {};
  let numIgnored = 0;
  for (const given of list) {
    const candidates = resolvePath(given, baseFolder);
    numIgnored += candidates.numIgnored;
    let numTaken = 0;
    for (const file of candidates.files) {
      const reader = readerOf(file);
      if (reader) {
        found.set(file, { ...statFile(file), ...reader });
        numTaken++;
      } else if (candidates.named) {
        throw new ConfigError(
          `${file}: no reader for "${path.extname(file) || 'a file without ending'}". Supported: ${SUPPORTED_ENDINGS}.`,
        );
      } else {
        const ending = path.extname(file).toLowerCase() || '(none)';
        skippedByEnding[ending] = (skippedByEnding[ending] ?? 0) + 1;
      }
    }
    if (numTaken === 0) throw noUsableFile(given, candidates.files);
  }
  const files = [...found.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
  return { files, skippedByEnding, numIgnored };
}

function resolvePath(given: string, baseFolder: string): WalkedFiles & { named: boolean } {
  if (/^[a-z][a-z0-9+.-]+:\/\//i.test(given))
    throw new ConfigError(
      `${given}: only local paths can be read here. Download it first and give the file or folder.`,
    );
  const absolute = path.resolve(baseFolder, given);
  let stat: fs.Stats | undefined;
  try {
    stat = fs.statSync(absolute, { throwIfNoEntry: false });
    if (stat?.isDirectory()) return { ...walkFolder(absolute), named: false };
  } catch (error) {
    throw explainSystemError(error, absolute, 'looking for documents');
  }
  if (stat) return { files: [absolute], numIgnored: 0, named: true };
  if (hasGlobMagic(given)) return { files: globFiles(given, baseFolder), numIgnored: 0, named: false };
  throw new ConfigError(
    `${given}: no such file or folder (looked for ${absolute}). Check the path; relative ones start at ${baseFolder}.`,
  );
}

function statFile(file: string): { path: string; sizeBytes: number; modifiedMs: number } {
  try {
    fs.accessSync(file, fs.constants.R_OK);
    const stat = fs.statSync(file);
    if (!stat.isFile()) throw new ConfigError(`${file}: is not a regular file.`);
    return { path: file, sizeBytes: stat.size, modifiedMs: Math.floor(stat.mtimeMs) };
  } catch (error) {
    throw explainSystemError(error, file, 'looking for documents');
  }
}

function noUsableFile(given: string, files: readonly string[]): ConfigError {
  if (files.length === 0) return new ConfigError(`${given}: matches no file. Hidden files and folders are left out.`);
  const endings = [...new Set(files.map((file) => path.extname(file) || '(none)'))].sort().slice(0, 8).join(', ');
  return new ConfigError(
    `${given}: ${files.length} files, none with a reader (endings: ${endings}). Supported: ${SUPPORTED_ENDINGS}.`,
  );
}
