// How well a vocabulary fits a domain, and growing a byte-level BPE vocabulary by the domain's own tokens. New tokens are merges behind all
// merges that are there, so every piece is cut as before and then merged further: any reader of the file gives the same ids, and old
// tokens keep theirs. Choosing merges by count on the present segmentation is BPE training (Sennrich et al. 2016) gone on with.
import { ConfigError } from '../base/errors.ts';
import { readSections } from './format.ts';
import { compileNormalizer, type Normalizer } from './normalizer.ts';
import { type PieceModel, readPieceModel } from './piece-model.ts';
import { compilePreTokenizer, type PreTokenizer, planPreTokenizer } from './pre-tokenizer.ts';
import { MergeTrainer } from './train.ts';
import type { Tokenizer, TokenizerJson } from './types.ts';
import { BYTE_OF_CHAR, detach, toWellFormed } from './unicode.ts';

export interface NewToken {
  id: number;
  /** As the vocabulary spells it. */
  token: string;
  /** Ids of the old tokens that it stands for. */
  parts: number[];
}

export interface GrownVocabulary {
  files: Tokenizer['files'];
  added: NewToken[];
}

/** Counts the pieces that a byte-level tokenizer cuts texts into. */
export class PieceCounter {
  readonly pieces = new Map<string, number>();
  readonly model: PieceModel;
  private readonly normalizer: Normalizer | undefined;
  private readonly preTokenizer: PreTokenizer;

  /** Throws ConfigError where the tokenizer is not byte-level BPE. */
  constructor(tokenizer: Tokenizer) {
    const sections = readSections(tokenizer.files['tokenizer.json'], 'tokenizer.json');
    const refuse = (why: string) =>
      new ConfigError(
        `The vocabulary cannot be grown: expected byte-level BPE (as GPT-2, Llama 3, Qwen, SmolLM have it), found ${why}.`,
      );
    if (tokenizer.engineReason !== undefined) throw refuse(tokenizer.engineReason);
    const plan = planPreTokenizer(sections.preTokenizer);
    if (plan.spelling !== 'bytes' || sections.model.type === 'Unigram')
      throw refuse(sections.model.type === 'Unigram' ? 'a Unigram model' : 'BPE over characters (SentencePiece)');
    this.normalizer = compileNormalizer(sections.normalizer);
    this.preTokenizer = compilePreTokenizer(plan);
    this.model = readPieceModel(sections.model, 'bytes');
  }

  add(text: string): void {
    const { pieces, normalizer } = this;
    const wellFormed = toWellFormed(text);
    this.preTokenizer.split(normalizer ? normalizer(wellFormed) : wellFormed, true, (piece) => {
      const count = pieces.get(piece);
      if (count === undefined) pieces.set(detach(piece), 1);
      else pieces.set(piece, count + 1);
    });
  }
}

/** A pair that occurs once says nothing about the domain. */
const MIN_COUNT = 2;

/**
 * Adds up to `numTokens` tokens, fewer where the texts repeat no more pairs. Old tokens and special tokens keep their ids; new ones come
 * behind the last. Throws ConfigError where not one can be added.
 */
export function growVocabulary(tokenizer: Tokenizer, counter: PieceCounter, numTokens: number): GrownVocabulary {
  const spellings = Array.from({ length: tokenizer.vocabSize }, (_, id) => tokenizer.idToToken(id));
  const first = spellings.length;
  const encoder = counter.model.makeReference();
  const words = Array.from(counter.pieces, ([piece, count]) => {
    const symbols: number[] = [];
    encoder.encode(piece, symbols);
    return { symbols, count };
  });
  const merges = new MergeTrainer(words, spellings, first + numTokens, 'left out').run(MIN_COUNT);
  if (merges.length === 0)
    throw new ConfigError('The vocabulary was not grown: the texts repeat no pair of tokens that could become one.');
  const ids = new Map(spellings.flatMap((token, id) => (token === undefined ? [] : [[token, id]])));
  const partsOf = new Map<number, number[]>();
  const added = merges.map(([left, right], i) => {
    const halves = [left, right].map((token) => ids.get(token)!);
    const parts = halves.flatMap((id) => partsOf.get(id) ?? [id]);
    partsOf.set(first + i, parts);
    return { id: first + i, token: left + right, parts };
  });
  const json = tokenizer.files['tokenizer.json'];
  return { files: { ...tokenizer.files, 'tokenizer.json': withMerges(json, merges, added) }, added };
}

