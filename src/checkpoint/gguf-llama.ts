// Translation of a GGUF of architecture "llama" into Hugging Face's words: config.json, tensor names, row order.
// Not a reader (gguf.ts). The one trap: llama.cpp rotates neighbouring rows of a head, Hugging Face row i with row i + headDim / 2,
// so the converter had interleaved the rows of q and k; unpermuteRows undoes exactly that.
import { ConfigError, DataError } from '../base/errors.ts';
import type { GgufFile, GgufMetadata } from './gguf.ts';
import { READABLE_TYPES } from './gguf-quants.ts';
import type { HfConfig } from './types.ts';

const SUPPORTED_ARCHITECTURES = ['llama'];

const OUTER: Record<string, string> = {
  token_embd: 'model.embed_tokens',
  output_norm: 'model.norm',
  output: 'lm_head',
};
const IN_LAYER: Record<string, string> = {
  attn_norm: 'input_layernorm',
  attn_q: 'self_attn.q_proj',
  attn_k: 'self_attn.k_proj',
  attn_v: 'self_attn.v_proj',
  attn_output: 'self_attn.o_proj',
  ffn_norm: 'post_attention_layernorm',
  ffn_gate: 'mlp.gate_proj',
  ffn_up: 'mlp.up_proj',
  ffn_down: 'mlp.down_proj',
};
/** Factors that divide the rotary frequencies: Llama 3's scaling, tabulated. It becomes rope_scaling, not a weight. */
const ROPE_FACTORS = 'rope_freqs.weight';

export interface TranslatedTensor {
  /** Its name in the GGUF. */
  source: string;
  name: string;
  /** Heads whose rows are interleaved, or undefined where the rows are as Hugging Face has them. */
  interleavedHeads: number | undefined;
}

export interface TranslatedModel {
  config: HfConfig;
  generationConfig: Record<string, unknown>;
  tensors: TranslatedTensor[];
}

/** Throws ConfigError for what is not supported, DataError for what is not sound. */
export function translateGguf(gguf: GgufFile): TranslatedModel {
  const architecture = gguf.metadata['general.architecture'];
  if (typeof architecture !== 'string')
    throw new DataError(gguf.file, 'its metadata lack general.architecture. Is it a model?');
  if (!SUPPORTED_ARCHITECTURES.includes(architecture))
    throw new ConfigError(
      `${gguf.file}: GGUF architecture "${architecture}" is not supported; supported: ${SUPPORTED_ARCHITECTURES.join(', ')}. ` +
        'Use the Hugging Face folder of the same model, or a model of a supported architecture.',
    );
  const keys = new Keys(gguf.file, gguf.metadata, architecture);
  if (keys.count('split.count', 1) > 1)
    throw new ConfigError(
      `${gguf.file}: is one part of ${keys.count('split.count', 1)}. Join them first: llama-gguf-split --merge FIRST_PART OUT.gguf`,
    );
  if (keys.count('llama.expert_count', 0) > 0)
    throw new ConfigError(
      `${gguf.file}: is a mixture of ${keys.count('llama.expert_count', 0)} experts; only dense models are supported.`,
    );
  refuseUnreadableTypes(gguf);
  const config = translateConfig(gguf, keys);
  return { config, generationConfig: generationOf(keys), tensors: translateTensors(gguf, config) };
}

/** Typed access to metadata; a missing or senseless value is a DataError that names the key. */
class Keys {
  private readonly file: string;
  private readonly metadata: GgufMetadata;
  private readonly architecture: string;

  constructor(file: string, metadata: GgufMetadata, architecture: string) {
    this.file = file;
    this.metadata = metadata;
    this.architecture = architecture;
  }

  private get(key: string): unknown {
    const value = this.metadata[key.replace('llama.', `${this.architecture}.`)];
    // Per-layer lists are how some architectures vary their layers; a constant list is just a number.
    return Array.isArray(value) && value.length > 0 && value.every((item) => item === value[0]) ? value[0] : value;
  }

