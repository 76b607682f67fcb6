// Tasks: from files of lm-evaluation-harness's format to scores with errors.
export { type WrittenResults, writeResults } from './output.ts';
export { type ChosenGroup, type ChosenTask, type Entry, type Selection, TaskRegistry } from './registry.ts';
export {
  type KeptResults,
  type RunProgress,
  type RunTasksOptions,
  runTasks,
  type TaskOutcome,
  type TasksResult,
} from './run.ts';
