// A task file's configuration, checked and with its defaults (lm-evaluation-harness 0.4.13, lm_eval/config/task.py). What needs Python is
// replaced by its twin, or refused by name.
import * as path from 'node:path';
import { ConfigError, nearestName } from '../../base/errors.ts';
import { compileTemplate, type Template, TemplateError } from '../python/jinja.ts';
import { repr, stripEnd } from '../python/text.ts';
import { type Twin, twinsOf } from '../twins/index.ts';
import type { TaskResult } from '../types.ts';
import { type FilterPipeline, readFilters } from './filters.ts';
import { type Metric, readMetrics } from './metrics.ts';
import { type ChosenTask, versionOf } from './registry.ts';
import { FunctionName, type RawConfig } from './yaml.ts';

export type Doc = Record<string, unknown>;
export type OutputType = TaskResult['outputType'];

/** How a text, target or list of choices is made of a document. */
export type Field =
  | { kind: 'constant'; value: unknown }
  /** A field of that name where documents have one, else a template. */
  | { kind: 'text'; text: string; template: () => Template }
  | { kind: 'twin'; twin: Twin };

export interface FewShot {
  sampler: 'default' | 'first_n';
  split?: string;
  processDocs?: Twin;
  samples?: readonly Doc[] | Twin;
  text?: Field;
  target?: Field;
  choice?: Field;
  genPrefix?: Field;
  fewshotDelimiter: string;
  targetDelimiter: string;
}

export interface DatasetRequest {
  path: string;
  name?: string;
  kwargs: RawConfig;
  /** Relative paths start here, then at the working folder. */
  folder: string;
}

export interface TaskDefinition {
  name: string;
  alias: string;
  version: string;
  file: string;
  groups: readonly string[];
  raw: RawConfig;
  metadata: RawConfig;
  dataset?: DatasetRequest;
  customDataset?: Twin;
  trainingSplit?: string;
  validationSplit?: string;
  testSplit?: string;
  processDocs?: Twin;
  outputType: OutputType;
  text: Field;
  target: Field;
  choice?: Field;
  description?: Field;
  genPrefix?: Field;
  targetDelimiter: string;
  fewshotDelimiter: string;
  /** undefined where the task says nothing. */
  numFewShot?: number;
  fewShot: FewShot;
  generation: Generation;
  repeats: number;
  filters: readonly FilterPipeline[];
  metrics: readonly Metric[];
  processResults?: Twin;
  runsCode: boolean;
}

export interface Generation {
  until: readonly string[];
  maxTokens: number;
  temperature: number;
  topP?: number;
  topK?: number;
  /** As the task file has it, for the samples file. */
  raw: RawConfig;
}

const OUTPUT_TYPES = ['loglikelihood', 'loglikelihood_rolling', 'multiple_choice', 'generate_until'] as const;
const IGNORED = ['tag', 'group', 'task_list', 'should_decontaminate', 'doc_to_decontamination_query', 'recipe'];
const KEYS = [
  ...IGNORED,
  'task',
  'task_alias',
  'class',
  'custom_dataset',
  'dataset_path',
  'dataset_name',
  'dataset_kwargs',
  'training_split',
  'validation_split',
  'test_split',
  'fewshot_split',
  'process_docs',
  'doc_to_text',
  'doc_to_target',
  'doc_to_image',
  'doc_to_audio',
  'unsafe_code',
  'doc_to_choice',
  'process_results',
  'use_prompt',
  'description',
  'target_delimiter',
  'fewshot_delimiter',
  'fewshot_config',
  'num_fewshot',
  'metric_list',
  'output_type',
  'generation_kwargs',
  'repeats',
  'filter_list',
  'gen_prefix',
  'metadata',
];
const FEWSHOT_KEYS = [
  'sampler',
  'split',
  'process_docs',
  'fewshot_indices',
  'samples',
  'doc_to_text',
  'doc_to_choice',
  'doc_to_target',
  'gen_prefix',
  'fewshot_delimiter',
  'target_delimiter',
  'num_fewshot',
];
/** Tokens that lm-evaluation-harness's models generate at most where a task does not say. */
const DEFAULT_MAX_TOKENS = 256;

/** @throws ConfigError naming the task and what is wrong or cannot be done */
export function defineTask(task: ChosenTask): TaskDefinition {
  return new Definer(task).define();
}

