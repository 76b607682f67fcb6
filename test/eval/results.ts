// Results of made-up evaluations, for tests of what is done with them.
import * as fs from 'node:fs';
import * as path from 'node:path';
import type { EvalResults } from '../../src/eval/index.ts';
import type { Sample, TaskResult } from '../../src/eval/types.ts';

export interface MadeTask {
  task: string;
  /** A document's score each: of 0 and 1, graded, or [log-likelihood, bytes]. */
  scores: readonly (number | readonly [number, number])[];
  metric?: string;
  higherIsBetter?: boolean;
  docs?: readonly Record<string, unknown>[];
  change?: Partial<TaskResult>;
}

export function madeResults(model: string, tasks: readonly MadeTask[]): EvalResults {
  const samples = new Map(tasks.map((task) => [task.task, madeSamples(task)]));
  return {
    report: {
      version: 1,
      model,
      modelFingerprint: model,
      createdAt: '2026-11-21T00:00:00.000Z',
      seconds: 1,
      tasks: tasks.map(({ task, scores, metric = 'acc', higherIsBetter = true, change }) => ({
        task,
        alias: task,
        groups: [],
        version: '1',
        outputType: 'multiple_choice',
        numFewShot: 0,
        numDocs: scores.length,
        fingerprint: `fingerprint of ${task}`,
        metrics: [{ metric, filter: 'none', value: 0, higherIsBetter }],
        ...change,
      })),
      groups: [],
    },
    samples,
  };
}

function madeSamples({ task, scores, metric = 'acc', docs }: MadeTask): Sample[] {
  return scores.map((score, i) => ({
    docId: i,
    doc: docs?.[i] ?? { question: `${task}, question ${i}` },
    docHash: `${task} ${i}`,
    target: 1,
    requests: [' no', ' yes', ' maybe', ' never'].map((choice) => [
      `An example\n\nQuestion: number ${i} of ${task}?\nAnswer:`,
      choice,
    ]),
    responses: (score === 1 ? [-3, -1, -4, -5] : [-1, -3, -4, -5]).map((logLikelihood) => [logLikelihood, false]),
    filtered: {},
    scores: { [`${metric},none`]: score },
  }));
}

/** `n` answers of which the first `numRight` are right. */
export function answers(n: number, numRight: number): number[] {
  return Array.from({ length: n }, (_, i) => (i < numRight ? 1 : 0));
}

/** Writes results as a run keeps them: evals/tasks-step-NUMBER.json and samples-step-NUMBER/TASK.jsonl. @returns the report's file */
export function writeResults(folder: string, step: number, { report, samples }: EvalResults): string {
  const name = `step-${String(step).padStart(8, '0')}`;
  const file = path.join(folder, `tasks-${name}.json`);
  fs.mkdirSync(path.join(folder, `samples-${name}`), { recursive: true });
  fs.writeFileSync(file, JSON.stringify(report));
  for (const [task, list] of samples)
    fs.writeFileSync(
      path.join(folder, `samples-${name}`, `${task}.jsonl`),
      list.map((sample) => `${JSON.stringify(sample)}\n`).join(''),
    );
  return file;
}
