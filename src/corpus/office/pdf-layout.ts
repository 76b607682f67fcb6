// Lines of a PDF's pages -> running text: repeated heads and feet of pages and tables of contents go, hyphenated words and broken paragraphs are joined, lines in
// a font of fixed width stay as they stand. A PDF says only where letters stand; what belongs together is guessed from gaps, indents and
// ends of lines, with numbers of our own.

/** A line of a page, sizes in points. */
export interface PdfLine {
  text: string;
  x: number;
  /** Of the baseline, upwards. */
  y: number;
  width: number;
  fontSize: number;
  isMonospace: boolean;
  /** Where its column ends, on a page with several. */
  right?: number;
}

/** Lines at the top and at the bottom of a page that may be its head and foot. */
const EDGE_LINES = 2;
/** A head or foot stands on this share of the pages at least, and on three: chapters have different ones. */
const MIN_REPEATED_SHARE = 0.05;
const MIN_REPEATED = 3;
const PAGE_NUMBER = /^\W*(page\s*|seite\s*|p\.\s*)?([ivxlc]+|\d+)(\s*(of|von|de|\/)\s*\d+)?\W*$/i;
/** A gap of this many times the usual one ends a paragraph. */
const PARAGRAPH_GAP = 1.35;
const OTHER_SIZE = 1.12;
/** A line that ends a sentence and leaves this share of the width free ends a paragraph. */
const FULL_LINE = 0.85;
const SENTENCE_END = /[.!?:;。！？][”"'’)\]]*$/;
/** A line of a table of contents. */
const DOT_LEADER = /(?:\. ?){5,}\s*[\divxlc]+$/i;
const BULLET = /^([•‣▪●○◦∙·–*-]|\(?\d{1,3}[.)]|\(?[a-z][.)])\s+\S/;

export function joinPages(pages: readonly (readonly PdfLine[])[]): string {
  const bodies = withoutEdges(pages);
  const gap = usualGap(bodies);
  const paragraphs: Paragraph[] = [];
  for (const lines of bodies) {
    const right = Math.max(0, ...lines.map(({ x, width }) => x + width));
    let previous: PdfLine | undefined;
    for (const line of lines) {
      const last = paragraphs.at(-1);
      if (!last || !(previous ? goesOn(previous, line, gap, previous.right ?? right) : goesOnOverPage(last, line)))
        paragraphs.push({ lines: [line], text: line.text, isCode: line.isMonospace });
      else {
        last.lines.push(line);
        if (!last.isCode) last.text = joinLines(last.text, line.text);
      }
      previous = line;
    }
  }
  return paragraphs.map((paragraph) => (paragraph.isCode ? codeOf(paragraph.lines) : paragraph.text)).join('\n\n');
}

interface Paragraph {
  lines: PdfLine[];
  text: string;
  isCode: boolean;
}

function withoutEdges(pages: readonly (readonly PdfLine[])[]): PdfLine[][] {
  const counts = new Map<string, number>();
  const edges = pages.map((lines) => {
    const downwards = lines.toSorted((a, b) => b.y - a.y);
    const top = downwards.slice(0, EDGE_LINES).map((line) => ({ line, key: `top ${keyOf(line.text)}` }));
    const bottom = downwards
      .slice(Math.max(EDGE_LINES, lines.length - EDGE_LINES))
      .map((line) => ({ line, key: `bottom ${keyOf(line.text)}` }));
    return [...top, ...bottom];
  });
  for (const edge of edges)
    for (const key of new Set(edge.map(({ key }) => key))) counts.set(key, (counts.get(key) ?? 0) + 1);
  const least = Math.max(MIN_REPEATED, MIN_REPEATED_SHARE * pages.length);
  return pages.map((lines, page) => {
    const dropped = new Set<PdfLine>();
    for (const { line, key } of edges[page])
      if ((counts.get(key) ?? 0) >= least || (pages.length > 1 && PAGE_NUMBER.test(line.text))) dropped.add(line);
    return lines.filter((line) => !dropped.has(line) && !DOT_LEADER.test(line.text));
  });
}

/** The same for "Page 3" and "Page 4". */
function keyOf(text: string): string {
  return text
    .replace(/\d+|\b[ivxlc]+\b/gi, '#')
    .replace(/\s+/g, ' ')
    .trim()
    .toLowerCase();
}

/** Median distance of neighbouring lines; 0 where there are none. */
function usualGap(pages: readonly (readonly PdfLine[])[]): number {
  const gaps: number[] = [];
  for (const lines of pages)
    for (let i = 1; i < lines.length; i++) {
      const gap = lines[i - 1].y - lines[i].y;
      if (gap > 0) gaps.push(gap / Math.max(1, lines[i].fontSize));
    }
  gaps.sort((a, b) => a - b);
  return gaps[gaps.length >> 1] ?? 0;
}

function goesOn(previous: PdfLine, line: PdfLine, gap: number, right: number): boolean {
  if (previous.isMonospace !== line.isMonospace) return false;
  const distance = (previous.y - line.y) / Math.max(1, line.fontSize);
  // Upwards: the next column.
  if (distance < 0) return !line.isMonospace && !SENTENCE_END.test(previous.text) && /^\p{Ll}/u.test(line.text);
  if (gap > 0 && distance > PARAGRAPH_GAP * gap) return false;
  if (line.isMonospace) return true;
  const ratio = previous.fontSize / Math.max(0.1, line.fontSize);
  if (ratio > OTHER_SIZE || ratio < 1 / OTHER_SIZE || BULLET.test(line.text)) return false;
  const isIndented = line.x > previous.x + line.fontSize && SENTENCE_END.test(previous.text);
  const isShort = previous.x + previous.width < previous.x + FULL_LINE * (right - previous.x);
  return !isIndented && !(isShort && SENTENCE_END.test(previous.text));
}

/** Over a page's end only what is plainly in the middle of a sentence. */
function goesOnOverPage({ text, isCode }: Paragraph, line: PdfLine): boolean {
  return !isCode && !line.isMonospace && !SENTENCE_END.test(text) && /^\p{Ll}/u.test(line.text);
}

function joinLines(before: string, after: string): string {
  if (before.endsWith('\u00ad')) return before.slice(0, -1) + after;
  if (/\p{L}[-‐]$/u.test(before) && /^\p{Ll}/u.test(after)) return before.slice(0, -1) + after;
  // Chinese and Japanese have no spaces.
  const isWide = /[\u3040-\u9fff]$/.test(before) && /^[\u3040-\u9fff]/.test(after);
  return isWide ? before + after : `${before} ${after}`;
}

/** Indents from where lines begin. */
function codeOf(lines: readonly PdfLine[]): string {
  const left = Math.min(...lines.map(({ x }) => x));
  const text = lines
    .map((line) => {
      const charWidth = line.width / Math.max(1, line.text.length);
      const indent = charWidth > 0 ? Math.min(80, Math.round((line.x - left) / charWidth)) : 0;
      return ' '.repeat(indent) + line.text;
    })
    .join('\n');
  return `\`\`\`\n${text}\n\`\`\``;
}

/** Lines a column, and its share of lines as wide as running text makes them: tables have narrower cells. */
const MIN_COLUMN_LINES = 6;
const TEXT_WIDTH = 0.6;
/** Free space between columns, in sizes of the font: LaTeX leaves one. */
const MIN_GUTTER = 0.8;
/** Share of the lines that may go across. */
const MAX_ACROSS = 0.4;
const MAX_DEPTH = 3;
/** A page of small print has a tenth of it. */
const MAX_FRAGMENTS = 3000;
const SAME_LINE = 0.3;

/**
 * A page's lines as they are read where it has columns (a recursive XY-cut, Nagy et al. 1992): a line across parts what is above it from what
 * is below; between two such lines the left column comes before the right one.
 * @param fragments lines cut at wide gaps @returns undefined where the page has no columns
 */
export function orderColumns(fragments: readonly PdfLine[], depth = 0): PdfLine[] | undefined {
  const gutter = findGutter(fragments, depth);
  if (gutter === undefined) return undefined;
  const across = fragments.filter(({ x, width }) => x < gutter && x + width > gutter).toSorted((a, b) => b.y - a.y);
  const ordered: PdfLine[] = [];
  let top = Number.POSITIVE_INFINITY;
  for (const bottom of [...across.map(({ y }) => y), Number.NEGATIVE_INFINITY]) {
    const band = fragments.filter(({ y }) => y < top && y > bottom);
    for (const side of [band.filter(({ x, width }) => x + width <= gutter), band.filter(({ x }) => x >= gutter)])
      ordered.push(...(orderColumns(side, depth + 1) ?? columnOf(side)));
    // What stands beside a line across belongs to it.
    if (bottom !== top) ordered.push(...columnOf(fragments.filter(({ y }) => y === bottom)));
    top = bottom;
  }
  return ordered;
}

/** The middle of the free space between two columns of running text. */
function findGutter(fragments: readonly PdfLine[], depth: number): number | undefined {
  if (depth === MAX_DEPTH) return undefined;
  if (fragments.length < 2 * MIN_COLUMN_LINES || fragments.length > MAX_FRAGMENTS) return undefined;
  let best: { gutter: number; numAcross: number } | undefined;
  const begins = new Map<number, number>();
  for (const { x } of fragments) begins.set(Math.round(x), (begins.get(Math.round(x)) ?? 0) + 1);
  for (const [begin, numLines] of begins) {
    // Most lines of a column begin at its edge.
    if (numLines < MIN_COLUMN_LINES / 2) continue;
    const right = fragments.filter(({ x }) => x >= begin - 1);
    const left = fragments.filter(({ x, width, fontSize }) => x + width <= begin - MIN_GUTTER * fontSize);
    const numAcross = fragments.length - left.length - right.length;
    if (numAcross > MAX_ACROSS * fragments.length || numAcross >= (best?.numAcross ?? Number.POSITIVE_INFINITY))
      continue;
    const areText = [left, right].every((side) => isColumn(side) || findGutter(side, depth + 1) !== undefined);
    if (areText && standBeside(left, right))
      best = { gutter: begin - 0.5 * MIN_GUTTER * right[0]!.fontSize, numAcross };
  }
  return best?.gutter;
}

function isColumn(lines: readonly PdfLine[]): boolean {
  if (lines.length < MIN_COLUMN_LINES) return false;
  const width = Math.max(...lines.map((line) => line.x + line.width)) - Math.min(...lines.map(({ x }) => x));
  return lines.filter((line) => line.width >= TEXT_WIDTH * width).length >= lines.length / 2;
}

/** Half of the shorter one at least has the other beside it. */
function standBeside(left: readonly PdfLine[], right: readonly PdfLine[]): boolean {
  const [a, b] = [left, right].map((lines) => ({
    low: Math.min(...lines.map(({ y }) => y)),
    high: Math.max(...lines.map(({ y }) => y)),
  })) as [{ low: number; high: number }, { low: number; high: number }];
  const shared = Math.min(a.high, b.high) - Math.max(a.low, b.low);
  return shared > 0 && shared >= Math.min(a.high - a.low, b.high - b.low) / 2;
}

/** Downwards; what stands on one line is one again. */
function columnOf(fragments: readonly PdfLine[]): PdfLine[] {
  const right = Math.max(0, ...fragments.map(({ x, width }) => x + width));
  const lines: PdfLine[] = [];
  for (const fragment of fragments.toSorted((a, b) => b.y - a.y || a.x - b.x)) {
    const last = lines.at(-1);
    if (last && last.y - fragment.y < SAME_LINE * fragment.fontSize && fragment.x > last.x) {
      last.text = `${last.text} ${fragment.text}`;
      last.width = fragment.x + fragment.width - last.x;
    } else lines.push({ ...fragment, right });
  }
  return lines;
}
