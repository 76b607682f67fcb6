// Sentences of a document that state something one can ask for, found by rules: definitions, numbers with their units, dates, names, names of
// code. Rules are for English; other languages yield numbers, dates and code.
import { sentenceSpans } from '../instructions/index.ts';

export const FACT_KINDS = ['definition', 'number', 'date', 'name', 'code'] as const;
export type FactKind = (typeof FACT_KINDS)[number];

export interface Fact {
  kind: FactKind;
  /** Id of its document. */
  document: string;
  source: string;
  /** Place of the answer in the document's text, UTF-16 units, the end exclusive. */
  start: number;
  end: number;
  answer: string;
  /** The sentence up to the answer, without the space between. */
  prompt: string;
  /** The sentence after the answer. */
  rest: string;
  /** The document's own words up to the answer: at most CONTEXT_WORDS before the sentence, none that say the answer, and the sentence's. */
  context: string;
  /** Answers of one form may stand for each other: "name of 2 words", "number: seconds". */
  form: string;
}

const MIN_SENTENCE = 40;
const MAX_SENTENCE = 240;
/** Of the prompt: fewer words seldom say what is asked for. What is defined may have one. */
const MIN_PROMPT_WORDS = 4;
const MIN_PROMPT_CHARS = 24;
const MIN_DEFINED_CHARS = 8;
const CONTEXT_WORDS = 60;
/** Of one document, spread over it: many documents say more than one of them in every detail. */
const MAX_A_DOCUMENT = 24;

/** Sentences that lean on what was said before them. */
const LEANING_START =
  /^(?:it|its|this|these|those|that|they|their|he|she|his|her|we|our|you|your|i|my|there|here|such|however|thus|therefore|hence|but|and|or|so|then|also|note|in other words|similarly|furthermore|moreover|likewise|returns?|for example|for instance|in addition|see|if so|otherwise|both|either|neither|another|others|one|some|as above)\b/i;
const LEANING_INSIDE =
  /\b(?:this|these|those|above|below|following|latter|former|previous|aforementioned|preceding)\b/i;

export function findFacts(document: { id: string; source: string; text: string }): Fact[] {
  const { text } = document;
  const facts: Fact[] = [];
  for (const [from, to] of paragraphs(text))
    for (const [a, b] of sentenceSpans(text.slice(from, to))) {
      const sentence = text.slice(from + a, from + b);
      if (!isStatement(sentence)) continue;
      const found = findAnswer(sentence);
      if (!found) continue;
      const prompt = sentence.slice(0, found.start).trimEnd();
      const answer = sentence.slice(found.start, found.end);
      facts.push({
        kind: found.kind,
        document: document.id,
        source: document.source,
        start: from + a + found.start,
        end: from + a + found.end,
        answer,
        prompt: unwrap(prompt),
        rest: unwrap(sentence.slice(found.end)),
        context: behindAnswer(lastWords(text.slice(0, from + a)), answer) + prompt,
        form: found.form,
      });
    }
  return spread(facts, MAX_A_DOCUMENT);
}

/** Line ends inside a paragraph are the writer's editor's. */
const unwrap = (text: string): string => text.replace(/\s*\n\s*/g, ' ');

function spread<T>(list: readonly T[], most: number): T[] {
  if (list.length <= most) return [...list];
  return Array.from({ length: most }, (_, i) => list[Math.floor((i * list.length) / most)]!);
}

function* paragraphs(text: string): Generator<[number, number]> {
  let start = 0;
  for (const gap of text.matchAll(/\n[ \t]*\n\s*/g)) {
    yield [start, gap.index];
    start = gap.index + gap[0].length;
  }
  yield [start, text.length];
}

/** With what stands between them and the end. */
function lastWords(text: string): string {
  const tail = text.slice(-12 * CONTEXT_WORDS);
  const words = tail.split(/(?<=\s)(?=\S)/);
  // The first may be half a word.
  return words.slice(tail.length < text.length ? Math.max(1, words.length - CONTEXT_WORDS) : -CONTEXT_WORDS).join('');
}

