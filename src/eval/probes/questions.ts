// A fact as a question. By rules: what stands before a form of "to be" is asked for with "what is"; everything else becomes a sentence with a
// gap. A language model, where there is one, asks in other words; what it writes is taken only where it keeps the rules below.
import type { LanguageModel, Tick } from '../types.ts';
import type { Fact, FactKind } from './facts.ts';

export interface Question {
  question: string;
  /** "rules", or the model's name. */
  by: string;
}

const ASKED_FOR: Record<FactKind, string> = {
  definition: 'words belong',
  number: 'number belongs',
  date: 'date belongs',
  name: 'name belongs',
  code: 'identifier belongs',
};

const COPULA = /^((?:(?:An?|The)\s+)?[^,;:()]{3,60}?)\s+(is|are|was|were)$/;

export function askByRules({ prompt, rest, kind }: Fact): Question {
  const copula = COPULA.exec(prompt);
  if (copula && !/\b(?:is|are|was|were|when|if|which|that|who)\b/i.test(copula[1]!)) {
    const [first, ...others] = copula[1]!.split(' ');
    const subject = [/^(?:An?|The|Each|Every|Any|All|No)$/.test(first!) ? first!.toLowerCase() : first, ...others].join(
      ' ',
    );
    return { question: `What ${copula[2]} ${subject}?`, by: 'rules' };
  }
  const gap = `${prompt} ____${rest}`;
  return { question: `Which ${ASKED_FOR[kind]} in the gap: "${gap}"?`, by: 'rules' };
}

/** The answer, or a telling part of it, stands in what is asked. */
export function givesAway(asked: string, answer: string): boolean {
  const [inside, sought] = [fold(asked), fold(answer)];
  if (` ${inside} `.includes(` ${sought} `)) return true;
  const words = new Set(inside.split(' '));
  return sought.split(' ').some((word) => (word.length >= 4 || /\d/.test(word)) && words.has(word));
}

/** Lower case words and numbers, one space between them. */
export function fold(text: string): string {
  return text
    .toLowerCase()
    .replace(/[^\p{L}\p{M}\p{N}]+/gu, ' ')
    .trim();
}

const MAX_QUESTION_TOKENS = 64;
const MAX_QUESTION_CHARS = 240;

const EXAMPLES: readonly [string, string, string][] = [
  ['The museum was founded in 1871 by a group of teachers.', '1871', 'When did a group of teachers found the museum?'],
  ['By default the cache holds 512 entries.', '512 entries', 'How much fits into the cache unless it is changed?'],
];

/**
 * Questions in a model's words.
 * @returns in the facts' order; by rules where the model's does not keep to them
 */
export async function askByModel(model: LanguageModel, facts: readonly Fact[], tick?: Tick): Promise<Question[]> {
  const prompts = facts.map((fact) => writePrompt(model, fact));
  const texts = await model.generate(
    prompts.map((prompt) => ({ prompt, until: ['\n'], maxTokens: MAX_QUESTION_TOKENS })),
    tick,
  );
  return facts.map((fact, i) => {
    const question = texts[i]!.trim().replace(/^question:\s*/i, '');
    return isQuestion(question, fact) ? { question, by: model.name } : askByRules(fact);
  });
}

function writePrompt(model: LanguageModel, { prompt, answer, rest }: Fact): string {
  const sentence = `${prompt} ${answer}${rest}`;
  const task =
    'For a sentence and an answer that occurs in it, write the question that has this answer. The question names what it is about, ' +
    'uses other words than the sentence, and does not contain the answer.';
  const shown = EXAMPLES.map(([text, given, question]) => `Sentence: ${text}\nAnswer: ${given}\nQuestion: ${question}`);
  const asked = [task, ...shown, `Sentence: ${sentence}\nAnswer: ${answer}\nQuestion:`].join('\n\n');
  try {
    return model.renderChat([{ role: 'user', content: asked }]);
  } catch {
    return asked;
  }
}

/** One question that does not hold its answer, shares a word of weight with the sentence, and is not the sentence itself. */
function isQuestion(question: string, { prompt, answer, rest }: Fact): boolean {
  if (!question.endsWith('?') || question.length > MAX_QUESTION_CHARS || question.split(/\s+/).length < 4) return false;
  if (givesAway(question, answer)) return false;
  const heavy = new Set(
    fold(`${prompt} ${rest}`)
      .split(' ')
      .filter((word) => word.length >= 5),
  );
  return (
    fold(question)
      .split(' ')
      .some((word) => heavy.has(word)) && !fold(question).includes(fold(prompt))
  );
}
