// What a model knows, fact by fact, in the four categories of SliCK (Gekhman et al. 2024, arXiv 2405.05904, section 3): a question is put behind
// several sets of random examples, and the answers are compared with the right one.
//   HighlyKnown  greedy answers are always right     MaybeKnown  sometimes
//   WeaklyKnown  only sampled ones (T = 0.5) are     Unknown     none is
import { ConfigError } from '../../base/errors.ts';
import { Rng } from '../../base/rng.ts';
import type { LanguageModel, TextRequest } from '../types.ts';
import { fold } from './questions.ts';

export const KNOWLEDGE = ['HighlyKnown', 'MaybeKnown', 'WeaklyKnown', 'Unknown'] as const;
export type Knowledge = (typeof KNOWLEDGE)[number];

export interface SlickItem {
  id: string;
  question: string;
  answer: string;
}

export interface SlickOptions {
  /** Prompts with other examples; 4 by default, the paper has 10. */
  numPrompts?: number;
  /** Questions with their answers in front of each; 4, as in the paper. */
  numExamples?: number;
  /** Answers drawn for each prompt at temperature 0.5 and top-k 40; 4 by default, the paper has 16. */
  numSamples?: number;
  maxTokens?: number;
  seed?: number;
  /** Called with the number of answers so far. */
  onProgress?: (done: number) => void;
}

export interface SlickResult {
  model: string;
  modelFingerprint: string;
  numPrompts: number;
  numExamples: number;
  numSamples: number;
  counts: Record<Knowledge, number>;
  items: SlickJudgement[];
}

export interface SlickJudgement extends SlickItem {
  category: Knowledge;
  /** Share of right greedy answers. */
  greedy: number;
  /** Share of right sampled answers; they are drawn only where no greedy one is right, since the category needs no more. */
  sampled?: number;
  /** The first greedy answer. */
  said: string;
}

const TEMPERATURE = 0.5;
const TOP_K = 40;
const DEFAULT_MAX_TOKENS = 24;

/** @throws ConfigError for fewer items than a prompt needs */
export async function slick(
  model: LanguageModel,
  items: readonly SlickItem[],
  {
    numPrompts = 4,
    numExamples = 4,
    numSamples = 4,
    maxTokens = DEFAULT_MAX_TOKENS,
    seed = 0,
    onProgress,
  }: SlickOptions = {},
): Promise<SlickResult> {
  if (items.length <= numExamples)
    throw new ConfigError(
      `categories of knowledge: expected more than ${numExamples} questions, for the examples of a prompt are other questions; found ${items.length}.`,
    );
  const numGreedy = items.length * numPrompts;
  const prompts = items.map((_, i) =>
    Array.from({ length: numPrompts }, (_, j) => promptOf(items, i, numExamples, new Rng(seed, 'examples', j))),
  );
  const isRight = (text: string, i: number) => fold(text) === fold(items[i]!.answer);
  const greedyTexts = await model.generate(
    prompts.flat().map((prompt) => ({ prompt, until: ['\n'], maxTokens })),
    onProgress,
  );
  const greedy = items.map((_, i) =>
    share(greedyTexts.slice(i * numPrompts, (i + 1) * numPrompts), (text) => isRight(text, i)),
  );
  const unclear = items.flatMap((_, i) => (greedy[i] === 0 ? [i] : []));
  const requests = unclear.flatMap((i) =>
    prompts[i]!.flatMap((prompt, j) =>
      Array.from(
        { length: numSamples },
        (_, k): TextRequest => ({
          prompt,
          until: ['\n'],
          maxTokens,
          temperature: TEMPERATURE,
          topK: TOP_K,
          seed: new Rng(seed, 'sample', items[i]!.id, j, k).uint32(),
        }),
      ),
    ),
  );
  const samples = requests.length > 0 ? await model.generate(requests, (done) => onProgress?.(numGreedy + done)) : [];
  const perItem = numPrompts * numSamples;
  const sampled = new Map(
    unclear.map((i, place) => [
      i,
      share(samples.slice(place * perItem, (place + 1) * perItem), (text) => isRight(text, i)),
    ]),
  );
  const judged = items.map(
    ({ id, question, answer }, i): SlickJudgement => ({
      id,
      question,
      answer,
      category: categoryOf(greedy[i]!, sampled.get(i) ?? 0),
      greedy: greedy[i]!,
      ...(sampled.has(i) ? { sampled: sampled.get(i)! } : {}),
      said: greedyTexts[i * numPrompts]!.trim(),
    }),
  );
  return {
    model: model.name,
    modelFingerprint: model.fingerprint,
    numPrompts,
    numExamples,
    numSamples,
    counts: countKnowledge(judged),
    items: judged,
  };
}

/** The paper's table 1. @param greedy, sampled shares of right answers at T = 0 and T > 0 */
export function categoryOf(greedy: number, sampled: number): Knowledge {
  if (greedy === 1) return 'HighlyKnown';
  if (greedy > 0) return 'MaybeKnown';
  return sampled > 0 ? 'WeaklyKnown' : 'Unknown';
}

/** Every question sees the same examples in prompt j, except that one never stands in front of itself: prefixes can be shared. */
function promptOf(items: readonly SlickItem[], i: number, numExamples: number, rng: Rng): string {
  const chosen = new Set<number>();
  while (chosen.size < Math.min(numExamples + 1, items.length)) chosen.add(rng.below(items.length));
  const examples = [...chosen].filter((other) => other !== i).slice(0, numExamples);
  const shown = examples.map((other) => `Question: ${items[other]!.question}\nAnswer: ${items[other]!.answer}\n\n`);
  return `${shown.join('')}Question: ${items[i]!.question}\nAnswer:`;
}

function share(texts: readonly string[], isRight: (text: string) => boolean): number {
  return texts.filter(isRight).length / texts.length;
}

function countKnowledge(items: readonly SlickJudgement[]): Record<Knowledge, number> {
  const counts = Object.fromEntries(KNOWLEDGE.map((category) => [category, 0])) as Record<Knowledge, number>;
  for (const { category } of items) counts[category]++;
  return counts;
}

export interface MovedFact extends SlickItem {
  before: Knowledge;
  after: Knowledge;
}

export interface SlickComparison {
  before: string;
  after: string;
  /** [before][after] in the order of KNOWLEDGE. */
  transitions: number[][];
  learned: MovedFact[];
  forgotten: MovedFact[];
  numUnmoved: number;
}

/** Which facts moved. @throws ConfigError where the two were asked other questions */
export function compareSlick(before: SlickResult, after: SlickResult): SlickComparison {
  const known = new Map(before.items.map((item) => [item.id, item]));
  const transitions = KNOWLEDGE.map(() => KNOWLEDGE.map(() => 0));
  const [learned, forgotten]: [MovedFact[], MovedFact[]] = [[], []];
  let numUnmoved = 0;
  for (const { id, question, answer, category } of after.items) {
    const old = known.get(id);
    if (!old || old.question !== question || old.answer !== answer || after.items.length !== before.items.length)
      throw new ConfigError(
        `categories of knowledge: ${before.model} and ${after.model} were asked other questions (${id}): put the same probes to both.`,
      );
    const [from, to] = [KNOWLEDGE.indexOf(old.category), KNOWLEDGE.indexOf(category)];
    transitions[from]![to]!++;
    if (from === to) numUnmoved++;
    else (to < from ? learned : forgotten).push({ id, question, answer, before: old.category, after: category });
  }
  return { before: before.model, after: after.model, transitions, learned, forgotten, numUnmoved };
}
