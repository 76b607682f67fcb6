// What is done to a model's answers before they are scored (lm_eval/filters). A pipeline takes, for each request, the list of its answers
// (several where a task repeats); each step makes another list of it, or, as take_first, one answer.
import { ConfigError } from '../../base/errors.ts';
import { compileRegex, escapeRegex, findAll, substitute } from '../python/regex.ts';
import { lengthOf, strip } from '../python/text.ts';
import type { TwinFilter } from '../twins/index.ts';
import type { Doc } from './definition.ts';
import { twinOf } from './definition.ts';
import { FunctionName, type RawConfig } from './yaml.ts';

/** Answers of each request and the document of each; what comes out is in the same order. */
export type FilterStep = (answers: readonly unknown[], docs: readonly Doc[]) => unknown[] | Promise<unknown[]>;

export interface FilterPipeline {
  name: string;
  apply: FilterStep;
}

type MakeStep = (options: RawConfig) => FilterStep;

const INVALID = '[invalid]';

const each =
  (change: (answer: unknown, doc: Doc) => unknown): FilterStep =>
  (answers, docs) =>
    answers.map((list, i) => listOf(list).map((answer) => change(answer, docs[i])));

/** A text is its characters to a step that expects a list, as in Python: a step after take_first sees those. */
function listOf(answers: unknown): readonly unknown[] {
  return Array.isArray(answers) ? answers : typeof answers === 'string' ? Array.from(answers) : [answers];
}

const text = (answer: unknown): string => (typeof answer === 'string' ? answer : '');

interface Extraction {
  regex: RegExp;
  groupSelect: number;
  fallback: unknown;
}

function extraction(options: RawConfig): Extraction {
  return {
    regex: compileRegex(String(options.regex_pattern ?? '#### (\\-?[0-9\\.\\,]+)')),
    groupSelect: Number(options.group_select ?? 0),
    fallback: options.fallback ?? INVALID,
  };
}

/** The chosen match: its first group that is not empty. @returns undefined without a match, '' where all groups are empty */
function extract(regex: RegExp, groupSelect: number, answer: unknown): string | undefined {
  const found = findAll(regex, text(answer));
  if (found.length === 0) return undefined;
  const match = found.at(groupSelect);
  if (match === undefined)
    throw new ConfigError(`group_select ${groupSelect} of ${found.length} matches of ${regex.source}`);
  return strip(Array.isArray(match) ? (match.find((group) => group !== '') ?? '') : match);
}

const regexStep: MakeStep = (options) => {
  const { regex, groupSelect, fallback } = extraction(options);
  return each((answer) => {
    const matched = extract(regex, groupSelect, answer);
    if (matched === undefined) return fallback;
    // Only where a pattern has several groups can all of them be empty without the match being so.
    return matched === '' && numGroups(regex) > 1 ? strip(String(fallback)) : matched;
  });
};

function numGroups(regex: RegExp): number {
  return new RegExp(`${regex.source}|`, regex.flags.replace('g', '')).exec('')!.length - 1;
}

const PUNCTUATION = /\p{P}/gu;

/** By the pattern; else by the text of one of the document's choices; else by a letter after a colon. */
const multiChoiceRegex: MakeStep = (options) => {
  const { regex, groupSelect, fallback } = extraction(options);
  const ignored = ((options.regexes_to_ignore ?? []) as unknown[]).map((pattern) => compileRegex(String(pattern)));
  const simplify = (given: string): string => {
    let simple = ignored.reduce((rest, pattern) => substitute(pattern, '', rest), given);
    if (options.ignore_case) simple = simple.toLowerCase();
    return options.ignore_punctuation ? simple.replace(PUNCTUATION, '') : simple;
  };
  return (answers, docs) =>
    answers.map((list, i) => {
      const choices = ((docs[i].choices ?? []) as unknown[]).map((choice) => simplify(strip(String(choice))));
      const letters = choices.map((_, j) => String.fromCharCode(65 + j));
      // Longest first: a choice that begins another one must not be taken for it.
      const texts = compileRegex(
        choices
          .map(escapeRegex)
          .sort((a, b) => lengthOf(b) - lengthOf(a))
          .join('|'),
      );
      const afterColon = compileRegex(`:[\\s]*(${letters.join('|')})`);
      return listOf(list).map((answer) => {
        const direct = extract(regex, groupSelect, answer);
        if (direct) return direct;
        const said = extract(texts, groupSelect, simplify(text(answer)));
        const at = said === undefined ? -1 : choices.lastIndexOf(said);
        if (said) return at < 0 ? said : `(${letters[at]})`;
        const letter = extract(afterColon, groupSelect, answer);
        return letter ? `(${letter})` : fallback;
      });
    });
};

