// GPT-2: LayerNorm, learned positions, GELU without a gate, biases everywhere. Checkpoints store matrices [inputs, outputs], q, k, v stacked;
// those of OpenAI lack the prefix "transformer.".
import { ConfigError } from '../../base/errors.ts';
import { Fields } from './fields.ts';
import { affine, matrix, vector } from './llama-like.ts';
import type { DecoderConfig, Family, ModelOf, ParameterSpec } from './types.ts';

function parse(config: Record<string, unknown>): DecoderConfig {
  const fields = new Fields(config);
  const hidden = fields.size('n_embd', 768);
  const numHeads = fields.size('n_head', 12);
  const numLayers = fields.size('n_layer', 12);
  if (hidden % numHeads !== 0)
    throw new ConfigError(`config.json: n_embd (${hidden}) must be a multiple of n_head (${numHeads}).`);
  if (fields.flag('add_cross_attention', false)) fields.refuse('add_cross_attention', 'false: a decoder only');
  const headDim = hidden / numHeads;
  const scale = fields.flag('scale_attn_weights', true) ? 1 / Math.sqrt(headDim) : 1;
  const byLayer = fields.flag('scale_attn_by_inverse_layer_idx', false);
  return {
    family: 'gpt2',
    vocabSize: fields.size('vocab_size'),
    hidden,
    numLayers,
    numHeads,
    numKvHeads: numHeads,
    headDim,
    ffn: fields.size('n_inner', 4 * hidden),
    norm: {
      kind: 'layer',
      eps: fields.real('layer_norm_epsilon', 1e-5),
      weightOffset: 0,
      before: true,
      after: false,
    },
    experts: undefined,
    qkNorm: 'none',
    clipQkv: 0,
    biases: { qkv: true, attentionOut: true, ffn: true },
    activation: fields.activation('activation_function', 'gelu_new'),
    gated: false,
    parallelResidual: false,
    ropes: [],
    layers: Array.from({ length: numLayers }, (_, i) => ({
      window: 0,
      rope: undefined,
      attentionScale: byLayer ? scale / (i + 1) : scale,
      sparse: false,
    })),
    attentionSoftcap: 0,
    logitSoftcap: 0,
    embeddingScale: 1,
    context: fields.size('n_positions', 1024),
    learnedPositions: true,
    tied: fields.flag('tie_word_embeddings', true),
  };
}

function specs(config: DecoderConfig, has: (name: string) => boolean): ModelOf<ParameterSpec> {
  const { hidden, ffn } = config;
  const prefix = has('wte.weight') ? '' : 'transformer.';
  const norm = (name: string) => ({
    weight: vector('ones', [`${prefix}${name}.weight`, hidden]),
    bias: vector('zeros', [`${prefix}${name}.bias`, hidden]),
  });
  const transposed = (name: string, rows: number, cols: number, init: ParameterSpec['init'] = 'normal') => {
    const plain = matrix(cols, [[`${prefix}${name}`, rows]], init);
    const parts = plain.parts.map((part) => ({ ...part, layout: 'transposed' as const }));
    return affine({ ...plain, parts }, true);
  };
  return {
    embedding: matrix(hidden, [[`${prefix}wte`, config.vocabSize]]),
    positions: matrix(hidden, [[`${prefix}wpe`, config.context]]),
    layers: config.layers.map((_, i) => ({
      attentionNorm: norm(`h.${i}.ln_1`),
      qkv: transposed(`h.${i}.attn.c_attn`, 3 * hidden, hidden),
      qNorm: undefined,
      kNorm: undefined,
      attentionOut: transposed(`h.${i}.attn.c_proj`, hidden, hidden, 'residual'),
      attentionPostNorm: undefined,
      ffnNorm: norm(`h.${i}.ln_2`),
      up: transposed(`h.${i}.mlp.c_fc`, ffn, hidden),
      down: transposed(`h.${i}.mlp.c_proj`, hidden, ffn, 'residual'),
      experts: undefined,
      ffnPostNorm: undefined,
    })),
    finalNorm: norm('ln_f'),
    head: config.tied ? undefined : matrix(hidden, [['lm_head', config.vocabSize]]),
  };
}

export const gpt2: Family = { modelTypes: ['gpt2'], parse, specs };
