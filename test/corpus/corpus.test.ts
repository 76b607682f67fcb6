import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import * as zlib from 'node:zlib';
import * as zstd from '@bokuweb/zstd-wasm';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Rng } from '../../src/base/rng.ts';
import type { BadRecord, CorpusSpec, Document } from '../../src/corpus/index.ts';
import { expandBraces, findInputFiles, readCorpus } from '../../src/corpus/index.ts';

let folder: string;
beforeAll(async () => {
  await zstd.init();
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-corpus-'));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

function write(name: string, data: string | Uint8Array): string {
  const file = path.join(folder, name);
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, data);
  return file;
}

async function readAll(spec: CorpusSpec): Promise<{ documents: Document[]; bad: BadRecord[]; empty: string[] }> {
  const bad: BadRecord[] = [];
  const empty: string[] = [];
  const documents: Document[] = [];
  const handlers = {
    onBadRecord: (b: BadRecord) => void bad.push(b),
    onEmptyDocument: (id: string) => void empty.push(id),
  };
  for await (const document of readCorpus(spec, handlers)) documents.push(document);
  return { documents, bad, empty };
}

const texts = async (spec: CorpusSpec) => (await readAll(spec)).documents.map((document) => document.text);
const lines = (n: number, text = (i: number) => `record ${i} ünï ${'x'.repeat(i % 50)}`) =>
  Array.from({ length: n }, (_, i) => JSON.stringify({ text: text(i) })).join('\n') + '\n';

describe('paths', () => {
  it('expands braces, nested and empty', () => {
    expect(expandBraces('a.{md,txt}')).toEqual(['a.md', 'a.txt']);
    expect(expandBraces('{a,b{c,d}}/{x,}y')).toEqual(['a/xy', 'a/y', 'bc/xy', 'bc/y', 'bd/xy', 'bd/y']);
    expect(expandBraces('a{b')).toEqual(['a{b']);
  });

  it('reads files, folders and globs in one sorted order, each file once, hidden ones left out', async () => {
    for (const name of ['p/b.md', 'p/a.txt', 'p/sub/deep/c.rst', 'p/.hidden/d.md', 'p/.e.md', 'p/image.png'])
      write(name, name);
    const inFolder = await texts({ paths: path.join(folder, 'p') });
    expect(inFolder).toEqual(['p/a.txt', 'p/b.md', 'p/sub/deep/c.rst']);
    expect(await texts({ paths: 'p/**/*.{md,rst}', baseFolder: folder })).toEqual(['p/b.md', 'p/sub/deep/c.rst']);
    expect(await texts({ paths: 'p/*/deep/[a-c].rst', baseFolder: folder })).toEqual(['p/sub/deep/c.rst']);
    expect(await texts({ paths: 'p/?.md', baseFolder: folder })).toEqual(['p/b.md']);
    expect(await texts({ paths: ['p/b.md', 'p', 'p/**'], baseFolder: folder })).toEqual(inFolder);
    expect((await findInputFiles('p', folder)).skippedByEnding).toEqual({ '.png': 1 });
  });

  it('takes a name with glob characters literally when it exists', async () => {
    write('q/[draft] {1}.txt', 'draft');
    expect(await texts({ paths: 'q/[draft] {1}.txt', baseFolder: folder })).toEqual(['draft']);
  });

  it('explains paths that give nothing', async () => {
    write('r/table.xlsx', 'x');
    const find = (paths: string | string[]) => findInputFiles(paths, folder);
    await expect(find('nowhere.txt')).rejects.toThrow(/nowhere\.txt: no such file or folder/);
    await expect(find('r/*.md')).rejects.toThrow(/r\/\*\.md: matches no file/);
    await expect(find('r/table.xlsx')).rejects.toThrow(/no reader for "\.xlsx"\. Supported: \.txt, \.md/);
    await expect(find('r')).rejects.toThrow(/1 files, none with a reader \(endings: \.xlsx\)/);
    await expect(find('r/[z-a]*.md')).rejects.toThrow(
      /glob "\[z-a\]\*\.md": its \[\.\.\.\] is not a set of characters/,
    );
    await expect(find([])).rejects.toThrow(/at least one path/);
    await expect(find('gs://a/b')).rejects.toThrow(/gs:\/\/a\/b: cannot be read from there/);
  });
});

describe('text', () => {
  it('strips the byte order mark, turns CRLF into LF and keeps everything else', async () => {
    write('t/a.txt', '\ufeffone\r\ntwo\rthree\n\n  x\t\ufeff');
    expect(await texts({ paths: 't/a.txt', baseFolder: folder })).toEqual(['one\ntwo\rthree\n\n  x\t\ufeff']);
  });

  it('drops empty files and counts them', async () => {
    write('u/a.txt', '');
    write('u/b.txt', ' \n\t');
    write('u/c.txt', 'c');
    const { documents, empty } = await readAll({ paths: 'u', baseFolder: folder });
    expect(documents.map((d) => d.text)).toEqual(['c']);
    expect(empty).toHaveLength(2);
  });

  it('cuts a file above 16 MiB into documents at blank lines, losing nothing', async () => {
    const paragraph = `${'ä word '.repeat(200)}\n\n`;
    const whole = paragraph.repeat(Math.ceil((20 << 20) / Buffer.byteLength(paragraph)));
    write('v/big.txt', whole);
    const { documents } = await readAll({ paths: 'v/big.txt', baseFolder: folder });
    expect(documents.map((d) => path.basename(d.id))).toEqual(['big.txt@0', 'big.txt@1']);
    expect(documents[0].text.endsWith('\n\n')).toBe(true);
    expect(documents.map((d) => d.text).join('') === whole).toBe(true);
  });

  it('sets a file with invalid UTF-8 aside, naming the byte', async () => {
    for (let i = 0; i < 200; i++) write(`w/${i}.txt`, `good ${i}`);
    write('w/bad.txt', Buffer.concat([Buffer.from('täxt '), Buffer.from([0xe4, 0x20]), Buffer.from('tail')]));
    const { documents, bad } = await readAll({ paths: 'w', baseFolder: folder });
    expect(documents).toHaveLength(200);
    expect(bad).toEqual([
      { file: path.join(folder, 'w/bad.txt'), offset: 6, reason: expect.stringMatching(/^not valid UTF-8/) },
    ]);
  });
});

describe('jsonl', () => {
  it('reads `text`, else `content`, or the field that is named', async () => {
    write('j/a.jsonl', '{"text":"a","content":"x"}\n\r\n{"content":"b\\r\\nc"}\r\n{"body":1,"text":"last"}');
    expect(await texts({ paths: 'j/a.jsonl', baseFolder: folder })).toEqual(['a', 'b\nc', 'last']);
    write('j/b.ndjson', '\ufeff{"body":"b"}\n');
    expect(await texts({ paths: 'j/b.ndjson', field: 'body', baseFolder: folder })).toEqual(['b']);
  });

  it('sets bad records aside with line and reason', async () => {
    const bad = ['{"text": "cut', '{"text": 5}', '{"title":"x"}', '[1]', '{"text":null}', '{"text":"\\ud800"}'];
    write(
      'k/a.jsonl',
      Buffer.concat([Buffer.from(lines(1000) + bad.join('\n') + '\n'), Buffer.from([0x7b, 0xff, 0x0a])]),
    );
    const result = await readAll({ paths: 'k/a.jsonl', baseFolder: folder });
    expect(result.documents).toHaveLength(1000);
    expect(result.bad.map((b) => b.line)).toEqual([1001, 1002, 1003, 1004, 1005, 1006, 1007]);
    expect(result.bad[0].reason).toMatch(/not valid JSON/);
    expect(result.bad[1].reason).toBe('field "text" is a number, expected a string');
    expect(result.bad[2].reason).toBe('no field "text" or "content" (fields: title)');
    expect(result.bad[5].reason).toMatch(/lone surrogate/);
    expect(result.bad[6].reason).toMatch(/^not valid UTF-8 \(byte 1 of the line\)/);
  });

  it('refuses a corpus whose share of bad records is too large, and says how to raise the limit', async () => {
    write('l/a.jsonl', lines(97) + '{"body":"x"}\n'.repeat(3));
    await expect(texts({ paths: 'l/a.jsonl', name: 'web', baseFolder: folder })).rejects.toThrow(
      /3 of 100 records of corpus "web" cannot be used \(3 %, at most 1 % accepted\)[\s\S]*a\.jsonl:98: no field[\s\S]*maxBadShare/,
    );
    expect(await texts({ paths: 'l/a.jsonl', maxBadShare: 0.03, baseFolder: folder })).toHaveLength(97);
  });

  it('stops early when the field is wrong everywhere', async () => {
    write('m/a.jsonl', lines(100_000));
    const seen: BadRecord[] = [];
    const read = async () => {
      for await (const _ of readCorpus(
        { paths: 'm/a.jsonl', field: 'txt', baseFolder: folder },
        { onBadRecord: (b) => void seen.push(b) },
      ));
    };
    await expect(read()).rejects.toThrow(/100 of 100 records[\s\S]*no field "txt" \(fields: text\)/);
    expect(seen).toHaveLength(100);
  });

  it('skips over a line above the limit without holding it', async () => {
    write('n/a.jsonl', lines(300) + JSON.stringify({ text: 'y'.repeat(5_000_000) }) + '\n' + lines(1));
    const { documents, bad } = await readAll({ paths: 'n/a.jsonl', maxRecordBytes: 1_000_000, baseFolder: folder });
    expect(documents).toHaveLength(301);
    expect(bad).toMatchObject([{ line: 301, reason: 'a line of 4.77 MiB, at most 977 KiB accepted' }]);
  });
});

describe('compression', () => {
  const plain = lines(2000);
  const compressed = {
    gz: () => zlib.gzipSync(plain),
    zst: () => Buffer.from(zstd.compress(Buffer.from(plain), 3)),
  };

  it.each(['gz', 'zst'] as const)('reads .%s, several members included', async (ending) => {
    const once = compressed[ending]();
    write(`c/a.jsonl.${ending}`, Buffer.concat([once, once]));
    const found = await texts({ paths: `c/a.jsonl.${ending}`, baseFolder: folder });
    expect(found).toHaveLength(4000);
    expect(found.slice(2000)).toEqual(found.slice(0, 2000));
    write(`c/b.txt.${ending}`, compressed[ending]());
    expect(await texts({ paths: `c/b.txt.${ending}`, baseFolder: folder })).toEqual([plain]);
  });

  it.each(['gz', 'zst'] as const)(
    'refuses a truncated .%s, naming the place; at a maxBadShare of 1 keeps what it still gives',
    async (ending) => {
      // Incompressible text, so that the container has many blocks.
      const rng = new Rng(1);
      const random = lines(5000, () => Array.from({ length: 8 }, () => rng.uint32().toString(36)).join(' '));
      const whole = ending === 'gz' ? zlib.gzipSync(random) : Buffer.from(zstd.compress(Buffer.from(random), 3));
      const cut = Math.floor(whole.length * 0.7);
      write(`d/a.jsonl.${ending}`, whole.subarray(0, cut));
      const spec = { paths: `d/a.jsonl.${ending}`, name: 'web', baseFolder: folder };
      const refusal = new RegExp(
        `a\\.jsonl\\.${ending} \\(at byte ${cut}\\): .* ends early .*lost to corpus "web".*fetch it again.*maxBadShare`,
      );
      await expect(readAll(spec)).rejects.toThrow(refusal);
      await expect(readAll({ ...spec, maxBadShare: 0.99 })).rejects.toThrow(refusal);
      write(`d/b.txt.${ending}`, whole.subarray(0, cut));
      await expect(readAll({ ...spec, paths: `d/b.txt.${ending}` })).rejects.toThrow(/b\.txt.* ends early/);
      const first = await readAll({ ...spec, maxBadShare: 1 });
      expect(first.documents.length).toBeGreaterThan(1500);
      expect(first.documents.length).toBeLessThan(4000);
      expect(first.bad).toHaveLength(1);
      expect(first.bad[0].reason).toMatch(/ends early/);
      expect(first.bad[0].offset).toBe(cut);
      expect(await readAll({ ...spec, maxBadShare: 1 })).toEqual(first);
    },
  );

  it('stops a zstd bomb early: 12 KB that would be 400 MB', async () => {
    // A frame of RLE blocks (RFC 8878, 3.1.1.2): a header of 3 bytes and the byte to repeat 128 KiB times.
    const header = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38]);
    const block = Buffer.alloc(4);
    block.writeUIntLE(((128 << 10) << 3) | (1 << 1), 0, 3);
    block.writeUInt8(0x61, 3);
    write('d/bomb.txt.zst', Buffer.concat([header, ...Array<Buffer>(3000).fill(block)]));
    const before = process.memoryUsage.rss();
    await expect(readAll({ paths: 'd/bomb.txt.zst', baseFolder: folder })).rejects.toThrow(
      /bomb\.txt\.zst \(at byte \d+\): zstd data that expands to more than 1100 times its size/,
    );
    expect(process.memoryUsage.rss() - before).toBeLessThan(250e6);
  });

  it('turns random damage into bad records or documents, never into a crash', async () => {
    const rng = new Rng(7);
    for (let i = 0; i < 60; i++) {
      const ending = i % 2 ? 'gz' : 'zst';
      const bytes = compressed[ending]();
      const numFlips = 1 + rng.below(3);
      // Half of the damage in the header, where sizes are.
      for (let k = 0; k < numFlips; k++) bytes[rng.below(k % 2 ? bytes.length : 24)] = rng.below(256);
      write(`e/a.jsonl.${ending}`, bytes);
      const spec = { paths: `e/a.jsonl.${ending}`, maxBadShare: 1, baseFolder: folder };
      const { documents, bad } = await readAll(spec);
      expect(documents.length + bad.length).toBeGreaterThan(0);
    }
  });
});

