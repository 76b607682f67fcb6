// Reads a run folder as it stands: a run under way or a crashed one as well as a finished one. Changes nothing in it.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { ConfigError, DataError } from '../base/errors.ts';
import { explainSystemError, readJson } from '../base/files.ts';
import { listCheckpoints } from '../engine/index.ts';
import type { Plan } from '../recipe/index.ts';
import type { Job } from '../shards/index.ts';
import { readJsonLines } from './jsonl.ts';
import { readMetrics } from './metrics.ts';
import type { EvalRecord, Run, RunEvent } from './types.ts';

/**
 * Reads plan, job, metrics, events, evaluations and the list of checkpoints.
 * @throws ConfigError when `folder` is not a run folder; DataError when its plan, job or an evaluation is broken
 */
export function readRun(folder: string): Run {
  const root = path.resolve(folder);
  const names = listFolder(root);
  const planFile = path.join(root, 'plan.json');
  const jobFile = path.join(root, 'job', 'job.json');
  const plan = fs.existsSync(planFile) ? readJson<Plan>(planFile) : undefined;
  const job = fs.existsSync(jobFile) ? readJson<Job>(jobFile) : undefined;
  if (plan === undefined && job === undefined) {
    const found =
      names.length === 0 ? 'an empty folder' : names.slice(0, 6).join(', ') + (names.length > 6 ? ', ...' : '');
    throw new ConfigError(
      `${folder}: not a run folder: expected plan.json or job/job.json in it, found ${found}. Give the folder that \`continuo run\` made, such as runs/NAME.`,
    );
  }
  return {
    folder: root,
    name: plan?.name ?? job?.name ?? path.basename(root),
    plan,
    job,
    schedule: job && readSchedule(path.join(root, 'job', job.schedule)),
    metrics: readMetrics(path.join(root, 'metrics.jsonl')),
    events: readEvents(path.join(root, 'events.jsonl')),
    evals: readEvals(path.join(root, 'evals')),
    taskEvals: numbered(path.join(root, 'evals'), /^tasks-step-(\d+)\.json$/),
    checkpoints: listCheckpoints(root).map(({ step, folder }) => ({ step, path: folder })),
  };
}

function listFolder(folder: string): string[] {
  try {
    return fs.readdirSync(folder).sort();
  } catch (error) {
    throw explainSystemError(error, folder, 'reading the run');
  }
}

/** Little-endian f32; undefined where the file is gone. */
function readSchedule(file: string): Float32Array | undefined {
  if (!fs.existsSync(file)) return undefined;
  const bytes = fs.readFileSync(file);
  return Float32Array.from({ length: bytes.length >> 2 }, (_, i) => bytes.readFloatLE(4 * i));
}

function readEvents(file: string): RunEvent[] {
  const events: RunEvent[] = [];
  readJsonLines(file, (line) => {
    if (typeof line.type === 'string' && typeof line.time === 'string') events.push(line as unknown as RunEvent);
  });
  return events;
}

function readEvals(folder: string): EvalRecord[] {
  return numbered(folder, /^step-(\d+)\.json$/).map(({ step, file }) => {
    const record = readJson<Partial<EvalRecord>>(file);
    if (record?.sets === null || typeof record?.sets !== 'object')
      throw new DataError(
        file,
        'expected an object with "sets", the scores by held-out set. Delete the file and run the same command again.',
      );
    return { ...record, sets: record.sets, step: record.step ?? step };
  });
}

function numbered(folder: string, pattern: RegExp): { step: number; file: string }[] {
  if (!fs.existsSync(folder)) return [];
  return fs
    .readdirSync(folder)
    .map((name) => ({ step: Number(pattern.exec(name)?.[1] ?? Number.NaN), file: path.join(folder, name) }))
    .filter(({ step }) => Number.isFinite(step))
    .sort((a, b) => a.step - b.step);
}
