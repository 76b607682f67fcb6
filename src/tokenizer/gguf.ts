// A GGUF file's tokenizer metadata -> the tokenizer.json that it was made from, as far as the metadata tells. Reads no file.
// Kinds: "gpt2" (byte-level BPE; the pre-tokenizer is only named, see patterns.ts) and "llama" (SentencePiece BPE; its merges are
// not stored and are derived from the scores, as transformers' converter does).
import { ConfigError, nearestName } from '../base/errors.ts';
import { byteToken } from './bpe.ts';
import type { AddedToken, Component } from './format.ts';
import { specialToken, tokenizerFromJson } from './load.ts';
import { byteLevel, GGUF_PRE_TOKENIZERS } from './patterns.ts';
import type { Tokenizer, TokenizerJson } from './types.ts';

type Metadata = Record<string, unknown>;

/** tokenizer.ggml.token_type */
const TYPE_UNKNOWN = 2;
const TYPE_CONTROL = 3;
const TYPE_USER_DEFINED = 4;
const TYPE_UNUSED = 5;

const WHERE = 'GGUF tokenizer metadata';

/**
 * @param metadata the file's key-value pairs; arrays may be plain or typed
 * @throws ConfigError for a missing key, an unknown kind or an unknown pre-tokenizer name
 */
export function tokenizerFromGguf(metadata: Metadata): Tokenizer {
  const kind = metadata['tokenizer.ggml.model'];
  const parts =
    kind === 'gpt2' ? byteLevelParts(metadata) : kind === 'llama' ? sentencePieceParts(metadata) : undefined;
  if (!parts)
    throw new ConfigError(
      `${WHERE}: tokenizer.ggml.model is ${JSON.stringify(kind)}; expected "gpt2" (byte-level BPE) or "llama" (SentencePiece BPE). ` +
        "Use the model's Hugging Face folder with its tokenizer.json instead.",
    );
  const tokens = readStrings(metadata, 'tokenizer.ggml.tokens');
  const roles = readRoles(metadata, tokens);
  const addBos = (metadata['tokenizer.ggml.add_bos_token'] as boolean | undefined) ?? parts.addBos;
  const config = {
    ...roles,
    add_bos_token: addBos && roles.bos_token !== undefined,
    clean_up_tokenization_spaces: false,
    tokenizer_class: 'PreTrainedTokenizerFast',
    ...(typeof metadata['tokenizer.chat_template'] === 'string' && {
      chat_template: metadata['tokenizer.chat_template'],
    }),
  };
  const json: TokenizerJson = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: parts.addedTokens,
    ...parts.pipeline,
    post_processor: addBos && roles.bos_token !== undefined ? bosTemplate(roles.bos_token, tokens) : null,
    model: { type: 'BPE', dropout: null, continuing_subword_prefix: null, end_of_word_suffix: null, ...parts.model },
  };
  return tokenizerFromJson(json, config, WHERE);
}

interface Parts {
  addedTokens: AddedToken[];
  pipeline: Record<'normalizer' | 'pre_tokenizer' | 'decoder', Component | null>;
  model: Record<string, unknown>;
  addBos: boolean;
}

function byteLevelParts(metadata: Metadata): Parts {
  const name = (metadata['tokenizer.ggml.pre'] as string | undefined) ?? 'default';
  const known = Object.hasOwn(GGUF_PRE_TOKENIZERS, name) ? GGUF_PRE_TOKENIZERS[name] : undefined;
  if (!known) throw unknownPreTokenizer(name);
  const tokens = readStrings(metadata, 'tokenizer.ggml.tokens');
  return {
    addedTokens: readAddedTokens(metadata, tokens),
    pipeline: { normalizer: null, pre_tokenizer: known.preTokenizer(), decoder: byteLevel(true) },
    model: {
      unk_token: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: known.ignoreMerges === true,
      vocab: modelVocab(metadata, tokens),
      merges: readStrings(metadata, 'tokenizer.ggml.merges'),
    },
    addBos: known.addBos === true,
  };
}

function unknownPreTokenizer(name: string): ConfigError {
  const names = Object.keys(GGUF_PRE_TOKENIZERS);
  const near = nearestName(name, names);
  return new ConfigError(
    `${WHERE}: the pre-tokenizer ${JSON.stringify(name)} (tokenizer.ggml.pre) is not known${near ? `; did you mean "${near}"?` : '.'} ` +
      `Known: ${names.join(', ')}. Use the model's Hugging Face folder with its tokenizer.json instead.`,
  );
}

function sentencePieceParts(metadata: Metadata): Parts {
  const tokens = readStrings(metadata, 'tokenizer.ggml.tokens');
  const scores = readNumbers(metadata, 'tokenizer.ggml.scores');
  const addPrefix = metadata['tokenizer.ggml.add_space_prefix'] !== false;
  const unknown = readRoles(metadata, tokens).unk_token ?? '<unk>';
  const prefix = addPrefix ? [{ type: 'Prepend', prepend: '\u2581' }] : [];
  const replace = (from: string, to: string) => ({ type: 'Replace', pattern: { String: from }, content: to });
  const strip = addPrefix ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : [];
  const decoders = [replace('\u2581', ' '), { type: 'ByteFallback' }, { type: 'Fuse' }, ...strip];
  const vocab = modelVocab(metadata, tokens);
  return {
    addedTokens: readAddedTokens(metadata, tokens),
    pipeline: {
      normalizer: { type: 'Sequence', normalizers: [...prefix, replace(' ', '\u2581')] },
      pre_tokenizer: null,
      decoder: { type: 'Sequence', decoders },
    },
    model: {
      unk_token: unknown,
      fuse_unk: true,
      byte_fallback: tokens.includes(byteToken(0)),
      ignore_merges: false,
      vocab,
      merges: mergesFromScores(tokens, scores, readTypes(metadata, tokens.length)),
    },
    addBos: true,
  };
}

