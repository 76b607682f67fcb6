// Knowledge probes from a user's documents, and what a model knows of them.
export { FACT_KINDS, type Fact, type FactKind, findFacts } from './facts.ts';
export { PROBE_TASKS, type ProbeManifest, readProbes, writeProbes } from './folder.ts';
export { type MakeOptions, type Probe, ProbeMaker, type ProbeSet } from './make.ts';
export { askByModel, askByRules, givesAway, type Question } from './questions.ts';
export {
  categoryOf,
  compareSlick,
  KNOWLEDGE,
  type Knowledge,
  type MovedFact,
  type SlickComparison,
  type SlickItem,
  type SlickJudgement,
  type SlickOptions,
  type SlickResult,
  slick,
} from './slick.ts';
