// Opening a tokenizer: from a model folder or from parsed JSON. Chooses the engine (our own, else the fallback) and settles the roles
// of special tokens. Downloads nothing.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { ConfigError } from '../base/errors.ts';
import { readJson, readText } from '../base/files.ts';
import { FallbackTokenizer } from './fallback-tokenizer.ts';
import { type AddedToken, readSections, type Sections, UnsupportedPipeline } from './format.ts';
import { type Codec, OwnTokenizer } from './own-tokenizer.ts';
import { UnsupportedPattern } from './pattern.ts';
import { findRoles } from './special.ts';
import type { Tokenizer, TokenizerJson } from './types.ts';

type Config = Record<string, unknown>;

/**
 * Opens the tokenizer of a Hugging Face model folder: tokenizer.json, or vocab.json with merges.txt (GPT-2's files); with
 * tokenizer_config.json, special_tokens_map.json and chat_template.jinja where present.
 * @throws ConfigError when the folder holds no tokenizer that can be read, DataError for broken JSON
 */
export function loadTokenizer(folder: string): Tokenizer {
  const json = readTokenizerJson(folder);
  const config: Config = {
    ...optionalJson(folder, 'special_tokens_map.json'),
    ...optionalJson(folder, 'tokenizer_config.json'),
  };
  const templateFile = path.join(folder, 'chat_template.jinja');
  if (fs.existsSync(templateFile)) config.chat_template = readText(templateFile, 'reading the chat template');
  return tokenizerFromJson(json, config, folder);
}

function optionalJson(folder: string, name: string): Config {
  const file = path.join(folder, name);
  return fs.existsSync(file) ? readJson<Config>(file, 'reading the tokenizer') : {};
}

function readTokenizerJson(folder: string): TokenizerJson {
  const has = (name: string) => fs.existsSync(path.join(folder, name));
  if (has('tokenizer.json'))
    return readJson<TokenizerJson>(path.join(folder, 'tokenizer.json'), 'reading the tokenizer');
  if (has('vocab.json') && has('merges.txt')) return gpt2Json(folder);
  if (!fs.existsSync(folder))
    throw new ConfigError(`${folder}: no such folder (while opening a tokenizer). Check the path.`);
  const found = ['tokenizer.model', 'spiece.model', 'vocab.json', 'merges.txt', 'vocab.txt'].filter(has);
  throw new ConfigError(
    `${folder}: no tokenizer.json. Expected tokenizer.json, or vocab.json with merges.txt; found ` +
      `${found.length === 0 ? 'no tokenizer file at all' : `only ${found.join(' and ')}`}. ` +
      'Convert it once with transformers: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) writes a tokenizer.json.',
  );
}

/** GPT-2's two files as a tokenizer.json. */
function gpt2Json(folder: string): TokenizerJson {
  const vocab = readJson<Record<string, number>>(path.join(folder, 'vocab.json'), 'reading the vocabulary');
  const lines = readText(path.join(folder, 'merges.txt'), 'reading the merges').split('\n');
  const merges = lines
    .map((line) => line.replace(/\r$/, ''))
    .filter((line) => line !== '' && !line.startsWith('#version'));
  const special = Object.keys(vocab).filter((token) => /^<\|.*\|>$/.test(token) || token === '<s>' || token === '</s>');
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: special.map((content) => specialToken(vocab[content]!, content)).sort((a, b) => a.id - b.id),
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    model: { type: 'BPE', dropout: null, unk_token: null, fuse_unk: false, byte_fallback: false, vocab, merges },
  };
}

/** An entry of added_tokens for a special token. */
export function specialToken(id: number, content: string): Required<AddedToken> {
  return { id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
}

/**
 * @param json a parsed tokenizer.json; @param config a parsed tokenizer_config.json; @param where named in errors
 * @throws ConfigError when the parts contradict each other or no token can end a document
 */
export function tokenizerFromJson(json: TokenizerJson, config: Config, where = 'tokenizer.json'): Tokenizer {
  const complete = withConfiguredTokens(json, config, where);
  const sections = readSections(complete, where);
  const { codec, engineReason } = chooseEngine(sections, complete, config);
  const roles = findRoles(sections, config, (token) => codec.tokenToId(token), where);
  return {
    ...roles,
    engine: engineReason === undefined ? 'continuo' : 'fallback',
    engineReason,
    isNative: codec.isNative,
    vocabSize: codec.vocabSize,
    chatTemplate: chatTemplate(config),
    files: { 'tokenizer.json': complete, 'tokenizer_config.json': config },
    encode: (text, options) => Array.from(codec.encode(text, options?.parseSpecial === true)),
    encodeArray: (text) => codec.encode(text, false),
    decode: (ids, options) => codec.decode(ids, options?.skipSpecial === true),
    idToToken: (id) => codec.idToToken(id),
    tokenToId: (token) => codec.tokenToId(token),
  };
}

/** Adds the tokens that only tokenizer_config.json's added_tokens_decoder knows. */
function withConfiguredTokens(json: TokenizerJson, config: Config, where: string): TokenizerJson {
  const configured = Object.entries((config.added_tokens_decoder ?? {}) as Record<string, Omit<AddedToken, 'id'>>);
  const { addedTokens } = readSections(json, where);
  const known = new Set(addedTokens.map((token) => token.content));
  const missing = configured.filter(([, token]) => token.content && !known.has(token.content));
  if (missing.length === 0) return json;
  return { ...json, added_tokens: [...addedTokens, ...missing.map(([id, token]) => ({ id: Number(id), ...token }))] };
}

function chooseEngine(
  sections: Sections,
  json: TokenizerJson,
  config: Config,
): { codec: Codec; engineReason?: string } {
  try {
    return { codec: new OwnTokenizer(sections) };
  } catch (error) {
    if (!(error instanceof UnsupportedPipeline || error instanceof UnsupportedPattern)) throw error;
    try {
      return { codec: new FallbackTokenizer(json, config), engineReason: error.message };
    } catch (cause) {
      throw new ConfigError(
        `tokenizer.json: cannot be run: our own engine does not do ${error.message}, and the fallback library says: ` +
          `${cause instanceof Error ? cause.message : String(cause)}.`,
        { cause },
      );
    }
  }
}

/** A string, or a list of named templates of which "default" is the one for chats. */
function chatTemplate(config: Config): string | undefined {
  const value = config.chat_template;
  if (typeof value === 'string') return value;
  if (!Array.isArray(value)) return undefined;
  const named = value as { name?: string; template?: string }[];
  return (named.find((entry) => entry.name === 'default') ?? named[0])?.template;
}
