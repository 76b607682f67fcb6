// What a model is, for `continuo inspect` and the planner: sizes counted from the tensors themselves, and a guess, with its
// evidence, whether it is a base model or has been tuned to follow instructions. The guess is never certain: nothing in the
// formats records it.
import * as path from 'node:path';
import { isUserError } from '../base/errors.ts';
import type { Tokenizer } from '../tokenizer/index.ts';
import { ggmlBytes } from './gguf-quants.ts';
import { elementCount } from './numbers.ts';
import { safetensorsBytes } from './safetensors.ts';
import { isBuffer, isEmbedding, isHead, isPositions } from './tensor-names.ts';
import type { ModelSource, TensorInfo } from './types.ts';

export interface Evidence {
  for: 'base' | 'instruct';
  /** 1 weak, 2 fair, 3 strong. */
  weight: 1 | 2 | 3;
  text: string;
}

export interface TuningGuess {
  kind: 'base' | 'instruct' | 'unclear';
  /** What the guess rests on, and what it cannot know: one sentence for the user. */
  summary: string;
  evidence: Evidence[];
}

export interface TokenizerFacts {
  /** E.g. "byte-level BPE". */
  kind: string;
  vocabSize: number;
  bosToken: string | undefined;
  eosToken: string | undefined;
  documentStart: string | undefined;
  documentEnd: string | undefined;
  chatTemplate: boolean;
}

/** What earlier training with this product left in config.json under `continuo`, as it stands. */
export type TrainingRecord = Record<string, unknown>;

export interface ModelFacts {
  path: string;
  format: ModelSource['format'];
  /** The class that transformers would load, e.g. LlamaForCausalLM. */
  architecture: string;
  /** config.json's model_type, e.g. llama. */
  family: string;
  /**
   * Parameters, tied tables counted once. Embedding: the input tables (tokens, learned positions), and the output projection when it is
   * separate. Active: those that a token passes, which are not all where there are experts.
   */
  parameters: { total: number; embedding: number; nonEmbedding: number; active: number };
  /** How many a layer has, and how many of them a token passes. */
  experts: { num: number; perToken: number } | undefined;
  numTensors: number;
  hiddenSize: number | undefined;
  intermediateSize: number | undefined;
  numLayers: number | undefined;
  numHeads: number | undefined;
  numKvHeads: number | undefined;
  headDim: number | undefined;
  contextLength: number | undefined;
  /** Rows of the embedding table. */
  vocabRows: number;
  tied: boolean;
  /** How most bytes are stored, e.g. BF16 or Q4_1. */
  dtype: string;
  /** Bytes by stored type. */
  bytesByDtype: Record<string, number>;
  /** Bytes of all tensors. */
  sizeBytes: number;
  tokenizer: TokenizerFacts | undefined;
  /** Why the tokenizer could not be read, when it could not. */
  tokenizerProblem: string | undefined;
  tuning: TuningGuess;
  training: TrainingRecord | undefined;
}

/** Other families' names for what most call by the first one. */
const OTHER_NAMES: Record<string, readonly string[]> = {
  hidden_size: ['n_embd', 'd_model'],
  intermediate_size: ['n_inner', 'ffn_dim', 'd_ff'],
  num_hidden_layers: ['n_layer', 'n_layers', 'num_layers'],
  num_attention_heads: ['n_head', 'n_heads', 'num_heads', 'attention_heads'],
  max_position_embeddings: ['n_positions', 'max_seq_len', 'seq_length', 'context_length'],
  num_experts: ['num_local_experts', 'n_routed_experts', 'moe_num_experts'],
  num_experts_per_tok: ['moe_top_k', 'moe_k'],
};

/** A size of config.json by its most common name, or one of its others. */
function sizeIn(config: Record<string, unknown>, key: string): number | undefined {
  const given = [key, ...(OTHER_NAMES[key] ?? [])].map((name) => config[name]);
  return given.find((value) => typeof value === 'number');
}

