// BIG-Bench Hard without examples (Suzgun et al. 2022): filters that find an answer in a free text. Each is made with its options.
import { compileRegex, escapeRegex } from '../python/regex.ts';
import { strip, split as words } from '../python/text.ts';
import type { Doc, TwinFilter, Twins } from './types.ts';

interface RegexOptions {
  regex_pattern?: string;
  regex_pattern_to_value?: Record<string, string>;
  group_select?: number;
  fallback?: string;
  ignore_case?: boolean;
  ignore_punctuation?: boolean;
  regexes_to_ignore?: readonly string[] | null;
}

/** What re.findall finds at place `select` (from the end where negative): the first group that is not empty, or the whole where there is none. */
function found(regex: RegExp, text: string, select: number): string {
  const match = [...text.matchAll(regex)].at(select);
  if (!match) return '';
  return strip(match.length === 1 ? match[0] : (match.slice(1).find(Boolean) ?? ''));
}

function without(text: string, { regexes_to_ignore, ignore_case, ignore_punctuation }: RegexOptions): string {
  let left = (regexes_to_ignore ?? []).reduce((rest, pattern) => rest.replace(compileRegex(pattern), ''), text);
  if (ignore_case) left = left.toLowerCase();
  return ignore_punctuation ? left.replace(/\p{P}/gu, '') : left;
}

/** A filter of single answers, made anew for each document. */
const perDocument = (of: (doc: Doc) => (response: string) => string): TwinFilter => ({
  apply: (responses, docs) => responses.map((answers, i) => answers.map(of(docs[i]!))),
});

const INVALID = '[invalid]';

/** A match of any of the patterns, told by the first pattern that finds itself in it. */
function mapped(options: RegexOptions): TwinFilter {
  const { regex_pattern_to_value: values = {}, group_select: select = 0, fallback = INVALID } = options;
  const any = compileRegex(Object.keys(values).join('|'));
  const patterns = Object.entries(values).map(([pattern, value]) => [compileRegex(pattern), value] as const);
  return perDocument(() => (response) => {
    const match = found(any, without(response, options), select);
    if (match === '') return fallback;
    return patterns.find(([pattern]) => found(pattern, without(match, options), select) !== '')?.[1] ?? fallback;
  });
}

/** A letter in parentheses, else the text of a choice, else a letter behind a colon. */
function multipleChoice(options: RegexOptions): TwinFilter {
  const { regex_pattern = '#### (\\-?[0-9\\.\\,]+)', group_select: select = 0, fallback = INVALID } = options;
  return perDocument((doc) => {
    const choices = [...(doc.input as string).matchAll(/\([A-Z]\)([^\n^(]*)/g)].map((m) =>
      without(strip(m[1]!), options),
    );
    const letters = choices.map((_, i) => String.fromCharCode(65 + i));
    const letterOf = new Map(choices.map((choice, i) => [choice, `(${letters[i]})`]));
    // Longest first, so that a choice which begins another does not stand in its way.
    const byText = compileRegex(
      choices
        .map(escapeRegex)
        .sort((a, b) => b.length - a.length)
        .join('|'),
    );
    const byLetter = compileRegex(`:[\\s]*(${letters.join('|')})`);
    return (response) => {
      const match = found(compileRegex(regex_pattern), response, select);
      if (match !== '') return match;
      const text = found(byText, without(response, options), select);
      if (text !== '') return letterOf.get(text) ?? text;
      const letter = found(byLetter, response, select);
      return letter === '' ? fallback : `(${letter})`;
    };
  });
}

const SMALL =
  'zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen'.split(
    ' ',
  );
const TENS = 'twenty thirty forty fifty sixty seventy eighty ninety'.split(' ');
const NUMBERS = new Map<string, number>([
  ...SMALL.map((word, i) => [word, i] as const),
  ...TENS.map((word, i) => [word, 20 + 10 * i] as const),
  ['hundred', 100],
  ['thousand', 1000],
  ['million', 1e6],
  ['billion', 1e9],
]);

// A run of number words. As in the original a run neither begins nor ends with a bare six, seven or nine, and does not end with a bare eight.
const UNITS = 'zero|one|two|three|four|five';
const LARGE = 'ten|eleven|twelve|fourteen|hundred|thousand|(?:m|b|tr)illion';
const STEMS = '(?:twen|thir|for|fif|six|seven|nine)';
const FIRST = `(?:${UNITS}|${STEMS}(?:teen|ty)|eight(?:|een|y)|${LARGE})`;
const INNER = `(?:${UNITS}|${STEMS}(?:|teen|ty)|eight(?:een|y)|${LARGE}|[^\\S\\r\\n]|,|and|&)`;
const LAST = `(?:${UNITS}|${STEMS}(?:teen|ty)|eight(?:een|y)|${LARGE})`;
const NUMBER_WORDS = new RegExp(`((?:${FIRST}${INNER}+)?${LAST})`, 'g');

/** "three hundred and five" -> 305, as the word2number package counts; undefined where it gives up. */
export function numberOfWords(text: string): number | undefined {
  const named = words(text.replaceAll('-', ' ').toLowerCase()).filter((word) => NUMBERS.has(word));
  if (named.length === 0) return undefined;
  let rest = named;
  let total = 0;
  for (const scale of ['billion', 'million', 'thousand']) {
    const at = rest.indexOf(scale);
    if (at < 0) continue;
    if (rest.indexOf(scale, at + 1) >= 0) return undefined;
    total += (at === 0 ? 1 : (belowThousand(rest.slice(0, at)) ?? Number.NaN)) * NUMBERS.get(scale)!;
    rest = rest.slice(at + 1);
  }
  if (rest.length > 0) total += belowThousand(rest) ?? Number.NaN;
  return Number.isNaN(total) ? undefined : total;
}

function belowThousand(named: readonly string[]): number | undefined {
  const n = named.map((word) => NUMBERS.get(word)!);
  if (n.some((value) => value > 100)) return undefined;
  if (n.length === 4) return n[0]! * n[1]! + n[2]! + n[3]!;
  if (n.length === 3) return n[0]! * n[1]! + n[2]!;
  if (n.length === 2) return n.includes(100) ? n[0]! * n[1]! : n[0]! + n[1]!;
  return n[0];
}

function numberParse({
  regex_pattern = '#### (\\-?[0-9\\.\\,]+)',
  group_select: select = 0,
  fallback = INVALID,
}: RegexOptions): TwinFilter {
  const digits = compileRegex(regex_pattern);
  return perDocument(() => (response) => {
    const match = found(digits, response, select);
    if (match !== '') return match;
    const named = found(NUMBER_WORDS, response.toLowerCase(), select);
    const value = named === '' ? undefined : numberOfWords(named);
    return value === undefined ? fallback : String(value);
  });
}

/** The words of the document's list that the answer holds, in the order in which it names each for the last time. */
function wordSort(): TwinFilter {
  return perDocument((doc) => {
    const listed = words((doc.input as string).split('List:')[1]!);
    const any = compileRegex(listed.map((word) => `\\b${word}\\b`).join('|'));
    return (response) => {
      const said = [...response.matchAll(any)].map(([word]) => word);
      return said.filter((word, i) => said.lastIndexOf(word) === i).join(' ');
    };
  });
}

export const bbh: Twins = {
  'utils.MapRegexFilter': mapped,
  'utils.MultiChoiceRegexFilter': multipleChoice,
  'utils.NumberParseRegexFilter': numberParse,
  'utils.WordSortFilter': wordSort,
};
