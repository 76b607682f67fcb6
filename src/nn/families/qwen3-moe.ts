// Qwen 3 with experts: Qwen 3 whose layers have experts, but for those of mlp_only_layers and those between every decoder_sparse_step-th.
import { Fields } from './fields.ts';
import { parseExperts, parseLlamaLike, specsLlamaLike } from './llama-like.ts';
import type { DecoderConfig, Family } from './types.ts';

function parse(config: Record<string, unknown>): DecoderConfig {
  const fields = new Fields(config);
  const base = parseLlamaLike(config, 'qwen3_moe');
  const hasBias = fields.flag('attention_bias', false);
  const listed = config.mlp_only_layers ?? [];
  const dense: unknown[] = Array.isArray(listed) ? listed : fields.refuse('mlp_only_layers', 'a list of layers');
  const step = fields.size('decoder_sparse_step', 1);
  // One window for all layers: unlike Qwen 3 without experts, this family has no max_window_layers.
  const window = fields.flag('use_sliding_window', false) ? fields.size('sliding_window', 4096) : 0;
  const normalise = fields.flag('norm_topk_prob', false);
  return {
    ...base,
    biases: { qkv: hasBias, attentionOut: hasBias, ffn: false },
    qkNorm: 'head',
    experts: parseExperts(config, fields.size('moe_intermediate_size', 768), normalise, 0.001),
    layers: base.layers.map((layer, i) => ({
      ...layer,
      window,
      sparse: !dense.includes(i) && (i + 1) % step === 0,
    })),
  };
}

export const qwen3Moe: Family = { modelTypes: ['qwen3_moe'], parse, specs: (config) => specsLlamaLike(config) };
