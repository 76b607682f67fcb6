// The door of mixing.
export {
  decideMix,
  MIX_METHODS,
  type MixCorpus,
  type MixDecision,
  type MixInputs,
  type MixPhase,
  type MixState,
  type PlanMixing,
  priorsOf,
  withinBounds,
} from './decide.ts';
export { planMixing, proxyMixing } from './plan.ts';
export { drawMixtures, findMixture, minRuns, type RegMixResult, type RegMixRun } from './regmix.ts';
export type { MixHistory } from './types.ts';
