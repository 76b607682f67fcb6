// Differences with their intervals, a task a line (a forest plot), and beside each how many questions changed sides. To the right is better,
// whichever way the metric counts.
import { formatChange, signed, type TaskComparison } from '../eval/index.ts';
import { escapeXml, round, textWidth } from './chart.ts';
import { formatTicks, position, scaleOver } from './scale.ts';

const WIDTH = 1060;
const ROW = 26;
const TOP = 44;
/** Palette: what is told from chance has a colour, and a shape for those who do not see it. */
const BETTER = 0;
const WORSE = 1;
const UNCLEAR = 6;
/** Columns of the figure. */
const BUTTERFLY = { left: WIDTH - 250, right: WIDTH - 20 };

export interface ForestRow {
  label: string;
  gain: number;
  low: number;
  high: number;
  verdict: TaskComparison['verdict'] | 'mean';
  /** Losses and gains inside it cannot be seen. */
  smallestVisible?: number;
  counts?: { learned: number; forgotten: number };
}

/** Tasks that are measured in one unit, and their mean where one is given. */
export function forestPlot(
  id: string,
  unit: TaskComparison['unit'],
  tasks: readonly TaskComparison[],
  mean?: { difference: number; low: number; high: number; numTasks: number },
): string {
  const rows: ForestRow[] = [
    ...tasks.map(rowOf),
    ...(mean
      ? [
          {
            label: `mean of ${mean.numTasks} tasks`,
            gain: mean.difference,
            low: mean.low,
            high: mean.high,
            verdict: 'mean' as const,
          },
        ]
      : []),
  ];
  const factor = unit === 'points' ? 100 : 1;
  const left = 20 + Math.min(300, Math.max(...rows.map(({ label }) => textWidth(label))));
  const values = rows.map(
    ({ gain, low, high }) => `${signed(gain, unit)} (${signed(low, unit)} to ${signed(high, unit)})`,
  );
  const withCounts = rows.some(({ counts }) => counts);
  const textRight = withCounts ? BUTTERFLY.left - 30 : WIDTH - 8;
  const box = { left, right: textRight - 20 - Math.max(...values.map(textWidth)), bottom: TOP + rows.length * ROW };
  const ends = rows.flatMap(({ gain, low, high, smallestVisible = 0 }) => [
    gain,
    low,
    high,
    smallestVisible,
    -smallestVisible,
  ]);
  const x = scaleOver(
    ends.filter(Number.isFinite).map((value) => value * factor),
    { include: 0, numTicks: 6 },
  );
  const px = (value: number): number =>
    round(box.left + Math.min(1, Math.max(0, position(x, value * factor))) * (box.right - box.left));
  const ticks = formatTicks(x.ticks).map((text, i) => (x.ticks[i]! > 0 ? `+${text}` : text));
  const height = box.bottom + 44;
  const most = Math.max(1, ...rows.map(({ counts }) => Math.max(counts?.learned ?? 0, counts?.forgotten ?? 0)));
  const parts = [
    ...x.ticks.map(
      (tick, i) =>
        `<path class="grid" d="M${px(tick / factor)} ${TOP}V${box.bottom}"/><text class="tick" x="${px(tick / factor)}" y="${box.bottom + 17}" text-anchor="middle">${ticks[i]}</text>`,
    ),
    `<path class="level" d="M${px(0)} ${TOP - 6}V${box.bottom}"/>`,
    `<text class="label" x="${px(0) - 8}" y="${TOP - 12}" text-anchor="end">← worse than base</text>`,
    `<text class="label" x="${px(0) + 8}" y="${TOP - 12}">better →</text>`,
    `<text class="label" x="${box.right}" y="${height - 6}" text-anchor="end">difference, ${unit === 'score' ? 'score' : unit}, with 95 % interval</text>`,
    ...rows.map((row, i) => drawRow(row, TOP + (i + 0.5) * ROW, { left: box.left, px, text: values[i]!, textRight })),
    ...(withCounts
      ? drawCounts(rows, most, box.bottom, unit === 'points' ? ['forgotten', 'learned'] : ['worse', 'better'])
      : []),
  ];
  const description = `Differences by task: ${rows.map(({ label, gain }) => `${label} ${formatChange(gain, unit)}`).join('; ')}`;
  return `<svg viewBox="0 0 ${WIDTH} ${height}" role="img" id="${id}" aria-label="${escapeXml(description)}">${parts.join('')}</svg>`;
}

