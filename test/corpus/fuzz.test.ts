// Every reader against damaged files of its kind: whatever bytes are changed, cut out or doubled, it ends, and with documents, bad records
// or an error for the user.
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import * as zlib from 'node:zlib';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isUserError } from '../../src/base/errors.ts';
import { readCorpus } from '../../src/corpus/index.ts';
import { makeDocx, makeEpub, makePdf, wordParagraph } from './samples.ts';

let folder: string;
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-fuzz-'));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const page = `<!doctype html><html lang=en><head><meta charset=utf-8><title>T</title></head><body><nav><a href=1>x</a></nav><article><h1>H</h1>
<p>Some text &amp; more, ünï.<ul><li>one<li><a href=2>two</a></ul><pre class="language-c"><code>int x;</code></pre>
<table><tr><th>a<th>b<tr><td>1<td>2</table><blockquote><p>q</blockquote></article></body></html>`;
const warc = ['request', 'response', 'conversion']
  .map((type) => {
    const body =
      type === 'response'
        ? `HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n${page.length.toString(16)}\r\n${page}\r\n0\r\n\r\n`
        : 'text';
    return `WARC/1.0\r\nWARC-Type: ${type}\r\nContent-Type: ${type === 'response' ? 'application/http' : 'text/plain'}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}\r\n\r\n`;
  })
  .join('');
const jsonl = '{"text":"ünï","url":"u"}\n{"messages":[{"role":"user","content":"x"}]}\n\n{"text":"\\ud83d\\ude00"}\n';
const csv = 'id,text,url\n1,"quoted ""x""\nline",u\n2,plain ünï,\n3,"a, b",v\n';
// Written by bzip2 1.0.8: "one\n\ntwo ü\n".
const bzip2 = Buffer.from('QlpoOTFBWSZTWeNnDjQAAAPRjAAQQAACAYSAAAQIACAAMQZMQQaZMgYSx7Tk8XckU4UJDjZw40A=', 'base64');

const SAMPLES: Record<string, Uint8Array> = {
  'a.txt': Buffer.from('text ünï\n\nmore\n'),
  'a.py': Buffer.from('def f():\n    return 1\n'),
  'utf16.txt': Buffer.from('\ufefftext ünï 😀\n', 'utf16le'),
  'a.html': Buffer.from(page),
  'a.xhtml': Buffer.from(`<?xml version="1.0" encoding="utf-8"?>${page}`),
  'a.jsonl': Buffer.from(jsonl),
  'a.jsonl.gz': zlib.gzipSync(jsonl),
  'a.csv': Buffer.from(csv),
  'a.tsv': Buffer.from(csv.replaceAll(',', '\t')),
  'a.csv.gz': zlib.gzipSync(csv),
  'a.warc': Buffer.from(warc),
  'a.warc.gz': Buffer.concat(warc.split(/(?=WARC\/1\.0)/).map((one) => zlib.gzipSync(one))),
  'a.txt.bz2': bzip2,
  'a.epub': makeEpub({ 'a.xhtml': page, 'b.xhtml': page }),
};
const SLOW_SAMPLES: Record<string, Uint8Array> = {
  'a.pdf': makePdf([['Some text', 'more text'], ['page two']]),
  'a.docx': makeDocx(wordParagraph('Title', 'Heading1') + wordParagraph('text') + wordParagraph('more')),
};

type Change = { kind: 'set' | 'cut' | 'double' | 'insert'; at: number; length: number; bytes: Uint8Array };

const change = fc.record<Change>({
  kind: fc.constantFrom('set', 'cut', 'double', 'insert'),
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  length: fc.integer({ min: 1, max: 200 }),
  bytes: fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 8 }),
    fc
      .constantFrom('"', '<', '</', '\n', '\r\n\r\n', '{', '[[[[[[', '\0', '\ufeff', '<!--', '<table>', 'WARC/1.0', '%')
      .map((text) => Buffer.from(text)),
  ),
});

function apply(given: Uint8Array, changes: readonly Change[]): Buffer {
  let bytes = Buffer.from(given);
  for (const { kind, at, length, bytes: more } of changes) {
    const start = Math.floor(at * bytes.length);
    const [head, part, tail] = [
      bytes.subarray(0, start),
      bytes.subarray(start, start + length),
      bytes.subarray(start + length),
    ];
    if (kind === 'set') bytes = Buffer.concat([head, more, bytes.subarray(start + more.length)]);
    else if (kind === 'insert') bytes = Buffer.concat([head, more, bytes.subarray(start)]);
    else if (kind === 'cut') bytes = Buffer.concat([head, tail]);
    else bytes = Buffer.concat([head, part, part, tail]);
  }
  return bytes;
}

async function readDamaged(name: string, sample: Uint8Array, numRuns: number): Promise<void> {
  const file = path.join(folder, name);
  const property = fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), async (changes) => {
    fs.writeFileSync(file, apply(sample, changes));
    let numItems = 0;
    const count = () => void numItems++;
    try {
      const handlers = { onBadRecord: count, onEmptyDocument: count, onLeftOut: count };
      for await (const { text } of readCorpus({ paths: file, maxBadShare: 1, maxRecordBytes: 1 << 20 }, handlers)) {
        numItems++;
        expect(/\p{Surrogate}/u.test(text)).toBe(false);
      }
    } catch (error) {
      if (!isUserError(error)) throw error;
      numItems++;
    }
    // A file of one document never vanishes: only containers and tables may be left with no record.
    if (/\.(txt|html|xhtml|py|pdf|docx|epub|bz2)$/.test(name)) expect(numItems).toBeGreaterThan(0);
  });
  await fc.assert(property, { numRuns, seed: 5 });
}

describe('damaged files', () => {
  it.each(Object.keys(SAMPLES))('%s', (name) => readDamaged(name, SAMPLES[name], 150), 60_000);
  it.each(Object.keys(SLOW_SAMPLES))('%s', (name) => readDamaged(name, SLOW_SAMPLES[name], 60), 60_000);

  it('reads deep JSON as one record more or less', async () => {
    const file = path.join(folder, 'deep.jsonl');
    const deep = `${'['.repeat(1_000_000)}${']'.repeat(1_000_000)}`;
    fs.writeFileSync(
      file,
      `{"text":"before"}\n{"text":"deep","x":${deep}}\n{"x":${'{"a":'.repeat(500_000)}\n{"text":"after"}\n`,
    );
    const texts: string[] = [];
    const bad: string[] = [];
    const handlers = { onBadRecord: ({ reason }: { reason: string }) => void bad.push(reason) };
    for await (const { text } of readCorpus({ paths: file, maxBadShare: 1 }, handlers)) texts.push(text);
    expect(texts.filter((text) => text !== 'deep')).toEqual(['before', 'after']);
    expect(texts.length + bad.length).toBe(4);
  });
});
