// What is looked for among the corpora of a run that occurs more than once, and what of evaluation sets. The methods, with the sources of
// their limits, are in src/corpus/dedup.
import { z } from 'zod';
import { map, oneOf, share, truth, whole } from './fields.ts';

const lines = {
  /** Shorter ones are left alone. */
  minChars: whole.optional(),
  /** What stands in more documents than this is taken out of all but the first. */
  maxDocuments: whole.optional(),
};

const DEDUP_OPTIONS = {
  /** The same text, but for white space. */
  exact: truth.optional(),
  /** MinHash with FineWeb's parameters. */
  near: z
    .union([truth, map({ minSimilarity: share.optional() })], { error: 'true, or { minSimilarity: 0.8 }' })
    .optional(),
  lines: z.union([truth, map(lines)], { error: 'true, or { minChars: 30, maxDocuments: 6 }' }).optional(),
  paragraphs: z.union([truth, map(lines)], { error: 'true, or { minChars: 30, maxDocuments: 6 }' }).optional(),
  substrings: z
    .union([truth, map({ minTokens: whole.optional() })], { error: 'true, or { minTokens: 50 }' })
    .optional(),
};

export interface DedupConfig {
  exact: boolean;
  near?: { minSimilarity?: number };
  lines?: { minChars?: number; maxDocuments?: number };
  paragraphs?: { minChars?: number; maxDocuments?: number };
  substrings?: { minTokens?: number };
}

/** @param value as it stands in the file, which chooses between the forms */
export function dedupSchema(value: unknown) {
  return typeof value === 'object' && value !== null
    ? map(DEDUP_OPTIONS)
    : z.boolean({ error: 'true, false, or a map such as { near: true, lines: true }' });
}

export type DedupInFile = boolean | z.output<ReturnType<typeof map<typeof DEDUP_OPTIONS>>>;

/** undefined where nothing is to be looked for. `true` means whole documents: exact and near copies. */
export function expandDedup(given: DedupInFile | undefined): DedupConfig | undefined {
  if (given === undefined || given === false) return undefined;
  if (given === true) return { exact: true, near: {} };
  const { exact = true, ...kinds } = given;
  const chosen = Object.entries(kinds).filter(([, options]) => options !== undefined && options !== false);
  return { exact, ...Object.fromEntries(chosen.map(([kind, options]) => [kind, options === true ? {} : options])) };
}

const DECONTAMINATE_OPTIONS = {
  /** Of an item's n-grams, from which on a document holds it. */
  minShare: share.optional(),
  /** Leave the document out, or cut what it holds out of it. */
  action: oneOf(['remove', 'cut']).optional(),
  /** Words of an n-gram; shorter items are looked for as a whole from minWords words on. */
  ngram: whole.optional(),
  minWords: whole.optional(),
};

export interface DecontaminateConfig {
  minShare?: number;
  action?: 'remove' | 'cut';
  ngram?: number;
  minWords?: number;
}

export function decontaminateSchema(value: unknown) {
  return typeof value === 'object' && value !== null
    ? map(DECONTAMINATE_OPTIONS)
    : z.boolean({ error: 'true, false, or a map such as { minShare: 0.25 }' });
}

/** undefined where evaluation corpora are not looked for; by default they are. */
export function expandDecontaminate(given: boolean | DecontaminateConfig | undefined): DecontaminateConfig | undefined {
  if (given === false) return undefined;
  return typeof given === 'object' ? given : {};
}
