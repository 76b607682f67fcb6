// What the corpora of a run hold more than once: whole documents, paragraphs, lines, spans. One round for each kind: every part is signed by a
// worker, the signatures are compared on disk, and every part is written again without what occurs before. The corpora are in the order of
// precedence: of copies the first stays.
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { entryFile } from '../../base/entry.ts';
import { ConfigError } from '../../base/errors.ts';
import { makeFolder, makeTemporaryFolder, readJson, writeFolderAtomic, writeJsonAtomic } from '../../base/files.ts';
import { fingerprint } from '../../base/hash.ts';
import { stageFolder } from '../../base/package.ts';
import { Progress } from '../../base/progress.ts';
import { mapOnWorkers } from '../../base/worker-pool.ts';
import type { DedupConfig } from '../../config/index.ts';
import { type DuplicateSummary, findDuplicates } from '../dedup/duplicates.ts';
import { findRepeatedLines } from '../dedup/lines.ts';
import { findFingerprints, findRepeatedSpans } from '../dedup/substrings.ts';
import { addAmount, nothing } from './amount.ts';
import { addCounts, type CuratedCorpus, type CuratedManifest, documentFiles } from './curate.ts';
import type { DedupTask, DedupWorkerData } from './dedup-worker.ts';
import type { WrittenPart } from './part.ts';
import { partName } from './parts.ts';
import { lineOptions, type Round, roundsOf, signatureOptions, substringOptions } from './rounds.ts';

/** Raise it when the same documents would lose others. */
const STAGE_VERSION = 1;
const MANIFEST = 'manifest.json';

export interface DeduplicateOptions {
  dedup: DedupConfig;
  cacheFolder: string;
  fresh?: boolean;
  /** Threads; all cores by default. Has no influence on the output. */
  numWorkers?: number;
  quiet?: boolean;
}

/** One part on its way through the rounds. */
interface Travelling {
  /** Position of its corpus. */
  corpus: number;
  documents: string;
  written?: WrittenPart;
}

/**
 * The corpora without what occurs before, or what was found earlier from the same ones.
 * @param corpora in the order of precedence
 * @throws DataError for damaged files, and where nothing is left of a corpus
 */
export async function deduplicate(
  corpora: readonly CuratedCorpus[],
  options: DeduplicateOptions,
): Promise<CuratedCorpus[]> {
  const stage = fingerprint({
    stage: 'deduplicated',
    version: STAGE_VERSION,
    dedup: options.dedup,
    corpora: corpora.map(({ manifest }) => [manifest.name, manifest.fingerprint]),
  });
  const folders = corpora.map(({ manifest }) => stageFolder(options.cacheFolder, 'deduplicated', manifest.name, stage));
  const manifests = folders.map((folder) => path.join(folder, MANIFEST));
  if (options.fresh) for (const manifest of manifests) fs.rmSync(manifest, { force: true });
  const isDone = manifests.every((file) => fs.existsSync(file));
  const reuse = (reused: boolean, made?: readonly CuratedManifest[]) =>
    manifests.map((file, i) => {
      const manifest = made?.[i] ?? readJson<CuratedManifest>(file);
      return { folder: folders[i]!, reused, manifest, files: documentFiles(folders[i]!, manifest) };
    });
  if (isDone) return reuse(true);
  const shared = path.join(options.cacheFolder, `deduplicating-${stage}`);
  const doing = 'making the folder of the search for duplicates';
  // What is done again is done aside, since another process may be at the same work.
  const work = options.fresh ? makeTemporaryFolder(shared, doing) : shared;
  makeFolder(work, doing);
  try {
    return reuse(false, await runRounds(corpora, folders, work, stage, options));
  } catch (error) {
    // Another process did the same at the same time, was the first to end, and tidied up.
    if (manifests.every((file) => fs.existsSync(file))) return reuse(false);
    throw error;
  } finally {
    if (options.fresh) fs.rmSync(work, { recursive: true, force: true });
  }
}

async function runRounds(
  corpora: readonly CuratedCorpus[],
  folders: readonly string[],
  work: string,
  stage: string,
  options: DeduplicateOptions,
): Promise<CuratedManifest[]> {
  const start = performance.now();
  let parts: Travelling[] = corpora.flatMap(({ files }, corpus) => files.map((documents) => ({ corpus, documents })));
  const steps = corpora.map(({ manifest }) => [...manifest.steps]);
  let duplicates: DuplicateSummary | undefined;
  for (const round of roundsOf(options.dedup)) {
    const done = await runRound(round, parts, path.join(work, round.kind), options);
    duplicates ??= done.duplicates;
    parts = done.parts;
    corpora.forEach((_, corpus) => {
      const sum = { name: round.name, removed: nothing(), reasons: {}, changed: nothing(), changes: {} };
      for (const { written } of parts.filter((part) => part.corpus === corpus)) addCounts(sum, written!.steps[0]!);
      steps[corpus]!.push(sum);
    });
  }
  const results: CuratedManifest[] = [];
  for (const [corpus, { manifest, folder: cleaned }] of corpora.entries()) {
    const own = parts.filter((part) => part.corpus === corpus);
    const kept = nothing();
    for (const { written } of own) addAmount(kept, written!.kept);
    if (kept.numDocuments === 0)
      throw new ConfigError(
        `corpus "${manifest.name}": every document is a copy of what stands before it, in itself or in ${corpora
          .slice(0, corpus)
          .map((one) => `"${one.manifest.name}"`)
          .join(', ')}. Is one file listed under two corpora?`,
      );
    const fileOf = (i: number) => path.join('documents', `${partName(i)}.jsonl`);
    const result: CuratedManifest = {
      ...manifest,
      fingerprint: `${manifest.fingerprint}-${stage}`,
      steps: steps[corpus]!,
      kept,
      parts: own.map(({ written }, i) => ({ file: fileOf(i), ...written!.kept, digest: written!.digest })),
      cleaned,
      ...(duplicates && { clusterSizes: duplicates.clusterSizes }),
      createdAt: new Date().toISOString(),
      seconds: manifest.seconds + Number(((performance.now() - start) / 1000).toFixed(3)),
    };
    results.push(result);
    await writeFolderAtomic(folders[corpus]!, (temporary) => {
      makeFolder(path.join(temporary, 'documents'), 'making the folder of documents');
      for (const [i, { documents }] of own.entries()) linkOrCopy(documents, path.join(temporary, fileOf(i)));
      gatherRemoved(work, corpus, path.join(temporary, 'removed'));
      writeJsonAtomic(path.join(temporary, MANIFEST), result);
    });
  }
  fs.rmSync(work, { recursive: true, force: true });
  return results;
}

