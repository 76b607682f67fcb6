// The door of evaluation.
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
