// The options that each step of cleaning takes, as a schema and as types, and the named lists of steps. The steps themselves, with the
// sources of their default limits, are in src/corpus/curate/steps; they stand below this layer, so that a wrong option is reported with
// its line and column.
import { z } from 'zod';
import { nearestName } from '../base/errors.ts';
import { map, notNegative, number, positive, share, text, truth, whole } from './fields.ts';

const wholeOrNone = number('a whole number of at least 0', (x) => Number.isSafeInteger(x) && x >= 0);

function listOf(what: string) {
  return z.array(text(what), { error: `a list: ${what}` }).min(1, { error: `at least one: ${what}` });
}

/** n-gram length -> largest share of the characters. */
const sharesByLength = z
  .record(z.string(), share, { error: 'a map from n-gram length to a share, such as { 2: 0.2, 3: 0.18 }' })
  .refine((value) => Object.keys(value).every((n) => /^\d+$/.test(n) && Number(n) >= 1 && Number(n) <= 100), {
    error: 'n-gram lengths from 1 to 100 as keys, such as { 2: 0.2, 3: 0.18 }',
  });

/** Schema by step. */
export const CLEAN_OPTIONS = {
  unicode: map({
    /** Undo UTF-8 that was read as Windows-1252. */
    mojibake: truth.optional(),
    /** Canonical composition. */
    nfc: truth.optional(),
    /** Spaces of other widths become plain ones. */
    spaces: truth.optional(),
    /** Curly quotes become straight ones. */
    straightQuotes: truth.optional(),
  }),
  boilerplate: map({
    /** Lines with more words are left alone. */
    maxWords: whole.optional(),
    /** Further lines to remove, compared without case and white space around them. */
    lines: listOf('a line to remove, such as "Back to top"').optional(),
  }),
  language: map({
    /** ISO 639-1; without it every document stays and is only labelled. */
    keep: listOf('a language such as en').optional(),
    /** Lowest score of the best language. */
    min: share.optional(),
    /** Documents with fewer letters are too short to tell, and stay. */
    minLetters: wholeOrNone.optional(),
  }),
  'gopher-quality': map({
    minWords: wholeOrNone.optional(),
    maxWords: whole.optional(),
    minMeanWordLength: notNegative.optional(),
    maxMeanWordLength: positive.optional(),
    /** Of "#" to words, and of ellipses to words. */
    maxSymbolRatio: notNegative.optional(),
    maxBulletLines: share.optional(),
    maxEllipsisLines: share.optional(),
    /** Least share of words with a letter. */
    minAlphabeticWords: share.optional(),
    /** Least number of different stop words. */
    minStopWords: wholeOrNone.optional(),
    stopWords: listOf('a word such as the').optional(),
  }),
  'gopher-repetition': map({
    maxDuplicateLines: share.optional(),
    maxDuplicateLineChars: share.optional(),
    maxDuplicateParagraphs: share.optional(),
    maxDuplicateParagraphChars: share.optional(),
    topNgrams: sharesByLength.optional(),
    duplicateNgrams: sharesByLength.optional(),
  }),
  c4: map({
    /** Keep only lines that end in . ! ? or a quotation mark. */
    terminalPunctuation: truth.optional(),
    minSentences: wholeOrNone.optional(),
    minWordsPerLine: wholeOrNone.optional(),
    maxWordLength: whole.optional(),
    loremIpsum: truth.optional(),
    javascript: truth.optional(),
    curlyBracket: truth.optional(),
    policy: truth.optional(),
    citations: truth.optional(),
    /** File with one word or phrase a line; documents that hold one are removed. */
    badWords: text('the path of a file with one word a line').optional(),
  }),
  fineweb: map({
    /** Least share of lines that end in a punctuation mark. */
    minLinePunctuation: share.optional(),
    maxShortLines: share.optional(),
    /** A line of at most so many characters is short. */
    shortLineChars: wholeOrNone.optional(),
    maxDuplicateLineChars: share.optional(),
    /** Line ends to words. */
    maxNewlineRatio: notNegative.optional(),
  }),
  length: map({
    minChars: wholeOrNone.optional(),
    maxChars: whole.optional(),
    minWords: wholeOrNone.optional(),
    maxWords: whole.optional(),
  }).refine((value) => Object.keys(value).length > 0, {
    error: 'at least one of minChars, maxChars, minWords, maxWords, such as { length: { minChars: 200 } }',
  }),
  symbols: map({
    /** Share of characters that are neither letters nor marks: digits, punctuation, white space, symbols. */
    maxSpecialChars: share.optional(),
  }),
  code: map({
    maxMeanLineLength: positive.optional(),
    maxLineLength: whole.optional(),
    maxLines: whole.optional(),
    /** Least share of letters. */
    minLetters: share.optional(),
    /** Remove what says of itself that a program wrote it. */
    generated: truth.optional(),
    /** Largest share of characters inside base64, hexadecimal or escape runs. */
    maxEncoded: share.optional(),
    /** Lines beyond which a file of data (JSON, YAML, CSV, plain text) goes. */
    maxDataLines: whole.optional(),
  }),
  pii: map({
    emails: truth.optional(),
    ips: truth.optional(),
    phones: truth.optional(),
    keys: truth.optional(),
    /** IBAN and payment cards, by their checksums. */
    accounts: truth.optional(),
  }),
  quality: map({
    /** File made by `continuo data classify`. */
    model: text('the path of a model made by `continuo data classify`'),
    /** Lowest score, 0 to 1; without it documents are only scored. */
    min: share.optional(),
  }),
};

