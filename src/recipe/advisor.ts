// Which of its two siblings to train on: the base model, the instruct model, or the base with the instruct model's difference added
// afterwards (instruction residual, arXiv 2410.10739). It weighs what the papers found against the facts at hand and says all of it; it
// decides nothing.
import { formatCount } from '../base/units.ts';
import type { PresetName } from '../config/index.ts';
import type { CorpusFacts, ModelFactsForPlan } from './types.ts';

export type AdviceAnswer = 'base' | 'instruct' | 'residual';

export interface AdviceReason {
  answer: AdviceAnswer;
  /** 3 strong to 1 weak; below 0 it speaks against. */
  weight: 3 | 2 | 1 | -1 | -2 | -3;
  text: string;
  source: string;
}

export interface Advice {
  answer: AdviceAnswer;
  /** The configuration's model is the one to train for this answer. */
  agrees: boolean;
  /** One sentence: what to train, and what to do with the result. */
  summary: string;
  /** Gravest first. */
  reasons: AdviceReason[];
}

export interface AdviceFacts {
  model: ModelFactsForPlan;
  corpora: readonly CorpusFacts[];
  preset: PresetName;
}

const RESIDUAL_PAPER = 'arXiv 2410.10739';
/** "Fails at <= 1.5B" (arXiv 2410.10739). */
const MIN_RESIDUAL_PARAMETERS = 1.6e9;
/** EntiGraph's corpus of 1.3M tokens gave nothing as raw text; Knowledge-Instruct's are of this order. Where bulk begins is an assumption. */
const TINY_TOKENS = 10e6;
/** Where plain training of an instruct model was measured to lose 10 points and more of IFEval (arXiv 2410.10739). */
const BULK_TOKENS = 1e9;
/** Instruction text that can teach a base model its format: 1 % of the domain, as the lower end of domain-adaptation guides. Assumption. */
const MIN_INSTRUCTION_SHARE = 0.01;

/** Advice for a configuration, or undefined where the question does not arise: a model from scratch. */
export function adviseModel({ model, corpora, preset }: AdviceFacts): Advice | undefined {
  if (preset === 'from-scratch') return undefined;
  const tokens = (role: CorpusFacts['role']) =>
    corpora.reduce((sum, corpus) => sum + (corpus.role === role ? corpus.numTokens : 0), 0);
  // Without a domain corpus, general text takes its place.
  const learned = tokens('domain') || tokens('general');
  const siblings = { base: hasBase(model), instruct: hasInstruct(model) };
  const reasons = [
    ...ofData(learned, siblings.instruct),
    ...ofModel(model, learned, siblings),
    ...ofInstructionText(model, learned, tokens('instruction')),
  ].sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight));
  const possible: AdviceAnswer[] = [
    ...(siblings.base ? (['base'] as const) : []),
    ...(siblings.instruct ? (['instruct'] as const) : []),
    ...(siblings.base && siblings.instruct ? (['residual'] as const) : []),
  ];
  const score = (answer: AdviceAnswer) =>
    reasons.reduce((sum, reason) => sum + (reason.answer === answer ? reason.weight : 0), 0);
  // Equal scores: what is at hand stays.
  const given: AdviceAnswer = model.isInstruct ? 'instruct' : 'base';
  const answer = possible.reduce((best, next) => (score(next) > score(best) ? next : best), given);
  const agrees = (answer === 'instruct') === model.isInstruct;
  return { answer, agrees, summary: summarise(answer, agrees, model), reasons };
}

function hasBase({ isInstruct, known }: ModelFactsForPlan): boolean {
  return !isInstruct || known?.base !== undefined;
}

function hasInstruct({ isInstruct, known }: ModelFactsForPlan): boolean {
  return isInstruct || known?.instruct !== undefined;
}

