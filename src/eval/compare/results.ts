// Results of an evaluation as they lie on disk: our own report files with their samples, and output folders of lm-evaluation-harness.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { ConfigError, DataError } from '../../base/errors.ts';
import { explainSystemError, readJson } from '../../base/files.ts';
import type { EvalReport, Sample } from '../types.ts';
import { readLines } from './lines.ts';
import { findLmEvalResults, readLmEvalOutput } from './lm-eval-output.ts';

/** A report and the samples that it was computed from. */
export interface EvalResults {
  report: EvalReport;
  /** By task; a task without samples can be shown but not compared. */
  samples: ReadonlyMap<string, readonly Sample[]>;
  /** Where it was read from; undefined for results that were just computed. */
  source?: string;
}

/**
 * Reads a report file of ours (evals/NAME.json, its samples in a folder beside it), a folder that holds one, or an output folder of
 * lm-evaluation-harness (results_*.json and samples_*.jsonl, written with --log_samples; the newest of several results).
 * @throws ConfigError where nothing of the kind is there; DataError where a file is broken
 */
export function readEvalResults(source: string): EvalResults {
  const place = path.resolve(source);
  let isFolder: boolean;
  try {
    isFolder = fs.statSync(place).isDirectory();
  } catch (error) {
    throw explainSystemError(error, source, 'reading results of an evaluation');
  }
  // A folder of ours may hold the harness' form of the same results beside it.
  const ours = isFolder ? reportsIn(place) : [];
  const lmEval = ours.length === 0 ? findLmEvalResults(place) : undefined;
  if (lmEval) return { ...readLmEvalOutput(lmEval), source };
  const file = isFolder ? onlyReport(ours, source) : place;
  const report = readReport(file);
  return { report, samples: readSamples(file, report), source };
}

/** @throws DataError */
export function readReport(file: string): EvalReport {
  const report = readJson<Partial<EvalReport>>(file, 'reading results of an evaluation');
  if (report?.version !== 1 || !Array.isArray(report.tasks))
    throw new DataError(
      file,
      'expected a report of `continuo eval --tasks` (version 1, with "tasks"), or results_*.json of lm-evaluation-harness.',
    );
  return report as EvalReport;
}

/** Samples by task, from the folder beside a report. */
export function readSamples(reportFile: string, report: EvalReport): Map<string, Sample[]> {
  const folder = samplesFolderOf(reportFile);
  const samples = new Map<string, Sample[]>();
  if (!folder) return samples;
  for (const { task } of report.tasks) {
    const file = path.join(folder, `${task}.jsonl`);
    if (fs.existsSync(file)) samples.set(task, readLines<Sample>(file));
  }
  return samples;
}

/** tasks-NAME.json has its samples in samples-NAME/, any other NAME.json in NAME/, NAME-samples/ or samples/. */
function samplesFolderOf(reportFile: string): string | undefined {
  const folder = path.dirname(reportFile);
  const stem = path.basename(reportFile, '.json');
  const names = [stem.replace(/^tasks-/, 'samples-'), `${stem}-samples`, `samples-${stem}`, 'samples'];
  return names
    .map((name) => path.join(folder, name))
    .find((place) => fs.existsSync(place) && fs.statSync(place).isDirectory());
}

function reportsIn(folder: string): string[] {
  return fs
    .readdirSync(folder)
    .filter((name) => name.endsWith('.json') && !name.startsWith('results_'))
    .sort()
    .map((name) => path.join(folder, name))
    .filter((file) => Array.isArray(readJson<Partial<EvalReport>>(file)?.tasks));
}

function onlyReport(reports: readonly string[], source: string): string {
  if (reports.length === 1) return reports[0]!;
  const found = reports.length === 0 ? 'none' : reports.map((file) => path.basename(file)).join(', ');
  throw new ConfigError(
    `${source}: expected one report of \`continuo eval --tasks\`, or results_*.json of lm-evaluation-harness; found ${found}.${reports.length > 1 ? ' Name the file.' : ''}`,
  );
}
