// Remote sources against a server that stands in for S3, a hub and a web server, and that fails in the ways that they do.
import * as http from 'node:http';
import type { AddressInfo } from 'node:net';
import * as zlib from 'node:zlib';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { findInputFiles, readCorpus } from '../../src/corpus/index.ts';

const lines = (n: number) =>
  Array.from({ length: n }, (_, i) => JSON.stringify({ text: `line ${i} ${'x'.repeat(50)}` })).join('\n');
const LARGE = Buffer.from(lines(20_000));
const OBJECTS: Record<string, Buffer> = {
  'data/a b+c.jsonl': Buffer.from(lines(2)),
  'data/b.jsonl.gz': zlib.gzipSync(lines(3)),
  'data/deep/c.txt': Buffer.from('deep text'),
  'data/deep/.hidden.txt': Buffer.from('hidden'),
  'data/image.png': Buffer.from('x'),
  'data2/other.txt': Buffer.from('other'),
  'large.jsonl': LARGE,
  'rows.parquet': Buffer.from(
    parquetWriteBuffer({ columnData: [{ name: 'text', data: ['row one', 'row two'], type: 'STRING' }] }),
  ),
};

let server: http.Server;
let origin: string;
/** What the server is to do with requests to come, by path: a status, or to break off after so many bytes. */
let faults: { path: string; status?: number; breakAfter?: number; noRanges?: true; etag?: string }[];
let requests: { path: string; range?: string; authorization?: string }[];

function sendFile(
  response: http.ServerResponse,
  range: string | undefined,
  bytes: Buffer,
  fault?: (typeof faults)[number],
): void {
  const match = fault?.noRanges ? null : /^bytes=(\d+)-(\d*)$/.exec(range ?? '');
  const start = match ? Number(match[1]) : 0;
  const end = match?.[2] ? Number(match[2]) + 1 : bytes.length;
  if (start >= bytes.length && match) return void response.writeHead(416).end();
  const body = bytes.subarray(start, end);
  response.writeHead(match ? 206 : 200, {
    'content-length': body.length,
    etag: fault?.etag ?? `"${bytes.length}"`,
    ...(match ? { 'content-range': `bytes ${start}-${start + body.length - 1}/${bytes.length}` } : {}),
  });
  if (fault?.breakAfter === undefined) response.end(body);
  else response.write(body.subarray(0, fault.breakAfter), () => response.destroy());
}

function listS3(response: http.ServerResponse, query: URLSearchParams): void {
  const keys = Object.keys(OBJECTS)
    .filter((key) => key.startsWith(query.get('prefix') ?? ''))
    .sort();
  const start = Number(query.get('continuation-token')?.slice(1) ?? 0);
  const page = keys.slice(start, start + 2);
  const contents = page.map(
    (key) =>
      `<Contents><Key>${encodeURIComponent(key).replaceAll('%20', '+')}</Key><Size>${OBJECTS[key].length}</Size><ETag>&quot;${OBJECTS[key].length}&quot;</ETag><LastModified>2026-01-01T00:00:00Z</LastModified></Contents>`,
  );
  const more = start + 2 < keys.length;
  response.end(
    `<?xml version="1.0"?><ListBucketResult><IsTruncated>${more}</IsTruncated>${more ? `<NextContinuationToken>t${start + 2}</NextContinuationToken>` : ''}${contents.join('')}</ListBucketResult>`,
  );
}

