// The pre-tokenisers of published model families, as tokenizer.json components. Data only. Patterns are the originals of each
// family's tokenizer.json; names are those that GGUF files carry in tokenizer.ggml.pre (the table follows llama.cpp's).
import type { Component } from './format.ts';
import { GPT2_PATTERN } from './pre-tokenizer.ts';

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const SPACES = String.raw`\s*[\r\n]+|\s+(?!\S)|\s+`;
const OTHERS = String.raw` ?[^\s\p{L}\p{N}]+[\r\n]*`;
const WORD = String.raw`[^\r\n\p{L}\p{N}]?\p{L}+`;

export const LLAMA3_PATTERN = String.raw`${CONTRACTIONS}|${WORD}|\p{N}{1,3}|${OTHERS}|${SPACES}`;
export const QWEN2_PATTERN = String.raw`${CONTRACTIONS}|${WORD}|\p{N}|${OTHERS}|${SPACES}`;

const UPPER = String.raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`;
const LOWER = String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`;
const LEAD = String.raw`[^\r\n\p{L}\p{N}]?`;
const SLASHED = String.raw` ?[^\s\p{L}\p{N}]+[\r\n/]*`;

export const O200K_PATTERN =
  `${LEAD}${UPPER}*${LOWER}+${CONTRACTIONS}?|${LEAD}${UPPER}+${LOWER}*${CONTRACTIONS}?|` +
  String.raw`\p{N}{1,3}|${SLASHED}|${SPACES}`;
const TEKKEN_PATTERN = String.raw`${LEAD}${UPPER}*${LOWER}+|${LEAD}${UPPER}+${LOWER}*|\p{N}|${SLASHED}|${SPACES}`;
const DEEPSEEK3_PATTERN =
  '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|' +
  String.raw`[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|${SPACES}`;
const BAILING_PATTERN = String.raw`'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+`;
const SEED_CODER_PATTERN = String.raw`${CONTRACTIONS}|${WORD}|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|${SPACES}`;

export function byteLevel(useRegex: boolean): Component {
  return { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: useRegex };
}

export function digits(individual: boolean): Component {
  return { type: 'Digits', individual_digits: individual };
}

export function sequence(...members: Component[]): Component {
  return members.length === 1 ? members[0] : { type: 'Sequence', pretokenizers: members };
}

function isolate(pattern: string): Component {
  return { type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false };
}

/** Splits by each pattern in turn, then bytes. */
export function splits(...patterns: string[]): Component {
  return sequence(...patterns.map(isolate), byteLevel(false));
}

const gpt2 = (): Component => byteLevel(true);
const digitsGpt2 = (): Component => sequence(digits(true), byteLevel(true));
const llama3 = (): Component => splits(LLAMA3_PATTERN);
const qwen2 = (): Component => splits(QWEN2_PATTERN);
const o200k = (): Component => splits(O200K_PATTERN);
const deepseek3 = (): Component => splits(String.raw`\p{N}{1,3}`, '[一-龥\u3040-ゟ゠-ヿ]+', DEEPSEEK3_PATTERN);
const wordsAndMarks = ' ?[^(\\s|.,!?…。，、।۔،)]+';
const bailing = (): Component => splits(BAILING_PATTERN);

export interface GgufPreTokenizer {
  preTokenizer: () => Component;
  /** A piece that is in the vocabulary is one token, whatever the merges say. */
  ignoreMerges?: boolean;
  /** BOS goes before a text unless the file says otherwise. */
  addBos?: boolean;
}

const llamaBpe: GgufPreTokenizer = { preTokenizer: llama3, ignoreMerges: true, addBos: true };

