// Which files a corpus is read from. The list is sorted by path, so that documents come in one order on every machine.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { ConfigError } from '../base/errors.ts';
import { explainSystemError } from '../base/files.ts';
import { fingerprint } from '../base/hash.ts';
import { languageOfFile } from './code-languages.ts';
import { globFiles, hasGlobMagic, type WalkedFiles, walkFolder } from './glob.ts';
import { findRemote, isRemote } from './remote/index.ts';
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

/** What a stage records of its input. */
export interface InputSummary {
  numFiles: number;
  numBytes: number;
  /** Of paths, sizes and times, or what stands for them. */
  digest: string;
  skippedByEnding: Record<string, number>;
  numIgnored: number;
}

export function summariseInputs(
  { files, skippedByEnding, numIgnored }: FoundFiles,
  digest = fingerprint(files),
): InputSummary {
  const numBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0);
  return { numFiles: files.length, numBytes, digest, skippedByEnding, numIgnored };
}

/**
 * Resolves files, folders (recursive, hidden names left out), globs and addresses (s3://, hub://, http://) to a sorted list without duplicates.
 * @throws DataError for a server that fails; ConfigError for a path that is missing or unreadable, a glob without a match, an ending without a reader
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
    const candidates = isRemote(given) ? await resolveRemote(given) : resolvePath(given, baseFolder);
    numIgnored += candidates.numIgnored;
    let numTaken = 0;
    for (const { path: file, ...rest } of candidates.files) {
      const reader = rest.reader ?? readerOf(file);
      if (reader) {
        const { reader: _, ...facts } = rest;
        found.set(file, { path: file, ...('sizeBytes' in facts ? facts : statFile(file)), ...reader } as InputFile);
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
    if (numTaken === 0)
      throw noUsableFile(
        given,
        candidates.files.map((file) => file.path),
      );
  }
  const files = [...found.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
  return { files, skippedByEnding, numIgnored };
}

type Reader = Pick<InputFile, 'kind' | 'compression'>;

interface Candidates {
  /** Of remote files with all that is known of them. */
  files: (Pick<InputFile, 'path'> & Partial<InputFile> & { reader?: Reader })[];
  numIgnored: number;
  /** One file was named, not a folder or a pattern. */
  named: boolean;
}

/** Pages of the web have endings seldom: then what the server says of them counts. */
const MEDIA_KINDS: Record<string, ReaderKind> = {
  'text/html': 'html',
  'application/xhtml+xml': 'html',
  'text/plain': 'text',
  'text/markdown': 'text',
  'text/csv': 'csv',
  'application/pdf': 'pdf',
  'application/epub+zip': 'epub',
};

async function resolveRemote(given: string): Promise<Candidates> {
  const { entries, named } = await findRemote(given);
  const files = entries.map(({ mediaType, ...entry }) => {
    const kind = readerOf(entry.path) ? undefined : MEDIA_KINDS[mediaType ?? ''];
    return kind ? { ...entry, reader: { kind, compression: 'none' as const } } : entry;
  });
  return { files, numIgnored: 0, named };
}

function resolvePath(given: string, baseFolder: string): Candidates {
  const some = ({ files, numIgnored }: WalkedFiles): Candidates => ({
    files: files.map((file) => ({ path: file })),
    numIgnored,
    named: false,
  });
  const absolute = path.resolve(baseFolder, given);
  let stat: fs.Stats | undefined;
  try {
    stat = fs.statSync(absolute, { throwIfNoEntry: false });
    if (stat?.isDirectory()) return some(walkFolder(absolute));
  } catch (error) {
    throw explainSystemError(error, absolute, 'looking for documents');
  }
  if (stat) return { files: [{ path: absolute }], numIgnored: 0, named: true };
  if (hasGlobMagic(given)) return some({ files: globFiles(given, baseFolder), numIgnored: 0 });
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
