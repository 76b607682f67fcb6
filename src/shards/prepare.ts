// A corpus -> tokenised shards, with its held-out documents split off first. The stage's folder is named by the fingerprint of all that
// went in (files, options, tokenizer) and appears only when it is complete; asked for again, it is reused.
//
// One pass over the text: pieces are tokenised into a temporary shard, and copied from there to the training or the held-out side once
// all hashes are known. The copy costs a fraction of tokenising, and lets the split be exact whatever the corpus's size.
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { DataError } from '../base/errors.ts';
import { explainSystemError, readJson, writeFolderAtomic, writeJsonAtomic } from '../base/files.ts';
import { fingerprint, sha256File } from '../base/hash.ts';
import { stageFolder } from '../base/package.ts';
import { Progress } from '../base/progress.ts';
import { formatCount } from '../base/units.ts';
import {
  type BadRecord,
  DEFAULT_MAX_BAD_SHARE,
  type Document,
  findInputFiles,
  type InputFile,
  type InputSummary,
  type Language,
  readFiles,
  summariseInputs,
} from '../corpus/index.ts';
import { type ChatMessage, loadTokenizer, type Tokenizer } from '../tokenizer/index.ts';
import { readHashes, writeHashes } from './hashes.ts';
import {
  chooseHeldOut,
  DEFAULT_HELD_OUT,
  type HeldOutChoice,
  type HeldOutOptions,
  maxHeldOutLength,
} from './held-out.ts';
import { Column, openShard, type ShardDtype, ShardWriter, shardDtype } from './megatron.ts';
import { safePartChars, toPieces } from './pieces.ts';
import { tokenizeBatches } from './tokenize-pool.ts';
import type { EvalSetRef } from './types.ts';

/** Raise it when the same input would give other shards: caches of older versions are then left alone. */
const STAGE_VERSION = 7;
/** Text a batch, in characters: large enough to hide the hand-over, small enough to share out a small corpus. */
const BATCH_CHARS = 1 << 20;
const MANIFEST = 'manifest.json';
const BAD_RECORDS = path.join('removed', 'bad-records.jsonl');

export interface PrepareOptions {
  name: string;
  /** A corpus of role "evaluation" is held out as a whole. */
  role: EvalSetRef['role'];
  /** Files, folders, globs; relative ones start at `baseFolder` (the working folder by default). */
  paths: string | readonly string[];
  baseFolder?: string;
  /** Stands for the files in the fingerprint; by default their paths, sizes and times do. */
  sourceDigest?: string;
  field?: string;
  maxBadShare?: number;
  maxRecordBytes?: number;
  /** Stop after this many training tokens, in the order of the files. */
  limitTokens?: number;
  heldOut?: Partial<HeldOutOptions>;
  /** Training reads the documents as they lie, and does not shuffle them. */
  inOrder?: boolean;
  /** Folder with tokenizer.json. */
  modelFolder: string;
  /** Rows of the model's embedding; the tokenizer's own vocabulary by default. An id beyond it is refused. */
  vocabSize?: number;
  /** Folder of stage outputs. */
  cacheFolder: string;
  /** Do it again even if it was done. */
  fresh?: boolean;
  /** Threads; all cores by default. Has no influence on the output. */
  numWorkers?: number;
  /** No progress, and no line on what was left out. */
  quiet?: boolean;
}

export interface ShardManifest {
  /** Relative to the manifest's folder. */
  prefix: string;
  numDocuments: number;
  /** Training: everything in the shard. Held-out: the tokens that are predicted, without the start tokens. */
  numTokens: number;
  /** UTF-8 bytes of the text. */
  numBytes: number;
  /** Words between spaces. */
  numWords: number;
}

