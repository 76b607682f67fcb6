// Documents to look at: at random, the best, the worst, what cleaning removed, and the sequences that a run is trained on.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { ConfigError } from '../base/errors.ts';
import { cacheFolder } from '../base/package.ts';
import { Rng } from '../base/rng.ts';
import { openModel, resolveModel } from '../checkpoint/index.ts';
import { type Document, type RemovedDocument, readCorpus, readRecords } from '../corpus/index.ts';
import { openJob } from '../shards/index.ts';
import { loadTokenizer, type Tokenizer } from '../tokenizer/index.ts';
import type { PipelineOptions } from './types.ts';

export interface LookRequest {
  /** Files, a folder or glob of documents; a folder of cleaned documents; a run folder. */
  from: string;
  num: number;
  seed: number;
  /** Which: random ones, or those of the highest or lowest metadata value. */
  order: 'random' | 'best' | 'worst';
  /** Metadata that `order` goes by. */
  by: string;
  /** What cleaning removed instead of what stays; a text: of this step or reason alone. */
  removed?: boolean | string;
  field?: string;
  /** Of a run: from this step on. */
  step: number;
  /** Show tokens, by the tokenizer of this model. */
  model?: string;
}

export interface SeenDocument {
  id: string;
  text: string;
  /** Spellings of its tokens, where a model was given. */
  tokens?: string[];
  metadata?: Record<string, unknown>;
  removed?: Pick<RemovedDocument, 'step' | 'reason' | 'value' | 'limit' | 'evidence' | 'copyOf'>;
}

export interface SeenSequence {
  step: number;
  index: number;
  /** In order; padding is left out. A run is a stretch of tokens that all bear loss, or do not. */
  segments: { corpus: string; numTokens: number; runs: { text: string; numTokens: number; bearsLoss: boolean }[] }[];
  numPadding: number;
}

export type Looked =
  | { kind: 'documents'; numSeen: number; documents: SeenDocument[] }
  | { kind: 'sequences'; sequences: SeenSequence[] };

/** @throws ConfigError where there is nothing of the kind; DataError */
export async function lookAt(request: LookRequest, options: PipelineOptions = {}): Promise<Looked> {
  const job = path.join(request.from, 'job');
  if (fs.existsSync(path.join(job, 'job.json'))) return { kind: 'sequences', sequences: sequencesOf(job, request) };
  const sample = new Sample(request);
  if (request.removed) for await (const removed of removedOf(request)) sample.add(removed);
  else for await (const document of documentsOf(request)) sample.add(document);
  const tokenizer = request.model ? await tokenizerOf(request.model, options) : undefined;
  const documents = sample.documents.map((document) =>
    tokenizer ? { ...document, tokens: spell(tokenizer, tokenizer.encode(document.text)) } : document,
  );
  if (documents.length === 0) throw new ConfigError(`${request.from}: ${nothingThere(request)}`);
  return { kind: 'documents', numSeen: sample.numSeen, documents };
}

function nothingThere({ removed, order, by }: LookRequest): string {
  if (removed === true) return 'cleaning removed nothing.';
  if (removed) return `cleaning removed nothing by "${removed}".`;
  return order === 'random' ? 'holds no document.' : `no document has the metadata "${by}". Name another with --by.`;
}

async function tokenizerOf(model: string, { quiet }: PipelineOptions): Promise<Tokenizer> {
  const source = openModel(await resolveModel(model, cacheFolder(process.cwd()), { quiet }));
  try {
    return source.tokenizer();
  } finally {
    source.close();
  }
}

function spell(tokenizer: Tokenizer, ids: ArrayLike<number>): string[] {
  return Array.from(ids, (id) => tokenizer.decode([id], { skipSpecial: false }));
}

/** A folder of cleaned or deduplicated documents. */
function isCurated(folder: string): boolean {
  return (
    ['parts', 'manifest.json'].some((name) => fs.existsSync(path.join(folder, name))) &&
    fs.existsSync(path.join(folder, 'documents'))
  );
}

async function* documentsOf({ from, field }: LookRequest): AsyncGenerator<SeenDocument> {
  const folder = isCurated(from) ? path.join(from, 'documents') : from;
  for await (const document of readCorpus({ paths: folder, field, maxBadShare: 1 })) yield seen(document);
}