/**
 * Every way to write a token as two tokens, best score first; ties by length of the left, then of the right part, longest first, as
 * transformers' SentencePiece converter orders them.
 */
function mergesFromScores(tokens: string[], scores: ArrayLike<number>, types: ArrayLike<number>): [string, string][] {
  const mergeable = (id: number) => types[id] === 1 || types[id] === TYPE_USER_DEFINED || types[id] === TYPE_UNUSED;
  const ids = new Map<string, number>();
  tokens.forEach((token, id) => {
    if (mergeable(id)) ids.set(token, id);
  });
  const merges: { left: string; right: string; score: number; lengths: [number, number] }[] = [];
  for (const [token, id] of ids) {
    const chars = Array.from(token);
    const found: [string, string, number, number][] = [];
    for (let cut = 1; cut < chars.length; cut++) {
      const [left, right] = [chars.slice(0, cut).join(''), chars.slice(cut).join('')];
      if (ids.has(left) && ids.has(right)) found.push([left, right, cut, chars.length - cut]);
    }
    found.sort((a, b) => ids.get(a[0])! - ids.get(b[0])! || ids.get(a[1])! - ids.get(b[1])!);
    for (const [left, right, a, b] of found) merges.push({ left, right, score: scores[id], lengths: [a, b] });
  }
  merges.sort((a, b) => b.score - a.score || b.lengths[0] - a.lengths[0] || b.lengths[1] - a.lengths[1]);
  return merges.map(({ left, right }) => [left, right]);
}

/** Control and unknown tokens are special; user-defined ones are cut out of any text. */
function readAddedTokens(metadata: Metadata, tokens: string[]): AddedToken[] {
  const types = readTypes(metadata, tokens.length);
  return tokens.flatMap((content, id) => {
    if (types[id] === TYPE_CONTROL || types[id] === TYPE_UNKNOWN) return [specialToken(id, content)];
    if (types[id] === TYPE_USER_DEFINED) return [{ ...specialToken(id, content), special: false }];
    return [];
  });
}

/**
 * The model's own vocabulary. Added tokens at the end stay out of it and unused padding at the end is dropped, as in the
 * tokenizer.json files that these were made from; elsewhere tokens keep their ids only by staying in.
 */
function modelVocab(metadata: Metadata, tokens: string[]): Record<string, number> {
  const types = readTypes(metadata, tokens.length);
  let end = tokens.length;
  while (
    end > 0 &&
    (types[end - 1] === TYPE_UNUSED || types[end - 1] === TYPE_CONTROL || types[end - 1] === TYPE_USER_DEFINED)
  )
    end--;
  return Object.fromEntries(tokens.slice(0, end).map((token, id) => [token, id]));
}

function readRoles(metadata: Metadata, tokens: string[]) {
  const token = (key: string): string | undefined => {
    const id = metadata[`tokenizer.ggml.${key}`];
    return typeof id === 'number' || typeof id === 'bigint' ? tokens[Number(id)] : undefined;
  };
  return {
    bos_token: token('bos_token_id'),
    eos_token: token('eos_token_id'),
    unk_token: token('unknown_token_id'),
    pad_token: token('padding_token_id'),
  };
}

function bosTemplate(bos: string, tokens: string[]): Component {
  const first = { SpecialToken: { id: bos, type_id: 0 } };
  const text = (id: string, type: number) => ({ Sequence: { id, type_id: type } });
  return {
    type: 'TemplateProcessing',
    single: [first, text('A', 0)],
    pair: [first, text('A', 0), { SpecialToken: { id: bos, type_id: 1 } }, text('B', 1)],
    special_tokens: { [bos]: { id: bos, ids: [tokens.indexOf(bos)], tokens: [bos] } },
  };
}

function isList(value: unknown): value is ArrayLike<unknown> {
  return Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView));
}

function readList(metadata: Metadata, key: string): ArrayLike<unknown> {
  const value = metadata[key];
  if (isList(value)) return value;
  throw new ConfigError(
    `${WHERE}: ${key} is missing or not a list. The file carries no complete tokenizer; convert the model again, or use its ` +
      'Hugging Face folder.',
  );
}

function readStrings(metadata: Metadata, key: string): string[] {
  return Array.from(readList(metadata, key), String);
}

function readNumbers(metadata: Metadata, key: string): number[] {
  return Array.from(readList(metadata, key), Number);
}

/** Without token types every token is an ordinary one. */
function readTypes(metadata: Metadata, numTokens: number): ArrayLike<number> {
  const key = 'tokenizer.ggml.token_type';
  return metadata[key] === undefined ? new Uint8Array(numTokens).fill(1) : readNumbers(metadata, key);
}
