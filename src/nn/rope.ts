// Rotary frequencies: plain (Su et al. 2021), linear interpolation (Chen et al. 2023) and Llama 3.1's scaling by wavelength.
// Angles are computed in f64 and rounded once to f32, as tables [positions, headDim / 2].
import { ConfigError } from '../base/errors.ts';

export type RopeScaling =
  | { kind: 'none' }
  | { kind: 'linear'; factor: number }
  | { kind: 'llama3'; factor: number; lowFreqFactor: number; highFreqFactor: number; originalContext: number };

export interface RopeTable {
  cos: Float32Array;
  sin: Float32Array;
}

/** Radians a position for each pair of a head, [headDim / 2]. */
export function ropeFrequencies(headDim: number, theta: number, scaling: RopeScaling): Float64Array {
  const frequencies = Float64Array.from({ length: headDim / 2 }, (_, i) => theta ** (-(2 * i) / headDim));
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
    default:
      return scaling satisfies never;
  }
}

export function ropeTable(headDim: number, theta: number, scaling: RopeScaling, numPositions: number): RopeTable {
  // Hugging Face keeps the frequencies and the angle in f32; following it keeps logits equal at large positions.
  const frequencies = Float32Array.from(ropeFrequencies(headDim, theta, scaling));
  const half = headDim / 2;
  const cos = new Float32Array(numPositions * half);
  const sin = new Float32Array(numPositions * half);
  for (let p = 0; p < numPositions; p++)
    for (let i = 0; i < half; i++) {
      const angle = Math.fround(p * frequencies[i]!);
      cos[p * half + i] = Math.cos(angle);
      sin[p * half + i] = Math.sin(angle);
    }
  return { cos, sin };
}

/** Reads rope_scaling (or transformers 5's rope_parameters) of a config.json. */
export function parseRopeScaling(raw: unknown): RopeScaling {
  if (!raw || typeof raw !== 'object') return { kind: 'none' };
  const o = raw as Record<string, unknown>;
  const kind = String(o.rope_type ?? o.type ?? 'default');
  const number = (key: string): number => {
    if (typeof o[key] === 'number') return o[key];
    throw new ConfigError(`config.json: rope_scaling.${key}: expected a number, found ${JSON.stringify(o[key])}.`);
  };
  if (kind === 'default') return { kind: 'none' };
  if (kind === 'linear') return { kind: 'linear', factor: number('factor') };
  if (kind === 'llama3')
    return {
      kind: 'llama3',
      factor: number('factor'),
      lowFreqFactor: number('low_freq_factor'),
      highFreqFactor: number('high_freq_factor'),
      originalContext: number('original_max_position_embeddings'),
    };
  throw new ConfigError(
    `config.json: rope_scaling of type "${kind}" is not supported by the native engine (default, linear and llama3 are).`,
  );
}
