// Who may ask.
import * as http from 'node:http';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ConfigError } from '../../src/base/errors.ts';
import { checkAccess } from '../../src/serve/access.ts';
import { runInProcess } from '../cli/in-process.ts';
import { BASE, serveForTest, type TestServer } from './fixtures.ts';

const TOKEN = 'correct-horse-battery';
const PAGE = 'https://notes.example';
let server: TestServer;

beforeAll(async () => {
  server = await serveForTest({ token: TOKEN, allowedOrigins: [PAGE], maxTokens: 32, maxBatch: 2 });
});
afterAll(() => server.drain(0));

/** Node's own fetch does not let a Host be chosen. */
function get(route: string, headers: Record<string, string>, method = 'GET') {
  const { origin } = new URL(server.url);
  return new Promise<{ status: number; headers: http.IncomingHttpHeaders }>((resolve, reject) => {
    http
      .request(`${origin}${route}`, { headers, method }, (response) => {
        response.resume();
        resolve({ status: response.statusCode!, headers: response.headers });
      })
      .on('error', reject)
      .end();
  });
}

const AUTHORIZED = { authorization: `Bearer ${TOKEN}` };

test.each([
  ['the token', AUTHORIZED, 200],
  ['none', {}, 401],
  ['a wrong one', { authorization: 'Bearer wrong' }, 401],
  ['one that begins like it', { authorization: `Bearer ${TOKEN}x` }, 401],
  ['another name for this machine (DNS rebinding)', { ...AUTHORIZED, host: 'evil.example:8000' }, 403],
  ['localhost by name', { ...AUTHORIZED, host: 'localhost:1' }, 200],
  ['a page that is not allowed', { ...AUTHORIZED, origin: 'https://evil.example' }, 403],
  ['a page that is', { ...AUTHORIZED, origin: PAGE }, 200],
])('%s', async (_name, headers, status) => {
  expect((await get('/v1/models', headers)).status).toBe(status);
  expect((await get('/metrics', headers)).status).toBe(status);
});

test('the client of OpenAI says so', async () => {
  expect((await server.client.models.list()).data).toHaveLength(1);
  await expect(server.client.withOptions({ apiKey: 'wrong-wrong' }).models.list()).rejects.toMatchObject({
    status: 401,
    code: 'invalid_api_key',
  });
});

test('health needs no token and tells nothing else', async () => {
  expect((await get('/health', {})).status).toBe(200);
});

test('browsers hear of allowed origins only', async () => {
  const preflight = (origin: string) =>
    get('/v1/completions', { origin, 'access-control-request-method': 'POST' }, 'OPTIONS');
  expect((await preflight(PAGE)).headers['access-control-allow-origin']).toBe(PAGE);
  expect((await preflight('https://evil.example')).headers['access-control-allow-origin']).toBeUndefined();
});

describe('addresses', () => {
  const access = (host: string, token?: string) => () => checkAccess({ host, token, allowedOrigins: [] });

  test('this machine’s need no token, all others do', () => {
    for (const host of ['127.0.0.1', 'localhost', '::1', '127.8.0.1']) expect(access(host)).not.toThrow();
    for (const host of ['0.0.0.0', '::', '10.0.0.7', 'localhost.evil.example'])
      expect(access(host)).toThrow(/others reach this address, so a token is needed/);
    expect(access('0.0.0.0', TOKEN)).not.toThrow();
    expect(access('0.0.0.0', 'short')).toThrow(ConfigError);
  });

  test('on the command line', async () => {
    const open = await runInProcess(['serve', BASE, '--host', '0.0.0.0']);
    expect([open.code, open.err]).toEqual([2, expect.stringContaining('CONTINUO_SERVE_TOKEN')]);
    const empty = await runInProcess(['serve', BASE, '--token-env', 'NOT_SET_ANYWHERE']);
    expect([empty.code, empty.err]).toEqual([
      2,
      expect.stringContaining('--token-env NOT_SET_ANYWHERE: expected a token'),
    ]);
    const long = await runInProcess(['serve', BASE, '--max-tokens', '513']);
    expect([long.code, long.err]).toEqual([2, expect.stringContaining("the model's context has 512 tokens")]);
  });
});
