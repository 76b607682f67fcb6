// Mistral: Llama with a sliding window in every layer (Jiang et al. 2023); later versions set none.
import { Fields } from './fields.ts';
import { parseLlamaLike, specsLlamaLike } from './llama-like.ts';
import type { DecoderConfig, Family } from './types.ts';

function parse(config: Record<string, unknown>): DecoderConfig {
  const base = parseLlamaLike(config, 'mistral');
  // An absent key means the first version's window; null means none.
  const window = config.sliding_window === null ? 0 : new Fields(config).size('sliding_window', 4096);
  return { ...base, layers: base.layers.map((layer) => ({ ...layer, window })) };
}

export const mistral: Family = { modelTypes: ['mistral'], parse, specs: (config) => specsLlamaLike(config) };
