// MATH (Hendrycks et al. 2021) in its two scorings, AIME and AGIEval's mathematics: the answer of a solution, and whether two answers are the same.
// Hendrycks: texts are normalised and compared. Minerva (Lewkowycz et al. 2022, appendix D): another normalisation, then equality of expressions,
// for which lm-evaluation-harness asks sympy; see exact-algebra.ts for what stands here in its place. `math_verify`, which calls the package of that
// name there, is here the same equality on the boxed answer, or else the last formula or number.

import { strip } from '../python/text.ts';
import { sameExpression } from './exact-algebra.ts';
import { WORD } from './python.ts';
import { shots } from './shots.ts';
import type { Doc, Twins } from './types.ts';

const fail = (message: string): never => {
  throw new Error(message);
};

/** The last \boxed{...} (or \fbox) with its braces; undefined where there is none that closes. */
export function lastBoxed(text: string): string | undefined {
  if (text.includes('\\boxed ')) return `\\boxed ${text.split('\\boxed ').at(-1)!.split('$')[0]}`;
  let from = text.lastIndexOf('\\boxed');
  if (from < 0) from = text.lastIndexOf('\\fbox');
  return from < 0 ? undefined : closed(text, from);
}

function closed(text: string, from: number): string | undefined {
  let open = 0;
  for (let i = from; i < text.length; i++) {
    if (text[i] === '{') open++;
    else if (text[i] === '}' && --open === 0) return text.slice(from, i + 1);
  }
  return undefined;
}

/** What stands in the box. @throws Error where it is no \boxed */
export function unboxed(boxed: string): string {
  if (boxed.includes('\\boxed '))
    return boxed.startsWith('\\boxed ') ? boxed.slice('\\boxed '.length) : fail(`no box: ${boxed}`);
  return boxed.startsWith('\\boxed{') && boxed.endsWith('}')
    ? boxed.slice('\\boxed{'.length, -1)
    : fail(`no box: ${boxed}`);
}

const boxedAnswer = (solution: string) => unboxed(lastBoxed(solution) ?? fail('a solution without a \\boxed answer'));

function betweenDollars(text: string): string {
  const first = text.indexOf('$');
  const last = text.lastIndexOf('$');
  return first === last ? text : text.slice(first + 1, last);
}

/** Python's int(); throws where it does. */
function integer(text: string): bigint {
  const t = strip(text);
  return /^[+-]?\d(?:_?\d)*$/.test(t) ? BigInt(t.replace(/[+_]/g, '')) : fail(`no integer: ${text}`);
}

/** "1/2" -> \frac{1}{2}. Words on either side of the slash are an error for MATH (the raw texts are then compared), for AGIEval none. */
function fractionOfSlash(text: string, strict: boolean): string {
  const parts = text.split('/');
  if (parts.length !== 2) return text;
  if (!strict && !parts.every((part) => /^-?\d+$/.test(part))) return text;
  const [a, b] = parts.map(integer) as [bigint, bigint];
  return text === `${a}/${b}` ? `\\frac{${a}}{${b}}` : text;
}

/** \frac12 -> \frac{1}{2} */
function bracedFractions(text: string): string {
  const [head, ...rest] = text.split('\\frac') as [string, ...string[]];
  let out = head;
  for (const part of rest) {
    const [a, b, ...more] = [...part];
    if (a === undefined) fail('nothing behind \\frac');
    if (a === '{') out += `\\frac${part}`;
    else if (b === undefined) return text;
    else out += b === '{' ? `\\frac{${a}}${b}${more.join('')}` : `\\frac{${a}}{${b}}${more.join('')}`;
  }
  return out;
}

function bracedRoots(text: string): string {
  const [head, ...rest] = text.split('\\sqrt') as [string, ...string[]];
  return rest.reduce((out, part) => {
    const [a, ...more] = [...part];
    if (a === undefined) fail('nothing behind \\sqrt');
    return out + (a === '{' ? `\\sqrt${part}` : `\\sqrt{${a}}${more.join('')}`);
  }, head);
}

/** The normal form of an answer by the authors of MATH. @throws Error where their function does */
function hendrycksForm(answer: string, strict: boolean): string {
  let s = answer
    .replaceAll('\n', '')
    .replaceAll('\\!', '')
    .replaceAll('\\\\', '\\')
    .replaceAll('tfrac', 'frac')
    .replaceAll('dfrac', 'frac');
  for (const gone of ['\\left', '\\right', '^{\\circ}', '^\\circ', '\\$']) s = s.replaceAll(gone, '');
  if (s.includes('\\text{ ')) {
    const parts = s.split('\\text{ ');
    if (parts.length !== 2) fail('two units');
    s = parts[0]!;
  }
  s = s.replaceAll('\\%', '').replaceAll(' .', ' 0.').replaceAll('{.', '{0.');
  if (s === '') return s;
  if (s[0] === '.') s = `0${s}`;
  const sides = s.split('=');
  if (sides.length === 2 && [...sides[0]!].length <= 2) s = sides[1]!;
  s = bracedFractions(bracedRoots(s).replaceAll(' ', ''));
  if (s === '0.5') s = '\\frac{1}{2}';
  return fractionOfSlash(s, strict);
}

