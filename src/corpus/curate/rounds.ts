// The rounds of a search for what occurs more than once, with their options made whole. Copies first, so that their lines and spans do not
// count; then from the coarse to the fine.
import type { DedupConfig } from '../../config/index.ts';
import { DEFAULT_LINES, type LineOptions } from '../dedup/lines.ts';
import { DEFAULT_SIGNATURES, type SignatureOptions } from '../dedup/signatures.ts';
import { DEFAULT_SUBSTRINGS, type SubstringOptions } from '../dedup/substrings.ts';

export type Round =
  | { kind: 'copies'; name: string; exact: boolean; near?: { minSimilarity?: number } }
  | { kind: 'paragraphs' | 'lines'; name: string; minChars?: number; maxDocuments?: number }
  | { kind: 'substrings'; name: string; minTokens?: number };

export function roundsOf({ exact, near, paragraphs, lines, substrings }: DedupConfig): Round[] {
  return [
    ...(exact || near ? [{ kind: 'copies' as const, name: 'copies', exact, ...(near && { near }) }] : []),
    ...(paragraphs ? [{ kind: 'paragraphs' as const, name: 'repeated paragraphs', ...paragraphs }] : []),
    ...(lines ? [{ kind: 'lines' as const, name: 'repeated lines', ...lines }] : []),
    ...(substrings ? [{ kind: 'substrings' as const, name: 'repeated spans', ...substrings }] : []),
  ];
}

export function signatureOptions({ exact, near }: Extract<Round, { kind: 'copies' }>): SignatureOptions {
  return { exact, minHash: near ? DEFAULT_SIGNATURES.minHash : undefined };
}

export function lineOptions({
  kind,
  minChars,
  maxDocuments,
}: Extract<Round, { kind: 'paragraphs' | 'lines' }>): LineOptions {
  return {
    unit: kind === 'lines' ? 'line' : 'paragraph',
    minChars: minChars ?? DEFAULT_LINES.minChars,
    maxDocuments: maxDocuments ?? DEFAULT_LINES.maxDocuments,
  };
}

export function substringOptions({ minTokens }: Extract<Round, { kind: 'substrings' }>): SubstringOptions {
  return { minTokens: minTokens ?? DEFAULT_SUBSTRINGS.minTokens };
}
