// The door of the pipeline: what the commands call.
export {
  type AdapterMergeRequest,
  type AdapterMergeResult,
  mergeAdapterInto,
  type UnmergeRequest,
  type UnmergeResult,
  unmergeAdapterFrom,
} from './adapter.ts';
export { Chat, type ChatSettings, ChatSide, openChat } from './chat.ts';
export { type CompareResult, compare } from './compare.ts';
export { type CleanRequest, type CleanResult, cleanData, plotCleaning } from './corpora.ts';
export { type DemoOptions, type DemoResult, type DemoSummary, demo } from './demo.ts';
export { type EvalTable, type EvaluateRequest, evaluate } from './evaluate.ts';
export { type ExportResult, exportRun } from './export.ts';
export { type GenerateRequest, type GenerateResult, generate } from './generate.ts';
export {
  type KnowRequest,
  type KnowResult,
  makeProbes,
  measureKnowledge,
  type ProbesRequest,
  type ProbesResult,
} from './knowledge.ts';
export { type LaunchWritten, writeLaunch } from './launch.ts';
export { type LongContextRequest, type LongContextResult, longContext } from './long-context.ts';
export { type Looked, type LookRequest, lookAt, type SeenDocument } from './look.ts';
export {
  type CurvePoint,
  type CurveRequest,
  type MergeCurve,
  type MergeRequest,
  type MergeResult,
  merge,
} from './merge.ts';
export { type MineRequest, type MineResult, mine } from './mine.ts';
export { type MixtureRequest, type MixtureResult, nextMixture } from './mixture.ts';
export { type PerturbRequest, perturbModel } from './perturb.ts';
export { type DoremiRequest, type MixOfProxy, mixByDoremi } from './probes/doremi.ts';
export { type FindRequest, type FindResult, find } from './probes/find.ts';
export { type MixOfProbes, type MixRequest, mixByProbes } from './probes/regmix.ts';
export { run, stoppedHint, type TrainResult, trainJob } from './run.ts';
export { type SelectRequest, type SelectResult, select } from './select.ts';
export { type ServeRequest, serve } from './serve.ts';
export { planRun, readPlan } from './stages.ts';
export { evaluateTasks, listTasks, type TasksEvaluation, type TasksRequest } from './tasks.ts';
export { type TokenLosses, type TokenLossRequest, tokenLosses } from './token-losses.ts';
export { checkSetUp, setUpTorch, type TorchReport } from './torch.ts';
export type { PipelineOptions, PlanResult, RunResult, StageRecord } from './types.ts';
export { type VerifiedFolder, verifyData } from './verify.ts';
export { type VocabRequest, type VocabResult, vocab } from './vocab.ts';
export { inspectWriting, type WritingRequest, type WritingResult } from './writing.ts';
