// A PDF's text by unpdf (Mozilla's PDF.js without a screen), a page at a time. Pictures are not looked at: a scanned book has no text.
import { getDocumentProxy } from 'unpdf';
import { joinPages, orderColumns, type PdfLine } from './pdf-layout.ts';
import type { OfficeRequest, OfficeResult } from './worker.ts';

/** Characters of text: the Bible has 4 million. */
const MAX_CHARS = 64 << 20;

/** A gap between words that may be one between columns, in sizes of the font. */
const MIN_GAP = 0.9;

interface Item {
  str?: string;
  transform: number[];
  width: number;
  fontName: string;
  hasEOL: boolean;
}

export async function readPdf({ bytes }: OfficeRequest): Promise<OfficeResult> {
  const pdf = await getDocumentProxy(bytes, { verbosity: 0, isEvalSupported: false });
  const pages: PdfLine[][] = [];
  let numChars = 0;
  for (let n = 1; n <= pdf.numPages; n++) {
    const page = await pdf.getPage(n);
    const { items, styles } = await page.getTextContent();
    const found = items as unknown as Item[];
    const lines = orderColumns(linesOf(found, styles, MIN_GAP)) ?? linesOf(found, styles);
    numChars += lines.reduce((sum, { text }) => sum + text.length, 0);
    if (numChars > MAX_CHARS) return { reason: `more than ${MAX_CHARS} characters of text` };
    pages.push(lines);
    page.cleanup();
  }
  const metadata = await metadataOf(pdf);
  await pdf.destroy();
  if (numChars === 0) return { leftOut: 'PDF without text (scanned?)' };
  const text = joinPages(pages)
    .replace(/\p{Surrogate}/gu, '\ufffd')
    .replaceAll('\0', '');
  return { text, metadata };
}

/** @param gap lines are cut where so much is free in them, in sizes of the font */
function linesOf(
  items: readonly Item[],
  styles: Record<string, { fontFamily?: string }>,
  gap = Number.POSITIVE_INFINITY,
): PdfLine[] {
  const lines: PdfLine[] = [];
  let line: PdfLine | undefined;
  for (const { str = '', transform, width, fontName, hasEOL } of items) {
    if (str.trim() !== '') {
      const [, , c, d, x, y] = transform;
      const isMonospace = styles[fontName]?.fontFamily === 'monospace';
      const isApart = line && (x - (line.x + line.width) > gap * line.fontSize || x + width <= line.x);
      if (line && line.fontSize > 0 && isApart && gap < Number.POSITIVE_INFINITY) {
        lines.push(line);
        line = undefined;
      }
      if (!line) line = { text: '', x, y, width: 0, fontSize: 0, isMonospace: true };
      line.fontSize = Math.max(line.fontSize, Math.hypot(c, d));
      line.width = Math.max(line.width, x + width - line.x);
      line.isMonospace &&= isMonospace;
    }
    if (line) line.text += str;
    if (hasEOL && line) {
      lines.push(line);
      line = undefined;
    }
  }
  if (line) lines.push(line);
  for (const one of lines) one.text = one.text.replace(/\s+/g, ' ').trim();
  return lines.filter(({ text }) => text !== '');
}

type Pdf = Awaited<ReturnType<typeof getDocumentProxy>>;

async function metadataOf(pdf: Pdf): Promise<Record<string, string>> {
  const { info } = await pdf.getMetadata();
  const { Title, Author, CreationDate, Language } = info as Record<string, unknown>;
  const metadata: Record<string, string> = {};
  const keep = (name: string, value: unknown) => {
    const clean = typeof value === 'string' ? value.replace(/\s+/g, ' ').trim().slice(0, 500) : '';
    if (clean !== '') metadata[name] = clean;
  };
  keep('title', Title);
  keep('author', Author);
  if (!String(Language).startsWith('x-')) keep('language', Language);
  const date = /^D:(\d{4})(\d\d)?(\d\d)?/.exec(typeof CreationDate === 'string' ? CreationDate : '');
  if (date) keep('date', date.slice(1).filter(Boolean).join('-'));
  return metadata;
}
