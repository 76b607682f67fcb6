// General text that the model itself writes, for when what it was pretrained on is not to be had: its own samples are replayed in the place
// of old data (Shin et al. 2017, deep generative replay; Sun et al. 2020, LAMOL; Huang et al. 2024, SSR). A corpus like any other from then on.
// Kept in the cache under the fingerprint of model and settings; a document depends on its number alone, so a killed stage goes on.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { DataError } from '../base/errors.ts';
import { fsyncPath, makeFolder, writeAll } from '../base/files.ts';
import { fingerprint } from '../base/hash.ts';
import { processExists } from '../base/process.ts';
import { Progress } from '../base/progress.ts';
import { Rng } from '../base/rng.ts';
import { formatCount } from '../base/units.ts';
import { openModel } from '../checkpoint/index.ts';
import type { Config, CorpusConfig, GeneratedConfig } from '../config/index.ts';
import { GenerationBatch, GREEDY, loadForInference, type Sequence, stopTokens } from '../nn/index.ts';
import { modelDigest } from './facts.ts';
import { prepareModel } from './model.ts';
import type { PipelineOptions } from './types.ts';

/** Of the model's own distribution; lower ones write what is likeliest anyway. */
const DEFAULT_TEMPERATURE = 1;
const DEFAULT_TOP_P = 1;
/** Assumption: long enough for paragraphs that hang together, short enough to be written fast. */
const DEFAULT_DOCUMENT_TOKENS = 512;
/** Up to so many at once, a sequence has the same bits as alone, and more are hardly faster (docs/LOG.md, serving). */
const NUM_SLOTS = 8;
/** A model that ends so many documents in a row before their first token writes none. */
const MAX_EMPTY = 1000;

/** The configuration with files in the place of text to be generated. @param modelFolder to write with instead of the file's model */
export async function withGenerated(
  config: Config,
  cache: string,
  options: PipelineOptions,
  modelFolder?: string,
): Promise<Config> {
  if (!config.corpora.some(({ generated }) => generated)) return config;
  const model = modelFolder ?? (await prepareModel(config, cache, options.log ?? (() => {})));
  const corpora: CorpusConfig[] = [];
  for (const corpus of config.corpora) {
    const { generated } = corpus;
    corpora.push(
      generated
        ? { ...corpus, paths: [await writeCorpus({ ...corpus, generated }, model, config, cache, options)] }
        : corpus,
    );
  }
  return { ...config, corpora };
}

interface Document {
  /** Its number; documents without text are left out. */
  id: number;
  text: string;
  tokens: number;
}

/** @returns the file, with at least as many tokens as are asked for */
async function writeCorpus(
  { name, generated }: CorpusConfig & { generated: GeneratedConfig },
  model: string,
  config: Config,
  cache: string,
  options: PipelineOptions,
): Promise<string> {
  const {
    temperature = DEFAULT_TEMPERATURE,
    topP = DEFAULT_TOP_P,
    documentTokens = DEFAULT_DOCUMENT_TOKENS,
  } = generated;
  const seed = config.training.seed ?? 0;
  const identity = fingerprint({
    ...{ stage: 'generated', version: 1, model: modelDigest(model), name, seed },
    ...{ tokens: generated.tokens, temperature, topP, documentTokens },
  });
  const folder = path.join(cache, `generated-${identity}`);
  const file = path.join(folder, 'documents.jsonl');
  if (fs.existsSync(file)) return file;
  makeFolder(folder, 'keeping generated text');
  const partial = takePartial(folder);
  const written = readWritten(partial);
  const source = openModel(model);
  const fd = fs.openSync(partial, 'a');
  const progress = new Progress({
    label: `writing ${name}`,
    total: generated.tokens,
    unit: 'tokens',
    quiet: options.quiet,
  });
  progress.resumeAt(written.tokens);
  try {
    const tokenizer = source.tokenizer();
    const { decoder } = loadForInference(source, options);
    const prompt = Int32Array.from([tokenizer.documentStart]);
    const stops = stopTokens(source).add(tokenizer.documentStart);
    const capacity = Math.min(documentTokens + 1, decoder.config.context);
    const batch = new GenerationBatch(decoder, NUM_SLOTS, capacity);
    const begin = (id: number): Sequence =>
      batch.add(prompt, {
        maxTokens: documentTokens,
        stopTokens: stops,
        sampling: { ...GREEDY, temperature, topP, seed: new Rng(seed, name, id).uint32() },
      });
    let next = written.next;
    const open = Array.from({ length: NUM_SLOTS }, () => ({ id: next, sequence: begin(next++) }));
    let { tokens } = written;
    let numEmpty = 0;
    while (tokens < generated.tokens) {
      batch.step();
      // In the order of their numbers, so that the same documents are written whatever stopped the stage, and where.
      while (open[0]!.sequence.finished && tokens < generated.tokens) {
        const { id, sequence } = open.shift()!;
        open.push({ id: next, sequence: begin(next++) });
        // Cut in the middle of a character, where the document was.
        const text = tokenizer.decode(sequence.tokens).replace(/\uFFFD+$/, '');
        numEmpty = text.trim() === '' ? numEmpty + 1 : 0;
        if (numEmpty === MAX_EMPTY)
          throw new DataError(
            model,
            `wrote ${MAX_EMPTY} documents without text for corpora.${name}: it ends each before its first word. Give general text of another source (path).`,
          );
        if (numEmpty > 0) continue;
        const document: Document = { id, text, tokens: sequence.tokens.length };
        writeAll(fd, Buffer.from(`${JSON.stringify(document)}\n`));
        tokens += document.tokens;
        progress.update(Math.min(tokens, generated.tokens));
      }
      await nextTurn();
    }
    progress.finish();
    fs.fsyncSync(fd);
    options.log?.(`${name}: ${formatCount(tokens)} tokens written by the model itself.`);
  } finally {
    fs.closeSync(fd);
    source.close();
  }
  fs.renameSync(partial, file);
  fsyncPath(folder);
  return file;
}

const PARTIAL = /^documents\.(\d+)\.partial\.jsonl$/;

/** A file of this process, with what one that is gone had written. Two that run at once write the same documents, each its own file. */
function takePartial(folder: string): string {
  const own = path.join(folder, `documents.${process.pid}.partial.jsonl`);
  for (const name of fs.readdirSync(folder)) {
    const owner = Number(PARTIAL.exec(name)?.[1] ?? process.pid);
    if (owner === process.pid || processExists(owner)) continue;
    try {
      fs.renameSync(path.join(folder, name), own);
    } catch {
      // Another process was first.
    }
  }
  return own;
}

/** What an earlier process wrote; a line that it did not finish is cut off. */
function readWritten(file: string): { next: number; tokens: number } {
  if (!fs.existsSync(file)) return { next: 0, tokens: 0 };
  const bytes = fs.readFileSync(file);
  const end = bytes.lastIndexOf(10) + 1;
  fs.truncateSync(file, end);
  const lines = bytes
    .subarray(0, end)
    .toString()
    .split('\n')
    .filter((line) => line !== '');
  const documents = lines.map((line) => JSON.parse(line) as Document);
  return { next: (documents.at(-1)?.id ?? -1) + 1, tokens: documents.reduce((sum, { tokens }) => sum + tokens, 0) };
}
