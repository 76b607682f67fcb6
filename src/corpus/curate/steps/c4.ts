// The rules of C4 (Raffel et al. 2020, JMLR 21(140), section 2.2), with those that only its code has (c4_utils.py of TensorFlow Datasets:
// long words, policy lines, citations), in the order of datatrove's c4_filters.py. Lines that stay are stripped, empty ones go.
// The paper's list of bad words is not here: it removes whole fields of medicine and law, and speech of minorities (Dodge et al. 2021,
// arXiv 2104.08758, section 5). A file of one's own does as it did.

import { readText } from '../../../base/files.ts';
import type { CleanOptions } from '../../../config/index.ts';
import { KINDS, LETTER, SPACE, TERMINAL } from '../characters.ts';
import type { Step } from '../types.ts';
import type { TextView } from '../view.ts';
import { below } from './limits.ts';

export const C4 = {
  terminalPunctuation: true,
  minSentences: 5,
  minWordsPerLine: 3,
  maxWordLength: 1000,
  loremIpsum: true,
  javascript: true,
  curlyBracket: true,
  policy: true,
  citations: true,
};

const CITATION = /\[\d*\]|\[edit\]|\[citation needed\]/;
const CITATION_WORDS = ['[edit', '[citation needed'];
const LINE_ENDS = ['.', '?', '!', '"', "'"];
const POLICY = ['terms of use', 'privacy policy', 'cookie policy', 'uses cookies', 'use of cookies', 'use cookies'];

/** One of these is in each of those. */
const POLICY_WORDS = ['cookie', 'terms of use', 'privacy policy'];

type LineFault = 'long word' | 'no end mark' | 'few words' | 'javascript' | 'policy';

/** How lines that go are counted. */
const CHANGE: Record<LineFault, string> = {
  'long word': 'lines with a very long word',
  'no end mark': 'lines without an end mark',
  'few words': 'lines of few words',
  javascript: 'lines about javascript',
  policy: 'lines about cookies and terms of use',
};

/** The least number of words a line is left out for text in scripts without spaces between them. */
export function c4(options: CleanOptions<'c4'>): Step {
  const rules = { ...C4, ...options };
  const badWords = options.badWords === undefined ? undefined : badWordPattern(options.badWords);
  return {
    name: 'c4',
    apply(view) {
      const words = new WordsOfLines(view);
      const has = (what: boolean, phrase: string) => what && view.lowerText.includes(phrase);
      const hasLorem = has(rules.loremIpsum, 'lorem ipsum');
      const hasJavascript = has(rules.javascript, 'javascript');
      const hasPolicy = POLICY_WORDS.some((phrase) => has(rules.policy, phrase));
      const hasBracket = rules.curlyBracket && view.text.includes('{');
      const hasCitation = rules.citations && view.text.includes('[');
      const isListed = hasLorem || hasJavascript || hasPolicy || hasBracket;
      const changes: Record<string, number> = {};
      const count = (change: string, n = 1) => {
        changes[change] = (changes[change] ?? 0) + n;
      };
      const kept: string[] = [];
      let numSentences = 0;
      for (const full of view.lines) {
        let { numWords, longest } = words.next(full.length);
        let line = full.trim();
        if (hasCitation && CITATION.test(line)) {
          const cut = withoutCitations(line);
          count('citation marks', cut.numMarks);
          line = cut.line;
          ({ numWords, longest } = measureWords(line));
        }
        if (numWords === 0) continue;
        let fault: LineFault | undefined;
        if (longest > rules.maxWordLength) fault = 'long word';
        else if (rules.terminalPunctuation && !endsLine(line)) fault = 'no end mark';
        else if (!view.wordTable.isUnspaced && numWords < rules.minWordsPerLine) fault = 'few words';
        else if (isListed) {
          const lower = line.toLowerCase();
          if (hasLorem && lower.includes('lorem ipsum')) return { removed: { reason: 'lorem ipsum' } };
          if (hasJavascript && lower.includes('javascript')) fault = 'javascript';
          else if (hasBracket && line.includes('{')) return { removed: { reason: 'curly bracket' } };
          else if (hasPolicy && POLICY.some((phrase) => lower.includes(phrase))) fault = 'policy';
        }
        if (fault !== undefined) {
          count(CHANGE[fault]);
          continue;
        }
        if (numSentences < rules.minSentences) numSentences += countSentences(line, rules.minSentences - numSentences);
        kept.push(line.trim());
      }
      const removed = below('too few sentences', numSentences, rules.minSentences);
      if (removed) return removed;
      const text = kept.join('\n');
      if (badWords?.test(text)) return { removed: { reason: 'bad words' } };
      return text === view.text ? undefined : { text, changes };
    },
  };
}

