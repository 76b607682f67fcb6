// The families that the native engine knows, by config.json's model_type.
import { ConfigError } from '../../base/errors.ts';
import { llama } from './llama.ts';
import type { Family } from './types.ts';

const FAMILIES: readonly Family[] = [llama];

export const SUPPORTED_MODEL_TYPES: readonly string[] = FAMILIES.flatMap((family) => family.modelTypes);

export function findFamily(config: Record<string, unknown>): Family {
  const modelType = String(config.model_type ?? '(none)');
  const family = FAMILIES.find((candidate) => candidate.modelTypes.includes(modelType));
  if (family) return family;
  throw new ConfigError(
    `config.json: model_type "${modelType}" is not supported by the native engine. Supported: ${SUPPORTED_MODEL_TYPES.join(', ')}.`,
  );
}

export type { DecoderConfig, Family, LayerSpecs, ModelSpecs, ParameterSpec } from './types.ts';
