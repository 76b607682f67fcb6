// A plan's schedule and blend in characters, for a terminal.
import { formatCount } from '../base/units.ts';
import { formatLr } from './learning-rates.ts';
import { blendOfStep } from './phases.ts';
import { lrAt } from './schedules.ts';
import type { Plan } from './types.ts';

const WIDTH = 80;
const PAGE_WIDTH = 100;
const LR_HEIGHT = 9;
const BLEND_HEIGHT = 10;
/** Corpora with a letter of their own; the others share one. */
const MAX_LETTERS = 8;

/** The LR over the run; columns of a later phase's first step are marked by a bar. */
export function sketchLr(plan: Plan, height = LR_HEIGHT): string[] {
  const { schedule, numSteps } = plan;
  const width = Math.min(WIDTH, Math.max(2, numSteps));
  const columnOf = (step: number) => (numSteps > 1 ? Math.round((step / (numSteps - 1)) * (width - 1)) : 0);
  const switches = plan.phases.slice(1).map((phase) => ({ column: columnOf(phase.firstStep), phase }));
  const label = formatLr(schedule.peakLr).length;
  const lines: string[] = [];
  for (let row = height - 1; row >= 0; row--) {
    let line = '';
    for (let column = 0; column < width; column++) {
      const level = Math.round((lrAt(schedule, stepAt(column, width, numSteps)) / schedule.peakLr) * (height - 1));
      line += level === row ? '*' : switches.some((mark) => mark.column === column) ? '|' : ' ';
    }
    const name = row === height - 1 ? formatLr(schedule.peakLr) : row === 0 ? '0' : '';
    lines.push(`${name.padStart(label)} |${line}`.trimEnd());
  }
  lines.push(`${' '.repeat(label)} +${'-'.repeat(width)}`);
  for (const { column, phase } of switches) {
    const text = `step ${phase.firstStep}: ${phase.name} begins, LR ${formatLr(phase.lrFrom)}`;
    const indent = Math.max(0, Math.min(label + 2 + column, PAGE_WIDTH - text.length - 2));
    lines.push(
      indent === label + 2 + column
        ? `${' '.repeat(indent)}^ ${text}`
        : `${' '.repeat(Math.max(0, label + 2 + column - text.length - 1))}${text} ^`,
    );
  }
  return lines;
}

function stepAt(column: number, width: number, numSteps: number): number {
  return Math.round((column / (width - 1)) * (numSteps - 1));
}

/** Shares of the corpora over the tokens of the run, stacked; a letter each. */
export function sketchBlend(plan: Plan): string[] {
  const { numSteps } = plan;
  const width = Math.min(WIDTH, Math.max(2, numSteps));
  const named = largestCorpora(plan, MAX_LETTERS - 1);
  const letters = new Map(named.map((name, i) => [name, String.fromCharCode(97 + i)]));
  const other = plan.corpora.filter(({ name }) => plan.expected.tokensByCorpus[name] && !letters.has(name)).length;
  const columns = Array.from({ length: width }, (_, column) => {
    const blend = blendOfStep(plan.phases, stepAt(column, width, numSteps));
    const shares = named.map((name) => blend[name] ?? 0);
    // From the bottom: the first corpus; what is left belongs to the others.
    const tops = shares.map((_, i) => Math.round(BLEND_HEIGHT * shares.slice(0, i + 1).reduce((a, b) => a + b, 0)));
    return Array.from(
      { length: BLEND_HEIGHT },
      (_, row) => letters.get(named[tops.findIndex((top) => row < top)] ?? '') ?? '.',
    );
  });
  const lines = Array.from({ length: BLEND_HEIGHT }, (_, i) => {
    const row = BLEND_HEIGHT - 1 - i;
    const label = i === 0 ? '100 %' : row === 0 ? '0 %' : '';
    return `${label.padStart(5)} |${columns.map((column) => column[row]).join('')}`;
  });
  const legend = [...letters].map(([name, letter]) => `${letter} ${name}`);
  return [
    ...lines,
    `      +${'-'.repeat(width)}`,
    `      0${`${formatCount(plan.totalTokens)} tokens`.padStart(width)}`,
    `      ${[...legend, ...(other > 0 ? [`. ${other} more`] : [])].join('   ')}`,
  ];
}

/** Names of the corpora that give most tokens, in the order of the file. */
export function largestCorpora(plan: Plan, count: number): string[] {
  const tokens = (name: string) => plan.expected.tokensByCorpus[name] ?? 0;
  const used = plan.corpora.map(({ name }) => name).filter((name) => tokens(name) > 0);
  const kept = new Set(used.toSorted((a, b) => tokens(b) - tokens(a)).slice(0, count));
  return used.filter((name) => kept.has(name));
}