/** In the direction in which more is better. */
function rowOf(task: TaskComparison): ForestRow {
  const { alias, difference, low, high, higherIsBetter, verdict, smallestVisible, counts } = task;
  const gain = higherIsBetter ? { gain: difference, low, high } : { gain: -difference, low: -high, high: -low };
  return { label: alias, ...gain, verdict, smallestVisible, counts };
}

interface Place {
  left: number;
  px: (value: number) => number;
  text: string;
  textRight: number;
}

function drawRow(row: ForestRow, y: number, { left, px, text, textRight }: Place): string {
  const { label, gain, low, high, verdict, smallestVisible } = row;
  const color = verdict === 'better' ? BETTER : verdict === 'worse' ? WORSE : UNCLEAR;
  const style = `var(--c${color})`;
  const blind =
    smallestVisible === undefined
      ? ''
      : `<rect x="${px(-smallestVisible)}" y="${y - 8}" width="${round(Math.max(0, px(smallestVisible) - px(-smallestVisible)))}" height="16" style="fill:var(--grid)"/>`;
  const line = `<path d="M${px(low)} ${y}H${px(high)}" style="stroke:${style};stroke-width:2;fill:none"/>`;
  const at = px(gain);
  const mark =
    verdict === 'mean'
      ? `<path d="M${px(low)} ${y}L${at} ${y - 7}L${px(high)} ${y}L${at} ${y + 7}Z" style="fill:var(--text)"/>`
      : verdict === 'better' || verdict === 'worse'
        ? `<rect x="${at - 5}" y="${y - 5}" width="10" height="10" style="fill:${style}"/>`
        : `<circle cx="${at}" cy="${y}" r="4.5" style="fill:var(--page);stroke:${style};stroke-width:2"/>`;
  const weight = verdict === 'mean' ? ' class="end"' : '';
  return (
    `<text${weight} x="${left - 12}" y="${y + 4}" text-anchor="end">${escapeXml(shorten(label))}</text>${blind}${verdict === 'mean' ? '' : line}${mark}` +
    `<text${weight} x="${textRight}" y="${y + 4}" text-anchor="end">${escapeXml(text)}</text>`
  );
}

function shorten(label: string): string {
  if (textWidth(label) <= 300) return label;
  let text = label;
  while (textWidth(`${text}…`) > 300) text = text.slice(0, -1);
  return `${text}…`;
}

/** Questions that changed sides: forgotten to the left, learned to the right of one axis. */
function drawCounts(rows: readonly ForestRow[], most: number, bottom: number, names: [string, string]): string[] {
  const middle = (BUTTERFLY.left + BUTTERFLY.right) / 2;
  const room = (BUTTERFLY.right - BUTTERFLY.left) / 2 - 34;
  const side = (n: number, y: number, sign: 1 | -1): string => {
    const length = round((room * n) / most);
    const x = sign > 0 ? middle : middle - length;
    const text = `<text x="${round(middle + sign * (length + 6))}" y="${y + 4}" text-anchor="${sign > 0 ? 'start' : 'end'}">${n}</text>`;
    return `<rect x="${round(x)}" y="${y - 7}" width="${length}" height="14" style="fill:var(--c${sign > 0 ? BETTER : WORSE});opacity:.85"/>${text}`;
  };
  return [
    `<text class="label" x="${middle - 8}" y="${TOP - 12}" text-anchor="end">${names[0]}</text>`,
    `<text class="label" x="${middle + 8}" y="${TOP - 12}">${names[1]}</text>`,
    ...rows.map(({ counts }, i) => {
      const y = TOP + (i + 0.5) * ROW;
      return counts ? side(counts.forgotten, y, -1) + side(counts.learned, y, 1) : '';
    }),
    `<path class="axis" d="M${middle} ${TOP - 6}V${bottom}"/>`,
  ];
}