  has(key: string): boolean {
    return this.get(key) !== undefined;
  }

  text(key: string): string | undefined {
    const value = this.get(key);
    return typeof value === 'string' ? value : undefined;
  }

  /** A whole number >= 0. */
  count(key: string, fallback?: number): number {
    const value = this.get(key) ?? fallback;
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
    throw new DataError(
      this.file,
      `metadata ${key}: expected a whole number, found ${Array.isArray(value) ? 'a list that varies by layer' : String(value)}.`,
    );
  }

  /** A finite number, given back as the shortest decimal of its f32 value: 1e-5, not 9.999999747378752e-06. */
  real(key: string, fallback?: number): number {
    const value = this.get(key) ?? fallback;
    if (typeof value === 'number' && Number.isFinite(value)) return shortestFloat32(value);
    throw new DataError(this.file, `metadata ${key}: expected a number, found ${String(value)}.`);
  }
}

function shortestFloat32(value: number): number {
  for (let digits = 1; digits <= 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === Math.fround(value)) return short;
  }
  return value;
}

function refuseUnreadableTypes(gguf: GgufFile): void {
  for (const tensor of gguf.tensors.values())
    if (!READABLE_TYPES.includes(tensor.type.name))
      throw new ConfigError(
        `${gguf.file}: tensor ${tensor.name} is stored as ${tensor.type.name}, which cannot be read; can be read: ${READABLE_TYPES.join(', ')}. ` +
          'Use a GGUF of at least 4 bits (Q4_K_M, Q8_0, BF16), or better the original Hugging Face folder.',
      );
}

function translateConfig(gguf: GgufFile, keys: Keys): HfConfig {
  const embedding = gguf.tensors.get('token_embd.weight');
  if (embedding?.dims.length !== 2)
    throw new DataError(gguf.file, 'has no tensor token_embd.weight of two dimensions.');
  const hidden = keys.count('llama.embedding_length');
  const heads = keys.count('llama.attention.head_count');
  if (heads < 1) throw new DataError(gguf.file, 'metadata llama.attention.head_count: expected at least 1, found 0.');
  const headDim = keys.count('llama.attention.key_length', Math.floor(hidden / heads));
  for (const key of ['llama.attention.value_length', 'llama.rope.dimension_count'])
    if (keys.count(key, headDim) !== headDim)
      throw new ConfigError(
        `${gguf.file}: ${key} is ${keys.count(key)} where heads have ${headDim}: such models are not supported.`,
      );
  const name = keys.text('general.name');
  const token = (key: string) => (keys.has(key) ? { value: keys.count(key) } : undefined);
  const config: Record<string, unknown> = {
    ...(name ? { _name_or_path: name } : {}),
    architectures: ['LlamaForCausalLM'],
    attention_bias: gguf.tensors.has('blk.0.attn_q.bias'),
    attention_dropout: 0,
    bos_token_id: token('tokenizer.ggml.bos_token_id')?.value ?? null,
    eos_token_id: token('tokenizer.ggml.eos_token_id')?.value ?? null,
    head_dim: headDim,
    hidden_act: 'silu',
    hidden_size: hidden,
    initializer_range: 0.02,
    intermediate_size: keys.count('llama.feed_forward_length'),
    max_position_embeddings: keys.count('llama.context_length'),
    mlp_bias: gguf.tensors.has('blk.0.ffn_up.bias'),
    model_type: 'llama',
    num_attention_heads: heads,
    num_hidden_layers: keys.count('llama.block_count'),
    num_key_value_heads: keys.count('llama.attention.head_count_kv', heads),
    rms_norm_eps: keys.real('llama.attention.layer_norm_rms_epsilon'),
    rope_scaling: ropeScalingOf(gguf, keys),
    rope_theta: keys.real('llama.rope.freq_base', 10_000),
    tie_word_embeddings: !gguf.tensors.has('output.weight'),
    torch_dtype: torchDtype(gguf),
    use_cache: true,
    vocab_size: embedding.dims[1]!,
  };
  const padding = token('tokenizer.ggml.padding_token_id');
  if (padding) config.pad_token_id = padding.value;
  return config as HfConfig;
}

