// Results as files: our report with its samples, and the results_DATE.json and samples_TASK_DATE.jsonl that lm-evaluation-harness writes
// (lm_eval/loggers/evaluation_tracker.py, 0.4.13), so that what reads those goes on working.
import * as path from 'node:path';
import { makeFolder, writeFileAtomic, writeJsonAtomic } from '../../base/files.ts';
import { sha256 } from '../../base/hash.ts';
import { packageVersion } from '../../base/package.ts';
import { str } from '../python/text.ts';
import type { LanguageModel, MetricResult, Sample } from '../types.ts';
import type { ChosenGroup } from './registry.ts';
import type { RunTasksOptions, TaskOutcome, TasksResult } from './run.ts';

export interface WrittenResults {
  /** Our report. */
  report: string;
  /** lm-evaluation-harness's results file. */
  results: string;
}

/** Writes both forms into a folder: tasks-MODEL.json and samples-MODEL/, and lm-evaluation-harness's in MODEL/. */
export function writeResults(
  folder: string,
  { report, outcomes }: TasksResult,
  groups: readonly ChosenGroup[],
  options: RunTasksOptions,
): WrittenResults {
  const model = sanitized(report.model);
  const samplesFolder = path.join(folder, `samples-${model}`);
  makeFolder(samplesFolder);
  for (const { result, samples } of outcomes) writeLines(path.join(samplesFolder, `${result.task}.jsonl`), samples);
  const reportFile = path.join(folder, `tasks-${model}.json`);
  writeJsonAtomic(reportFile, report);
  const date = report.createdAt.replace('Z', '').replaceAll(':', '-');
  const theirs = path.join(folder, model);
  makeFolder(theirs);
  for (const outcome of outcomes)
    writeLines(path.join(theirs, `samples_${outcome.result.task}_${date}.jsonl`), samplesOf(outcome));
  const results = path.join(theirs, `results_${date}.json`);
  writeJsonAtomic(results, resultsOf(report, outcomes, groups, options));
  return { report: reportFile, results };
}

/** As lm-evaluation-harness names the model's folder. */
function sanitized(model: LanguageModel['name']): string {
  return model.replace(/["<>:/|\\?*[\]]+/g, '__');
}

function writeLines(file: string, items: readonly unknown[]): void {
  makeFolder(path.dirname(file));
  writeFileAtomic(file, items.map((item) => `${JSON.stringify(item)}\n`).join(''));
}

function resultsOf(
  report: TasksResult['report'],
  outcomes: readonly TaskOutcome[],
  groups: readonly ChosenGroup[],
  options: RunTasksOptions,
): Record<string, unknown> {
  const rows: Record<string, unknown> = {};
  const higherIsBetter: Record<string, Record<string, boolean>> = {};
  const noteOf = (name: string, metrics: readonly MetricResult[]) => {
    higherIsBetter[name] = Object.fromEntries(metrics.map((one) => [one.metric, one.higherIsBetter]));
  };
  for (const { result } of outcomes) {
    rows[result.task] = {
      name: result.task,
      alias: result.alias,
      sample_len: result.numDocs,
      ...valuesOf(result.metrics),
    };
    noteOf(result.task, result.metrics);
  }
  const groupRows: Record<string, unknown> = {};
  for (const { group, metrics, tasks } of report.groups) {
    const known = groups.find(({ name }) => name === group)!;
    const size = outcomes.reduce((sum, { result }) => sum + (tasks.includes(result.task) ? result.numDocs : 0), 0);
    const row = {
      name: group,
      alias: known.alias,
      ...(metrics.length > 0 && { sample_len: size, ...valuesOf(metrics) }),
    };
    rows[group] = row;
    if (metrics.length > 0) groupRows[group] = row;
    noteOf(group, metrics);
  }
  const byTask = <T>(of: (outcome: TaskOutcome) => T) =>
    Object.fromEntries(outcomes.map((outcome) => [outcome.result.task, of(outcome)]));
  return {
    results: rows,
    ...(Object.keys(groupRows).length > 0 && { groups: groupRows }),
    group_subtasks: Object.fromEntries(groups.map(({ name, children }) => [name, children])),
    configs: byTask(({ config, result }) => ({ ...config, num_fewshot: result.numFewShot })),
    versions: {
      ...byTask(({ result }) => result.version),
      ...Object.fromEntries(groups.map(({ name, version }) => [name, version])),
    },
    'n-shot': byTask(({ result }) => result.numFewShot),
    higher_is_better: higherIsBetter,
    'n-samples': byTask(({ result, numAllDocs }) => ({ original: numAllDocs, effective: result.numDocs })),
    config: {
      model: 'continuo',
      model_args: { pretrained: report.model },
      limit: options.limit ?? null,
      fewshot_seed: options.seed ?? 1234,
    },
    date: Date.parse(report.createdAt) / 1000,
    continuo_version: packageVersion(),
    model_source: 'continuo',
    model_name: report.model,
    model_name_sanitized: sanitized(report.model),
    system_instruction: options.systemInstruction ?? null,
    fewshot_as_multiturn: options.fewshotAsMultiturn ?? true,
    task_hashes: byTask((outcome) =>
      sha256(
        samplesOf(outcome)
          .map((line) => `${line.doc_hash}${line.prompt_hash}${line.target_hash}`)
          .join(''),
      ),
    ),
    total_evaluation_time_seconds: String(report.seconds),
  };
}

function valuesOf(metrics: readonly MetricResult[]): Record<string, number | string> {
  return Object.fromEntries(
    metrics.flatMap(({ metric, filter, value, stderr }): [string, number | string][] => [
      [`${metric},${filter}`, value],
      [`${metric}_stderr,${filter}`, stderr ?? 'N/A'],
    ]),
  );
}

/** Their lines: a document once for each filter, answers as texts in lists of repeats. */
function samplesOf({ result, samples, config }: TaskOutcome): Record<string, unknown>[] {
  const filters = [...new Set(result.metrics.map(({ filter }) => filter))];
  const repeats = Number(config.repeats ?? 1);
  return filters.flatMap((filter) => samples.map((sample) => sampleLine(sample, filter, repeats)));
}

function sampleLine(sample: Sample, filter: string, repeats: number): Record<string, unknown> {
  const scores = Object.entries(sample.scores).flatMap(([key, value]): [string, unknown][] => {
    const comma = key.lastIndexOf(',');
    return key.slice(comma + 1) === filter ? [[key.slice(0, comma), value]] : [];
  });
  const filtered = sample.filtered[filter];
  const answers = sample.requests.length === 1 ? [filtered] : (filtered as unknown[]);
  return {
    doc_id: sample.docId,
    doc: sample.doc,
    target: str(sample.target),
    arguments: Object.fromEntries(
      sample.requests.map((request, i) => [
        `gen_args_${i}`,
        Object.fromEntries(request.map((argument, j) => [`arg_${j}`, argument])),
      ]),
    ),
    resps: sample.responses.map((response) => asTexts(repeats === 1 ? [response] : response)),
    filtered_resps: answers.map(asTexts),
    filter,
    metrics: scores.map(([metric]) => metric),
    doc_hash: sha256(JSON.stringify(sample.doc, null, 2)),
    prompt_hash: sha256(String(sample.requests[0][0])),
    target_hash: sha256(str(sample.target)),
    ...Object.fromEntries(scores),
  };
}

function asTexts(value: unknown): unknown {
  return Array.isArray(value) ? value.map(asTexts) : str(value);
}
