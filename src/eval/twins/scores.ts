// Scores of texts and labels as Python's packages give them: scikit-learn's F1, SQuAD's normalisation, rouge_score's ROUGE, sacrebleu's BLEU.
import { stripEnd, split as words } from '../python/text.ts';
import { count, mean, overlap, PUNCTUATION, wholeWords } from './python.ts';

/** [gold, prediction] of a document, as aggregations receive them. */
export type Pair = readonly [unknown, unknown];

interface LabelScores {
  f1: number;
  support: number;
}

function labelScores(pairs: readonly Pair[]): LabelScores[] {
  const golds = count(pairs.map(([gold]) => gold));
  const predictions = count(pairs.map(([, prediction]) => prediction));
  const hits = count(pairs.filter(([gold, prediction]) => gold === prediction).map(([gold]) => gold));
  return [...new Set([...golds.keys(), ...predictions.keys()])].sort().map((label) => {
    const [support, predicted, hit] = [golds.get(label) ?? 0, predictions.get(label) ?? 0, hits.get(label) ?? 0];
    return { f1: (2 * hit) / (support + predicted), support };
  });
}

/** sklearn.metrics.f1_score(average="weighted"): labels weigh as much as they have documents. */
export function weightedF1(pairs: readonly Pair[]): number {
  const scores = labelScores(pairs);
  return (
    scores.reduce((sum, { f1, support }) => sum + f1 * support, 0) /
    scores.reduce((sum, { support }) => sum + support, 0)
  );
}

/** average="macro": the mean over all labels, those that were only predicted included. */
export function macroF1(pairs: readonly Pair[]): number {
  return mean(labelScores(pairs).map(({ f1 }) => f1));
}

/** average="micro", which for one label a document is the accuracy. */
export function microF1(pairs: readonly Pair[]): number {
  return pairs.filter(([gold, prediction]) => gold === prediction).length / pairs.length;
}

const ENGLISH_ARTICLES = wholeWords('a|an|the');

/** SQuAD's normalisation (Rajpurkar et al. 2016): small letters, no ASCII punctuation, no articles, single spaces. */
export function squadForm(text: string): string {
  const bare = [...text.toLowerCase()].filter((c) => !PUNCTUATION.has(c)).join('');
  return words(bare.replace(ENGLISH_ARTICLES, ' ')).join(' ');
}

/** F1 over two bags of tokens; 0 where nothing is shared. */
export function tokenF1(predicted: readonly string[], gold: readonly string[]): number {
  const shared = overlap(count(predicted), count(gold));
  if (shared === 0) return 0;
  const precision = shared / predicted.length;
  const recall = shared / gold.length;
  return (2 * precision * recall) / (precision + recall);
}

const rougeTokens = (text: string) =>
  text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, ' ')
    .split(/\s+/)
    .filter((token) => /^[a-z0-9]+$/.test(token));

const fMeasure = (precision: number, recall: number) =>
  precision + recall > 0 ? (2 * precision * recall) / (precision + recall) : 0;

/** ROUGE-N F (Lin 2004) without stemming. */
export function rougeN(reference: string, prediction: string, n: number): number {
  const grams = (text: string) => {
    const tokens = rougeTokens(text);
    return tokens.slice(0, Math.max(0, tokens.length - n + 1)).map((_, i) => tokens.slice(i, i + n).join(' '));
  };
  const [gold, said] = [grams(reference), grams(prediction)];
  const shared = overlap(count(gold), count(said));
  return fMeasure(shared / Math.max(said.length, 1), shared / Math.max(gold.length, 1));
}

/** lengths[i][j]: longest common subsequence of the first i of a and the first j of b. */
function commonLengths(a: readonly string[], b: readonly string[]): number[][] {
  const table = Array.from({ length: a.length + 1 }, () => new Array<number>(b.length + 1).fill(0));
  for (let i = 1; i <= a.length; i++)
    for (let j = 1; j <= b.length; j++)
      table[i]![j] = a[i - 1] === b[j - 1] ? table[i - 1]![j - 1]! + 1 : Math.max(table[i - 1]![j]!, table[i]![j - 1]!);
  return table;
}

