// GPT-NeoX and Pythia: LayerNorm, rotation of a part of each head, attention and feed-forward side by side, GELU without a gate, biases.
// Checkpoints store q, k and v head by head: rows [head][q, k, v][element].
import { ConfigError } from '../../base/errors.ts';
import { parseRope } from '../rope.ts';
import { Fields } from './fields.ts';
import { affine, matrix, vector } from './llama-like.ts';
import type { Affine, DecoderConfig, Family, ModelOf, ParameterSpec } from './types.ts';

function parse(config: Record<string, unknown>): DecoderConfig {
  const fields = new Fields(config);
  const hidden = fields.size('hidden_size');
  const numHeads = fields.size('num_attention_heads');
  if (hidden % numHeads !== 0)
    throw new ConfigError(
      `config.json: hidden_size (${hidden}) must be a multiple of num_attention_heads (${numHeads}).`,
    );
  const numLayers = fields.size('num_hidden_layers');
  const headDim = hidden / numHeads;
  const hasBias = fields.flag('attention_bias', true);
  const rope = {
    rope_theta: config.rotary_emb_base,
    ...config,
    partial_rotary_factor: fields.real('rotary_pct', 0.25),
  };
  return {
    family: 'gpt_neox',
    vocabSize: fields.size('vocab_size'),
    hidden,
    numLayers,
    numHeads,
    numKvHeads: numHeads,
    headDim,
    ffn: fields.size('intermediate_size', 4 * hidden),
    norm: { kind: 'layer', eps: fields.real('layer_norm_eps', 1e-5), weightOffset: 0, before: true, after: false },
    experts: undefined,
    qkNorm: 'none',
    clipQkv: 0,
    biases: { qkv: hasBias, attentionOut: hasBias, ffn: true },
    activation: fields.activation('hidden_act', 'gelu'),
    gated: false,
    parallelResidual: fields.flag('use_parallel_residual', true),
    ropes: [parseRope(rope, headDim)],
    layers: Array.from({ length: numLayers }, () => ({
      window: 0,
      rope: 0,
      attentionScale: 1 / Math.sqrt(headDim),
      sparse: false,
    })),
    attentionSoftcap: 0,
    logitSoftcap: 0,
    embeddingScale: 1,
    context: fields.size('max_position_embeddings', 2048),
    learnedPositions: false,
    tied: fields.flag('tie_word_embeddings', false),
  };
}

function specs(config: DecoderConfig): ModelOf<ParameterSpec> {
  const { hidden, ffn, numHeads } = config;
  const norm = (name: string) => ({
    weight: vector('ones', [`${name}.weight`, hidden]),
    bias: vector('zeros', [`${name}.bias`, hidden]),
  });
  return {
    embedding: matrix(hidden, [['gpt_neox.embed_in', config.vocabSize]]),
    positions: undefined,
    layers: config.layers.map((_, i) => {
      const layer = `gpt_neox.layers.${i}`;
      const qkv = affine(matrix(hidden, [[`${layer}.attention.query_key_value`, 3 * hidden]]), config.biases.qkv);
      return {
        attentionNorm: norm(`${layer}.input_layernorm`),
        qkv: byHead(qkv, numHeads),
        qNorm: undefined,
        kNorm: undefined,
        attentionOut: affine(
          matrix(hidden, [[`${layer}.attention.dense`, hidden]], 'residual'),
          config.biases.attentionOut,
        ),
        attentionPostNorm: undefined,
        ffnNorm: norm(`${layer}.post_attention_layernorm`),
        up: affine(matrix(hidden, [[`${layer}.mlp.dense_h_to_4h`, ffn]]), true),
        down: affine(matrix(ffn, [[`${layer}.mlp.dense_4h_to_h`, hidden]], 'residual'), true),
        experts: undefined,
        ffnPostNorm: undefined,
      };
    }),
    finalNorm: norm('gpt_neox.final_layer_norm'),
    head: config.tied ? undefined : matrix(hidden, [['embed_out', config.vocabSize]]),
  };
}

function byHead({ weight, bias }: Affine<ParameterSpec>, numHeads: number): Affine<ParameterSpec> {
  const mark = (spec: ParameterSpec): ParameterSpec => ({
    ...spec,
    parts: spec.parts.map((part) => ({ ...part, layout: { qkvByHead: numHeads } })),
  });
  return { weight: mark(weight), bias: bias && mark(bias) };
}

export const gptNeoX: Family = { modelTypes: ['gpt_neox'], parse, specs };
