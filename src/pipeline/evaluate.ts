// Scores a model on text: bits per byte and perplexity of whole documents, each from its beginning, in windows of a given length.
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { ConfigError } from '../base/errors.ts';
import { fingerprint } from '../base/hash.ts';
import { cacheFolder } from '../base/package.ts';
import { Progress } from '../base/progress.ts';
import { openModel, resolveModel } from '../checkpoint/index.ts';
import { readCorpus } from '../corpus/index.ts';
import { scoreSet } from '../engine/index.ts';
import { pickKernels } from '../kernels/index.ts';
import { loadDecoder } from '../nn/index.ts';
import { compileEvalOrder, type EvalSetRef, openShard, type Sequence } from '../shards/index.ts';
import { encodeConversation, loadTokenizer, type Tokenizer } from '../tokenizer/index.ts';
import { precisionOf, toFolder } from './model.ts';
import { prepare } from './stages.ts';
import type { PipelineOptions } from './types.ts';

export interface EvaluateRequest {
  /** Files, folders or globs, each a row of the table. */
  data: string[];
  /** Score the held-out documents of this configuration's corpora instead. */
  configFile?: string;
  /** Tokens a window; the model's context, at most 1024, by default. */
  seqLen?: number;
  /** Stop each row after this many tokens, at a document's end. */
  tokens?: number;
  field?: string;
}

export interface EvalTable {
  model: string;
  seqLen: number;
  /** Of weights and activations while scoring. */
  precision: 'bf16' | 'f32';
  rows: {
    name: string;
    bitsPerByte: number;
    perplexity: number;
    numTokens: number;
    numBytes: number;
    numDocuments: number;
  }[];
}

const MAX_DEFAULT_WINDOW = 1024;
/** Tokens scored at once. */
const TOKENS_AT_ONCE = 4096;

interface TextSet {
  name: string;
  numSequences: number;
  sequence: (i: number) => Sequence;
  numBytes: number;
  numTokens: number;
  numDocuments: number;
}

export async function evaluate(
  model: string,
  request: EvaluateRequest,
  options: PipelineOptions = {},
): Promise<EvalTable> {
  if (request.data.length === 0 && !request.configFile)
    throw new ConfigError('nothing to score: give --data PATH (may be repeated) or --config continuo.yaml.');
  if (request.data.length > 0 && request.configFile)
    throw new ConfigError('--data and --config: give one of them; --config scores on its own held-out documents.');
  const cache = cacheFolder(process.cwd());
  const folder = await toFolder(await resolveModel(model, cache), cache, options.log ?? (() => {}));
  const source = openModel(folder);
  try {
    const kernels = pickKernels();
    kernels.setNumThreads(options.threads ?? os.availableParallelism());
    const precision = precisionOf(source);
    const decoder = loadDecoder(source, precision, kernels, 'inference');
    const { context } = decoder.config;
    const seqLen = request.seqLen ?? Math.min(context, MAX_DEFAULT_WINDOW);
    if (seqLen > context)
      throw new ConfigError(`--seq-len: expected at most the model's context of ${context} tokens, found ${seqLen}.`);
    const sets = request.configFile
      ? await heldOutSets(request.configFile, source.tokenizer(), seqLen, request.tokens, options)
      : await Promise.all(request.data.map((data) => textSet(data, source.tokenizer(), seqLen, request)));
    const rows: EvalTable['rows'] = [];
    for (const set of sets) {
      const progress = new Progress({
        label: `scoring ${set.name}`,
        total: set.numSequences * seqLen,
        unit: 'tokens',
        quiet: options.quiet,
      });
      const ref: EvalSetRef = {
        ...set,
        role: 'evaluation',
        order: { file: '', firstSequence: 0, numSequences: set.numSequences },
      };
      const batchSize = Math.max(1, Math.floor(TOKENS_AT_ONCE / seqLen));
      const score = await scoreSet(decoder, ref, set.sequence, batchSize, (done) => progress.update(done * seqLen));
      progress.finish();
      rows.push({
        name: set.name,
        bitsPerByte: score.bitsPerByte,
        perplexity: score.perplexity,
        numTokens: score.numTokens,
        numBytes: score.numBytes,
        numDocuments: score.numDocuments,
      });
    }
    return { model, seqLen, precision, rows };
  } finally {
    source.close();
  }
}

