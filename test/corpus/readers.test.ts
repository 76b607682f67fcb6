import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import * as zlib from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { BadRecord, CorpusSpec, Document, LeftOut } from '../../src/corpus/index.ts';
import { findInputFiles, readCorpus, readFiles } from '../../src/corpus/index.ts';

let folder: string;
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-readers-'));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

function write(name: string, data: string | Uint8Array): string {
  const file = path.join(folder, name);
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, data);
  return file;
}

async function readAll(spec: Omit<CorpusSpec, 'paths'> & { paths: string | string[] }) {
  const documents: Document[] = [];
  const bad: BadRecord[] = [];
  const leftOut: LeftOut[] = [];
  const handlers = { onBadRecord: (b: BadRecord) => void bad.push(b), onLeftOut: (l: LeftOut) => void leftOut.push(l) };
  for await (const document of readCorpus({ baseFolder: folder, maxBadShare: 1, ...spec }, handlers))
    documents.push(document);
  return { documents, bad, leftOut, texts: documents.map(({ text }) => text) };
}

describe('fields', () => {
  const row = { title: 'T', body: 'B', data: { text: 'inner', n: [{ t: 'deep' }] }, 'a.b': 'dotted', none: null, n: 5 };
  const jsonl = (...rows: object[]) => rows.map((r) => JSON.stringify(r)).join('\n');

  it('reads names, dotted names and templates of JSON lines', async () => {
    const paths = write('f/a.jsonl', jsonl(row));
    const text = async (field: string) => (await readAll({ paths, field })).texts[0];
    expect(await text('body')).toBe('B');
    expect(await text('data.text')).toBe('inner');
    expect(await text('data.n.0.t')).toBe('deep');
    expect(await text('a.b')).toBe('dotted');
    expect(await text('{title}\n\n{data.text} {{{n}}}{none}')).toBe('T\n\ninner {5}');
  });

  it('says which field of a template is missing, and that braces do not match', async () => {
    const paths = write('f/b.jsonl', jsonl(row, { title: 'x' }));
    expect((await readAll({ paths, field: '{title}: {body}' })).bad).toMatchObject([
      { line: 2, reason: 'no field "body" (fields: title)' },
    ]);
    expect((await readAll({ paths, field: '{title} {data}' })).bad[0].reason).toBe(
      'field "data" is a object, expected a string',
    );
    await expect(readAll({ paths, field: '{title' })).rejects.toThrow(/field "\{title": its braces do not match/);
    await expect(readAll({ paths, field: '{{}}' })).rejects.toThrow(/a template without a field/);
  });

  it('keeps small fields of use as metadata', async () => {
    const record = { text: 't', url: 'u', date: '2026', id: 7, other: 'x', title: 'y'.repeat(2000), language: '' };
    const { documents } = await readAll({ paths: write('f/c.jsonl', jsonl(record)) });
    expect(documents[0].metadata).toEqual({ url: 'u', date: '2026', id: 7 });
  });
});

describe('ranges of JSON lines', () => {
  it('gives each line to the part that it begins in, wherever the cuts are', async () => {
    const lines = Array.from({ length: 40 }, (_, i) => JSON.stringify({ text: `${'ü'.repeat(i % 7)}${i}` }));
    for (const last of ['', '\n']) {
      const file = write('g/a.jsonl', `\ufeff${lines.join('\n')}${last}`);
      const { sizeBytes } = (await findInputFiles(file)).files[0];
      const [whole] = (await findInputFiles(file)).files;
      const read = async (start: number, end: number) => {
        const found: Document[] = [];
        for await (const document of readFiles([{ ...whole, range: { start, end } }], {})) found.push(document);
        return found;
      };
      const all = await read(0, sizeBytes);
      expect(all).toHaveLength(40);
      expect(new Set(all.map(({ id }) => id)).size).toBe(40);
      expect(all[0].id).toBe(`${file}@0`);
      for (let cut = 0; cut <= sizeBytes; cut++) {
        const parts = [...(await read(0, cut)), ...(await read(cut, sizeBytes))];
        expect(parts).toEqual(all);
      }
    }
  });

  it('reads UTF-16 as a whole in its first part', async () => {
    const file = write('g/b.jsonl', Buffer.from('\ufeff{"text":"ä"}\n{"text":"b"}\n', 'utf16le'));
    const [whole] = (await findInputFiles(file)).files;
    const count = async (start: number, end: number) => {
      let n = 0;
      for await (const _ of readFiles([{ ...whole, range: { start, end } }], {})) n++;
      return n;
    };
    expect([await count(0, 20), await count(20, 60)]).toEqual([2, 0]);
  });
});

