// Charts as SVG text. Colours are CSS variables of the page (--c0 ... --c6, --text, --muted, --grid), so that one drawing serves the
// light page, the dark page and paper. Lines are labelled at their ends, with labels pushed apart; no legend has to be matched.
import { formatTicks, position, type Scale, type ScaleOptions, scaleOver } from './scale.ts';

export interface Point {
  x: number;
  y: number;
}

export interface Series {
  label: string;
  /** Index into the page's palette. */
  color: number;
  points: Point[];
  /** Noisy values behind the line, drawn faintly: a line, or a band where low and high are given. */
  raw?: { x: number; low: number; high: number }[];
  /** Draw the axis to the raw values' extremes, not to the bulk of them. */
  rawInFull?: boolean;
  /** Draw a dot at each point (few, measured values). */
  dots?: boolean;
  /** What is expected, not measured: drawn dashed, without a label of its own; belongs to the series of its colour. */
  expected?: boolean;
}

export interface LineChart {
  /** Unique on the page. */
  id: string;
  /** What it shows, for screen readers. */
  description: string;
  xLabel: string;
  /** Unit of the y axis, written above it. */
  yLabel: string;
  series: Series[];
  /** Vertical marks, such as phase switches. */
  marks?: { x: number; label: string }[];
  /** Horizontal reference lines. */
  levels?: { y: number; label: string }[];
  y?: ScaleOptions;
  x?: ScaleOptions;
  /** Labels beside the lines' ends inside the plot, where lines end anywhere, instead of in a column at the right. */
  labelsAtEnds?: boolean;
  formatY?: (ticks: readonly number[]) => string[];
  width?: number;
  height?: number;
  /** Where the plot begins, for charts whose x axes lie below each other; default: as near as the labels allow. */
  left?: number;
}

const FONT_SIZE = 12;
const LINE_HEIGHT = 15;

export function lineChart(chart: LineChart): string {
  const { width = 520, height = 280 } = chart;
  const x = scaleOver(
    chart.series.flatMap((series) => [...series.points, ...(series.raw ?? [])].map((point) => point.x)),
    { nice: false, numTicks: Math.max(3, Math.floor(width / 90)), ...chart.x },
  );
  const y = scaleOver(extentOf(chart), chart.y);
  const marks = (chart.marks ?? []).filter((mark) => mark.x <= x.max);
  const xTicks = formatTicks(x.ticks);
  const yTicks = (chart.formatY ?? formatTicks)(y.ticks);
  const endLabels = !chart.labelsAtEnds && (chart.series.length > 1 || chart.levels?.length) ? labelsOf(chart) : [];
  const box = {
    left: chart.left ?? 10 + Math.max(...yTicks.map(textWidth)),
    right: width - (endLabels.length ? 16 + Math.max(...endLabels.map((label) => textWidth(label.text))) : 12),
    top: 26 + (marks.length ? LINE_HEIGHT * markRows(marks, x, width) : 0),
    bottom: height - 38,
  };
  const px = (value: number): number => round(box.left + position(x, value) * (box.right - box.left));
  const py = (value: number): number => round(box.bottom - position(y, value) * (box.bottom - box.top));
  const parts = [
    ...y.ticks.map(
      (tick, i) =>
        `<path class="grid" d="M${box.left} ${py(tick)}H${box.right}"/><text class="tick" x="${box.left - 6}" y="${py(tick) + 4}" text-anchor="end">${yTicks[i]}</text>`,
    ),
    `<path class="axis" d="M${box.left} ${box.bottom}H${box.right}"/>`,
    ...x.ticks.map(
      (tick, i) =>
        `<path class="axis" d="M${px(tick)} ${box.bottom}v4"/><text class="tick" x="${px(tick)}" y="${box.bottom + 17}" text-anchor="middle">${xTicks[i]}</text>`,
    ),
    `<text class="label" x="${box.right}" y="${height - 4}" text-anchor="end">${escapeXml(chart.xLabel)}</text>`,
    `<text class="label" x="0" y="12">${escapeXml(chart.yLabel)}</text>`,
    ...drawMarks(marks, px, box),
    `<clipPath id="${chart.id}-clip"><rect x="${box.left - 4}" y="${box.top - 4}" width="${round(box.right - box.left + 8)}" height="${round(box.bottom - box.top + 8)}"/></clipPath>`,
    `<g clip-path="url(#${chart.id}-clip)">`,
    ...(chart.levels ?? []).map((level) => `<path class="level" d="M${box.left} ${py(level.y)}H${box.right}"/>`),
    ...chart.series.map((series) => drawRaw(series, px, py)),
    ...chart.series.map((series) => drawLine(series, px, py)),
    '</g>',
    ...drawEndLabels(endLabels, px, py, box),
    ...(chart.labelsAtEnds ? drawInnerLabels(chart, px, py, box) : []),
  ];
  return `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeXml(chart.description)}">${parts.join('')}</svg>`;
}

export interface Bar {
  label: string;
  parts: { label: string; share: number; color: number }[];
}

