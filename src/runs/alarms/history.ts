// A watch over what a run folder holds: how a resumed run's watch comes to know what was before, and which alarms an old run would have had.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { readJson } from '../../base/files.ts';
import { checkpointName, tasksFile, type WritingRecord, writingFile } from '../../engine/index.ts';
import { readEvalResults } from '../../eval/index.ts';
import { numEvaluations, numSamplings, type Plan } from '../../recipe/index.ts';
import { AmendedJob, type Job, openShard, readJob } from '../../shards/index.ts';
import { readDocuments } from '../documents.ts';
import { readJsonLines } from '../jsonl.ts';
import type { EvalRecord } from '../types.ts';
import { Bigrams } from './bigram.ts';
import { type Alarm, AlarmWatch, type StepRecord } from './watch.ts';

/** Tokens of held-out text that pairs are counted in. */
const REFERENCE_TOKENS = 500_000;

/** A watch for the run in a folder, by its plan, before its first record. @throws DataError for a damaged job */
export function makeWatch(runFolder: string, plan: Plan): AlarmWatch {
  const folder = path.join(runFolder, 'job');
  const job = readJob(folder);
  const amended = new AmendedJob(folder, job);
  let reference: Bigrams | undefined;
  return new AlarmWatch(plan.alarms?.watch ?? {}, {
    numEvaluations: numEvaluations(plan),
    numSamplings: numSamplings(plan),
    tokensByCorpus: Object.fromEntries(plan.corpora.map(({ name, numTokens }) => [name, numTokens])),
    // As it was decided while the run went on, by a mixer or an alarm.
    blendOf: (step) => {
      amended.refresh();
      return amended.blendAt(step);
    },
    experts: plan.model.experts,
    reference: () => {
      reference ??= countPairs(job);
      return reference;
    },
  });
}

/**
 * The alarms of what a run folder records up to `untilStep` steps, whatever was done about them.
 * @throws DataError for files that cannot be read
 */
export function alarmsOf(runFolder: string, watch: AlarmWatch, untilStep = Infinity): Alarm[] {
  const steps: StepRecord[] = [];
  readJsonLines(path.join(runFolder, 'metrics.jsonl'), (line) => {
    const { step } = line;
    if (typeof step !== 'number' || !(step >= 0 && step < untilStep)) return;
    // Steps that a resumed run did again.
    while (steps.length > 0 && steps.at(-1)!.step >= step) steps.pop();
    // JSON has no NaN: a number that is none stands there as null.
    steps.push({
      ...line,
      loss: line.loss ?? Number.NaN,
      lossByCorpus: line.lossByCorpus ?? {},
    } as unknown as StepRecord);
  });
  const alarms = measurementsAt(runFolder, 0, watch);
  for (const record of steps) {
    alarms.push(...watch.step(record));
    alarms.push(...measurementsAt(runFolder, record.step + 1, watch));
  }
  return alarms;
}

/** Hands the watch what was measured after `step` steps. @throws DataError for files that cannot be read */
export function measurementsAt(
  runFolder: string,
  step: number,
  watch: AlarmWatch,
  { onlyTasks = false } = {},
): Alarm[] {
  const tasks = tasksFile(runFolder, step);
  const ofTasks = () => (fs.existsSync(tasks) ? watch.measured(step, readEvalResults(tasks)) : []);
  if (onlyTasks) return ofTasks();
  const alarms: Alarm[] = [];
  const evalFile = path.join(runFolder, 'evals', `${checkpointName(step)}.json`);
  if (fs.existsSync(evalFile))
    alarms.push(...watch.evaluated(readJson<EvalRecord>(evalFile), readDocuments(runFolder, step)));
  const writing = writingFile(runFolder, step);
  if (fs.existsSync(writing)) alarms.push(...watch.wrote(readJson<WritingRecord>(writing)));
  alarms.push(...ofTasks());
  return alarms;
}

/** Pairs of tokens in the held-out text of a job. */
export function countPairs({ shards }: Job): Bigrams {
  const heldOut = shards.filter(({ split }) => split === 'heldOut');
  const readers = heldOut.map(({ prefix }) => openShard(prefix));
  const bigrams = new Bigrams();
  for (const reader of readers) {
    bigrams.add(reader.read(0, Math.min(reader.numTokens, Math.floor(REFERENCE_TOKENS / readers.length))));
    reader.close();
  }
  return bigrams;
}
