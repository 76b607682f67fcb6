// Samples of RULER (Hsieh et al. 2024, arXiv:2404.06654), made from a seed at a given length in the model's own tokens. Its tasks, counts and
// prompts (published under Apache-2.0; scores depend on them) are kept; words, numbers and texts are our own, so a sample is of the same kind and
// difficulty as RULER's and never the very same.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { gunzipSync } from 'node:zlib';
import { ConfigError } from '../../base/errors.ts';
import { packageRoot } from '../../base/package.ts';
import { Rng } from '../../base/rng.ts';
import { ADJECTIVES, distinctWords, NOUNS } from './words.ts';

/** RULER's tasks: a needle (its words, numbers or uuids, one or many, among text, repeated sentences or other needles), chains of variables, most common words, questions among documents. */
export const LONG_CONTEXT_KINDS = [
  'niah_single_1',
  'niah_single_2',
  'niah_single_3',
  'niah_multikey_1',
  'niah_multikey_2',
  'niah_multikey_3',
  'niah_multivalue',
  'niah_multiquery',
  'vt',
  'cwe',
  'fwe',
  'qa',
] as const;
export type LongContextKind = (typeof LONG_CONTEXT_KINDS)[number];

export interface QuestionPool {
  documents: readonly string[];
  /** `context`: places of the documents that hold the answer. */
  questions: readonly { question: string; answers: readonly string[]; context: readonly number[] }[];
}

export interface LongContextOptions {
  kind: LongContextKind;
  /** Room for the prompt and its answer, tokens. The prompt fills it as far as its parts allow. */
  lengthTokens: number;
  /** Where what is asked for stands: 0 at the beginning, 1 at the end. Anywhere unless given. "cwe" and "fwe" have no place. */
  depth?: number;
  /** Equal seeds give equal samples. */
  seed: number;
  /** Tokens of a text, as the model reads it. */
  countTokens: (text: string) => number;
  /** What a needle is hidden in, for the kinds that hide it in running text; Moby-Dick unless given. */
  text?: string;
  /** "qa" needs it: see {@link readQuestions}. */
  questions?: QuestionPool;
}

export interface LongContextSample {
  kind: LongContextKind;
  /** Ends with the beginning of the answer. */
  prompt: string;
  /** That beginning, which a task file calls gen_prefix; `prompt` is the input and this, a space between them. */
  answerPrefix: string;
  input: string;
  answers: string[];
  /** Tokens of the prompt. */
  numTokens: number;
  /** Tokens that RULER lets a model answer in. */
  maxAnswerTokens: number;
}

/** Share of the answers that the response holds, in any letters: RULER's string_match_all. */
export function matchAll(response: string, answers: readonly string[]): number {
  const found = response.toLowerCase();
  return answers.filter((answer) => found.includes(answer.toLowerCase())).length / answers.length;
}

/** 1 where the response holds any of the answers: RULER's string_match_part, which it uses for questions. */
export function matchPart(response: string, answers: readonly string[]): number {
  const found = response.toLowerCase();
  return answers.some((answer) => found.includes(answer.toLowerCase())) ? 1 : 0;
}

/** RULER's score of a response to a sample of this kind. */
export function scoreLongContext(kind: LongContextKind, response: string, answers: readonly string[]): number {
  return (kind === 'qa' ? matchPart : matchAll)(response, answers);
}