/** Horizontal bars of shares that sum to one, each with its label above; as HTML, so that their text keeps its size on any screen. */
export function stackedBars(bars: readonly Bar[]): string {
  const part = ({ label, share, color }: Bar['parts'][number]): string => {
    const text = escapeXml(`${label} ${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`);
    return `<span style="flex:${Number(share.toFixed(4))} 0 0;background:var(--c${color})" title="${text}">${text}</span>`;
  };
  return bars
    .map(
      (bar) => `<p class="bar-label">${escapeXml(bar.label)}</p><div class="bar">${bar.parts.map(part).join('')}</div>`,
    )
    .join('');
}

export function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}

interface Box {
  left: number;
  right: number;
  top: number;
  bottom: number;
}

interface EndLabel {
  text: string;
  color: number | undefined;
  /** Where the line ends; undefined x: at the right edge. */
  x: number | undefined;
  y: number;
}

/** The lines themselves, and as much of the raw values as does not let one spike flatten everything else. */
function* extentOf(chart: LineChart): Generator<number> {
  for (const level of chart.levels ?? []) yield level.y;
  for (const series of chart.series) {
    for (const point of series.points) yield point.y;
    const raw = series.raw ?? [];
    const at = (values: number[], share: number): number =>
      values.sort((a, b) => a - b)[Math.round(share * (values.length - 1))]!;
    const tail = series.rawInFull ? 0 : 0.02;
    if (raw.length > 0) {
      yield at(
        raw.map((point) => point.low),
        tail,
      );
      yield at(
        raw.map((point) => point.high),
        1 - tail,
      );
    }
  }
}

function labelsOf(chart: LineChart): EndLabel[] {
  // A line alone needs no label: the chart's title names it.
  const measured = chart.series.filter((series) => !series.expected);
  const lines = (chart.series.length > 1 || chart.labelsAtEnds ? measured : []).flatMap((series) => {
    const end = series.points.findLast((point) => Number.isFinite(point.y));
    return end ? [{ text: series.label, color: series.color, x: end.x, y: end.y }] : [];
  });
  return [
    ...lines,
    ...(chart.levels ?? []).map((level) => ({ text: level.label, color: undefined, x: undefined, y: level.y })),
  ];
}

function drawEndLabels(labels: EndLabel[], px: (x: number) => number, py: (y: number) => number, box: Box): string[] {
  const heights = spreadOut(
    labels.map((label) => Math.min(Math.max(py(label.y), box.top), box.bottom)),
    LINE_HEIGHT,
    box.top,
    box.bottom,
  );
  return labels.map((label, i) => {
    const end = { x: label.x === undefined ? box.right : px(label.x), y: py(label.y) };
    const moved = Math.abs(heights[i]! - end.y) > 3 || box.right - end.x > 3;
    const leader = moved
      ? `<path class="leader" d="M${end.x + 4} ${end.y}L${box.right + 8} ${round(heights[i]!)}"/>`
      : '';
    const style = label.color === undefined ? 'class="label"' : `class="end" style="fill:var(--c${label.color})"`;
    return `${leader}<text ${style} x="${box.right + 10}" y="${round(heights[i]! + 4)}">${escapeXml(label.text)}</text>`;
  });
}

/** Each label goes to that side of its line's end where it covers least of the lines and of the labels before it. */
function drawInnerLabels(chart: LineChart, px: (x: number) => number, py: (y: number) => number, box: Box): string[] {
  const taken = chart.series.flatMap((series) =>
    alongLine(series.points.map((point) => ({ x: px(point.x), y: py(point.y) }))),
  );
  return labelsOf(chart).map((label) => {
    const [x, y, width] = [px(label.x ?? 0), py(label.y), textWidth(label.text)];
    const candidates = [
      { left: x + 9, baseline: y + 4 },
      { left: x - 9 - width, baseline: y + 4 },
      { left: x - width / 2, baseline: y - 9 },
      { left: x - width / 2, baseline: y + 19 },
    ];
    const cost = ({ left, baseline }: { left: number; baseline: number }): number => {
      const inside =
        left >= box.left && left + width <= box.right && baseline - FONT_SIZE >= box.top && baseline <= box.bottom - 2;
      const covered = taken.filter(
        (p) => p.x > left - 3 && p.x < left + width + 3 && p.y > baseline - FONT_SIZE && p.y < baseline + 4,
      );
      return covered.length + (inside ? 0 : 1000);
    };
    const best = candidates.toSorted((a, b) => cost(a) - cost(b))[0]!;
    for (let at = 0; at <= width; at += 4) taken.push({ x: best.left + at, y: best.baseline - 5 });
    return `<text class="end" style="fill:var(--c${label.color})" x="${round(best.left)}" y="${round(best.baseline)}">${escapeXml(label.text)}</text>`;
  });
}