export interface CorpusManifest {
  stage: 'corpus';
  version: number;
  fingerprint: string;
  name: string;
  role: EvalSetRef['role'];
  /** numCopies: documents whose text stands earlier in the shard as well; they stay in it. */
  train: ShardManifest & { numCopies: number };
  heldOut: ShardManifest;
  /** Language -> about how many UTF-8 bytes of all documents begin in it, from a sample, largest first; "unknown" where there is no clear sign. */
  languages: Record<string, number>;
  dtype: ShardDtype;
  vocabSize: number;
  tokenizerDigest: string;
  inputs: InputSummary;
  /** Set where the corpus has so few documents that they were cut into parts of about this many characters to hold some out. */
  partChars?: number;
  /** Set where reading stopped at `limitTokens`. */
  limitTokens?: number;
  /** Documents that are conversations; `byTemplate`: written by the model's chat template, else as questions and answers. */
  conversations?: { num: number; byTemplate: boolean };
  /** SHA-256 of each file, by its name relative to the folder. */
  digests: Record<string, string>;
  removed: { badRecords: number; emptyDocuments: number; heldOutCopies: number; leftOut: number };
  createdAt: string;
  seconds: number;
}

export interface PreparedCorpus {
  name: string;
  role: EvalSetRef['role'];
  folder: string;
  /** Absolute, without ending; as compileJob takes them. */
  trainPrefix: string;
  heldOutPrefix: string;
  inOrder?: boolean;
  /** The folder was there already. */
  reused: boolean;
  manifest: CorpusManifest;
}

/** Models whose slow tokenizer was mentioned. */
const saidOf = new Set<string>();

/** Once a model: what it cannot say of itself is why tokenising takes fifty times as long. */
function sayFallback({ engineReason }: Tokenizer, modelFolder: string): void {
  if (engineReason === undefined || saidOf.has(modelFolder)) return;
  saidOf.add(modelFolder);
  process.stderr.write(
    `The tokenizer has ${engineReason}, which only a slower library knows (about 1 MB/s a thread; docs/tokenizers.md).\n`,
  );
}

/**
 * Reads, splits and tokenises a corpus, or finds that it was done before.
 * @throws ConfigError for paths, fields, the tokenizer; DataError for bad records, an empty corpus, one too small to hold some out
 */
export async function prepareCorpus(options: PrepareOptions): Promise<PreparedCorpus> {
  const found = await findInputFiles(options.paths, options.baseFolder);
  const tokenizer = loadTokenizer(options.modelFolder);
  if (!options.quiet) sayFallback(tokenizer, options.modelFolder);
  const whole = options.role === 'evaluation';
  const defaults = whole ? { share: 1, minDocuments: 1, maxTokens: Number.MAX_SAFE_INTEGER } : DEFAULT_HELD_OUT;
  const heldOut = { ...defaults, ...withoutUndefined(options.heldOut ?? {}) };
  const tokenizerDigest = fingerprint([
    tokenizer.files['tokenizer.json'],
    tokenizer.documentStart,
    tokenizer.documentEnd,
    tokenizer.chatTemplate,
  ]);
  const inputs = summariseInputs(found, options.sourceDigest);
  const stageFingerprint = fingerprint({
    stage: 'corpus',
    version: STAGE_VERSION,
    heldOut,
    tokenizerDigest,
    inputs: inputs.digest,
    whole,
    field: options.field,
    limitTokens: options.limitTokens,
    maxBadShare: options.maxBadShare,
    maxRecordBytes: options.maxRecordBytes,
  });
  const folder = stageFolder(options.cacheFolder, 'corpus', options.name, stageFingerprint);
  const existing = options.fresh ? undefined : readManifest(folder, stageFingerprint);
  if (existing) return describe(options, folder, true, existing);

  try {
    fs.mkdirSync(options.cacheFolder, { recursive: true });
  } catch (error) {
    throw explainSystemError(error, options.cacheFolder, 'making the cache folder');
  }
  const start = performance.now();
  const stage = { options, files: found.files, tokenizer, heldOut, totalBytes: inputs.numBytes };
  let manifest: CorpusManifest | undefined;
  await writeFolderAtomic(folder, async (temporary) => {
    const result = await buildShards(stage, temporary);
    manifest = {
      stage: 'corpus',
      version: STAGE_VERSION,
      fingerprint: stageFingerprint,
      name: options.name,
      role: options.role,
      dtype: shardDtype(tokenizer.vocabSize),
      vocabSize: tokenizer.vocabSize,
      tokenizerDigest,
      inputs,
      ...result,
      digests: digestsOf(temporary),
      createdAt: new Date().toISOString(),
      seconds: Number(((performance.now() - start) / 1000).toFixed(3)),
    };
    writeJsonAtomic(path.join(temporary, MANIFEST), manifest);
  });
  const removed = describeRemoved(manifest!);
  if (removed && !options.quiet) process.stderr.write(`${removed} (${path.join(folder, MANIFEST)})\n`);
  return describe(options, folder, false, manifest!);
}