/** The half-precision format that loses least of what the matrices hold; quantised ones fit bf16 best. */
function torchDtype(gguf: GgufFile): string {
  const types = new Set([...gguf.tensors.values()].filter((t) => t.dims.length > 1).map((t) => t.type.name));
  if (types.size > 1) return 'bfloat16';
  return types.has('F32') ? 'float32' : types.has('F16') ? 'float16' : 'bfloat16';
}

function generationOf(keys: Keys): Record<string, unknown> {
  const generation: Record<string, unknown> = {};
  if (keys.has('tokenizer.ggml.bos_token_id')) generation.bos_token_id = keys.count('tokenizer.ggml.bos_token_id');
  const ends = ['tokenizer.ggml.eos_token_id', 'tokenizer.ggml.eot_token_id']
    .filter((key) => keys.has(key))
    .map((key) => keys.count(key));
  const distinct = [...new Set(ends)];
  if (distinct.length > 0) generation.eos_token_id = distinct.length === 1 ? distinct[0] : distinct;
  return generation;
}

function ropeScalingOf(gguf: GgufFile, keys: Keys): Record<string, unknown> | null {
  if (gguf.tensors.has('rope_factors_long.weight'))
    throw new ConfigError(`${gguf.file}: its rotary scaling is "longrope", which is not supported.`);
  if (gguf.tensors.has(ROPE_FACTORS)) return llama3Scaling(gguf, keys);
  const type = keys.text('llama.rope.scaling.type') ?? (keys.has('llama.rope.scale_linear') ? 'linear' : 'none');
  const factor = keys.real(
    'llama.rope.scaling.factor',
    keys.has('llama.rope.scale_linear') ? keys.real('llama.rope.scale_linear') : 1,
  );
  if (type === 'none' || (type === 'linear' && factor === 1)) return null;
  if (type === 'linear') return { rope_type: 'linear', factor };
  if (type !== 'yarn')
    throw new ConfigError(
      `${gguf.file}: its rotary scaling is "${type}"; supported: none, linear, yarn and Llama 3's.`,
    );
  const scaling: Record<string, unknown> = { rope_type: 'yarn', factor };
  if (keys.has('llama.rope.scaling.original_context_length'))
    scaling.original_max_position_embeddings = keys.count('llama.rope.scaling.original_context_length');
  for (const [theirs, ours] of [
    ['yarn_beta_fast', 'beta_fast'],
    ['yarn_beta_slow', 'beta_slow'],
    ['attn_factor', 'attention_factor'],
  ] as const)
    if (keys.has(`llama.rope.scaling.${theirs}`)) scaling[ours] = keys.real(`llama.rope.scaling.${theirs}`);
  return scaling;
}

/**
 * Recovers Llama 3's parameters from the tabulated factors. Frequencies of long wavelengths are divided by `factor`, those of short
 * ones by 1, and in between 1 / value = (1 - s) / factor + s with s = (L / wavelength - low) / (high - low). Only L / low and L / high
 * matter, so low = 1, high = 4 and a context L are tried first (every published Llama 3), then a line is fitted to the middle.
 */
