// Our own engine: tokenizer.json with a BPE model -> ids identical to Hugging Face tokenizers'. Anything that it cannot do exactly
// throws UnsupportedPipeline or UnsupportedPattern in the constructor, never later.
import { internal } from '../base/errors.ts';
import { Bpe } from './bpe.ts';
import { byteLevelBytes, compileDecoder, type Decoder, decodeBytes, isByteLevel } from './decoder.ts';
import { type AddedToken, type ModelSection, type Sections, UnsupportedPipeline } from './format.ts';
import { compileNormalizer, type Normalizer } from './normalizer.ts';
import { compilePreTokenizer, type PreTokenizer, spaceBoundedStage } from './pre-tokenizer.ts';
import { AddedTokenFinder } from './special.ts';
import { toWellFormed } from './unicode.ts';

/** What an engine does; the rest of Tokenizer is the same for every engine. */
export interface Codec {
  readonly vocabSize: number;
  encode(text: string, parseSpecial: boolean): number[];
  decode(ids: ArrayLike<number>, skipSpecial: boolean): string;
  idToToken(id: number): string | undefined;
  tokenToId(token: string): number | undefined;
}

const encoder = new TextEncoder();

export class BpeTokenizer implements Codec {
  readonly vocabSize: number;
  private readonly normalizer: Normalizer | undefined;
  private readonly preTokenizer: PreTokenizer;
  private readonly bpe: Bpe;
  private readonly rawTokens: AddedTokenFinder;
  private readonly normalizedTokens: AddedTokenFinder;
  private readonly added: Map<string, AddedToken>;
  private readonly addedById: Map<number, AddedToken>;
  private readonly spellings: (string | undefined)[] = [];
  private readonly decoder: Decoder | undefined;
  private readonly byteSpellings: (Uint8Array | undefined)[] = [];

  constructor(sections: Sections) {
    const { model, addedTokens } = sections;
    checkModel(model);
    this.normalizer = compileNormalizer(sections.normalizer);
    const preTokenizer = compilePreTokenizer(sections.preTokenizer);
    const vocab = new Map(Object.entries(model.vocab));
    const merges = readMerges(model);
    this.preTokenizer = preTokenizer;
    if (preTokenizer.spelling === 'chars' && keepsSpacesFirst(model, merges, vocab))
      this.preTokenizer = boundBySpaces(preTokenizer);
    this.bpe = new Bpe(vocab, merges, {
      spelling: preTokenizer.spelling,
      ignoreMerges: model.ignore_merges === true,
      byteFallback: model.byte_fallback === true,
      unknownId: typeof model.unk_token === 'string' ? vocab.get(model.unk_token) : undefined,
      fuseUnknown: model.fuse_unk === true,
    });
    this.rawTokens = new AddedTokenFinder(addedTokens.filter((token) => !token.normalized));
    this.normalizedTokens = new AddedTokenFinder(
      addedTokens.filter((token) => token.normalized),
      this.normalizer,
    );
    this.added = new Map(addedTokens.map((token) => [token.content, token]));
    this.addedById = new Map(addedTokens.map((token) => [token.id, token]));
    for (const [token, id] of vocab) this.spellings[id] = token;
    for (const token of addedTokens) this.spellings[token.id] = token.content;
    this.vocabSize = this.spellings.length;
    this.decoder = isByteLevel(sections.decoder) ? undefined : compileDecoder(sections.decoder);
  }

  encode(text: string, parseSpecial: boolean): number[] {
    const out: number[] = [];
    const wellFormed = toWellFormed(text);
    const token = (id: number): void => {
      out.push(id);
    };
    const emit = (piece: string): void => this.bpe.encode(piece, out);
    const cut = (stretch: string, isStart: boolean): void => this.preTokenizer.split(stretch, isStart, emit);
    const normalize = (stretch: string, isStart: boolean): void => {
      const normalized = this.normalizer ? this.normalizer(stretch) : stretch;
      this.normalizedTokens.split(normalized, isStart, parseSpecial, { text: cut, token });
    };
    this.rawTokens.split(wellFormed, true, parseSpecial, { text: normalize, token });
    return out;
  }

  decode(ids: ArrayLike<number>, skipSpecial: boolean): string {
    const kept: number[] = [];
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i];
      if (this.spellings[id] !== undefined && !(skipSpecial && this.addedById.get(id)?.special)) kept.push(id);
    }
    return this.decoder ? this.decoder(kept.map((id) => this.spellings[id]!)).join('') : this.decodeByteLevel(kept);
  }

  private decodeByteLevel(ids: number[]): string {
    const parts = ids.map((id) => this.bytesOf(id));
    const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let offset = 0;
    for (const part of parts) {
      bytes.set(part, offset);
      offset += part.length;
    }
    return decodeBytes(bytes);
  }

  private bytesOf(id: number): Uint8Array {
    const known = this.byteSpellings[id];
    if (known) return known;
    const spelling = this.spellings[id] ?? internal(`token ${id} has no spelling`);
    const bytes = this.addedById.has(id) ? encoder.encode(spelling) : byteLevelBytes(spelling);
    this.byteSpellings[id] = bytes;
    return bytes;
  }

  idToToken(id: number): string | undefined {
    return this.spellings[id];
  }

  tokenToId(token: string): number | undefined {
    return this.added.get(token)?.id ?? this.bpe.vocab.get(token);
  }
}

function checkModel(model: ModelSection): void {
  // Old files leave the type out; only BPE has merges.
  const type = model.type ?? (Array.isArray(model.merges) ? 'BPE' : 'unknown');
  if (type !== 'BPE') throw new UnsupportedPipeline(`the model ${type}`);
  for (const key of ['continuing_subword_prefix', 'end_of_word_suffix'])
    if (model[key]) throw new UnsupportedPipeline(`${key} ${JSON.stringify(model[key])}`);
  if (model.dropout) throw new UnsupportedPipeline('BPE dropout');
  if (typeof model.vocab !== 'object' || model.vocab === null)
    throw new UnsupportedPipeline('a model without a vocabulary');
}

/** Merges are "left right" strings, or pairs in newer files. */
function readMerges(model: ModelSection): [string, string][] {
  return ((model.merges as unknown[] | undefined) ?? []).map((merge) => {
    if (typeof merge !== 'string') return merge as [string, string];
    const space = merge.indexOf(' ');
    return [merge.slice(0, space), merge.slice(space + 1)];
  });
}

/** Whether no merge makes a token with U+2581 after another character, so that text can be cut before each run of U+2581. */
function keepsSpacesFirst(model: ModelSection, merges: [string, string][], vocab: Map<string, number>): boolean {
  return (
    vocab.has('\u2581') &&
    model.ignore_merges !== true &&
    !merges.some(([left, right]) => /[^\u2581]\u2581/.test(left + right))
  );
}

function boundBySpaces(preTokenizer: PreTokenizer): PreTokenizer {
  const bounded = spaceBoundedStage();
  return {
    spelling: preTokenizer.spelling,
    split: (text, isStart, emit) => preTokenizer.split(text, isStart, (piece) => bounded(piece, isStart, emit)),
  };
}