/** Reads headers and the tokenizer, no tensor. A tokenizer that cannot be read is reported, not thrown. */
export function describeModel(source: ModelSource): ModelFacts {
  const { config, tensors } = source;
  const size = (key: string) => sizeIn(config, key);
  const { tokenizer, problem } = readTokenizer(source);
  const bytesByDtype: Record<string, number> = {};
  for (const tensor of tensors.values())
    bytesByDtype[tensor.storedAs] = (bytesByDtype[tensor.storedAs] ?? 0) + storedBytes(tensor);
  const heads = size('num_attention_heads');
  const hidden = size('hidden_size');
  const architectures = config.architectures;
  const training = config.continuo;
  return {
    path: source.path,
    format: source.format,
    architecture:
      Array.isArray(architectures) && typeof architectures[0] === 'string' ? architectures[0] : config.model_type,
    family: config.model_type,
    parameters: countParameters(source),
    experts: expertsOf(source),
    numTensors: tensors.size,
    hiddenSize: hidden,
    intermediateSize: size('intermediate_size'),
    numLayers: size('num_hidden_layers'),
    numHeads: heads,
    numKvHeads: size('num_key_value_heads') ?? heads,
    headDim: size('head_dim') ?? (hidden && heads ? hidden / heads : undefined),
    contextLength: size('max_position_embeddings'),
    vocabRows: [...tensors.values()].find((tensor) => isEmbedding(tensor.name))?.shape[0] ?? config.vocab_size,
    tied: isTied(source),
    dtype: Object.entries(bytesByDtype).sort((a, b) => b[1] - a[1])[0]?.[0] ?? 'none',
    bytesByDtype,
    sizeBytes: Object.values(bytesByDtype).reduce((sum, bytes) => sum + bytes, 0),
    tokenizer: tokenizer && tokenizerFacts(tokenizer),
    tokenizerProblem: problem,
    tuning: guessTuning(source, tokenizer),
    training: isRecord(training) ? training : undefined,
  };
}

function readTokenizer(source: ModelSource): { tokenizer?: Tokenizer; problem?: string } {
  try {
    return { tokenizer: source.tokenizer() };
  } catch (error) {
    if (isUserError(error)) return { problem: error.message };
    throw error;
  }
}

function isTied(source: ModelSource): boolean {
  return source.config.tie_word_embeddings === true || ![...source.tensors.keys()].some(isHead);
}

function countParameters(source: ModelSource): ModelFacts['parameters'] {
  const tied = isTied(source);
  let total = 0;
  let embedding = 0;
  let inExperts = 0;
  for (const tensor of source.tensors.values()) {
    // A tied model may store its table twice.
    const { name } = tensor;
    if ((tied && isHead(name)) || isBuffer(name)) continue;
    const count = elementCount(tensor.shape) ?? 0;
    total += count;
    if (EXPERT.test(name)) inExperts += count;
    if (isEmbedding(name) || isPositions(name) || isHead(name)) embedding += count;
  }
  const { num, perToken } = expertsOf(source) ?? { num: 1, perToken: 1 };
  const active = total - Math.round(inExperts * (1 - perToken / num));
  return { total, embedding, nonEmbedding: total - embedding, active };
}

/** One by one, or those of a layer as one tensor (GPT-OSS). */
const EXPERT = /\.experts\./;

function expertsOf({ config, tensors }: ModelSource): ModelFacts['experts'] {
  if (![...tensors.keys()].some((name) => EXPERT.test(name))) return undefined;
  const [num, perToken] = [sizeIn(config, 'num_experts'), sizeIn(config, 'num_experts_per_tok')];
  return num !== undefined && perToken !== undefined && perToken <= num ? { num, perToken } : undefined;
}

function storedBytes({ storedAs, shape }: TensorInfo): number {
  return safetensorsBytes(storedAs, shape) ?? ggmlBytes(storedAs, elementCount(shape) ?? 0) ?? 0;
}

function tokenizerFacts(tokenizer: Tokenizer): TokenizerFacts {
  return {
    kind: tokenizerKind(tokenizer.files['tokenizer.json']),
    vocabSize: tokenizer.vocabSize,
    bosToken: tokenizer.bosToken,
    eosToken: tokenizer.eosToken,
    documentStart: tokenizer.idToToken(tokenizer.documentStart),
    documentEnd: tokenizer.idToToken(tokenizer.documentEnd),
    chatTemplate: tokenizer.chatTemplate !== undefined,
  };
}

function tokenizerKind(json: Record<string, unknown>): string {
  const model = json.model;
  const type = isRecord(model) && typeof model.type === 'string' ? model.type : 'unknown';
  if (type !== 'BPE') return type;
  if (JSON.stringify([json.pre_tokenizer, json.decoder]).includes('"ByteLevel"')) return 'byte-level BPE';
  return isRecord(model) && model.byte_fallback === true ? 'BPE with byte fallback' : 'BPE';
}

