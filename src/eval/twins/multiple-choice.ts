// HellaSwag, WinoGrande and tasks in their manner, RACE, MuSR, arithmetic: documents as choices or texts.
import { literalEval } from '../python/literal.ts';
import { strip } from '../python/text.ts';
import { capitalize } from './python.ts';
import type { Doc, Twins } from './types.ts';

/** WikiHow's headings and notes in brackets go, as the authors' own reader does it. */
export function wikiHowText(text: string): string {
  return strip(text)
    .replaceAll(' [title]', '. ')
    .replace(/\[[^\n]*?\]/g, '')
    .replaceAll('  ', ' ');
}

export const hellaswag: Twins = {
  'utils.process_docs': (docs: readonly Doc[]) =>
    docs.map((doc) => ({
      ...doc,
      query: wikiHowText(`${doc.activity_label}: ${doc.ctx_a} ${capitalize(doc.ctx_b)}`),
      choices: doc.endings.map(wikiHowText),
      gold: Number(doc.label),
    })),
};

/** Partial evaluation (Trinh and Le 2018): the sentence up to the gap with either option is the context, the rest is what is scored. */
const partialEvaluation = (choiceOf: (doc: Doc) => number) => ({
  doc_to_text: choiceOf,
  doc_to_target: (doc: Doc) => strip(doc.sentence.slice(gap(doc) + 1)),
  doc_to_choice: (doc: Doc) => [doc.option1, doc.option2].map((option) => doc.sentence.slice(0, gap(doc)) + option),
});

function gap(doc: Doc): number {
  const at = doc.sentence.indexOf('_');
  if (at < 0) throw new Error(`no gap "_" in "${doc.sentence}"`);
  return at;
}

export const named = (module: string, functions: Twins): Twins =>
  Object.fromEntries(Object.entries(functions).map(([name, twin]) => [`${module}.${name}`, twin]));

export const winogrande: Twins = named(
  'preprocess_winogrande',
  partialEvaluation((doc) => Number(doc.answer) - 1),
);
export const winograndeInUtils: Twins = named(
  'utils',
  partialEvaluation((doc) => Number(doc.answer) - 1),
);

export const icelandicWinogrande: Twins = {
  ...winogrande,
  'preprocess_winogrande.doc_to_target': (doc: Doc) => {
    const rest = winogrande['preprocess_winogrande.doc_to_target']!(doc);
    return rest === '.' ? rest : ` ${rest}`;
  },
};

interface RaceProblem {
  question: string;
  options: string[];
  answer: string;
}

const problems = (doc: Doc) => literalEval(doc.problems) as RaceProblem[];
const answerOf = (problem: RaceProblem) => 'ABCD'.indexOf(problem.answer);

/** The earlier questions of an article are shown with their answers; the last is asked. */
export const race: Twins = named('preprocess_race', {
  doc_to_text: (doc: Doc) => {
    const all = problems(doc);
    const shown = all.slice(0, -1).map((problem) => {
      const answer = problem.options[answerOf(problem)]!;
      return problem.question.endsWith('  _  .')
        ? `${problem.question.slice(0, -5)}${answer}\n`
        : `Question: ${problem.question}\nAnswer: ${answer}\n`;
    });
    return `Article: ${doc.article}\n\n${shown.join('')}${all.at(-1)!.question}`;
  },
  doc_to_choice: (doc: Doc) => problems(doc).at(-1)!.options.slice(0, 4),
  doc_to_target: (doc: Doc) => answerOf(problems(doc).at(-1)!),
});

export const musr: Twins = named('utils', {
  doc_to_choice: (doc: Doc) => literalEval(doc.choices),
  doc_to_text: (doc: Doc) => {
    const choices = (literalEval(doc.choices) as string[]).map((choice, i) => `${i + 1} - ${choice}\n`);
    return `${doc.narrative}\n\n${doc.question}\n\n${choices.join('')}\nAnswer:`;
  },
});