function digestsOf(folder: string): Record<string, string> {
  const names = fs
    .readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => fs.statSync(path.join(folder, name)).isFile())
    .sort();
  return Object.fromEntries(names.map((name) => [name, sha256File(path.join(folder, name))]));
}

/** What was left out of a corpus, in a line; undefined when nothing was. */
export function describeRemoved({ name, removed, inputs }: CorpusManifest): string | undefined {
  const count = (n: number, one: string, many = `${one}s`) =>
    n > 0 ? [`${formatCount(n)} ${n === 1 ? one : many}`] : [];
  const parts = [
    ...count(removed.badRecords, 'bad record'),
    ...count(removed.emptyDocuments, 'empty document'),
    ...count(
      removed.leftOut,
      'binary, generated or textless file or record',
      'binary, generated or textless files and records',
    ),
    ...count(inputs.numIgnored, 'file or folder named in .gitignore', 'files and folders named in .gitignore'),
    ...count(removed.heldOutCopies, 'copy of held-out documents', 'copies of held-out documents'),
    ...Object.entries(inputs.skippedByEnding).flatMap(([ending, n]) =>
      count(n, `file without a reader (${ending})`, `files without a reader (${ending})`),
    ),
  ];
  return parts.length > 0 ? `corpus "${name}": left out ${parts.join(', ')}` : undefined;
}

function withoutUndefined<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, inner]) => inner !== undefined)) as T;
}

function describe(
  { name, role, inOrder }: PrepareOptions,
  folder: string,
  reused: boolean,
  manifest: CorpusManifest,
): PreparedCorpus {
  const absolute = (shard: ShardManifest) => path.resolve(folder, shard.prefix);
  return {
    name,
    role,
    folder,
    trainPrefix: absolute(manifest.train),
    heldOutPrefix: absolute(manifest.heldOut),
    ...(inOrder && { inOrder }),
    reused,
    manifest,
  };
}

/** A complete earlier result; one whose shards are gone or damaged is made again. */
function readManifest(folder: string, expected: string): CorpusManifest | undefined {
  const file = path.join(folder, MANIFEST);
  if (!fs.existsSync(file)) return undefined;
  try {
    const manifest = readJson<CorpusManifest>(file);
    if (manifest.fingerprint !== expected) return undefined;
    for (const { prefix, numDocuments } of [manifest.train, manifest.heldOut]) {
      openShard(path.join(folder, prefix)).close();
      if ((readHashes(path.join(folder, prefix))?.length ?? -1) < numDocuments) return undefined;
    }
    if (manifest.conversations && !fs.existsSync(path.join(folder, `${manifest.train.prefix}.mask`))) return undefined;
    return manifest;
  } catch {
    return undefined;
  }
}

interface Stage {
  options: PrepareOptions;
  files: readonly InputFile[];
  tokenizer: Tokenizer;
  heldOut: HeldOutOptions;
  totalBytes: number;
}

type BuiltShards = Pick<
  CorpusManifest,
  'train' | 'heldOut' | 'languages' | 'partChars' | 'limitTokens' | 'conversations' | 'removed'
>;