/** What follows the last place that says the answer. */
function behindAnswer(text: string, answer: string): string {
  const at = text.toLowerCase().lastIndexOf(answer.toLowerCase());
  return (at < 0 ? text : text.slice(at + answer.length).replace(/^\S*/, '')).trimStart();
}

function isStatement(sentence: string): boolean {
  if (sentence.length < MIN_SENTENCE || sentence.length > MAX_SENTENCE) return false;
  if (!/[.!]["')\]]*$/.test(sentence) || !/^["']?(?:[\p{Lu}\d]|\w+[_(])/u.test(sentence)) return false;
  const numLetters = sentence.match(/[\p{L}\s]/gu)!.length;
  return numLetters > 0.8 * sentence.length && !LEANING_START.test(sentence) && !LEANING_INSIDE.test(sentence);
}

interface Found {
  kind: FactKind;
  start: number;
  end: number;
  form: string;
}

/** The last answer of the first kind that has one in a good place. */
function findAnswer(sentence: string): Found | undefined {
  for (const find of [findDate, findDefinition, findNumber, findCode, findName]) {
    const found = find(sentence).filter((one) => isGoodPlace(sentence, one));
    if (found.length > 0) return found.at(-1);
  }
  return undefined;
}

/** Behind a space, with enough of the sentence before it. */
function isGoodPlace(sentence: string, { kind, start }: Found): boolean {
  const prompt = sentence.slice(0, start);
  const isLong = prompt.length >= MIN_PROMPT_CHARS && prompt.trim().split(/\s+/).length >= MIN_PROMPT_WORDS;
  return (
    /\s$/.test(prompt) &&
    (kind === 'definition' ? prompt.length >= MIN_DEFINED_CHARS : isLong) &&
    // An open quotation or bracket is half of something.
    (prompt.match(/"/g)?.length ?? 0) % 2 === 0 &&
    !REFERENCE.test(prompt)
  );
}

const MONTH = '(?:January|February|March|April|May|June|July|August|September|October|November|December)';
const FULL_DATE = new RegExp(`\\b(?:${MONTH} \\d{1,2}, \\d{4}|\\d{1,2} ${MONTH} \\d{4}|${MONTH} \\d{4})\\b`, 'g');
const YEAR =
  /(?<=\b(?:in|since|by|of|until|before|after|from|to|around|year|early|late)\s)(?:1[0-9]|20)\d{2}\b(?![\d,.]*\d)/g;

function findDate(sentence: string): Found[] {
  const full = spans(
    sentence,
    FULL_DATE,
    'date',
    (text) => `date ${text.replace(/\d/g, '0').replace(new RegExp(MONTH), 'm')}`,
  );
  return full.length > 0 ? full : spans(sentence, YEAR, 'date', () => 'year');
}

/** Of parts of a document: what they point to is no knowledge. */
const REFERENCE =
  /\b(?:sections?|tables?|chapters?|figures?|appendix|appendices|parts?|pages?|examples?|steps?|versions?|releases?)\s+(?:\S+\s+(?:and|or|to)\s+)?$/i;
const NUMBER =
  /(?<![\w.,:/-])[$€£]?\d[\d,]*(?:\.\d+)?(?:\s?(?:%|percent\b|[kKMGT]i?B\b|[µm]s\b)|(?: |-)[a-z]{3,}\b)?(?![\w(/.–—-]*\d)/g;
const COUNTLESS =
  /^(?:and|or|to|in|of|for|the|is|are|was|were|has|have|with|from|but|by|on|at|as|if|not|then|than|when|which|that|can|may|must|will|would|should)$/;

function findNumber(sentence: string): Found[] {
  return spans(sentence, NUMBER, 'number', () => '').flatMap((found) => {
    const text = sentence.slice(found.start, found.end);
    const [digits, unit = ''] = [/^\S*?[\d,.]*\d/.exec(text)![0], text.replace(/^[$€£]?[\d,]*(?:\.\d+)?[\s-]?/, '')];
    const isUnit = unit !== '' && !COUNTLESS.test(unit);
    const end = isUnit ? found.end : found.start + digits.length;
    // A single digit without a unit can be guessed.
    if (!isUnit && (digits.includes('.') || digits.replace(/\D/g, '').length < 2)) return [];
    return [{ ...found, end, form: `number: ${isUnit ? unit : `${digits.length} signs`}` }];
  });
}

/** Words that begin another part of the sentence. */
const CLAUSE =
  'that|which|who|where|when|whose|used|using|in|to|for|from|by|on|at|with|within|between|and|or|but|as|if|because|so|is|are|was|can|may|will|it|you|we|they';
/** Behind the verb: article, then words up to a sign or to where another part of the sentence begins. */
const DEFINITION = new RegExp(
  `^(?:(?:an?|the)\\s+)?((?:[\\w"'()-]+\\s+){1,6}?)(is|are|means|denotes|stands\\s+for)\\s+` +
    `((?:an?|the)\\s+(?!same\\b|only\\b|first\\b|last\\b|one\\b)[a-z][\\w-]*(?:\\s+(?!(?:${CLAUSE})\\b)[\\w-]+){1,5})(?=[,.;:(]|\\s+(?:${CLAUSE}|\\()\\b)`,
  'i',
);
/** No name of a thing: part of a clause, or a thing that only its neighbours make out. */
const NO_SUBJECT =
  /\b(?:not|never|also|only|there|what|which|that|whether|if|when|it|they|you|he|she|value|result|default|reason|argument|other)\b/i;

function findDefinition(sentence: string): Found[] {
  const match = DEFINITION.exec(sentence);
  // "a list of characters enclosed": the rest of a participle is missing.
  if (!match || NO_SUBJECT.test(match[1]!) || /ed$/.test(match[3]!)) return [];
  const [whole, , verb, answer] = match as unknown as [string, string, string, string];
  const start = whole.length - answer.length;
  return [{ kind: 'definition', start, end: start + answer.length, form: `definition: ${verb.toLowerCase()}` }];
}

const CODE =
  /(?<![\w-])(?:--[a-z][\w-]+|[A-Za-z][\w.]*\(\)|[A-Za-z]+(?:_[A-Za-z0-9]+)+|[a-z]+(?:[A-Z][a-z0-9]+)+|[a-z]\w+(?:\.[a-z]\w+)+|[A-Z]{2,}(?: [A-Z]{2,})+)(?![\w(-])/g;

function findCode(sentence: string): Found[] {
  return spans(sentence, CODE, 'code', (text) => {
    if (text.startsWith('--')) return 'option';
    if (text.endsWith('()')) return 'call';
    if (text.includes('_')) return text === text.toUpperCase() ? 'constant' : 'identifier';
    if (/ /.test(text)) return 'command';
    return text.includes('.') ? 'dotted' : 'camel';
  });
}

const NAME =
  /(?<=[\p{Ll}\d,] )\p{Lu}[\p{L}\d'-]*\p{Ll}[\p{L}\d'-]*(?: (?:(?:of|the|de|van|von) )?\p{Lu}[\p{L}\d'-]+)*/gu;

function findName(sentence: string): Found[] {
  return spans(sentence, NAME, 'name', (text) => `name of ${text.split(' ').length}`).filter(
    ({ start, end }) =>
      end - start >= 4 &&
      !/^(?:Sections?|Tables?|Chapters?|Figures?|Appendix|Part|Example|Note)\b/.test(sentence.slice(start, end)),
  );
}

function spans(sentence: string, pattern: RegExp, kind: FactKind, formOf: (text: string) => string): Found[] {
  return [...sentence.matchAll(pattern)].map((match) => ({
    kind,
    start: match.index,
    end: match.index + match[0].length,
    form: formOf(match[0]),
  }));
}
