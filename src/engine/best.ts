// The best checkpoint of a run, by a rule that the user states: best in one thing, with little lost in others. Judged from evals/, so a
// resumed run and a report come to the same.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { DataError } from '../base/errors.ts';
import { readJson } from '../base/files.ts';
import type { BestRule } from '../config/index.ts';
import { checkpointName } from './checkpoints.ts';
import type { EvalResult } from './protocol.ts';

export interface BestCheckpoint {
  step: number;
  /** Of what the rule calls best, and of all that it guards: its value, and the change against the model as it came, percent; above 0 is better. */
  values: Record<string, { value: number; gainPercent: number }>;
}

interface Value {
  value: number;
  higherIsBetter: boolean;
}

/** Task results of a step, or undefined. Groups count as tasks. */
function taskValues(runFolder: string, step: number): Map<string, Value> | undefined {
  const file = tasksFile(runFolder, step);
  if (!fs.existsSync(file)) return undefined;
  const report = readJson<{
    tasks: { task: string; metrics: Value[] }[];
    groups: { group: string; metrics: Value[] }[];
  }>(file);
  const values = new Map<string, Value>();
  for (const { task, metrics } of report.tasks) if (metrics[0]) values.set(task, metrics[0]);
  for (const { group, metrics } of report.groups) if (metrics[0]) values.set(group, metrics[0]);
  return values;
}

/** evals/tasks-step-*.json: what tasks found after `step` steps, as an EvalReport. */
export function tasksFile(runFolder: string, step: number): string {
  return path.join(runFolder, 'evals', `tasks-${checkpointName(step)}.json`);
}

/** Bits per byte over all sets of a role, or of one set. */
function heldOutValue(sets: EvalResult['sets'], name: string): Value | undefined {
  const ofName = Object.entries(sets).filter(([set, { role }]) => set === name || role === name);
  const numBytes = ofName.reduce((sum, [, set]) => sum + set.numBytes, 0);
  if (numBytes === 0) return undefined;
  const bits = ofName.reduce((sum, [, set]) => sum + set.bitsPerByte * set.numBytes, 0);
  return { value: bits / numBytes, higherIsBetter: false };
}

/**
 * The best of the steps that are measured so far, the model as it came not among them.
 * @returns undefined where no step keeps to the rule, or nothing is measured
 * @throws DataError for an evaluation file that cannot be read
 */
export function bestCheckpoint(runFolder: string, { of, within }: BestRule): BestCheckpoint | undefined {
  const folder = path.join(runFolder, 'evals');
  if (!fs.existsSync(folder)) return undefined;
  const steps = fs
    .readdirSync(folder)
    .map((name) => Number(/^step-(\d+)\.json$/.exec(name)?.[1] ?? Number.NaN))
    .filter(Number.isFinite)
    .sort((a, b) => a - b);
  const names = [of, ...Object.keys(within).filter((name) => name !== of)];
  const valuesAt = (step: number): Map<string, Value> => {
    const file = path.join(folder, `${checkpointName(step)}.json`);
    const { sets } = readJson<EvalResult>(file);
    if (!sets)
      throw new DataError(file, 'expected an object with "sets". Delete the file and run the same command again.');
    const tasks = taskValues(runFolder, step);
    const values = names.map((name) => [name, heldOutValue(sets, name) ?? tasks?.get(name)] as const);
    return new Map(values.filter((pair): pair is [string, Value] => pair[1] !== undefined));
  };
  if (steps[0] !== 0) return undefined;
  const base = valuesAt(0);
  let best: BestCheckpoint | undefined;
  for (const step of steps.slice(1)) {
    const values = valuesAt(step);
    if (names.some((name) => !values.has(name) || !base.has(name))) continue;
    const gains = Object.fromEntries(
      names.map((name) => {
        const { value, higherIsBetter } = values.get(name)!;
        const change = (100 * (value - base.get(name)!.value)) / Math.abs(base.get(name)!.value);
        return [name, { value, gainPercent: higherIsBetter ? change : -change }];
      }),
    );
    if (Object.entries(within).some(([name, percent]) => !(gains[name]!.gainPercent >= -percent))) continue;
    if (!best || gains[of]!.gainPercent > best.values[of]!.gainPercent) best = { step, values: gains };
  }
  return best;
}
