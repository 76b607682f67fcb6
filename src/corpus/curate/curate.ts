// A corpus -> cleaned documents, part by part on worker threads. The folder is named by the fingerprint of all that went in; a part that
// is done stays done, whoever did it: a killed run goes on where it was, and machines that share the folder can share out the parts.
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { entryFile } from '../../base/entry.ts';
import { DataError } from '../../base/errors.ts';
import { makeFolder, readJson, writeJsonAtomic } from '../../base/files.ts';
import { fingerprint, sha256File } from '../../base/hash.ts';
import { stageFolder } from '../../base/package.ts';
import { Progress } from '../../base/progress.ts';
import { mapOnWorkers } from '../../base/worker-pool.ts';
import type { CleanStepConfig } from '../../config/index.ts';
import { findInputFiles, type InputSummary, summariseInputs } from '../paths.ts';
import { badShareError, DEFAULT_MAX_BAD_SHARE, damageError, MIN_BAD_TO_STOP, noCounts } from '../read.ts';
import type { BadRecord, CorpusSpec, ReadCounts } from '../types.ts';
import { type Amount, addAmount, nothing } from './amount.ts';
import { type PartSummary, type PartTask, partFiles, readPart } from './part.ts';
import { type Part, planParts } from './parts.ts';
import type { DecontaminateOptions } from './steps/decontaminate.ts';
import type { StepCounts } from './types.ts';

/** Raise it when the same input would give other documents. */
const STAGE_VERSION = 1;
const MANIFEST = 'manifest.json';
const NUM_BAD_EXAMPLES = 5;
/** A corpus that is cut at a number of tokens is read until it has this many bytes for each: no tokenizer makes longer tokens of prose. */
const BYTES_PER_LIMIT_TOKEN = 8;

export interface CurateOptions extends CorpusSpec {
  name: string;
  steps: readonly CleanStepConfig[];
  /** Index of evaluation sets: documents that hold an item of them go. */
  contamination?: {
    file: string;
    options: Partial<Pick<DecontaminateOptions, 'minShare' | 'action'>>;
    fingerprint: string;
  };
  /** Stop once there is text for so many tokens. */
  limitTokens?: number;
  /** Folder of stage outputs. */
  cacheFolder: string;
  /** Bytes of input a part, about; by default as the size of the corpus demands. */
  partBytes?: number;
  /** Only every count-th part, from index (0 to count - 1) on: the others are for other machines. */
  share?: { index: number; count: number };
  fresh?: boolean;
  /** Threads; all cores by default. Has no influence on the output. */
  numWorkers?: number;
  quiet?: boolean;
}

export interface CuratedManifest {
  stage: 'curated';
  version: number;
  fingerprint: string;
  name: string;
  inputs: InputSummary;
  /** Where reading ended before the files did. */
  limitTokens?: number;
  /** What was read: records, bad ones, empty ones. */
  read: ReadCounts;
  /** What the steps were given. */
  given: Amount;
  steps: StepCounts[];
  kept: Amount;
  parts: { file: string; numDocuments: number; numBytes: number; digest: string }[];
  /** After deduplication: the folder of the cleaned documents that went into it. */
  cleaned?: string;
  /** Of whole documents that occur more than once: how many clusters there are of each size. */
  clusterSizes?: { size: number; numClusters: number }[];
  createdAt: string;
  seconds: number;
}

export interface CuratedCorpus {
  folder: string;
  reused: boolean;
  manifest: CuratedManifest;
  /** documents/*.jsonl in order, absolute. */
  files: string[];
}

/** What one machine did of a corpus that several work on. */
export interface SharedWork {
  folder: string;
  /** Parts of its own that are done now, of all that are its own. */
  numDone: number;
  numParts: number;
}

/**
 * Cleans a corpus, or finds that it was done before; with `share`, does a share of the parts alone.
 * @throws ConfigError for paths, fields, steps; DataError for too many bad records, damaged containers, and where nothing is left
 */
