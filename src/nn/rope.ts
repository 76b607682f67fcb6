// Rotary position embedding: frequencies with the scalings that checkpoints use, and the cos/sin tables made of them.
import { ConfigError } from '../base/errors.ts';
import type { RopeConfig } from './families/types.ts';

/**
 * How frequencies were changed to reach longer contexts. linear: Chen et al. 2023; llama3: Llama 3.1's; yarn: Peng et al. 2023;
 * longrope: Ding et al. 2024, one factor a frequency. attentionFactor multiplies cos and sin.
 */
export type RopeScaling =
  | { kind: 'none' }
  | { kind: 'linear'; factor: number }
  | { kind: 'llama3'; factor: number; lowFreqFactor: number; highFreqFactor: number; originalContext: number }
  | {
      kind: 'yarn';
      factor: number;
      attentionFactor: number;
      originalContext: number;
      betaFast: number;
      betaSlow: number;
      truncate: boolean;
    }
  | {
      kind: 'longrope';
      shortFactors: number[];
      longFactors: number[];
      attentionFactor: number;
      originalContext: number;
    };

export interface RopeTable {
  cos: Float32Array;
  sin: Float32Array;
}

/** Radians a position for each rotated pair, [rotaryDim / 2], for sequences of up to `numPositions`. */
export function ropeFrequencies({ rotaryDim, theta, scaling }: RopeConfig, numPositions: number): Float64Array {
  const frequencies = Float64Array.from({ length: rotaryDim / 2 }, (_, i) => theta ** (-(2 * i) / rotaryDim));
  switch (scaling.kind) {
    case 'none':
      return frequencies;
    case 'linear':
      return frequencies.map((f) => f / scaling.factor);
    case 'llama3': {
      const { factor, lowFreqFactor, highFreqFactor, originalContext } = scaling;
      return frequencies.map((f) => {
        const wavelength = (2 * Math.PI) / f;
        if (wavelength < originalContext / highFreqFactor) return f;
        if (wavelength > originalContext / lowFreqFactor) return f / factor;
        const smooth = (originalContext / wavelength - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
        return ((1 - smooth) * f) / factor + smooth * f;
      });
    }
    case 'yarn': {
      const { factor, originalContext, betaFast, betaSlow, truncate } = scaling;
      /** The pair that turns `turns` times within the original context. */
      const pairOf = (turns: number) =>
        (rotaryDim * Math.log(originalContext / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
      const [from, to] = [pairOf(betaFast), pairOf(betaSlow)];
      const low = Math.max(truncate ? Math.floor(from) : from, 0);
      const high = Math.min(truncate ? Math.ceil(to) : to, rotaryDim - 1);
      const width = high === low ? 0.001 : high - low;
      return frequencies.map((f, i) => {
        const divided = Math.min(1, Math.max(0, (i - low) / width));
        return (f / factor) * divided + f * (1 - divided);
      });
    }
    case 'longrope': {
      // The choice goes by the length that sequences may have, not by the longest one of a batch, so that batches do not differ.
      const factors = numPositions > scaling.originalContext ? scaling.longFactors : scaling.shortFactors;
      return frequencies.map((f, i) => f / factors[i]!);
    }
    default:
      return scaling satisfies never;
  }
}

/** cos and sin, [numPositions, rotaryDim / 2]. */
export function ropeTable(config: RopeConfig, numPositions: number): RopeTable {
  // Hugging Face keeps the frequencies and the angle in f32; following it keeps logits equal at large positions.
  const frequencies = Float32Array.from(ropeFrequencies(config, numPositions));
  const { scaling } = config;
  const factor = scaling.kind === 'yarn' || scaling.kind === 'longrope' ? scaling.attentionFactor : 1;
  const half = config.rotaryDim / 2;
  const cos = new Float32Array(numPositions * half);
  const sin = new Float32Array(numPositions * half);
  for (let p = 0; p < numPositions; p++)
    for (let i = 0; i < half; i++) {
      const angle = Math.fround(p * frequencies[i]!);
      cos[p * half + i] = Math.cos(angle) * factor;
      sin[p * half + i] = Math.sin(angle) * factor;
    }
  return { cos, sin };
}

/** Reads a whole config.json: rope_theta and rope_scaling, or transformers 5's rope_parameters, which holds both. */
export function parseRope(config: Record<string, unknown>, headDim: number): RopeConfig {
  const parameters = {
    partial_rotary_factor: config.partial_rotary_factor,
    max_position_embeddings: config.max_position_embeddings,
    original_max_position_embeddings: config.original_max_position_embeddings,
    ...(config.rope_parameters as object | null | undefined),
    ...(config.rope_scaling as object | null | undefined),
  };
  const theta = config.rope_theta ?? 10_000;
  if (typeof theta !== 'number' || !(theta > 0))
    throw new ConfigError(`config.json: rope_theta: expected a positive number, found ${JSON.stringify(theta)}.`);
  return parseRopeParameters(parameters, headDim, theta);
}

/** Reads one map of rope parameters. @param theta where the map has none */
export function parseRopeParameters(map: Record<string, unknown>, headDim: number, theta: number): RopeConfig {
  const reader = new ScalingReader(map);
  const rotaryDim = Math.floor(headDim * reader.number('partial_rotary_factor', 1));
  if (rotaryDim < 2 || rotaryDim % 2 !== 0 || rotaryDim > headDim)
    throw new ConfigError(
      `config.json: partial_rotary_factor: expected an even number of rotated elements up to ${headDim} a head, found ${rotaryDim}.`,
    );
  return { theta: reader.number('rope_theta', theta), rotaryDim, scaling: parseScaling(reader, rotaryDim) };
}

class ScalingReader {
  readonly map: Record<string, unknown>;

  constructor(map: Record<string, unknown>) {
    this.map = map;
  }

  number(key: string, fallback?: number): number {
    const value = this.map[key] ?? fallback;
    if (typeof value === 'number') return value;
    throw new ConfigError(`config.json: rope_scaling.${key}: expected a number, found ${JSON.stringify(value)}.`);
  }

  factors(key: string, length: number): number[] {
    const value = this.map[key];
    if (Array.isArray(value) && value.length === length && value.every((x) => typeof x === 'number' && x > 0))
      return value;
    throw new ConfigError(`config.json: rope_scaling.${key}: expected ${length} positive numbers.`);
  }
}

function parseScaling(reader: ScalingReader, rotaryDim: number): RopeScaling {
  const kind = String(reader.map.rope_type ?? reader.map.type ?? 'default');
  const original = () =>
    reader.number('original_max_position_embeddings', reader.map.max_position_embeddings as number);
  switch (kind) {
    case 'default':
      return { kind: 'none' };
    case 'linear':
      return { kind: 'linear', factor: reader.number('factor') };
    case 'llama3':
      return {
        kind: 'llama3',
        factor: reader.number('factor'),
        lowFreqFactor: reader.number('low_freq_factor'),
        highFreqFactor: reader.number('high_freq_factor'),
        originalContext: reader.number('original_max_position_embeddings'),
      };
    case 'yarn':
      return {
        kind: 'yarn',
        factor: reader.number('factor'),
        attentionFactor: yarnAttentionFactor(reader),
        originalContext: original(),
        betaFast: reader.number('beta_fast', 32),
        betaSlow: reader.number('beta_slow', 1),
        truncate: reader.map.truncate !== false,
      };
    case 'longrope':
    case 'su': {
      const originalContext = original();
      const factor = reader.number('factor', reader.number('max_position_embeddings') / originalContext);
      const attentionFactor = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(originalContext));
      return {
        kind: 'longrope',
        shortFactors: reader.factors('short_factor', rotaryDim / 2),
        longFactors: reader.factors('long_factor', rotaryDim / 2),
        attentionFactor: reader.number('attention_factor', attentionFactor),
        originalContext,
      };
    }
    default:
      throw new ConfigError(
        `config.json: rope_scaling of type "${kind}" is not supported by the native engine (default, linear, llama3, yarn and longrope are).`,
      );
  }
}

/** The temperature of YaRN's paper, section 3.4, or DeepSeek's ratio of two such. */
function yarnAttentionFactor(reader: ScalingReader): number {
  const factor = reader.number('factor');
  const scale = (weight: number) => (factor <= 1 ? 1 : 0.1 * weight * Math.log(factor) + 1);
  const { mscale, mscale_all_dim: all } = reader.map;
  const usual = mscale && all ? scale(mscale as number) / scale(all as number) : scale(1);
  return reader.number('attention_factor', usual);
}
