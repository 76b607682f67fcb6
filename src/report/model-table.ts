// Models by tasks: scores with their standard errors, and marks where a model differs from its base beyond chance, all comparisons of the
// table considered.
import { adjustTogether, compareReports, type EvalResults, type MetricResult, shortName } from '../eval/index.ts';
import type { Table } from './content.ts';
import { NONE } from './format.ts';

export interface ModelRow {
  results: EvalResults;
  /** The model's name by default. */
  label?: string;
  /** Label of the row that it is compared with; the first row by default. */
  base?: string;
}

/**
 * @returns the table, and how to read it
 * @throws ConfigError where a model's tasks were put differently from its base's
 */
export function modelTable(rows: readonly ModelRow[]): { table: Table; note: string } {
  const named = rows.map((row) => ({ ...row, label: row.label ?? shortName(row.results.report.model) }));
  const tasks = [
    ...new Map(named.flatMap(({ results }) => results.report.tasks).map((task) => [task.task, task])).values(),
  ];
  const compared = named.map((row, i) => {
    const base = row.base === undefined ? named[0]! : named.find(({ label }) => label === row.base);
    return i === 0 || !base || base === row ? undefined : compareReports(base.results, row.results);
  });
  // One family of tests: the whole table.
  const verdicts = adjustTogether(compared.filter((one) => one !== undefined));
  const marks = named.map((_, i) => {
    const comparison = compared[i];
    return new Map(comparison ? verdicts.get(comparison)!.map(({ task, verdict }) => [task, MARKS[verdict]]) : []);
  });
  const numTests = compared.reduce((sum, one) => sum + (one?.tasks.length ?? 0), 0);
  return {
    table: {
      columns: [{ title: 'model' }, ...tasks.map(({ alias }) => ({ title: alias, align: 'right' as const }))],
      rows: named.map(({ label, results }, i) => [
        label,
        ...tasks.map(({ task }) => {
          const metric = results.report.tasks.find((one) => one.task === task)?.metrics[0];
          return metric ? `${scoreText(metric)}${marks[i]!.get(task) ?? ''}` : NONE;
        }),
      ]),
    },
    note: `Each score with its standard error. ▲ better, ▼ worse than ${named.some(({ base }) => base !== undefined) ? 'its base' : named[0]!.label} beyond chance: paired by question, ${numTests} ${numTests === 1 ? 'test' : 'tests together'} (Holm, 0.05). No mark: this set cannot tell.`,
  };
}

const MARKS = { better: ' ▲', worse: ' ▼', unclear: '', same: '' } as const;

/** Shares as percent. */
function scoreText({ value, stderr, higherIsBetter }: MetricResult): string {
  const isShare = higherIsBetter && value >= 0 && value <= 1;
  const digits = (x: number): string => (isShare ? (100 * x).toFixed(1) : x.toFixed(3));
  return stderr === undefined ? digits(value) : `${digits(value)} ± ${digits(stderr)}`;
}
