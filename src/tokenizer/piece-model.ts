// The model of a tokenizer.json, which turns a piece of text into ids: byte-pair encoding or Unigram, as code of this folder and as the
// native encoder wants it described.
import type { TextEncoderSpec, Words } from '../kernels/index.ts';
import { Bpe, type BpeOptions, byteIds, charIds, mergeIds } from './bpe.ts';
import { byteLevelBytes } from './decoder.ts';
import { type ModelSection, UnsupportedPipeline } from './format.ts';
import { packWords } from './native-plan.ts';
import { SPACE_BOUNDED, type SplitPlan, type SplitStep } from './pre-tokenizer.ts';
import { BYTE_OF_CHAR } from './unicode.ts';
import { Unigram } from './unigram.ts';

type Spelling = SplitPlan['spelling'];

export interface PieceEncoder {
  /** Appends the piece's ids to `out`. `piece` is well-formed. */
  encode(piece: string, out: number[]): void;
}

export interface PieceModel {
  vocab: ReadonlyMap<string, number>;
  /** Where the model lets a piece be cut further without a change of ids. */
  steps: SplitStep[];
  makeReference(): PieceEncoder;
  describe(): Pick<TextEncoderSpec, 'byteIds' | 'unknownId' | 'fuseUnknown' | 'byteFallback' | 'model'>;
}

const encoder = new TextEncoder();

/** BPE or Unigram; throws UnsupportedPipeline. */
export function modelType(model: ModelSection): 'BPE' | 'Unigram' {
  // Old files leave the type out; only BPE has merges.
  const type = model.type ?? (Array.isArray(model.merges) ? 'BPE' : 'unknown');
  if (typeof model.vocab !== 'object' || model.vocab === null)
    throw new UnsupportedPipeline('a model without a vocabulary');
  if (type !== 'BPE' && type !== 'Unigram') throw new UnsupportedPipeline(`the model ${type}`);
  return type;
}

/** Throws UnsupportedPipeline for a model with other options, ConfigError for one that contradicts itself. */
export function readPieceModel(model: ModelSection, spelling: Spelling): PieceModel {
  return modelType(model) === 'BPE' ? readBpe(model, spelling) : readUnigram(model, spelling);
}

function readBpe(model: ModelSection, spelling: Spelling): PieceModel {
  for (const key of ['continuing_subword_prefix', 'end_of_word_suffix'])
    if (model[key]) throw new UnsupportedPipeline(`${key} ${JSON.stringify(model[key])}`);
  if (model.dropout) throw new UnsupportedPipeline('BPE dropout');
  const vocab = new Map(Object.entries(model.vocab));
  const pairs = readMerges(model);
  const merges = mergeIds(vocab, pairs);
  const options: BpeOptions = {
    spelling,
    ignoreMerges: model.ignore_merges === true,
    byteFallback: model.byte_fallback === true,
    unknownId: typeof model.unk_token === 'string' ? vocab.get(model.unk_token) : undefined,
    fuseUnknown: model.fuse_unk === true,
  };
  const isBytes = spelling === 'bytes';
  const wholeWords = (): Words => {
    const spelled = isBytes ? [...vocab].filter(([token]) => isByteSpelled(token)) : [...vocab];
    return packWords(spelled.map(([token, id]) => [isBytes ? byteLevelBytes(token) : encoder.encode(token), id]));
  };
  return {
    vocab,
    steps: !isBytes && keepsSpacesFirst(model, pairs, vocab) ? [SPACE_BOUNDED] : [],
    makeReference: () => new Bpe(vocab, merges, options),
    describe: () => ({
      byteIds: byteIds(vocab, spelling),
      unknownId: options.unknownId ?? -1,
      fuseUnknown: options.fuseUnknown,
      byteFallback: options.byteFallback,
      model: {
        type: 'bpe',
        charIds: isBytes ? undefined : Int32Array.from([...charIds(vocab)].flat()),
        merges,
        joins: isBytes ? undefined : joinedPairs(pairs, vocab, options),
        whole: options.ignoreMerges ? wholeWords() : undefined,
      },
    }),
  };
}

function readUnigram(model: ModelSection, spelling: Spelling): PieceModel {
  const tokens: unknown = model.vocab;
  const isScored = (entry: unknown): entry is [string, number] =>
    Array.isArray(entry) && typeof entry[0] === 'string' && typeof entry[1] === 'number';
  if (!Array.isArray(tokens) || !tokens.every(isScored))
    throw new UnsupportedPipeline('a Unigram model without scores');
  const unknownId = model.unk_id;
  if (!Number.isInteger(unknownId) || !(Number(unknownId) in tokens))
    throw new UnsupportedPipeline('a Unigram model without an unknown token');
  if (spelling === 'bytes') throw new UnsupportedPipeline('a Unigram model over bytes');
  const options = { unknownId: unknownId as number, byteFallback: model.byte_fallback === true };
  const vocab = new Map(tokens.map(([token], id) => [token, id]));
  return {
    vocab,
    steps: [],
    makeReference: () => new Unigram(tokens, options),
    describe: () => ({
      byteIds: byteIds(vocab, 'chars'),
      ...options,
      fuseUnknown: true,
      model: {
        type: 'unigram',
        words: packWords(tokens.map(([token], id) => [encoder.encode(token), id])),
        scores: Float64Array.from(tokens, ([, score]) => score),
      },
    }),
  };
}

/** Merges are "left right" strings, or pairs in newer files. */
function readMerges(model: ModelSection): [string, string][] {
  return ((model.merges as unknown[] | undefined) ?? []).map((merge) => {
    if (typeof merge !== 'string') return merge as [string, string];
    const space = merge.indexOf(' ');
    return [merge.slice(0, space), merge.slice(space + 1)];
  });
}

/**
 * Code points on the two sides of each merge's seam: text can be cut between any others. Undefined where a merge could still cross:
 * where characters are left out or fused as unknown, or a byte token takes part in a merge.
 */
function joinedPairs(
  merges: readonly [string, string][],
  vocab: ReadonlyMap<string, number>,
  { ignoreMerges, byteFallback }: BpeOptions,
): Int32Array | undefined {
  if (ignoreMerges || !byteFallback || byteIds(vocab, 'chars').includes(-1)) return undefined;
  const isByte = (token: string) => /^<0x[0-9A-F]{2}>$/.test(token);
  if (merges.some(([left, right]) => isByte(left) || isByte(right))) return undefined;
  const pairs = new Set<number>();
  for (const [left, right] of merges) pairs.add(lastCodePoint(left) * 0x200000 + right.codePointAt(0)!);
  return Int32Array.from([...pairs].flatMap((pair) => [Math.floor(pair / 0x200000), pair % 0x200000]));
}

function lastCodePoint(text: string): number {
  const last = text.charCodeAt(text.length - 1);
  return (last & 0xfc00) === 0xdc00 ? text.codePointAt(text.length - 2)! : last;
}

/** Whether no merge makes a token with U+2581 after another character, so that text can be cut before each run of U+2581. */
function keepsSpacesFirst(model: ModelSection, merges: [string, string][], vocab: Map<string, number>): boolean {
  return (
    vocab.has('\u2581') &&
    model.ignore_merges !== true &&
    !merges.some(([left, right]) => /[^\u2581]\u2581/.test(left + right))
  );
}

/** Whether the token consists of characters of the byte alphabet. */
function isByteSpelled(token: string): boolean {
  return Array.from({ length: token.length }, (_, i) => BYTE_OF_CHAR[token.charCodeAt(i)] ?? -1).every((b) => b >= 0);
}