const majorityVote: MakeStep = () => (answers) =>
  answers.map((list) => {
    const counts = new Map<unknown, number>();
    for (const answer of listOf(list)) counts.set(answer, (counts.get(answer) ?? 0) + 1);
    let best: [unknown, number] | undefined;
    // Of several that occur most often the first.
    for (const entry of counts) if (!best || entry[1] > best[1]) best = entry;
    return [best?.[0]];
  });

const takeFirstK: MakeStep = (options) => {
  const k = Number(options.k);
  return (answers) =>
    answers.map((list) => {
      const all = listOf(list);
      if (all.length < k)
        throw new ConfigError(
          `the filter take_first_k wants ${k} answers a request, found ${all.length}: set repeats to ${k}.`,
        );
      return all.slice(0, k);
    });
};

const mapStep: MakeStep = (options) => {
  const mapping = (options.mapping_dict ?? {}) as RawConfig;
  const fallback = options.default_value ?? null;
  return each((answer) => (typeof answer === 'string' && Object.hasOwn(mapping, answer) ? mapping[answer] : fallback));
};

const STEPS: Readonly<Record<string, MakeStep>> = {
  take_first: () => (answers) => answers.map((list) => listOf(list)[0]),
  take_first_k: takeFirstK,
  majority_vote: majorityVote,
  regex: regexStep,
  multi_choice_regex: multiChoiceRegex,
  remove_whitespace: () => each((answer) => strip(text(answer))),
  lowercase: () => each((answer) => text(answer).toLowerCase()),
  uppercase: () => each((answer) => text(answer).toUpperCase()),
  map: mapStep,
};

/** @throws ConfigError for a filter that there is not, or a pattern that cannot be compiled */
export function readFilters(given: unknown, where: string): FilterPipeline[] {
  if (given === undefined || given === null) return [{ name: 'none', apply: STEPS.take_first({}) }];
  return [given].flat().map((item) => {
    const { name, filter } = item as RawConfig;
    const steps = [filter].flat().map((step) => readStep(step as RawConfig, `${where}: ${String(name)}`));
    const apply: FilterStep = async (answers, docs) => {
      let rest = [...answers];
      for (const step of steps) rest = await step(rest, docs);
      return rest;
    };
    return { name: String(name), apply };
  });
}

function readStep({ function: name, ...options }: RawConfig, where: string): FilterStep {
  if (name instanceof FunctionName) {
    const filter = twinOf(name, where)(options) as TwinFilter;
    return (answers, docs) => filter.apply(answers as string[][], docs);
  }
  if (name === 'custom' && options.filter_fn instanceof FunctionName) {
    const apply = twinOf(options.filter_fn, where);
    return (answers, docs) => apply(answers, docs) as unknown[];
  }
  const make = Object.hasOwn(STEPS, String(name)) ? STEPS[String(name)] : undefined;
  if (!make)
    throw new ConfigError(
      `${where}: the filter ${JSON.stringify(name)} is not supported; ${Object.keys(STEPS).join(', ')} are.`,
    );
  try {
    return make(options);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new ConfigError(`${where}: ${error.message}.`);
  }
}
