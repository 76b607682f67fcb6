// Our own engine: tokenizer.json with a BPE or Unigram model -> ids identical to Hugging Face tokenizers'. Anything that it cannot do
// exactly throws UnsupportedPipeline or UnsupportedPattern in the constructor, never later. Text goes through the native encoder where
// there is one and the pipeline can be said in its terms, else through the reference in this folder, with the same ids.
import { internal } from '../base/errors.ts';
import { createNativeTextEncoder, type NativeTextEncoder } from '../kernels/index.ts';
import { byteLevelBytes, compileDecoder, type Decoder, decodeBytes, isByteLevel } from './decoder.ts';
import type { AddedToken, Component, Sections } from './format.ts';
import { NotNative } from './native-pattern.ts';
import { nativeSplits, normalizerMarking, packWords } from './native-plan.ts';
import { compileNormalizer, type Normalizer } from './normalizer.ts';
import { modelType, type PieceEncoder, type PieceModel, readPieceModel } from './piece-model.ts';
import { compilePreTokenizer, type PreTokenizer, planPreTokenizer, type SplitStep } from './pre-tokenizer.ts';
import { AddedTokenFinder, type Stretches } from './special.ts';
import { toWellFormed } from './unicode.ts';

/** What an engine does; the rest of Tokenizer is the same for every engine. */
export interface Codec {
  readonly vocabSize: number;
  /** Text is encoded by native code. */
  readonly isNative: boolean;
  encode(text: string, parseSpecial: boolean): Int32Array;
  decode(ids: ArrayLike<number>, skipSpecial: boolean): string;
  idToToken(id: number): string | undefined;
  tokenToId(token: string): number | undefined;
}

const encoder = new TextEncoder();

export class OwnTokenizer implements Codec {
  readonly vocabSize: number;
  private readonly normalizer: Normalizer | undefined;
  private readonly vocab: ReadonlyMap<string, number>;
  private readonly native: NativeTextEncoder | undefined;
  /** The native encoder does the normalizer's work as well. */
  private readonly normalizesNatively: boolean;
  /** The native encoder finds the added tokens of plain text. */
  private readonly cutsNatively: boolean;
  private readonly makeReference: () => Reference;
  private madeReference: Reference | undefined;
  private readonly rawTokens: AddedTokenFinder;
  private readonly normalizedTokens: AddedTokenFinder;
  private readonly added: Map<string, AddedToken>;
  private readonly addedById: Map<number, AddedToken>;
  private readonly spellings: (string | undefined)[] = [];
  private readonly decoder: Decoder | undefined;
  private readonly byteSpellings: (Uint8Array | undefined)[] = [];

  constructor(sections: Sections) {
    const { addedTokens } = sections;
    modelType(sections.model);
    this.normalizer = compileNormalizer(sections.normalizer);
    const { spelling, steps: ownSteps } = planPreTokenizer(sections.preTokenizer);
    const model = readPieceModel(sections.model, spelling);
    const steps = [...ownSteps, ...model.steps];
    const { vocab } = model;
    this.vocab = vocab;
    this.makeReference = () => ({
      preTokenizer: compilePreTokenizer({ spelling, steps }),
      model: model.makeReference(),
    });
    this.normalizesNatively = this.normalizer !== undefined && normalizerMarking(sections.normalizer) !== undefined;
    this.rawTokens = new AddedTokenFinder(addedTokens.filter((token) => !token.normalized));
    this.normalizedTokens = new AddedTokenFinder(
      addedTokens.filter((token) => token.normalized),
      this.normalizer,
    );
    const added = this.tokensCutNatively();
    this.cutsNatively = added !== undefined;
    this.native = nativeEncoder(ownSteps, this.normalizesNatively ? sections.normalizer : null, model, added ?? []);
    this.added = new Map(addedTokens.map((token) => [token.content, token]));
    this.addedById = new Map(addedTokens.map((token) => [token.id, token]));
    for (const [token, id] of vocab) this.spellings[id] = token;
    for (const token of addedTokens) this.spellings[token.id] = token.content;
    this.vocabSize = this.spellings.length;
    this.decoder = isByteLevel(sections.decoder) ? undefined : compileDecoder(sections.decoder);
  }