async function buildShards(stage: Stage, folder: string): Promise<BuiltShards> {
  const { options, tokenizer } = stage;
  const { staged, choice } = await stagePieces(stage, folder);
  if (staged.hashes.length === 0)
    throw new DataError(
      stage.files[0].path,
      `corpus "${options.name}" is empty: ${stage.files.length} files, ${staged.numEmpty} empty documents, ` +
        `${staged.numBad} bad records, no text.`,
    );
  const reader = openShard(staged.prefix);
  try {
    const whole = options.role === 'evaluation';
    const fate = { held: new Set(choice.heldOut), copies: choice.copies };
    const shards = { folder, tokenizer, reader, staged };
    const heldOut = writeHeldOut(shards, choice.heldOut);
    const limit = whole ? 0 : (options.limitTokens ?? Number.POSITIVE_INFINITY);
    const train = writeTraining(shards, (i) => !fate.held.has(i) && !fate.copies.has(i), limit);
    if (heldOut.numDocuments < stage.heldOut.minDocuments || (!whole && train.numTokens === 0))
      throw tooSmall(stage, staged, heldOut);
    return {
      train,
      heldOut,
      languages: Object.fromEntries([...staged.languages].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))),
      ...(staged.partChars === undefined ? {} : { partChars: staged.partChars }),
      ...(train.numTokens >= limit && !whole ? { limitTokens: limit } : {}),
      ...(staged.numConversations > 0
        ? { conversations: { num: staged.numConversations, byTemplate: tokenizer.chatTemplate !== undefined } }
        : {}),
      removed: {
        badRecords: staged.numBad,
        emptyDocuments: staged.numEmpty,
        leftOut: staged.numLeftOut,
        heldOutCopies: choice.copies.size,
      },
    };
  } finally {
    reader.close();
    for (const ending of ['bin', 'idx', 'mask']) fs.rmSync(`${staged.prefix}.${ending}`, { force: true });
  }
}

/** Tokenises, and once more with smaller parts where too few pieces turn out short enough to be held out. */
async function stagePieces(stage: Stage, folder: string): Promise<{ staged: Staged; choice: HeldOutChoice }> {
  const choose = ({ hashes, lengths }: Staged) => chooseHeldOut(hashes.array(), lengths.array(), stage.heldOut);
  const staged = await tokenizePieces(stage, folder, {});
  const choice = choose(staged);
  const partChars = safePartChars(stage.heldOut, staged.numChars);
  const helps = numTooLong(stage, staged) > 0 && partChars < (staged.partChars ?? Number.POSITIVE_INFINITY);
  if (stage.options.role === 'evaluation' || choice.heldOut.length >= stage.heldOut.minDocuments || !helps)
    return { staged, choice };
  const again = await tokenizePieces(stage, folder, { partChars });
  return { staged: again, choice: choose(again) };
}

function numTooLong({ heldOut }: Stage, { lengths }: Staged): number {
  const maxLength = maxHeldOutLength(heldOut);
  return lengths.array().reduce((sum, length) => sum + (length > maxLength ? 1 : 0), 0);
}

function tooSmall(stage: Stage, staged: Staged, found: ShardManifest): DataError {
  const { options, files, heldOut } = stage;
  const { minDocuments, maxTokens } = heldOut;
  const hashes = staged.hashes.array();
  const numLong = numTooLong(stage, staged);
  const counts = `${hashes.length} documents or parts (${new Set(hashes).size} distinct)`;
  const wanted =
    options.role === 'evaluation'
      ? `corpus "${options.name}" cannot be scored: it has ${counts}, of which ${minDocuments} must be`
      : `corpus "${options.name}" is smaller than its held-out split: it has ${counts}, of which ${minDocuments} must be held out and at ` +
        'least one kept for training';
  const long =
    numLong > 0
      ? ` ${numLong} are longer than the ${maxHeldOutLength(heldOut)} tokens that one may have (heldOut: ${maxTokens} tokens / ` +
        `${minDocuments} documents).`
      : '';
  const advice = `${numLong > 0 ? 'Raise the tokens of heldOut, add' : 'Add'} documents, or hold out fewer.`;
  return new DataError(files[0].path, `${wanted}; ${found.numDocuments} could be held out.${long} ${advice}`);
}

interface Staged {
  prefix: string;
  /** Of each piece: content hash, tokens, UTF-8 bytes, and 1 where it goes on with the document of the one before. */
  hashes: Column<Float64Array>;
  lengths: Column<Uint32Array>;
  numBytes: Column<Uint32Array>;
  numWords: Column<Uint32Array>;
  /** Bytes by language. */
  languages: Map<Language, number>;
  continues: Column<Uint8Array>;
  /** Content hash of the whole document of each piece; empty where documents are not cut. */
  documentHashes: Column<Float64Array>;
  numChars: number;
  partChars: number | undefined;
  numEmpty: number;
  numLeftOut: number;
  numConversations: number;
  numBad: number;
}

