// Repeated lines and paragraphs: which are found, which are left alone, and that parts and memory change nothing.
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Rng } from '../../../src/base/rng.ts';
import { findDuplicates } from '../../../src/corpus/dedup/duplicates.ts';
import {
  DEFAULT_LINES,
  findRepeatedLines,
  findUnits,
  LineCutter,
  type LineOptions,
  LineWriter,
} from '../../../src/corpus/dedup/lines.ts';
import { SignatureWriter } from '../../../src/corpus/dedup/signatures.ts';

let folder: string;
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-lines-'));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

let numFiles = 0;
const newFile = () => path.join(folder, `${++numFiles}`);

/** The texts of all parts without their repeated lines; gone documents are undefined. */
async function clean(
  parts: readonly (readonly string[])[],
  given: Partial<LineOptions> = {},
  { memoryBytes, exact = false }: { memoryBytes?: number; exact?: boolean } = {},
) {
  const options = { ...DEFAULT_LINES, ...given };
  const files: { lines: string; signatures: string; duplicates: string; repeated: string }[] = [];
  for (const texts of parts) {
    const file = newFile();
    const writer = new LineWriter(`${file}.lines`, options);
    const signatures = new SignatureWriter(`${file}.signatures`);
    for (const text of texts) {
      writer.add(text);
      signatures.add(text);
    }
    writer.finish();
    signatures.finish();
    files.push({
      lines: `${file}.lines`,
      signatures: `${file}.signatures`,
      duplicates: `${file}.duplicates`,
      repeated: `${file}.repeated`,
    });
  }
  if (exact) await findDuplicates({ parts: files, folder, minHash: false });
  const linePartFiles = files.map(({ duplicates, ...rest }) => ({ ...rest, ...(exact && { duplicates }) }));
  const summary = await findRepeatedLines({
    parts: linePartFiles,
    options,
    folder,
    ...(memoryBytes && { memoryBytes }),
  });
  const texts = parts.map((part, i) => {
    const cutter = new LineCutter(files[i]!.repeated, options);
    const cleaned = part.map((text, index) => cutter.edit(index, text)?.text ?? text);
    cutter.finish();
    return cleaned;
  });
  return { texts, summary, files };
}

const NOTICE = 'This notice stands below every single page, number 17.';