  get isNative(): boolean {
    return this.native !== undefined;
  }

  encode(text: string, parseSpecial: boolean): Int32Array {
    const { native } = this;
    if (native && !parseSpecial && this.cutsNatively) {
      const whole = this.normalizer && !this.normalizesNatively ? this.normalizer(toWellFormed(text)) : text;
      return native.encode(whole, true, true);
    }
    if (!native || (this.normalizesNatively && this.normalizedTokens.finds(parseSpecial)))
      return this.encodeByReference(text, parseSpecial);
    const parts: Int32Array[] = [];
    const normalizer = this.normalizesNatively ? undefined : this.normalizer;
    this.cut(text, parseSpecial, normalizer, {
      text: (stretch, isStart) => parts.push(native.encode(stretch, isStart, false)),
      token: (id) => parts.push(Int32Array.of(id)),
    });
    return concatenate(parts);
  }

  /**
   * Added tokens of plain text, where one search is all it takes: before a normalizer that runs here none is looked for, and behind one
   * that the native encoder runs none either.
   */
  private tokensCutNatively(): [string, number][] | undefined {
    const [raw, normalized] = [this.rawTokens.inPlainText(), this.normalizedTokens.inPlainText()];
    if (raw?.length === 0 && (normalized?.length === 0 || !this.normalizesNatively)) return normalized;
    const isFirst = this.normalizer === undefined || this.normalizesNatively;
    return isFirst && normalized?.length === 0 ? raw : undefined;
  }

  private encodeByReference(text: string, parseSpecial: boolean): Int32Array {
    this.madeReference ??= this.makeReference();
    const { preTokenizer, model } = this.madeReference;
    const out: number[] = [];
    const emit = (piece: string): void => model.encode(piece, out);
    this.cut(text, parseSpecial, this.normalizer, {
      text: (stretch, isStart) => preTokenizer.split(stretch, isStart, emit),
      token: (id) => out.push(id),
    });
    return Int32Array.from(out);
  }

  /** Hands on stretches of normalized text between added tokens. */
  private cut(text: string, parseSpecial: boolean, normalizer: Normalizer | undefined, stretches: Stretches): void {
    const { token } = stretches;
    const normalize = (stretch: string, isStart: boolean): void => {
      const normalized = normalizer ? normalizer(stretch) : stretch;
      this.normalizedTokens.split(normalized, isStart, parseSpecial, stretches);
    };
    this.rawTokens.split(toWellFormed(text), true, parseSpecial, { text: normalize, token });
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
    return this.added.get(token)?.id ?? this.vocab.get(token);
  }
}

interface Reference {
  preTokenizer: PreTokenizer;
  model: PieceEncoder;
}

/** Undefined where the pipeline cannot be said in its terms, or there is no native code. @param normalizer done by the encoder too */
function nativeEncoder(
  steps: readonly SplitStep[],
  normalizer: Component | null,
  model: PieceModel,
  added: readonly [string, number][],
): NativeTextEncoder | undefined {
  try {
    const described = model.describe();
    const isCut = described.model.type === 'bpe' && described.model.joins !== undefined;
    const all = isCut ? steps : [...steps, ...model.steps];
    return createNativeTextEncoder({
      ...nativeSplits(all, normalizerMarking(normalizer)),
      ...described,
      added: packWords(added.map(([token, id]) => [encoder.encode(token), id])),
    });
  } catch (error) {
    if (error instanceof NotNative) return undefined;
    throw error;
  }
}

function concatenate(parts: readonly Int32Array[]): Int32Array {
  const all = new Int32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
