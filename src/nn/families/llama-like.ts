// What most families share with Llama: rotary positions, RMSNorm, gated feed-forward, grouped-query attention, and Hugging Face's names.
import { ConfigError } from '../../base/errors.ts';
import { parseRope } from '../rope.ts';
import { Fields } from './fields.ts';
import type { Affine, DecoderConfig, ExpertsConfig, ExpertsOf, ModelOf, ParameterSpec } from './types.ts';

/** A decoder as Llama's config.json describes it; a family changes what differs. */
export function parseLlamaLike(config: Record<string, unknown>, family: string): DecoderConfig {
  const fields = new Fields(config);
  const hidden = fields.size('hidden_size');
  const numLayers = fields.size('num_hidden_layers');
  const numHeads = fields.size('num_attention_heads');
  const numKvHeads = fields.size('num_key_value_heads', numHeads);
  const headDim = fields.size('head_dim', hidden / numHeads);
  if (numHeads % numKvHeads !== 0)
    throw new ConfigError(
      `config.json: num_attention_heads (${numHeads}) must be a multiple of num_key_value_heads (${numKvHeads}).`,
    );
  if (headDim % 2 !== 0) throw new ConfigError(`config.json: head_dim: expected an even number, found ${headDim}.`);
  const context = fields.size('max_position_embeddings', 2048);
  return {
    family,
    vocabSize: fields.size('vocab_size'),
    hidden,
    numLayers,
    numHeads,
    numKvHeads,
    headDim,
    ffn: fields.size('intermediate_size'),
    experts: undefined,
    norm: { kind: 'rms', eps: fields.real('rms_norm_eps', 1e-6), weightOffset: 0, before: true, after: false },
    qkNorm: 'none',
    clipQkv: 0,
    biases: { qkv: false, attentionOut: false, ffn: false },
    activation: fields.activation('hidden_act', 'silu'),
    gated: true,
    parallelResidual: false,
    ropes: [parseRope(config, headDim)],
    layers: Array.from({ length: numLayers }, () => ({
      window: 0,
      rope: 0,
      attentionScale: 1 / Math.sqrt(headDim),
      sparse: false,
    })),
    attentionSoftcap: 0,
    logitSoftcap: 0,
    embeddingScale: 1,
    context,
    learnedPositions: false,
    tied: fields.flag('tie_word_embeddings', false),
  };
}

/** The number of experts goes by either name, whatever the family. */
export function parseExperts(
  config: Record<string, unknown>,
  ffn: number,
  normalise: boolean,
  balanceLoss: number,
): ExpertsConfig {
  const fields = new Fields(config);
  const num = fields.size(config.num_local_experts === undefined ? 'num_experts' : 'num_local_experts');
  const perToken = fields.size('num_experts_per_tok');
  if (perToken > num) fields.refuse('num_experts_per_tok', `at most the ${num} experts that there are`);
  return { num, perToken, ffn, normalise, balanceLoss: fields.notNegative('router_aux_loss_coef', balanceLoss) };
}

/** Stacked matrices [rows, cols] of the checkpoint's `name.weight`. */
export function matrix(
  cols: number,
  parts: [name: string, rows: number][],
  init: ParameterSpec['init'] = 'normal',
): ParameterSpec {
  return { parts: parts.map(([name, rows]) => ({ name: `${name}.weight`, rows })), cols, isVector: false, init };
}

/** Stacked vectors of the checkpoint. */
export function vector(init: 'ones' | 'zeros', ...parts: [name: string, length: number][]): ParameterSpec {
  return { parts: parts.map(([name, rows]) => ({ name, rows })), cols: 1, isVector: true, init };
}

/** A matrix with or without its bias. */
export function affine(weight: ParameterSpec, hasBias: boolean): Affine<ParameterSpec> {
  const parts = weight.parts.map(({ name, rows }): [string, number] => [name.replace(/weight$/, 'bias'), rows]);
  return { weight, bias: hasBias ? vector('zeros', ...parts) : undefined };
}

