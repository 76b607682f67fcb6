// Answers in free text: exact match and F1 as SQuAD's script counts them, in several languages; CoQA, ReCoRD, and tasks that look for a text.
import { WHITE as SPACE, strip, split as words } from '../python/text.ts';
import { capitalize, count, overlap, PUNCTUATION, wholeWords } from './python.ts';
import { squadForm, tokenF1 } from './scores.ts';
import type { Doc, Twins } from './types.ts';

const ARTICLES: Readonly<Record<string, RegExp>> = {
  en: wholeWords('a|an|the'),
  es: wholeWords('un|una|unos|unas|el|la|los|las'),
  vi: wholeWords('của|là|cái|chiếc|những'),
  de: wholeWords('ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des'),
  ar: new RegExp(`(?:^|[${SPACE}])ال`, 'g'),
};

const withoutMarks = (text: string) =>
  [...text.toLowerCase()].filter((c) => !PUNCTUATION.has(c) && !/\p{P}/u.test(c)).join('');

/** MLQA's normalisation (Lewis et al. 2020): Chinese characters are words of their own. */
function form(text: string, language: string, articles: Readonly<Record<string, RegExp>>): string[] {
  const bare = withoutMarks(text);
  const rest = articles[language] ? bare.replace(articles[language], ' ') : bare;
  return language === 'zh' ? words(rest.replace(/[\u4e00-\u9fa5]/g, ' $& ')) : words(rest);
}

const answered =
  (language: string, articles: Readonly<Record<string, RegExp>>) =>
  (doc: Doc, [response]: readonly string[]) => {
    const said = form(strip(response!), language, articles);
    const golds: string[][] = doc.answers.map((answer: string) => form(answer, language, articles));
    return {
      exact_match: Math.max(...golds.map((gold) => Number(gold.join(' ') === said.join(' ')))),
      f1: Math.max(...golds.map((gold) => tokenF1(said, gold))),
    };
  };

const answerTexts = (docs: readonly Doc[]) => docs.map((doc) => ({ ...doc, answers: doc.answers.text }));

export const mlqa: Twins = {
  'utils.process_docs': answerTexts,
  ...Object.fromEntries(
    ['en', 'es', 'hi', 'vi', 'de', 'ar', 'zh'].map((language) => [
      `utils.process_results_${language}`,
      answered(language, ARTICLES),
    ]),
  ),
};

const TYDI = {
  ar: 'arabic',
  bn: 'bengali',
  en: 'english',
  fi: 'finnish',
  id: 'indonesian',
  ko: 'korean',
  ru: 'russian',
  sw: 'swahili',
  te: 'telugu',
};
const TYDI_ARTICLES = { en: ARTICLES.en!, ar: ARTICLES.ar! };

export const tydiqa: Twins = Object.fromEntries(
  Object.entries(TYDI).flatMap(([code, language]) => [
    [
      `utils.process_docs_${code}`,
      (docs: readonly Doc[]) => answerTexts(docs.filter((doc) => doc.id.startsWith(`${language}-`))),
    ],
    [`utils.process_results_${code}`, answered(code, TYDI_ARTICLES)],
  ]),
);

const squadTokens = (text: string) => words(squadForm(text));
const squadExact = (gold: string, said: string) => Number(squadForm(gold) === squadForm(said));

/** SQuAD 2's F1: two empty answers agree. */
function squadF1(gold: string, said: string): number {
  const [a, b] = [squadTokens(gold), squadTokens(said)];
  return a.length === 0 || b.length === 0 ? Number(a.length === b.length) : tokenF1(b, a);
}

export const xquad: Twins = {
  'utils.process_results_qa': (doc: Doc, [response]: readonly string[]) => ({
    f1: squadF1(doc.answers.text[0], response!),
    exact_match: squadExact(doc.answers.text[0], response!),
  }),
};

/** A question's answers: the first annotator's, and others' where they differ. */
function coqaAnswers(doc: Doc): string[] {
  const turn = doc.questions.input_text.length - 1;
  const answers: string[] = [doc.answers.input_text[turn]];
  for (const other of Object.values((doc.additional_answers ?? {}) as Record<string, Doc>)) {
    const answer: string = other.input_text[turn];
    if (!answers.some((known) => known.toLowerCase() === answer.toLowerCase())) answers.push(answer);
  }
  return answers;
}

