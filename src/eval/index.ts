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
export {
  LONG_CONTEXT_KINDS,
  type LongContextKind,
  type LongContextOptions,
  type LongContextSample,
  longContextSample,
  type QuestionPool,
  readQuestions,
  scoreLongContext,
} from './long-context/index.ts';
export { type NativeModelOptions, nativeModel } from './models/index.ts';
export { pythonSandbox } from './sandbox.ts';
export {
  type Difference,
  describeResolution,
  detectableDifference,
  mcnemar,
  pairedBitsPerByte,
  pairedBootstrap,
  pairedDifference,
  points,
  type ScoredPair,
  smallestVisible,
  standardError,
  wilsonInterval,
} from './stats/index.ts';
export {
  type CodeResult,
  type DatasetArguments,
  type MetricArguments,
  type RunCode,
  type Twin,
  type TwinFilter,
  type Twins,
  twinsOf,
} from './twins/index.ts';
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