describe('CSV', () => {
  it('reads quoted fields, line ends inside them, metadata, other separators', async () => {
    write('c/a.csv', '\ufeffid,text,url\r\n1,"a ""quoted"", b\r\nsecond line",u1\r\n\r\n2,plain,\r\n');
    const { documents } = await readAll({ paths: 'c/a.csv' });
    expect(documents).toEqual([
      expect.objectContaining({ text: 'a "quoted", b\nsecond line', metadata: { id: '1', url: 'u1' } }),
      expect.objectContaining({ text: 'plain', metadata: { id: '2' } }),
    ]);
    expect(documents.map(({ id }) => id.split(':').pop())).toEqual(['2', '5']);
    expect(
      (await readAll({ paths: write('c/b.csv', 'title;body\nT;B, x\n'), field: '{title}: {body}' })).texts,
    ).toEqual(['T: B, x']);
    expect((await readAll({ paths: write('c/c.tsv', 'n\ttext\n1\ta "b" c, d\n') })).texts).toEqual(['a "b" c, d']);
    expect((await readAll({ paths: write('c/d.csv', Buffer.from('\ufefftext\nü\n', 'utf16le')) })).texts).toEqual([
      'ü',
    ]);
    expect((await readAll({ paths: write('c/e.csv.gz', zlib.gzipSync('text\nx\n')) })).texts).toEqual(['x']);
    expect((await readAll({ paths: write('c/f.csv', 'text,n\n') })).texts).toEqual([]);
  });

  it('sets bad rows aside with their line, and goes on', async () => {
    const rows = Buffer.concat([
      Buffer.from('text,n\nfine,1\n"two\nlines",2\nthree,3,4\nbad "quote" "here",5\n'),
      Buffer.from([0xe4, 0x2c, 0x36, 0x0a]),
      Buffer.from('last,7\n'),
    ]);
    const { texts, bad } = await readAll({ paths: write('c/g.csv', rows) });
    expect(texts).toEqual(['fine', 'two\nlines', 'last']);
    expect(bad.map(({ line }) => line)).toEqual([5, 6, 7]);
    expect(bad[0].reason).toBe('3 columns, expected 2');
    expect(bad[1].reason).toMatch(/Invalid Opening Quote/);
    expect(bad[2].reason).toMatch(/column "text": not valid UTF-8 \(byte 0\).*iconv/);
  });

  it('says that a quote is never closed, and passes over a row that is too long', async () => {
    const open = `text,n\n${'x,1\n'.repeat(50_000)}"open,2\n${'y,3\n'.repeat(5)}`;
    const { texts, bad } = await readAll({ paths: write('c/h.csv', open) });
    expect(texts).toHaveLength(50_000);
    expect(bad).toMatchObject([
      { line: 50_002, losesRest: true, reason: expect.stringMatching(/opened and not closed/) },
    ]);
    const long = `text,n\na,1\n"open ${'z'.repeat(300_000)}\n${'y,3\n'.repeat(50_000)}`;
    const passed = await readAll({ paths: write('c/i.csv', long), maxRecordBytes: 200_000 });
    expect(passed.bad).toMatchObject([
      { reason: expect.stringMatching(/a row of \d+ KiB, at most 195 KiB accepted; perhaps a quote/) },
    ]);
    expect(passed.texts.length).toBeGreaterThan(30_000);
    expect(new Set(passed.documents.map(({ id }) => id)).size).toBe(passed.documents.length);
  });

  it('names the columns that there are', async () => {
    const paths = write('c/j.csv', 'title,contents\na,b\n');
    await expect(readAll({ paths })).rejects.toThrow(
      /j\.csv: no column "text" or "content" \(columns: title, contents\)/,
    );
    await expect(readAll({ paths, field: 'titel' })).rejects.toThrow(/Did you mean "title"\?/);
  });
});