export const coqa: Twins = {
  'utils.doc_to_text': (doc: Doc) => {
    const turns = doc.questions.input_text.map((question: string, i: number) => {
      const known = i < doc.answers.input_text.length - 1;
      return `Q: ${question}\n\n${known ? `A: ${doc.answers.input_text[i]}\n\n` : 'A:'}`;
    });
    return `${doc.story}\n\n${turns.join('')}`;
  },
  'utils.doc_to_target': coqaAnswers,
  /** Against all answers but one, each left out once, as people are scored against each other. */
  'utils.process_results': (doc: Doc, [response]: readonly string[]) => {
    const golds = coqaAnswers(doc);
    const said = strip(response!).split('\n')[0]!;
    const rounds = golds.length > 1 ? golds.map((_, i) => golds.filter((__, k) => k !== i)) : [golds];
    const meanOfBest = (score: (gold: string, said: string) => number) =>
      rounds.reduce((sum, round) => sum + Math.max(...round.map((gold) => score(gold, said))), 0) / golds.length;
    return { em: meanOfBest(squadExact), f1: meanOfBest(squadF1) };
  },
};

const inPlace = (query: string, entity: string) => `  - ${query.replaceAll('@placeholder', () => entity)}`;
const distinct = (texts: readonly string[]) => [...new Set(texts)].sort();

export const record: Twins = {
  'util.process_docs': (docs: readonly Doc[]) =>
    docs.map((doc) => ({ ...doc, entities: distinct(doc.entities), answers: distinct(doc.answers) })),
  'util.doc_to_text': (doc: Doc) => {
    const [text, ...highlights] = strip(doc.passage).split('\n@highlight\n');
    return `${text}\n\n${highlights.map((highlight) => `  - ${highlight}.\n`).join('')}`;
  },
  'util.doc_to_target': (doc: Doc) => inPlace(doc.query, doc.answers[0]),
  'util.doc_to_choice': (doc: Doc) => doc.entities.map((entity: string) => inPlace(doc.query, entity)),
  'util.process_results': (doc: Doc, results: readonly (readonly [number, boolean])[]) => {
    const likelihoods = results.map(([logLikelihood]) => logLikelihood);
    const said = doc.entities[likelihoods.indexOf(Math.max(...likelihoods))];
    return {
      f1: Math.max(...doc.answers.map((gold: string) => squadF1(gold, said))),
      em: Math.max(...doc.answers.map((gold: string) => squadExact(gold, said))),
    };
  },
};

/** Mean of the F1 of three labels, each against the others together. */
export const commitmentBank: Twins = {
  'aggregate.cb_multi_fi': (items: readonly (readonly [number, number])[]) => {
    const f1 = (label: number) => {
      const hits = items.filter(([a, b]) => a === label && b === label).length;
      const named = items.filter(([a]) => a === label).length + items.filter(([, b]) => b === label).length;
      return named === 0 ? 0 : (2 * hits) / named;
    };
    return (f1(0) + f1(1) + f1(2)) / 3;
  },
};