describe('repeated lines', () => {
  it('stay in the first document only, where more than maxDocuments have them', async () => {
    const pages = Array.from({ length: 4 }, (_, i) => `Page ${'abcd'[i]}\n${NOTICE}\nsome text of ${'abcd'[i]}`);
    const { texts, summary } = await clean([pages.slice(0, 3), pages.slice(3)], { maxDocuments: 3 });
    expect(texts).toEqual([[pages[0], 'Page b\nsome text of b', 'Page c\nsome text of c'], ['Page d\nsome text of d']]);
    expect(summary).toEqual({ numHashes: 4, numRepeated: 1, numPlaces: 3 });
    expect((await clean([pages], { maxDocuments: 4 })).texts).toEqual([pages]);
  });

  it('are compared without case, digits, accents and punctuation; within a document they count once', async () => {
    const variants = [
      NOTICE,
      'this notice  stands below every single page (number 4).',
      `${NOTICE.toUpperCase()}\nother\n${NOTICE}`,
      'This notice stands bélow every single page, number 17!',
      'This notice stands above every single page, number 17.',
    ];
    const { texts } = await clean([variants], { maxDocuments: 3 });
    expect(texts[0]).toEqual([NOTICE, '', 'other\n', '', variants[4]]);
    expect((await clean([[`${NOTICE}\n`.repeat(9)]], { maxDocuments: 3 })).summary.numRepeated).toBe(0);
  });

  it('of less than minChars are left alone', async () => {
    const texts = Array(9).fill('short line, 12 !!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!');
    expect((await clean([texts])).texts).toEqual([texts]);
    expect((await clean([texts], { minChars: 12 })).texts[0]!.slice(1)).toEqual(Array(8).fill(''));
  });

  it('in code and tables are left alone', async () => {
    const code = 'return the_same_value_everywhere(argument_one, argument_two)';
    const text = [
      `\`\`\`python\n${code}\n\n${code}\n\`\`\``,
      `~~~\n${code}\n~~~`,
      `    ${code}`,
      `\t${code}`,
      '| a header of the table | another header of it |',
      `a cell of this table\twith a tab in it\tand another one`,
    ].join('\n');
    const documents = Array.from({ length: 9 }, (_, i) => `${text}\nown ${'abcdefghi'[i]}`);
    expect((await clean([documents])).summary.numHashes).toBe(0);
    expect((await clean([documents], { unit: 'paragraph' })).summary.numHashes).toBe(0);
    // The same line outside of them is one.
    expect((await clean([Array(9).fill(`\`\`\`\n\`\`\`\n${code}`)])).summary.numPlaces).toBe(8);
    // A fence that is none: code on one line, an underlined heading.
    expect([...findUnits('```a``` b\nx\n', 'line')]).toHaveLength(2);
    expect([...findUnits('Heading\n~~~~~~~\nx\n', 'line')]).toHaveLength(3);
  });

  it('do not count in documents that are gone', async () => {
    const pages = Array.from({ length: 3 }, (_, i) => `${NOTICE}\nown text ${'abc'[i]}`);
    const parts = [[pages[0]!, pages[0]!], [pages[0]!, pages[1]!], [pages[2]!]];
    const options = { maxDocuments: 3 };
    expect((await clean(parts, options, { exact: true })).summary).toEqual({
      numHashes: 3,
      numRepeated: 0,
      numPlaces: 0,
    });
    expect((await clean(parts, options)).summary.numRepeated).toBe(1);
  });

  it('are the same for any parts and memory', async () => {
    const rng = new Rng(1, 'lines');
    const lines = Array.from(
      { length: 60 },
      (_, i) => `a line of the pool with the name ${String.fromCharCode(97 + (i % 26), 97 + Math.floor(i / 26))}`,
    );
    const texts = Array.from({ length: 200 }, () =>
      Array.from({ length: 8 }, () => lines[Math.floor(60 * rng.float() ** 3)]).join('\n'),
    );
    const reference = await clean([texts]);
    // By brute force: a line stays in the first document that has it, or where it is rare.
    const holders = (line: string) => texts.flatMap((text, i) => (text.split('\n').includes(line) ? [i] : []));
    const expected = texts.map((text, i) =>
      text
        .split('\n')
        .filter((line) => holders(line).length <= DEFAULT_LINES.maxDocuments || holders(line)[0] === i)
        .join('\n'),
    );
    expect(reference.texts[0]!.map((text) => text.trimEnd())).toEqual(expected);
    for (const [numParts, memoryBytes] of [
      [7, 1 << 20],
      [25, 3000],
    ]) {
      const size = Math.ceil(200 / numParts!);
      const parts = Array.from({ length: numParts! }, (_, i) => texts.slice(i * size, (i + 1) * size));
      const { texts: result, summary } = await clean(parts, {}, { memoryBytes: memoryBytes! });
      expect(result.flat()).toEqual(reference.texts.flat());
      expect(summary).toEqual(reference.summary);
    }
  });

  it('refuses texts that are not those that were hashed', async () => {
    const { files } = await clean([Array.from({ length: 8 }, (_, i) => `${NOTICE}\n${i}`)]);
    const cutter = new LineCutter(files[0]!.repeated);
    expect(() => cutter.edit(3, 'another text')).toThrow('does not belong to the texts: document 3');
    expect(() => cutter.finish()).toThrow('documents that are not among them');
  });
});

describe('paragraphs', () => {
  it('end at empty lines; blocks of code hold theirs', () => {
    const text = 'one\ntwo\n\n\nthree\n\n```\ncode\n\ncode\n```\nfour\n\nfive';
    const units = [...findUnits(text, 'paragraph')].map(({ start, end }) => text.slice(start, end));
    expect(units).toEqual(['one\ntwo\n\n\n', 'three\n\n', 'five']);
  });

  it('are taken out whole', async () => {
    const repeated = 'A paragraph that stands\non two lines of many documents.';
    const texts = Array.from({ length: 8 }, (_, i) => `before ${'abcdefgh'[i]}\n\n${repeated}\n\nafter`);
    const result = (await clean([texts], { unit: 'paragraph' })).texts[0]!;
    expect(result[0]).toBe(texts[0]);
    expect(result[5]).toBe('before f\n\nafter');
  });
});
