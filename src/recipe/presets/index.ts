// All presets by name. The configuration layer knows their options (config/recipe-options.ts); the type demands one file for each.
import type { PresetName } from '../../config/index.ts';
import { fromScratch } from './from-scratch.ts';
import { naive } from './naive.ts';
import type { Preset } from './preset.ts';
import { reuseDontRetrain } from './reuse-dont-retrain.ts';
import { rewarmReplay } from './rewarm-replay.ts';

export const PRESETS: { readonly [N in PresetName]: Preset<N> } = {
  'reuse-dont-retrain': reuseDontRetrain,
  'rewarm-replay': rewarmReplay,
  naive,
  'from-scratch': fromScratch,
};