function ofData(domain: number, hasInstructSibling: boolean): AdviceReason[] {
  const size = `${formatCount(domain)} tokens to learn`;
  if (domain < TINY_TOKENS && hasInstructSibling)
    return [
      {
        answer: 'instruct',
        weight: 3,
        text: `${size} are little: as raw text, 1.3M tokens taught an 8B model nothing (38.2 % after, 39.5 % before), while questions and answers made of the documents took an instruct model from 0 to 81.8 % on new facts and kept its manners`,
        source: 'EntiGraph, arXiv 2409.07431 (raw-text figure from memory); Knowledge-Instruct, arXiv 2504.05571',
      },
    ];
  if (domain < TINY_TOKENS)
    return [
      {
        answer: 'base',
        weight: 1,
        text: `${size} are little, and raw text alone will teach few facts; make questions and answers of it where you can`,
        source: 'EntiGraph, arXiv 2409.07431',
      },
    ];
  return [
    {
      answer: 'base',
      weight: 2,
      text: `${size} are learned as raw text, and the methods of this recipe were measured on base models`,
      source: 'Parmar et al. 2024; Ibrahim et al. 2024',
    },
    {
      answer: 'instruct',
      weight: domain >= BULK_TOKENS ? -3 : -2,
      text: 'raw text unteaches an instruct model: 10 points and more of IFEval after 1B tokens; in finance, MT-Bench fell from 7.9 to about 1',
      source: `${RESIDUAL_PAPER}; FinDAP`,
    },
  ];
}

function ofModel(
  model: ModelFactsForPlan,
  domain: number,
  siblings: { base: boolean; instruct: boolean },
): AdviceReason[] {
  const { isInstruct, numParameters } = model;
  const reasons: AdviceReason[] = [];
  const size = `${formatCount(numParameters)} parameters`;
  if (!isInstruct)
    reasons.push({
      answer: 'base',
      weight: 2,
      text: 'you gave a base model, so nothing of instruction tuning can be lost',
      source: 'continuo.yaml',
    });
  else if (!siblings.base)
    reasons.push({
      answer: 'instruct',
      weight: 2,
      text: 'you gave an instruct model and no base of it is known here; if there is one, weigh it',
      source: 'table of known models',
    });
  else
    reasons.push({
      answer: 'residual',
      weight: 1,
      text: `you gave an instruct model, so its manners seem wanted, and its base is published (${model.known!.base})`,
      source: 'table of known models',
    });
  if (!siblings.base || !siblings.instruct) return reasons;
  if (numParameters < MIN_RESIDUAL_PARAMETERS)
    reasons.push({
      answer: 'residual',
      weight: -3,
      text: `the difference of instruct and base does not carry over at 1.5B parameters and below; this model has ${size}`,
      source: RESIDUAL_PAPER,
    });
  else if (domain >= TINY_TOKENS)
    reasons.push({
      answer: 'residual',
      weight: isInstruct ? 2 : 1,
      text: `at ${size}, a continued base with the difference of instruct and base added was 4 to 5 points better than the instruct model, without any tuning after`,
      source: RESIDUAL_PAPER,
    });
  return reasons;
}

function ofInstructionText(model: ModelFactsForPlan, domain: number, instruction: number): AdviceReason[] {
  if (instruction === 0) {
    if (!hasInstruct(model)) return [];
    return [
      {
        answer: 'instruct',
        // A change of model needs more than to stay with one.
        weight: model.isInstruct ? -1 : -2,
        text: 'no instruction text is mixed in that would keep the manners of an instruct model',
        source: 'FinDAP: joint training with instruction text kept MT-Bench',
      },
    ];
  }
  const enough = instruction >= MIN_INSTRUCTION_SHARE * domain;
  const text = `${formatCount(instruction)} tokens of instruction text are mixed in`;
  if (!enough) return [];
  return [
    model.isInstruct
      ? {
          answer: 'instruct',
          weight: 2,
          text: `${text}, which keeps an instruct model's manners`,
          source: 'FinDAP: joint training kept MT-Bench, plain training lost it',
        }
      : {
          answer: 'base',
          weight: 1,
          text: `${text}, which also gains a base model ability late in the run`,
          source: 'Parmar et al. 2024, Table 4',
        },
  ];
}

function summarise(answer: AdviceAnswer, agrees: boolean, { known }: ModelFactsForPlan): string {
  const change = (id: string | undefined) => (agrees ? 'as you do' : `set model: ${id ?? 'to it'}`);
  switch (answer) {
    case 'base':
      return `train the base model, ${change(known?.base)}; tune it to instructions afterwards if it shall follow them`;
    case 'instruct':
      return `train the instruct model, ${change(known?.instruct)}, with instruction text in the blend and few steps`;
    case 'residual':
      return `train the base model, ${change(known?.base)}, and add the difference of ${known?.instruct ?? 'the instruct model'} and its base to the result (any tool for task arithmetic does it)`;
    default:
      return answer satisfies never;
  }
}