/** Spaces that a tokenizer put before and after marks, gone. */
const joined = (text: string) =>
  text
    .replaceAll(" n't", "n't")
    .replaceAll(' )', ')')
    .replaceAll('( ', '(')
    .replaceAll('" ', '"')
    .replaceAll(' "', '"')
    .replace(/ (['.,])/g, '$1');

export const winogradSchemas: Twins = {
  'preprocess_wsc.default_doc_to_text': (doc: Doc) => {
    const before = words(doc.text).slice(0, doc.span2_index).join(' ');
    const pronoun: string = doc.span2_text;
    const after = [...doc.text].slice([...before].length + [...pronoun].length + 1).join('');
    return (
      `Passage: ${joined(`${before} *${pronoun}*${after}`)}\n` +
      `Question: In the passage above, does the pronoun "*${pronoun}*" refer to "*${doc.span1_text}*"?\nAnswer:`
    );
  },
};

export const moralStories: Twins = {
  'utils.process_docs': (docs: readonly Doc[]) =>
    docs.map((doc) => ({
      ...doc,
      query: [doc.norm, doc.situation, doc.intention].map(capitalize).join(' '),
      choices: [doc.moral_action, doc.immoral_action],
      label: 0,
    })),
};

/** Whether the answer holds the value, in any letters. `class: !function task.NAME` stands for a whole configuration. */
const lookup = (name: string, dataset: string): Twins => ({
  [`task.${name}`]: (config: Doc) => ({
    ...config,
    dataset_path: dataset,
    dataset_name: 'default',
    output_type: 'generate_until',
    validation_split: 'validation',
    doc_to_text: (doc: Doc) => strip(doc.text),
    doc_to_target: (doc: Doc) => strip(doc.value),
    process_results: (doc: Doc, [response]: readonly string[]) => ({
      contains: Number(response!.toLowerCase().includes(strip(doc.value).toLowerCase())),
    }),
    generation_kwargs: { until: ['\n'], max_gen_toks: 48, ...config.generation_kwargs },
    metric_list: [{ metric: 'contains', aggregation: 'mean', higher_is_better: true }],
    metadata: { version: 1, ...config.metadata },
  }),
});

export const squadCompletion = lookup('SQUADCompletion', 'hazyresearch/based-squad');
export const fda = lookup('FDA', 'hazyresearch/based-fda');
export const swde = lookup('SWDE', 'hazyresearch/based-swde-v2');

const withoutAscii = (text: string) =>
  strip(
    [...text]
      .filter((c) => !PUNCTUATION.has(c))
      .join('')
      .toLowerCase(),
  );

/** Idioms to be completed (NorIdiom). */
const idioms: Twins = {
  process_results: (doc: Doc, [response]: readonly string[]) => {
    const said = withoutAscii(response!);
    const golds: string[] = doc.accepted_completions.map(withoutAscii);
    const f1 = (gold: string) => {
      const [a, b] = [words(gold), words(said)];
      if (a.length === 0 || b.length === 0) return Number(a.length === b.length);
      const shared = overlap(count(a), count(b));
      return shared === 0
        ? 0
        : (2 * (shared / b.length) * (shared / a.length)) / (shared / b.length + shared / a.length);
    };
    return { em: Math.max(...golds.map((gold) => Number(gold === said))), fscore: Math.max(...golds.map(f1)) };
  },
  filter_dataset_nb: (docs: readonly Doc[]) => docs.filter((doc) => doc.language === 'nob'),
  filter_dataset_nn: (docs: readonly Doc[]) => docs.filter((doc) => doc.language === 'nno'),
};
export const norIdiom: Twins = Object.fromEntries(
  Object.entries(idioms).flatMap(([name, twin]) => [
    [`utils.${name}`, twin],
    [`lm_eval.tasks.noreval.noridiom.utils.${name}`, twin],
  ]),
);

const NUMBERS = /\p{Nd}+/gu;

/** The share of the numbers said that are the right one. */
function rightNumbers(response: string, gold: string): number {
  const said = response.match(NUMBERS) ?? [];
  return said.length === 0 ? 0 : said.filter((number) => number === gold).length / said.length;
}

const best =
  (name: string, score: (said: string, gold: string, doc: Doc) => number) =>
  (doc: Doc, [response]: readonly string[]) => {
    const value = Math.max(0, ...doc.answers.map((gold: string) => score(strip(response!), gold, doc)));
    return { score: value, [name]: value };
  };

/** LongBench (Bai et al. 2024) in English, but for its summaries and code, which other packages score. */
export const longbench: Twins = {
  'metrics.get_qa_f1_with_score': best('qa_f1_score', (said, gold) => tokenF1(squadTokens(said), squadTokens(gold))),
  'metrics.get_count_with_score': best('count_score', rightNumbers),
  'metrics.get_retrieval_with_score': best('retrieval_score', (said, gold) =>
    rightNumbers(said, /Paragraph (\p{Nd}+)/u.exec(gold)![1]!),
  ),
  'metrics.get_retrieval_zh_with_score': best('retrieval_zh_score', (said, gold) =>
    rightNumbers(said, /段落(\p{Nd}+)/u.exec(gold)![1]!),
  ),
  'metrics.get_classification_with_score': best('classification_score', (said, gold, doc) => {
    const named: string[] = doc.all_classes.filter((name: string) => said.includes(name));
    // Taken out while it is walked through there: the name behind a name that goes is not looked at.
    for (let i = 0; i < named.length; i++)
      if (gold.includes(named[i]!) && named[i] !== gold) named.splice(named.indexOf(named[i]!), 1);
    return named.includes(gold) ? 1 / named.length : 0;
  }),
};
