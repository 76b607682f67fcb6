// All presets by name. The configuration layer knows their options (config/recipe-options.ts); the type demands one file for each.
import type { PresetName } from '../../config/index.ts';
import { custom } from './custom.ts';
import { domainAdaptation } from './domain-adaptation.ts';
import { fromScratch } from './from-scratch.ts';
import { infiniteLr } from './infinite-lr.ts';
import { instructDomain } from './instruct-domain.ts';
import { naive } from './naive.ts';
import type { Preset } from './preset.ts';
import { reuseDontRetrain } from './reuse-dont-retrain.ts';
import { rewarmReplay } from './rewarm-replay.ts';

export const PRESETS: { readonly [N in PresetName]: Preset<N> } = {
  'reuse-dont-retrain': reuseDontRetrain,
  'domain-adaptation': domainAdaptation,
  'instruct-domain': instructDomain,
  'rewarm-replay': rewarmReplay,
  'infinite-lr': infiniteLr,
  custom,
  naive,
  'from-scratch': fromScratch,
};