/** ROUGE-L F of the texts as one sequence each. */
export function rougeL(reference: string, prediction: string): number {
  const [gold, said] = [rougeTokens(reference), rougeTokens(prediction)];
  if (gold.length === 0 || said.length === 0) return 0;
  const common = commonLengths(gold, said)[gold.length]![said.length]!;
  return fMeasure(common / said.length, common / gold.length);
}

/** ROUGE-Lsum F: each reference line's union of common subsequences with all lines of the prediction, no token counted twice. */
export function rougeLsum(reference: string, prediction: string): number {
  const lines = (text: string) =>
    text
      .split('\n')
      .filter((line) => line !== '')
      .map(rougeTokens);
  const [gold, said] = [lines(reference), lines(prediction)];
  const [goldTotal, saidTotal] = [gold.flat().length, said.flat().length];
  if (goldTotal === 0 || saidTotal === 0) return 0;
  const [goldLeft, saidLeft] = [count(gold.flat()), count(said.flat())];
  let hits = 0;
  for (const line of gold) {
    const union = new Set<number>(said.flatMap((other) => commonPlaces(line, other)));
    for (const place of [...union].sort((a, b) => a - b)) {
      const token = line[place]!;
      const [g, s] = [goldLeft.get(token) ?? 0, saidLeft.get(token) ?? 0];
      if (g > 0 && s > 0) {
        hits++;
        goldLeft.set(token, g - 1);
        saidLeft.set(token, s - 1);
      }
    }
  }
  return fMeasure(hits / saidTotal, hits / goldTotal);
}

/** Places in `a` of one longest common subsequence with `b`. */
function commonPlaces(a: readonly string[], b: readonly string[]): number[] {
  const table = commonLengths(a, b);
  const places: number[] = [];
  for (let i = a.length, j = b.length; i > 0 && j > 0; ) {
    if (a[i - 1] === b[j - 1]) {
      places.unshift(i - 1);
      i--;
      j--;
    } else if (table[i]![j - 1]! > table[i - 1]![j]!) j--;
    else i--;
  }
  return places;
}

/** sacrebleu's "intl" tokens: punctuation alone unless between digits, symbols alone. */
function internationalTokens(text: string): string[] {
  return words(
    stripEnd(text)
      .replace(/(\P{N})(\p{P})/gu, '$1 $2 ')
      .replace(/(\p{P})(\P{N})/gu, ' $1 $2')
      .replace(/(\p{S})/gu, ' $1 '),
  );
}

/** BLEU of one text against one reference in per cent (Papineni et al. 2002), missing orders smoothed by halving (sacrebleu's "exp"). */
export function bleu(reference: string, prediction: string): number {
  const [gold, said] = [internationalTokens(reference), internationalTokens(prediction)];
  const grams = (tokens: readonly string[], n: number) =>
    count(tokens.slice(0, Math.max(0, tokens.length - n + 1)).map((_, i) => tokens.slice(i, i + n).join(' ')));
  let logSum = 0;
  let smoothing = 1;
  let anyMatch = false;
  const orders = [1, 2, 3, 4].map((n) => ({
    shared: overlap(grams(said, n), grams(gold, n)),
    total: Math.max(0, said.length - n + 1),
  }));
  anyMatch = orders.some(({ shared }) => shared > 0);
  if (!anyMatch) return 0;
  for (const { shared, total } of orders) {
    if (total === 0) return 0;
    if (shared === 0) {
      smoothing *= 2;
      logSum += Math.log(100 / (smoothing * total));
    } else logSum += Math.log((100 * shared) / total);
  }
  const penalty = said.length < gold.length ? (said.length > 0 ? Math.exp(1 - gold.length / said.length) : 0) : 1;
  return penalty * Math.exp(logSum / 4);
}