interface TextBatch {
  texts: string[];
  /** By index into `texts`. */
  conversations: Map<number, readonly ChatMessage[]>;
  /** Likewise, where each was read. */
  places: Map<number, string>;
  continues: boolean[];
  documentHashes: number[];
  /** What the reader met on its way to this batch: counted only when the batch is used, so that a limit cuts at one place. */
  bad: BadRecord[];
  numEmpty: number;
  numLeftOut: number;
  numBytesRead: number;
}

async function tokenizePieces(stage: Stage, folder: string, decision: { partChars?: number }): Promise<Staged> {
  const { options, heldOut, tokenizer, totalBytes } = stage;
  const prefix = path.join(folder, 'staged');
  const writer = new ShardWriter(prefix, tokenizer.vocabSize, options.role === 'instruction');
  const removed = new RemovedLog(path.join(folder, BAD_RECORDS));
  const staged = {
    prefix,
    hashes: new Column(Float64Array),
    lengths: new Column(Uint32Array),
    numBytes: new Column(Uint32Array),
    numWords: new Column(Uint32Array),
    languages: new Map<Language, number>(),
    continues: new Column(Uint8Array),
    documentHashes: new Column(Float64Array),
  };
  const checkIds = idChecker(options, tokenizer);
  const enough = (options.limitTokens ?? Number.POSITIVE_INFINITY) + heldOut.maxTokens;
  const numWorkers = Math.max(
    1,
    Math.min(options.numWorkers ?? os.availableParallelism(), Math.ceil(totalBytes / BATCH_CHARS)),
  );
  const progress = new Progress({
    label: `tokenising ${options.name}`,
    total: totalBytes,
    unit: 'bytes',
    quiet: options.quiet,
  });
  let numEmpty = 0;
  let numLeftOut = 0;
  let numTokens = 0;
  let numChars = 0;
  let numConversations = 0;
  let numRefused = 0;
  let lastRefusal = '';
  const stream = tokenizeBatches(textBatches(stage, decision), { modelFolder: options.modelFolder, numWorkers });
  try {
    reading: for await (const { batch, result } of stream) {
      for (const bad of batch.bad) removed.write(bad);
      numEmpty += batch.numEmpty;
      numLeftOut += batch.numLeftOut;
      for (const [language, bytes] of result.languages)
        staged.languages.set(language, (staged.languages.get(language) ?? 0) + bytes);
      let at = 0;
      for (let i = 0; i < batch.texts.length; i++) {
        const ids = result.ids.subarray(at, at + result.lengths[i]);
        at += ids.length;
        const refusal = result.refused.get(i);
        if (refusal !== undefined) {
          removed.write({ file: batch.places.get(i)!, reason: refusal });
          numRefused++;
          lastRefusal = `${batch.places.get(i)}: ${refusal}`;
          continue;
        }
        if (batch.conversations.has(i)) numConversations++;
        checkIds(ids);
        writer.addDocument(ids, result.answers?.subarray(at - ids.length, at));
        staged.hashes.push(result.hashes[i]);
        staged.lengths.push(ids.length);
        staged.numBytes.push(result.numBytes[i]);
        staged.numWords.push(result.numWords[i]);
        if (batch.documentHashes.length > 0) staged.documentHashes.push(batch.documentHashes[i]);
        numChars += batch.texts[i].length;
        staged.continues.push(batch.continues[i] ? 1 : 0);
        numTokens += ids.length + (batch.continues[i] ? 0 : 2);
        if (numTokens >= enough) break reading;
      }
      progress.update(batch.numBytesRead, `${writer.numTokens} tokens`);
    }
    writer.finish();
  } catch (error) {
    writer.abandon();
    throw error;
  } finally {
    removed.close();
  }
  progress.finish();
  const maxShare = options.maxBadShare ?? DEFAULT_MAX_BAD_SHARE;
  if (numRefused > maxShare * (numRefused + numConversations))
    throw new DataError(
      stage.files[0].path,
      `corpus "${options.name}": the model's chat template refuses ${numRefused} of ${numRefused + numConversations} conversations (at most ${maxShare} of them may be left out: maxBadShare). The last: ${lastRefusal}`,
    );
  return {
    ...staged,
    numChars,
    partChars: decision.partChars,
    numEmpty,
    numLeftOut,
    numConversations,
    numBad: removed.count,
  };
}

