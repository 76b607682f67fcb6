// Llama 2 and 3, SmolLM, SmolLM2, TinyLlama: pre-norm RMSNorm, rotary positions, grouped-query attention, SwiGLU, no biases.
import { ConfigError } from '../../base/errors.ts';
import { parseRopeScaling } from '../rope.ts';
import type { DecoderConfig, Family, ModelSpecs, ParameterSpec } from './types.ts';

const SIZES = ['vocab_size', 'hidden_size', 'num_hidden_layers', 'num_attention_heads', 'intermediate_size'] as const;

function parse(config: Record<string, unknown>): DecoderConfig {
  const size = (key: string, fallback?: number): number => {
    const value = config[key] ?? fallback;
    if (typeof value !== 'number' || !Number.isInteger(value) || value < 1)
      throw new ConfigError(`config.json: ${key}: expected a positive whole number, found ${JSON.stringify(value)}.`);
    return value;
  };
  const real = (key: string, fallback: number): number => {
    const value = config[key] ?? fallback;
    if (typeof value !== 'number' || !(value > 0))
      throw new ConfigError(`config.json: ${key}: expected a positive number, found ${JSON.stringify(value)}.`);
    return value;
  };
  const [vocabSize, hidden, numLayers, numHeads, ffn] = SIZES.map((key) => size(key)) as [
    number,
    number,
    number,
    number,
    number,
  ];
  for (const key of ['attention_bias', 'mlp_bias'])
    if (config[key]) throw new ConfigError(`config.json: ${key} is true: this engine's Llama has no biases yet.`);
  if ((config.hidden_act ?? 'silu') !== 'silu')
    throw new ConfigError(`config.json: hidden_act: expected "silu", found ${JSON.stringify(config.hidden_act)}.`);
  const numKvHeads = size('num_key_value_heads', numHeads);
  const headDim = size('head_dim', hidden / numHeads);
  if (numHeads % numKvHeads !== 0)
    throw new ConfigError(
      `config.json: num_attention_heads (${numHeads}) must be a multiple of num_key_value_heads (${numKvHeads}).`,
    );
  if (headDim % 2 !== 0) throw new ConfigError(`config.json: head_dim: expected an even number, found ${headDim}.`);
  const parameters = config.rope_parameters as Record<string, unknown> | undefined;
  return {
    family: 'llama',
    vocabSize,
    hidden,
    numLayers,
    numHeads,
    numKvHeads,
    headDim,
    ffn,
    normEps: real('rms_norm_eps', 1e-6),
    ropeTheta: typeof parameters?.rope_theta === 'number' ? parameters.rope_theta : real('rope_theta', 10_000),
    ropeScaling: parseRopeScaling(config.rope_scaling ?? parameters),
    context: size('max_position_embeddings', 2048),
    tied: config.tie_word_embeddings === true,
  };
}

function specs(config: DecoderConfig): ModelSpecs {
  const { hidden, ffn, headDim } = config;
  const matrix = (cols: number, ...parts: [string, number][]): ParameterSpec => ({
    parts: parts.map(([name, rows]) => ({ name: `${name}.weight`, rows })),
    cols,
    isVector: false,
  });
  const vector = (name: string): ParameterSpec => ({
    parts: [{ name: `${name}.weight`, rows: 1 }],
    cols: hidden,
    isVector: true,
  });
  const qRows = config.numHeads * headDim;
  const kvRows = config.numKvHeads * headDim;
  return {
    embedding: matrix(hidden, ['model.embed_tokens', config.vocabSize]),
    layers: Array.from({ length: config.numLayers }, (_, i) => {
      const layer = `model.layers.${i}`;
      const attention = `${layer}.self_attn`;
      return {
        attentionNorm: vector(`${layer}.input_layernorm`),
        qkv: matrix(
          hidden,
          [`${attention}.q_proj`, qRows],
          [`${attention}.k_proj`, kvRows],
          [`${attention}.v_proj`, kvRows],
        ),
        attentionOut: matrix(qRows, [`${attention}.o_proj`, hidden]),
        ffnNorm: vector(`${layer}.post_attention_layernorm`),
        gateUp: matrix(hidden, [`${layer}.mlp.gate_proj`, ffn], [`${layer}.mlp.up_proj`, ffn]),
        down: matrix(ffn, [`${layer}.mlp.down_proj`, hidden]),
      };
    }),
    finalNorm: vector('model.norm'),
    head: config.tied ? undefined : matrix(hidden, ['lm_head', config.vocabSize]),
  };
}

export const llama: Family = { modelTypes: ['llama'], parse, specs };
