// The base model's losses on the beginnings of documents, several of them at once. Not here: what is made of the losses (surprise.ts).
import { openModel } from '../checkpoint/index.ts';
import type { Document } from '../corpus/index.ts';
import { toBatch } from '../engine/index.ts';
import { type Decoder, loadForInference } from '../nn/index.ts';
import type { Tokenizer } from '../tokenizer/index.ts';
import { sequenceOf } from './texts.ts';
import type { PipelineOptions } from './types.ts';

const SEQUENCES_AT_ONCE = 4;
export const MAX_SCORED_TOKENS = 1024;
/** Documents that wait for others, also where most of them have nothing to be read. */
const MAX_WAITING = 1024;

/** What a document is scored by. */
export interface DocumentScore {
  /** Key of metadata. */
  name: string;
  /** Ids to read, each list at most `tokens` longer than one; undefined where the document has no such score. */
  begin(document: Document, tokenizer: Tokenizer, tokens: number): Reading | undefined;
}

export interface Reading {
  pieces: readonly Int32Array[];
  /** @param losses of each piece, nats by token from its second on @returns undefined where there is no value */
  value(losses: readonly Float32Array[]): number | undefined;
}

interface Waiting {
  document: Document;
  reading: Reading | undefined;
  /** Of each piece its row and where in it. */
  places: { row: number; at: number }[];
}

export class LossReader {
  private readonly decoder: Decoder;
  private readonly tokenizer: Tokenizer;
  private readonly seqLen: number;

  constructor(model: string, options: PipelineOptions) {
    const source = openModel(model);
    try {
      this.decoder = loadForInference(source, options).decoder;
      this.tokenizer = source.tokenizer();
    } finally {
      source.close();
    }
    this.seqLen = Math.min(this.decoder.config.context, MAX_SCORED_TOKENS);
  }

  /**
   * The documents in their order, each with the score in its metadata, of four digits. It does not depend on what is read beside it.
   * @param tokens that are read of each text, at most
   */
  async *score(documents: AsyncIterable<Document>, score: DocumentScore, tokens: number): AsyncGenerator<Document> {
    const longest = Math.min(tokens, this.seqLen);
    let waiting: Waiting[] = [];
    let rows: Int32Array[][] = [[]];
    let used = 0;
    for await (const document of documents) {
      const reading = score.begin(document, this.tokenizer, longest);
      const pieces = reading?.pieces ?? [];
      // Pieces of one document are read together.
      if (waiting.length === MAX_WAITING || !this.fits(pieces, rows.length, used)) {
        yield* this.scored(waiting, rows, score.name);
        [waiting, rows, used] = [[], [[]], 0];
      }
      const places = pieces.map((ids) => {
        if (used + ids.length - 1 > this.seqLen) {
          rows.push([]);
          used = 0;
        }
        rows.at(-1)!.push(ids);
        const place = { row: rows.length - 1, at: used };
        used += ids.length - 1;
        return place;
      });
      waiting.push({ document, reading, places });
    }
    yield* this.scored(waiting, rows, score.name);
  }

  private fits(pieces: readonly Int32Array[], numRows: number, used: number): boolean {
    let [rows, at] = [numRows, used];
    for (const { length } of pieces) {
      if (at + length - 1 > this.seqLen) [rows, at] = [rows + 1, 0];
      at += length - 1;
    }
    return rows <= SEQUENCES_AT_ONCE;
  }

  private *scored(
    waiting: readonly Waiting[],
    rows: readonly (readonly Int32Array[])[],
    name: string,
  ): Generator<Document> {
    const { seqLen } = this;
    const sequences = rows.map((pieces) =>
      sequenceOf(
        pieces.map((ids) => ({ ids })),
        seqLen,
      ),
    );
    const losses = rows[0]!.length > 0 ? this.decoder.scoreBatch(toBatch(sequences)) : new Float32Array(0);
    for (const { document, reading, places } of waiting) {
      const value = reading?.value(
        places.map(({ row, at }, i) => {
          const start = row * seqLen + at;
          return losses.subarray(start, start + reading.pieces[i]!.length - 1);
        }),
      );
      if (value === undefined) yield document;
      else yield { ...document, metadata: { ...document.metadata, [name]: Number(value.toFixed(4)) } };
    }
  }
}
