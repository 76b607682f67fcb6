// Pieces of the Python and YAML that several writers generate.
import * as path from 'node:path';
import { readJson, writeFileAtomic } from '../base/files.ts';
import type { JobReader } from '../shards/index.ts';

/** A string as Python, JSON and YAML alike read it. */
export const quoted = (text: string): string => JSON.stringify(text);

/** A number as Python and YAML 1.1 read it: 1e-8 would be a string to the latter. */
export function decimal(value: number): string {
  const text = String(value);
  return /^-?\d+e/.test(text) ? text.replace('e', '.0e') : text;
}

/** What a step is trained at, as raw numbers; docs/formats-data.md, schedule.f32. */
export function writeLrs(folder: string, name: string, job: JobReader): void {
  const lrs = Float32Array.from({ length: job.job.numSteps }, (_, step) => job.lrAt(step));
  const bytes = Buffer.alloc(4 * lrs.length);
  lrs.forEach((lr, step) => {
    bytes.writeFloatLE(lr, 4 * step);
  });
  writeFileAtomic(path.join(folder, name), bytes);
}

/** transformers' class of one layer: LlamaForCausalLM has LlamaDecoderLayer; a few are named otherwise. */
export function layerClass(model: string): string {
  const { architectures = [] } = readJson<{ architectures?: string[] }>(path.join(model, 'config.json'));
  const name = architectures[0]?.replace(/(ForCausalLM|LMHeadModel)$/, '') ?? '';
  return { GPT2: 'GPT2Block', GPTNeoX: 'GPTNeoXLayer' }[name] ?? `${name}DecoderLayer`;
}

/** transformers' GPT-2 has them where config.json is silent, too. */
const GPT2_DROPOUTS = { embd_pdrop: 0.1, attn_pdrop: 0.1, resid_pdrop: 0.1 };

/** Keys of config.json by which transformers would drop activations in training, which our engines never do. */
export function dropoutsOf(model: string): string[] {
  const config = readJson<Record<string, unknown>>(path.join(model, 'config.json'));
  const whole = config.model_type === 'gpt2' ? { ...GPT2_DROPOUTS, ...config } : config;
  return Object.entries(whole)
    .filter(([key, value]) => /(dropout|pdrop)$/.test(key) && !/classifier|summary/.test(key) && Number(value) > 0)
    .map(([key]) => key);
}