/** Not every file system has links. */
function linkOrCopy(from: string, to: string): void {
  try {
    fs.linkSync(from, to);
  } catch {
    fs.copyFileSync(from, to);
  }
}

/** removed/ROUND-NAME.jsonl of a corpus. */
function gatherRemoved(work: string, corpus: number, folder: string): void {
  makeFolder(folder, 'making the folder of removed documents');
  for (const kind of fs.readdirSync(work)) {
    const from = path.join(work, kind, 'removed');
    if (!fs.existsSync(from)) continue;
    const own = fs.readdirSync(from).filter((name) => name.startsWith(`${corpus}-`) && name.endsWith('.jsonl'));
    for (const name of own)
      linkOrCopy(path.join(from, name), path.join(folder, `${kind}-${name.slice(name.indexOf('-') + 1)}`));
  }
}

async function runRound(
  round: Round,
  parts: readonly Travelling[],
  folder: string,
  options: DeduplicateOptions,
): Promise<{ parts: Travelling[]; duplicates?: DuplicateSummary }> {
  const counters = new Map<number, number>();
  const named = parts.map((part) => {
    const index = counters.get(part.corpus) ?? 0;
    counters.set(part.corpus, index + 1);
    const name = `${part.corpus}-${partName(index)}`;
    const file = (what: string, ending = 'bin') => path.join(folder, what, `${name}.${ending}`);
    return {
      ...part,
      signatures: file('signatures'),
      duplicates: file('found'),
      repeated: file('found'),
      candidates: file('candidates'),
      windows: file('windows'),
      output: {
        documents: file('documents', 'jsonl'),
        removed: file('removed', 'jsonl'),
        summary: file('parts', 'json'),
      },
    };
  });
  for (const inner of ['signatures', 'found', 'candidates', 'windows', 'parts'])
    makeFolder(path.join(folder, inner), 'making this folder');
  const tasks = (make: (part: (typeof named)[number]) => DedupTask) => named.map(make);
  const work = (doing: string, list: DedupTask[]) =>
    onWorkers(`${doing} (${round.name})`, list, { places: named.map(({ documents }) => documents) }, options);
  await work(
    'reading',
    tasks(({ documents, signatures }) => ({ do: 'sign', round, documents, output: signatures })),
  );
  const marker = path.join(folder, 'compared.json');
  let found: DuplicateSummary | undefined;
  if (fs.existsSync(marker)) found = readJson<{ found?: DuplicateSummary }>(marker).found;
  else {
    const progress = new Progress({ label: `comparing (${round.name})`, quiet: options.quiet });
    if (round.kind === 'copies')
      found = await findDuplicates({
        parts: named,
        options: signatureOptions(round),
        minSimilarity: round.near?.minSimilarity,
        folder,
        onProgress: (doing, numDone) => progress.update(numDone, doing),
      });
    else if (round.kind === 'substrings') {
      const substrings = substringOptions(round);
      await findFingerprints({
        parts: named.map(({ signatures, candidates }) => ({ fingerprints: signatures, candidates })),
        options: substrings,
        folder,
      });
      await work(
        'digesting',
        tasks(({ documents, candidates, windows }) => ({
          do: 'windows',
          round,
          documents,
          candidates,
          output: windows,
        })),
      );
      await findRepeatedSpans({
        parts: named.map(({ windows, repeated }) => ({ windows, spans: repeated })),
        options: substrings,
        folder,
      });
    } else
      await findRepeatedLines({
        parts: named.map(({ signatures, repeated }) => ({ lines: signatures, repeated })),
        options: lineOptions(round),
        folder,
      });
    progress.finish();
    writeJsonAtomic(marker, { found });
  }
  const written = await work(
    'writing',
    tasks(({ documents, repeated, output }) => ({ do: 'write', round, documents, found: repeated, output })),
  );
  return {
    parts: named.map(({ corpus, output }, i) => ({
      corpus,
      documents: output.documents,
      written: written[i] as WrittenPart,
    })),
    ...(found && { duplicates: found }),
  };
}

/** Results in the order of the tasks. */
async function onWorkers(
  label: string,
  tasks: readonly DedupTask[],
  workerData: DedupWorkerData,
  options: DeduplicateOptions,
): Promise<unknown[]> {
  const progress = new Progress({ label, total: tasks.length, quiet: options.quiet });
  const results: unknown[] = [];
  const stream = mapOnWorkers<DedupTask, unknown>(tasks, (task) => task, {
    file: entryFile(import.meta.url, './dedup-worker.ts'),
    workerData,
    numWorkers: Math.max(1, Math.min(options.numWorkers ?? os.availableParallelism(), tasks.length)),
    name: 'deduplication',
  });
  for await (const { result } of stream) {
    results.push(result);
    progress.update(results.length);
  }
  progress.finish();
  return results;
}