/** Number and length of the words of one line after the other, from the table of the whole text. */
class WordsOfLines {
  private readonly table: TextView['wordTable'];
  private word = 0;
  private lineStart = 0;

  constructor({ wordTable }: TextView) {
    this.table = wordTable;
  }

  next(lineLength: number): { numWords: number; longest: number } {
    const { count, starts, ends } = this.table;
    const lineEnd = this.lineStart + lineLength;
    const first = this.word;
    let longest = 0;
    for (; this.word < count && starts[this.word]! < lineEnd; this.word++)
      longest = Math.max(longest, ends[this.word]! - starts[this.word]!);
    this.lineStart = lineEnd + 1;
    return { numWords: this.word - first, longest };
  }
}

/** Also those that appear once others are gone, in one pass: a mark is looked for in front of each closing bracket. */
function withoutCitations(line: string): { line: string; numMarks: number } {
  const units = new Uint16Array(line.length);
  let [length, numMarks] = [0, 0];
  for (let i = 0; i < line.length; i++) {
    const unit = line.charCodeAt(i);
    const start = unit === CLOSING_BRACKET ? citationStart(units, length) : -1;
    if (start >= 0) {
      length = start;
      numMarks++;
    } else units[length++] = unit;
  }
  return { line: new TextDecoder('utf-16le').decode(units.subarray(0, length)), numMarks };
}

const CLOSING_BRACKET = 0x5d;
const OPENING_BRACKET = 0x5b;

/** Where the mark that ends before `end` begins, or -1. */
function citationStart(units: Uint16Array, end: number): number {
  let i = end - 1;
  while (i >= 0 && units[i]! >= 0x30 && units[i]! <= 0x39) i--;
  if (i >= 0 && units[i] === OPENING_BRACKET) return i;
  for (const word of CITATION_WORDS) {
    const start = end - word.length;
    if (start >= 0 && [...word].every((letter, j) => units[start + j] === letter.charCodeAt(0))) return start;
  }
  return -1;
}

function measureWords(line: string): { numWords: number; longest: number } {
  let [numWords, longest, start] = [0, 0, 0];
  for (let i = 0; i <= line.length; i++) {
    if (i < line.length && !isSpace(line, i)) continue;
    if (i > start) numWords++;
    longest = Math.max(longest, i - start);
    start = i + 1;
  }
  return { numWords, longest };
}

function endsLine(line: string): boolean {
  return LINE_ENDS.includes(line[line.length - 1]!) && !line.endsWith('...');
}

/**
 * Sentences of a line, up to `enough`: one ends with a mark before white space, but for the full stop of an initial or of "e.g."; what is
 * left at the end is one too. C4 and datatrove ask a sentence splitter, which takes most of their time.
 */
export function countSentences(line: string, enough: number): number {
  let n = 0;
  let hasText = false;
  for (let i = 0; i < line.length && n < enough; i++) {
    const kind = KINDS[line.charCodeAt(i)]!;
    if (!(kind & TERMINAL)) {
      if (!(kind & SPACE)) hasText = true;
      continue;
    }
    let next = i + 1;
    while (next < line.length && (KINDS[line.charCodeAt(next)]! & TERMINAL || CLOSING.includes(line[next]!))) next++;
    const isIdeographic = line.charCodeAt(i) > 0x3000;
    const isEnd = isIdeographic || next >= line.length || (isSpace(line, next) && !isInitial(line, i));
    if (hasText && isEnd) {
      n++;
      hasText = false;
    }
    i = next - 1;
  }
  return hasText && n < enough ? n + 1 : n;
}

const CLOSING = '"\')]}”’»';

function isSpace(line: string, i: number): boolean {
  return (KINDS[line.charCodeAt(i)]! & SPACE) !== 0;
}

/** The full stop behind a letter that stands alone or behind another full stop. */
function isInitial(line: string, i: number): boolean {
  if (line[i] !== '.' || i === 0 || !(KINDS[line.charCodeAt(i - 1)]! & LETTER)) return false;
  return i === 1 || line[i - 2] === '.' || line[i - 2] === '(' || isSpace(line, i - 2);
}

/** Each stands between characters that are no letters or digits, as in C4's code. */
function badWordPattern(file: string): RegExp {
  const words = readText(file, 'reading the list of bad words')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .map((word) => word.replaceAll(/[\\^$.*+?()[\]{}|/-]/g, '\\$&'));
  return new RegExp(`(?<![\\p{L}\\p{N}_])(?:${words.join('|')})(?![\\p{L}\\p{N}_])`, 'iu');
}
