// The options that each preset takes, as a schema and as types. The presets themselves, with the reasons for their defaults, are in
// src/recipe/presets, one file a preset; they stand below this layer, so that a wrong option is reported with its line and column.
import { z } from 'zod';
import { map, notNegative, number, oneOf, positive, share, shareBelowOne, text, weights, whole } from './fields.ts';

const warmup = number('a share of the steps from 0 to 0.5', (x) => x >= 0 && x <= 0.5).optional();

/** A value of its own kind, or the word that asks for what probe runs found. */
function orFound<T extends z.ZodType>(schema: T, what: string, option: string) {
  return z.union([schema, z.literal('found')], { error: `${what}, or found (by continuo plan ${option})` });
}

const schedule = {
  /** Highest LR. */
  peakLr: orFound(positive, 'a number above 0', '--find-lr').optional(),
  /** LR of the last step. */
  finalLr: notNegative.optional(),
  /** Share of the steps spent rising to the peak. */
  warmup,
};

/** How the corpora inside a role share its tokens. */
const samplingWhat = 'size, unimax, or { temperature: 2 }';
const sampling = z
  .union(
    [
      z.enum(['size', 'unimax']),
      map({ temperature: number('a temperature of at least 1', (x) => Number.isFinite(x) && x >= 1) }),
    ],
    { error: samplingWhat },
  )
  .optional();

/** What every recipe takes. */
const common = {
  /** Passes over one corpus beyond which its share is cut, or, where nothing can take its place, a warning is given. */
  maxEpochs: positive.optional(),
  /** What a corpus' weight counts. */
  weightsBy: oneOf(['tokens', 'documents']).optional(),
  sampling,
  /** Whether general text takes the place of new text, or comes on top of a budget that counts new text alone. */
  replayTokens: oneOf(['replacing', 'added']).optional(),
  /** The base model's scores (0 to 1) in what each corpus teaches: the weakest are up-weighted in the last phase. */
  baseScores: z
    .record(z.string(), share, {
      error: 'a map from corpus name to a score between 0 and 1, such as { stem: 0.41, code: 0.6 }',
    })
    .optional(),
};

const replayWhat = 'a share from 0 to below 1, or { first: 0.25, second: 0.2 }';
const replayEach = z.union(
  [number(replayWhat, (x) => x >= 0 && x < 1), map({ first: shareBelowOne, second: shareBelowOne })],
  { error: replayWhat },
);

const replay = orFound(shareBelowOne, 'a share from 0 to below 1', '--find-mix').optional();

const shift = oneOf(['weak', 'strong']).optional();
const shareOfRun = number('a share of the run between 0 and 1', (x) => x > 0 && x < 1);

/** Weights by corpus, or shares by role. */
const blend = {
  blend: weights.optional(),
  shares: map({
    domain: share.optional(),
    general: share.optional(),
    instruction: share.optional(),
  }).optional(),
};

/** What bears loss: every token, or of conversations what the assistant says. */
const objective = oneOf(['all', 'answers']).optional();

const phase = map(
  {
    name: text('a name').optional(),
    ...blend,
    objective,
    /** Tokens a sequence, where they are not training.seqLen. */
    seqLen: whole.optional(),
    /** The blend at the phase's end: it moves there step by step. */
    to: map(blend).optional(),
    begins: map({
      /** LR at most this share of the peak. */
      lrShare: shareOfRun.optional(),
      /** This share of the run's tokens is trained on. */
      tokens: shareOfRun.optional(),
      step: whole.optional(),
    }).optional(),
  },
  'a phase: a map',
);