/** @throws ConfigError where the length has no room for the question itself */
export function longContextSample(options: LongContextOptions): LongContextSample {
  const build = builder(options);
  const room = options.lengthTokens - MAX_ANSWER_TOKENS[taskOf(options.kind)];
  const measured = (units: number) => {
    const parts = build(units);
    const prompt = `${parts.input} ${parts.answerPrefix}`;
    return { parts, prompt, numTokens: options.countTokens(prompt) };
  };
  const least = LEAST_UNITS[taskOf(options.kind)];
  const most = options.kind === 'qa' ? (options.questions?.documents.length ?? 0) : MOST_UNITS;
  let best = measured(least);
  if (best.numTokens > room)
    throw new ConfigError(
      `${options.kind}: ${options.lengthTokens} tokens have no room for it: its shortest prompt has ${best.numTokens}, its answer ` +
        `${MAX_ANSWER_TOKENS[taskOf(options.kind)]}. Ask for at least ${best.numTokens + MAX_ANSWER_TOKENS[taskOf(options.kind)]}.`,
    );
  // Tokens grow about evenly with units: secant steps between the longest that fits and the shortest that does not.
  let fits = least;
  let tooMany = most + 1;
  let slope = 0;
  const probe = Math.min(most, least + 8);
  if (probe > least) slope = (measured(probe).numTokens - best.numTokens) / (probe - least);
  for (let step = 0; step < 12 && tooMany - fits > 1 && room - best.numTokens >= Math.max(8, room / 200); step++) {
    const guess = fits + Math.floor((room - best.numTokens) / Math.max(slope, 0.01));
    const units = Math.min(Math.max(guess, fits + 1), tooMany - 1);
    const tried = measured(units);
    if (tried.numTokens <= room) {
      slope = Math.max((tried.numTokens - best.numTokens) / (units - fits), 0.01);
      fits = units;
      best = tried;
    } else {
      slope = (tried.numTokens - best.numTokens) / (units - fits);
      tooMany = units;
    }
  }
  const { input, answerPrefix, answers } = best.parts;
  return {
    kind: options.kind,
    prompt: best.prompt,
    answerPrefix,
    input,
    answers,
    numTokens: best.numTokens,
    maxAnswerTokens: MAX_ANSWER_TOKENS[taskOf(options.kind)],
  };
}

/**
 * Questions with their contexts, for "qa": a JSON file as SQuAD has it ({data: [{paragraphs: [{context, qas}]}]}), or JSONL with `context`,
 * `question` and `answers` (texts, or {text: [...]}). Questions without an answer are left out.
 *
 * @throws ConfigError where it is neither
 */
