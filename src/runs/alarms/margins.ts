// How near a run came to its alarms, from what its folder holds: what a limit rests on is how far from it healthy runs stay.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { readJson } from '../../base/files.ts';
import type { AlarmName } from '../../config/index.ts';
import type { WritingRecord } from '../../engine/index.ts';
import type { Plan } from '../../recipe/index.ts';
import { readJob } from '../../shards/index.ts';
import { alarmsOf, countPairs, makeWatch } from './history.ts';
import { writingSigns } from './writing.ts';

export interface Margin {
  alarm: AlarmName;
  /** Of writing: the sign. */
  subject?: string;
  /** What was found as a share of the limit, noise allowed for: 1 and more sounded, 0 is under a thousandth. */
  ratio: number;
}

/** Recorded in no file, or without a limit. */
const WITHOUT_LIMIT: readonly AlarmName[] = ['disk', 'nonFinite', 'writing'];
/** Ratios that are told apart. */
const [LEAST, MOST] = [1e-3, 1e3];
const HALVINGS = 20;

/**
 * The run is watched again under other limits: the highest at which an alarm would have sounded, as a share of its own. Of writing, how far
 * each sign came towards its limit at worst; whether that is beyond chance is another condition, which is not asked here.
 * @throws DataError for files that cannot be read
 */
export function marginsOf(runFolder: string, plan: Plan): Margin[] {
  const { watch = {} } = plan.alarms ?? {};
  const names = (Object.keys(watch) as AlarmName[]).filter((name) => !WITHOUT_LIMIT.includes(name));
  const found = names.map((alarm): Margin => ({ alarm, ratio: ratioOf(runFolder, plan, alarm) }));
  return watch.writing ? [...found, ...writingMargins(runFolder)] : found;
}

function ratioOf(runFolder: string, plan: Plan, alarm: AlarmName): number {
  const { limit } = plan.alarms!.watch[alarm]!;
  const sounds = (ratio: number) => {
    // A low speed is the bad one.
    const scaled = alarm === 'speed' ? limit / ratio : limit * ratio;
    const watch = { [alarm]: { limit: scaled, actions: ['note' as const] } };
    return alarmsOf(runFolder, makeWatch(runFolder, { ...plan, alarms: { watch } })).length > 0;
  };
  if (!sounds(LEAST)) return 0;
  let [low, high] = [LEAST, MOST];
  for (let i = 0; i < HALVINGS; i++) {
    const middle = Math.sqrt(low * high);
    if (sounds(middle)) low = middle;
    else high = middle;
  }
  return low;
}

function writingMargins(runFolder: string): Margin[] {
  const evals = path.join(runFolder, 'evals');
  const files = fs.existsSync(evals) ? fs.readdirSync(evals).filter((name) => name.startsWith('writing-step-')) : [];
  const [base, ...others] = files.toSorted().map((name) => readJson<WritingRecord>(path.join(evals, name)));
  if (!base) return [];
  const reference = countPairs(readJob(path.join(runFolder, 'job')));
  const worst = new Map<string, number>();
  for (const { samples } of others)
    for (const { subject, value, limit } of writingSigns(base.samples, samples, reference))
      worst.set(subject, Math.max(worst.get(subject) ?? 0, value / limit));
  return [...worst].map(([subject, ratio]) => ({ alarm: 'writing', subject, ratio }));
}
