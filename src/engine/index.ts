// The door of the engines.
export { checkpointName, listCheckpoints } from './checkpoints.ts';
export { scoreSet, toBatch } from './evaluate.ts';
export { EXIT_STOPPED, type EngineMessage, type EvalResult, type EvalSetResult, type StepMetrics } from './protocol.ts';
export { type SuperviseOptions, type SuperviseResult, superviseEngine } from './supervisor.ts';
