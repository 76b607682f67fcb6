// The export layer's door: a compiled job as a folder that another framework trains from.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { ConfigError } from '../base/errors.ts';
import { readJson, writeFileAtomic, writeFolderAtomic, writeJsonAtomic } from '../base/files.ts';
import { sha256File } from '../base/hash.ts';
import { packageVersion } from '../base/package.ts';
import { axolotl } from './axolotl.ts';
import { llamaFactory } from './llama-factory.ts';
import { megatron } from './megatron.ts';
import { nemo } from './nemo.ts';
import { readmeOf } from './readme.ts';
import { missingEverywhere, missingWarnings, refuseUndecided } from './refuse.ts';
import { torchtitan } from './torchtitan.ts';
import { trl } from './trl.ts';
import type { Exported, Exporter, ExportSource, Framework } from './types.ts';

export { type Carried, type Exported, type ExportSource, FRAMEWORKS, type Framework } from './types.ts';

const EXPORTERS: Record<Framework, Exporter> = {
  axolotl,
  'llama-factory': llamaFactory,
  megatron,
  nemo,
  torchtitan,
  trl,
};
const RECORD = 'export.json';

interface ExportRecord {
  continuo: string;
  framework: Framework;
  name: string;
  job: string;
  /** All files, relative to the folder, this one left out. */
  files: string[];
  /** SHA-256 of those that somebody may edit: configurations, scripts, README.md. */
  digests: Record<string, string>;
}

/**
 * Writes the folder, which is whole or absent afterwards. One that was there is replaced only if nothing but an export is in it.
 * @throws ConfigError for a plan that the framework cannot follow, and for a folder that holds something else
 */
export async function exportJob(framework: Framework, source: ExportSource): Promise<Exported> {
  const { folder, plan, job } = source;
  refuseUndecided(source);
  EXPORTERS[framework].check(source);
  refuseForeign(folder);
  let exported: Exported | undefined;
  await writeFolderAtomic(folder, async (temporary) => {
    const written = await EXPORTERS[framework].write(source, temporary);
    exported = {
      ...written,
      carried: [...written.carried, ...missingEverywhere(plan)],
      warnings: [...missingWarnings(plan), ...written.warnings],
    };
    writeFileAtomic(path.join(temporary, 'README.md'), readmeOf(source, exported));
    const record: ExportRecord = {
      continuo: packageVersion(),
      framework,
      name: plan.name,
      job: job.job.fingerprint,
      files: filesIn(temporary),
      digests: digestsOf(temporary),
    };
    writeJsonAtomic(path.join(temporary, RECORD), record);
  });
  return exported!;
}

/** Nobody's work is replaced: neither another folder, nor checkpoints that were trained inside an exported one. */
export function refuseForeign(folder: string): void {
  if (!fs.existsSync(folder)) return;
  if (!fs.statSync(folder).isDirectory()) throw new ConfigError(`${folder}: is a file, expected a folder or nothing.`);
  const found = filesIn(folder);
  if (found.length === 0) return;
  if (!found.includes(RECORD))
    throw new ConfigError(`${folder}: holds something else than an export (${found[0]}). Choose another folder.`);
  const { files = [], digests = {} } = readJson<Partial<ExportRecord>>(path.join(folder, RECORD));
  const ours = new Set([...files, RECORD]);
  const foreign = found.find((file) => !ours.has(file) && !file.includes('__pycache__'));
  if (foreign !== undefined)
    throw new ConfigError(
      `${folder}: besides an export it holds ${foreign}, which would be lost. Choose another folder, or move that away.`,
    );
  const edited = Object.keys(digests).find(
    (file) => found.includes(file) && sha256File(path.join(folder, file)) !== digests[file],
  );
  if (edited !== undefined)
    throw new ConfigError(
      `${path.join(folder, edited)}: was edited since it was exported, which would be lost. Choose another folder, or move that file away.`,
    );
}

function digestsOf(folder: string): Record<string, string> {
  const editable = filesIn(folder).filter(
    (file) => /\.(ya?ml|py|sh|txt|md)$/.test(file) && fs.lstatSync(path.join(folder, file)).isFile(),
  );
  return Object.fromEntries(editable.map((file) => [file, sha256File(path.join(folder, file))]));
}

function filesIn(folder: string): string[] {
  return fs
    .readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)))
    .sort();
}