/** An id without an embedding row means that tokenizer and model do not belong together. */
function idChecker({ modelFolder, vocabSize }: PrepareOptions, tokenizer: Tokenizer): (ids: ArrayLike<number>) => void {
  const limit = Math.min(vocabSize ?? tokenizer.vocabSize, tokenizer.vocabSize);
  const check = (ids: ArrayLike<number>) => {
    for (let i = 0; i < ids.length; i++)
      if (!(ids[i] >= 0 && ids[i] < limit))
        throw new DataError(
          path.join(modelFolder, 'tokenizer.json'),
          `its token ${ids[i]} (${JSON.stringify(tokenizer.idToToken(ids[i]))}) has no row in the model's embedding of ${limit}. ` +
            'Do tokenizer and model belong together?',
        );
  };
  check([tokenizer.documentStart, tokenizer.documentEnd]);
  return check;
}

async function* textBatches(stage: Stage, decision: { partChars?: number }): AsyncGenerator<TextBatch> {
  const { options, files, heldOut } = stage;
  const fresh = (): TextBatch => ({
    texts: [],
    conversations: new Map(),
    places: new Map(),
    continues: [],
    documentHashes: [],
    bad: [],
    numEmpty: 0,
    numLeftOut: 0,
    numBytesRead: 0,
  });
  let batch = fresh();
  let numBytesRead = 0;
  const documents: AsyncIterable<Document> = readFiles(files, options, {
    onBadRecord: (bad) => batch.bad.push(bad),
    onEmptyDocument: () => batch.numEmpty++,
    onLeftOut: () => batch.numLeftOut++,
    onProgress: (counts) => {
      numBytesRead = counts.numBytesRead;
    },
  });
  let numChars = 0;
  // A corpus that is only scored keeps its documents whole.
  const pieces = toPieces(
    documents,
    options.role === 'evaluation' ? { ...heldOut, minDocuments: 0 } : heldOut,
    decision,
  );
  for await (const { text, continues, documentHash, document } of pieces) {
    if (document?.messages) {
      batch.conversations.set(batch.texts.length, document.messages);
      batch.places.set(batch.texts.length, document.id);
    }
    batch.texts.push(text);
    batch.continues.push(continues);
    if (documentHash !== undefined) batch.documentHashes.push(documentHash);
    numChars += text.length;
    if (numChars < BATCH_CHARS) continue;
    const full = { ...batch, numBytesRead };
    batch = fresh();
    numChars = 0;
    yield full;
  }
  if (batch.texts.length > 0 || batch.bad.length > 0 || batch.numEmpty > 0 || batch.numLeftOut > 0)
    yield { ...batch, numBytesRead };
}

/** removed/bad-records.jsonl: a line for each record that was set aside. */
class RemovedLog {
  count = 0;
  private readonly fd: number;
  private readonly file: string;

  constructor(file: string) {
    this.file = file;
    try {
      fs.mkdirSync(path.dirname(file), { recursive: true });
      this.fd = fs.openSync(file, 'w');
    } catch (error) {
      throw explainSystemError(error, file, 'writing it');
    }
  }

  write(bad: BadRecord): void {
    this.count++;
    try {
      fs.writeFileSync(this.fd, `${JSON.stringify(bad)}\n`);
    } catch (error) {
      throw explainSystemError(error, this.file, 'writing it');
    }
  }

  close(): void {
    fs.closeSync(this.fd);
  }
}

interface ShardSource {
  folder: string;
  tokenizer: Tokenizer;
  reader: ReturnType<typeof openShard>;
  staged: Staged;
}

