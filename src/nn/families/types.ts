// What a family file says about its models: sizes and flags of the decoder, and the checkpoint's names for its parameters.
import type { RopeScaling } from '../rope.ts';
import type { ParameterPart } from '../tensor.ts';

export interface DecoderConfig {
  family: string;
  vocabSize: number;
  hidden: number;
  numLayers: number;
  numHeads: number;
  numKvHeads: number;
  headDim: number;
  ffn: number;
  normEps: number;
  ropeTheta: number;
  ropeScaling: RopeScaling;
  /** Longest sequence the model was made for, tokens. */
  context: number;
  /** The output projection is the embedding table. */
  tied: boolean;
}

/** A parameter before its data: stacked checkpoint tensors of equal width. */
export interface ParameterSpec {
  parts: ParameterPart[];
  cols: number;
  isVector: boolean;
}

export interface LayerSpecs {
  attentionNorm: ParameterSpec;
  qkv: ParameterSpec;
  attentionOut: ParameterSpec;
  ffnNorm: ParameterSpec;
  gateUp: ParameterSpec;
  down: ParameterSpec;
}

export interface ModelSpecs {
  embedding: ParameterSpec;
  layers: LayerSpecs[];
  finalNorm: ParameterSpec;
  /** Undefined when tied. */
  head: ParameterSpec | undefined;
}

export interface Family {
  /** model_type values of config.json. */
  modelTypes: readonly string[];
  parse(config: Record<string, unknown>): DecoderConfig;
  specs(config: DecoderConfig): ModelSpecs;
}
