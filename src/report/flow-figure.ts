// What cleaning did to a corpus, as a picture: a band as high as the text that is left, narrowing at each step by what the step removed.
import { formatBytes, formatCount } from '../base/units.ts';
import type { CuratedManifest } from '../corpus/index.ts';
import { escapeXml } from './chart.ts';
import { standalone } from './style.ts';

const COLUMN = 132;
const [MARGIN, TOP, BAND, DROP] = [16, 96, 200, 96];
/** Below this a removal has no band that could be seen. */
const MIN_SHOWN = 0.5;
const MAX_REASONS = 3;

/** An SVG file. Bytes decide the height; the labels say how many documents too. */
export function flowFigure(manifest: CuratedManifest): string {
  const { name, given, kept, steps } = manifest;
  const width = 2 * MARGIN + COLUMN * (steps.length + 2);
  const height = TOP + BAND + DROP + 72;
  const scale = BAND / Math.max(1, given.numBytes);
  const parts: string[] = [];
  let left = given.numBytes;
  const columnAt = (i: number) => MARGIN + COLUMN * i;
  const label = (x: number, lines: readonly string[], y = TOP - 52) =>
    lines
      .map(
        (line, i) =>
          `<text x="${x}" y="${y + 16 * i}" ${i === 0 ? 'class="end"' : 'class="label"'}>${escapeXml(line)}</text>`,
      )
      .join('');
  const band = (x: number, width: number, from: number, to: number, color: string) => {
    const [a, b] = [from * scale, to * scale];
    const middle = x + width / 2;
    return `<path d="M${x} ${TOP}H${x + width}V${round(TOP + b)}C${middle} ${round(TOP + b)} ${middle} ${round(TOP + a)} ${x} ${round(TOP + a)}Z" style="fill:var(--${color})" opacity=".75"/>`;
  };
  parts.push(label(columnAt(0), ['given', formatCount(given.numDocuments), formatBytes(given.numBytes)]));
  parts.push(band(columnAt(0), COLUMN, left, left, 'c0'));
  steps.forEach((step, i) => {
    const x = columnAt(i + 1);
    const gone = step.removed.numBytes + Math.max(0, step.changed.numBytes);
    const after = left - gone;
    parts.push(band(x, COLUMN, left, after, 'c0'));
    if (gone * scale >= MIN_SHOWN) parts.push(dropped(x, left * scale, after * scale));
    parts.push(label(x + 4, [step.name]));
    const reasons = Object.entries(step.reasons)
      .toSorted((a, b) => b[1].numDocuments - a[1].numDocuments)
      .slice(0, MAX_REASONS)
      .map(([reason, { numDocuments }]) => `${clip(reason)} ${formatCount(numDocuments)}`);
    const removed =
      step.removed.numDocuments > 0
        ? [`−${formatCount(step.removed.numDocuments)}, ${formatBytes(step.removed.numBytes)}`, ...reasons]
        : step.changed.numDocuments > 0
          ? [`changed ${formatCount(step.changed.numDocuments)}`, `−${formatBytes(Math.max(0, step.changed.numBytes))}`]
          : ['nothing'];
    parts.push(
      removed
        .map(
          (line, k) =>
            `<text x="${x + 4}" y="${TOP + BAND + DROP + 14 * k}" class="label" style="font-size:${k === 0 ? 12 : 11}px">${escapeXml(line)}</text>`,
        )
        .join(''),
    );
    left = after;
  });
  const end = columnAt(steps.length + 1);
  parts.push(band(end, COLUMN, left, left, 'c2'));
  parts.push(
    label(end + 4, [
      'kept',
      formatCount(kept.numDocuments),
      `${formatBytes(kept.numBytes)} (${percent(kept.numBytes, given.numBytes)})`,
    ]),
  );
  const title = `${name}: what cleaning kept of ${formatCount(given.numDocuments)} documents`;
  return standalone(
    [
      `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">`,
      `<title>${escapeXml(title)}</title><style></style>`,
      '<rect width="100%" height="100%" style="fill:var(--page)"/>',
      `<text x="${MARGIN}" y="26" style="font-size:15px;font-weight:650">${escapeXml(title)}</text>`,
      ...parts,
      '</svg>',
    ].join(''),
  );
}

/** The removed text leaves the band downwards. */
function dropped(x: number, from: number, to: number): string {
  const width = from - to;
  const [top, bottom] = [TOP + from, TOP + BAND + DROP - 18];
  const right = x + COLUMN - 8;
  return (
    `<path d="M${round(right - Math.min(width, COLUMN / 2))} ${round(TOP + to)}H${right}V${round(bottom)}H${round(right - Math.min(width, COLUMN / 2))}Z" ` +
    `style="fill:var(--c1)" opacity=".45"><title>${round(top)}</title></path>`
  );
}

function clip(text: string): string {
  return text.length > 18 ? `${text.slice(0, 17)}…` : text;
}

function percent(part: number, whole: number): string {
  return `${Number(((100 * part) / Math.max(1, whole)).toPrecision(3))} %`;
}

const round = (x: number): number => Number(x.toFixed(1));
