// What the rest of the product sees of a tokenizer.

/** The parsed content of a tokenizer.json (Hugging Face tokenizers' format). */
export type TokenizerJson = Record<string, unknown>;

export interface Tokenizer {
  /** Which code encodes: our own, or the slower library that knows the rarer pipelines. */
  readonly engine: 'continuo' | 'fallback';
  /** Why the fallback engine runs, e.g. "the normalizer Precompiled"; undefined for our own. */
  readonly engineReason: string | undefined;
  /** Text is encoded by native code; the ids are the same either way. */
  readonly isNative: boolean;
  /** Highest id + 1, added tokens included. */
  readonly vocabSize: number;
  /** Token put in front of a raw document when training and scoring: the model's own BOS where its tokenizer adds one, else documentEnd. */
  readonly documentStart: number;
  /** Token put after a raw document: the text separator of pretraining (<|endoftext|> or like) where the vocabulary has one, else EOS. */
  readonly documentEnd: number;
  /** Special tokens that Hugging Face's encode puts around a text unless told not to: the tokenizer's own BOS and EOS, often none. */
  readonly frame: { readonly before: readonly number[]; readonly after: readonly number[] };
  readonly bosToken: string | undefined;
  readonly eosToken: string | undefined;
  /** Jinja source of the chat template, when the model has one. */
  readonly chatTemplate: string | undefined;
  /** tokenizer.json and tokenizer_config.json as they are to be written beside an exported model. */
  readonly files: { 'tokenizer.json': TokenizerJson; 'tokenizer_config.json': Record<string, unknown> };
  /** Ids of plain text: no special token is added, and special tokens' spellings inside the text stay plain text unless `parseSpecial`. */
  encode(text: string, options?: { parseSpecial?: boolean }): number[];
  /** The same ids of plain text, in the form in which they are stored: for text in bulk. */
  encodeArray(text: string): Int32Array;
  decode(ids: ArrayLike<number>, options?: { skipSpecial?: boolean }): string;
  /** The token's own spelling in the vocabulary, or undefined for an id without one. */
  idToToken(id: number): string | undefined;
  tokenToId(token: string): number | undefined;
}

export interface ChatMessage {
  role: 'system' | 'user' | 'assistant' | 'tool';
  content: string;
}
