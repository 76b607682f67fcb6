// Small files of every kind that the readers take, made here byte by byte.
import { strToU8, zipSync } from 'fflate';

/** A PDF with one line of Helvetica, 10 points, each 12 points below the last, per entry of a page. */
export interface PlacedText {
  x: number;
  y: number;
  text: string;
}

/** Pages of lines below each other, or of texts at their places in points, in this order. */
export function makePdf(pages: readonly (readonly (string | PlacedText)[])[]): Buffer {
  const objects: string[] = [];
  const kids = pages.map((_, i) => `${4 + 2 * i} 0 R`).join(' ');
  objects.push('<< /Type /Catalog /Pages 2 0 R >>');
  objects.push(`<< /Type /Pages /Kids [${kids}] /Count ${pages.length} >>`);
  objects.push('<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>');
  for (const [i, lines] of pages.entries()) {
    const escaped = (text: string) => `(${text.replace(/[()\\]/g, '\\$&')}) Tj`;
    const text = lines
      .map((line) =>
        typeof line === 'string' ? `${escaped(line)} 0 -12 Td` : `1 0 0 1 ${line.x} ${line.y} Tm ${escaped(line.text)}`,
      )
      .join('\n');
    const stream = `BT /F1 10 Tf 50 750 Td\n${text}\nET`;
    objects.push(
      `<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Resources << /Font << /F1 3 0 R >> >> /Contents ${5 + 2 * i} 0 R >>`,
      `<< /Length ${stream.length} >>\nstream\n${stream}\nendstream`,
    );
  }
  objects.push('<< /Title (Made here) /CreationDate (D:20260102030405Z) >>');
  let file = '%PDF-1.4\n';
  const offsets = objects.map((object, i) => {
    const at = file.length;
    file += `${i + 1} 0 obj\n${object}\nendobj\n`;
    return at;
  });
  const xref = file.length;
  file += `xref\n0 ${objects.length + 1}\n0000000000 65535 f \n`;
  for (const at of offsets) file += `${String(at).padStart(10, '0')} 00000 n \n`;
  file += `trailer\n<< /Size ${objects.length + 1} /Root 1 0 R /Info ${objects.length} 0 R >>\nstartxref\n${xref}\n%%EOF\n`;
  return Buffer.from(file, 'latin1');
}

const WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"';

export function makeDocx(body: string, more: Record<string, Uint8Array> = {}): Buffer {
  const rel = 'http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument';
  return Buffer.from(
    zipSync({
      '[Content_Types].xml': strToU8(
        '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="xml" ContentType="application/xml"/></Types>',
      ),
      '_rels/.rels': strToU8(
        `<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" Type="${rel}" Target="word/document.xml"/></Relationships>`,
      ),
      'word/document.xml': strToU8(`<?xml version="1.0"?><w:document ${WORD}><w:body>${body}</w:body></w:document>`),
      'docProps/core.xml': strToU8('<cp:coreProperties><dc:title>A &amp; B</dc:title></cp:coreProperties>'),
      ...more,
    }),
  );
}

export function wordParagraph(text: string, style = ''): string {
  const properties = style ? `<w:pPr><w:pStyle w:val="${style}"/></w:pPr>` : '';
  return `<w:p>${properties}<w:r><w:t>${text}</w:t></w:r></w:p>`;
}

export function makeEpub(pages: Record<string, string>, spine = Object.keys(pages)): Buffer {
  const names = Object.keys(pages);
  const items = names.map((name, i) => `<item id="i${i}" href="${name}" media-type="application/xhtml+xml"/>`).join('');
  const refs = spine.map((name) => `<itemref idref="i${names.indexOf(name)}"/>`).join('');
  const inside = Object.fromEntries(
    names.filter((name) => !name.includes('..')).map((name) => [`OPS/${name}`, strToU8(pages[name])]),
  );
  return Buffer.from(
    zipSync({
      mimetype: strToU8('application/epub+zip'),
      'META-INF/container.xml': strToU8(
        '<container><rootfiles><rootfile full-path="OPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>',
      ),
      'OPS/book.opf': strToU8(
        `<package><metadata><dc:title>The Book</dc:title><dc:language>en</dc:language></metadata><manifest>${items}</manifest><spine>${refs}</spine></package>`,
      ),
      ...inside,
    }),
  );
}
