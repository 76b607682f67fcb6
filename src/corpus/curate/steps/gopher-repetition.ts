// The repetition rules of MassiveText (Rae et al. 2021, arXiv 2112.11446, appendix A.1.1, table A1), as datatrove counts them
// (gopher_repetition_filter.py): characters of later copies only, and of n-grams one after the other, so that none counts twice.
import type { CleanOptions } from '../../../config/index.ts';
import type { Step } from '../types.ts';
import type { TextView } from '../view.ts';
import { extendNgrams, numberWords, type RepeatedNgrams, repeatedWords, type WordTable } from '../words.ts';
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
    apply(view) {
      const { text, wordTable: words } = view;
      const paragraphs = countCopies(paragraphsOf(text));
      const lines = countCopies(linesOf(view));
      return (
        above('repeated paragraphs', paragraphs.copies / paragraphs.numParts, limits.maxDuplicateParagraphs) ??
        above('text in repeated paragraphs', paragraphs.chars / text.length, limits.maxDuplicateParagraphChars) ??
        above('repeated lines', lines.copies / lines.numParts, limits.maxDuplicateLines) ??
        above('text in repeated lines', lines.chars / text.length, limits.maxDuplicateLineChars) ??
        (words.isUnspaced ? undefined : judgeNgrams(view, longest, limits))
      );
    },
  };
}

/** Between line ends, of which several in a row are one; those at the start and the end part an empty line off. */
function linesOf({ lines }: TextView): string[] {
  return lines.filter((line, i) => line !== '' || i === 0 || i === lines.length - 1);
}

/** Between two line ends or more. */
function paragraphsOf(text: string): string[] {
  const trimmed = text.trim();
  const paragraphs: string[] = [];
  let start = 0;
  for (let end = trimmed.indexOf('\n\n'); end >= 0; end = trimmed.indexOf('\n\n', start)) {
    paragraphs.push(trimmed.slice(start, end));
    start = end + 2;
    while (trimmed[start] === '\n') start++;
  }
  paragraphs.push(trimmed.slice(start));
  return paragraphs;
}

interface Copies {
  numParts: number;
  /** Parts that stood before, and their characters. */
  copies: number;
  chars: number;
}

/**
 * Parts of another length, first or last character are other parts, which tells nearly all of them apart: only the rest is compared, so most
 * of the text is not even looked at.
 */
export function countCopies(parts: readonly string[]): Copies {
  const seen = new Map<number, string | Set<string>>();
  let [copies, chars] = [0, 0];
  for (const part of parts) {
    const { length } = part;
    const key = (length << 14) ^ (part.charCodeAt(0) << 7) ^ part.charCodeAt(length - 1);
    const known = seen.get(key);
    if (known === undefined) {
      seen.set(key, part);
      continue;
    }
    if (typeof known === 'string' ? known === part : known.has(part)) {
      copies++;
      chars += length;
    } else if (typeof known === 'string') seen.set(key, new Set([known, part]));
    else known.add(part);
  }
  return { numParts: parts.length, copies, chars };
}

function judgeNgrams({ text, units, wordTable: words }: TextView, longest: number, limits: typeof GOPHER_REPETITION) {
  const numbers = numberWords(units, words);
  let repeated = repeatedWords(numbers);
  for (let n = 1; n <= longest && n <= words.count; n++) {
    if (n > 1 && repeated.positions.length > 0) repeated = extendNgrams(repeated, numbers);
    const [top, duplicate] = [limits.topNgrams[n], limits.duplicateNgrams[n]];
    const removal =
      (top === undefined
        ? undefined
        : above(`most frequent ${n}-gram`, charsOfMostFrequent(n, repeated, words) / text.length, top)) ??
      (duplicate === undefined
        ? undefined
        : above(`text in repeated ${n}-grams`, charsOfRepeated(repeated, words) / text.length, duplicate));
    if (removal) return removal;
  }
  return undefined;
}

/** With the spaces inside, times how often it occurs; of several the one that comes first. */
function charsOfMostFrequent(n: number, { positions, ids, counts }: RepeatedNgrams, words: WordTable): number {
  let most = 1;
  for (const count of counts) if (count > most) most = count;
  const first = most === 1 ? 0 : positions[ids.indexOf(counts.indexOf(most))]!;
  return most * (charsOf(first, n, words) + n - 1);
}

/** Without spaces. After a repeated n-gram the next one looked at begins behind it. */
function charsOfRepeated({ n, positions, ids, counts }: RepeatedNgrams, words: WordTable): number {
  const isSeen = new Uint8Array(counts.length);
  let [chars, next] = [0, 0];
  for (let i = 0; i < positions.length; i++) {
    const position = positions[i]!;
    if (position < next) continue;
    if (isSeen[ids[i]!]) {
      chars += charsOf(position, n, words);
      next = position + n;
    } else isSeen[ids[i]!] = 1;
  }
  return chars;
}

function charsOf(first: number, n: number, { starts, ends }: WordTable): number {
  let chars = 0;
  for (let i = first; i < first + n; i++) chars += ends[i]! - starts[i]!;
  return chars;
}