/** By the value of tokenizer.ggml.pre. Names that are missing here are refused rather than guessed. */
export const GGUF_PRE_TOKENIZERS: Readonly<Record<string, GgufPreTokenizer>> = {
  default: {
    preTokenizer: () => splits(String.raw`[\p{P}\$\+<=>\^~\|]+`, GPT2_PATTERN, String.raw`\p{N}+`, '[0-9][0-9][0-9]'),
  },
  'gpt-2': { preTokenizer: gpt2 },
  'phi-2': { preTokenizer: gpt2 },
  'jina-es': { preTokenizer: gpt2 },
  'jina-de': { preTokenizer: gpt2 },
  'jina-v1-en': { preTokenizer: gpt2 },
  'jina-v2-es': { preTokenizer: gpt2 },
  'jina-v2-de': { preTokenizer: gpt2 },
  'jina-v2-code': { preTokenizer: gpt2 },
  'roberta-bpe': { preTokenizer: gpt2 },
  gigachat: { preTokenizer: gpt2 },
  'a.x-4.0': { preTokenizer: gpt2 },
  mellum: { preTokenizer: gpt2 },
  'modern-bert': { preTokenizer: gpt2 },
  mpt: { preTokenizer: gpt2 },
  olmo: { preTokenizer: gpt2 },
  jais: { preTokenizer: gpt2 },
  trillion: { preTokenizer: gpt2 },
  exaone4: { preTokenizer: gpt2 },
  'granite-docling': { preTokenizer: gpt2 },
  smollm: { preTokenizer: digitsGpt2 },
  starcoder: { preTokenizer: digitsGpt2 },
  refact: { preTokenizer: digitsGpt2 },
  'command-r': { preTokenizer: digitsGpt2 },
  codeshell: { preTokenizer: digitsGpt2 },
  exaone: { preTokenizer: digitsGpt2 },
  'minerva-7b': { preTokenizer: digitsGpt2 },
  llama3: llamaBpe,
  'llama-v3': llamaBpe,
  'llama-bpe': llamaBpe,
  falcon3: llamaBpe,
  'falcon-h1': llamaBpe,
  pixtral: llamaBpe,
  'midm-2.0': llamaBpe,
  lfm2: llamaBpe,
  dbrx: { preTokenizer: llama3 },
  'smaug-bpe': { preTokenizer: llama3 },
  glm4: { preTokenizer: llama3 },
  'chatglm-bpe': { preTokenizer: llama3 },
  qwen2: { preTokenizer: qwen2 },
  'deepseek-r1-qwen': { preTokenizer: qwen2 },
  kormo: { preTokenizer: qwen2 },
  stablelm2: { preTokenizer: qwen2 },
  megrez: { preTokenizer: qwen2 },
  hunyuan: { preTokenizer: qwen2 },
  'solar-open': { preTokenizer: qwen2 },
  'grok-2': { preTokenizer: qwen2 },
  'gpt-4o': { preTokenizer: o200k },
  llama4: { preTokenizer: o200k },
  'minimax-m2': { preTokenizer: o200k },
  tekken: { preTokenizer: () => splits(TEKKEN_PATTERN), ignoreMerges: true, addBos: true },
  'deepseek-v3': { preTokenizer: deepseek3 },
  'hunyuan-dense': { preTokenizer: deepseek3 },
  'deepseek-coder': {
    preTokenizer: () =>
      splits('[\r\n]', String.raw`\s?\p{L}+`, String.raw`\s?\p{P}+`, '[一-龥ࠀ-一가-\ud7ff]+', String.raw`\p{N}`),
  },
  falcon: { preTokenizer: () => splits('[\\p{P}\\$\\+<=>\\^~\\|`]+', GPT2_PATTERN, '[0-9][0-9][0-9]') },
  bailingmoe: { preTokenizer: bailing },
  bailingmoe2: { preTokenizer: bailing },
  'llada-moe': { preTokenizer: bailing },
  'seed-coder': { preTokenizer: () => splits(SEED_CODER_PATTERN) },
  bloom: { preTokenizer: () => splits(wordsAndMarks) },
  'poro-chat': { preTokenizer: () => splits(wordsAndMarks) },
  'gpt3-finnish': { preTokenizer: () => splits(wordsAndMarks) },
  viking: { preTokenizer: () => splits(wordsAndMarks, String.raw`\p{N}`) },
};
