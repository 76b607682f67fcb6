// The repetition rules of MassiveText (Rae et al. 2021, arXiv 2112.11446, appendix A.1.1, table A1), as datatrove counts them
// (gopher_repetition_filter.py): characters of later copies only, and of n-grams one after the other, so that none counts twice.
import type { CleanOptions } from '../../../config/index.ts';
import type { Step } from '../types.ts';
import { extendNgrams, type NgramIds, numberWords, type WordTable } from '../words.ts';
import { above } from './limits.ts';

export const GOPHER_REPETITION = {
  maxDuplicateLines: 0.3,
  maxDuplicateLineChars: 0.2,
  maxDuplicateParagraphs: 0.3,
  maxDuplicateParagraphChars: 0.2,
  topNgrams: { 2: 0.2, 3: 0.18, 4: 0.16 } as Readonly<Record<string, number>>,
  duplicateNgrams: { 5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.1 } as Readonly<Record<string, number>>,
};

/** The rules on n-grams are left out for text in scripts without spaces between words. */
export function gopherRepetition(options: CleanOptions<'gopher-repetition'>): Step {
  const limits = { ...GOPHER_REPETITION, ...options };
  const lengths = [...Object.keys(limits.topNgrams), ...Object.keys(limits.duplicateNgrams)].map(Number);
  const longest = Math.max(0, ...lengths);
  return {
    name: 'gopher-repetition',
    apply({ text, wordTable: words }) {
      const paragraphs = countCopies(splitAt(text.trim(), true));
      const lines = countCopies(splitAt(text, false));
      return (
        above('repeated paragraphs', paragraphs.copies / paragraphs.numParts, limits.maxDuplicateParagraphs) ??
        above('text in repeated paragraphs', paragraphs.chars / text.length, limits.maxDuplicateParagraphChars) ??
        above('repeated lines', lines.copies / lines.numParts, limits.maxDuplicateLines) ??
        above('text in repeated lines', lines.chars / text.length, limits.maxDuplicateLineChars) ??
        (words.isUnspaced ? undefined : judgeNgrams(text, words, longest, limits))
      );
    },
  };
}

/** Parts between line ends, of which several in a row are one; between at least two for paragraphs. */
function* splitAt(text: string, isParagraphs: boolean): Generator<string> {
  const separator = isParagraphs ? '\n\n' : '\n';
  let start = 0;
  for (;;) {
    const end = text.indexOf(separator, start);
    if (end < 0) break;
    yield text.slice(start, end);
    start = end + separator.length;
    while (text[start] === '\n') start++;
  }
  yield text.slice(start);
}

interface Copies {
  numParts: number;
  /** Parts that stood before, and their characters. */
  copies: number;
  chars: number;
}

export function countCopies(parts: Iterable<string>): Copies {
  const seen = new Set<string>();
  let [numParts, chars] = [0, 0];
  for (const part of parts) {
    numParts++;
    if (seen.size === seen.add(part).size) chars += part.length;
  }
  return { numParts, copies: numParts - seen.size, chars };
}

function judgeNgrams(text: string, words: WordTable, longest: number, limits: typeof GOPHER_REPETITION) {
  const singles = numberWords(text, words);
  for (let ngrams = singles, n = 1; n <= longest && n <= words.count; n++) {
    if (n > 1) ngrams = extendNgrams(ngrams, singles);
    const [top, duplicate] = [limits.topNgrams[n], limits.duplicateNgrams[n]];
    const removal =
      (top === undefined
        ? undefined
        : above(`most frequent ${n}-gram`, charsOfMostFrequent(ngrams, words) / text.length, top)) ??
      (duplicate === undefined
        ? undefined
        : above(`text in repeated ${n}-grams`, charsOfRepeated(ngrams, words) / text.length, duplicate));
    if (removal) return removal;
  }
  return undefined;
}

/** With the spaces inside, times how often it occurs; of several the one that comes first. */
function charsOfMostFrequent({ n, ids, counts, length }: NgramIds, words: WordTable): number {
  let [most, first] = [1, 0];
  for (let i = 0; i < length; i++)
    if (ids[i]! >= 0 && counts[ids[i]!]! > most) {
      most = counts[ids[i]!]!;
      first = i;
    }
  return most * (charsOf(first, n, words) + n - 1);
}

/** Without spaces. After a repeated n-gram the next one looked at begins behind it. */
function charsOfRepeated({ n, ids, counts, length }: NgramIds, words: WordTable): number {
  const isSeen = new Uint8Array(counts.length);
  let chars = 0;
  for (let i = 0; i < length; ) {
    const id = ids[i]!;
    if (id >= 0 && isSeen[id]) {
      chars += charsOf(i, n, words);
      i += n;
    } else {
      if (id >= 0) isSeen[id] = 1;
      i++;
    }
  }
  return chars;
}

function charsOf(first: number, n: number, { starts, ends }: WordTable): number {
  let chars = 0;
  for (let i = first; i < first + n; i++) chars += ends[i]! - starts[i]!;
  return chars;
}
