// The model a run begins with, as a Hugging Face folder: fetched, converted from GGUF, or made new with random weights and a tokenizer
// trained on the corpora. Conversions and new models are kept in the cache under the fingerprint of what went into them.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { ConfigError } from '../base/errors.ts';
import { fingerprint, sha256File } from '../base/hash.ts';
import { type HfConfig, type ModelSource, openModel, resolveModel, saveModel } from '../checkpoint/index.ts';
import type { Config, NewModelConfig } from '../config/index.ts';
import { findInputFiles, readCorpus } from '../corpus/index.ts';
import { referenceKernels } from '../kernels/index.ts';
import { exportTensors, initDecoder } from '../nn/index.ts';
import { loadTokenizer, type Tokenizer, trainBpe } from '../tokenizer/index.ts';

/** Text that a new tokenizer is trained on, characters: more changes little in the merges of a small vocabulary. */
const TOKENIZER_SAMPLE = 100_000_000;
const DOCUMENT_END = '<|endoftext|>';

/** @returns an absolute folder that openModel reads */
export async function prepareModel(config: Config, cache: string, say: (line: string) => void): Promise<string> {
  const { engine } = config;
  switch (config.model.kind) {
    case 'new':
      return newModel(config, config.model.new, cache, say);
    case 'hub': {
      const code = engine.name === 'torch' && engine.trustRemoteCode;
      return toFolder(await resolveModel(config.model.id, cache, { code }), cache, say);
    }
    case 'path':
      return toFolder(await resolveModel(config.model.path, cache), cache, say);
    default:
      return config.model satisfies never;
  }
}

/**
 * The model that tokens are chosen by (training.selectTokens), where one is named, as a folder.
 * @throws ConfigError where its tokens are not those of `model`
 */
export async function prepareReference(
  { file, training }: Config,
  model: string,
  cache: string,
  say: (line: string) => void,
): Promise<string | undefined> {
  const named = training.selectTokens?.reference;
  if (!named) return undefined;
  const folder = await toFolder(await resolveModel(named.kind === 'hub' ? named.id : named.path, cache), cache, say);
  const [ours, theirs] = [model, folder].map(vocabularyOf);
  const count = Math.max(ours!.length, theirs!.length);
  for (let id = 0; id < count; id++)
    if (ours![id] !== theirs![id])
      throw new ConfigError(
        `${file}: training.selectTokens.reference: expected a model with the same tokens; of ${folder}, token ${id} is ${JSON.stringify(theirs![id] ?? null)}, of the model ${JSON.stringify(ours![id] ?? null)}. Name a model of the same family, such as one that was trained further.`,
      );
  return folder;
}

/** The spelling of every token. */
function vocabularyOf(folder: string): (string | undefined)[] {
  const source = openModel(folder);
  try {
    const tokenizer = source.tokenizer();
    return Array.from({ length: tokenizer.vocabSize }, (_, id) => tokenizer.idToToken(id));
  } finally {
    source.close();
  }
}

/** A model folder as it stands; a GGUF file dequantised into one, exactly, as f32. */
export async function toFolder(target: string, cache: string, say: (line: string) => void): Promise<string> {
  const absolute = path.resolve(target);
  const source = openModel(absolute);
  try {
    if (source.format === 'huggingface') return absolute;
    const { size, mtimeMs } = fs.statSync(absolute);
    const folder = path.join(cache, `model-${fingerprint({ stage: 'gguf', version: 1, absolute, size, mtimeMs })}`);
    if (fs.existsSync(path.join(folder, 'config.json'))) return folder;
    say(`Converting ${path.basename(absolute)} to a Hugging Face folder in f32.`);
    await saveModel(folder, {
      config: { ...source.config, torch_dtype: 'float32' },
      generationConfig: source.generationConfig,
      tensors: [...source.tensors.values()].map(({ name, shape }) => ({
        name,
        shape,
        dtype: 'F32',
        data: () => bytesOf(source, name),
      })),
      tokenizerFiles: source.tokenizer().files,
    });
    return folder;
  } finally {
    source.close();
  }
}

