// Alarms: what a run is watched for.
export type { Finding } from './finding.ts';
export { alarmsOf, makeWatch, measurementsAt } from './history.ts';
export { type Margin, marginsOf } from './margins.ts';
export { type Alarm, AlarmWatch, type StepRecord, type WatchFacts } from './watch.ts';
