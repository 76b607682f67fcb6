// The demo: the embedded base model continued on documents it has not seen, naively (domain text only, constant LR, no replay) and by the
// recipe, with the same tokens, and both compared. Offline; its inputs come with the package.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { makeFolder, writeFileAtomic, writeJsonAtomic } from '../base/files.ts';
import { packageRoot } from '../base/package.ts';
import { tasksFile } from '../engine/index.ts';
import { readEvalResults } from '../eval/index.ts';
import { modelTable, writeComparisonReport } from '../report/index.ts';
import { compareRuns, judge, readRun } from '../runs/index.ts';
import { run, stoppedHint } from './run.ts';
import type { PipelineOptions, RunResult } from './types.ts';

export interface DemoOptions extends PipelineOptions {
  /** Where the runs and the report go. */
  folder?: string;
  /** A twentieth of the steps: shows that everything works, its figures mean little. */
  short?: boolean;
}

export interface DemoSummary {
  base: Scores;
  naive: Scores & RunFigures;
  recipe: Scores & RunFigures;
  /** Scores on the small suites, as they are shown: models by tasks. */
  tasks: ReturnType<typeof modelTable>;
  /** The recipe's domain gain over the naive run's. */
  gainShare: number | null;
  /** The recipe's general loss over the naive run's. */
  lossShare: number | null;
  holds: boolean;
  verdict: string;
  seconds: number;
  short: boolean;
}

interface Scores {
  /** Bits per byte on held-out documents. */
  domain: number;
  general: number;
}

interface RunFigures {
  tokens: number;
  tokensPerSecond: number;
  trainSeconds: number;
  checkpoint: string;
}

export type DemoResult =
  | { finished: true; summary: DemoSummary; report: string }
  /** Interrupted; `hint` says how to go on. */
  | { finished: false; hint: string };

const SHORT_STEPS = 12;

export async function demo(options: DemoOptions = {}): Promise<DemoResult> {
  const start = performance.now();
  const folder = path.resolve(options.folder ?? 'runs/demo');
  makeFolder(folder, 'making the folder of the demo');
  const runOne = (name: string) => run(writeDemoConfig(folder, name, options.short === true), options);
  const stopped: DemoResult = { finished: false, hint: stoppedHint(options.fresh) };
  options.log?.('First naively: domain text only, constant LR, no replay.');
  const naive = await runOne('naive');
  if (naive.summary.status === 'stopped') return stopped;
  options.log?.('Then by the recipe: the same number of tokens, two blends, replay, annealed LR.');
  const recipe = await runOne('recipe');
  if (recipe.summary.status === 'stopped') return stopped;
  return conclude(folder, naive, recipe, (performance.now() - start) / 1000, options.short === true);
}

/** Copies a demo configuration beside the runs with the package's paths in it, so that it can be read, edited and run again. */
function writeDemoConfig(folder: string, name: string, short: boolean): string {
  const template = fs.readFileSync(path.join(packageRoot(), 'recipes', 'demo', `${name}.yaml`), 'utf8');
  const text = template
    .replaceAll('../..', packageRoot())
    .replace(/^budget: .*$/m, (line) => (short ? `budget: { steps: ${SHORT_STEPS} }` : line));
  const file = path.join(folder, `${name}.yaml`);
  if (!fs.existsSync(file) || fs.readFileSync(file, 'utf8') !== text) writeFileAtomic(file, text);
  return file;
}

function conclude(folder: string, naive: RunResult, recipe: RunResult, seconds: number, short: boolean): DemoResult {
  const runs = [
    { label: 'naive', summary: naive.summary, run: readRun(naive.folder) },
    { label: 'recipe', summary: recipe.summary, run: readRun(recipe.folder) },
  ];
  const verdict = judge(runs[0]!, runs[1]!);
  const table = compareRuns('base', runs);
  const report = writeComparisonReport(folder, {
    title: 'Continued pretraining, naively and by the recipe',
    base: 'base',
    runs,
    table,
    notes: short ? ['Shortened: these figures only show that everything runs.'] : [],
  });
  const figures = (i: number, result: RunResult) => ({
    domain: table[i]!.domain ?? Number.NaN,
    general: table[i]!.general ?? Number.NaN,
    tokens: result.summary.tokens,
    tokensPerSecond: Math.round(result.summary.tokensPerSecond ?? 0),
    trainSeconds: Math.round(result.summary.trainSeconds),
    checkpoint: result.checkpoint,
  });
  const summary: DemoSummary = {
    base: { domain: table[0]!.domain ?? Number.NaN, general: table[0]!.general ?? Number.NaN },
    naive: figures(1, naive),
    recipe: figures(2, recipe),
    gainShare: verdict.gainShare ?? null,
    lossShare: verdict.lossShare ?? null,
    holds: verdict.holds,
    tasks: tasksOf(naive, recipe),
    verdict: verdict.sentence,
    seconds: Math.round(seconds),
    short,
  };
  writeJsonAtomic(path.join(folder, 'summary.json'), summary);
  return { finished: true, summary, report: report.html };
}

function tasksOf(naive: RunResult, recipe: RunResult): DemoSummary['tasks'] {
  const row = (label: string, { folder }: RunResult, step: number) => ({
    label,
    results: readEvalResults(tasksFile(folder, step)),
  });
  return modelTable([
    row('base', recipe, 0),
    row('naive', naive, naive.plan.numSteps),
    row('recipe', recipe, recipe.plan.numSteps),
  ]);
}
