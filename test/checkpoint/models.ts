// Tiny Hugging Face folders for tests: a byte-level tokenizer of 28 tokens and a random Llama of one layer.

import { Rng } from '../../src/base/rng.ts';
import type { HfConfig, ModelToWrite, TensorToWrite } from '../../src/checkpoint/types.ts';
import { f32Tensor, u16Tensor } from './helpers.ts';

const LETTERS = [...'abcdefghijklmnopqrstuvwxyz', 'Ġ'];

export function tokenizerFiles(
  special: string[] = ['<|endoftext|>'],
  chatTemplate?: string,
): ModelToWrite['tokenizerFiles'] {
  const tokens = [...special, ...LETTERS];
  return {
    'tokenizer.json': {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: special.map((content, id) => ({
        id,
        content,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true,
      })),
      normalizer: null,
      pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
      post_processor: null,
      decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
      model: {
        type: 'BPE',
        dropout: null,
        unk_token: null,
        fuse_unk: false,
        byte_fallback: false,
        vocab: Object.fromEntries(tokens.map((t, i) => [t, i])),
        merges: [],
      },
    },
    'tokenizer_config.json': {
      bos_token: special[0],
      eos_token: special.at(-1),
      tokenizer_class: 'PreTrainedTokenizerFast',
      ...(chatTemplate === undefined ? {} : { chat_template: chatTemplate }),
    },
  };
}

export const TINY_CONFIG: HfConfig = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  vocab_size: 32,
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: true,
  torch_dtype: 'float32',
};

const SHAPES: [string, number[]][] = [
  ['model.embed_tokens.weight', [32, 8]],
  ['model.layers.0.input_layernorm.weight', [8]],
  ['model.layers.0.self_attn.q_proj.weight', [8, 8]],
  ['model.layers.0.self_attn.k_proj.weight', [4, 8]],
  ['model.layers.0.self_attn.v_proj.weight', [4, 8]],
  ['model.layers.0.self_attn.o_proj.weight', [8, 8]],
  ['model.layers.0.post_attention_layernorm.weight', [8]],
  ['model.layers.0.mlp.gate_proj.weight', [12, 8]],
  ['model.layers.0.mlp.up_proj.weight', [12, 8]],
  ['model.layers.0.mlp.down_proj.weight', [8, 12]],
  ['model.norm.weight', [8]],
];

export function tinyTensors(dtype: 'F32' | 'F16' | 'BF16' = 'F32'): TensorToWrite[] {
  return SHAPES.map(([name, shape]) => {
    const rng = new Rng(3, name);
    const length = shape.reduce((a, b) => a * b, 1);
    if (dtype === 'F32')
      return f32Tensor(
        name,
        shape,
        Float32Array.from({ length }, () => rng.normal()),
      );
    return u16Tensor(
      name,
      shape,
      dtype,
      Uint16Array.from({ length }, () => rng.below(0x7000)),
    );
  });
}

export function tinyModel(changes: Partial<ModelToWrite> = {}): ModelToWrite {
  return { config: TINY_CONFIG, tensors: tinyTensors(), tokenizerFiles: tokenizerFiles(), ...changes };
}
