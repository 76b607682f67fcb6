// Reading run folders: what was planned, what happened, what came of it.
export {
  type Alarm,
  AlarmWatch,
  alarmsOf,
  type Finding,
  type Margin,
  makeWatch,
  marginsOf,
  measurementsAt,
  type StepRecord,
  type WatchFacts,
} from './alarms/index.ts';
export { type ComparisonRow, compareRuns, judge, MAX_LOSS_SHARE, MIN_GAIN_SHARE, type Verdict } from './compare.ts';
export { type DoctorReport, describeTorch, doctor } from './doctor.ts';
export { forecastRun, type RunForecast, reportedForecast, type SetForecast } from './forecast.ts';
export { type CurvePoint, curve, MAX_CURVE_POINTS, median, quantile } from './metrics.ts';
export { readRun } from './read-run.ts';
export { hasDecidedShares, meanShares, type SharesFrom, sharesOverTime } from './shares.ts';
export { type LabelledRun, paretoFront, type SetDifference, setDifferences } from './side-by-side.ts';
export { type StabilityGap, stabilityGaps } from './stability.ts';
export { bestText, change, roleScore, summarise } from './summarise.ts';
export type * from './types.ts';
