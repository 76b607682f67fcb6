// The shape of tokenizer.json (Hugging Face tokenizers' format), as far as this folder reads it. No behaviour beyond checks.
import { ConfigError } from '../base/errors.ts';
import type { TokenizerJson } from './types.ts';

/** A node of the pipeline: normalizer, pre-tokenizer, decoder or post-processor. */
export type Component = { type: string } & Record<string, unknown>;

export interface AddedToken {
  id: number;
  content: string;
  single_word?: boolean;
  lstrip?: boolean;
  rstrip?: boolean;
  /** Matched after normalisation rather than before. */
  normalized?: boolean;
  special?: boolean;
}

export interface ModelSection extends Record<string, unknown> {
  type?: string;
  vocab: Record<string, number>;
}

export interface Sections {
  normalizer: Component | null;
  preTokenizer: Component | null;
  decoder: Component | null;
  postProcessor: Component | null;
  model: ModelSection;
  addedTokens: AddedToken[];
}

/** Something in the pipeline that our own engine does not do; the fallback engine takes over and the message says why. */
export class UnsupportedPipeline extends Error {
  override readonly name = 'UnsupportedPipeline';
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Checks what every reader relies on. Throws ConfigError that names `where`. */
export function readSections(json: TokenizerJson, where: string): Sections {
  const fail = (what: string): never => {
    throw new ConfigError(
      `${where}: ${what}. Expected a tokenizer.json of Hugging Face tokenizers; take it again from the model's origin.`,
    );
  };
  const component = (key: string): Component | null => {
    const value = json[key];
    if (value === null || value === undefined) return null;
    if (!isRecord(value) || typeof value.type !== 'string') return fail(`"${key}" has no "type"`);
    return value as Component;
  };
  const model = json.model;
  if (!isRecord(model)) return fail('"model" is missing');
  const added = json.added_tokens ?? [];
  if (!Array.isArray(added)) return fail('"added_tokens" is not a list');
  for (const token of added)
    if (!isRecord(token) || typeof token.content !== 'string' || !Number.isInteger(token.id))
      return fail(`an entry of "added_tokens" lacks "id" or "content": ${JSON.stringify(token)}`);
  return {
    normalizer: component('normalizer'),
    preTokenizer: component('pre_tokenizer'),
    decoder: component('decoder'),
    postProcessor: component('post_processor'),
    model: model as ModelSection,
    addedTokens: (added as AddedToken[]).filter((token) => token.content !== ''),
  };
}

/** The members of a Sequence, or the component itself; nested sequences are flattened. */
export function flatten(component: Component | null, membersKey: string): Component[] {
  if (!component) return [];
  if (component.type !== 'Sequence') return [component];
  return ((component[membersKey] as Component[] | undefined) ?? []).flatMap((member) => flatten(member, membersKey));
}

/** The pattern of a Split or Replace: a literal string or an Oniguruma expression. */
export type PatternNode = { String: string } | { Regex: string };

/** The Oniguruma source of a pattern node. */
export function patternSource(node: unknown): string {
  if (isRecord(node) && typeof node.Regex === 'string') return node.Regex;
  if (isRecord(node) && typeof node.String === 'string') return node.String.replace(/[\\^$.*+?()[\]{}|&-]/g, '\\$&');
  throw new UnsupportedPipeline(`the pattern ${JSON.stringify(node)}`);
}
