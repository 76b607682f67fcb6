// MMLU-Pro (Wang et al. 2024) and its relatives: a question with up to 16 options, reasoned about step by step.

import { strip } from '../python/text.ts';
import { PROX_LABELS } from './prox-labels.ts';
import { proCategories } from './subjects.ts';
import type { Doc, Twins } from './types.ts';

const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ';
const THINK = "Let's think step by step.";

const listed = (options: readonly string[]) => options.map((option, i) => `${LETTERS[i]}. ${strip(option)}\n`).join('');

const pro = (maxOptions: number): Twins => {
  const text = (doc: Doc) =>
    `Question:\n${doc.question}\nOptions:\n${listed(doc.options.slice(0, maxOptions))}Answer: ${THINK}`;
  return {
    ...proCategories,
    'utils.doc_to_text': text,
    'utils.fewshot_to_text': text,
    'utils.fewshot_to_target': (doc: Doc) => doc.cot_content.replaceAll(`A: ${THINK} `, ''),
  };
};

export const mmluPro = pro(10);
export const mmluProPlus = pro(16);

/** In another language, by the name of the folder: its labels, and options in fields of their own. */
export function mmluProx(language: string): Twins | undefined {
  const labels = PROX_LABELS[language];
  if (labels === undefined) return undefined;
  const [asks, offers, answers, answersOfExamples] = labels;
  const question = (doc: Doc) => {
    const options = Array.from({ length: 10 }, (_, i) => doc[`option_${i}`] as string | null);
    const shown = options.map((option, i) => (option === null ? '' : `${LETTERS[i]}. ${option}\n`)).join('');
    return `${asks}\n${doc.question}\n${offers}\n${shown}`;
  };
  return {
    ...proCategories,
    'utils.doc_to_text': (doc: Doc) => question(doc) + answers,
    'utils.fewshot_to_text': (doc: Doc) =>
      `${question(doc)}${doc.cot_content.replaceAll(answersOfExamples, () => answers)}\n\n`,
  };
}

export const leaderboardMmluPro: Twins = {
  'utils.doc_to_text': (doc: Doc) =>
    `${doc.question}\n${doc.options.map((option: string, i: number) => `${LETTERS[i]}. ${option}\n`).join('')}Answer:`,
  'utils.doc_to_choice': (doc: Doc) => [...LETTERS.slice(0, doc.options.length)],
};

export const llamaMmluPro: Twins = {
  ...proCategories,
  'utils.fewshot_to_text': (doc: Doc) => {
    const start = `A: ${THINK}`;
    const content: string = doc.cot_content;
    return strip(content.startsWith(start) ? content.slice(start.length) : content).replace(
      /The answer is \(([A-Z])\)\./g,
      'The best answer is $1.',
    );
  },
};

/** Llama 3's ARC: questions with four options, lettered. */
export const llamaArc: Twins = {
  'utils.process_docs': (docs: readonly Doc[]) =>
    docs
      .filter((doc) => doc.choices.label.length === 4)
      .map((doc) => ({
        ...doc,
        choices: { ...doc.choices, label: [...'ABCD'] },
        answerKey: 'ABCD'.includes(doc.answerKey) ? doc.answerKey : 'ABCD'[Number(doc.answerKey) - 1],
      })),
};

/** Simple sums in words (Brown et al. 2020): the prompt in the shape that the data set's own reader gave it. */
export const arithmetic: Twins = {
  'utils.process_docs': (docs: readonly Doc[]) =>
    docs.map((doc) => ({
      ...doc,
      context: strip(doc.context).replaceAll('\n\n', '\n').replaceAll('Q:', 'Question:').replaceAll('A:', 'Answer:'),
    })),
};