export async function curateCorpus(options: CurateOptions & { share: object }): Promise<SharedWork>;
export async function curateCorpus(options: CurateOptions): Promise<CuratedCorpus>;
export async function curateCorpus(options: CurateOptions): Promise<CuratedCorpus | SharedWork> {
  const { found, inputs, stageFingerprint, folder } = await identify(options);
  if (options.fresh && !options.share) forgetParts(folder);
  const manifestFile = path.join(folder, MANIFEST);
  if (fs.existsSync(manifestFile) && !options.share) {
    const manifest = readJson<CuratedManifest>(manifestFile);
    return { folder, reused: true, manifest, files: documentFiles(folder, manifest) };
  }
  makeFolder(folder, 'making the folder of cleaned documents');
  const start = performance.now();
  const parts = planParts(found.files, options.partBytes);
  const { share } = options;
  if (share) {
    const own = parts.filter(({ index }) => index % share.count === share.index);
    for await (const _ of doParts(own, folder, options));
    return { folder, numDone: own.length, numParts: parts.length };
  }
  const total = new Total(options, folder);
  const wanted = (options.limitTokens ?? Number.POSITIVE_INFINITY) * BYTES_PER_LIMIT_TOKEN;
  for await (const summary of doParts(parts, folder, options)) {
    total.add(summary);
    if (total.kept.numBytes >= wanted) break;
  }
  total.check();
  const manifest: CuratedManifest = {
    stage: 'curated',
    version: STAGE_VERSION,
    fingerprint: stageFingerprint,
    name: options.name,
    inputs,
    ...(total.parts.length < parts.length ? { limitTokens: options.limitTokens } : {}),
    ...total.result(),
    createdAt: new Date().toISOString(),
    seconds: Number(((performance.now() - start) / 1000).toFixed(3)),
  };
  if (manifest.kept.numDocuments === 0)
    throw new DataError(
      found.files[0]!.path,
      `corpus "${options.name}": nothing is left of ${manifest.given.numDocuments} documents after cleaning (${describeLosses(manifest)}). ` +
        `${path.join(folder, 'removed')} has them with the reasons; relax corpora.${options.name}.clean.`,
    );
  writeJsonAtomic(manifestFile, manifest);
  return { folder, reused: false, manifest, files: documentFiles(folder, manifest) };
}

/** All parts are to be done again. Their files stay until then: another process may be doing the same. */
export function forgetParts(folder: string): void {
  fs.rmSync(path.join(folder, MANIFEST), { force: true });
  const summaries = path.join(folder, 'parts');
  for (const name of fs.existsSync(summaries) ? fs.readdirSync(summaries) : [])
    if (name.endsWith('.json')) fs.rmSync(path.join(summaries, name), { force: true });
}

/** What a corpus is made from, and where the result belongs. */
async function identify(options: CurateOptions) {
  const found = await findInputFiles(options.paths, options.baseFolder);
  const inputs = summariseInputs(found);
  const stageFingerprint = fingerprint({
    stage: 'curated',
    version: STAGE_VERSION,
    inputs: inputs.digest,
    steps: options.steps.map(identityOf),
    contamination: options.contamination?.fingerprint,
    ...{
      field: options.field,
      maxRecordBytes: options.maxRecordBytes,
      limitTokens: options.limitTokens,
      partBytes: options.partBytes,
    },
  });
  const folder = stageFolder(options.cacheFolder, 'curated', options.name, stageFingerprint);
  return { found, inputs, stageFingerprint, folder };
}

/** What is to be done of a corpus. */
export interface OpenWork {
  folder: string;
  numParts: number;
  /** Indices of the parts that nobody has done yet; none where the corpus is complete. */
  open: number[];
}

/** Looks what is left to do, and does nothing but forget earlier work with `fresh`. @throws ConfigError for paths, fields */
export async function openWork(options: CurateOptions): Promise<OpenWork> {
  const { found, folder } = await identify(options);
  if (options.fresh) fs.rmSync(folder, { recursive: true, force: true });
  const indices = planParts(found.files, options.partBytes).map(({ index }) => index);
  const isComplete = fs.existsSync(path.join(folder, MANIFEST));
  const open = isComplete ? [] : indices.filter((index) => readPart(folder, index) === undefined);
  return { folder, numParts: indices.length, open };
}

/** A step with the content of the files that it names. */
function identityOf({ name, options }: CleanStepConfig): unknown {
  const files = Object.values(options).filter((value) => typeof value === 'string' && path.isAbsolute(value));
  return [name, options, files.map((file) => sha256File(file as string))];
}

export function documentFiles(folder: string, { parts }: CuratedManifest): string[] {
  return parts.map(({ file }) => path.join(folder, file));
}

/** Removals by step, largest first: "gopher-quality 120, language 3". */
export function describeLosses({ steps }: Pick<CuratedManifest, 'steps'>): string {
  return steps
    .filter(({ removed }) => removed.numDocuments > 0)
    .toSorted((a, b) => b.removed.numDocuments - a.removed.numDocuments)
    .map(({ name, removed }) => `${name} ${removed.numDocuments}`)
    .join(', ');
}