/** Hash of the whole document that piece i belongs to. */
function documentHash({ hashes, documentHashes }: Staged, i: number): number {
  return documentHashes.length > 0 ? documentHashes.array()[i] : hashes.array()[i];
}

/** Start token and text, so that every token of the text is predicted, the first one too. PREFIX.bytes keeps each text's size. */
function writeHeldOut({ folder, tokenizer, reader, staged }: ShardSource, documents: readonly number[]): ShardManifest {
  const prefix = path.join(folder, 'heldout');
  const numBytes = staged.numBytes.array();
  const writer = new ShardWriter(prefix, tokenizer.vocabSize);
  const sizes = Buffer.alloc(4 * documents.length);
  documents.forEach((i, k) => {
    writer.beginDocument();
    writer.append([tokenizer.documentStart]);
    writer.append(reader.read(...reader.documentRange(i)));
    writer.endDocument();
    sizes.writeUInt32LE(numBytes[i], 4 * k);
  });
  writer.finish();
  try {
    fs.writeFileSync(`${prefix}.bytes`, sizes);
  } catch (error) {
    throw explainSystemError(error, `${prefix}.bytes`, 'writing it');
  }
  const hashes = staged.hashes.array();
  const ofTexts = documents.map((i) => hashes[i]);
  writeHashes(prefix, Float64Array.from(new Set([...ofTexts, ...documents.map((i) => documentHash(staged, i))])));
  return {
    prefix: 'heldout',
    numDocuments: documents.length,
    numTokens: writer.numTokens - documents.length,
    numBytes: documents.reduce((sum, i) => sum + numBytes[i], 0),
    numWords: documents.reduce((sum, i) => sum + staged.numWords.array()[i], 0),
  };
}

/** Start token, text, end token; parts of one document that stand side by side become one again. Cut at `limit` tokens exactly. */
function writeTraining(
  { folder, tokenizer, reader, staged }: ShardSource,
  isKept: (i: number) => boolean,
  limit: number,
): ShardManifest & { numCopies: number } {
  const prefix = path.join(folder, 'train');
  const writer = new ShardWriter(prefix, tokenizer.vocabSize, reader.hasMask && staged.numConversations > 0);
  const numBytes = staged.numBytes.array();
  const numWords = staged.numWords.array();
  const continues = staged.continues.array();
  const hashes = new Column(Float64Array);
  const append = (ids: ArrayLike<number>, answers?: Uint8Array) => {
    const room = Math.min(ids.length, limit - writer.numTokens);
    writer.append(room === ids.length ? ids : Array.from(ids).slice(0, room), answers?.subarray(0, room));
  };
  const seen = new Set<number>();
  let numCopies = 0;
  let bytes = 0;
  let words = 0;
  for (let i = 0; i < numBytes.length && writer.numTokens < limit; i++) {
    if (!isKept(i)) continue;
    const joins = i > 0 && continues[i] === 1 && isKept(i - 1);
    if (!joins) {
      writer.beginDocument();
      const hash = documentHash(staged, i);
      hashes.push(hash);
      // What follows a held-out part is no document of its own.
      if (continues[i] === 0) {
        if (seen.has(hash)) numCopies++;
        seen.add(hash);
      }
      append([tokenizer.documentStart], Uint8Array.of(0));
    }
    const before = writer.numTokens;
    const [first, length] = reader.documentRange(i);
    append(reader.read(first, length), reader.readMask(first, length));
    const written = length > 0 ? (writer.numTokens - before) / length : 1;
    bytes += Math.round(numBytes[i] * written);
    words += Math.round(numWords[i] * written);
    const goesOn = i + 1 < numBytes.length && continues[i + 1] === 1 && isKept(i + 1);
    if (goesOn && writer.numTokens < limit) continue;
    append([tokenizer.documentEnd]);
    writer.endDocument();
  }
  writer.finish();
  writeHashes(prefix, hashes.array());
  const { numDocuments, numTokens } = writer;
  return { prefix: 'train', numDocuments, numTokens, numBytes: bytes, numWords: words, numCopies };
}