function seen({ id, text, metadata }: Document): SeenDocument {
  return { id, text, ...(metadata && { metadata }) };
}

async function* removedOf({ from, removed }: LookRequest): AsyncGenerator<SeenDocument> {
  const folder = path.join(from, 'removed');
  if (!isCurated(from))
    throw new ConfigError(
      `${from}: --removed needs a folder of cleaned documents, as \`continuo data clean\` names it.`,
    );
  if (!fs.existsSync(folder)) return;
  for (const name of fs.readdirSync(folder).sort()) {
    if (!name.endsWith('.jsonl')) continue;
    for await (const { id, text, ...why } of readRecords<RemovedDocument>(path.join(folder, name))) {
      if (typeof removed === 'string' && ![why.step, why.reason].includes(removed)) continue;
      yield { id, text, removed: why };
    }
  }
}

/** Keeps `num` of all documents that come by: each with the same chance, or the first in an order. */
class Sample {
  numSeen = 0;
  private readonly kept: { document: SeenDocument; key: number }[] = [];
  private readonly request: LookRequest;
  private readonly rng: Rng;

  constructor(request: LookRequest) {
    this.request = request;
    this.rng = new Rng(request.seed, 'look');
  }

  /** Sampling by the smallest of random keys is the same as a reservoir, and one way for all orders. */
  add(document: SeenDocument): void {
    this.numSeen++;
    const key = this.keyOf(document);
    if (key === undefined) return;
    const { kept, request } = this;
    if (kept.length === request.num && key >= kept.at(-1)!.key) return;
    const at = kept.findIndex((one) => one.key > key);
    kept.splice(at < 0 ? kept.length : at, 0, { document, key });
    kept.length = Math.min(kept.length, request.num);
  }

  private keyOf({ metadata }: SeenDocument): number | undefined {
    const { order, by } = this.request;
    if (order === 'random') return this.rng.float();
    const value = metadata?.[by];
    if (typeof value !== 'number') return undefined;
    return order === 'worst' ? value : -value;
  }

  get documents(): SeenDocument[] {
    return this.kept.map(({ document }) => document);
  }
}

function sequencesOf(jobFolder: string, { num, step }: LookRequest): SeenSequence[] {
  const reader = openJob(jobFolder);
  try {
    const { job } = reader;
    if (step >= job.numSteps)
      throw new ConfigError(`--step ${step}: the run has ${job.numSteps} steps, counted from 0.`);
    const tokenizer = loadTokenizer(job.model);
    const last = reader.stepAt(job.numSteps - 1);
    const end = last.firstSequence + last.sequencesPerStep;
    const first = reader.stepAt(step).firstSequence;
    return Array.from({ length: Math.min(num, end - first) }, (_, i) => {
      const { inputs, targets, docStart, shard } = reader.sequence(first + i);
      const segments: SeenSequence['segments'] = [];
      let numPadding = 0;
      for (let t = 0; t < inputs.length; ) {
        let end = t + 1;
        if (shard[t]! < 0) {
          numPadding += inputs.length - t;
          break;
        }
        if (docStart[t] === t) segments.push({ corpus: job.shards[shard[t]!]!.corpus, numTokens: 0, runs: [] });
        const bearsLoss = targets[t]! >= 0;
        while (
          end < inputs.length &&
          shard[end]! >= 0 &&
          docStart[end] === docStart[t] &&
          targets[end]! >= 0 === bearsLoss
        )
          end++;
        const text = tokenizer.decode(inputs.subarray(t, end), { skipSpecial: false });
        segments.at(-1)!.runs.push({ text, numTokens: end - t, bearsLoss });
        segments.at(-1)!.numTokens += end - t;
        t = end;
      }
      return { step: stepOf(reader, first + i, step), index: first + i, segments, numPadding };
    });
  } finally {
    reader.close();
  }
}

function stepOf({ stepAt }: ReturnType<typeof openJob>, sequence: number, from: number): number {
  let step = from;
  for (let { firstSequence, sequencesPerStep } = stepAt(step); sequence >= firstSequence + sequencesPerStep; ) {
    ({ firstSequence, sequencesPerStep } = stepAt(++step));
  }
  return step;
}
