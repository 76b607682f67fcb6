// Pieces of the Python and YAML that several writers generate.
import * as path from 'node:path';
import { ConfigError } from '../base/errors.ts';
import { readJson, writeFileAtomic } from '../base/files.ts';
import type { JobReader } from '../shards/index.ts';

/** A string as Python, JSON and YAML alike read it. */
export const quoted = (text: string): string => JSON.stringify(text);

/** A word that the shell takes as it stands. */
export const bash = (word: string): string =>
  /^[A-Za-z0-9_./:@=,+-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;

/** The line that scores a trained model. @param model ready for the shell */
export const evalCommand = (model: string, config: string): string => `continuo eval ${model} --config ${bash(config)}`;

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

/** A name of config.json, or of an attribute in transformers' modules, that is a probability of dropping something in training. */
export const DROPOUT = '(dropout(_prob)?|pdrop|layerdrop)$';

/** Keys of config.json by which transformers would drop activations in training, which our engines never do; of what is nested with a dot. */
export function dropoutsOf(model: string): string[] {
  const config = readJson<Record<string, unknown>>(path.join(model, 'config.json'));
  const whole = config.model_type === 'gpt2' ? { ...GPT2_DROPOUTS, ...config } : config;
  const pattern = new RegExp(DROPOUT);
  return Object.entries(whole)
    .flatMap(([key, value]) =>
      isObject(value)
        ? Object.entries(value).map(([inner, its]) => [`${key}.${inner}`, its] as const)
        : [[key, value] as const],
    )
    .filter(([key, value]) => pattern.test(key) && !/classifier|summary/.test(key) && Number(value) > 0)
    .map(([key]) => key);
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** @throws ConfigError for a model that a framework without an option against it would train with dropout */
export function refuseDropout(model: string, framework: string, keys: readonly string[] = dropoutsOf(model)): void {
  if (keys.length > 0)
    throw new ConfigError(
      `${path.join(model, 'config.json')}: ${framework} would train with dropout (${keys.join(', ')}), which the plan does not have, and has no option against it. Set these keys to 0 in a copy of the model, or export for trl.`,
    );
}