/**
 * Added tokens that the model's vocabulary lacks are put into it: Hugging Face tokenizers numbers them from the vocabulary's size on, so
 * behind a longer one they would get other ids than the file says.
 */
function withMerges(json: TokenizerJson, merges: [string, string][], added: readonly NewToken[]): TokenizerJson {
  const model = json.model as { vocab: Record<string, number>; merges: (string | [string, string])[] };
  const asText = typeof model.merges[0] === 'string';
  return {
    ...json,
    model: {
      ...model,
      vocab: {
        ...Object.fromEntries(readSections(json, 'tokenizer.json').addedTokens.map(({ content, id }) => [content, id])),
        ...model.vocab,
        ...Object.fromEntries(added.map(({ token, id }) => [token, id])),
      },
      merges: [...model.merges, ...merges.map(([left, right]) => (asText ? `${left} ${right}` : [left, right]))],
    },
  };
}

export interface Fragmentation {
  numTokens: number;
  numBytes: number;
  /** Words between spaces. */
  numWords: number;
  tokensPerWord: number;
  bytesPerToken: number;
  /** Share of tokens that stand for one byte of a longer word or character. */
  singleByteShare: number;
  /** Words (letters and digits) by the tokens that they cost beyond the first, in all. */
  worst: { word: string; count: number; tokens: string[] }[];
}

const NUM_WORST = 20;
/** Beyond so many different words the list of the worst is over those seen first. */
const MAX_WORDS = 1_000_000;

/** Measures how a tokenizer cuts texts. Any kind of tokenizer. */
export class FragmentationMeter {
  private readonly tokenizer: Tokenizer;
  private readonly isSingle: boolean[] = [];
  private readonly words = new Map<string, number>();
  private numTokens = 0;
  private numBytes = 0;
  private numWords = 0;
  private numSingle = 0;

  constructor(tokenizer: Tokenizer) {
    this.tokenizer = tokenizer;
  }

  /** @param numWords words between spaces */
  add(text: string, numWords: number): void {
    const ids = this.tokenizer.encodeArray(text);
    this.numTokens += ids.length;
    this.numBytes += Buffer.byteLength(text);
    this.numWords += numWords;
    for (let i = 0; i < ids.length; i++) if (this.single(ids[i]!)) this.numSingle++;
    for (const [word] of text.matchAll(/[\p{L}\p{M}\p{N}]+/gu)) {
      const count = this.words.get(word);
      if (count !== undefined) this.words.set(word, count + 1);
      else if (this.words.size < MAX_WORDS) this.words.set(detach(word), 1);
    }
  }

  /** A letter or digit by itself, or a byte of a longer character; not a space or a mark, which are tokens of their own by nature. */
  private single(id: number): boolean {
    let known = this.isSingle[id];
    if (known === undefined) {
      const token = this.tokenizer.idToToken(id) ?? '';
      const byte = /^<0x([0-9A-F]{2})>$/.exec(token);
      const value = byte
        ? Number.parseInt(byte[1]!, 16)
        : token.length === 1
          ? (BYTE_OF_CHAR[token.charCodeAt(0)] ?? -1)
          : -1;
      known = value >= 0x80 || (value >= 0 && /[A-Za-z0-9]/.test(String.fromCharCode(value)));
      this.isSingle[id] = known;
    }
    return known;
  }

  result(): Fragmentation {
    const { tokenizer, numTokens, numBytes, numWords } = this;
    const cost = Array.from(this.words, ([word, count]) => {
      // In the middle of a sentence, where most words stand.
      const ids = tokenizer.encode(` ${word}`);
      return { word, count, ids, extra: (ids.length - 1) * count };
    }).sort((a, b) => b.extra - a.extra || (a.word < b.word ? -1 : 1));
    return {
      numTokens,
      numBytes,
      numWords,
      tokensPerWord: numTokens / numWords,
      bytesPerToken: numBytes / numTokens,
      singleByteShare: this.numSingle / numTokens,
      worst: cost
        .slice(0, NUM_WORST)
        .filter(({ extra }) => extra > 0)
        .map(({ word, count, ids }) => ({ word, count, tokens: ids.map((id) => tokenizer.decode([id])) })),
    };
  }
}
