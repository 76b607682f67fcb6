// The door of evaluation.
export {
  type CompareOptions,
  type Comparison,
  compareReports,
  describeComparison,
  describeTask,
  type EvalResults,
  type Example,
  formatChange,
  formatLevel,
  formatP,
  formatSize,
  readEvalResults,
  readReport,
  readSamples,
  signed,
  type TaskComparison,
  type TaskVerdict,
} from './compare/index.ts';
export {
  checkInstruction,
  INSTRUCTION_IDS,
  type InstructionAccuracy,
  type InstructionArguments,
  type InstructionPrompt,
  type InstructionScore,
  instructionAccuracy,
  scoreInstructions,
} from './instructions/index.ts';
export { type NativeModelOptions, nativeModel } from './models/index.ts';
export {
  describeResolution,
  detectableDifference,
  mcnemar,
  pairedBitsPerByte,
  pairedBootstrap,
  pairedDifference,
  points,
  smallestVisible,
  standardError,
  wilsonInterval,
} from './stats/index.ts';
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
