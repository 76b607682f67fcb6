// DROP (Dua et al. 2019): answers as bags of words, numbers that must agree, and the best pairing of spans.
import { PyFloat, str, strip, split as words } from '../python/text.ts';
import { mean, PUNCTUATION, parseFloatStrict, roundDecimals, wholeWords } from './python.ts';
import type { Doc, Twins } from './types.ts';

interface DropAnswer {
  number: string;
  date: { day: string; month: string; year: string };
  spans: string[];
}

function spansOf({ number, spans, date }: DropAnswer): string[] {
  if (number !== '') return [String(number)];
  if (spans.length > 0) return [...spans];
  return [strip(`${date.day} ${date.month} ${date.year}`)];
}

function answersOf(doc: Doc): string[][] {
  const { number, date, spans } = doc.validated_answers;
  const all: DropAnswer[] = [
    doc.answer,
    ...number.map((_: string, i: number) => ({ number: number[i], date: date[i], spans: spans[i] })),
  ];
  const different = new Map(all.map(spansOf).map((answer) => [JSON.stringify(answer), answer]));
  return [...different.values()];
}

const ARTICLES = wholeWords('a|an|the');

function normal(answer: string): string {
  return answer
    .split(/[ -]/)
    .map((token) => {
      const lower = token.toLowerCase();
      const bare =
        parseFloatStrict(lower) === undefined ? [...lower].filter((c) => !PUNCTUATION.has(c)).join('') : lower;
      const value = parseFloatStrict(bare);
      return words((value === undefined ? bare : str(new PyFloat(value))).replace(ARTICLES, ' ')).join(' ');
    })
    .filter((token) => token !== '')
    .join(' ');
}

function bagF1(predicted: ReadonlySet<string>, gold: ReadonlySet<string>): number {
  const goldNumbers = [...gold].filter((word) => parseFloatStrict(word) !== undefined);
  if (goldNumbers.length > 0 && !goldNumbers.some((word) => predicted.has(word))) return 0;
  const shared = [...gold].filter((word) => predicted.has(word)).length;
  const precision = predicted.size === 0 ? 1 : shared / predicted.size;
  const recall = gold.size === 0 ? 1 : shared / gold.size;
  return precision === 0 && recall === 0 ? 0 : (2 * precision * recall) / (precision + recall);
}

/** Exact match and F1 of one answer text against the spans of a gold answer: it is paired with the span that it fits best, the rest get 0. */
function dropScores(predicted: string, gold: readonly string[]): { em: number; f1: number } {
  const answer = normal(predicted);
  const spans = gold.map(normal);
  const bag = new Set(words(answer));
  const scores = spans.map((span) => bagF1(bag, new Set(words(span))));
  const best = scores.indexOf(Math.max(...scores));
  return {
    em: Number(spans.length === 1 && spans[0] === answer),
    f1: roundDecimals(mean(scores.map((score, i) => (i === best ? score : 0))), 2),
  };
}

export const drop: Twins = {
  'utils.process_docs': (docs: readonly Doc[]) =>
    docs.map((doc) => ({
      ...doc,
      id: doc.query_id,
      passage: doc.passage,
      question: doc.question,
      answers: answersOf(doc),
    })),
  'utils.process_results': (doc: Doc, [response]: readonly string[]) => {
    const scores = doc.answers
      .filter((gold: readonly string[]) => strip(gold[0]!) !== '')
      .map((gold: readonly string[]) => dropScores(response!, gold)) as { em: number; f1: number }[];
    return { em: Math.max(0, ...scores.map((s) => s.em)), f1: Math.max(0, ...scores.map((s) => s.f1)) };
  },
};
