// Qwen 2 and 2.5: Llama with biases on queries, keys and values. Qwen 3: no biases, an RMSNorm over each head of queries and keys.
import { Fields } from './fields.ts';
import { parseLlamaLike, specsLlamaLike } from './llama-like.ts';
import type { DecoderConfig, Family } from './types.ts';

/** Layers from max_window_layers on are local, where use_sliding_window is set. */
export function withQwenWindows(config: Record<string, unknown>, base: DecoderConfig): DecoderConfig {
  const fields = new Fields(config);
  const window = fields.flag('use_sliding_window', false) ? fields.size('sliding_window', 4096) : 0;
  const firstLocal = config.max_window_layers === 0 ? 0 : fields.size('max_window_layers', 28);
  const isLocal = fields.localLayers(base.numLayers, (i) => window > 0 && i >= firstLocal);
  return { ...base, layers: base.layers.map((layer, i) => ({ ...layer, window: isLocal[i] ? window : 0 })) };
}

function parseQwen2(config: Record<string, unknown>): DecoderConfig {
  const base = parseLlamaLike(config, 'qwen2');
  return withQwenWindows(config, { ...base, biases: { qkv: true, attentionOut: false, ffn: false } });
}

export function parseQwen3(config: Record<string, unknown>): DecoderConfig {
  const hasBias = new Fields(config).flag('attention_bias', false);
  const base = parseLlamaLike({ ...config, head_dim: config.head_dim ?? 128 }, 'qwen3');
  return withQwenWindows(config, {
    ...base,
    biases: { qkv: hasBias, attentionOut: hasBias, ffn: false },
    qkNorm: 'head',
  });
}

export const qwen2: Family = { modelTypes: ['qwen2'], parse: parseQwen2, specs: (config) => specsLlamaLike(config) };
export const qwen3: Family = { modelTypes: ['qwen3'], parse: parseQwen3, specs: (config) => specsLlamaLike(config) };
