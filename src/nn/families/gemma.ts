// Gemma 1, 2 and 3 (text): norm weights stored around 0, embeddings scaled by sqrt(hidden), GELU. 2 and 3: norms before and after each
// sublayer, local and global layers in turn. 2: soft caps on scores and logits. 3: norms of queries and keys, another rope in local layers.
import { parseRope, parseRopeParameters } from '../rope.ts';
import { Fields } from './fields.ts';
import { parseLlamaLike, specsLlamaLike } from './llama-like.ts';
import type { DecoderConfig, Family } from './types.ts';

const BOTH_NORMS = {
  attentionNorm: 'input_layernorm',
  attentionPostNorm: 'post_attention_layernorm',
  ffnNorm: 'pre_feedforward_layernorm',
  ffnPostNorm: 'post_feedforward_layernorm',
};

function parseGemma(config: Record<string, unknown>): DecoderConfig {
  const fields = new Fields(config);
  const base = parseLlamaLike({ ...config, head_dim: config.head_dim ?? 256 }, String(config.model_type));
  const hasBias = fields.flag('attention_bias', false);
  return {
    ...base,
    norm: { ...base.norm, weightOffset: 1 },
    biases: { qkv: hasBias, attentionOut: hasBias, ffn: false },
    // Gemma 1's hidden_act "gelu" is the exact function in transformers; hidden_activation names the one the models were made with.
    activation: fields.activation(config.hidden_activation ? 'hidden_activation' : 'hidden_act', 'gelu_pytorch_tanh'),
    embeddingScale: Math.sqrt(base.hidden),
    tied: fields.flag('tie_word_embeddings', true),
  };
}

function parseGemma2(config: Record<string, unknown>): DecoderConfig {
  return { ...withLocalLayers(config, parseGemma(config), 2), ...softcaps(config, 50, 30) };
}

function parseGemma3(config: Record<string, unknown>): DecoderConfig {
  const fields = new Fields(config);
  if (config.use_bidirectional_attention) fields.refuse('use_bidirectional_attention', 'false: this engine is causal');
  const { rope_parameters: parameters, ...plain } = config;
  const byKind = (parameters ?? {}) as Record<string, Record<string, unknown> | undefined>;
  const base = parseGemma(plain);
  const global = byKind.full_attention
    ? parseRopeParameters(byKind.full_attention, base.headDim, 1_000_000)
    : parseRope({ ...plain, rope_theta: plain.rope_theta ?? 1_000_000 }, base.headDim);
  const localTheta = fields.real('rope_local_base_freq', 10_000);
  const local = parseRopeParameters(byKind.sliding_attention ?? {}, base.headDim, localTheta);
  const pattern = fields.size('sliding_window_pattern', 6);
  const withLayers = withLocalLayers(plain, { ...base, ropes: [global, local], qkNorm: 'head' }, pattern);
  const layers = withLayers.layers.map((layer) => ({ ...layer, rope: layer.window > 0 ? 1 : 0 }));
  return { ...withLayers, layers, ...softcaps(config, 0, 0) };
}

/** Every `pattern`-th layer is global. */
function withLocalLayers(config: Record<string, unknown>, base: DecoderConfig, pattern: number): DecoderConfig {
  const fields = new Fields(config);
  const window = fields.size('sliding_window', 4096);
  const attentionScale = fields.real('query_pre_attn_scalar', 256) ** -0.5;
  const isLocal = fields.localLayers(base.numLayers, (i) => (i + 1) % pattern !== 0);
  return {
    ...base,
    norm: { ...base.norm, after: true },
    layers: base.layers.map((layer, i) => ({ ...layer, attentionScale, window: isLocal[i] ? window : 0 })),
  };
}

/** null means none, an absent key the family's own. */
function softcaps(config: Record<string, unknown>, attention: number, logits: number) {
  const fields = new Fields(config);
  const cap = (key: string, fallback: number) =>
    config[key] === null || (config[key] === undefined && fallback === 0) ? 0 : fields.real(key, fallback);
  return {
    attentionSoftcap: cap('attn_logit_softcapping', attention),
    logitSoftcap: cap('final_logit_softcapping', logits),
  };
}

const specs = (config: DecoderConfig) => specsLlamaLike(config, BOTH_NORMS);

export const gemma: Family = {
  modelTypes: ['gemma'],
  parse: parseGemma,
  specs: (config) => specsLlamaLike(config),
};
export const gemma2: Family = { modelTypes: ['gemma2'], parse: parseGemma2, specs };
export const gemma3: Family = { modelTypes: ['gemma3_text'], parse: parseGemma3, specs };
