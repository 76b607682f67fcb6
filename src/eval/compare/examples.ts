// A sample as a reader wants to see it: the question, what is right, and what the models said.
import type { Sample } from '../types.ts';

export interface Example {
  docId: number;
  question: string;
  target: string;
  baseAnswer: string;
  tunedAnswer: string;
}

/** Characters of a question or an answer that are kept. */
const MAX_QUESTION = 400;
const MAX_ANSWER = 160;

export function exampleOf(base: Sample, tuned: Sample, metric: string, filter: string): Example {
  return {
    docId: base.docId,
    question: questionOf(base),
    target: cut(targetOf(base), MAX_ANSWER),
    baseAnswer: cut(answerOf(base, metric, filter), MAX_ANSWER),
    tunedAnswer: cut(answerOf(tuned, metric, filter), MAX_ANSWER),
  };
}

/** The end of the prompt, without the examples before it. */
function questionOf({ requests }: Sample): string {
  const prompt = String(requests[0]?.[0] ?? '').trim();
  const own = prompt.slice(prompt.lastIndexOf('\n\n') + 1).trim();
  return own.length > MAX_QUESTION ? `… ${own.slice(-MAX_QUESTION)}` : own;
}

function targetOf({ target, requests }: Sample): string {
  const index = Number(target);
  const isChoice = requests.length > 1 && Number.isInteger(index) && index >= 0 && index < requests.length;
  if (isChoice) return String(requests[index]![1] ?? target).trim();
  return Array.isArray(target) ? target.map(String).join(' | ') : String(target).trim();
}

function answerOf(sample: Sample, metric: string, filter: string): string {
  const likelihoods = sample.responses.map((response) =>
    Array.isArray(response) && typeof response[0] === 'number' ? response[0] : undefined,
  );
  if (sample.requests.length > 1 && likelihoods.every((value) => value !== undefined)) {
    const lengths = sample.requests.map((request) => Math.max(1, String(request[1]).trim().length));
    const scores = likelihoods.map((value, i) => (metric === 'acc_norm' ? value / lengths[i]! : value));
    return String(sample.requests[scores.indexOf(Math.max(...scores))]![1]).trim();
  }
  if (likelihoods[0] !== undefined) return `log-likelihood ${likelihoods[0].toFixed(2)}`;
  const filtered = sample.filtered[filter] ?? sample.responses[0];
  return String(Array.isArray(filtered) ? filtered[0] : (filtered ?? '')).trim();
}

function cut(text: string, max: number): string {
  const short = text.length > max ? `${text.slice(0, max)} …` : text;
  return short === '' ? '(nothing)' : short;
}