async function heldOutSets(
  configFile: string,
  tokenizer: Tokenizer,
  seqLen: number,
  tokens: number | undefined,
  options: PipelineOptions,
): Promise<TextSet[]> {
  const { corpora, model } = await prepare(configFile, options);
  const translate = translator(loadTokenizer(model), tokenizer, options);
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-eval-'));
  try {
    return corpora.map(({ name, heldOutPrefix }) => {
      // The same documents that training measures on, and their bytes.
      const counts = compileEvalOrder({
        prefix: heldOutPrefix,
        shard: 0,
        seqLen,
        maxTokens: tokens,
        file: path.join(folder, 'order.bin'),
      });
      const shard = openShard(heldOutPrefix);
      const documents = Array.from({ length: counts.numDocuments }, (_, i) =>
        translate(shard.read(...shard.documentRange(i))),
      );
      shard.close();
      const sequences = documents.flatMap((ids) => windows(ids, seqLen));
      const numTokens = documents.reduce((sum, ids) => sum + ids.length - 1, 0);
      return { ...counts, numTokens, name, numSequences: sequences.length, sequence: (i: number) => sequences[i]! };
    });
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

/** Turns a held-out document (start token, text) of one tokenizer into one of another: the text is the same, so are its bytes. */
function translator(from: Tokenizer, to: Tokenizer, { log }: PipelineOptions): (ids: Int32Array) => Int32Array {
  const identity = ({ files, documentStart }: Tokenizer) => fingerprint([files['tokenizer.json'], documentStart]);
  if (identity(from) === identity(to)) return (ids) => ids;
  log?.("The model has another tokenizer than this configuration's: the held-out text is tokenised again for it.");
  return (ids) => Int32Array.from([to.documentStart, ...to.encode(from.decode(ids.subarray(1)))]);
}

/** Documents of files, each as its start token and its text, cut in windows that share no predicted token. */
async function textSet(data: string, tokenizer: Tokenizer, seqLen: number, request: EvaluateRequest): Promise<TextSet> {
  const sequences: Sequence[] = [];
  let numBytes = 0;
  let numTokens = 0;
  let numDocuments = 0;
  for await (const { text, messages } of readCorpus({ name: data, paths: [data], field: request.field })) {
    const said = messages ? encodeConversation(tokenizer, messages) : tokenizer.encode(text);
    const ids = Int32Array.from([tokenizer.documentStart, ...said]);
    sequences.push(...windows(ids, seqLen));
    numBytes += Buffer.byteLength(text);
    numTokens += ids.length - 1;
    numDocuments++;
    if (request.tokens && numTokens >= request.tokens) break;
  }
  if (numTokens === 0) throw new ConfigError(`${data}: holds no text to score.`);
  return {
    name: data,
    numSequences: sequences.length,
    sequence: (i) => sequences[i]!,
    numBytes,
    numTokens,
    numDocuments,
  };
}

/** Cuts a document so that each of its tokens but the first is predicted once. */
function windows(ids: Int32Array, seqLen: number): Sequence[] {
  const count = Math.ceil((ids.length - 1) / seqLen);
  return Array.from({ length: count }, (_, i) => window(ids.subarray(i * seqLen, (i + 1) * seqLen + 1), seqLen));
}

/** ids[0 .. n-1] predict ids[1 .. n]; the rest is padding. */
function window(ids: Int32Array, seqLen: number): Sequence {
  const length = ids.length - 1;
  const sequence: Sequence = {
    inputs: new Int32Array(seqLen),
    targets: new Int32Array(seqLen).fill(-1),
    docStart: new Int32Array(seqLen).fill(length, length),
    shard: new Int32Array(seqLen),
  };
  sequence.inputs.set(ids.subarray(0, length));
  sequence.targets.set(ids.subarray(1));
  return sequence;
}
