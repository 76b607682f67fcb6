// Are the files of the cache still what was written? Every stage records the SHA-256 of what it made.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { ConfigError } from '../base/errors.ts';
import { readJson } from '../base/files.ts';
import { sha256File } from '../base/hash.ts';
import { cacheFolder } from '../base/package.ts';
import { Progress } from '../base/progress.ts';
import type { PipelineOptions } from './types.ts';

export interface VerifiedFolder {
  folder: string;
  /** Of the corpus. */
  name: string;
  stage: 'curated' | 'corpus';
  numFiles: number;
  numBytes: number;
  /** Files that are missing or not what was written. */
  problems: { file: string; problem: string }[];
}

interface Recorded {
  folder: string;
  name: string;
  stage: 'curated' | 'corpus';
  digests: Record<string, string>;
}

/**
 * Compares every file of the stages in `folder` (one stage's folder, a cache, or a project with one) with its recorded digest.
 * @throws ConfigError where there is nothing to verify
 */
export function verifyData(folder: string, options: PipelineOptions = {}): VerifiedFolder[] {
  const recorded = stagesIn(folder);
  if (recorded.length === 0)
    throw new ConfigError(
      `${path.resolve(folder)}: holds no prepared corpus. Give the folder of a configuration, or one of its cache (.continuo-cache).`,
    );
  const sizeOf = (file: string) => fs.statSync(file, { throwIfNoEntry: false })?.size ?? 0;
  const files = recorded.flatMap((stage) => Object.keys(stage.digests).map((file) => path.join(stage.folder, file)));
  const progress = new Progress({
    label: 'verifying',
    total: files.reduce((sum, file) => sum + sizeOf(file), 0),
    unit: 'bytes',
    quiet: options.quiet,
  });
  let done = 0;
  const result = recorded.map(({ digests, ...stage }): VerifiedFolder => {
    const verified: VerifiedFolder = { ...stage, numFiles: 0, numBytes: 0, problems: [] };
    for (const [file, digest] of Object.entries(digests)) {
      const full = path.join(stage.folder, file);
      const problem = problemOf(full, digest);
      if (problem) verified.problems.push({ file: full, problem });
      verified.numFiles++;
      verified.numBytes += sizeOf(full);
      done += sizeOf(full);
      progress.update(done);
    }
    return verified;
  });
  progress.finish();
  return result;
}

function problemOf(file: string, digest: string): string | undefined {
  if (!fs.existsSync(file)) return 'is missing';
  const found = sha256File(file);
  return found === digest
    ? undefined
    : `was changed (SHA-256 ${found.slice(0, 16)}..., written as ${digest.slice(0, 16)}...)`;
}

function stagesIn(folder: string): Recorded[] {
  const own = recordOf(folder);
  if (own) return [own];
  for (const parent of [folder, cacheFolder(folder)]) {
    if (!fs.existsSync(parent)) continue;
    const records = fs
      .readdirSync(parent)
      .sort()
      .map((name) => recordOf(path.join(parent, name)))
      .filter((record) => record !== undefined);
    if (records.length > 0) return records;
  }
  return [];
}

function recordOf(folder: string): Recorded | undefined {
  const file = path.join(folder, 'manifest.json');
  if (!fs.existsSync(file)) return undefined;
  const { stage, name, digests, parts } = readJson<{
    stage?: string;
    name: string;
    digests?: Record<string, string>;
    parts?: { file: string; digest: string }[];
  }>(file);
  if (stage === 'corpus' && digests) return { folder, name, stage, digests };
  if (stage === 'curated' && parts)
    return { folder, name, stage, digests: Object.fromEntries(parts.map((part) => [part.file, part.digest])) };
  return undefined;
}
