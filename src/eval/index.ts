// The door of evaluation.
export { type Twin, type Twins, twinsOf } from './twins/index.ts';
export type {
  ChatMessage,
  EvalReport,
  LanguageModel,
  Likelihood,
  LikelihoodRequest,
  MetricResult,
  Sample,
  TaskResult,
  TextRequest,
  Tick,
} from './types.ts';
