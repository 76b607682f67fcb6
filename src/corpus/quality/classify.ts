// Two sets of documents, good and bad, or one with labels -> a quality classifier in a file.
import { ConfigError } from '../../base/errors.ts';
import { hashFraction } from '../../base/hash.ts';
import { findInputFiles } from '../paths.ts';
import { readFiles } from '../read.ts';
import type { CorpusSpec } from '../types.ts';
import { featuresOf } from './features.ts';
import { type QualityModel, saveQualityModel } from './model.ts';
import { type Example, trainClassifier } from './train.ts';

export interface ClassifyOptions {
  /** Files, folders or globs. */
  good?: readonly string[];
  bad?: readonly string[];
  /** Records of JSON lines, CSV or Parquet whose `label` says what they are. */
  labelled?: readonly string[];
  /** Name of that field; "label" by default. */
  label?: string;
  /** Field with the text. */
  field?: string;
  /** JSON file to write. */
  out: string;
  /** Of each kind at most; those with the smallest digests. */
  maxDocuments?: number;
  seed?: number;
  maxBadShare?: number;
  /** Length of the n-grams of characters; 0 for none. */
  charNgram?: number;
}

export interface ClassifySummary {
  model: QualityModel;
  numGood: number;
  numBad: number;
  /** The same text again. */
  numCopies: number;
  /** Texts that are among the good and among the bad: left out of both. */
  numInBoth: number;
}

/** Features of 4096 characters are some 20 KB a document: 400 MB for both kinds. More documents change the scores little. */
const MAX_DOCUMENTS = 10_000;
/** With fewer, five documents of each kind would be all that calibration and report rest on. */
const MIN_DOCUMENTS = 50;
const BITS = 18;
/** With 300 documents 2 to 3 points of accuracy on five of six pairs of corpora; with thousands nothing (docs/LOG.md). */
const CHAR_NGRAM = 4;
const SEED = 1;

/** @throws ConfigError for paths and labels, and for too few documents; DataError for unreadable ones */
export async function classifyQuality(options: ClassifyOptions): Promise<ClassifySummary> {
  const shape = { bits: BITS, charNgram: options.charNgram ?? CHAR_NGRAM };
  const most = options.maxDocuments ?? MAX_DOCUMENTS;
  const sets = { good: new Sample(most), bad: new Sample(most) };
  for await (const { text, isGood } of labelledTexts(options))
    sets[isGood ? 'good' : 'bad'].add(hashFraction(text), () => featuresOf(text, shape));
  const [good, bad] = [sets.good.take(), sets.bad.take()];
  const inBoth = new Set([...good.keys()].filter((key) => bad.has(key)));
  const examples: Example[] = [];
  for (const [isGood, set] of [
    [true, good],
    [false, bad],
  ] as const) {
    for (const key of inBoth) set.delete(key);
    if (set.size < MIN_DOCUMENTS) throw tooFew(isGood, set.size);
    for (const [key, features] of set) examples.push({ key, features, isGood });
  }
  const model = trainClassifier(examples, shape, options.seed ?? SEED);
  saveQualityModel(options.out, model);
  return {
    model,
    numGood: good.size,
    numBad: bad.size,
    numCopies: sets.good.numCopies + sets.bad.numCopies,
    numInBoth: inBoth.size,
  };
}

function tooFew(isGood: boolean, found: number): ConfigError {
  return new ConfigError(
    `the ${isGood ? 'good' : 'bad'} documents: expected at least ${MIN_DOCUMENTS} different ones, found ${found}. ` +
      'Some hundreds of each kind make a useful classifier.',
  );
}

/** The documents with the smallest keys, so that it is the same sample whatever the order. */
class Sample {
  private readonly most: number;
  private readonly byKey = new Map<number, Int32Array>();
  private limit = Infinity;
  numCopies = 0;

  constructor(most: number) {
    this.most = most;
  }

  add(key: number, features: () => Int32Array): void {
    if (key >= this.limit) return;
    if (this.byKey.has(key)) {
      this.numCopies++;
      return;
    }
    this.byKey.set(key, features());
    if (this.byKey.size >= 2 * this.most) this.cut();
  }

  take(): Map<number, Int32Array> {
    if (this.byKey.size > this.most) this.cut();
    return this.byKey;
  }

  private cut(): void {
    const keys = [...this.byKey.keys()].sort((a, b) => a - b);
    for (const key of keys.slice(this.most)) this.byKey.delete(key);
    this.limit = keys[this.most]!;
  }
}

interface LabelledText {
  text: string;
  isGood: boolean;
}

async function* labelledTexts(options: ClassifyOptions): AsyncGenerator<LabelledText> {
  const { good = [], bad = [], labelled = [] } = options;
  if (labelled.length === 0 && (good.length === 0 || bad.length === 0))
    throw new ConfigError(
      'Expected --good and --bad, or --labelled: a classifier learns from documents of both kinds.',
    );
  for (const [isGood, paths] of [
    [true, good],
    [false, bad],
  ] as const)
    if (paths.length > 0)
      for await (const { text } of read(`the ${isGood ? 'good' : 'bad'} documents`, paths, options.field, options))
        yield { text, isGood };
  if (labelled.length === 0) return;
  const label = options.label ?? 'label';
  // Label and text in one, so that every reader of records will do.
  const field = `{${label}}\n${asTemplate(options.field ?? 'text')}`;
  for await (const { id, text } of read('the labelled documents', labelled, field, options)) {
    const end = text.indexOf('\n');
    yield { text: text.slice(end + 1), isGood: isGoodLabel(end < 0 ? text : text.slice(0, end), label, id) };
  }
}

function asTemplate(field: string): string {
  return /[{}]/.test(field) ? field : `{${field}}`;
}

async function* read(
  name: string,
  paths: readonly string[],
  field: string | undefined,
  { maxBadShare }: ClassifyOptions,
) {
  const spec: Omit<CorpusSpec, 'paths'> = { name, field, maxBadShare };
  const { files } = await findInputFiles([...paths]);
  yield* readFiles(files, spec);
}

const GOOD_LABELS = ['good', '1', 'true', 'yes', 'positive', 'high'];
const BAD_LABELS = ['bad', '0', 'false', 'no', 'negative', 'low', '-1'];

function isGoodLabel(given: string, field: string, id: string): boolean {
  const label = given.trim().toLowerCase();
  if (GOOD_LABELS.includes(label)) return true;
  if (BAD_LABELS.includes(label)) return false;
  throw new ConfigError(
    `${id}: ${field} is "${given.slice(0, 40)}": expected one of ${GOOD_LABELS.join(', ')} for good and ${BAD_LABELS.join(', ')} for bad.`,
  );
}
