// How a model's vocabulary fits a corpus, and a copy of the model with tokens of the corpus added. A tenth of the documents, chosen by
// their content, trains nothing: tokens a word are counted on it, before and after.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { ConfigError } from '../base/errors.ts';
import { writeFolderAtomic } from '../base/files.ts';
import { hashFraction } from '../base/hash.ts';
import { cacheFolder } from '../base/package.ts';
import { formatCount } from '../base/units.ts';
import { openModel, resizeVocabulary, resolveModel, writeModelInto } from '../checkpoint/index.ts';
import { countWords, readCorpus } from '../corpus/index.ts';
import {
  type Fragmentation,
  FragmentationMeter,
  growVocabulary,
  PieceCounter,
  type Tokenizer,
  tokenizerFromJson,
} from '../tokenizer/index.ts';
import { toFolder } from './model.ts';
import type { PipelineOptions } from './types.ts';

/** Text that new tokens are chosen on, characters; as for a new tokenizer (pipeline/model.ts). */
const TRAINING_SAMPLE = 100_000_000;
/** Held-out text that is measured, characters. */
const HELD_OUT_SAMPLE = 20_000_000;
const HELD_OUT_SHARE = 0.1;

export interface VocabRequest {
  /** Model folder, GGUF file or hub id. */
  model: string;
  /** Files, folders, globs of the domain. */
  data: string[];
  field?: string;
  /** Tokens to add; without it the fit is measured only. */
  add?: number;
  /** Folder for the enlarged model; goes with `add`. */
  out?: string;
  /** Replace `out`. */
  force?: boolean;
}

export interface VocabResult {
  model: string;
  numDocuments: number;
  numHeldOut: number;
  /** On the held-out documents. */
  before: Fragmentation;
  after?: Fragmentation;
  /** Each new token's text, and the ids of the old tokens that it stands for. */
  added?: { id: number; text: string; parts: number[] }[];
  /** Of the new embedding. */
  vocabRows?: number;
  out?: string;
  seconds: number;
}

/** @throws ConfigError, DataError */
export async function vocab(request: VocabRequest, options: PipelineOptions = {}): Promise<VocabResult> {
  const { add, out } = request;
  checkRequest(request);
  const start = performance.now();
  const say = options.log ?? (() => {});
  const cache = cacheFolder('.');
  const folder = await toFolder(await resolveModel(request.model, cache, options), cache, say);
  const source = openModel(folder);
  try {
    const tokenizer = source.tokenizer();
    const counter = add === undefined ? undefined : new PieceCounter(tokenizer);
    const { heldOut, numDocuments } = await readSample(request, counter);
    const before = measure(tokenizer, heldOut);
    const facts = { model: request.model, numDocuments, numHeldOut: heldOut.length, before };
    const seconds = () => (performance.now() - start) / 1000;
    if (add === undefined || out === undefined || !counter) return { ...facts, seconds: seconds() };

    const grown = growVocabulary(tokenizer, counter, add);
    if (grown.added.length < add)
      say(`Only ${formatCount(grown.added.length)} tokens were added: the texts repeat no more pairs.`);
    const larger = tokenizerFromJson(grown.files['tokenizer.json'], grown.files['tokenizer_config.json'], out);
    const after = measure(larger, heldOut);
    const { config, tensors, vocabRows } = resizeVocabulary(source, grown.added);
    const added = grown.added.map(({ id, parts }) => ({ id, text: larger.decode([id]), parts }));
    const result = { ...facts, after, added, vocabRows, out, seconds: seconds() };
    await writeFolderAtomic(out, (temporary) => {
      const { generationConfig } = source;
      writeModelInto(temporary, { config, generationConfig, tensors, tokenizerFiles: grown.files });
      fs.writeFileSync(path.join(temporary, 'vocabulary.json'), `${JSON.stringify(result, null, 2)}\n`);
    });
    return result;
  } finally {
    source.close();
  }
}

function checkRequest({ add, out, force }: VocabRequest): void {
  if ((add === undefined) !== (out === undefined))
    throw new ConfigError(
      '--add and --out go together: how many tokens to add, and the folder for the enlarged model.',
    );
  if (out !== undefined && fs.existsSync(out) && !force)
    throw new ConfigError(`${out}: exists already. Choose another folder with --out, or replace it with --force.`);
}

async function readSample(
  { data, field }: VocabRequest,
  counter: PieceCounter | undefined,
): Promise<{ heldOut: string[]; numDocuments: number }> {
  const heldOut: string[] = [];
  const lengths = { training: 0, heldOut: 0 };
  let numDocuments = 0;
  for await (const { text } of readCorpus({ name: 'the data', paths: data, field })) {
    numDocuments++;
    if (hashFraction(text) >= HELD_OUT_SHARE) {
      lengths.training += text.length;
      counter?.add(text);
    } else if (lengths.heldOut < HELD_OUT_SAMPLE) {
      lengths.heldOut += text.length;
      heldOut.push(text);
    }
    if (lengths.training > TRAINING_SAMPLE) break;
  }
  if (heldOut.length === 0)
    throw new ConfigError(
      `--data: ${numDocuments} documents, of which the tenth that is held out for measuring has none. Give more documents ` +
        '(a text file is one; cut it into several, or into JSON lines).',
    );
  return { heldOut, numDocuments };
}

function measure(tokenizer: Tokenizer, texts: readonly string[]): Fragmentation {
  const meter = new FragmentationMeter(tokenizer);
  for (const text of texts) meter.add(text, countWords(text));
  return meter.result();
}
