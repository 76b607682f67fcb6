// Reads values of config.json, each checked, with a message that names the key.
import { ConfigError } from '../../base/errors.ts';
import type { ActivationFunction } from '../../kernels/index.ts';

/** Names that Hugging Face uses for what our kernels compute. */
const ACTIVATIONS: Record<string, ActivationFunction> = {
  silu: 'silu',
  swish: 'silu',
  gelu: 'gelu',
  gelu_new: 'gelu_tanh',
  gelu_pytorch_tanh: 'gelu_tanh',
};

export class Fields {
  readonly config: Record<string, unknown>;

  constructor(config: Record<string, unknown>) {
    this.config = config;
  }

  /** @throws ConfigError always */
  refuse(key: string, expected: string): never {
    throw new ConfigError(
      `config.json: ${key}: expected ${expected}, found ${JSON.stringify(this.config[key] ?? null)}.`,
    );
  }

  /** A positive whole number. */
  size(key: string, fallback?: number): number {
    const value = this.config[key] ?? fallback;
    if (typeof value !== 'number' || !Number.isInteger(value) || value < 1)
      throw new ConfigError(`config.json: ${key}: expected a positive whole number, found ${JSON.stringify(value)}.`);
    return value;
  }

  /** A positive number. */
  real(key: string, fallback: number): number {
    const value = this.config[key] ?? fallback;
    if (typeof value !== 'number' || !(value > 0))
      throw new ConfigError(`config.json: ${key}: expected a positive number, found ${JSON.stringify(value)}.`);
    return value;
  }

  /** A number of 0 or above. */
  notNegative(key: string, fallback: number): number {
    const value = this.config[key] ?? fallback;
    return typeof value === 'number' && value >= 0 ? value : this.refuse(key, 'a number of 0 or above');
  }

  flag(key: string, fallback: boolean): boolean {
    const value = this.config[key] ?? fallback;
    return typeof value === 'boolean' ? value : this.refuse(key, 'true or false');
  }

  activation(key: string, fallback: string): ActivationFunction {
    const value = this.config[key] ?? fallback;
    return ACTIVATIONS[String(value)] ?? this.refuse(key, `one of ${Object.keys(ACTIVATIONS).join(', ')}`);
  }

  /** One entry a layer, or undefined where the key is absent. */
  perLayer<T>(key: string, numLayers: number): T[] | undefined {
    const value = this.config[key];
    if (value === undefined || value === null) return undefined;
    if (!Array.isArray(value) || value.length !== numLayers) this.refuse(key, `a list of ${numLayers} entries`);
    return value as T[];
  }

  /** Whether each layer's attention is local: from layer_types, else by `isLocal`. */
  localLayers(numLayers: number, isLocal: (layer: number) => boolean): boolean[] {
    const types = this.perLayer<string>('layer_types', numLayers);
    return Array.from({ length: numLayers }, (_, i) => {
      if (!types) return isLocal(i);
      if (types[i] !== 'sliding_attention' && types[i] !== 'full_attention')
        this.refuse('layer_types', 'entries "sliding_attention" or "full_attention"');
      return types[i] === 'sliding_attention';
    });
  }
}
