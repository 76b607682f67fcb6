// Llama 2 and 3, TinyLlama, SmolLM and SmolLM2: pre-norm RMSNorm, rotary positions, grouped-query attention, SwiGLU.
// SmolLM3: the same, without rotary positions in every fourth layer (NoPE).
import { Fields } from './fields.ts';
import { parseLlamaLike, specsLlamaLike } from './llama-like.ts';
import type { DecoderConfig, Family } from './types.ts';

function parse(config: Record<string, unknown>): DecoderConfig {
  const fields = new Fields(config);
  const attention = fields.flag('attention_bias', false);
  const base = parseLlamaLike(config, String(config.model_type));
  return { ...base, biases: { qkv: attention, attentionOut: attention, ffn: fields.flag('mlp_bias', false) } };
}

function parseSmolLm3(config: Record<string, unknown>): DecoderConfig {
  const fields = new Fields(config);
  const base = parse(config);
  const interval = fields.size('no_rope_layer_interval', 4);
  const hasRope = fields.perLayer<number>('no_rope_layers', base.numLayers);
  const rotates = (i: number) => (hasRope ? hasRope[i] !== 0 : (i + 1) % interval !== 0);
  const usesWindow = fields.flag('use_sliding_window', false);
  const isLocal = fields.localLayers(base.numLayers, (i) => !rotates(i));
  const window = usesWindow ? fields.size('sliding_window') : 0;
  return {
    ...base,
    tied: fields.flag('tie_word_embeddings', true),
    layers: base.layers.map((layer, i) => ({
      ...layer,
      rope: rotates(i) ? 0 : undefined,
      window: isLocal[i] ? window : 0,
    })),
  };
}

export const llama: Family = { modelTypes: ['llama'], parse, specs: (config) => specsLlamaLike(config) };
export const smollm3: Family = { modelTypes: ['smollm3'], parse: parseSmolLm3, specs: llama.specs };
