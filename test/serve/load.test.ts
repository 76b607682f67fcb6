// Many clients at once, some of them bad: nobody is dropped or forgotten, nobody's leaving holds anything, and the end is orderly.
import { type ChildProcess, spawn } from 'node:child_process';
import * as http from 'node:http';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Generation } from '../../src/serve/generation.ts';
import { type Format, respondStream } from '../../src/serve/respond.ts';
import { CLI } from '../engine/fixtures.ts';
import { BASE, serveForTest, type TestServer } from './fixtures.ts';

const SLOTS = 16;
const CLIENTS = 64;
let server: TestServer;

beforeAll(async () => {
  server = await serveForTest({ maxBatch: SLOTS, maxQueue: CLIENTS, maxTokens: 128 });
});
afterAll(() => server.drain(0));

async function metric(name: string): Promise<number> {
  const text = await (await fetch(server.url.replace('/v1', '/metrics'))).text();
  return Number(new RegExp(`^continuo_${name} (\\S+)$`, 'm').exec(text)![1]);
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 5));
}

const request = (i: number, changes: object = {}) => ({
  model: 'base',
  prompt: `${i} is a number, and`,
  max_tokens: 12,
  temperature: 0.7,
  seed: i,
  ignore_eos: true,
  ...changes,
});

describe('64 clients at once', () => {
  test('all are answered, in about the order in which they came, with what each gets alone', async () => {
    const finished: number[] = [];
    let isDone = false;
    const texts = Promise.all(
      Array.from({ length: CLIENTS }, async (_, i) => {
        const whole = i % 2 === 0;
        if (whole) {
          const { choices } = await server.client.completions.create(request(i));
          finished.push(i);
          return choices[0]!.text;
        }
        let text = '';
        for await (const chunk of await server.client.completions.create({ ...request(i), stream: true }))
          text += chunk.choices[0]?.text ?? '';
        finished.push(i);
        return text;
      }),
    ).finally(() => {
      isDone = true;
    });
    const seen = { running: 0, waiting: 0, cached: 0 };
    while (!isDone) {
      seen.running = Math.max(seen.running, await metric('sequences_running'));
      seen.waiting = Math.max(seen.waiting, await metric('sequences_waiting'));
      seen.cached = Math.max(seen.cached, await metric('cache_tokens'));
    }
    const answers = await texts;
    expect(finished).toHaveLength(CLIENTS);
    // All ask for the same number of tokens, so that a place in the order is lost to those of one batch at most, and to some of the next.
    const displaced = finished.map((i, rank) => Math.abs(i - rank));
    expect(Math.max(...displaced)).toBeLessThanOrEqual(2 * SLOTS);
    expect(seen.running).toBeGreaterThan(1);
    expect(seen.running).toBeLessThanOrEqual(SLOTS);
    expect(seen.waiting).toBeGreaterThan(0);
    expect(seen.cached).toBeLessThanOrEqual(SLOTS * 128);
    for (const i of [3, 20, 63]) {
      const { choices } = await server.client.completions.create(request(i));
      expect(choices[0]!.text, `request ${i}`).toBe(answers[i]);
    }
  });

  test('a request with many answers lets others through', async () => {
    const order: string[] = [];
    const many = server.client.completions.create(request(1, { n: 60, max_tokens: 20 })).then(() => order.push('many'));
    await until(async () => (await metric('sequences_running')) === SLOTS);
    await server.client.completions.create(request(2)).then(() => order.push('one'));
    await many;
    expect(order).toEqual(['one', 'many']);
  });

  test('beyond the queue a request is told to come again', async () => {
    const many = server.client.completions.create(request(1, { n: 70, max_tokens: 20 }));
    await until(async () => (await metric('sequences_waiting')) > 0);
    const response = await fetch(`${server.url}/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(request(2, { n: 20 })),
    });
    expect(response.status).toBe(429);
    expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(await response.json()).toMatchObject({ error: { code: 'queue_full' } });
    expect((await many).choices).toHaveLength(70);
  });
});

describe('who leaves', () => {
  test.each([true, false])('is forgotten at once, streaming %j', async (stream) => {
    const numLogged = server.log.length;
    const controller = new AbortController();
    const left = server.client.completions
      .create({ ...request(1, { n: 40, max_tokens: 100 }), stream }, { signal: controller.signal })
      .then(async (answer) => {
        if (stream) for await (const _ of answer as AsyncIterable<unknown>);
      })
      .catch((error: Error) => error.constructor.name);
    await until(async () => (await metric('sequences_running')) > 0);
    controller.abort();
    await until(async () => (await metric('sequences_running')) + (await metric('sequences_waiting')) === 0);
    await left;
    // It is counted with the tokens that it had until then.
    await until(() => server.log.length > numLogged);
    expect(Number(/ \+ (\d+) tokens/.exec(server.log.at(-1)!)![1])).toBeLessThan(40 * 100);
  });

  test('a reader that takes nothing holds up nobody, and does not cost more than its answer', async () => {
    const slow = await new Promise<http.IncomingMessage>((resolve) => {
      const outgoing = http.request(
        `${server.url}/completions`,
        { method: 'POST', headers: { 'content-type': 'application/json' } },
        resolve,
      );
      outgoing.end(JSON.stringify(request(1, { stream: true, max_tokens: 100 })));
    });
    slow.pause();
    await Promise.all(Array.from({ length: 8 }, (_, i) => server.client.completions.create(request(i))));
    await until(async () => (await metric('sequences_running')) === 0);
    let text = '';
    for await (const piece of slow) text += piece;
    expect(text.trimEnd().endsWith('data: [DONE]')).toBe(true);
    expect(text.split('\n\n').length).toBeGreaterThan(50);
  });

  test('a reader that takes nothing for too long is given up', async () => {
    let isClosed = false;
    const generation = {
      usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 },
      close: () => {
        isClosed = true;
      },
      async *[Symbol.asyncIterator]() {
        for (;;) yield { index: 0, text: 'x', tokens: [] };
      },
    } as unknown as Generation;
    const format = { kind: 'text_completion', chunk: () => ({}) } as unknown as Format;
    const error = await new Promise((resolve) => {
      respondStream(format, generation, 'base', false, resolve, 20);
    });
    expect(error).toMatchObject({ status: 408 });
    expect(isClosed).toBe(true);
  });
});

describe('the end', () => {
  const start = async () => {
    const child = spawn(process.execPath, [CLI, 'serve', BASE, '--port', '0', '--json', '--threads', '1'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const { url } = JSON.parse(
      await new Promise<string>((resolve) => child.stdout!.once('data', (data) => resolve(String(data)))),
    );
    const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
    return { child, url: url as string, ended };
  };
  const stream = async (url: string, n: number) => {
    const response = await fetch(`${url}/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(request(1, { model: undefined, stream: true, max_tokens: 400, n })),
    });
    const reader = response.body!.getReader();
    await reader.read();
    return reader;
  };
  const post = (url: string) =>
    fetch(`${url}/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(request(2)),
    });
  const kill = (child: ChildProcess) => child.kill('SIGTERM');

  test('what is under way is finished, what is new refused', async () => {
    const { child, url, ended } = await start();
    const reader = await stream(url, 4);
    kill(child);
    await until(async () => (await fetch(url.replace('/v1', '/health'))).status === 503);
    const refused = await post(url);
    expect([refused.status, await refused.json()]).toMatchObject([503, { error: { code: 'shutting_down' } }]);
    let text = '';
    for (let part = await reader.read(); !part.done; part = await reader.read()) text += Buffer.from(part.value);
    expect(text.trimEnd().endsWith('data: [DONE]')).toBe(true);
    expect(await ended).toBe(0);
  });

  test('a second signal ends at once', async () => {
    const { child, url, ended } = await start();
    const reader = await stream(url, 64);
    kill(child);
    await until(async () => (await fetch(url.replace('/v1', '/health'))).status === 503);
    kill(child);
    expect(await ended).toBe(130);
    await expect(
      (async () => {
        while (!(await reader.read()).done);
      })(),
    ).rejects.toThrow();
  });
});
