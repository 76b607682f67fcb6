// How many sequences of which length a server holds at once, from the memory that is free.
import { ConfigError } from '../base/errors.ts';
import { formatBytes } from '../base/units.ts';
import type { DecoderConfig, Precision } from '../nn/index.ts';

export interface CachePlan {
  numSlots: number;
  /** Tokens of the longest sequence, prompt included. */
  capacity: number;
  sizeBytes: number;
  chunkTokens: number;
}

export interface CacheRequest {
  maxBatch?: number;
  maxTokens?: number;
  /** That the cache may take. */
  budgetBytes: number;
}

/** Sequences at once, where memory allows: products over more rows gain little. An assumption. */
const MAX_SLOTS = 64;
/** So many are served at once before sequences may be as long as the model's context. An assumption. */
const MIN_SLOTS = 8;
const MIN_CAPACITY = 512;
/** Multiply-adds of a chunk of a prompt: others wait for it, about a quarter of a second on a machine that does 200 GFLOP/s. */
const CHUNK_OPERATIONS = 2.5e10;
const [MIN_CHUNK, MAX_CHUNK] = [64, 512];

/** @throws ConfigError where what was asked for does not fit, or the model has no such context */
export function planCache(
  config: DecoderConfig,
  precision: Precision,
  numParameters: number,
  request: CacheRequest,
): CachePlan {
  const { maxBatch, maxTokens, budgetBytes } = request;
  const bytesPerToken = 2 * config.numLayers * config.numKvHeads * config.headDim * (precision === 'bf16' ? 2 : 4);
  const numTokens = Math.floor(budgetBytes / bytesPerToken);
  if (maxTokens !== undefined && maxTokens > config.context)
    throw new ConfigError(
      `--max-tokens ${maxTokens}: the model's context has ${config.context} tokens. Give at most that.`,
    );
  const slots = maxBatch ?? MIN_SLOTS;
  const fitting = Math.max(Math.min(MIN_CAPACITY, config.context), Math.floor(numTokens / slots));
  const capacity = maxTokens ?? Math.min(config.context, fitting);
  const numSlots = maxBatch ?? Math.max(1, Math.min(MAX_SLOTS, Math.floor(numTokens / capacity)));
  const sizeBytes = numSlots * capacity * bytesPerToken;
  if (sizeBytes > budgetBytes)
    throw new ConfigError(
      `a key-value cache for ${numSlots} x ${capacity} tokens needs ${formatBytes(sizeBytes)}; free for it are ${formatBytes(budgetBytes)}. Lower --max-batch or --max-tokens.`,
    );
  const chunk = 2 ** Math.floor(Math.log2(CHUNK_OPERATIONS / numParameters));
  return { numSlots, capacity, sizeBytes, chunkTokens: Math.min(MAX_CHUNK, Math.max(MIN_CHUNK, chunk)) };
}
