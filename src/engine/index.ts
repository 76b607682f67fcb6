// The door of the engines.
export { type BestCheckpoint, bestCheckpoint, tasksFile } from './best.ts';
export { checkpointName, isKept, listCheckpoints } from './checkpoints.ts';
export { type SetDocuments, type SetScore, scoreSet, toBatch } from './evaluate.ts';
export {
  type BatchLaunch,
  kubernetesLaunch,
  type LaunchFile,
  type LaunchJob,
  launchFolder,
  messagesFile,
  rayLaunch,
  skypilotLaunch,
  slurmLaunch,
  sshProgram,
  sshScript,
  workerCopy,
} from './launch/index.ts';
export { lockRun } from './lock.ts';
export type { ProfilePart, StepProfile } from './profile.ts';
export {
  type EngineMessage,
  type EvalDocumentsResult,
  type EvalResult,
  type EvalSetResult,
  EXIT_STOPPED,
  type StepMetrics,
  type WritingRecord,
  type WritingSample,
} from './protocol.ts';
export {
  type Answer,
  type Attended,
  type EngineControl,
  type EngineProgram,
  type Fatal,
  fatalError,
  type SuperviseOptions,
  type SuperviseResult,
  superviseEngine,
} from './supervisor.ts';
export {
  checkTorch,
  environmentFolder,
  otherVersions,
  pythonOf,
  requirementsFile,
  type TorchEnvironment,
  torchProgram,
  torchPython,
  torchPythonIfAny,
  workerFolder,
} from './torch-engine.ts';
export { writingFile } from './writing.ts';