/** Summaries of these parts in order; those that are done already are not done again. */
async function* doParts(parts: readonly Part[], folder: string, options: CurateOptions): AsyncGenerator<PartSummary> {
  const progress = new Progress({
    label: `cleaning ${options.name}`,
    total: parts.reduce((sum, part) => sum + part.numBytes, 0),
    unit: 'bytes',
    quiet: options.quiet,
  });
  const known = new Map<number, PartSummary>();
  for (const { index } of parts) {
    const summary = readPart(folder, index);
    if (summary) known.set(index, summary);
  }
  const open = parts.filter(({ index }) => !known.has(index));
  let done = parts.reduce((sum, part) => sum + (known.has(part.index) ? part.numBytes : 0), 0);
  progress.resumeAt(done);
  const task: PartTask = {
    folder,
    field: options.field,
    maxRecordBytes: options.maxRecordBytes,
    steps: options.steps,
    ...(options.contamination && {
      contamination: { index: options.contamination.file, ...options.contamination.options },
    }),
  };
  const numWorkers = Math.max(1, Math.min(options.numWorkers ?? os.availableParallelism(), open.length));
  const results = mapOnWorkers<Part, PartSummary>(open, (part) => part, {
    file: entryFile(import.meta.url, './worker.ts'),
    workerData: task,
    numWorkers,
    name: 'cleaning',
  });
  let next = 0;
  const before = function* (index: number) {
    for (; next < parts.length && parts[next]!.index < index; next++) {
      const summary = known.get(parts[next]!.index);
      if (summary) yield summary;
    }
  };
  for await (const { batch, result } of open.length > 0 ? results : []) {
    yield* before(batch.index);
    done += batch.numBytes;
    progress.update(done);
    yield result;
  }
  yield* before(Number.POSITIVE_INFINITY);
  progress.finish();
}

/** Sums over the parts, and judges the share of bad records as it grows. */
class Total {
  readonly parts: CuratedManifest['parts'] = [];
  readonly kept = nothing();
  private readonly read = noCounts();
  private readonly steps: StepCounts[] = [];
  private readonly examples: BadRecord[] = [];
  private readonly name: string;
  private readonly maxBadShare: number;
  private readonly folder: string;

  constructor({ name, maxBadShare = DEFAULT_MAX_BAD_SHARE }: CurateOptions, folder: string) {
    this.name = name;
    this.maxBadShare = maxBadShare;
    this.folder = folder;
  }

  add(summary: PartSummary): void {
    const { index, read, kept, digest, steps, badExamples, damage } = summary;
    if (damage && this.maxBadShare < 1) throw damageError(this.name, damage);
    for (const key of Object.keys(this.read) as (keyof ReadCounts)[]) this.read[key] += read[key];
    this.examples.push(...badExamples.slice(0, NUM_BAD_EXAMPLES - this.examples.length));
    if (this.read.numBadRecords >= MIN_BAD_TO_STOP) this.check();
    addAmount(this.kept, kept);
    steps.forEach((step, i) => {
      const sum = this.steps[i];
      if (sum) addCounts(sum, step);
      else this.steps.push(structuredClone(step));
    });
    this.parts.push({ file: path.relative(this.folder, partFiles(this.folder, index).documents), ...kept, digest });
  }

  check(): void {
    if (this.read.numBadRecords > this.maxBadShare * this.read.numRecords)
      throw badShareError(this.name, this.read, this.maxBadShare, this.examples);
  }

  result(): Pick<CuratedManifest, 'read' | 'given' | 'steps' | 'kept' | 'parts'> {
    const { read, steps, kept, parts } = this;
    const removedBytes = steps.reduce((sum, { removed, changed }) => sum + removed.numBytes + changed.numBytes, 0);
    return {
      read,
      given: { numDocuments: read.numDocuments, numBytes: kept.numBytes + removedBytes },
      steps,
      kept,
      parts,
    };
  }
}

export function addCounts(sum: StepCounts, { removed, reasons, changed, changes }: StepCounts): void {
  addAmount(sum.removed, removed);
  addAmount(sum.changed, changed);
  for (const [reason, amount] of Object.entries(reasons))
    sum.reasons[reason] = addAmount(sum.reasons[reason] ?? nothing(), amount);
  for (const [what, n] of Object.entries(changes)) sum.changes[what] = (sum.changes[what] ?? 0) + n;
}
