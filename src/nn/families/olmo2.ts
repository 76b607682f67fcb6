// OLMo 2: norms after each sublayer, none before; an RMSNorm over all queries and one over all keys of a token.
import { Fields } from './fields.ts';
import { parseLlamaLike, specsLlamaLike } from './llama-like.ts';
import type { DecoderConfig, Family } from './types.ts';

const POST_NORMS = { attentionPostNorm: 'post_attention_layernorm', ffnPostNorm: 'post_feedforward_layernorm' };

function parse(config: Record<string, unknown>): DecoderConfig {
  const fields = new Fields(config);
  const hasBias = fields.flag('attention_bias', false);
  const base = parseLlamaLike({ ...config, rms_norm_eps: config.rms_norm_eps ?? 1e-5 }, 'olmo2');
  return {
    ...base,
    norm: { ...base.norm, before: false, after: true },
    biases: { qkv: hasBias, attentionOut: hasBias, ffn: false },
    qkNorm: 'row',
  };
}

export const olmo2: Family = { modelTypes: ['olmo2'], parse, specs: (config) => specsLlamaLike(config, POST_NORMS) };