const TURN_TOKENS = [
  '<|im_start|>',
  '<|start_header_id|>',
  '<start_of_turn>',
  '<|assistant|>',
  '<|user|>',
  '[INST]',
  '<|eot_id|>',
];
const INSTRUCT_NAME = /(^|[^a-z])(instruct|chat|it|assistant|sft|dpo|rlhf|tuned)([^a-z]|$)/i;
const BASE_NAME = /(^|[^a-z])(base|pt|pretrained)([^a-z]|$)/i;

function guessTuning(source: ModelSource, tokenizer: Tokenizer | undefined): TuningGuess {
  const evidence = [...nameEvidence(source), ...tokenEvidence(source, tokenizer), ...recordEvidence(source)];
  const score = evidence.reduce((sum, item) => sum + (item.for === 'instruct' ? item.weight : -item.weight), 0);
  // A name or a record says it outright; the rest only suggests it.
  const outright = new Set(evidence.filter((item) => item.weight === 3).map((item) => item.for));
  const suggested = score >= 3 ? 'instruct' : score <= -2 ? 'base' : 'unclear';
  const kind = outright.size === 1 ? [...outright][0]! : suggested;
  const contradicts = evidence.some((item) => kind !== 'unclear' && item.for !== kind);
  const caution =
    kind === 'unclear'
      ? 'The evidence is thin or contradictory; say which it is if you know.'
      : contradicts
        ? 'Some evidence points the other way; model files do not record this, so check the model card.'
        : 'Model files do not record this, so the model card has the last word.';
  const label = {
    base: 'Probably a base model.',
    instruct: 'Probably tuned to follow instructions.',
    unclear: 'Base or instruct is unclear.',
  }[kind];
  return { kind, summary: `${label} ${caution}`, evidence };
}

function nameEvidence(source: ModelSource): Evidence[] {
  const names = [path.basename(path.resolve(source.path)), source.config._name_or_path].filter(
    (n): n is string => typeof n === 'string' && n !== '',
  );
  for (const name of names) {
    const instruct = INSTRUCT_NAME.exec(name)?.[2];
    if (instruct) return [{ for: 'instruct', weight: 3, text: `its name, ${name}, contains "${instruct}"` }];
    const base = BASE_NAME.exec(name)?.[2];
    if (base) return [{ for: 'base', weight: 3, text: `its name, ${name}, contains "${base}"` }];
  }
  return [];
}

function tokenEvidence(source: ModelSource, tokenizer: Tokenizer | undefined): Evidence[] {
  if (!tokenizer) return [];
  const evidence: Evidence[] = [];
  const turns = TURN_TOKENS.filter((token) => tokenizer.tokenToId(token) !== undefined);
  if (tokenizer.chatTemplate !== undefined)
    evidence.push({ for: 'instruct', weight: 2, text: 'it has a chat template (some base models carry one too)' });
  else evidence.push({ for: 'base', weight: 2, text: 'it has no chat template' });
  if (turns.length > 0)
    evidence.push({
      for: 'instruct',
      weight: 1,
      text: `its vocabulary has ${turns.join(', ')} (base models often reserve such tokens)`,
    });
  const listed = source.generationConfig?.eos_token_id ?? source.config.eos_token_id;
  const ends = (Array.isArray(listed) ? listed : [listed]).filter((id): id is number => typeof id === 'number');
  const turnEnds = ends
    .map((id) => tokenizer.idToToken(id))
    .filter((token) => token !== undefined && /^<\|?(im_end|eot_id|eot|end_of_turn|end)\|?>$/.test(token));
  if (turnEnds.length > 0)
    evidence.push({
      for: 'instruct',
      weight: 2,
      text: `generation stops at ${turnEnds.join(', ')}, the end of a chat turn`,
    });
  else if (ends.length > 0 && turns.length > 0)
    evidence.push({
      for: 'base',
      weight: 1,
      text: `generation stops at ${ends.map((id) => tokenizer.idToToken(id) ?? id).join(', ')}, not at the end of a chat turn`,
    });
  return evidence;
}

/** A model that this product trained says what it was trained on. */
function recordEvidence(source: ModelSource): Evidence[] {
  const record = source.config.continuo;
  if (!isRecord(record)) return [];
  if ('pretraining' in record)
    return [{ for: 'base', weight: 3, text: 'config.json records its pretraining (continuo.pretraining)' }];
  return [];
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
