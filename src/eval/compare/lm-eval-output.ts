// Output of lm-evaluation-harness, read as a report of ours: results_DATE.json and, of --log_samples, samples_TASK_DATE.jsonl, as
// lm_eval/loggers/evaluation_tracker.py (0.4.13) writes them, in the folder of the model or above it.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { DataError } from '../../base/errors.ts';
import { readJson } from '../../base/files.ts';
import { fingerprint } from '../../base/hash.ts';
import type { EvalReport, MetricResult, Sample, TaskResult } from '../types.ts';
import { readLines } from './lines.ts';

interface LmEvalResults {
  results: Record<string, Record<string, unknown>>;
  group_subtasks?: Record<string, string[]>;
  configs?: Record<string, { output_type?: string; metric_list?: { metric?: unknown }[] }>;
  versions?: Record<string, unknown>;
  'n-shot'?: Record<string, number>;
  'n-samples'?: Record<string, { original?: number; effective?: number }>;
  higher_is_better?: Record<string, Record<string, boolean | null>>;
  model_name?: string;
  date?: number;
  total_evaluation_time_seconds?: string;
}

/** A line of samples_TASK_DATE.jsonl: one document after one filter. */
interface LmEvalSample {
  doc_id: number;
  doc: Record<string, unknown>;
  target: string;
  arguments: Record<string, Record<string, unknown>> | unknown[][];
  resps: unknown[];
  filtered_resps: unknown;
  filter?: string;
  metrics?: string[];
  [metric: string]: unknown;
}

/** The newest results file in a folder or one folder below it, or the file itself; undefined where there is none. */
export function findLmEvalResults(place: string): string | undefined {
  if (!fs.statSync(place).isDirectory()) return RESULTS.test(path.basename(place)) ? place : undefined;
  const folders = [
    place,
    ...fs
      .readdirSync(place, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => path.join(place, name)),
  ];
  const files = folders.flatMap((folder) =>
    fs
      .readdirSync(folder)
      .filter((name) => RESULTS.test(name))
      .map((name) => path.join(folder, name)),
  );
  // The date in the name is ISO 8601, so names sort as dates do.
  return files.toSorted((a, b) => (path.basename(a) < path.basename(b) ? -1 : 1)).at(-1);
}

const RESULTS = /^results_.*\.json$/;

/** @throws DataError where the file is not what lm-evaluation-harness writes */
export function readLmEvalOutput(file: string): { report: EvalReport; samples: Map<string, Sample[]> } {
  const results = readJson<LmEvalResults>(file, 'reading results of an evaluation');
  if (results?.results === null || typeof results?.results !== 'object')
    throw new DataError(file, 'expected "results", the scores by task, as lm-evaluation-harness writes them.');
  const date = path.basename(file).slice('results_'.length, -'.json'.length);
  const samples = new Map<string, Sample[]>();
  const groups = results.group_subtasks ?? {};
  const isGroup = (name: string): boolean => (groups[name]?.length ?? 0) > 0;
  const tasks = Object.keys(results.results)
    .filter((name) => !isGroup(name))
    .map((name) => {
      const lines = path.join(path.dirname(file), `samples_${name}_${date}.jsonl`);
      if (fs.existsSync(lines)) samples.set(name, joinFilters(readLines<LmEvalSample>(lines)));
      return taskResult(name, results, samples.get(name));
    });
  const report: EvalReport = {
    version: 1,
    model: results.model_name ?? path.basename(path.dirname(file)),
    modelFingerprint: '',
    createdAt: results.date === undefined ? date : new Date(1000 * results.date).toISOString(),
    seconds: Number(results.total_evaluation_time_seconds ?? 0),
    tasks,
    groups: Object.keys(results.results)
      .filter(isGroup)
      .map((group) => ({ group, tasks: groups[group]!, metrics: metricsOf(group, results) })),
  };
  return { report, samples };
}

function taskResult(task: string, results: LmEvalResults, samples: readonly Sample[] | undefined): TaskResult {
  const config = results.configs?.[task];
  const known = ['loglikelihood', 'loglikelihood_rolling', 'multiple_choice', 'generate_until'] as const;
  return {
    task,
    alias: String(results.results[task]!.alias ?? task).replace(/^[\s-]+/, ''),
    groups: Object.entries(results.group_subtasks ?? {}).flatMap(([group, members]) =>
      members.includes(task) ? [group] : [],
    ),
    version: String(results.versions?.[task] ?? ''),
    outputType: known.find((type) => type === config?.output_type) ?? 'generate_until',
    numFewShot: results['n-shot']?.[task] ?? 0,
    numDocs: results['n-samples']?.[task]?.effective ?? samples?.length ?? 0,
    // The harness names what it asked by the hash of each document, prompt and target; which documents both have shows when they are paired.
    fingerprint: '',
    metrics: metricsOf(task, results),
  };
}

/** "acc,none" and "acc_stderr,none" of a task or group, in the order of the file. */
function metricsOf(name: string, { results, higher_is_better }: LmEvalResults): MetricResult[] {
  const row = results[name]!;
  return Object.entries(row).flatMap(([key, value]) => {
    const [metric = '', filter] = key.split(',');
    if (filter === undefined || metric.endsWith('_stderr') || typeof value !== 'number') return [];
    const stderr = row[`${metric}_stderr,${filter}`];
    const higherIsBetter = higher_is_better?.[name]?.[metric] ?? !/perplexity|bits_per_byte|loss/.test(metric);
    return [{ metric, filter, value, ...(typeof stderr === 'number' && { stderr }), higherIsBetter }];
  });
}

/** The harness writes a document once for each filter; here it is one sample. */
function joinFilters(lines: readonly LmEvalSample[]): Sample[] {
  const samples = new Map<number, Sample>();
  for (const line of lines) {
    const filter = line.filter ?? 'none';
    const before = samples.get(line.doc_id);
    const named = line.metrics ?? Object.keys(line).filter((key) => !OWN_FIELDS.has(key));
    const scores = Object.fromEntries(named.map((metric) => [`${metric},${filter}`, line[metric]]));
    samples.set(line.doc_id, {
      docId: line.doc_id,
      doc: line.doc,
      docHash: fingerprint(line.doc),
      target: line.target,
      requests: requestsOf(line.arguments),
      responses: line.resps.map(unwrap),
      filtered: { ...before?.filtered, [filter]: line.filtered_resps },
      scores: { ...before?.scores, ...scores },
    });
  }
  return [...samples.values()];
}

const OWN_FIELDS = new Set([
  ...['doc_id', 'doc', 'target', 'arguments', 'resps', 'filtered_resps', 'filter', 'metrics'],
  ...['doc_hash', 'prompt_hash', 'target_hash'],
]);

/** {"gen_args_0": {"arg_0": ..., "arg_1": ...}} in order. */
function requestsOf(args: LmEvalSample['arguments']): unknown[][] {
  return Array.isArray(args) ? args : Object.values(args).map((request) => Object.values(request));
}

/** Answers stand in lists of repeats; likelihoods are written as texts: ["-1.5", "False"]. */
function unwrap(repeats: unknown): unknown {
  const first = Array.isArray(repeats) && repeats.length > 0 && Array.isArray(repeats[0]) ? repeats[0] : repeats;
  if (!Array.isArray(first)) return first;
  if (first.length === 2 && /^(True|False)$/i.test(String(first[1])))
    return [Number(first[0]), /^true$/i.test(String(first[1]))];
  return first[0];
}
