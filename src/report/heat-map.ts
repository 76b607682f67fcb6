// How far back a model finds what it was told: length by depth, the strength of a cell its score, with the score in it. A picture that
// stands alone.
import { type LongContextCell, shortName } from '../eval/index.ts';
import { escapeXml, round, textWidth } from './chart.ts';
import type { Table } from './content.ts';
import { NONE } from './format.ts';
import { standalone } from './style.ts';

export interface Heat {
  model: string;
  cells: readonly LongContextCell[];
}

interface Panel {
  title: string;
  cells: readonly LongContextCell[];
}

const CELL = { width: 62, height: 30 };
const MARGIN = { left: 84, right: 28, top: 64, bottom: 66 };
const GAP = { x: 56, y: 74 };

/** A line a kind and depth, a column a length. */
export function heatTable({ cells }: Heat): Table {
  const lengths = [...new Set(cells.map(({ length }) => length))].sort((a, b) => a - b);
  const places = [...new Map(cells.map((cell) => [`${cell.kind} ${cell.depth}`, cell])).values()];
  return {
    columns: [
      { title: 'kind' },
      { title: 'depth', align: 'right' },
      ...lengths.map((length) => ({ title: length.toLocaleString('en'), align: 'right' as const })),
    ],
    rows: places.map(({ kind, depth }) => [
      kind,
      `${Math.round(100 * depth)} %`,
      ...lengths.map((length) => {
        const cell = cells.find((one) => one.kind === kind && one.depth === depth && one.length === length);
        return cell ? (100 * cell.score).toFixed(0) : NONE;
      }),
    ]),
  };
}

/** An SVG file: a panel for each model and kind of sample. */
export function heatMaps(results: readonly Heat[]): string {
  const kinds = [...new Set(results.flatMap(({ cells }) => cells.map(({ kind }) => kind)))];
  const panels = results.flatMap(({ model, cells }) =>
    kinds.map((kind) => ({
      title: results.length > 1 ? `${shortName(model)}: ${kind}` : kind,
      cells: cells.filter((cell) => cell.kind === kind),
    })),
  );
  return drawPanels(
    `How far back ${results.map(({ model }) => shortName(model)).join(' and ')} find${results.length > 1 ? '' : 's'} what was said`,
    panels,
    kinds.length,
  );
}

function drawPanels(title: string, panels: readonly Panel[], perRow: number): string {
  const sizes = panels.map(({ cells, title: name }) => ({
    width: Math.max(new Set(cells.map(({ length }) => length)).size * CELL.width, 1.1 * textWidth(name) - GAP.x),
    height: new Set(cells.map(({ depth }) => depth)).size * CELL.height,
  }));
  const [cellWidth, cellHeight] = [
    Math.max(...sizes.map((s) => s.width), 150),
    Math.max(...sizes.map((s) => s.height)),
  ];
  const numColumns = Math.min(perRow, panels.length);
  const numRows = Math.ceil(panels.length / perRow);
  const numSamples = panels[0]?.cells[0]?.numSamples ?? 0;
  const note = `In a cell: what was found, percent, of ${numSamples} samples. ${precision(numSamples)}`;
  const inner = MARGIN.left + numColumns * cellWidth + (numColumns - 1) * (GAP.x + 24) + MARGIN.right;
  const width = Math.max(inner, 40 + textWidth(note), 40 + 1.3 * textWidth(title));
  const height = MARGIN.top + numRows * cellHeight + (numRows - 1) * GAP.y + MARGIN.bottom + 16;
  const drawn = panels.map((panel, i) =>
    drawPanel(
      panel,
      MARGIN.left + (i % perRow) * (cellWidth + GAP.x + 24),
      MARGIN.top + Math.floor(i / perRow) * (cellHeight + GAP.y),
    ),
  );
  return standalone(
    [
      `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${round(width)} ${round(height)}" width="${round(width)}" height="${round(height)}" role="img">`,
      `<title>${escapeXml(title)}</title><style></style>`,
      '<rect width="100%" height="100%" style="fill:var(--page)"/>',
      `<text x="20" y="26" style="font-size:15px;font-weight:650">${escapeXml(title)}</text>`,
      ...drawn,
      `<text class="label" x="20" y="${round(height - 12)}">${escapeXml(note)}</text>`,
      '</svg>',
    ].join(''),
  );
}

/** A half of the samples right: the widest interval. */
function precision(n: number): string {
  return n === 0 ? '' : `So few leave ±${Math.round((100 * 1.96 * 0.5) / Math.sqrt(n))} points at worst.`;
}

function drawPanel({ title, cells }: Panel, left: number, top: number): string {
  const lengths = [...new Set(cells.map(({ length }) => length))].sort((a, b) => a - b);
  const depths = [...new Set(cells.map(({ depth }) => depth))].sort((a, b) => a - b);
  const bottom = top + depths.length * CELL.height;
  const boxes = cells.map(({ length, depth, score, low, high }) => {
    const x = left + lengths.indexOf(length) * CELL.width;
    const y = top + depths.indexOf(depth) * CELL.height;
    const color = score > 0.65 ? 'var(--on-bar)' : 'var(--text)';
    const hint = `${length} tokens, depth ${Math.round(100 * depth)} %: ${(100 * score).toFixed(0)} % (95 % interval ${(100 * low).toFixed(0)} to ${(100 * high).toFixed(0)})`;
    return (
      `<g><title>${hint}</title><rect x="${x + 1}" y="${y + 1}" width="${CELL.width - 2}" height="${CELL.height - 2}" style="fill:var(--tint)"/>` +
      `<rect x="${x + 1}" y="${y + 1}" width="${CELL.width - 2}" height="${CELL.height - 2}" style="fill:var(--c0);opacity:${round(score * 100) / 100}"/>` +
      `<text x="${x + CELL.width / 2}" y="${y + CELL.height / 2 + 4}" text-anchor="middle" style="fill:${color}">${(100 * score).toFixed(0)}</text></g>`
    );
  });
  const rows = depths.map(
    (depth, i) =>
      `<text class="tick" x="${left - 8}" y="${top + (i + 0.5) * CELL.height + 4}" text-anchor="end">${Math.round(100 * depth)} %</text>`,
  );
  const columns = lengths.map(
    (length, i) =>
      `<text class="tick" x="${left + (i + 0.5) * CELL.width}" y="${bottom + 16}" text-anchor="middle">${length.toLocaleString('en')}</text>`,
  );
  return [
    `<text class="end" x="${left}" y="${top - 10}">${escapeXml(title)}</text>`,
    ...boxes,
    ...rows,
    ...columns,
    `<text class="label" x="${left - 64}" y="${round((top + bottom) / 2)}" text-anchor="middle" transform="rotate(-90 ${left - 64} ${round((top + bottom) / 2)})">depth</text>`,
    `<text class="label" x="${left + (lengths.length * CELL.width) / 2}" y="${bottom + 32}" text-anchor="middle">tokens of context</text>`,
  ].join('');
}
