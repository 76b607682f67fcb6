// The families that the native engine knows, by config.json's model_type.
import { ConfigError } from '../../base/errors.ts';
import { gemma, gemma2, gemma3 } from './gemma.ts';
import { gptNeoX } from './gpt-neox.ts';
import { gpt2 } from './gpt2.ts';
import { llama, smollm3 } from './llama.ts';
import { mistral } from './mistral.ts';
import { mixtral } from './mixtral.ts';
import { olmo2 } from './olmo2.ts';
import { olmoe } from './olmoe.ts';
import { phi3 } from './phi3.ts';
import { qwen2, qwen3 } from './qwen.ts';
import { qwen3Moe } from './qwen3-moe.ts';
import type { DecoderConfig, Family } from './types.ts';

const FAMILIES: readonly Family[] = [
  llama,
  smollm3,
  mistral,
  mixtral,
  qwen2,
  qwen3,
  qwen3Moe,
  gemma,
  gemma2,
  gemma3,
  olmo2,
  olmoe,
  phi3,
  gpt2,
  gptNeoX,
];

export const SUPPORTED_MODEL_TYPES: readonly string[] = FAMILIES.flatMap((family) => family.modelTypes);

/** @throws ConfigError for an architecture that this engine does not know */
export function findFamily(config: Record<string, unknown>): Family {
  const modelType = String(config.model_type ?? '(none)');
  const family = FAMILIES.find((candidate) => candidate.modelTypes.includes(modelType));
  if (family) return family;
  throw new ConfigError(
    `config.json: model_type "${modelType}" is not supported by the native engine. Supported: ${SUPPORTED_MODEL_TYPES.join(', ')}. ` +
      'The PyTorch engine trains every causal language model of transformers: set engine: torch. Its checkpoints are scored and served by what takes Hugging Face folders: lm-evaluation-harness, vLLM.',
  );
}

/** What the native engine would run; undefined where it cannot, which says nothing about the PyTorch engine. */
export function knownDecoder(config: Record<string, unknown>): DecoderConfig | undefined {
  if (!SUPPORTED_MODEL_TYPES.includes(String(config.model_type))) return undefined;
  try {
    return findFamily(config).parse(config);
  } catch (error) {
    if (error instanceof ConfigError) return undefined;
    throw error;
  }
}

export type {
  Affine,
  DecoderConfig,
  ExpertsConfig,
  ExpertsOf,
  Family,
  LayerOf,
  ModelOf,
  ParameterSpec,
} from './types.ts';
export { leaves, mapParameters } from './types.ts';
