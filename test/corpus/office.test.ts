import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { strToU8, zipSync } from 'fflate';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type BadRecord, type Document, type LeftOut, readCorpus } from '../../src/corpus/index.ts';
import { joinPages, type PdfLine } from '../../src/corpus/office/pdf-layout.ts';
import { makeDocx, makeEpub, makePdf, wordParagraph } from './samples.ts';

let folder: string;
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-office-'));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

async function read(name: string, data: Uint8Array, maxRecordBytes?: number) {
  const file = path.join(folder, name);
  fs.writeFileSync(file, data);
  const documents: Document[] = [];
  const bad: BadRecord[] = [];
  const leftOut: LeftOut[] = [];
  const handlers = { onBadRecord: (b: BadRecord) => void bad.push(b), onLeftOut: (l: LeftOut) => void leftOut.push(l) };
  for await (const document of readCorpus({ paths: file, maxBadShare: 1, maxRecordBytes }, handlers))
    documents.push(document);
  return { documents, bad, leftOut };
}

/** Lines from the top of a page, 12 points apart; an empty one leaves a gap. */
function page(...texts: string[]): PdfLine[] {
  return texts
    .map((text, i) => ({ text, x: 50, y: 750 - 12 * i, width: 5 * text.length, fontSize: 10, isMonospace: false }))
    .filter(({ text }) => text !== '');
}

describe('layout of PDF pages', () => {
  const full = 'A line that fills the whole width of its page and so';

  it('joins lines and hyphenated words, and ends paragraphs at gaps, short last lines and bullets', () => {
    expect(
      joinPages([
        page(
          full,
          'goes on with a broken exam-',
          'ple of a long word.',
          full,
          'ends.',
          '',
          'New Paragraph',
          '',
          '• one',
          '• two',
        ),
      ]),
    ).toBe(`${full} goes on with a broken example of a long word.\n\n${full} ends.\n\nNew Paragraph\n\n• one\n\n• two`);
  });

  it('keeps hyphens before capitals and digits', () => {
    expect(joinPages([page('It is the Debian-', 'Reference, of which the UTF-', '8 part is meant')])).toBe(
      'It is the Debian- Reference, of which the UTF- 8 part is meant',
    );
  });

  it('drops heads, feet and numbers of pages, and tables of contents; joins a sentence over the end of a page', () => {
    const pages = [1, 2, 3, 4].map((n) =>
      page(`The Manual ${n} / 4`, `body of page ${'abcd'[n - 1]} that`, `says ${'efgh'[n - 1]} and`, `${n}`),
    );
    pages[0].splice(1, 0, ...page('', '1.1 Scope . . . . . . . . 3'));
    expect(joinPages(pages)).toBe(
      'body of page a that says e and body of page b that says f and body of page c that says g and body of page d that says h and',
    );
  });

  it('keeps lines and indents of a font of fixed width', () => {
    const code = page('if (x) {', 'y();', '}').map((line) => ({ ...line, isMonospace: true }));
    code[1].x += 10;
    expect(joinPages([[...page('Text before'), ...code]])).toBe('Text before\n\n```\nif (x) {\n  y();\n}\n```');
  });
});

/** Lines of about a column's width, numbered so that their order can be read. */
const columnLines = (name: string, n: number) =>
  Array.from({ length: n }, (_, i) => `${name}${i} words that fill the whole column of it`);
const place = (texts: readonly string[], x: number, top: number) =>
  texts.map((text, i) => ({ x, y: top - 12 * i, text }));
const orderOf = (text: string) => text.match(/\b[a-z]\d+\b/g);

describe('columns of a PDF page', () => {
  const [left, right] = [place(columnLines('l', 12), 50, 640), place(columnLines('r', 12), 320, 640)];
  const across = 'A title that goes over the whole width of the page, from the left column to the right one t0';
  const head = { x: 50, y: 700, text: across };
  const rows = left.flatMap((line, i) => [line, right[i]!]);
  const wanted = ['t0', ...left.map((_, i) => `l${i}`), ...right.map((_, i) => `r${i}`)];

  it.each([
    ['row by row', [head, ...rows]],
    ['column by column', [head, ...left, ...right]],
    ['backwards, with the title last', [...rows.toReversed(), head]],
  ])('are read one after the other: written %s', async (_, items) => {
    const { documents } = await read('columns.pdf', makePdf([items]));
    expect(orderOf(documents[0]!.text)).toEqual(wanted);
  });

  it('of several bands, three of them, and in the middle of a sentence', async () => {
    const three = ['l', 'm', 'r'].map((name, i) =>
      place(
        columnLines(name, 8).map((t) => t.slice(0, 30)),
        40 + 190 * i,
        660,
      ),
    );
    const below = { x: 40, y: 550, text: `${across.replace('t0', 't1')} and on, so that it is a long one` };
    const rest = ['a', 'b', 'c'].map((name, i) =>
      place(
        columnLines(name, 8).map((t) => t.slice(0, 30)),
        40 + 190 * i,
        530,
      ),
    );
    const items = [
      ...three[0]!.flatMap((_, i) => three.map((column) => column[i]!)),
      below,
      ...rest[0]!.flatMap((_, i) => rest.map((c) => c[i]!)),
    ];
    const { documents } = await read('three.pdf', makePdf([items]));
    const names = (list: string[]) => list.flatMap((name) => Array.from({ length: 8 }, (_, i) => `${name}${i}`));
    expect(orderOf(documents[0]!.text)).toEqual([...names(['l', 'm', 'r']), 't1', ...names(['a', 'b', 'c'])]);
    // The text runs on from one column into the next.
    expect(documents[0]!.text).toContain('l7 words that fill the whole c m0 words');
  });

  it('are none where a table has narrow cells, or lines are short', async () => {
    const table = Array.from({ length: 12 }, (_, i) => [
      { x: 50, y: 700 - 12 * i, text: i === 3 ? 'a name that is far longer than the others' : `n${i}` },
      { x: 320, y: 700 - 12 * i, text: i === 5 ? 'a value that is far longer than the others' : `v${i}` },
    ]).flat();
    const { documents } = await read('table.pdf', makePdf([table]));
    expect(orderOf(documents[0]!.text)!.slice(0, 6)).toEqual(['n0', 'v0', 'n1', 'v1', 'n2', 'v2']);
  });
});

