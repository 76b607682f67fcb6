// The models that are measured, by name, and what a step of them costs. Their weights are random (speed does not depend on them), made once
// by transformers in the user's cache folder, so that all programs of a bench read the same file.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');

const llama = {
  model_type: 'llama',
  architectures: ['LlamaForCausalLM'],
  hidden_act: 'silu',
  rms_norm_eps: 1e-5,
  tie_word_embeddings: true,
  initializer_range: 0.02,
  bos_token_id: 0,
  eos_token_id: 0,
};

const MODELS = {
  // The demo's own, of data/.
  tiny: JSON.parse(fs.readFileSync(path.join(root, 'data/base-en-8m/config.json'), 'utf8')),
  // HuggingFaceTB/SmolLM2-135M and -360M.
  '135m': {
    ...llama,
    vocab_size: 49152,
    hidden_size: 576,
    intermediate_size: 1536,
    num_hidden_layers: 30,
    num_attention_heads: 9,
    num_key_value_heads: 3,
    max_position_embeddings: 8192,
    rope_theta: 100000,
  },
  '360m': {
    ...llama,
    vocab_size: 49152,
    hidden_size: 960,
    intermediate_size: 2560,
    num_hidden_layers: 32,
    num_attention_heads: 15,
    num_key_value_heads: 5,
    max_position_embeddings: 8192,
    rope_theta: 100000,
  },
  // meta-llama/Llama-3.2-1B.
  '1b': {
    ...llama,
    vocab_size: 128256,
    hidden_size: 2048,
    intermediate_size: 8192,
    num_hidden_layers: 16,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    head_dim: 64,
    max_position_embeddings: 131072,
    rope_theta: 500000,
    rope_scaling: {
      rope_type: 'llama3',
      factor: 32,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 8192,
    },
  },
  // meta-llama/Llama-3.1-8B.
  '8b': {
    ...llama,
    tie_word_embeddings: false,
    vocab_size: 128256,
    hidden_size: 4096,
    intermediate_size: 14336,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    max_position_embeddings: 131072,
    rope_theta: 500000,
    rope_scaling: {
      rope_type: 'llama3',
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 8192,
    },
  },
  // allenai/OLMoE-1B-7B-0924 at a quarter of its width and half its depth: as many experts, as many of them a token.
  'olmoe-260m': {
    model_type: 'olmoe',
    architectures: ['OlmoeForCausalLM'],
    vocab_size: 50304,
    hidden_size: 512,
    intermediate_size: 256,
    num_hidden_layers: 8,
    num_attention_heads: 4,
    num_key_value_heads: 4,
    num_experts: 64,
    num_experts_per_tok: 8,
    norm_topk_prob: false,
    hidden_act: 'silu',
    rms_norm_eps: 1e-5,
    max_position_embeddings: 4096,
    rope_theta: 10000,
    tie_word_embeddings: false,
    initializer_range: 0.02,
    bos_token_id: 0,
    eos_token_id: 0,
    pad_token_id: null,
  },
  // openai-community/gpt2 without dropout.
  'gpt2-124m': {
    model_type: 'gpt2',
    architectures: ['GPT2LMHeadModel'],
    vocab_size: 50257,
    n_embd: 768,
    n_layer: 12,
    n_head: 12,
    n_positions: 1024,
    layer_norm_epsilon: 1e-5,
    activation_function: 'gelu_new',
    attn_pdrop: 0,
    embd_pdrop: 0,
    resid_pdrop: 0,
    tie_word_embeddings: true,
    bos_token_id: 50256,
    eos_token_id: 50256,
  },
};

export const MODEL_NAMES = Object.keys(MODELS);

/** Sizes under one set of names, whatever the family calls them. */
function sizes(config) {
  const heads = config.num_attention_heads ?? config.n_head;
  const hidden = config.hidden_size ?? config.n_embd;
  const headDim = config.head_dim ?? hidden / heads;
  const kvHeads = config.num_key_value_heads ?? heads;
  const ffn = config.intermediate_size ?? 4 * hidden;
  const [experts, perToken] = [config.num_experts ?? 1, config.num_experts_per_tok ?? 1];
  return {
    hidden,
    heads,
    kvHeads,
    headDim,
    layers: config.num_hidden_layers ?? config.n_layer,
    // What a token passes, and all of it; a router has a row an expert.
    ffn: ffn * perToken,
    allFfn: ffn * experts,
    routerRows: experts > 1 ? experts : 0,
    vocab: config.vocab_size,
    queryDim: heads * headDim,
    kvDim: kvHeads * headDim,
    upMatrices: config.model_type === 'gpt2' ? 1 : 2,
    positions: config.model_type === 'gpt2' ? config.n_positions : 0,
    outputRows: config.tie_word_embeddings ? 0 : config.vocab_size,
    // Norms and biases: of a layer, and at the end.
    layerVectors: { gpt2: 13, olmoe: 4 }[config.model_type] ?? 2,
    finalVectors: config.model_type === 'gpt2' ? 2 : 1,
  };
}

/** @throws Error naming the known models */
export function modelNamed(name) {
  const config = MODELS[name];
  if (!config) throw new Error(`--model: one of ${MODEL_NAMES.join(', ')}; found ${JSON.stringify(name)}`);
  const s = sizes(config);
  const matrices = (ffn) => s.hidden * (2 * s.queryDim + 2 * s.kvDim + s.routerRows + (s.upMatrices + 1) * ffn);
  return {
    name,
    config,
    vocab: s.vocab,
    sizes: s,
    numParameters:
      (s.vocab + s.outputRows + s.positions) * s.hidden +
      s.layers * (matrices(s.allFfn) + s.layerVectors * s.hidden) +
      s.finalVectors * s.hidden,
    /**
     * Floating-point operations of a training step a token: 6 a matrix weight that it passes (of the embedding the output projection
     * alone), and attention's two products over the causal half, three times.
     */
    flopsPerToken: (seqLen) =>
      6 * (s.layers * matrices(s.ffn) + s.vocab * s.hidden) + 6 * s.layers * s.queryDim * seqLen,
  };
}

/** Python with torch and transformers, of test/python/requirements.txt. */
export function python() {
  return execFileSync('bash', [path.join(root, 'test/python/env.sh')], { encoding: 'utf8' }).trim();
}

/** The Hugging Face folder with a model's bf16 weights; made when it is not there. */
export function modelFolder(model) {
  const digest = createHash('sha256').update(JSON.stringify(model.config)).digest('hex').slice(0, 8);
  const cache = path.join(process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), '.cache'), 'continuo/bench');
  const folder = path.join(cache, `${model.name}-${digest}`);
  if (!fs.existsSync(folder)) {
    fs.mkdirSync(cache, { recursive: true });
    process.stderr.write(`making ${folder}\n`);
    const script = path.join(root, 'bench/peers/make_model.py');
    execFileSync(python(), [script, JSON.stringify(model.config), folder], { stdio: ['ignore', 'ignore', 'inherit'] });
  }
  return folder;
}
