// The door of the recipe layer: facts in, plan out.
export { type Advice, type AdviceAnswer, type AdviceReason, adviseModel } from './advisor.ts';
export type { AlarmPlan, AlarmSetting } from './alarms.ts';
export { type BlendCorpus, normalizeWeights, type PhaseDemand, resolveBlends, splitWhole } from './blends.ts';
export { type CostEstimate, clusterSpeed, type GpuCost } from './cost.ts';
export { diffPlans, explainDiff, type PlanChange } from './diff.ts';
export { FORWARD_SHARE, numEvaluations, numSamplings } from './evaluation.ts';
export { describePretraining, explainChecks, explainPlan } from './explain.ts';
export {
  type Forecast,
  type ForecastPoint,
  fitAnnealingLaw,
  forecastLoss,
  goodness,
  type LawFit,
  type LossLaw,
  lossAt,
  lrAreas,
  type MeasuredCurve,
  type ObservedRun,
  predictCurve,
  pretrainingArea,
} from './forecast/index.ts';
export { type Cluster, GPUS, type Gpu, gpuOfDevice, parseCluster } from './hardware.ts';
export { KNOWN_MODELS, type KnownFacts, type KnownModel, knownModel, type ModelShape } from './known-models.ts';
export { assumedPeakLr, formatLr, formatShare } from './learning-rates.ts';
export { estimateMemory, type MemoryEstimate } from './memory.ts';
export {
  decideMix,
  drawMixtures,
  findMixture,
  MIX_METHODS,
  type MixCorpus,
  type MixDecision,
  type MixHistory,
  type MixInputs,
  type MixPhase,
  type MixState,
  minRuns,
  type PlanMixing,
  priorsOf,
  proxyMixing,
  type RegMixResult,
  type RegMixRun,
} from './mixing/index.ts';
export { blendAt, blendOfStep, jobPhases, shareInPhase, stepLengths, unevenStep } from './phases.ts';
export { findPitfalls, PITFALLS } from './pitfalls/index.ts';
export { makePlan } from './plan.ts';
export { peakLrByWidth } from './presets/from-scratch.ts';
export { PRESETS } from './presets/index.ts';
export {
  checkMixable,
  DEFAULT_PROBE_SHARES,
  DEFAULT_TOLERANCE,
  explainFinding,
  findDomainShare,
  findPeakLr,
  fitParabola,
  fitPower,
  type LrFinding,
  lrGrid,
  type MixFinding,
  type ProbePoint,
  type ProbeResults,
  type ProbeScores,
  probePlan,
  probeSteps,
  probeTable,
  probeTokens,
  withoutFound,
} from './probes.ts';
export { SAMPLES_AT_ONCE, type SamplePlan } from './samples.ts';
export { annealStart, type Decay, lrAt, lrCurve, makeSchedule, type Schedule, switchStep } from './schedules.ts';
export { assessShift, divergence, judgeShift, type Shift, type ShiftEvidence, type ShiftVerdict } from './shift.ts';
export { largestCorpora, sketchBlend, sketchLr } from './sketch.ts';
export { DEFAULT_MIXTURE_RATE, moveMixture, type TopicMove, type TopicProgress } from './topic-mixture.ts';
export type {
  AdapterFacts,
  Blend,
  BlendRule,
  CorpusFacts,
  ExpansionFacts,
  HardwareFacts,
  LoraPlan,
  ModelFactsForPlan,
  Plan,
  PlanInputs,
  PlanPhase,
  PlanWarning,
  PretrainingFacts,
  Reason,
  Severity,
  TrainingShape,
} from './types.ts';
