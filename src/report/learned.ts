// The page that answers: what did it learn, what did it forget, can I believe it? Text and tables from comparisons of task results, and a
// figure; html.ts, markdown.ts and commands render it.
import { isUserError } from '../base/errors.ts';
import {
  type Comparison,
  compareReports,
  describeComparison,
  type Example,
  formatLevel,
  formatP,
  formatSize,
  hasNothingToForget,
  readEvalResults,
  signed,
  type TaskComparison,
} from '../eval/index.ts';
import { type Change, type Run, type RunSummary, type StabilityGap, stabilityGaps } from '../runs/index.ts';
import type { Table } from './content.ts';
import { forestPlot } from './forest.ts';
import { formatDelta, formatError, formatScore, plural } from './format.ts';
import type { Figure } from './run-charts.ts';

export interface Learned {
  /** One honest paragraph. */
  answer: string;
  /** Tasks; absent where none were compared. */
  table: Table | undefined;
  /** How to read the table. */
  note: string;
  figures: Figure[];
  /** What a reader should know before believing it. */
  warnings: string[];
  examples: { title: string; table: Table }[];
}

export const LEARNED_TITLE = 'What did it learn, what did it forget, can I believe it?';

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
  for (const task of tasks.filter(hasNothingToForget))
    warnings.push(
      `${task.alias}: the base has ${formatLevel(task.base, task.unit)}, not told from guessing (${formatLevel(task.guessing!, task.unit)}): it can show what is learned, hardly what is forgotten.`,
    );
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

/**
 * The same for a run: its held-out text before and after, its tasks at the first and the last evaluation, and the dip between them.
 * Undefined where nothing was measured twice.
 */
export function learnedOfRun(run: Run, summary: RunSummary): Learned | undefined {
  const gaps = stabilityGaps(run);
  const heldOut = [
    summary.domain && heldOutSentence(summary.domain, 'domain'),
    summary.general && heldOutSentence(summary.general, 'general'),
    ...gaps.filter(({ isShown }) => isShown).map(gapSentence),
  ].filter((sentence) => sentence !== undefined);
  const tasks = compareTasksOf(run);
  if (heldOut.length === 0 && !tasks.learned) return undefined;
  const { learned } = tasks;
  return {
    answer: [...heldOut, ...(learned ? [learned.answer] : [])].join(' '),
    table: learned?.table,
    note: learned?.note ?? '',
    figures: learned?.figures ?? [],
    warnings: [...(learned?.warnings ?? []), ...tasks.problems],
    examples: learned?.examples ?? [],
  };
}

function compareTasksOf({ taskEvals }: Run): { learned?: Learned; problems: string[] } {
  const [first, last] = [taskEvals[0], taskEvals.at(-1)];
  if (!first || !last)
    return {
      problems: ['No tasks were put to the model: what it can do was not measured, only how well it foretells text.'],
    };
  if (first === last)
    return {
      problems: [`Tasks were put to the model once, after step ${first.step}: there is nothing to compare yet.`],
    };
  try {
    const [base, tuned] = [first, last].map(({ file }) => readEvalResults(file));
    return {
      learned: learnedOf(
        compareReports(base!, tuned!, {
          baseLabel: first.step === 0 ? 'the base' : `step ${first.step}`,
          tunedLabel: `step ${last.step}`,
        }),
      ),
      problems: [],
    };
  } catch (error) {
    // A report says what it cannot show instead of failing.
    if (!isUserError(error)) throw error;
    return { problems: [error.message] };
  }
}

/** What a change in bits per byte says about learning or forgetting, as far as its error allows. */
function heldOutSentence({ first, last, delta, stderr, isPaired }: Change, role: 'domain' | 'general'): string {
  const figures = `${formatScore(first)} to ${formatScore(last)} bits per byte (${formatDelta(delta)}${stderr === undefined ? '' : ` ± ${formatError(stderr)}`})`;
  const text = `held-out ${role} text`;
  const doubt = isPaired ? '' : ', whose error was not measured in pairs';
  if (stderr === undefined) return `Of ${text}: ${figures}; without an error nobody can tell whether that is chance.`;
  if (Math.abs(delta) < 2 * stderr)
    return `${role === 'domain' ? 'Whether it learned its domain' : 'Whether it forgot anything general'} cannot be told from ${text}: ${figures}${doubt}.`;
  if (role === 'domain')
    return delta < 0
      ? `It learned its domain: ${text} went from ${figures}${doubt}.`
      : `It became worse at its own domain: ${text} went from ${figures}${doubt}.`;
  return delta > 0
    ? `It forgot: ${text} went from ${figures}${doubt}.`
    : `It did not forget: ${text} went from ${figures}${doubt}.`;
}

function gapSentence({ set, step, rise, recovery, lastStep }: StabilityGap): string {
  return `On the way it was worse (stability gap): ${set} rose by ${rise!.difference.toFixed(3)} ± ${formatError(rise!.stderr)} up to step ${step} and came back by ${(-recovery!.difference).toFixed(3)} ± ${formatError(recovery!.stderr)} until step ${lastStep}.`;
}

/** For a terminal: the paragraph, the table, and what to know before believing it. */
export function comparisonText(comparison: Comparison): { answer: string; table: Table; notes: string[] } {
  const { answer, warnings } = learnedOf(comparison);
  return { answer, table: comparisonTable(comparison), notes: warnings };
}