function bytesOf(source: ModelSource, name: string): Uint8Array {
  const values = source.readF32(name);
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

async function newModel(
  config: Config,
  sizes: NewModelConfig,
  cache: string,
  say: (line: string) => void,
): Promise<string> {
  const tokenizerDigest = sizes.tokenizer ? sha256File(tokenizerFile(sizes.tokenizer)) : await textsOf(config);
  const seed = config.training.seed ?? 0;
  const folder = path.join(cache, `model-${fingerprint({ stage: 'new', version: 2, sizes, tokenizerDigest, seed })}`);
  if (fs.existsSync(path.join(folder, 'config.json'))) return folder;
  const tokenizer = sizes.tokenizer ? loadTokenizer(path.dirname(tokenizerFile(sizes.tokenizer))) : undefined;
  if (tokenizer && tokenizer.vocabSize > sizes.vocab)
    throw new ConfigError(
      `${config.file}: model.new.vocab: the tokenizer has ${tokenizer.vocabSize} tokens, found room for ${sizes.vocab}. Set vocab to at least ${tokenizer.vocabSize}.`,
    );
  const files = tokenizer?.files ?? (await trainTokenizer(config, sizes.vocab, say));
  const hfConfig = configOfNew(sizes, tokenizer);
  const decoder = initDecoder(hfConfig, seed, 'f32', referenceKernels);
  await saveModel(folder, { config: hfConfig, tensors: exportTensors(decoder), tokenizerFiles: files });
  return folder;
}

/** What a tokenizer would be trained on, as a value to be digested. */
function textsOf({ corpora, folder }: Config): Promise<unknown> {
  return Promise.all(
    corpora.map(async ({ name, paths, field, sourceDigest }) => ({
      name,
      field,
      files: sourceDigest ?? (await findInputFiles(paths, folder)).files,
    })),
  );
}

function tokenizerFile(given: string): string {
  return given.endsWith('.json') ? given : path.join(given, 'tokenizer.json');
}

async function trainTokenizer(
  config: Config,
  vocabSize: number,
  say: (line: string) => void,
): Promise<Tokenizer['files']> {
  say(`Training a tokenizer of ${vocabSize} tokens.`);
  const texts: string[] = [];
  // The same share of every corpus, so that a large one does not use up the sample.
  const share = TOKENIZER_SAMPLE / config.corpora.length;
  for (const corpus of config.corpora) {
    let length = 0;
    for await (const { text } of readCorpus({ ...corpus, baseFolder: config.folder })) {
      texts.push(text);
      length += text.length;
      if (length > share) break;
    }
  }
  return trainBpe(texts, { vocabSize, specialTokens: [DOCUMENT_END] });
}

function configOfNew(sizes: NewModelConfig, tokenizer: Tokenizer | undefined): HfConfig {
  const documentEnd = tokenizer?.documentEnd ?? 0;
  return {
    model_type: 'llama',
    architectures: ['LlamaForCausalLM'],
    vocab_size: sizes.vocab,
    hidden_size: sizes.hidden,
    intermediate_size: sizes.ffn,
    num_hidden_layers: sizes.layers,
    num_attention_heads: sizes.heads,
    num_key_value_heads: sizes.kvHeads,
    head_dim: sizes.headDim,
    max_position_embeddings: sizes.context,
    rope_theta: sizes.ropeTheta,
    rms_norm_eps: 1e-5,
    hidden_act: 'silu',
    tie_word_embeddings: sizes.tied,
    attention_bias: false,
    mlp_bias: false,
    initializer_range: 0.02,
    bos_token_id: documentEnd,
    eos_token_id: documentEnd,
    torch_dtype: 'float32',
  };
}
