// The stored expectations of Hugging Face tokenizers; test/python/tokenizer_fixtures.py writes them.
import * as path from 'node:path';
import { fileURLToPath } from 'node:url';
import { readJson } from '../../src/base/files.ts';
import type { TokenizerJson } from '../../src/tokenizer/index.ts';

export interface Fixture {
  tokenizer: TokenizerJson & { model: { vocab: Record<string, number>; merges: [string, string][] } };
  /** Ids of each text with special tokens' spellings left as text. */
  plain: number[][];
  /** By index of the text: ids with special tokens parsed, where they differ. */
  parsed: Record<string, number[]>;
  /** By index of the text: what decoding `plain` gives, where it is not the text. */
  decoded: Record<string, string>;
}

export function readFixture<T = Fixture>(name: string): T {
  return readJson<T>(path.join(path.dirname(fileURLToPath(import.meta.url)), 'fixtures', `${name}.jsonl`));
}

export const { texts, cases } = readFixture<{ texts: string[]; cases: string[] }>('texts');

/** Tokens and ids; a Unigram vocabulary is a list of tokens with scores. */
export function vocabOf({ tokenizer }: Fixture): [string, number][] {
  const { vocab } = tokenizer.model as { vocab: Record<string, number> | [string, number][] };
  return Array.isArray(vocab) ? vocab.map(([token], id) => [token, id]) : Object.entries(vocab);
}

/** A configuration under which any fixture opens: its first token ends documents. */
export function configFor(fixture: Fixture): Record<string, unknown> {
  return { eos_token: vocabOf(fixture).find(([, id]) => id === 0)![0] };
}
