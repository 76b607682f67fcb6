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
  const band = (x: number, bytes: number, color: string) =>
    `<rect x="${x}" y="${TOP}" width="${COLUMN}" height="${round(bytes * scale)}" style="fill:var(--${color})" opacity=".75"/>`;
  parts.push(label(columnAt(0), ['given', formatCount(given.numDocuments), formatBytes(given.numBytes)]));
  parts.push(band(columnAt(0), left, 'c0'));
  steps.forEach((step, i) => {
    const x = columnAt(i + 1);
    const gone = step.removed.numBytes + Math.max(0, step.changed.numBytes);
    const after = left - gone;
    parts.push(band(x, after, 'c0'));
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
  parts.push(band(end, left, 'c2'));
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

/** The removed text leaves the band and turns down; at its end it is as wide as it was high, where the column allows. */
function dropped(x: number, from: number, to: number): string {
  const [top, under, bottom] = [TOP + to, TOP + from, TOP + BAND + DROP - 18];
  const width = Math.min(from - to, COLUMN - 36);
  const left = x + 12;
  const right = left + width;
  const bend = Math.min(40, bottom - under);
  return `<path d="M${x} ${round(top)}C${round(x + (2 * (right - x)) / 3)} ${round(top)} ${round(right)} ${round(top + 14)} ${round(right)} ${round(Math.min(bottom, top + width / 2 + 40))}V${bottom}H${left}V${round(under + bend)}C${left} ${round(under + bend / 2)} ${x + 6} ${round(under)} ${x} ${round(under)}Z" style="fill:var(--c1)" opacity=".6"/>`;
}

function clip(text: string): string {
  return text.length > 18 ? `${text.slice(0, 17)}…` : text;
}

function percent(part: number, whole: number): string {
  return `${Number(((100 * part) / Math.max(1, whole)).toPrecision(3))} %`;
}

const round = (x: number): number => Number(x.toFixed(1));
