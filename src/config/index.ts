// The door of the configuration layer.
export {
  ALARM_ACTIONS,
  ALARM_NAMES,
  type AlarmAction,
  type AlarmName,
  type AlarmsConfig,
  wantsSamples,
} from './alarm-options.ts';
export {
  CLEAN_LIST_NAMES,
  CLEAN_LISTS,
  CLEAN_STEP_NAMES,
  type CleanListName,
  type CleanOptions,
  type CleanStepConfig,
  type CleanStepName,
} from './clean-options.ts';
export type { DecontaminateConfig, DedupConfig } from './dedup-options.ts';
export {
  type DistillConfig,
  type DistillOn,
  type EwcConfig,
  FISHER_PER,
  type FisherPer,
  type GuardConfig,
  type L2Config,
  type L2Target,
} from './guard-options.ts';
export {
  type KubernetesOptions,
  LAUNCH_TARGETS,
  type LaunchConfig,
  type LaunchTarget,
  type RayOptions,
  type SkypilotOptions,
  type SlurmOptions,
  type SshOptions,
  withTargets,
} from './launch-options.ts';
export { loadConfig, parseConfig } from './load.ts';
export { MIXING_METHODS, type MixingConfig, type MixingMethod } from './mixing-options.ts';
export {
  type CommonOptions,
  type FoundName,
  type FoundValue,
  PLANNED_PRESETS,
  PRESET_NAMES,
  type PresetName,
  type PresetOptions,
  type RecipeConfig,
} from './recipe-options.ts';
export type {
  BestRule,
  BudgetConfig,
  Config,
  CorpusConfig,
  CorpusRole,
  EngineConfig,
  GeneratedConfig,
  GivenLoraConfig,
  HeldOutConfig,
  LoraConfig,
  ModelConfig,
  NewModelConfig,
  OrderConfig,
  Packing,
  Precision,
  Recompute,
  ScoreConfig,
  TasksConfig,
  TrainingConfig,
} from './types.ts';
export { type ConfigAnswers, renderConfig, writeConfig } from './write.ts';
