// The page that answers: what did it learn, what did it forget, can I believe it? Text and tables from comparisons of task results, and a
// figure; html.ts, markdown.ts and commands render it.
import { ConfigError } from '../base/errors.ts';
import { writeFileAtomic } from '../base/files.ts';
import {
  type Comparison,
  describeComparison,
  type Example,
  formatLevel,
  formatP,
  formatSize,
  signed,
  type TaskComparison,
} from '../eval/index.ts';
import { escapeXml } from './chart.ts';
import type { Table } from './content.ts';
import { forestPlot } from './forest.ts';
import { plural } from './format.ts';
import { figuresHtml, heading, page, section, tableHtml } from './html.ts';
import { bullets, joinBlocks, tableMarkdown } from './markdown.ts';
import type { Figure } from './run-charts.ts';

export interface Learned {
  /** One honest paragraph. */
  answer: string;
  table: Table;
  /** How to read the table. */
  note: string;
  figures: Figure[];
  /** What a reader should know before believing it. */
  warnings: string[];
  examples: { title: string; table: Table }[];
}

const HOW_TO_READ =
  'A difference is the tuned model minus its base on the same questions, with a 95 % interval of the pairs. p is of no difference, corrected for the number of tasks (Holm). ' +
  '"Cannot see" is the smallest difference that would have been called real here: absence of a verdict below it is no evidence of absence.';

/** Everything that the page says of a comparison. */
export function learnedOf(comparison: Comparison): Learned {
  return {
    answer: describeComparison(comparison),
    table: comparisonTable(comparison),
    note: HOW_TO_READ,
    figures: forestFigures(comparison),
    warnings: warningsOf(comparison),
    examples: examplesOf(comparison),
  };
}

/** A line a task. */
export function comparisonTable({ base, tuned, tasks }: Comparison): Table {
  const right = { align: 'right' as const };
  return {
    columns: [
      { title: 'task' },
      { title: 'metric' },
      { title: 'questions', ...right },
      { title: base, ...right },
      { title: tuned, ...right },
      { title: 'difference', ...right },
      { title: 'p', ...right },
      { title: 'verdict' },
      { title: 'cannot see', ...right },
      { title: 'learned', ...right },
      { title: 'forgotten', ...right },
    ],
    rows: tasks.map((task) => [
      task.alias,
      task.unit === 'points' || task.unit === 'score' ? task.metric : task.unit,
      String(task.numPairs),
      formatLevel(task.base, task.unit),
      formatLevel(task.tuned, task.unit),
      `${signed(task.difference, task.unit)} (${signed(task.low, task.unit)} to ${signed(task.high, task.unit)})`,
      formatP(task.adjustedP),
      VERDICTS[task.verdict],
      `< ${formatSize(task.smallestVisible, task.unit).replace(/ .*/, '')}`,
      String(task.counts.learned),
      String(task.counts.forgotten),
    ]),
  };
}

const VERDICTS: Record<TaskComparison['verdict'], string> = {
  better: 'better',
  worse: 'worse',
  unclear: 'unclear',
  same: 'the same',
};

function forestFigures({ tasks, mean }: Comparison): Figure[] {
  const units = [...new Set(tasks.map(({ unit }) => unit))];
  return units.map((unit) => ({
    title: unit === 'points' ? 'Tasks: difference to the base' : `Tasks in ${unit}: difference to the base`,
    note: `Squares: told from chance, all tasks considered; rings: not. Grey bands: what this set cannot show. At the right: ${unit === 'points' ? 'questions that changed sides' : 'documents that moved either way'}.`,
    drawing: forestPlot(
      `forest-${unit.replaceAll(' ', '-')}`,
      unit,
      tasks.filter((task) => task.unit === unit),
      unit === 'points' ? mean : undefined,
    ),
    wide: true,
  }));
}

function warningsOf({ tasks, leftOut }: Comparison): string[] {
  const warnings = leftOut.map(({ task, why }) => `${task} is not compared: ${why}.`);
  for (const { alias, passages, numUnpaired, numPairs, test } of tasks) {
    if (passages)
      warnings.push(
        `${alias}: ${plural(numPairs, 'question')} share ${passages.num} texts ("${passages.field}"), so its error counts texts${passages.num < 30 ? ', and they are few' : ''}.`,
      );
    if (numUnpaired > 0) warnings.push(`${alias}: ${plural(numUnpaired, 'document')} of one side alone were left out.`);
    if (test === 't' && !passages && numPairs < 30)
      warnings.push(`${alias}: ${plural(numPairs, 'document')} are few for an interval of this kind.`);
  }
  return warnings;
}

function examplesOf({ base, tuned, tasks }: Comparison): Learned['examples'] {
  const columns = [{ title: 'task' }, { title: 'question' }, { title: 'right' }, { title: base }, { title: tuned }];
  const rows = (kind: 'learned' | 'forgotten'): string[][] =>
    tasks.flatMap(({ alias, examples }) =>
      examples[kind].map(({ question, target, baseAnswer, tunedAnswer }: Example) => [
        alias,
        question,
        target,
        baseAnswer,
        tunedAnswer,
      ]),
    );
  return (['learned', 'forgotten'] as const)
    .map((kind) => ({
      title: kind === 'learned' ? 'Examples of what was learned' : 'Examples of what was forgotten',
      table: { columns, rows: rows(kind) },
    }))
    .filter(({ table }) => table.rows.length > 0);
}

/** The section's body. */
export function learnedHtml({ answer, table, note, figures, warnings, examples }: Learned): string {
  return [
    `<p class="answer">${escapeXml(answer)}</p>`,
    figuresHtml(figures),
    tableHtml(table),
    `<p class="aside">${escapeXml(note)}</p>`,
    warnings.length > 0 && `<ul class="notes">${warnings.map((line) => `<li>${escapeXml(line)}</li>`).join('')}</ul>`,
    ...examples.map(
      (group) => `<details><summary>${escapeXml(group.title)}</summary>${tableHtml(group.table)}</details>`,
    ),
  ]
    .filter(Boolean)
    .join('');
}

export function learnedMarkdown({ answer, table, note, warnings, examples }: Learned): string {
  return joinBlocks([
    answer,
    tableMarkdown(table),
    note,
    bullets(warnings),
    ...examples.map((group) => `### ${group.title}\n\n${tableMarkdown(group.table)}`),
  ]).trimEnd();
}

/** For a terminal: the paragraph, the table, and what to know before believing it. */
export function comparisonText(comparison: Comparison): { answer: string; table: Table; notes: string[] } {
  const { answer, table, warnings } = learnedOf(comparison);
  return { answer, table, notes: warnings };
}

/**
 * Writes a comparison as a page of its own.
 * @param file ends in .html or .md
 * @throws ConfigError for another ending
 */
export function writeDiffPage(file: string, comparison: Comparison): void {
  const learned = learnedOf(comparison);
  const title = `${comparison.tuned} beside ${comparison.base}`;
  const question = 'What did it learn, what did it forget, can I believe it?';
  if (file.endsWith('.md')) writeFileAtomic(file, `# ${title}\n\n${learnedMarkdown(learned)}\n`);
  else if (file.endsWith('.html'))
    writeFileAtomic(file, page(title, [heading(title, '', ''), section(question, learnedHtml(learned))]));
  else throw new ConfigError(`--report: expected a file name that ends in .html or .md, found ${file}.`);
}
