// Writes a model as a Hugging Face folder that transformers and others load as it stands.
// Tensors are asked for one at a time, in order, and dropped once written: memory does not grow with the model.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { explainSystemError, writeFolderAtomic } from '../base/files.ts';
import { stringifyWithFloats } from './float-notation.ts';
import { tensorBytes, writeSafetensors } from './safetensors.ts';
import type { HfConfig, ModelToWrite, TensorDtype, TensorToWrite } from './types.ts';

const DEFAULT_SHARD_BYTES = 5_000_000_000;

/** Writes the whole folder or nothing; a folder that was there is replaced once the new one is complete. */
export async function saveModel(folder: string, model: ModelToWrite): Promise<void> {
  await writeFolderAtomic(folder, (temporary) => writeModelInto(temporary, model));
}

/** Writes the model's files into an existing folder that the caller makes durable (see writeFolderAtomic). */
export function writeModelInto(folder: string, model: ModelToWrite): void {
  try {
    writeJson(folder, 'config.json', withDtype(model));
    if (model.generationConfig) writeJson(folder, 'generation_config.json', model.generationConfig);
    writeJson(folder, 'tokenizer.json', model.tokenizerFiles['tokenizer.json']);
    writeJson(folder, 'tokenizer_config.json', model.tokenizerFiles['tokenizer_config.json']);
    if (model.modelCard !== undefined) fs.writeFileSync(path.join(folder, 'README.md'), model.modelCard);
    writeWeights(folder, model.tensors, model.maxShardBytes ?? DEFAULT_SHARD_BYTES);
  } catch (error) {
    throw explainSystemError(error, folder, 'writing the model');
  }
}

const DTYPE_NAMES: Record<TensorDtype, string | undefined> = {
  F32: 'float32',
  F16: 'float16',
  BF16: 'bfloat16',
  U16: undefined,
};

/** config.json says how most of the weights are stored. transformers 4 reads torch_dtype, 5 prefers dtype: they must not differ. */
function withDtype({ config, tensors }: ModelToWrite): HfConfig {
  const bytes = new Map<string, number>();
  for (const { shape, dtype } of tensors) {
    const name = DTYPE_NAMES[dtype];
    if (name) bytes.set(name, (bytes.get(name) ?? 0) + tensorBytes(shape, dtype));
  }
  const main = [...bytes].sort((a, b) => b[1] - a[1])[0]?.[0];
  if (!main) return config;
  return { ...config, torch_dtype: main, ...('dtype' in config ? { dtype: main } : {}) };
}

function writeJson(folder: string, name: string, value: unknown): void {
  fs.writeFileSync(path.join(folder, name), `${stringifyWithFloats(value)}\n`);
}

function writeWeights(folder: string, tensors: readonly TensorToWrite[], maxShardBytes: number): void {
  const shards = splitIntoShards(tensors, maxShardBytes);
  if (shards.length <= 1) {
    writeSafetensors(path.join(folder, 'model.safetensors'), tensors);
    return;
  }
  const weightMap: [string, string][] = [];
  let totalSize = 0;
  shards.forEach((shard, i) => {
    const name = `model-${number(i + 1)}-of-${number(shards.length)}.safetensors`;
    totalSize += writeSafetensors(path.join(folder, name), shard);
    for (const tensor of shard) weightMap.push([tensor.name, name]);
  });
  writeJson(folder, 'model.safetensors.index.json', {
    metadata: { total_size: totalSize },
    weight_map: Object.fromEntries(weightMap),
  });
}

/** Consecutive tensors until the next one would pass the limit; one that is larger by itself has a shard of its own. */
function splitIntoShards(tensors: readonly TensorToWrite[], maxBytes: number): TensorToWrite[][] {
  const shards: TensorToWrite[][] = [];
  let left = 0;
  for (const tensor of tensors) {
    const bytes = tensorBytes(tensor.shape, tensor.dtype);
    if (shards.length === 0 || bytes > left) {
      shards.push([]);
      left = maxBytes;
    }
    shards.at(-1)!.push(tensor);
    left -= bytes;
  }
  return shards;
}

function number(n: number): string {
  return String(n).padStart(5, '0');
}