export function readQuestions(file: string): QuestionPool {
  let rows: { context: string; question: string; answers: string[] }[];
  let content: string;
  try {
    content = fs.readFileSync(file, 'utf8');
  } catch (error) {
    throw new ConfigError(
      `${file}: cannot be read (${(error as NodeJS.ErrnoException).code}). Give a file of questions as SQuAD's.`,
    );
  }
  try {
    rows =
      content.trimStart().startsWith('{"data"') || /^\s*\{\s*"(version|data)"\s*:/.test(content)
        ? squadRows(JSON.parse(content))
        : content
            .split('\n')
            .filter((line) => line.trim() !== '')
            .map((line) => questionRow(JSON.parse(line)));
  } catch (error) {
    throw new ConfigError(
      `${file}: no questions as SQuAD has them: ${(error as Error).message}. Expected {"data": [...]}, or a line a question with context, question and answers.`,
    );
  }
  rows = rows.filter((row) => row.answers.length > 0);
  const documents = [...new Set(rows.map((row) => row.context))].sort();
  const place = new Map(documents.map((document, i) => [document, i]));
  return {
    documents,
    questions: rows.map((row) => ({
      question: row.question,
      answers: row.answers,
      context: [place.get(row.context)!],
    })),
  };
}

interface SquadFile {
  data: {
    paragraphs: {
      context: string;
      qas: { question: string; is_impossible?: boolean; answers: { text: string }[] }[];
    }[];
  }[];
}

function squadRows(file: SquadFile): { context: string; question: string; answers: string[] }[] {
  return file.data.flatMap((article) =>
    article.paragraphs.flatMap((paragraph) =>
      paragraph.qas
        .filter((qa) => !qa.is_impossible)
        .map((qa) => ({ context: paragraph.context, question: qa.question, answers: qa.answers.map((a) => a.text) })),
    ),
  );
}

function questionRow(row: { context: string; question: string; answers: string[] | { text: string[] } }) {
  if (typeof row.context !== 'string' || typeof row.question !== 'string')
    throw new Error('a line without context or question');
  return {
    context: row.context,
    question: row.question,
    answers: Array.isArray(row.answers) ? row.answers : row.answers.text,
  };
}

interface Parts {
  input: string;
  answerPrefix: string;
  answers: string[];
}

type Task = 'niah' | 'vt' | 'cwe' | 'fwe' | 'qa';

const taskOf = (kind: LongContextKind): Task => (kind.startsWith('niah') ? 'niah' : (kind as Task));

const MAX_ANSWER_TOKENS: Record<Task, number> = { niah: 128, vt: 30, cwe: 120, fwe: 50, qa: 32 };
const LEAST_UNITS: Record<Task, number> = {
  niah: 10,
  vt: 5,
  cwe: 11,
  fwe: 40,
  qa: 1,
};
const MOST_UNITS = 2 ** 24;

/** The sample of this seed with so many units: repeated sentences, needles, words or documents. */
function builder(options: LongContextOptions): (units: number) => Parts {
  const rng = () => new Rng(options.seed, 'long-context', options.kind);
  switch (taskOf(options.kind)) {
    case 'niah': {
      const words = NEEDLES[options.kind as NeedleKind].haystack === 'text' ? wordsOf(options.text) : [];
      return (units) => needles(options.kind as NeedleKind, units, words, options.depth, rng());
    }
    case 'vt':
      return (units) => variableTracking(units, options.depth, rng());
    case 'cwe':
      return (units) => commonWords(units, options.lengthTokens < 4096, rng());
    case 'fwe':
      return (units) => frequentWords(units, Math.floor(options.lengthTokens / 50), rng());
    case 'qa': {
      const pool = options.questions;
      if (!pool || pool.questions.length === 0)
        throw new ConfigError(
          "qa: questions with their documents are needed: give a file in SQuAD's format (data_file).",
        );
      return (units) => questionAmongDocuments(pool, units, options.depth, rng());
    }
  }
}

interface NeedleTask {
  haystack: 'repeat' | 'text' | 'needles';
  key: 'words' | 'uuids';
  value: 'numbers' | 'uuids';
  /** Keys in the text, values of each, and keys that are asked for. */
  keys: number;
  values: number;
  queries: number;
}

const NEEDLES = {
  niah_single_1: { haystack: 'repeat', key: 'words', value: 'numbers', keys: 1, values: 1, queries: 1 },
  niah_single_2: { haystack: 'text', key: 'words', value: 'numbers', keys: 1, values: 1, queries: 1 },
  niah_single_3: { haystack: 'text', key: 'words', value: 'uuids', keys: 1, values: 1, queries: 1 },
  niah_multikey_1: { haystack: 'text', key: 'words', value: 'numbers', keys: 4, values: 1, queries: 1 },
  niah_multikey_2: { haystack: 'needles', key: 'words', value: 'numbers', keys: 1, values: 1, queries: 1 },
  niah_multikey_3: { haystack: 'needles', key: 'uuids', value: 'uuids', keys: 1, values: 1, queries: 1 },
  niah_multivalue: { haystack: 'text', key: 'words', value: 'numbers', keys: 1, values: 4, queries: 1 },
  niah_multiquery: { haystack: 'text', key: 'words', value: 'numbers', keys: 4, values: 1, queries: 4 },
} satisfies Record<string, NeedleTask>;
type NeedleKind = keyof typeof NEEDLES;

const NOISE = 'The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.';

function needles(
  kind: NeedleKind,
  units: number,
  words: readonly string[],
  depth: number | undefined,
  rng: Rng,
): Parts {
  const task: NeedleTask = NEEDLES[kind];
  const say = (key: string, value: string) => `One of the special magic ${task.value} for ${key} is: ${value}.`;
  const taken = new Set<string>();
  const fresh = (type: 'words' | 'numbers' | 'uuids') => {
    for (;;) {
      const made = secret(type, rng);
      if (!taken.has(made)) {
        taken.add(made);
        return made;
      }
    }
  };
  const keys = Array.from({ length: task.keys }, () => fresh(task.key));
  const values = keys.map(() => Array.from({ length: task.values }, () => fresh(task.value)));
  const asked = rng.shuffle(keys.map((_, i) => i)).slice(0, task.queries);
  // What is asked for first takes the given depth; the rest, places of their own.
  const placed = rng.shuffle(
    keys.flatMap((key, k) =>
      values[k]!.map((value, v) => ({ said: say(key, value), first: k === asked[0] && v === 0 })),
    ),
  );
  const depths = placed.map(({ first }) => (depth !== undefined && first ? depth : rng.below(41) / 40));
  const hay =
    task.haystack === 'text'
      ? sentencesOf(words, units)
      : Array.from({ length: units }, () =>
          task.haystack === 'repeat' ? NOISE : say(fresh(task.key), fresh(task.value)),
        );
  const context = interleave(
    hay,
    placed.map(({ said }, i) => ({ said, at: Math.round(depths[i]! * hay.length) })),
  ).join(task.haystack === 'text' ? ' ' : '\n');
  const single = task.queries * task.values === 1;
  const named = asked.map((i) => keys[i]!);
  const query = named.length > 1 ? `${named.slice(0, -1).join(', ')}, and ${named.at(-1)}` : named[0]!;
  const what = single ? task.value.slice(0, -1) : task.value;
  return {
    input: single
      ? `A special magic ${what} is hidden within the following text. Make sure to memorize it. I will quiz you about the ${what} afterwards.\n${context}\nWhat is the special magic ${what} for ${query} mentioned in the provided text?`
      : `Some special magic ${what} are hidden within the following text. Make sure to memorize it. I will quiz you about the ${what} afterwards.\n${context}\nWhat are all the special magic ${what} for ${query} mentioned in the provided text?`,
    answerPrefix: `The special magic ${what} for ${query} mentioned in the provided text ${single ? 'is' : 'are'}`,
    answers: asked.flatMap((i) => values[i]!),
  };
}

function secret(type: 'words' | 'numbers' | 'uuids', rng: Rng): string {
  if (type === 'words') return `${ADJECTIVES[rng.below(ADJECTIVES.length)]}-${NOUNS[rng.below(NOUNS.length)]}`;
  if (type === 'numbers') return String(1_000_000 + rng.below(9_000_000));
  const hex = Array.from({ length: 4 }, () => rng.uint32().toString(16).padStart(8, '0')).join('');
  const variant = '89ab'[rng.below(4)];
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20)}`;
}

/** The sentences with what is said put in before the given places. */
function interleave(sentences: readonly string[], said: readonly { said: string; at: number }[]): string[] {
  const sorted = [...said].sort((a, b) => a.at - b.at);
  const out: string[] = [];
  let next = 0;
  for (let i = 0; i <= sentences.length; i++) {
    while (next < sorted.length && sorted[next]!.at <= i) out.push(sorted[next++]!.said);
    if (i < sentences.length) out.push(sentences[i]!);
  }
  return out;
}

const VARIABLE_QUESTION = 'Memorize and track the chain(s) of variable assignment hidden in the following text.';
const HOPS = 4;

function variableTracking(units: number, depth: number | undefined, rng: Rng): Parts {
  const example = chain(5, 3, undefined, rng);
  const asked = chain(units, 5, depth, rng);
  const ask = (c: typeof asked) =>
    `${VARIABLE_QUESTION}\n\n${c.context}\nQuestion: Find all variables that are assigned the value ${c.value} in the text above.`;
  // "assgined" is RULER's own spelling; a prompt that corrects it is another prompt.
  const answer = (c: typeof asked) =>
    `Answer: According to the chain(s) of variable assignment in the text above, ${HOPS + 1} variables are assgined the value ${c.value}, they are:`;
  return {
    input: `${ask(example)} ${answer(example)} ${example.names.join(' ')}\n\n\n\n${ask(asked)}`,
    answerPrefix: answer(asked),
    answers: asked.names,
  };
}

function chain(units: number, letters: number, depth: number | undefined, rng: Rng) {
  const taken = new Set<string>();
  while (taken.size < HOPS + 1)
    taken.add(Array.from({ length: letters }, () => String.fromCharCode(65 + rng.below(26))).join(''));
  const names = [...taken];
  const value = String(10_000 + rng.below(89_999));
  const said = names.map((name, i) => (i === 0 ? `VAR ${name} = ${value}` : `VAR ${name} = VAR ${names[i - 1]}`));
  const first = depth === undefined ? undefined : Math.round(depth * units);
  const places = said.map((_, i) =>
    i === 0 && first !== undefined ? first : (first ?? 0) + rng.below(units - (first ?? 0) + 1),
  );
  const sorted = places.sort((a, b) => a - b);
  const context = interleave(
    Array.from({ length: units }, () => NOISE),
    said.map((text, i) => ({ said: text, at: sorted[i]! })),
  ).join('\n');
  return { names, value, context };
}

const COMMON_WORDS = 10;

/** Ten words come often (30 times), the others seldom (3 times); in short lists 6 and 1 times. */
function commonWords(units: number, short: boolean, rng: Rng): Parts {
  const [often, seldom] = short ? [6, 1] : [30, 3];
  const drawn = rng.shuffle(distinctWords(Math.max(2000, units))).slice(0, units);
  const common = drawn.slice(0, COMMON_WORDS);
  const list = rng.shuffle(drawn.flatMap((word, i) => new Array<string>(i < COMMON_WORDS ? often : seldom).fill(word)));
  return {
    input:
      'Below is a numbered list of words. In these words, some appear more often than others. Memorize the ones that appear most often.\n' +
      `${list.map((word, i) => `${i + 1}. ${word}`).join(' ')}\nQuestion: What are the 10 most common words in the above list?`,
    answerPrefix: 'Answer: The top 10 words that appear most often in the list are:',
    answers: common,
  };
}

const ZETA_2 = Math.PI ** 2 / 6;

/** Made-up words whose frequency falls with the square of their rank; the first is dots, the next three are asked for. */
function frequentWords(units: number, vocabulary: number, rng: Rng): Parts {
  const words = new Set<string>();
  const size = Math.max(vocabulary, 10);
  while (words.size < size)
    words.add(Array.from({ length: 6 }, () => String.fromCharCode(97 + rng.below(26))).join(''));
  const ranked = ['...', ...[...words].slice(1)];
  const list = rng.shuffle(
    ranked.flatMap((word, i) => new Array<string>(Math.floor(units / ZETA_2 / (i + 1) ** 2)).fill(word)),
  );
  return {
    input:
      'Read the following coded text and track the frequency of each coded word. Find the three most frequently appeared coded words. ' +
      `${list.join(' ')}\nQuestion: Do not provide any explanation. Please ignore the dots '....'. ` +
      'What are the three most frequently appeared words in the above coded text?',
    answerPrefix: 'Answer: According to the coded text above, the three most frequently appeared words are:',
    answers: ranked.slice(1, 4),
  };
}

function questionAmongDocuments(pool: QuestionPool, units: number, depth: number | undefined, rng: Rng): Parts {
  const asked = pool.questions[rng.below(pool.questions.length)]!;
  const gold = new Set(asked.context);
  const others = rng
    .shuffle(pool.documents.map((_, i) => i).filter((i) => !gold.has(i)))
    .slice(0, Math.max(0, units - gold.size));
  const order = interleave(
    others.map(String),
    asked.context.map((i) => ({ said: String(i), at: Math.round((depth ?? rng.float()) * others.length) })),
  );
  const context = order.map((i, n) => `Document ${n + 1}:\n${pool.documents[Number(i)]}`).join('\n\n');
  const instruction =
    'Answer the question based on the given documents. Only give me the answer and do not output any other words.';
  return {
    input: `${instruction}\n\nThe following are given documents.\n\n${context}\n\n${instruction}\n\nQuestion: ${asked.question}`,
    answerPrefix: 'Answer:',
    answers: [...asked.answers],
  };
}

function wordsOf(text: string | undefined): string[] {
  const words = (text ?? bundledText()).split(/\s+/).filter(Boolean);
  if (words.length === 0)
    throw new ConfigError('long context: the text to hide needles in is empty. Give one with sentences, or none.');
  return words;
}

/** So many words, the text begun again at its end, cut where sentences seem to end: a needle stands between two of them. */
function sentencesOf(words: readonly string[], units: number): string[] {
  const text = Array.from({ length: units }, (_, i) => words[i % words.length]!).join(' ');
  return text.split(/(?<=[.!?]["'”’)]?) (?=["'“‘(]?[A-Z])/);
}

let cachedText: string | undefined;

/** Moby-Dick's chapters of data/demo (public domain), in the order of that file. */
function bundledText(): string {
  if (cachedText === undefined) {
    const file = path.join(packageRoot(), 'data', 'demo', 'english.jsonl.gz');
    const lines = gunzipSync(fs.readFileSync(file))
      .toString('utf8')
      .split('\n')
      .filter((line) => line.includes('"source":"moby-dick"'));
    cachedText = lines.map((line) => (JSON.parse(line) as { text: string }).text).join(' ');
  }
  return cachedText;
}
