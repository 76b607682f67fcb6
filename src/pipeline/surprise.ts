// How well the base model foretells each document: what it knows by heart teaches nothing, what it cannot foretell at all is often no text
// (Wenzek et al. 2020, arXiv 1911.00359, keep bands of perplexity). In bits per byte, so that limits do not depend on the tokenizer.
import { fingerprint } from '../base/hash.ts';
import { Progress } from '../base/progress.ts';
import { openModel } from '../checkpoint/index.ts';
import type { Config } from '../config/index.ts';
import { type CuratedCorpus, type Document, rewriteCorpus, type Step } from '../corpus/index.ts';
import { toBatch } from '../engine/index.ts';
import { type Decoder, loadForInference } from '../nn/index.ts';
import type { Tokenizer } from '../tokenizer/index.ts';
import { modelDigest } from './facts.ts';
import { sequenceOf } from './texts.ts';
import type { PipelineOptions } from './types.ts';

/** Of a document's beginning: enough to tell, and a long document costs no more than a page. */
const DEFAULT_TOKENS = 512;
const SEQUENCES_AT_ONCE = 4;
const MAX_SEQ_LEN = 1024;

/** Corpora that ask for it, with metadata.bitsPerByte and without what lies outside their limits. */
export async function scoreCorpora(
  config: Config,
  curated: ReadonlyMap<string, CuratedCorpus>,
  { model, context, cache }: { model: string; context: number; cache: string },
  options: PipelineOptions,
): Promise<Map<string, CuratedCorpus>> {
  const result = new Map(curated);
  const asked = config.corpora.filter(({ bitsPerByte }) => bitsPerByte !== undefined);
  if (asked.length === 0) return result;
  let scorer: Scorer | undefined;
  for (const { name, bitsPerByte = {} } of asked) {
    const tokens = Math.min(bitsPerByte.tokens ?? DEFAULT_TOKENS, context);
    const progress = new Progress({ label: `scoring ${name}`, quiet: options.quiet });
    const scored = await rewriteCorpus(curated.get(name)!, {
      stage: 'scored',
      fingerprint: fingerprint({ stage: 'scored', version: 1, model: modelDigest(model), ...bitsPerByte, tokens }),
      cacheFolder: cache,
      fresh: options.fresh,
      change: (documents) => {
        scorer ??= new Scorer(model, Math.min(context, MAX_SEQ_LEN), options);
        return scorer.score(documents, Math.min(tokens, MAX_SEQ_LEN));
      },
      step: bandStep(bitsPerByte),
      onPart: (done, total) => progress.update(done, `${total} parts`),
    });
    progress.finish();
    result.set(name, scored);
  }
  return result;
}

function bandStep({ min, max }: { min?: number; max?: number }): Step {
  return {
    name: 'bits-per-byte',
    apply({ document }) {
      const value = document.metadata?.bitsPerByte;
      if (typeof value !== 'number') return undefined;
      if (min !== undefined && value < min) return { removed: { reason: 'too well known', value, limit: min } };
      if (max !== undefined && value > max) return { removed: { reason: 'too surprising', value, limit: max } };
      return undefined;
    },
  };
}

interface Waiting {
  document: Document;
  /** Start token and text. */
  ids: Int32Array;
  numBytes: number;
}

class Scorer {
  private readonly decoder: Decoder;
  private readonly tokenizer: Tokenizer;
  private readonly seqLen: number;

  constructor(model: string, seqLen: number, options: PipelineOptions) {
    const source = openModel(model);
    try {
      this.decoder = loadForInference(source, options).decoder;
      this.tokenizer = source.tokenizer();
    } finally {
      source.close();
    }
    this.seqLen = seqLen;
  }

  /** The documents in their order, each with metadata.bitsPerByte of its first `tokens` tokens. */
  async *score(documents: AsyncIterable<Document>, tokens: number): AsyncGenerator<Document> {
    let sequences: Waiting[][] = [[]];
    let room = this.seqLen;
    for await (const document of documents) {
      const waiting = this.begin(document, tokens);
      const length = waiting.ids.length - 1;
      if (length > room) {
        if (sequences.length === SEQUENCES_AT_ONCE) {
          yield* this.scored(sequences);
          sequences = [];
        }
        sequences.push([]);
        room = this.seqLen;
      }
      sequences.at(-1)!.push(waiting);
      room -= length;
    }
    yield* this.scored(sequences);
  }

  private begin(document: Document, tokens: number): Waiting {
    // No token is longer than this on average over a page, and encoding a book for its first page would be a waste.
    const beginning = document.text.slice(0, 16 * tokens);
    const ids = this.tokenizer.encode(beginning).slice(0, tokens);
    const text = ids.length < tokens ? beginning : this.tokenizer.decode(ids);
    return {
      document,
      ids: Int32Array.from([this.tokenizer.documentStart, ...ids]),
      numBytes: Buffer.byteLength(text),
    };
  }

  private *scored(sequences: readonly Waiting[][]): Generator<Document> {
    const { seqLen } = this;
    if (sequences[0]!.length === 0) return;
    const losses = this.decoder.scoreBatch(toBatch(sequences.map((waiting) => sequenceOf(waiting, seqLen))));
    for (const [row, waiting] of sequences.entries()) {
      let at = row * seqLen;
      for (const { document, ids, numBytes } of waiting) {
        let nats = 0;
        for (let t = 0; t < ids.length - 1; t++) nats += losses[at++]!;
        const bitsPerByte = Number((nats / Math.LN2 / Math.max(1, numBytes)).toFixed(4));
        yield { ...document, metadata: { ...document.metadata, bitsPerByte } };
      }
    }
  }
}