beforeAll(async () => {
  server = http.createServer((request, response) => {
    const url = new URL(request.url ?? '/', origin);
    const path = decodeURIComponent(url.pathname);
    const { range, authorization } = request.headers;
    requests.push({ path, range, authorization });
    const index = faults.findIndex((fault) => fault.path === path);
    const fault = index < 0 ? undefined : faults.splice(index, 1)[0];
    if (fault?.status) return void response.writeHead(fault.status).end();
    if (path === '/bucket') return listS3(response, url.searchParams);
    if (path === '/page')
      return void response.writeHead(200, { 'content-type': 'text/html' }).end('<p>A page without an ending.');
    if (path.startsWith('/api/datasets/own/set/tree/v1')) {
      const files = Object.entries(OBJECTS).map(([key, bytes]) => ({
        type: 'file',
        path: key,
        size: bytes.length,
        oid: `oid${bytes.length}`,
      }));
      return void response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(files));
    }
    if (path.startsWith('/datasets/own/set/resolve/v1/'))
      return void response
        .writeHead(302, { location: `/bucket/${url.pathname.slice('/datasets/own/set/resolve/v1/'.length)}` })
        .end();
    const bytes = OBJECTS[path.replace(/^\/(bucket|web)\//, '')];
    if (!bytes) return void response.writeHead(404).end();
    sendFile(response, range, bytes, fault);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  process.env.AWS_ENDPOINT_URL = origin;
  process.env.HF_ENDPOINT = origin;
});
afterAll(() => {
  for (const name of ['AWS_ENDPOINT_URL', 'HF_ENDPOINT', 'AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY'])
    delete process.env[name];
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  faults = [];
  requests = [];
});

const texts = async (paths: string | string[]) => {
  const found: string[] = [];
  for await (const { text } of readCorpus({ paths })) found.push(text);
  return found;
};
const names = async (path: string) =>
  (await findInputFiles(path)).files.map((file) => file.path.split('/bucket/')[1] ?? file.path);

describe('S3', () => {
  it('lists page by page: objects, folders and patterns', async () => {
    expect(await names('s3://bucket/data')).toEqual(['data/a b+c.jsonl', 'data/b.jsonl.gz', 'data/deep/c.txt']);
    expect(await names('s3://bucket/data/*.jsonl*')).toEqual(['data/a b+c.jsonl', 'data/b.jsonl.gz']);
    expect(await names('s3://bucket/data*/**/*.txt')).toEqual(['data/deep/c.txt', 'data2/other.txt']);
    expect(await names('s3://bucket/large.jsonl')).toEqual(['large.jsonl']);
    const { files, skippedByEnding } = await findInputFiles('s3://bucket/data/');
    expect(skippedByEnding).toEqual({ '.png': 1 });
    expect(files[0]).toMatchObject({
      sizeBytes: OBJECTS['data/a b+c.jsonl'].length,
      modifiedMs: Date.UTC(2026, 0),
      identity: expect.stringMatching(/^"\d+"$/),
    });
    await expect(findInputFiles('s3://bucket/none')).rejects.toThrow(/s3:\/\/bucket\/none: matches no file/);
  });

  it('reads plain and compressed objects, and Parquet from a copy', async () => {
    expect(await texts('s3://bucket/data/*')).toHaveLength(5);
    expect(await texts('s3://bucket/rows.parquet')).toEqual(['row one', 'row two']);
  });

  it('signs requests where there are keys', async () => {
    await texts('s3://bucket/data/deep');
    expect(requests.every(({ authorization }) => authorization === undefined)).toBe(true);
    process.env.AWS_ACCESS_KEY_ID = 'KEY';
    process.env.AWS_SECRET_ACCESS_KEY = 'SECRET';
    requests = [];
    await texts('s3://bucket/data/deep');
    expect(requests.map(({ authorization }) => authorization?.slice(0, 31))).toEqual(
      requests.map(() => 'AWS4-HMAC-SHA256 Credential=KEY'),
    );
    delete process.env.AWS_ACCESS_KEY_ID;
    delete process.env.AWS_SECRET_ACCESS_KEY;
  });

  it('tries again after a failure, and goes on where a connection broke', async () => {
    faults = [
      { path: '/bucket', status: 500 },
      { path: '/bucket/large.jsonl', status: 503 },
      { path: '/bucket/large.jsonl', breakAfter: 300_001 },
      { path: '/bucket/large.jsonl', breakAfter: 100_000 },
    ];
    expect((await texts('s3://bucket/large.jsonl')).join('\n')).toBe(
      LARGE.toString()
        .split('\n')
        .map((line) => JSON.parse(line).text)
        .join('\n'),
    );
    const ranges = requests.filter(({ path }) => path === '/bucket/large.jsonl').map(({ range }) => range);
    expect(ranges).toHaveLength(4);
    expect(ranges.slice(0, 2)).toEqual([undefined, undefined]);
    const [third, fourth] = ranges.slice(2).map((range) => Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1]));
    expect(third).toBeGreaterThan(0);
    expect(third).toBeLessThanOrEqual(300_001);
    expect(fourth).toBeGreaterThanOrEqual(third);
  });

  it('reads on from a server without ranges, and refuses a file that changed', async () => {
    faults = [
      { path: '/bucket/large.jsonl', breakAfter: 300_000 },
      { path: '/bucket/large.jsonl', noRanges: true },
    ];
    expect(await texts('s3://bucket/large.jsonl')).toHaveLength(20_000);
    faults = [
      { path: '/bucket/large.jsonl', breakAfter: 300_000 },
      { path: '/bucket/large.jsonl', etag: '"other"' },
    ];
    await expect(texts('s3://bucket/large.jsonl')).rejects.toThrow(
      /s3:\/\/bucket\/large\.jsonl.*changed while it was read/,
    );
  });

  it('reads the lines that begin in a range', async () => {
    const [file] = (await findInputFiles('s3://bucket/large.jsonl')).files;
    const { readFiles } = await import('../../src/corpus/index.ts');
    const read = async (start: number, end: number) => {
      const ids: string[] = [];
      for await (const { id } of readFiles([{ ...file, range: { start, end } }], {})) ids.push(id);
      return ids;
    };
    const [first, second] = [await read(0, 700_003), await read(700_003, LARGE.length)];
    expect(first.length + second.length).toBe(20_000);
    expect(new Set([...first, ...second]).size).toBe(20_000);
  });

  it('explains refusals, and what is no store', async () => {
    faults = [{ path: '/bucket', status: 403 }];
    await expect(texts('s3://bucket/data')).rejects.toThrow(
      /s3:\/\/bucket\/data: access refused \(status 403\)\. Set AWS_ACCESS_KEY_ID/,
    );
    faults = [{ path: '/bucket/data/deep/c.txt', status: 403 }];
    await expect(texts('s3://bucket/data/deep/c.txt')).rejects.toThrow(/c\.txt: access refused/);
    await expect(texts('s3://other/x')).rejects.toThrow(/s3:\/\/other\/x: no such file or folder there/);
    await expect(texts('s3://page/x')).rejects.toThrow(
      /s3:\/\/page\/x: the server answered with something else than a listing/,
    );
    await expect(texts('s3://b')).rejects.toThrow(/expected s3:\/\/BUCKET\/KEY/);
    await expect(texts('gs://bucket/x')).rejects.toThrow(
      /gs:\/\/bucket\/x: cannot be read from there\. Expected a local path, s3:\/\//,
    );
  });
});

describe('hub', () => {
  it('lists a data set at a revision and reads files over a redirect', async () => {
    expect(await names('hub://own/set@v1/data/*.jsonl*')).toEqual([
      'hub://own/set@v1/data/a b+c.jsonl',
      'hub://own/set@v1/data/b.jsonl.gz',
    ]);
    expect(await texts('hub://own/set@v1/data/b.jsonl.gz')).toHaveLength(3);
    expect(await texts('hub://own/set@v1/rows.parquet')).toEqual(['row one', 'row two']);
    expect((await findInputFiles('hub://own/set@v1/large.jsonl')).files[0].identity).toBe(`oid${LARGE.length}`);
  });

  it('explains what it cannot read', async () => {
    await expect(texts('hub://own/none/x.txt')).rejects.toThrow(/hub:\/\/own\/none.*no such file or folder/);
    await expect(texts('hub://own')).rejects.toThrow(/expected hub:\/\/OWNER\/NAME\/PATH/);
  });
});

describe('web', () => {
  it('reads single files, by ending or by what the server says', async () => {
    expect(await texts(`${origin}/web/data/b.jsonl.gz`)).toHaveLength(3);
    expect(await texts(`${origin}/page`)).toEqual(['A page without an ending.']);
    const { files } = await findInputFiles(`${origin}/web/large.jsonl?token=secret`);
    expect(files[0]).toMatchObject({ path: `${origin}/web/large.jsonl`, sizeBytes: LARGE.length, kind: 'jsonl' });
    const ids: string[] = [];
    for await (const { id } of readCorpus({ paths: `${origin}/web/large.jsonl?token=secret` })) ids.push(id);
    expect(ids[0]).toBe(`${origin}/web/large.jsonl:1`);
    await expect(texts(`${origin}/web/none.txt`)).rejects.toThrow(/none\.txt: no such file/);
    await expect(texts('http://nowhere.invalid/x.txt')).rejects.toThrow(
      /no way to nowhere\.invalid \(ENOTFOUND\)|EAI_AGAIN/,
    );
    await expect(texts('http://user:pass@127.0.0.1/x.txt')).rejects.toThrow(/a name and a password cannot be read/);
  });
});