export type CleanStepName = keyof typeof CLEAN_OPTIONS;
export type CleanOptions<N extends CleanStepName> = z.output<(typeof CLEAN_OPTIONS)[N]>;
export const CLEAN_STEP_NAMES = Object.keys(CLEAN_OPTIONS) as CleanStepName[];

/** One step with its options; file names among them are absolute. */
export type CleanStepConfig = { [N in CleanStepName]: { name: N; options: CleanOptions<N> } }[CleanStepName];

function step<N extends CleanStepName>(name: N, options: CleanOptions<N>): CleanStepConfig {
  return { name, options } as CleanStepConfig;
}

/**
 * Lists of steps by what they are for. First what repairs, since every rule behind it measures text; then what removes lines; then the
 * rules on documents, the cheap before the dear; personal data last, on what stays.
 */
export const CLEAN_LISTS = {
  /**
   * English pages of the web: the filters of FineWeb (Penedo et al. 2024; datatrove, examples/fineweb.py), which runs C4 without its rule
   * on line ends. Quality stands before repetition, which costs more; the same documents pass.
   */
  web: [
    step('unicode', {}),
    step('boilerplate', {}),
    step('language', { keep: ['en'] }),
    step('gopher-quality', {}),
    step('gopher-repetition', {}),
    step('c4', { terminalPunctuation: false }),
    step('fineweb', {}),
    step('pii', {}),
  ],
  /**
   * A team's own documents in any language: manuals, wikis, books. Tables, lists, braces, short and repetitive pages belong to them, so the
   * rules for the web would remove what matters: damage, boilerplate lines and personal data go, every document stays.
   */
  docs: [step('unicode', {}), step('boilerplate', {}), step('language', {}), step('pii', {})],
  /** Source code, in which other spaces and forms of a letter may have a meaning. */
  code: [step('unicode', { mojibake: false, nfc: false, spaces: false }), step('code', {}), step('pii', {})],
} satisfies Record<string, readonly CleanStepConfig[]>;

export type CleanListName = keyof typeof CLEAN_LISTS;
export const CLEAN_LIST_NAMES = Object.keys(CLEAN_LISTS) as CleanListName[];

const forms = `a list of steps such as [unicode, { length: { minChars: 200 } }], or one of ${CLEAN_LIST_NAMES.join(', ')}`;

function isMap(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

function nameOf(known: readonly string[], what: string) {
  return z.string({ error: what }).refine((name) => known.includes(name), {
    error: (issue) => {
      const nearest = nearestName(String(issue.input), known);
      return `one of ${known.join(', ')}${nearest ? ` (did you mean "${nearest}"?)` : ''}`;
    },
  });
}

/** Steps that cannot stand without options are a map only. */
const entryName = nameOf([...CLEAN_LIST_NAMES, ...CLEAN_STEP_NAMES], 'the name of a step, or { name: options }').refine(
  (name) => !(name in CLEAN_OPTIONS) || CLEAN_OPTIONS[name as CleanStepName].safeParse({}).success,
  {
    error: (issue) => {
      const name = String(issue.input) as CleanStepName;
      return `options for it, as { ${name}: { ... } }: ${CLEAN_OPTIONS[name]
        .safeParse({})
        .error!.issues.map(({ message }) => message)
        .join(', ')}`;
    },
  },
);

function entry(value: unknown) {
  if (!isMap(value)) return entryName;
  const keys = Object.keys(value).filter((key) => key in CLEAN_OPTIONS) as CleanStepName[];
  if (keys.length > 1) return z.never({ error: 'one step each, as a list: [{ a: {} }, { b: {} }]' });
  if (keys.length === 1 && Object.keys(value).length === 1) return map({ [keys[0]!]: CLEAN_OPTIONS[keys[0]!] });
  // Some other key: refused with the nearest name.
  return map(Object.fromEntries(CLEAN_STEP_NAMES.map((name) => [name, z.unknown().optional()])), 'a step');
}

/** @param value what the file says, which chooses between branches */
export function cleanSchema(value: unknown) {
  if (!Array.isArray(value)) return nameOf(CLEAN_LIST_NAMES, forms);
  if (value.length === 0) return z.never({ error: forms });
  const entries: z.ZodType[] = value.map(entry);
  return z.tuple(entries as [z.ZodType, ...z.ZodType[]], { error: forms });
}

export type CleanInFile = string | readonly (string | Record<string, Record<string, unknown>>)[];

/**
 * The steps in order. A list's name among steps stands for its steps; a step that is named again takes the earlier one's place, so
 * `[web, { language: { keep: [de] } }]` is web for German.
 * @param given passed by cleanSchema
 * @param resolvePath makes a file name absolute
 */
export function expandClean(given: CleanInFile, resolvePath: (file: string) => string): CleanStepConfig[] {
  const steps = new Map<CleanStepName, CleanStepConfig>();
  for (const one of typeof given === 'string' ? [given] : given) {
    if (typeof one === 'string' && one in CLEAN_LISTS)
      for (const listed of CLEAN_LISTS[one as CleanListName]) steps.set(listed.name, listed);
    else {
      const [name, options] = typeof one === 'string' ? [one, {}] : Object.entries(one)[0]!;
      steps.set(name as CleanStepName, { name, options: withPaths(options, resolvePath) } as CleanStepConfig);
    }
  }
  return [...steps.values()];
}

function withPaths(options: Record<string, unknown>, resolvePath: (file: string) => string): Record<string, unknown> {
  const resolved = { ...options };
  for (const key of ['model', 'badWords'])
    if (typeof options[key] === 'string') resolved[key] = resolvePath(options[key]);
  return resolved;
}
