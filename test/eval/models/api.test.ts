// A model behind an API: what is asked of it, how its answers are read, what it cannot do, and how refusals are passed on. Against a stand-in
// whose tokens are single characters, and against `continuo serve`.
import * as http from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { openModel } from '../../../src/checkpoint/index.ts';
import { type ApiModelOptions, apiModel, type EvalReport, nativeModel } from '../../../src/eval/index.ts';
import { loadForInference } from '../../../src/nn/index.ts';
import { runInProcess } from '../../cli/in-process.ts';
import { temporaryFolder } from '../../engine/fixtures.ts';
import { BASE, serveForTest, type TestServer } from '../../serve/fixtures.ts';

type Body = Record<string, unknown> & { prompt: string; messages: unknown };
type Answer = { status?: number; body: unknown; headers?: Record<string, string> };

/** A stand-in API: answers what `answer` says, and keeps what it was asked. */
async function standIn(answer: (body: Body, numAsked: number) => Answer | Promise<Answer>) {
  const asked: { path: string; body: Body; key: string | undefined }[] = [];
  const server = http.createServer(async (request, response) => {
    let text = '';
    for await (const chunk of request) text += chunk;
    const body = JSON.parse(text) as Body;
    asked.push({ path: request.url!, body, key: request.headers.authorization });
    const { status = 200, body: said, headers = {} } = await answer(body, asked.length);
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    response.end(typeof said === 'string' ? said : JSON.stringify(said));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
  const model = (options: Partial<ApiModelOptions> = {}) =>
    apiModel({ baseUrl, model: 'm', kind: 'completions', keyVariable: 'TEST_API_KEY', retryMs: 1, ...options });
  return { asked, model, close: () => server.close() };
}

/** A token a character, as likely as its place in the text is far from 100; an "e" is never the likeliest. */
function echoed(prompt: string, tokens: string[] = [...prompt]) {
  const places = tokens.map((_, i) => tokens.slice(0, i).reduce((sum, token) => sum + [...token].length, 0));
  const logprobs = tokens.map((_, i) => (i === 0 ? null : -i));
  return {
    choices: [
      {
        text: `${prompt}!`,
        logprobs: {
          tokens: [...tokens, '!'],
          text_offset: [...places, [...prompt].length],
          token_logprobs: [...logprobs, -1000],
          top_logprobs: [
            ...tokens.map((token, i) => (i === 0 ? null : token === 'e' ? { x: -i + 0.5, e: -i } : { [token]: -i })),
            {},
          ],
        },
      },
    ],
  };
}

describe('likelihoods from echoed log-probabilities', () => {
  it('are those of the continuation, white space before it included, in the order of the requests', async () => {
    const api = await standIn(async ({ prompt }) => {
      await new Promise((resolve) => setTimeout(resolve, prompt.length % 3));
      return { body: echoed(prompt) };
    });
    const found = await api.model({ concurrency: 3 }).likelihoods([
      { context: 'ab', continuation: ' cd' },
      { context: 'ab ', continuation: 'cd' },
      { context: 'ab', continuation: 'ce' },
      { context: '🙂a', continuation: '🙂' },
    ]);
    api.close();
    expect(found).toEqual([
      { logLikelihood: -2 - 3 - 4, isGreedy: true, numTokens: 3 },
      { logLikelihood: -2 - 3 - 4, isGreedy: true, numTokens: 3 },
      { logLikelihood: -2 - 3, isGreedy: false, numTokens: 2 },
      { logLikelihood: -2, isGreedy: true, numTokens: 1 },
    ]);
    expect(api.asked[0]).toMatchObject({ path: '/v1/completions', body: { echo: true, logprobs: 1, max_tokens: 1 } });
  });

  it('count a token that reaches into the continuation, and offsets in characters', async () => {
    const api = await standIn(({ prompt }) => ({
      body: echoed(prompt, prompt === '🙂ab' ? ['bytes:\\xf0', 'bytes:\\x9f\\x99\\x82', 'a', 'b'] : ['a', 'bc', 'd']),
    }));
    const [whole] = await api.model().likelihoods([{ context: 'ab', continuation: 'cd' }]);
    expect(whole).toMatchObject({ logLikelihood: -1 - 2, numTokens: 2 });
    api.close();
  });

  it('are refused where the API does not echo, where the first token has none, and behind a chat API', async () => {
    const silent = await standIn(() => ({
      body: { choices: [{ text: '!', logprobs: { tokens: ['!'], token_logprobs: [-1], text_offset: [0] } }] },
    }));
    const request = [{ context: 'ab', continuation: 'cd' }];
    await expect(silent.model().likelihoods(request)).rejects.toThrow(
      /expected log-probabilities of the prompt's tokens/,
    );
    await expect(silent.model().rollingLikelihoods(['ab'])).rejects.toThrow(/needs the model's own tokenizer/);
    await expect(silent.model({ kind: 'chat' }).likelihoods(request)).rejects.toThrow(
      /a chat API gives no likelihoods/,
    );
    silent.close();
    const api = await standIn(({ prompt }) => ({ body: echoed(prompt) }));
    await expect(api.model().likelihoods([{ context: '', continuation: 'cd' }])).rejects.toThrow(
      /none for the text's first token/,
    );
    api.close();
  });
});

describe('generation', () => {
  it('asks a completion API, and cuts at all endings though only four are sent', async () => {
    const api = await standIn(() => ({ body: { choices: [{ text: ' one, two; three' }] } }));
    const until = ['1', '2', '3', '4', ';'];
    const requests = [{ prompt: 'Count', until, maxTokens: 9, temperature: 0.5, topP: 0.9, seed: 3 }];
    expect(await api.model().generate(requests)).toEqual([' one, two']);
    expect(api.asked[0]!.body).toEqual({
      model: 'm',
      prompt: 'Count',
      temperature: 0.5,
      top_p: 0.9,
      seed: 3,
      stop: ['1', '2', '3', '4'],
      max_tokens: 9,
    });
    api.close();
  });

  it('sends a chat API the messages of renderChat, or a text as one', async () => {
    const api = await standIn(() => ({ body: { choices: [{ message: { content: null } }] } }));
    const model = api.model({ kind: 'chat' });
    const messages = [
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'Who?' },
    ] as const;
    const ask = (prompt: string) => model.generate([{ prompt, until: [], maxTokens: 5 }]);
    expect(await ask(model.renderChat(messages))).toEqual(['']);
    await ask('Who?');
    expect(api.asked.map(({ path, body }) => [path, body.messages])).toEqual([
      ['/v1/chat/completions', messages],
      ['/v1/chat/completions', [{ role: 'user', content: 'Who?' }]],
    ]);
    expect(() => api.model().renderChat(messages)).toThrow(/completion API takes no conversations/);
    api.close();
  });
});

describe('what goes wrong', () => {
  const one = [{ prompt: 'Count', until: [], maxTokens: 5 }];

  it('is tried again after 429 and 5xx, and told with status and body when it stays', async () => {
    const passing = await standIn((_, n) =>
      n < 3
        ? { status: n === 1 ? 429 : 503, body: 'busy', headers: { 'retry-after': '0' } }
        : { body: { choices: [{ text: 'ok' }] } },
    );
    expect(await passing.model().generate(one)).toEqual(['ok']);
    passing.close();
    const broken = await standIn(() => ({ status: 500, body: 'out of memory' }));
    await expect(broken.model({ retries: 2 }).generate(one)).rejects.toThrow(
      /status 500: out of memory \(after 3 tries\)/,
    );
    expect(broken.asked).toHaveLength(3);
    broken.close();
  });

  it('is told at once where the request is refused; the key is sent, and never told', async () => {
    process.env.TEST_API_KEY = 'sk-secret';
    const api = await standIn(() => ({ status: 401, body: { error: 'wrong key sk-secret' } }));
    const failure = await api
      .model()
      .generate([...one, ...one, ...one])
      .catch((error: Error) => error);
    delete process.env.TEST_API_KEY;
    expect(failure).toMatchObject({
      name: 'ConfigError',
      message: expect.stringMatching(/status 401: .*wrong key \*\*\*/),
    });
    expect(api.asked[0]!.key).toBe('Bearer sk-secret');
    api.close();
  });

  it('is told where nothing answers, in time or at all', async () => {
    const slow = await standIn(async () => {
      await new Promise((resolve) => setTimeout(resolve, 200));
      return { body: {} };
    });
    await expect(slow.model({ timeoutMs: 20, retries: 0 }).generate(one)).rejects.toThrow(/no answer within 0.02 s/);
    slow.close();
    await expect(slow.model({ retries: 1, baseUrl: 'http://127.0.0.1:1/v1' }).generate(one)).rejects.toThrow(
      /fetch failed/,
    );
    const odd = await standIn(() => ({ body: { choices: [] } }));
    await expect(odd.model().generate(one)).rejects.toThrow(/expected a list of choices/);
    odd.close();
    expect(() => apiModel({ baseUrl: 'localhost', model: 'm', kind: 'chat' })).toThrow(
      /expected the address of an API/,
    );
    expect(() => odd.model({ concurrency: 0 })).toThrow(/concurrency: expected a whole number from 1/);
  });
});

describe('continuo serve', () => {
  let server: TestServer;
  const source = openModel(BASE);
  const tokenizer = source.tokenizer();
  beforeAll(async () => {
    server = await serveForTest();
  });
  afterAll(async () => {
    await server.drain(0);
    source.close();
  });

  it('scores and answers as the checkpoint does here', async () => {
    const here = nativeModel(source, loadForInference(source, { threads: 1 }).decoder);
    const there = apiModel({
      baseUrl: server.url,
      model: 'base',
      kind: 'completions',
      tokenizer,
      maxTokens: 512,
    });
    const requests = [
      { context: 'The history of the city', continuation: ' begins with the river' },
      { context: 'The history of the city', continuation: ' is' },
      { context: '', continuation: 'Water is' },
    ];
    const [expected, found] = [await here.likelihoods(requests), await there.likelihoods(requests)];
    requests.forEach((_, i) => {
      // bf16 activations, rounded after sums in another order.
      expect(Math.abs(found[i]!.logLikelihood - expected[i]!.logLikelihood)).toBeLessThan(0.05);
      expect(found[i]).toMatchObject({ isGreedy: expected[i]!.isGreedy, numTokens: expected[i]!.numTokens });
    });
    const [[rollingHere], [rollingThere]] = [
      await here.rollingLikelihoods(['Water is everywhere.']),
      await there.rollingLikelihoods(['Water is everywhere.']),
    ];
    expect(Math.abs(rollingHere! - rollingThere!)).toBeLessThan(0.05);
    const asked = [{ prompt: 'The history of the city', until: ['.'], maxTokens: 12 }];
    expect(await there.generate(asked)).toEqual(await here.generate(asked));
    here.close();
  });

  it('takes tasks by `continuo eval --api`, with the scores of the checkpoint', async () => {
    vi.stubEnv('CONTINUO_CACHE', temporaryFolder('eval-api'));
    const asked = ['--tasks', 'general-knowledge-mini', '--limit', '6', '--json', '--quiet', '--fresh'];
    const api = ['--api', server.url, '--tokenizer', BASE, '--max-length', '512', '--concurrency', '4'];
    const [here, there] = [
      await runInProcess(['eval', BASE, ...asked]),
      await runInProcess(['eval', 'base', ...api, ...asked]),
    ];
    expect(there.code).toBe(0);
    const metrics = ({ out }: { out: string }) => (JSON.parse(out) as EvalReport).tasks[0]!.metrics;
    expect(metrics(there)).toEqual(metrics(here));
    const chat = await runInProcess(['eval', 'base', ...api, '--api-kind', 'chat', ...asked]);
    expect(chat.code).toBe(2);
    expect(chat.err).toContain('a chat API gives no likelihoods');
    vi.unstubAllEnvs();
  });
});