/** Names of a layer's norms; a norm that the model does not have needs none. */
export interface NormNames {
  attentionNorm?: string;
  attentionPostNorm?: string;
  ffnNorm?: string;
  ffnPostNorm?: string;
}

const LLAMA_NORMS: NormNames = { attentionNorm: 'input_layernorm', ffnNorm: 'post_attention_layernorm' };

/** Names of a layer's feed-forward tensors; an expert's are those of a dense layer, unless said otherwise. */
export interface ExpertNames {
  block: string;
  gate: string;
  up: string;
  down: string;
}

const LLAMA_EXPERTS: ExpertNames = { block: 'mlp', gate: 'gate_proj', up: 'up_proj', down: 'down_proj' };

export function specsLlamaLike(
  config: DecoderConfig,
  norms: NormNames = LLAMA_NORMS,
  names: ExpertNames = LLAMA_EXPERTS,
): ModelOf<ParameterSpec> {
  const { hidden, ffn, experts, headDim, biases, norm, qkNorm } = config;
  const start = norm.weightOffset === 1 ? 'zeros' : 'ones';
  const normOf = (name: string | undefined) =>
    name === undefined ? undefined : { weight: vector(start, [`${name}.weight`, hidden]), bias: undefined };
  const qRows = config.numHeads * headDim;
  const kvRows = config.numKvHeads * headDim;
  const headNorm = (name: string, rows: number) =>
    qkNorm === 'none' ? undefined : vector(start, [`${name}.weight`, qkNorm === 'head' ? headDim : rows]);
  const gateUp = (at: string, rows: number) =>
    matrix(hidden, [
      [`${at}.${names.gate}`, rows],
      [`${at}.${names.up}`, rows],
    ]);
  const down = (at: string, cols: number) => matrix(cols, [[`${at}.${names.down}`, hidden]], 'residual');
  const expertsOf = (layer: string, { num, ffn: width }: ExpertsConfig): ExpertsOf<ParameterSpec> => ({
    router: matrix(hidden, [[`${layer}.${names.block}.gate`, num]]),
    each: Array.from({ length: num }, (_, e) => {
      const expert = `${layer}.${names.block}.experts.${e}`;
      return { up: gateUp(expert, width), down: down(expert, width) };
    }),
  });
  return {
    embedding: matrix(hidden, [['model.embed_tokens', config.vocabSize]]),
    positions: undefined,
    layers: config.layers.map(({ sparse }, i) => {
      const layer = `model.layers.${i}`;
      const attention = `${layer}.self_attn`;
      const inLayer = (name: string | undefined) => name && `${layer}.${name}`;
      const qkv = matrix(hidden, [
        [`${attention}.q_proj`, qRows],
        [`${attention}.k_proj`, kvRows],
        [`${attention}.v_proj`, kvRows],
      ]);
      return {
        attentionNorm: normOf(inLayer(norms.attentionNorm)),
        qkv: affine(qkv, biases.qkv),
        qNorm: headNorm(`${attention}.q_norm`, qRows),
        kNorm: headNorm(`${attention}.k_norm`, kvRows),
        attentionOut: affine(matrix(qRows, [[`${attention}.o_proj`, hidden]], 'residual'), biases.attentionOut),
        attentionPostNorm: normOf(inLayer(norms.attentionPostNorm)),
        ffnNorm: normOf(inLayer(norms.ffnNorm)),
        up: sparse ? undefined : affine(gateUp(`${layer}.mlp`, ffn), biases.ffn),
        down: sparse ? undefined : affine(down(`${layer}.mlp`, ffn), biases.ffn),
        experts: sparse ? expertsOf(layer, experts!) : undefined,
        ffnPostNorm: normOf(inLayer(norms.ffnPostNorm)),
      };
    }),
    finalNorm: normOf('model.norm')!,
    head: config.tied ? undefined : matrix(hidden, [['lm_head', config.vocabSize]]),
  };
}
