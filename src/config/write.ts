// Writes a first continuo.yaml for `continuo init`: the answers filled in, everything optional as a comment with its meaning.
import * as fs from 'node:fs';
import { stringify } from 'yaml';
import { ConfigError } from '../base/errors.ts';
import { writeFileAtomic } from '../base/files.ts';
import { parseConfig } from './load.ts';
import type { CorpusRole } from './types.ts';

export interface ConfigAnswers {
  name?: string;
  /** Folder, .gguf file or hub id, as the user would write it. */
  model: string;
  corpora: { name: string; path: string | string[]; role: CorpusRole; limit?: string; field?: string }[];
  recipe?: string;
  /** One of tokens, epochs, steps, minutes, e.g. { tokens: '20M' }. */
  budget: Record<string, string | number>;
  output?: string;
}

/** The text of a commented continuo.yaml. */
export function renderConfig(answers: ConfigAnswers): string {
  const hasGeneral = answers.corpora.some((corpus) => corpus.role === 'general');
  const generalHint = [
    '  # Without general text nothing guards what the model knows, and nothing measures it. Any broad text near to what the model',
    '  # was trained on will do; a few million tokens go a long way.',
    '  # web: { path: "general/**/*.jsonl", role: general, limit: 50M tokens }',
  ];
  return [
    '# A run of Continuo. Paths are relative to this file. `continuo plan` shows what follows from it, with reasons and sources.',
    ...(answers.name
      ? [`name: ${inline(answers.name)}`]
      : ['# name: the folder of the run below `output`; default: the name of the folder of this file']),
    '',
    '# A Hugging Face folder, a .gguf file, or a hub id such as owner/name.',
    `model: ${inline(answers.model)}`,
    '',
    '# Roles: domain (what it shall learn), general (what it shall not forget), instruction (question and answer documents),',
    '# evaluation (measured, never trained on). Text, Markdown, JSONL (.gz, .zst) and Parquet.',
    '# More keys: limit (tokens), field (of JSONL and Parquet rows), heldOut: { share, documents, tokens }, weight, maxBadShare.',
    'corpora:',
    ...answers.corpora.map(({ name, ...corpus }) => `  ${inline(name)}: ${inline(corpus)}`),
    ...(hasGeneral ? [] : generalHint),
    '',
    '# reuse-dont-retrain (default), rewarm-replay (a strong shift, such as a new language), naive (the control).',
    answers.recipe ? `recipe: ${inline(answers.recipe)}` : '# recipe: reuse-dont-retrain',
    '',
    '# One of tokens: 20M, epochs: 2 (of the domain), steps: 500, minutes: 60.',
    `budget: ${inline(answers.budget)}`,
    '',
    '# training: { seqLen: 1024, batchTokens: 64k, precision: bf16, seed: 0 }',
    '# evaluate: { every: 100 steps, tokens: 100k }   # held-out tokens a set',
    '# checkpoints: { every: 100 steps, keep: 2 }',
    answers.output ? `output: ${inline(answers.output)}` : '# output: runs',
    '',
  ].join('\n');
}

/**
 * Writes it; throws ConfigError when `file` exists (unless `overwrite`) or when the answers do not make a valid configuration.
 */
export function writeConfig(answers: ConfigAnswers, file: string, { overwrite = false } = {}): void {
  if (!overwrite && fs.existsSync(file)) throw new ConfigError(`${file}: exists already. Edit it, or remove it first.`);
  const text = renderConfig(answers);
  parseConfig(text, file);
  writeFileAtomic(file, text);
}

function inline(value: unknown): string {
  return stringify(value, { collectionStyle: 'flow', lineWidth: 0 }).trim();
}