export function hendrycksEqual(a: string | undefined, b: string | undefined, strict = true): boolean {
  if (a === undefined || b === undefined) return a === b;
  try {
    return hendrycksForm(a, strict) === hendrycksForm(b, strict);
  } catch {
    return a === b;
  }
}

export const hendrycksMath: Twins = {
  'utils.process_docs': (docs: readonly Doc[]) => docs.map((doc) => ({ ...doc, answer: boxedAnswer(doc.solution) })),
  'utils.process_results': (doc: Doc, [response]: readonly string[]) => ({
    exact_match: Number(hendrycksEqual(betweenDollars(response!), boxedAnswer(doc.solution))),
  }),
};

export const aime: Twins = {
  'utils.process_results': (doc: Doc, [response]: readonly string[]) => {
    let answer = betweenDollars(response!);
    const boxed = lastBoxed(response!);
    if (boxed !== undefined)
      try {
        answer = unboxed(boxed);
      } catch {}
    const key = Object.keys(doc).find((name) => name.toLowerCase() === 'answer')!;
    return { exact_match: Number(hendrycksEqual(answer, String(doc[key]))) };
  },
};

const afterEquals = (text: string) => (text.includes('=') ? text.split('=').at(-1)!.replace(/^ +/, '') : text);

/** AGIEval: the box, else the last formula, else what is behind the last "=" or the last number. */
function agievalAnswer(text: string): string | undefined {
  if (text.includes('\\boxed')) {
    const from = text.lastIndexOf('\\boxed');
    const boxed = closed(text, from);
    return boxed?.startsWith('\\boxed{') ? afterEquals(boxed.slice('\\boxed{'.length, -1)) : undefined;
  }
  const formula = [...text.matchAll(/\$([^\n]*)\$/g)].at(-1)?.[1];
  if (formula && afterEquals(formula) !== '') return afterEquals(formula);
  if (text.includes('=')) return afterEquals(text).replace(/\.+$/, '').split('\\n')[0];
  return [...text.matchAll(new RegExp(`\\$?\\p{Nd}+(?:\\.\\p{Nd}+)?(?![${WORD}])`, 'gu'))].at(-1)?.[0];
}

export const agieval: Twins = {
  'utils.process_results': (doc: Doc, [response]: readonly string[]) => {
    const a = response === undefined ? undefined : agievalAnswer(response);
    const b = doc.answer === null ? undefined : agievalAnswer(doc.answer);
    // Two answers of which neither could be found are equal there: the normal form of nothing fails, and nothing is nothing.
    return { acc: Number(hendrycksEqual(a, b, false)) };
  },
  'utils.process_results_mcqa': (doc: Doc, results: readonly (readonly [number, boolean])[]) => {
    const best = (values: readonly number[]) => values.indexOf(Math.max(...values));
    const likelihoods = results.map(([logLikelihood]) => logLikelihood);
    const lengths = doc.choices.map((choice: string) => [...choice].length);
    return {
      acc: Number(doc.gold.includes(best(likelihoods))),
      acc_norm: Number(doc.gold.includes(best(likelihoods.map((l, i) => l / lengths[i])))),
    };
  },
};

// The lists of Minerva's appendix D, in their order.
const SUBSTITUTIONS: readonly (readonly [string, string])[] = [
  ['an ', ''],
  ['a ', ''],
  ['.$', '$'],
  ['\\$', ''],
  ['\\ ', ''],
  [' ', ''],
  ['mbox', 'text'],
  [',\\text{and}', ','],
  ['\\text{and}', ','],
  ['\\text{m}', '\\text{}'],
];
const REMOVED: readonly string[] = [
  ...'square ways integers dollars mph inches ft hours km units \\ldots sue points feet minutes digits cents degrees cm gm pounds meters meals edges'.split(
    ' ',
  ),
  ...'students childrentickets multiples \\text{s} \\text{.} \\text{\ns} \\text{}^2 \\text{}^3 \\text{\n} \\text{} \\mathrm{th} ^\\circ ^{\\circ}'.split(
    ' ',
  ),
  ...['\\;', ',\\!', '{,}', '"', '\\dots'],
];
const isWord = (text: string) => /^[a-z]+$/.test(text);

