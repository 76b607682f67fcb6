// The native text encoder (native/text) as an object: text -> token ids for the pipelines that can be said in its terms. Whoever builds a
// spec (src/tokenizer) has a slower encoder of the same ids beside it. Native code trusts its caller, so a spec is checked here.
import { internal } from '../base/errors.ts';
import { loadAddon } from './native.ts';

/** Classes of code points that one encoder can tell apart: bits of a word. */
export const MAX_TEXT_CLASSES = 32;

/** Instructions of a pattern's program; their operands are in native/text/pattern.h. */
export const TEXT_OPERATIONS = { match: 0, one: 1, run: 2, try: 3, jump: 4, ahead: 5 } as const;

/** By number, as native/text/pattern.h has them. */
export const SPLIT_BEHAVIORS = ['Isolated', 'Removed', 'MergedWithPrevious', 'MergedWithNext', 'Contiguous'] as const;

/** By number, as native/text/encoder.h has them: when the prefix goes in front of a text. */
export const PREFIX_RULES = ['never', 'always', 'unless there', 'at start unless there'] as const;

export interface TextSplit {
  /** Instructions with their operands; jumps are relative. */
  code: readonly number[];
  /** Of each alternative, in order of preference: where it starts, and the classes of characters that it can begin with. */
  alternatives: readonly (readonly [start: number, classes: number])[];
  behavior: (typeof SPLIT_BEHAVIORS)[number];
  invert: boolean;
}

export interface TextEncoderSpec {
  /** Bits of classes: by ASCII code (128 entries), and for all code points by blocks of 128 (8704 entries: which block; its words). */
  classes: { ascii: Uint32Array; blockOf: Uint16Array; blocks: Uint32Array };
  splits: readonly TextSplit[];
  marking: TextMarking;
  /** Tokens that are cut out of a text first, before it is marked; none of them empty. */
  added: Words | undefined;
  /** Token of each byte, -1 where there is none (256 entries). */
  byteIds: Int32Array;
  /** Token of what has no other; -1 drops it. */
  unknownId: number;
  fuseUnknown: boolean;
  byteFallback: boolean;
  model:
    | {
        type: 'bpe';
        /** Symbols are characters (with their tokens: code point and id, alternating), else bytes. */
        charIds: Int32Array | undefined;
        /** Left, right and merged id of each merge, best first. */
        merges: Int32Array;
        /** Pairs of code points that some merge joins; between others text is cut. Without it, it is not. */
        joins: Int32Array | undefined;
        /** Pieces that are one token whatever the merges say. */
        whole: Words | undefined;
      }
    /** Ids are positions in `scores`. */
    | { type: 'unigram'; words: Words; scores: Float64Array };
}

/** What happens to a text, or to each piece of the first `afterSplits` splits, before it is split further. */
export interface TextMarking {
  afterSplits: number;
  /** What a space becomes; empty leaves spaces. */
  spaceAs: string;
  /** What goes in front of a text that is not empty, once its spaces are marked. */
  prefix: string;
  prefixRule: (typeof PREFIX_RULES)[number];
}

/** UTF-8 of all words in a row, the end of each, and its id. */
export interface Words {
  bytes: Uint8Array;
  ends: Int32Array;
  ids: Int32Array;
}

export interface NativeTextEncoder {
  /** Ids of a text without special tokens; lone surrogates count as U+FFFD. @param isStart whether it begins the document; @param withAdded whether added tokens are looked for */
  encode(text: string, isStart: boolean, withAdded: boolean): Int32Array;
}

/** Id of an added token whose spelling stays in the text. */
export const PASSED_OVER = -2;

const utf8 = new TextEncoder();
const NO_WORDS: Words = { bytes: new Uint8Array(), ends: new Int32Array(), ids: new Int32Array() };

/** The encoder, or undefined where the native code is not built or CONTINUO_KERNELS=reference asks for none. For one thread. */
export function createNativeTextEncoder(spec: TextEncoderSpec): NativeTextEncoder | undefined {
  const addon = process.env.CONTINUO_KERNELS === 'reference' ? undefined : loadAddon();
  if (!addon) return undefined;
  check(spec);
  const { classes, model } = spec;
  const isBpe = model.type === 'bpe';
  const added = spec.added ?? NO_WORDS;
  const words = (isBpe ? model.whole : model.words) ?? NO_WORDS;
  const handle = addon.createTextEncoder(
    classes.ascii,
    classes.blockOf,
    classes.blocks,
    Int32Array.from(spec.splits.flatMap(flattenSplit)),
    utf8.encode(spec.marking.prefix),
    PREFIX_RULES.indexOf(spec.marking.prefixRule),
    utf8.encode(spec.marking.spaceAs),
    spec.byteIds,
    spec.unknownId,
    spec.fuseUnknown,
    spec.byteFallback,
    isBpe && model.charIds !== undefined,
    isBpe ? model.merges : new Int32Array(),
    (isBpe ? model.charIds : undefined) ?? new Int32Array(),
    words.bytes,
    words.ends,
    words.ids,
    isBpe ? new Float64Array() : model.scores,
    spec.marking.afterSplits,
    (isBpe ? model.joins : undefined) ?? new Int32Array(),
    added.bytes,
    added.ends,
    added.ids,
  );
  if (!handle) return internal('text encoder: the native encoder was not made');
  return {
    encode: (text, isStart, withAdded) =>
      addon.encodeText(handle, text, isStart, withAdded) ??
      internal(`text encoder: no memory for ${text.length} characters`),
  };
}

function flattenSplit({ code, alternatives, behavior, invert }: TextSplit): number[] {
  const head = [code.length, alternatives.length, SPLIT_BEHAVIORS.indexOf(behavior), invert ? 1 : 0];
  return [...head, ...code, ...alternatives.flat()];
}

function check({ classes, splits, added, byteIds, model }: TextEncoderSpec): void {
  const require = (holds: boolean, what: string) => holds || internal(`text encoder: ${what}`);
  require(classes.ascii.length === 128 &&
    classes.blockOf.length === 0x110000 / 128, 'tables of classes of a wrong size');
  require(classes.blockOf.every(
    (block) => (block + 1) * 128 <= classes.blocks.length,
  ), 'a block of classes is missing');
  require(byteIds.length === 256, 'byteIds has not 256 entries');
  for (const { code, alternatives } of splits) {
    require(alternatives.length <= 32, 'more than 32 alternatives');
    require(alternatives.every(
      ([start]) => start >= 0 && start < code.length,
    ), 'an alternative starts outside its program');
  }
  for (const words of [added, model.type === 'bpe' ? model.whole : model.words]) {
    const { bytes, ends, ids } = words ?? NO_WORDS;
    require(ends.length === ids.length, 'words: ends and ids differ in number');
    require(ends.every((end, i) => end >= (ends[i - 1] ?? 0) && end <= bytes.length), 'words: wrong ends');
  }
  require(added?.ends.every((end, i) => end > (added.ends[i - 1] ?? 0)) !== false, 'an added token is empty');
  if (model.type === 'unigram') {
    require(model.scores.length === model.words.ids.length &&
      model.scores.length > 0, 'scores and words differ in number');
    require(model.words.ids.every((id) => id >= 0 && id < model.scores.length), 'a word without a score');
  } else require(model.merges.length % 3 === 0, 'merges: not three numbers each');
}