describe('source code', () => {
  it('reads a tree, with languages, without what .gitignore names and without generated and binary files', async () => {
    write('s/.gitignore', 'build/\n*.log.py\n!keep.log.py\n');
    write('s/a.py', 'print(1)\n');
    write('s/keep.log.py', 'keep = 1\n');
    write('s/drop.log.py', 'drop = 1\n');
    write('s/build/out.ts', 'drop\n');
    write('s/sub/.gitignore', 'b.rs\n!/c.log.py\n');
    write('s/sub/b.rs', 'fn b() {}\n');
    write('s/sub/c.log.py', 'c = 1\n');
    write('s/sub/Makefile', 'all:\n\ttrue\n');
    write('s/x.min.js', 'x\n');
    write('s/gen.go', '// Code generated by stringer. DO NOT EDIT.\npackage x\n');
    write('s/long.js', `var a=${'1+'.repeat(2000)}1;\n`);
    write('s/video.ts', Buffer.from([0x47, 0, 1, 0xff]));
    write('s/README.md', '# S\n');
    const { documents, leftOut } = await readAll({ paths: 's' });
    const found = documents.map(({ source, metadata }) => [
      path.relative(path.join(folder, 's'), source),
      metadata?.language,
    ]);
    expect(found).toEqual([
      ['README.md', undefined],
      ['a.py', 'python'],
      ['keep.log.py', 'python'],
      ['sub/Makefile', 'makefile'],
      ['sub/c.log.py', 'python'],
    ]);
    expect(leftOut.map(({ file, reason }) => [path.basename(file), reason])).toEqual([
      ['gen.go', 'generated code'],
      ['long.js', 'generated code'],
      ['video.ts', 'binary file'],
      ['x.min.js', 'generated code'],
    ]);
    expect((await findInputFiles('s', folder)).numIgnored).toBe(3);
  });

  it('reads what was asked for where it is ignored further up, and links in a circle once', async () => {
    write('t/.gitignore', 'inner/\n');
    write('t/inner/a.c', 'int a;\n');
    fs.symlinkSync('..', path.join(folder, 't/inner/up'));
    expect((await readAll({ paths: 't/inner' })).texts).toEqual(['int a;\n']);
    fs.symlinkSync('self', path.join(folder, 't/inner/self'));
    expect((await readAll({ paths: ['t/inner', 't/**/*.c'] })).texts).toEqual(['int a;\n']);
    fs.symlinkSync('loop.c', path.join(folder, 't/inner/loop.c'));
    await expect(readAll({ paths: 't/inner' })).rejects.toThrow(/loop\.c: its symbolic links lead in a circle/);
  });
});