describe('parquet', () => {
  const values = Array.from({ length: 2500 }, (_, i) => `row ${i} ünï ${'z'.repeat(i % 70)}`);
  const make = (codec: 'SNAPPY' | 'UNCOMPRESSED' = 'SNAPPY') =>
    Buffer.from(
      parquetWriteBuffer({
        columnData: [
          { name: 'id', data: values.map((_, i) => i), type: 'INT32' },
          { name: 'text', data: values, type: 'STRING' },
        ],
        rowGroupSize: 1000,
        codec,
      }),
    );

  it('reads the text column of all row groups', async () => {
    write('x/a.parquet', make());
    const { documents } = await readAll({ paths: 'x/a.parquet', baseFolder: folder });
    expect(documents.map((d) => d.text)).toEqual(values);
    expect(path.basename(documents[1234].id)).toBe('a.parquet#1234');
  });

  it('names the columns when the field is not among them, or is no text', async () => {
    write('x/b.parquet', make());
    await expect(texts({ paths: 'x/b.parquet', field: 'txt', baseFolder: folder })).rejects.toThrow(
      /no column "txt" \(columns: id, text\)\. Did you mean "text"\?/,
    );
    await expect(texts({ paths: 'x/b.parquet', field: 'id', baseFolder: folder })).rejects.toThrow(
      /column "id" holds numbers or fixed-length values, expected strings/,
    );
  });

  it('sets null and invalid UTF-8 rows aside', async () => {
    const data: (Uint8Array | null)[] = values.map((value) => Buffer.from(value));
    data[3] = null;
    data[4] = Uint8Array.of(0x61, 0xff);
    const bytes = parquetWriteBuffer({ columnData: [{ name: 'text', data, type: 'BYTE_ARRAY' }] });
    write('x/c.parquet', new Uint8Array(bytes));
    const { documents, bad } = await readAll({ paths: 'x/c.parquet', baseFolder: folder });
    expect(documents).toHaveLength(values.length - 2);
    expect(bad.map((b) => [b.row, b.reason])).toEqual([
      [3, 'column "text" is null, expected a string'],
      [4, 'column "text" is not valid UTF-8'],
    ]);
  });

  it('refuses a file with a damaged page, naming the row, unless maxBadShare is 1', async () => {
    const bytes = make('UNCOMPRESSED');
    // The length of row 1500's value: its page, hence its row group, ends there.
    bytes.writeUInt32LE(0x7fffffff, bytes.indexOf('row 1500 ') - 4);
    const spec = { paths: write('x/lost.parquet', bytes), baseFolder: folder };
    await expect(texts(spec)).rejects.toThrow(
      /lost\.parquet: damaged data \(value of \d+ bytes.*\) in row 1500\. .*lost/,
    );
    const { documents, bad } = await readAll({ ...spec, maxBadShare: 1 });
    expect(documents).toHaveLength(2000);
    expect(bad).toMatchObject([{ row: 1500, losesRest: true }]);
  });

  it('says that a truncated file is truncated', async () => {
    write('x/d.parquet', make().subarray(0, 20_000));
    await expect(texts({ paths: 'x/d.parquet', baseFolder: folder })).rejects.toThrow(
      /damaged Parquet footer[\s\S]*truncated/,
    );
  });

  const fixtures = path.join(import.meta.dirname, 'fixtures');
  const names = fs.readdirSync(fixtures).filter((name) => name.endsWith('.parquet'));

  it.each(names)("reads what the format's own implementation writes: %s", async (name) => {
    const expected = (i: number) => (i % 9 === 8 ? undefined : `row ${i} ünï ${'z'.repeat(i % 7)}`);
    const read = async (field?: string) => {
      const spec = { paths: path.join(fixtures, name), field, maxBadShare: 1 };
      const { documents, bad } = await readAll(spec);
      const found: (string | undefined)[] = Array(documents.length + bad.length).fill(undefined);
      for (const { id, text } of documents) found[Number(id.split('#')[1])] = text;
      for (const { reason } of bad) expect(reason).toMatch(/is null, expected a string/);
      return found;
    };
    const rows = Array.from({ length: 100 }, (_, i) => i);
    expect(await read()).toEqual(rows.map(expected));
    expect(await read('meta.note')).toEqual(rows.map((i) => (i % 5 === 4 ? undefined : expected(i))));
    expect(await read('kind')).toEqual(rows.map((i) => `kind ${i % 3}`));
    await expect(read('tags.list.element')).rejects.toThrow(/holds lists, expected strings/);
  });

  it('answers 600 damaged files with bad records or an error for the user, in little memory', async () => {
    const rng = new Rng(11);
    const file = path.join(folder, 'x/damaged.parquet');
    const before = process.memoryUsage.rss();
    for (let i = 0; i < 600; i++) {
      const bytes = fs.readFileSync(path.join(fixtures, names[i % names.length]));
      const footer = bytes.readUInt32LE(bytes.length - 8) + 8;
      for (let k = 0; k <= i % 3; k++)
        bytes[i % 2 ? bytes.length - 1 - rng.below(footer) : rng.below(bytes.length - footer)] = rng.below(256);
      fs.writeFileSync(file, i % 10 ? bytes : bytes.subarray(0, rng.below(bytes.length)));
      try {
        const spec = { paths: file, field: i % 4 ? 'text' : 'kind', maxBadShare: 1 };
        for await (const _ of readCorpus(spec));
      } catch (error) {
        expect((error as Error).name).toMatch(/^(ConfigError|DataError)$/);
      }
    }
    expect(process.memoryUsage.rss() - before).toBeLessThan(1.5e9);
  });
});
