// Cleaned documents once more through something that workers cannot do, such as a model: part by part, each done once.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { DataError } from '../../base/errors.ts';
import { makeFolder, readJson, writeJsonAtomic } from '../../base/files.ts';
import { stageFolder } from '../../base/package.ts';
import type { Document } from '../types.ts';
import { addAmount, nothing } from './amount.ts';
import { addCounts, type CuratedCorpus, type CuratedManifest, documentFiles, forgetParts } from './curate.ts';
import { partFiles, type WrittenPart, writePart } from './part.ts';
import { readPartFile } from './part-file.ts';
import { partName } from './parts.ts';
import type { Step } from './types.ts';

export interface RewriteOptions {
  /** Begins the folder's name. */
  stage: string;
  /** Of all that decides the result, but the documents. */
  fingerprint: string;
  cacheFolder: string;
  fresh?: boolean;
  /** Documents in, the same ones out, perhaps with metadata. */
  change: (documents: AsyncIterable<Document>) => AsyncIterable<Document>;
  /** Judges each of them. */
  step: Step;
  onPart?: (numDone: number, numParts: number) => void;
}

/** @throws DataError where nothing is left */
export async function rewriteCorpus(corpus: CuratedCorpus, options: RewriteOptions): Promise<CuratedCorpus> {
  const { name, fingerprint } = corpus.manifest;
  const identity = `${fingerprint}-${options.fingerprint}`;
  const folder = stageFolder(options.cacheFolder, options.stage, name, identity);
  const manifestFile = path.join(folder, 'manifest.json');
  if (options.fresh) forgetParts(folder);
  if (fs.existsSync(manifestFile)) {
    const manifest = readJson<CuratedManifest>(manifestFile);
    return { folder, reused: true, manifest, files: documentFiles(folder, manifest) };
  }
  makeFolder(path.join(folder, 'parts'), 'making the folder of documents');
  const start = performance.now();
  const counts = { name: options.step.name, removed: nothing(), reasons: {}, changed: nothing(), changes: {} };
  const kept = nothing();
  const parts: CuratedManifest['parts'] = [];
  for (const [i, file] of corpus.files.entries()) {
    const files = partFiles(folder, i);
    if (!fs.existsSync(files.summary) || !fs.existsSync(files.documents))
      writeJsonAtomic(files.summary, await writePart(options.change(readPartFile(file)), [options.step], files));
    const written = readJson<WrittenPart>(files.summary);
    addCounts(counts, written.steps[0]!);
    addAmount(kept, written.kept);
    parts.push({ file: path.join('documents', `${partName(i)}.jsonl`), ...written.kept, digest: written.digest });
    options.onPart?.(i + 1, corpus.files.length);
  }
  if (kept.numDocuments === 0)
    throw new DataError(
      folder,
      `corpus "${name}": ${options.step.name} left nothing. removed/ has the values; relax the limits.`,
    );
  const manifest: CuratedManifest = {
    ...corpus.manifest,
    fingerprint: identity,
    steps: [...corpus.manifest.steps, counts],
    ...{ kept, parts, cleaned: corpus.folder },
    createdAt: new Date().toISOString(),
    seconds: corpus.manifest.seconds + Number(((performance.now() - start) / 1000).toFixed(3)),
  };
  writeJsonAtomic(manifestFile, manifest);
  return { folder, reused: false, manifest, files: documentFiles(folder, manifest) };
}