describe('WARC', () => {
  const record = (type: string, body: string | Buffer, headers: Record<string, string> = {}) =>
    Buffer.concat([
      Buffer.from(
        `WARC/1.0\r\nWARC-Type: ${type}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n` +
          Object.entries({
            'WARC-Date': '2026-01-01T00:00:00Z',
            'Content-Type': 'application/http; msgtype=response',
            ...headers,
          })
            .map(([name, value]) => `${name}: ${value}\r\n`)
            .join('') +
          '\r\n',
      ),
      Buffer.from(body),
      Buffer.from('\r\n\r\n'),
    ]);
  const page = (n: number) =>
    `<html><head><title>P${n}</title></head><body><nav>menu</nav><p>Page ${n} says something.</p></body></html>`;
  const response = (body: string | Buffer, more = '', status = '200 OK') =>
    Buffer.concat([
      Buffer.from(`HTTP/1.1 ${status}\r\nContent-Type: text/html; charset=utf-8\r\n${more}\r\n`),
      Buffer.from(body),
    ]);
  const chunked = (body: string) =>
    `${body.slice(0, 10).length.toString(16)}\r\n${body.slice(0, 10)}\r\n${(body.length - 10).toString(16)};x=y\r\n${body.slice(10)}\r\n0\r\n\r\n`;
  const uri = (n: number) => ({ 'WARC-Target-URI': `https://example.org/${n}` });
  const records = () => [
    record('warcinfo', 'software: x\r\n', { 'Content-Type': 'application/warc-fields' }),
    record('request', 'GET / HTTP/1.1\r\n\r\n'),
    record('response', response(page(1)), uri(1)),
    record('response', response(zlib.gzipSync(page(2)), 'Content-Encoding: gzip\r\n'), uri(2)),
    record('response', response(chunked(page(3)), 'Transfer-Encoding: chunked\r\n'), uri(3)),
    record('response', response('moved', '', '301 Moved'), uri(4)),
    record('response', 'HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n....', uri(5)),
    record('conversion', 'plain text of a page', {
      ...uri(6),
      'Content-Type': 'text/plain',
      'WARC-Identified-Content-Language': 'eng',
    }),
  ];
  const texts = ['Page 1 says something.', 'Page 2 says something.', 'Page 3 says something.', 'plain text of a page'];

  it('reads pages and extracted text, plain and compressed record by record', async () => {
    write('w/a.warc', Buffer.concat(records()));
    write('w/b.warc.gz', Buffer.concat(records().map((one) => zlib.gzipSync(one))));
    for (const paths of ['w/a.warc', 'w/b.warc.gz']) {
      const { documents, bad, leftOut } = await readAll({ paths });
      expect(documents.map(({ text }) => text)).toEqual(texts);
      expect(documents[0].metadata).toEqual({
        title: 'P1',
        url: 'https://example.org/1',
        date: '2026-01-01T00:00:00Z',
      });
      expect(documents[3].metadata).toMatchObject({ language: 'eng' });
      expect(bad).toEqual([]);
      expect(leftOut.map(({ reason }) => reason)).toEqual(['responses with status 301', 'responses without text']);
    }
  });

  it('goes on after a damaged record, and passes over one that is too large', async () => {
    const all = records();
    const broken = Buffer.concat([
      all[0],
      Buffer.from('WARC/1.0\r\nContent-Length: x\r\n\r\n\r\n\r\n'),
      ...all.slice(2),
    ]);
    const result = await readAll({ paths: write('w/c.warc', broken) });
    expect(result.texts).toEqual(texts);
    expect(result.bad).toMatchObject([{ offset: all[0].length, reason: expect.stringMatching(/not a WARC record/) }]);
    const large = Buffer.concat([record('response', response('x'.repeat(500_000))), ...all]);
    const passed = await readAll({ paths: write('w/d.warc', large), maxRecordBytes: 100_000 });
    expect(passed.texts).toEqual(texts);
    expect(passed.bad[0].reason).toMatch(/a record of 488 KiB, at most 97.7 KiB accepted/);
  });

  it('refuses a bomb in a response, and an archive that ends early', async () => {
    const bomb = record('response', response(zlib.gzipSync(Buffer.alloc(50 << 20)), 'Content-Encoding: gzip\r\n'));
    expect((await readAll({ paths: write('w/e.warc', bomb) })).bad[0].reason).toMatch(/more than 16 MiB when unpacked/);
    const cut = Buffer.concat(records()).subarray(0, -200);
    await expect(readAll({ paths: write('w/f.warc', cut), maxBadShare: 0.5 })).rejects.toThrow(
      /ends inside a record\. What follows is lost/,
    );
    expect((await readAll({ paths: 'w/f.warc' })).texts).toEqual(texts.slice(0, 3));
  });
});