/** The twin of a function that a task file names. @throws ConfigError where it has none */
export function twinOf(name: FunctionName, where: string): Twin {
  const twins = twinsOf(name.folder);
  const twin = twins && Object.hasOwn(twins, name.name) ? twins[name.name] : undefined;
  if (twin) return twin;
  throw new ConfigError(
    `${where} is the Python function ${name.name} of ${name.folder}, which has no twin here. Python is not run: write it as a template or` +
      ' a field name, prepare the data beforehand, or score this task with lm-evaluation-harness.',
  );
}

class Definer {
  private readonly task: ChosenTask;
  private readonly config: RawConfig;

  constructor(task: ChosenTask) {
    this.task = task;
    const { class: own, ...rest } = task.config;
    const config = own instanceof FunctionName ? { ...rest, ...this.ofClass(own) } : task.config;
    // A key without a value is as good as absent.
    this.config = Object.fromEntries(Object.entries(config).filter(([, value]) => value !== null));
  }

  /** The configuration that does what a Python class does. */
  private ofClass(name: FunctionName): RawConfig {
    return twinOf(name, this.where('class'))(this.task.config) as RawConfig;
  }

  define(): TaskDefinition {
    const { config } = this;
    for (const key of Object.keys(config)) this.checkKey(key, KEYS, 'key');
    if (config.class !== undefined)
      this.refuse(`it is the Python class ${String((config.class as FunctionName).name)}`);
    for (const key of ['doc_to_image', 'doc_to_audio'])
      if (config[key] !== undefined) this.refuse(`it shows images or sound (${key}); only text is supported`);
    if (config.use_prompt !== undefined) this.refuse('use_prompt needs promptsource; write the prompt as doc_to_text');
    const outputType = this.outputType();
    const targetDelimiter = this.optionalText('target_delimiter') ?? ' ';
    const fewshotDelimiter = this.optionalText('fewshot_delimiter') ?? '\n\n';
    const filters = readFilters(config.filter_list, this.where('filter_list'));
    const processResults = this.twin('process_results');
    const metadata = (typeof config.metadata === 'object' ? config.metadata : {}) as RawConfig;
    return {
      name: this.task.name,
      alias: this.optionalText('task_alias') ?? this.task.name,
      version: versionOf(config),
      file: this.task.file,
      groups: this.task.groups,
      raw: this.task.config,
      metadata,
      dataset: this.dataset(),
      customDataset: this.twin('custom_dataset'),
      trainingSplit: this.optionalText('training_split'),
      validationSplit: this.optionalText('validation_split'),
      testSplit: this.optionalText('test_split'),
      processDocs: this.twin('process_docs'),
      outputType,
      text: this.field('doc_to_text', '') as Field,
      target: this.field('doc_to_target', '') as Field,
      choice: this.field('doc_to_choice'),
      description: this.field('description'),
      genPrefix: this.field('gen_prefix'),
      targetDelimiter,
      fewshotDelimiter,
      numFewShot: this.optionalCount('num_fewshot'),
      fewShot: this.fewShot(targetDelimiter, fewshotDelimiter),
      generation: this.generation(fewshotDelimiter),
      repeats: this.optionalCount('repeats') ?? 1,
      filters,
      metrics: readMetrics(config.metric_list, outputType, processResults !== undefined, this.where('metric_list')),
      processResults,
      runsCode: config.unsafe_code === true,
    };
  }

  private where(key: string): string {
    return `${this.task.file}: task ${this.task.name}: ${key}`;
  }

  private refuse(reason: string): never {
    throw new ConfigError(`${this.task.file}: task ${this.task.name} cannot be run here: ${reason}.`);
  }

  private checkKey(key: string, known: readonly string[], what: string): void {
    if (known.includes(key)) return;
    const near = nearestName(key, known);
    throw new ConfigError(`${this.where(key)}: no such ${what}.${near ? ` Did you mean "${near}"?` : ''}`);
  }

  private outputType(): OutputType {
    const given = this.config.output_type ?? 'generate_until';
    const found = OUTPUT_TYPES.find((type) => type === given);
    if (found) return found;
    throw new ConfigError(`${this.where('output_type')}: expected ${OUTPUT_TYPES.join(', ')}, found ${String(given)}.`);
  }

  private optionalText(key: string): string | undefined {
    const value = this.config[key];
    return value === undefined ? undefined : String(value);
  }

  private optionalCount(key: string): number | undefined {
    const value = this.config[key];
    if (value === undefined || (typeof value === 'number' && Number.isInteger(value) && value >= 0)) return value;
    throw new ConfigError(`${this.where(key)}: expected a whole number from 0, found ${JSON.stringify(value)}.`);
  }