export const RECIPE_OPTIONS = {
  'reuse-dont-retrain': map({
    ...schedule,
    /** Start at pretraining's final LR (the paper), or in the middle between its final and its peak LR (text new to the model). */
    startAt: oneOf(['final', 'middle']).optional(),
    /** Share of general text in both phases, or in each. */
    replay: orFound(replayEach, replayWhat, '--find-mix').optional(),
    /** The second phase begins when the LR is at most this share of its peak. */
    switchAt: number('a share of the peak LR between 0 and 1, such as 0.2', (x) => x > 0 && x < 1).optional(),
    /** Share of instruction corpora in the second phase. */
    instruction: shareBelowOne.optional(),
    /** Weights by corpus instead of the derived ones. */
    firstBlend: weights.optional(),
    secondBlend: weights.optional(),
    ...common,
  }),
  'domain-adaptation': map({
    ...schedule,
    replay,
    instruction: shareBelowOne.optional(),
    /** General text is this share at the start and falls evenly to `replay` at the end. */
    startReplay: shareBelowOne.optional(),
    /** General text is `frontLoad.replay` of the tokens until this share of the run, and the recipe's `replay` afterwards. */
    frontLoad: map({ until: shareOfRun, replay: shareBelowOne }).optional(),
    ...common,
  }),
  'instruct-domain': map({
    ...schedule,
    objective,
    replay: shareBelowOne.optional(),
    instruction: shareBelowOne.optional(),
    ...common,
  }),
  'rewarm-replay': map({ ...schedule, shift, replay, ...common }),
  'infinite-lr': map({
    ...schedule,
    /** LR of the constant part. */
    constantLr: positive.optional(),
    /** Share of the run until which the LR cools down from the peak. */
    cooldownUntil: shareOfRun.optional(),
    /** Share of the run, its last part, that anneals. */
    anneal: shareOfRun.optional(),
    shift,
    replay,
    ...common,
  }),
  custom: map({
    ...schedule,
    schedule: oneOf(['cosine', 'linear', 'constant', 'wsd', 'infinite']).optional(),
    /** LR at which the warm-up starts. */
    warmupFrom: notNegative.optional(),
    /** wsd: shape and share of the decay. */
    decay: oneOf(['linear', 'exponential', '1-sqrt']).optional(),
    decayShare: shareOfRun.optional(),
    /** infinite. */
    constantLr: positive.optional(),
    cooldownUntil: shareOfRun.optional(),
    anneal: shareOfRun.optional(),
    phases: z
      .array(phase, { error: 'a list of phases, such as [{ blend: { docs: 0.8, web: 0.2 } }]' })
      .min(1, { error: 'at least one phase' }),
    ...common,
  }),
  naive: map({ peakLr: positive.optional(), ...common }),
  'from-scratch': map({ ...schedule, blend: weights.optional(), ...common }),
};

export type PresetName = keyof typeof RECIPE_OPTIONS;
type OptionsInFile<N extends PresetName> = z.output<(typeof RECIPE_OPTIONS)[N]>;

/** What probe runs can find. */
export const FOUND_NAMES = ['peakLr', 'replay'] as const;
export type FoundName = (typeof FOUND_NAMES)[number];

export interface FoundValue {
  value: number;
  why: string;
  source: string;
}

/** An option for which the file says "found" is absent; the planner puts what was found into `found`. */
export type PresetOptions<N extends PresetName> = {
  [K in keyof OptionsInFile<N>]: Exclude<OptionsInFile<N>[K], 'found'>;
} & { found?: Partial<Record<FoundName, FoundValue>> };

export const PRESET_NAMES = Object.keys(RECIPE_OPTIONS) as PresetName[];

/** What every recipe's options hold. */
export type CommonOptions = Pick<
  PresetOptions<'naive'>,
  'maxEpochs' | 'weightsBy' | 'sampling' | 'replayTokens' | 'baseScores'
>;

/** Published methods that need a part that is not here: what it is, and what can be done meanwhile. */
export const PLANNED_PRESETS: Readonly<Record<string, { method: string; missing: string; meanwhile: string }>> = {
  'pre-instruction-tuning': {
    method:
      'questions and their documents together, then new documents (Jiang et al. 2024, arXiv 2402.12847; PIT++: the questions alone before)',
    missing:
      'an LR for each phase (3e-5 on documents, 5e-6 on questions), and documents of a corpus beside their own questions',
    meanwhile:
      'custom, with a phase of questions and documents (objective: answers) before one of new documents, has its order at one schedule',
  },
  'knowledge-instruct': {
    method:
      'facts of the documents as questions and answers, for an instruct model (Ovadia et al. 2025, arXiv 2504.05571)',
    missing: 'the synthesis of questions from documents',
    meanwhile: 'instruct-domain takes questions that you have as a corpus with role: instruction',
  },
  'synthetic-entigraph': {
    method: 'texts about pairs of entities of each document (Yang et al. 2024, arXiv 2409.07431)',
    missing: 'the synthesis of these texts',
    meanwhile:
      'domain-adaptation with { peakLr: 5e-6, replay: 0.1, warmup: 0.05, maxEpochs: 2 } trains on texts that you have, as the paper did at 8B',
  },
  'long-context': {
    method: 'a longer context by YaRN and long documents (Peng et al. 2023; Xu et al. 2025, arXiv 2504.06214)',
    missing: 'the change of the position embedding, and attention across documents',
    meanwhile: 'training.seqLen up to the context that the model was trained on works with every recipe',
  },
  'moe-upcycling': {
    method: 'a dense model becomes a mixture of experts (He et al. 2024, arXiv 2410.07524)',
    missing: 'the conversion of the checkpoint',
    meanwhile: 'models that have experts already are continued by every recipe',
  },
};

export type RecipeConfig = {
  [N in PresetName]: {
    preset: N;
    options: PresetOptions<N>;
    /** The file named no recipe. */
    isDefault: boolean;
    /** Options for which the file says "found"; absent where there is none. */
    asksFound?: FoundName[];
  };
}[PresetName];
