// Mixtral: Mistral with experts in every layer, the weights of a token's experts adding up to 1 (Jiang et al. 2024).
import { Fields } from './fields.ts';
import { parseExperts, parseLlamaLike, specsLlamaLike } from './llama-like.ts';
import type { DecoderConfig, Family, ModelOf, ParameterSpec } from './types.ts';

const EXPERTS = { block: 'block_sparse_moe', gate: 'w1', up: 'w3', down: 'w2' };

function parse(config: Record<string, unknown>): DecoderConfig {
  const fields = new Fields(config);
  if (fields.notNegative('router_jitter_noise', 0) > 0)
    fields.refuse('router_jitter_noise', '0: a run must give the same result twice');
  const defaults = { num_key_value_heads: 8, rms_norm_eps: 1e-5, rope_theta: 1e6 };
  const base = parseLlamaLike({ ...defaults, ...config }, 'mixtral');
  const window = config.sliding_window ? fields.size('sliding_window') : 0;
  return {
    ...base,
    experts: parseExperts({ num_local_experts: 8, num_experts_per_tok: 2, ...config }, base.ffn, true, 0.001),
    layers: base.layers.map((layer) => ({ ...layer, window, sparse: true })),
  };
}

function specs(config: DecoderConfig): ModelOf<ParameterSpec> {
  return specsLlamaLike(config, undefined, EXPERTS);
}

export const mixtral: Family = { modelTypes: ['mixtral'], parse, specs };