/** Formatting that carries no meaning, gone: what is in dollars, \text, \textbf, \overline and \boxed. */
function bareFormula(text: string): string {
  return text
    .replace(/[^\n]*?\$([^\n]*?)\$[^\n]*/g, (_, inside) => `$${inside}$`)
    .replace(/\\text\{([^\n]*?)\}/g, '$1')
    .replace(/\\textbf\{([^\n]*?)\}/g, '$1')
    .replace(/\\overline\{([^\n]*?)\}/g, '$1')
    .replace(/\\boxed\{([^\n]*)\}/g, '$1')
    .replace(/frac([^{])([^\n])/gu, 'frac{$1}{$2}');
}

/** lm-evaluation-harness 0.4.13's form: units go as words first, roots with a degree stay, and only true thousands lose their commas. */
export function minervaForm(answer: string): string {
  let s = answer.split('=').at(-1)!;
  for (const gone of REMOVED)
    if (isWord(gone)) s = s.replace(new RegExp(`(?<!\\\\)(?<![${WORD}])${gone}(?![${WORD}])`, 'gu'), '');
  for (const [before, after] of SUBSTITUTIONS) s = s.replaceAll(before, () => after);
  for (const gone of REMOVED)
    s = isWord(gone)
      ? s
          .split(/(\\[a-zA-Z]+)/)
          .map((part, i) => (i % 2 === 0 ? part.replaceAll(gone, '') : part))
          .join('')
      : s.replaceAll(gone, '');
  s = bareFormula(s)
    .replace(new RegExp(`sqrt(\\[[^\\]]*\\])([${WORD}])`, 'gu'), 'sqrt$1{$2}')
    .replace(/sqrt(?!\[)([^{])/gu, 'sqrt{$1}')
    .replaceAll('$', '');
  return /^-?\p{Nd}{1,3}(?:,\p{Nd}{3})+$/u.test(s) ? s.replaceAll(',', '') : s;
}

/** The form that the Open LLM Leaderboard's scores were made with: as published, with its slips. */
export function leaderboardForm(answer: string): string {
  let s = answer.split('=').at(-1)!;
  for (const [before, after] of SUBSTITUTIONS) s = s.replaceAll(before, () => after);
  for (const gone of REMOVED) s = s.replaceAll(gone, '');
  s = bareFormula(s)
    .replace(/sqrt([^{])/gu, 'sqrt{$1}')
    .replaceAll('$', '');
  return /^[\p{Nd},]*\p{Nd}[\p{Nd},]*$/u.test(s) ? s.replaceAll(',', '') : s;
}

const INVALID = '[invalidanswer]';

/** What follows "The final answer is" in the words that Minerva's examples end with. */
export function finalAnswer(response: string): string {
  const found = /Final Answer: The final answer is([^\n]*?)[^\n] I hope it is correct[^\n]/.exec(
    `${response}I hope it is correct.`,
  );
  return found ? strip(found[1]!) : INVALID;
}

/** Equal as written, or as expressions. */
export function minervaEqual(a: string, b: string): boolean {
  return (a !== '' && a === b) || sameExpression(a, b) === true;
}

/** The answer that a free text comes to: its last box, its last formula, its last number. */
function statedAnswer(text: string): string | undefined {
  const boxed = lastBoxed(text);
  if (boxed !== undefined)
    try {
      return unboxed(boxed);
    } catch {}
  const formula = [...text.matchAll(/\$\$?([^$]+)\$\$?|\\\(([\s\S]+?)\\\)|\\\[([\s\S]+?)\\\]/g)].at(-1);
  if (formula) return formula[1] ?? formula[2] ?? formula[3];
  return [...text.matchAll(/-?\d+(?:,\d{3})*(?:\.\d+)?(?:\/\d+)?/g)].at(-1)?.[0];
}

function verified(gold: string, response: string): number {
  const a = statedAnswer(gold);
  const b = statedAnswer(response);
  return a === undefined || b === undefined ? 0 : Number(minervaEqual(minervaForm(a), minervaForm(b)));
}

const problemText = (doc: Doc) => `Problem:\n${doc.problem}\n\nSolution:`;

export const minervaMath: Twins = {
  'utils.doc_to_text': problemText,
  'utils.process_docs': (docs: readonly Doc[]) =>
    docs.map((doc) => ({ ...doc, answer: minervaForm(boxedAnswer(doc.solution)) })),
  'utils.list_fewshot_samples': () => shots('minerva_math'),
  'utils.process_results': (doc: Doc, [response]: readonly string[]) => ({
    exact_match: Number(minervaEqual(minervaForm(finalAnswer(response!)), doc.answer)),
    math_verify: verified(doc.solution, response!),
  }),
};

export const leaderboardMath: Twins = {
  'utils.doc_to_text': problemText,
  'utils.process_docs': (docs: readonly Doc[]) =>
    docs
      .filter((doc) => doc.level === 'Level 5')
      .map((doc) => {
        const boxed = lastBoxed(doc.solution);
        let answer = INVALID;
        try {
          if (boxed !== undefined) answer = unboxed(boxed);
        } catch {}
        return { ...doc, answer };
      }),
  'utils.list_fewshot_samples': () => shots('leaderboard_math'),
  'utils.process_results': (doc: Doc, [response]: readonly string[]) => {
    const answer = leaderboardForm(finalAnswer(response!));
    const gold = leaderboardForm(doc.answer);
    const same = answer !== INVALID && (strip(answer) === strip(gold) || sameExpression(answer, gold) === true);
    return { exact_match: verified(doc.solution, response!), exact_match_original: Number(same) };
  },
};