describe('bzip2', () => {
  // Written by bzip2 1.0.8.
  const TEXT = Buffer.from('QlpoOTFBWSZTWeNnDjQAAAPRjAAQQAACAYSAAAQIACAAMQZMQQaZMgYSx7Tk8XckU4UJDjZw40A=', 'base64');
  const JSONL = Buffer.from('QlpoOTFBWSZTWcBJhjYAAAdZgAAQEAAAEAIgBNogACIBo00IBppoWIbhB61UqPF3JFOFCQwEmGNg', 'base64');

  it('reads text and JSON lines, several streams too', async () => {
    expect((await readAll({ paths: write('b/a.txt.bz2', TEXT) })).texts).toEqual(['one\n\ntwo ü\n']);
    expect((await readAll({ paths: write('b/b.jsonl.bz2', Buffer.concat([JSONL, JSONL])) })).texts).toEqual([
      'zwei',
      'zwei',
    ]);
  });

  it('refuses a bomb: 113 bytes that would be 100 MB', async () => {
    const bomb = Buffer.from(
      'QlpoOTFBWSZTWQ4J4t8BX45AAMAAAAggADCATUZCoCWpCoCXMUFZJlNZDgni3wFfjkAAwAAACCAAMIBNRkKgJakKgJcxQVkmU1nEYApVAD7RQALAAABAAAggADDMCapppUiDaipEHi7kinChIcCoiS4=',
      'base64',
    );
    const { bad, leftOut } = await readAll({ paths: write('b/bomb.jsonl.bz2', bomb) });
    expect(bad).toMatchObject([{ losesRest: true, reason: expect.stringMatching(/expands to more than 1100 times/) }]);
    expect(leftOut).toEqual([]);
  });

  it('says where data is damaged or ends', async () => {
    const refusal = (name: string, data: Uint8Array) => readAll({ paths: write(name, data), maxBadShare: 0 });
    await expect(refusal('b/c.txt.bz2', TEXT.subarray(0, 40))).rejects.toThrow(
      /c\.txt\.bz2 .*bzip2 data ends early.*lost/,
    );
    const flipped = Buffer.from(TEXT);
    flipped[45] ^= 4;
    await expect(refusal('b/d.txt.bz2', flipped)).rejects.toThrow(/damaged bzip2 data/);
    await expect(refusal('b/e.txt.bz2', new Uint8Array(0))).rejects.toThrow(/ends early/);
    await expect(refusal('b/f.txt.bz2', Buffer.from('no bzip2'))).rejects.toThrow(/damaged bzip2 data/);
  });
});

describe('gzip', () => {
  it('takes zeros after the last member for padding, and nothing else', async () => {
    const member = zlib.gzipSync('{"text":"a"}\n');
    const refusal = (name: string, ...more: Uint8Array[]) =>
      readAll({ paths: write(name, Buffer.concat([member, ...more])), maxBadShare: 0 });
    expect((await refusal('z/a.jsonl.gz', new Uint8Array(40_000))).texts).toEqual(['a']);
    await expect(refusal('z/b.jsonl.gz', new Uint8Array(40_000), member)).rejects.toThrow(
      /what follows the gzip data is none/,
    );
    await expect(refusal('z/c.jsonl.gz', Buffer.from('xyz'))).rejects.toThrow(/damaged gzip data/);
    await expect(refusal('z/d.jsonl.gz', Buffer.from('\0x'))).rejects.toThrow(/what follows the gzip data is none/);
  });
});

describe('encodings of text', () => {
  it('reads UTF-16 with its mark; refuses Latin-1 with a hint, and zero bytes', async () => {
    const text = 'ünï 😀\r\nline';
    const little = Buffer.from(`\ufeff${text}`, 'utf16le');
    expect((await readAll({ paths: write('e/a.txt', little) })).texts).toEqual(['ünï 😀\nline']);
    expect((await readAll({ paths: write('e/b.txt', Buffer.from(little).swap16()) })).texts).toEqual(['ünï 😀\nline']);
    expect((await readAll({ paths: write('e/c.txt', Buffer.from('ünï', 'latin1')) })).bad[0].reason).toMatch(
      /not valid UTF-8 \(byte 0\); if it is Latin-1, convert it: iconv/,
    );
    expect((await readAll({ paths: write('e/d.txt', Buffer.from('abc', 'utf16le')) })).bad[0].reason).toMatch(
      /zero bytes/,
    );
  });
});
