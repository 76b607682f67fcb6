// Runs laid side by side: scores, which differences are more than chance, how their plans differ, and a page with their curves.
import * as path from 'node:path';
import { ConfigError } from '../base/errors.ts';
import { type ComparedRun, writeComparisonReport } from '../report/index.ts';
import {
  type ComparisonRow,
  compareRuns,
  paretoFront,
  readRun,
  type SetDifference,
  setDifferences,
  summarise,
} from '../runs/index.ts';

export interface CompareResult {
  /** One sentence: what no other run beats. */
  headline: string;
  /** The base first. */
  rows: (ComparisonRow & { onFront: boolean })[];
  /** Against the first run. */
  differences: SetDifference[];
  notes: string[];
  /** Pages, where a folder was given. */
  files?: { html: string; md: string };
}

/**
 * @param folders run folders; the first is what the others are compared with
 * @param out folder for report.html and report.md
 * @throws ConfigError for fewer than two runs, or a folder that is none
 */
export function compare(folders: readonly string[], out?: string): CompareResult & { runs: ComparedRun[] } {
  if (folders.length < 2) throw new ConfigError('compare: expected at least two run folders.');
  const labels = labelsOf(folders);
  const runs = folders.map((folder, i): ComparedRun => {
    const run = readRun(folder);
    return { label: labels[i]!, run, summary: summarise(run) };
  });
  const table = compareRuns('base', runs);
  const front = paretoFront(table);
  const { differences, notes } = setDifferences(runs);
  const [first, ...others] = runs;
  const startOf = ({ summary: { domain, general } }: ComparedRun) => `${domain?.first} ${general?.first}`;
  const otherStarts = others.flatMap((other) =>
    startOf(other) === startOf(first!)
      ? []
      : [
          `${other.label} began with other scores than ${first!.label}: another base, or other held-out text. The base's row is that of ${first!.label}.`,
        ],
  );
  const headline = headlineOf(table, front);
  const title = labels.join(', ');
  const files =
    out === undefined
      ? undefined
      : writeComparisonReport(out, { title, base: 'base', runs, headline, table, notes: otherStarts });
  return {
    runs,
    headline,
    rows: table.map((row) => ({ ...row, onFront: front.has(row.label) })),
    differences,
    notes: [...otherStarts, ...notes],
    ...(files && { files: { html: files.html, md: files.md } }),
  };
}

/** The folders' last parts; of equal ones the whole path. */
function labelsOf(folders: readonly string[]): string[] {
  const names = folders.map((folder) => path.basename(path.resolve(folder)));
  return names.map((name, i) => (names.filter((other) => other === name).length > 1 ? folders[i]! : name));
}

function headlineOf(rows: readonly ComparisonRow[], front: Set<string>): string {
  const runs = rows.slice(1).filter(({ domain, general }) => domain !== undefined && general !== undefined);
  if (runs.length < 2) return 'Fewer than two runs have scores of domain and general text.';
  const least = (of: 'domain' | 'general') => runs.reduce((best, row) => (row[of]! < best[of]! ? row : best)).label;
  const beaten = runs.filter(({ label }) => !front.has(label)).map(({ label }) => label);
  const both = least('domain') === least('general');
  const sentence = both
    ? `${least('domain')} ended lowest on both domain and general text.`
    : `${least('domain')} ended lowest on the domain, ${least('general')} on general text.`;
  return beaten.length > 0 && !both
    ? `${sentence} Worse than another model on one of the two and no better on the other: ${beaten.join(', ')}.`
    : sentence;
}
