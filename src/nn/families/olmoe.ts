// OLMoE: experts in every layer, their weights as the softmax gives them; an RMSNorm over all queries and one over all keys of a token
// (Muennighoff et al. 2024).
import { Fields } from './fields.ts';
import { parseExperts, parseLlamaLike, specsLlamaLike } from './llama-like.ts';
import type { DecoderConfig, Family } from './types.ts';

function parse(config: Record<string, unknown>): DecoderConfig {
  const fields = new Fields(config);
  const hasBias = fields.flag('attention_bias', false);
  const base = parseLlamaLike({ ...config, rms_norm_eps: config.rms_norm_eps ?? 1e-5 }, 'olmoe');
  return {
    ...base,
    qkNorm: 'row',
    clipQkv: config.clip_qkv === null || config.clip_qkv === undefined ? 0 : fields.real('clip_qkv', 0),
    biases: { qkv: hasBias, attentionOut: hasBias, ffn: false },
    experts: parseExperts(config, base.ffn, fields.flag('norm_topk_prob', false), 0.01),
    layers: base.layers.map((layer) => ({ ...layer, sparse: true })),
  };
}

export const olmoe: Family = { modelTypes: ['olmoe'], parse, specs: (config) => specsLlamaLike(config) };
