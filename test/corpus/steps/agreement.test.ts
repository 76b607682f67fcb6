// Decisions of datatrove's filters on the same documents, with the same words (test/python/datatrove_fixtures.py).
import * as fs from 'node:fs';
import * as path from 'node:path';
import { describe, expect, it } from 'vitest';
import type { CleanStepName } from '../../../src/config/index.ts';
import { make, reason } from './helpers.ts';
import { variants } from './variants.mjs';

interface Fixture {
  filters: CleanStepName[];
  decisions: Record<string, (string | null)[]>;
}

const fixture = JSON.parse(
  fs.readFileSync(path.join(import.meta.dirname, '../fixtures/datatrove.json'), 'utf8'),
) as Fixture;

/** datatrove's reasons in our words. */
const REASONS: Record<string, string> = {
  gopher_short_doc: 'too few words',
  gopher_below_avg_threshold: 'words too short',
  gopher_above_avg_threshold: 'words too long',
  gopher_too_many_hashes: 'too many hashes',
  gopher_too_many_ellipsis: 'too many ellipses',
  gopher_too_many_bullets: 'too many bullets',
  gopher_too_many_end_ellipsis: 'too many lines end in an ellipsis',
  gopher_below_alpha_threshold: 'too few words with letters',
  gopher_enough_stop_words: 'too few stop words',
  dup_para_frac: 'repeated paragraphs',
  dup_para_char_frac: 'text in repeated paragraphs',
  dup_line_frac: 'repeated lines',
  dup_line_char_frac: 'text in repeated lines',
  ...Object.fromEntries([2, 3, 4].map((n) => [`top_${n}_gram`, `most frequent ${n}-gram`])),
  ...Object.fromEntries([5, 6, 7, 8, 9, 10].map((n) => [`duplicated_${n}_n_grams`, `text in repeated ${n}-grams`])),
  curly_bracket: 'curly bracket',
  too_few_sentences: 'too few sentences',
  lorem_ipsum: 'lorem ipsum',
  line_punct_ratio: 'too few lines end in punctuation',
  short_line_ratio: 'too many short lines',
  char_dup_ratio: 'text in repeated lines',
  list_ratio: 'too many lines for its words',
};

/** Documents that may differ: what counts as punctuation (in a reason only), where sentences end. */
const MAY_DIFFER: Partial<Record<CleanStepName, number>> = { 'gopher-quality': 1, c4: 2 };

describe('agreement with datatrove', () => {
  const documents = variants();

  it.each(fixture.filters.map((name, i) => [name, i] as const))('%s', async (name, i) => {
    const step = await make(name, name === 'c4' ? { terminalPunctuation: false } : {});
    const differing = documents.filter(({ id, text }) => {
      const theirs = fixture.decisions[id]![i]!;
      return (theirs === null ? undefined : REASONS[theirs]) !== reason(step, text);
    });
    expect(Object.keys(fixture.decisions)).toHaveLength(documents.length);
    expect(differing.map(({ id }) => id).slice(MAY_DIFFER[name] ?? 0)).toEqual([]);
    // Both decisions are there in number.
    const numKept = documents.filter(({ id }) => fixture.decisions[id]![i] === null).length;
    expect(numKept).toBeGreaterThan(documents.length / 10);
    expect(numKept).toBeLessThan((documents.length * 9) / 10);
  });
});
