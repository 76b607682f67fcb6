// The options that each preset takes, as a schema and as types. The presets themselves, with the reasons for their defaults, are in
// src/recipe/presets, one file a preset; they stand below this layer, so that a wrong option is reported with its line and column.
import { z } from 'zod';
import { map, notNegative, number, oneOf, positive, shareBelowOne, weights } from './fields.ts';

const warmup = number('a share of the steps from 0 to 0.5', (x) => x >= 0 && x <= 0.5).optional();

const schedule = {
  /** Highest LR. */
  peakLr: positive.optional(),
  /** LR of the last step. */
  finalLr: notNegative.optional(),
  /** Share of the steps spent rising to the peak. */
  warmup,
};

/** Passes over one corpus beyond which its share is cut, or, where nothing can take its place, a warning is given. */
const maxEpochs = positive.optional();

const replayWhat = 'a share from 0 to below 1, or { first: 0.25, second: 0.2 }';
const replayEach = z.union(
  [number(replayWhat, (x) => x >= 0 && x < 1), map({ first: shareBelowOne, second: shareBelowOne })],
  { error: replayWhat },
);

export const RECIPE_OPTIONS = {
  'reuse-dont-retrain': map({
    ...schedule,
    /** Start at pretraining's final LR (the paper), or in the middle between its final and its peak LR (text new to the model). */
    startAt: oneOf(['final', 'middle']).optional(),
    /** Share of general text in both phases, or in each. */
    replay: replayEach.optional(),
    /** The second phase begins when the LR is at most this share of its peak. */
    switchAt: number('a share of the peak LR between 0 and 1, such as 0.2', (x) => x > 0 && x < 1).optional(),
    /** Share of instruction corpora in the second phase. */
    instruction: shareBelowOne.optional(),
    /** Weights by corpus instead of the derived ones. */
    firstBlend: weights.optional(),
    secondBlend: weights.optional(),
    maxEpochs,
  }),
  'rewarm-replay': map({
    ...schedule,
    shift: oneOf(['weak', 'strong']).optional(),
    replay: shareBelowOne.optional(),
    maxEpochs,
  }),
  naive: map({ peakLr: positive.optional(), maxEpochs }),
  'from-scratch': map({ ...schedule, blend: weights.optional(), maxEpochs }),
};

export type PresetName = keyof typeof RECIPE_OPTIONS;
export type PresetOptions<N extends PresetName> = z.output<(typeof RECIPE_OPTIONS)[N]>;

export const PRESET_NAMES = Object.keys(RECIPE_OPTIONS) as PresetName[];

/** Published methods whose parts are not all here yet. */
export const PLANNED_PRESETS = [
  'domain-adaptation',
  'infinite-lr',
  'instruct-domain',
  'knowledge-instruct',
  'long-context',
  'moe-upcycling',
  'pre-instruction-tuning',
  'synthetic-entigraph',
] as const;

export type RecipeConfig = {
  [N in PresetName]: {
    preset: N;
    options: PresetOptions<N>;
    /** The file named no recipe. */
    isDefault: boolean;
  };
}[PresetName];
