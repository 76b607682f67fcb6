// Checks of config.json that hold for every family: the keys that everything needs, and numbers that a model can have.
// Not the family's own reading of it (src/nn/families), which also compares it with the tensors.
import { DataError, nearestName } from '../base/errors.ts';
import type { HfConfig } from './types.ts';

/** Far above any model that exists; a larger number is a slip or damage. */
const LIMITS: Record<string, number> = {
  vocab_size: 1 << 24,
  hidden_size: 1 << 20,
  intermediate_size: 1 << 22,
  num_hidden_layers: 10_000,
  num_attention_heads: 65_536,
  num_key_value_heads: 65_536,
  head_dim: 65_536,
  max_position_embeddings: 1 << 30,
  num_experts: 65_536,
  num_local_experts: 65_536,
  num_experts_per_tok: 65_536,
};
const POSITIVE = ['rms_norm_eps', 'rope_theta'];

/** @param where the file that the user can look at: config.json's path, or the GGUF's */
export function checkConfig(config: unknown, where: string): HfConfig {
  if (typeof config !== 'object' || config === null || Array.isArray(config))
    throw new DataError(where, `expected a JSON object, found ${describe(config)}.`);
  const record = config as Record<string, unknown>;
  for (const key of ['model_type', 'vocab_size']) {
    if (record[key] !== undefined && record[key] !== null) continue;
    if ('text_config' in record)
      throw new DataError(
        where,
        `has no ${key} but a text_config: this is a multimodal model. Only language models can be continued.`,
      );
    const near = nearestName(key, Object.keys(record));
    throw new DataError(
      where,
      `has no ${key}.${near ? ` It has ${near}: is that meant?` : ''} Is this a Hugging Face model's config.json?`,
    );
  }
  if (typeof record.model_type !== 'string')
    throw new DataError(where, `model_type: expected text, found ${describe(record.model_type)}.`);
  for (const [key, limit] of Object.entries(LIMITS)) checkSize(record[key], key, limit, where);
  for (const key of POSITIVE) {
    const value = record[key];
    if (value === undefined || value === null) continue;
    if (typeof value !== 'number' || !(value > 0) || !Number.isFinite(value))
      throw new DataError(where, `${key}: expected a positive number, found ${describe(value)}.`);
  }
  checkHeads(record, where);
  return record as HfConfig;
}

function checkSize(value: unknown, key: string, limit: number, where: string): void {
  if (value === undefined || value === null) return;
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 1 || value > limit)
    throw new DataError(where, `${key}: expected a whole number from 1 to ${limit}, found ${describe(value)}.`);
}

function checkHeads(config: Record<string, unknown>, where: string): void {
  const hidden = config.hidden_size;
  const heads = config.num_attention_heads;
  const kvHeads = config.num_key_value_heads;
  if (typeof heads !== 'number') return;
  if (typeof hidden === 'number' && typeof config.head_dim !== 'number' && hidden % heads !== 0)
    throw new DataError(
      where,
      `hidden_size ${hidden} is not a multiple of num_attention_heads ${heads}, and there is no head_dim.`,
    );
  if (typeof kvHeads === 'number' && heads % kvHeads !== 0)
    throw new DataError(where, `num_attention_heads ${heads} is not a multiple of num_key_value_heads ${kvHeads}.`);
}

function describe(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