/** Points every few pixels along a line. */
function alongLine(points: readonly Point[]): Point[] {
  return points.flatMap((from, i) => {
    const to = points[i + 1] ?? from;
    const numSteps = Math.max(1, Math.ceil(Math.hypot(to.x - from.x, to.y - from.y) / 3));
    return Array.from({ length: numSteps }, (_, k) => ({
      x: from.x + ((to.x - from.x) * k) / numSteps,
      y: from.y + ((to.y - from.y) * k) / numSteps,
    }));
  });
}

/** Moves positions apart to at least `gap`, in their order, as little as a sweep down and a sweep up need; stays inside where it can. */
export function spreadOut(positions: readonly number[], gap: number, min: number, max: number): number[] {
  const order = positions.map((_, i) => i).sort((a, b) => positions[a]! - positions[b]! || a - b);
  const placed = order.map((i) => positions[i]!);
  for (let i = 1; i < placed.length; i++) placed[i] = Math.max(placed[i]!, placed[i - 1]! + gap);
  if (placed.length > 0) placed[placed.length - 1] = Math.min(placed.at(-1)!, max);
  for (let i = placed.length - 2; i >= 0; i--) placed[i] = Math.min(placed[i]!, placed[i + 1]! - gap);
  if (placed[0]! < min) for (let i = 0; i < placed.length; i++) placed[i] = Math.max(placed[i]!, min + i * gap);
  const result = new Array<number>(positions.length);
  order.forEach((original, i) => {
    result[original] = placed[i]!;
  });
  return result;
}

type Marks = NonNullable<LineChart['marks']>;

/** Marks' labels share the rows above the plot; a row holds those that do not touch. */
function placeMarks(
  marks: Marks,
  px: (x: number) => number,
  right: number,
): { x: number; start: number; row: number; label: string }[] {
  const rowEnds: number[] = [];
  return marks
    .toSorted((a, b) => a.x - b.x)
    .map((mark) => {
      const width = textWidth(mark.label);
      const start = Math.max(0, Math.min(px(mark.x) + 4, right - width));
      let row = rowEnds.findIndex((end) => end + 8 <= start);
      if (row < 0) row = rowEnds.length;
      rowEnds[row] = start + width;
      return { x: px(mark.x), start, row, label: mark.label };
    });
}

function markRows(marks: Marks, x: Scale, width: number): number {
  const placed = placeMarks(marks, (value) => position(x, value) * (width - 100), width - 20);
  return Math.max(...placed.map((mark) => mark.row)) + 1;
}

function drawMarks(marks: Marks, px: (x: number) => number, box: Box): string[] {
  return placeMarks(marks, px, box.right).map((mark) => {
    const baseline = box.top - 8 - LINE_HEIGHT * mark.row;
    return `<path class="mark" d="M${mark.x} ${baseline - 8}V${box.bottom}"/><text class="label" x="${round(mark.start)}" y="${baseline}">${escapeXml(mark.label)}</text>`;
  });
}

function drawRaw(series: Series, px: (x: number) => number, py: (y: number) => number): string {
  const raw = series.raw;
  if (!raw || raw.length < 2) return '';
  const style = `var(--c${series.color})`;
  if (raw.every((point) => point.low === point.high))
    return `<path class="raw" style="stroke:${style}" d="${pathOf(
      raw.map((point) => ({ x: point.x, y: point.low })),
      px,
      py,
    )}"/>`;
  const edge = [
    ...raw.map((point) => ({ x: point.x, y: point.high })),
    ...raw.map((point) => ({ x: point.x, y: point.low })).reverse(),
  ];
  return `<path class="band" style="fill:${style}" d="${pathOf(edge, px, py)}Z"/>`;
}

function drawLine(series: Series, px: (x: number) => number, py: (y: number) => number): string {
  const points = series.points.filter((point) => Number.isFinite(point.y));
  const line = `<path class="${series.expected ? 'line expected' : 'line'}" style="stroke:var(--c${series.color})" d="${pathOf(points, px, py)}"/>`;
  const dots = series.dots || points.length === 1 ? points : [];
  return `${line}${dots
    .map(
      (point) =>
        `<circle class="dot" style="fill:var(--c${series.color})" cx="${px(point.x)}" cy="${py(point.y)}" r="3"><title>${escapeXml(series.label)}: ${Number(point.y.toPrecision(4))} at ${Number(point.x.toPrecision(6))}</title></circle>`,
    )
    .join('')}`;
}

function pathOf(points: readonly Point[], px: (x: number) => number, py: (y: number) => number): string {
  return points.length === 0 ? '' : `M${points.map((point) => `${px(point.x)} ${py(point.y)}`).join('L')}`;
}

/** Width of text in pixels at the charts' font size, near enough for layout. */
export function textWidth(text: string): number {
  let width = 0;
  for (const character of text)
    width += /[ilj.,:;'|! ]/.test(character) ? 0.32 : /[A-Zmw%−+]/.test(character) ? 0.74 : 0.57;
  // System fonts differ; the widest common one is about a tenth wider than this table.
  return Math.ceil(width * FONT_SIZE * 1.1);
}

export function round(value: number): number {
  return Math.round(value * 10) / 10;
}