function llama3Scaling(gguf: GgufFile, keys: Keys): Record<string, unknown> | null {
  const factors = gguf.readF32(ROPE_FACTORS);
  const factor = shortestFloat32(factors.reduce((max, value) => Math.max(max, value), 0));
  if (factor === 1 && factors.every((value) => value === 1)) return null;
  const theta = keys.real('llama.rope.freq_base', 10_000);
  const wavelengths = Array.from(factors, (_, i) => 2 * Math.PI * theta ** (i / factors.length));
  const scaling = (low: number, high: number, context: number) => ({
    rope_type: 'llama3',
    factor,
    low_freq_factor: low,
    high_freq_factor: high,
    original_max_position_embeddings: context,
  });
  const explains = (low: number, high: number, context: number): boolean =>
    wavelengths.every((wavelength, i) => {
      const s = Math.min(1, Math.max(0, (context / wavelength - low) / (high - low)));
      const expected = 1 / ((1 - s) / factor + s);
      return Math.abs(expected - factors[i]!) <= 1e-4 * expected;
    });
  for (let context = 512; context <= 1 << 20; context *= 2) if (explains(1, 4, context)) return scaling(1, 4, context);
  const middle = wavelengths
    .map((wavelength, i) => ({ x: 1 / wavelength, s: (1 / factors[i]! - 1 / factor) / (1 - 1 / factor) }))
    .filter(({ s }) => s > 1e-3 && s < 1 - 1e-3);
  const first = middle[0];
  const last = middle.at(-1);
  if (first && last && first.x !== last.x) {
    const slope = (first.s - last.s) / (first.x - last.x);
    const context = Math.round(3 * slope);
    const low = -3 * (first.s - slope * first.x);
    if (explains(low, low + 3, context)) return scaling(low, low + 3, context);
  }
  throw new ConfigError(
    `${gguf.file}: ${ROPE_FACTORS} does not follow Llama 3's scaling; such a model is not supported.`,
  );
}

function translateTensors(gguf: GgufFile, config: HfConfig): TranslatedTensor[] {
  const heads = config.num_attention_heads as number;
  const kvHeads = config.num_key_value_heads as number;
  const tensors: TranslatedTensor[] = [];
  const unknown: string[] = [];
  for (const tensor of gguf.tensors.values()) {
    if (tensor.name === ROPE_FACTORS) continue;
    const match = /^(?:blk\.(\d{1,5})\.)?(\w+)\.(weight|bias)$/.exec(tensor.name);
    const [, layer, part = '', kind] = match ?? [];
    const name = layer === undefined ? OUTER[part] : IN_LAYER[part];
    if (!match || name === undefined) {
      unknown.push(tensor.name);
      continue;
    }
    const interleavedHeads = part === 'attn_q' ? heads : part === 'attn_k' ? kvHeads : undefined;
    const rows = tensor.dims.at(-1)!;
    if (interleavedHeads !== undefined && (interleavedHeads < 1 || rows % (2 * interleavedHeads) !== 0))
      throw new DataError(
        gguf.file,
        `tensor ${tensor.name} has ${rows} rows, which ${interleavedHeads} heads of even size cannot have.`,
      );
    const prefix = layer === undefined ? '' : `model.layers.${Number(layer)}.`;
    tensors.push({ source: tensor.name, name: `${prefix}${name}.${kind}`, interleavedHeads });
  }
  if (unknown.length > 0)
    throw new ConfigError(
      `${gguf.file}: ${unknown.length} tensors are not part of a dense Llama, the first: ${unknown.slice(0, 3).join(', ')}. This variant is not supported.`,
    );
  return tensors;
}

/** Rows [head][pair i][0 or 1] become [head][0 or 1][pair i]: the inverse of llama.cpp's conversion. A new array. */
export function unpermuteRows<T extends Float32Array | Uint16Array>(values: T, rows: number, heads: number): T {
  const out = values.slice() as T;
  const columns = values.length / rows;
  const half = rows / heads / 2;
  for (let head = 0; head < heads; head++)
    for (let side = 0; side < 2; side++)
      for (let i = 0; i < half; i++) {
        const from = (head * 2 * half + i * 2 + side) * columns;
        out.set(values.subarray(from, from + columns), (head * 2 * half + side * half + i) * columns);
      }
  return out;
}
