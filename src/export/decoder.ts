// What is known about a model before a framework trains it: that transformers keeps to documents in it; for frameworks with decoders of
// their own, that it has Llama's shape, and its sizes.
import * as path from 'node:path';
import { ConfigError } from '../base/errors.ts';
import { readJson } from '../base/files.ts';
import { type DecoderConfig, findFamily, knownDecoder } from '../nn/index.ts';
import type { ExportSource } from './types.ts';

export type RopeKind = DecoderConfig['ropes'][number]['scaling']['kind'];

/** A decoder of pre-norm RMSNorm, rotary positions in whole heads, grouped queries and SwiGLU, the same in every layer. */
export interface PlainDecoder extends DecoderConfig {
  modelType: string;
  rope: DecoderConfig['ropes'][number];
}

export interface DecoderLimits {
  framework: string;
  /** Biases of queries, keys and values (Qwen 2). */
  qkvBias: boolean;
  ropes: readonly RopeKind[];
  /** Longest sequence of the job, tokens: a window that is no narrower changes nothing. */
  seqLen: number;
}

/**
 * @param model Hugging Face folder
 * @throws ConfigError with all that the framework's decoder has no place for
 */
export function plainDecoder(model: string, { framework, qkvBias, ropes, seqLen }: DecoderLimits): PlainDecoder {
  const file = path.join(model, 'config.json');
  const config = readJson<Record<string, unknown>>(file);
  const decoder = findFamily(config).parse(config);
  const { norm, biases, layers } = decoder;
  const rope = decoder.ropes[0];
  const scale = decoder.headDim ** -0.5;
  const obstacles = [
    decoder.experts && 'experts',
    (norm.kind !== 'rms' || norm.weightOffset !== 0 || !norm.before || norm.after) && 'its norms',
    decoder.qkNorm === 'row' && 'norms over all heads of queries and keys',
    (decoder.activation !== 'silu' || !decoder.gated) && `feed-forward layers with ${decoder.activation}`,
    ((biases.qkv && !qkvBias) || biases.attentionOut || biases.ffn) && 'biases',
    decoder.parallelResidual && 'parallel residuals',
    (decoder.attentionSoftcap > 0 || decoder.logitSoftcap > 0) && 'soft caps',
    decoder.clipQkv > 0 && 'clipped queries, keys and values',
    decoder.embeddingScale !== 1 && 'scaled embeddings',
    layers.some(({ window }) => window > 0 && window < seqLen) && 'sliding windows',
    layers.some(({ attentionScale }) => Math.abs(attentionScale / scale - 1) > 1e-6) && 'its attention scale',
    (rope === undefined || decoder.ropes.length > 1 || layers.some((layer) => layer.rope !== 0)) &&
      'positions that differ from layer to layer',
    rope && rope.rotaryDim !== decoder.headDim && 'heads that are rotated in part',
    rope && !ropes.includes(rope.scaling.kind) && `positions scaled by ${rope.scaling.kind}`,
  ].filter((obstacle) => typeof obstacle === 'string');
  if (obstacles.length > 0 || rope === undefined)
    throw new ConfigError(
      `${file}: ${framework} has no decoder for a model of type "${String(config.model_type)}" with ${obstacles.join(', ')}. ` +
        'Known are Llama, Mistral and Qwen 3 and models of the same shape. Axolotl, LLaMA-Factory and TRL take every family without experts that the native engine knows.',
    );
  return { ...decoder, modelType: String(config.model_type), rope };
}

/**
 * Of a model that transformers' code trains on rows of several documents. Families that the native engine does not know may have masks
 * that take no notice of positions (OPT, Falcon, BLOOM, MPT) or a state that goes on into the next document (Mamba, LFM2).
 * @throws ConfigError for these, and for models with experts
 */
export function packableDecoder({ model }: Pick<ExportSource, 'model'>, framework: string): DecoderConfig {
  const file = path.join(model, 'config.json');
  const config = readJson<Record<string, unknown>>(file);
  const refuse = (why: string): never => {
    throw new ConfigError(
      `${file}: a model of type "${String(config.model_type)}" ${why}, so \`continuo export --for ${framework}\` would train another model than planned. Train it by \`continuo run\` with engine: torch (docs/torch.md).`,
    );
  };
  const decoder =
    knownDecoder(config) ??
    refuse(
      'may attend or carry a state from one document of a row to the next: its family is not known to keep them apart',
    );
  if (decoder.experts) refuse('has experts, whose routers are kept balanced by losses of their own');
  return decoder;
}

/** Whether layers see less of a document than all of it. */
export const hasWindows = ({ layers }: DecoderConfig, { job }: ExportSource['job']): boolean => {
  const longest = Math.max(...job.phases.map(({ batch = job.batch }) => batch.seqLen));
  return layers.some(({ window }) => window > 0 && window < longest);
};