  private twin(key: string): Twin | undefined {
    const value = this.config[key];
    if (value === undefined) return undefined;
    if (value instanceof FunctionName) return twinOf(value, this.where(key));
    if (typeof value === 'function') return value as Twin;
    throw new ConfigError(`${this.where(key)}: expected !function module.name, found ${JSON.stringify(value)}.`);
  }

  private dataset(): DatasetRequest | undefined {
    const { dataset_path, dataset_name, dataset_kwargs = {} } = this.config;
    if (dataset_path === undefined || dataset_path === '') {
      if (this.config.custom_dataset !== undefined) return undefined;
      this.refuse('it names no data (dataset_path)');
    }
    return {
      path: String(dataset_path),
      name: dataset_name === undefined ? undefined : String(dataset_name),
      kwargs: dataset_kwargs as RawConfig,
      folder: path.dirname(this.task.file),
    };
  }

  private field(key: string, fallback?: string, source: RawConfig = this.config): Field | undefined {
    return readField(source[key] ?? fallback, this.where(key));
  }

  private fewShot(targetDelimiter: string, fewshotDelimiter: string): FewShot {
    const given = (this.config.fewshot_config ?? {}) as RawConfig;
    const config = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== null));
    for (const key of Object.keys(config)) this.checkKey(key, FEWSHOT_KEYS, 'key of fewshot_config');
    const sampler = config.sampler ?? 'default';
    if (sampler !== 'default' && sampler !== 'first_n')
      throw new ConfigError(
        `${this.where('fewshot_config')}: expected the sampler default or first_n, found ${JSON.stringify(sampler)}.`,
      );
    const text = (key: string) => (config[key] === undefined ? undefined : String(config[key]));
    const { samples, process_docs = this.config.process_docs } = config;
    return {
      sampler,
      split: text('split') ?? this.optionalText('fewshot_split'),
      processDocs:
        process_docs instanceof FunctionName ? twinOf(process_docs, this.where('fewshot_config')) : undefined,
      samples:
        samples instanceof FunctionName
          ? twinOf(samples, this.where('fewshot_config'))
          : (samples as Doc[] | undefined),
      text: this.field('doc_to_text', undefined, config),
      target: this.field('doc_to_target', undefined, config),
      choice: this.field('doc_to_choice', undefined, config) ?? this.field('doc_to_choice'),
      genPrefix: this.field('gen_prefix', undefined, config) ?? this.field('gen_prefix'),
      fewshotDelimiter: text('fewshot_delimiter') ?? fewshotDelimiter,
      targetDelimiter: text('target_delimiter') ?? targetDelimiter,
    };
  }

  private generation(fewshotDelimiter: string): Generation {
    const raw: RawConfig = {
      ...((this.config.generation_kwargs as RawConfig | undefined) ?? {
        temperature: 0,
        do_sample: false,
        max_gen_toks: DEFAULT_MAX_TOKENS,
      }),
    };
    raw.until ??= [fewshotDelimiter];
    const number = (key: string): number | undefined => {
      const value = raw[key];
      if (value === undefined || value === null) return undefined;
      if (Number.isFinite(Number(value))) return Number(value);
      throw new ConfigError(`${this.where('generation_kwargs')}: ${key}: expected a number, found ${String(value)}.`);
    };
    if ((number('num_beams') ?? 1) > 1) this.refuse('it generates by beam search (num_beams)');
    return {
      until: [raw.until].flat().map(String),
      maxTokens:
        number('max_gen_toks') ??
        number('max_new_tokens') ??
        number('max_tokens') ??
        number('max_completion_tokens') ??
        DEFAULT_MAX_TOKENS,
      temperature: raw.do_sample === false ? 0 : (number('temperature') ?? 0),
      topP: number('top_p'),
      topK: number('top_k'),
      raw,
    };
  }
}

export function readField(value: unknown, where: string): Field | undefined {
  if (value === undefined || value === null) return undefined;
  if (value instanceof FunctionName) return { kind: 'twin', twin: twinOf(value, where) };
  if (typeof value === 'function') return { kind: 'twin', twin: value as Twin };
  if (typeof value !== 'string') return { kind: 'constant', value: isMapping(value) ? Object.values(value) : value };
  let template: Template | undefined;
  // Compiled at its first use: a field's name may be no template, and many tasks are only listed.
  const compiled = () => {
    try {
      template ??= compileTemplate(value);
      return template;
    } catch (error) {
      if (!(error instanceof TemplateError)) throw error;
      throw new ConfigError(`${where}: the template ${repr(stripEnd(value)).slice(0, 200)}: ${error.message}.`);
    }
  };
  return { kind: 'text', text: value, template: compiled };
}

function isMapping(value: unknown): value is RawConfig {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
