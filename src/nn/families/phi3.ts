// Phi 3, 3.5 and 4 (mini): Llama whose checkpoints store q, k, v stacked, and gate and up stacked; LongRoPE; partial rotation in Phi 4 mini.
import { Fields } from './fields.ts';
import { matrix, parseLlamaLike, specsLlamaLike } from './llama-like.ts';
import type { DecoderConfig, Family, ModelOf, ParameterSpec } from './types.ts';

function parse(config: Record<string, unknown>): DecoderConfig {
  const base = parseLlamaLike({ ...config, rms_norm_eps: config.rms_norm_eps ?? 1e-5 }, 'phi3');
  const window = config.sliding_window ? new Fields(config).size('sliding_window') : 0;
  return { ...base, layers: base.layers.map((layer) => ({ ...layer, window })) };
}

function specs(config: DecoderConfig): ModelOf<ParameterSpec> {
  const model = specsLlamaLike(config);
  const qkvRows = (config.numHeads + 2 * config.numKvHeads) * config.headDim;
  return {
    ...model,
    layers: model.layers.map((layer, i) => ({
      ...layer,
      qkv: { ...layer.qkv, weight: matrix(config.hidden, [[`model.layers.${i}.self_attn.qkv_proj`, qkvRows]]) },
      up: { weight: matrix(config.hidden, [[`model.layers.${i}.mlp.gate_up_proj`, 2 * config.ffn]]), bias: undefined },
    })),
  };
}

export const phi3: Family = { modelTypes: ['phi3'], parse, specs };