describe('PDF', () => {
  it('reads pages of text', async () => {
    const first = 'The first line of text in this file is a long one, so that it is';
    const { documents } = await read(
      'a.pdf',
      makePdf([[first, 'followed by an exam-', 'ple.'], ['Second page (with brackets).']]),
    );
    expect(documents[0].text).toBe(`${first} followed by an example.\n\nSecond page (with brackets).`);
    expect(documents[0].metadata).toEqual({ title: 'Made here', date: '2026-01-02' });
  });

  it('reads several in a row, damaged ones between; leaves those without text out', async () => {
    expect((await read('b.pdf', Buffer.from('%PDF-1.4\nnothing'))).bad[0].reason).toMatch(/^damaged PDF \(/);
    expect((await read('c.pdf', makePdf([[]]))).leftOut).toMatchObject([{ reason: 'PDF without text (scanned?)' }]);
    expect((await read('d.pdf', makePdf([['still read']]))).documents[0].text).toBe('still read');
    expect((await read('e.pdf', makePdf([['x'.repeat(5000)]]), 1000)).bad[0].reason).toBe('a file of more than 1000 B');
  });
});

describe('DOCX', () => {
  it('reads headings, paragraphs, lists and tables as Markdown', async () => {
    const table = `<w:tbl><w:tr><w:tc>${wordParagraph('a')}</w:tc><w:tc>${wordParagraph('b')}</w:tc></w:tr></w:tbl>`;
    const body = wordParagraph('Title', 'Heading1') + wordParagraph('One &amp; two.') + table;
    const { documents, bad } = await read('a.docx', makeDocx(body));
    expect(bad).toEqual([]);
    expect(documents[0].text).toBe('# Title\n\nOne & two.\n\n| a | b |');
    expect(documents[0].metadata).toEqual({ title: 'A & B' });
  });

  it('refuses bombs and what is no archive', async () => {
    const bomb = makeDocx(wordParagraph('x'), { 'word/styles.xml': new Uint8Array(40 << 20) });
    expect(bomb.length).toBeLessThan(100_000);
    expect((await read('b.docx', bomb)).bad[0].reason).toBe('damaged DOCX (unpacks to more than 32 MiB)');
    expect((await read('c.docx', Buffer.from('PK'))).bad[0].reason).toMatch(/^damaged DOCX/);
    const deep = '<w:p>'.repeat(200_000);
    expect((await read('d.docx', makeDocx(deep))).bad).toHaveLength(1);
    expect((await read('e.docx', makeDocx(wordParagraph('still read')))).documents[0].text).toBe('still read');
  });
});

describe('EPUB', () => {
  const html = (text: string) =>
    `<?xml version="1.0"?><html><head><title>t</title></head><body><p>${text}</p></body></html>`;

  it('reads pages in the order of the spine', async () => {
    const { documents } = await read(
      'a.epub',
      makeEpub({ 'b.xhtml': html('Second'), 'a%20b.xhtml': html('x'), 'a.xhtml': html('First') }, [
        'a.xhtml',
        'b.xhtml',
      ]),
    );
    expect(documents[0].text).toBe('First\n\nSecond');
    expect(documents[0].metadata).toEqual({ title: 'The Book', language: 'en' });
  });

  it('refuses bombs, pages outside the archive, and what is no book', async () => {
    expect((await read('b.epub', makeEpub({ '../../../etc/passwd.xhtml': '' }))).bad[0].reason).toMatch(
      /its page "\.\.\/.*" is not in the archive/,
    );
    const bomb = makeEpub({ 'a.xhtml': html(' '.repeat(3 << 20)) });
    expect((await read('c.epub', bomb, 1 << 20)).bad[0].reason).toBe('damaged EPUB (unpacks to more than 1 MiB)');
    expect((await read('d.epub', Buffer.from(zipSync({ a: strToU8('x') })))).bad[0].reason).toBe(
      'not an EPUB: no package document',
    );
    expect((await read('e.epub', Buffer.from('no zip'))).bad[0].reason).toMatch(/^damaged EPUB/);
  });

  it('refuses a member that is larger than it says', async () => {
    const book = makeEpub({ 'a.xhtml': html('a'.repeat(5000)) });
    // The size in the central directory: 24 bytes after its signature.
    const at = book.lastIndexOf(Buffer.from('OPS/a.xhtml')) - 46 + 24;
    book.writeUInt32LE(100, at);
    const { bad, documents } = await read('f.epub', book);
    expect(bad.length + documents.length).toBe(1);
    expect(documents[0]?.text.length ?? 0).toBeLessThan(5000);
  });
});
