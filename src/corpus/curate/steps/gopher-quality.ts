// The quality rules of MassiveText (Rae et al. 2021, arXiv 2112.11446, appendix A.1.1), with datatrove's reading of them where the paper
// leaves it open (gopher_quality_filter.py): words of punctuation alone count neither as words nor for their mean length. Words are what
// stands between white space; datatrove takes them from a tokenizer that also cuts punctuation off.
import type { CleanOptions } from '../../../config/index.ts';
import { smallWords } from '../../language.ts';
import type { Step } from '../types.ts';
import type { TextView } from '../view.ts';
import { hashOf, type WordTable } from '../words.ts';
import { above, below } from './limits.ts';

const STOP_WORDS = ['the', 'be', 'to', 'of', 'and', 'that', 'have', 'with'];
/** Taken for other languages too, of their most frequent words. Assumption: the paper has English only. */
const NUM_STOP_WORDS = STOP_WORDS.length;

export const GOPHER_QUALITY = {
  minWords: 50,
  maxWords: 100_000,
  minMeanWordLength: 3,
  maxMeanWordLength: 10,
  maxSymbolRatio: 0.1,
  maxBulletLines: 0.9,
  maxEllipsisLines: 0.3,
  minAlphabeticWords: 0.8,
  minStopWords: 2,
};

/** Rules on words are left out for text in scripts without spaces, and the rule on stop words for languages whose words are not known here. */
export function gopherQuality(options: CleanOptions<'gopher-quality'>): Step {
  const limits = { ...GOPHER_QUALITY, ...options };
  const stopWords = new Map<unknown, ReadonlySet<number> | undefined>();
  const stopWordsOf = (language: unknown) => {
    if (!stopWords.has(language)) stopWords.set(language, hashesOf(options.stopWords ?? defaultStopWords(language)));
    return stopWords.get(language);
  };
  return {
    name: 'gopher-quality',
    apply(view) {
      const { text, wordTable: words } = view;
      return (
        (words.isUnspaced ? undefined : judgeWords(text, words, limits)) ??
        judgeLines(view, limits) ??
        (words.isUnspaced ? undefined : judgeLetters(words, limits, stopWordsOf(view.metadata.language)))
      );
    },
  };
}

function defaultStopWords(language: unknown): readonly string[] | undefined {
  if (language === undefined || language === 'en' || language === 'unknown') return STOP_WORDS;
  return smallWords(String(language))?.slice(0, NUM_STOP_WORDS);
}

function hashesOf(words: readonly string[] | undefined): ReadonlySet<number> | undefined {
  return words && new Set(words.map(hashOf));
}

type Limits = typeof GOPHER_QUALITY;

function judgeWords(text: string, { count, numProper, numProperUnits }: WordTable, limits: Limits) {
  return (
    below('too few words', numProper, limits.minWords) ??
    above('too many words', numProper, limits.maxWords) ??
    below('words too short', numProper && numProperUnits / numProper, limits.minMeanWordLength) ??
    above('words too long', numProper && numProperUnits / numProper, limits.maxMeanWordLength) ??
    above('too many hashes', countUnit(text, '#') / Math.max(1, count), limits.maxSymbolRatio) ??
    above('too many ellipses', (countEllipses(text) + countUnit(text, '…')) / Math.max(1, count), limits.maxSymbolRatio)
  );
}

function countUnit(text: string, unit: string): number {
  let n = 0;
  for (let i = text.indexOf(unit); i >= 0; i = text.indexOf(unit, i + unit.length)) n++;
  return n;
}

function countEllipses(text: string): number {
  return countUnit(text, '...');
}

const BULLETS = ['•', '-'];

function judgeLines({ text, lines }: TextView, limits: Limits) {
  // The end of the last line begins no other.
  const numLines = text.endsWith('\n') ? lines.length - 1 : lines.length;
  let [numBullets, numEllipses] = [0, 0];
  for (const line of lines) {
    if (line === '') continue;
    const trimmed = line.trim();
    if (BULLETS.includes(trimmed[0]!)) numBullets++;
    if (trimmed.endsWith('...') || trimmed.endsWith('…')) numEllipses++;
  }
  return (
    above('too many bullets', numBullets / numLines, limits.maxBulletLines) ??
    above('too many lines end in an ellipsis', numEllipses / numLines, limits.maxEllipsisLines)
  );
}

function judgeLetters(words: WordTable, limits: Limits, stopWords: ReadonlySet<number> | undefined) {
  const share = words.numAlphabetic / Math.max(1, words.count);
  return (
    below('too few words with letters', share, limits.minAlphabeticWords) ??
    (stopWords &&
      below('too few stop words', countStopWords(words, stopWords, limits.minStopWords), limits.minStopWords))
  );
}

/** How many different ones there are, up to `enough`. */
function countStopWords({ count, hashes }: WordTable, stopWords: ReadonlySet<number>, enough: number): number {
  const found = new Set<number>();
  for (let i = 0; i < count && found.size < enough; i++) if (stopWords.has(hashes[i]!)) found.add(hashes[i]!);
  return found.size;
}
