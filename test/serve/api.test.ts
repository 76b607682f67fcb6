// The protocol, by OpenAI's own client as it comes and by requests of hand: completions, conversations, streams, log-probabilities, errors.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openModel } from '../../src/checkpoint/index.ts';
import { type Decoder, GREEDY, generateText, loadForInference } from '../../src/nn/index.ts';
import type { Tokenizer } from '../../src/tokenizer/index.ts';
import { BASE, chatModel, type Json, serveForTest, type TestServer } from './fixtures.ts';

let server: TestServer;
let decoder: Decoder;
let tokenizer: Tokenizer;

beforeAll(async () => {
  server = await serveForTest({ model: chatModel() });
  const source = openModel(BASE);
  tokenizer = source.tokenizer();
  ({ decoder } = loadForInference(source, { threads: 1 }));
  source.close();
});
afterAll(() => server.drain(0));

/** What `continuo generate` says to the same. */
async function generated(prompt: Int32Array, maxTokens: number): Promise<string> {
  const options = { maxTokens, stop: [], stopTokens: new Set([tokenizer.documentEnd]), sampling: GREEDY };
  let text = '';
  for await (const piece of generateText(decoder, tokenizer, prompt, options)) text += piece;
  return text;
}

function document(text: string): Int32Array {
  return Int32Array.from([tokenizer.documentStart, ...tokenizer.encode(text)]);
}

/** Log-probability of each token after the first, by one forward pass over the whole. */
function logprobsOf(tokens: Int32Array): number[] {
  const none = new Int32Array(tokens.length);
  const all = decoder.logits({ batch: 1, seqLen: tokens.length, inputs: tokens, targets: none, docStart: none });
  const vocab = decoder.config.vocabSize;
  return Array.from(tokens.subarray(1), (token, i) => {
    const row = all.subarray(i * vocab, (i + 1) * vocab);
    return row[token]! - Math.log(row.reduce((sum, x) => sum + Math.exp(x), 0));
  });
}

const PROMPT = 'The history of the city';

describe('completions', () => {
  const create = (changes: object = {}) =>
    server.client.completions.create({
      model: 'base',
      prompt: PROMPT,
      max_tokens: 10,
      temperature: 0,
      ...changes,
    }) as Json;

  test('say what `continuo generate` says, and count tokens', async () => {
    const { choices, usage, object } = await create();
    expect(choices).toEqual([
      { index: 0, text: await generated(document(PROMPT), 10), logprobs: null, finish_reason: 'length' },
    ]);
    const promptTokens = document(PROMPT).length;
    expect(usage).toEqual({ prompt_tokens: promptTokens, completion_tokens: 10, total_tokens: promptTokens + 10 });
    expect(object).toBe('text_completion');
  });

  test('token ids are taken as they are; lists give choices in order, n of each', async () => {
    const ids = [...document(PROMPT)];
    const one = (await create()).choices[0].text;
    expect((await create({ prompt: ids })).choices[0].text).toBe(one);
    const { choices } = await create({ prompt: [ids, [...document('Water is')]], n: 2 });
    expect(choices.map((choice: Json) => choice.index)).toEqual([0, 1, 2, 3]);
    expect(choices[1].text).toBe(one);
    expect(choices[2].text).toBe(await generated(document('Water is'), 10));
    const texts = await create({ prompt: [PROMPT, 'Water is'] });
    expect(texts.choices.map((choice: Json) => choice.text)).toEqual([one, choices[2].text]);
  });

  test('without the start of a document where asked, or where the text says itself how it begins', async () => {
    const plain = await create({ add_special_tokens: false });
    expect(plain.choices[0].text).toBe(await generated(Int32Array.from(tokenizer.encode(PROMPT)), 10));
    const spelled = await create({ prompt: `<|endoftext|>${PROMPT}` });
    expect(spelled.usage.prompt_tokens).toBe(document(PROMPT).length);
    expect(spelled.choices[0].text).toBe((await create()).choices[0].text);
  });

  test('a stream holds the same, and the usage at its end', async () => {
    const whole = await create({ logprobs: 2, stop: ['\n'] });
    let text = '';
    const tokens: string[] = [];
    let last: Json;
    for await (const chunk of await create({
      logprobs: 2,
      stop: ['\n'],
      stream: true,
      stream_options: { include_usage: true },
    })) {
      text += chunk.choices[0]?.text ?? '';
      tokens.push(...(chunk.choices[0]?.logprobs?.tokens ?? []));
      last = chunk;
    }
    expect(text).toBe(whole.choices[0].text);
    expect(tokens).toEqual(whole.choices[0].logprobs.tokens);
    expect(last).toMatchObject({ choices: [], usage: whole.usage });
  });

  test('a stop text ends the answer, with its tokens', async () => {
    const { text } = (await create()).choices[0];
    const stop = text.slice(7, 12);
    const { choices } = await create({ stop: ['never', stop], logprobs: 0 });
    expect(choices[0]).toMatchObject({ text: text.slice(0, text.indexOf(stop)), finish_reason: 'stop' });
    const { tokens, text_offset, top_logprobs } = choices[0].logprobs;
    expect(tokens.join('').startsWith(choices[0].text)).toBe(true);
    expect(text_offset.every((offset: number) => offset < choices[0].text.length)).toBe(true);
    expect(top_logprobs).toBeNull();
  });

  test('log-probabilities with echo are those of the whole text, as parallel lists', async () => {
    const ids = document(PROMPT);
    const { choices } = await create({ prompt: [...ids], echo: true, logprobs: 3, max_tokens: 1 });
    const { tokens, token_logprobs, top_logprobs, text_offset } = choices[0].logprobs;
    expect(tokens).toEqual(['<|endoftext|>', 'The', ' history', ' of', ' the', ' city', tokens.at(-1)]);
    expect(choices[0].text).toBe(tokens.join(''));
    expect(text_offset).toEqual(tokens.map((_: string, i: number) => tokens.slice(0, i).join('').length));
    expect([token_logprobs[0], top_logprobs[0]]).toEqual([null, null]);
    const expected = logprobsOf(ids);
    expected.forEach((value, i) => {
      // bf16 activations: another order of sums moves a rounding now and then.
      expect(Math.abs(token_logprobs[i + 1] - value)).toBeLessThan(0.03);
    });
    for (const [i, top] of top_logprobs.entries()) {
      if (!top) continue;
      const values = Object.values(top) as number[];
      expect(values.length).toBeGreaterThanOrEqual(3);
      expect(top[tokens[i]]).toBe(token_logprobs[i]);
    }
    // Greedy: the generated one is the likeliest, which lm-evaluation-harness looks for with ===.
    expect(token_logprobs.at(-1)).toBe(Math.max(...(Object.values(top_logprobs.at(-1)) as number[])));
  });

  test('likelihoods alone: echo without a token more; a text’s own tokens only', async () => {
    const { choices, usage } = await create({ echo: true, logprobs: 0, max_tokens: 0 });
    expect(choices[0]).toMatchObject({ text: PROMPT, finish_reason: 'length' });
    expect(choices[0].logprobs.tokens).toEqual(['The', ' history', ' of', ' the', ' city']);
    expect(choices[0].logprobs.token_logprobs.every((x: unknown) => typeof x === 'number')).toBe(true);
    expect(usage.completion_tokens).toBe(0);
  });

  test('a token that ends the answer has its log-probability, and counts', async () => {
    const end = tokenizer.documentEnd;
    const { choices, usage } = await create({ logprobs: 1, logit_bias: { [end]: 100 } });
    expect(choices[0]).toMatchObject({ text: '', finish_reason: 'stop' });
    expect(choices[0].logprobs.tokens).toEqual(['<|endoftext|>']);
    expect(usage.completion_tokens).toBe(1);
    const on = await create({ logit_bias: { [end]: 100 }, ignore_eos: true, max_tokens: 3 });
    expect(on.choices[0].finish_reason).toBe('length');
  });

  test('a stop text that is a special token stops as one', async () => {
    const { choices } = await create({
      stop: ['<|endoftext|>'],
      ignore_eos: true,
      logit_bias: { [tokenizer.documentEnd]: 100 },
    });
    expect(choices[0]).toMatchObject({ text: '', finish_reason: 'stop' });
  });

  test('the same seed gives the same text, the choices of a request differ', async () => {
    const draw = async (seed: number) =>
      (await create({ temperature: 1, seed, n: 2, max_tokens: 12 })).choices.map((choice: Json) => choice.text);
    const [first, second] = [await draw(3), await draw(3)];
    expect(first).toEqual(second);
    expect(first[0]).not.toBe(first[1]);
    expect(await draw(4)).not.toEqual(first);
  });

  test('a character of several tokens comes whole', async () => {
    const ids = tokenizer.encode('é漢');
    const bias = Object.fromEntries(ids.map((id) => [id, 100]));
    const { choices } = await create({ echo: true, max_tokens: 0, prompt: 'a é漢字', logprobs: 0, logit_bias: bias });
    const { tokens } = choices[0].logprobs;
    expect(tokens.some((token: string) => /^bytes:(\\x[0-9a-f]{2})+$/.test(token))).toBe(true);
    const bytes = tokens.flatMap((token: string) =>
      token.startsWith('bytes:')
        ? [...token.matchAll(/\\x(..)/g)].map(([, hex]) => Number.parseInt(hex!, 16))
        : [...Buffer.from(token)],
    );
    expect(Buffer.from(bytes).toString()).toBe('a é漢字');
  });
});

describe('conversations', () => {
  const MESSAGES = [
    { role: 'system' as const, content: 'Be brief.' },
    { role: 'user' as const, content: 'Where is Berlin?' },
  ];
  const WRITTEN = 'system: Be brief.\nuser: Where is Berlin?\nassistant:';
  const create = (changes: object = {}) =>
    server.client.chat.completions.create({
      model: 'base',
      messages: MESSAGES,
      max_tokens: 8,
      temperature: 0,
      ...changes,
    }) as Json;

  test('are written by the template', async () => {
    const { choices, usage, object } = await create();
    const ids = Int32Array.from(tokenizer.encode(WRITTEN));
    expect(choices).toEqual([
      {
        index: 0,
        message: { role: 'assistant', content: await generated(ids, 8), refusal: null },
        logprobs: null,
        finish_reason: 'length',
      },
    ]);
    expect(usage.prompt_tokens).toBe(ids.length);
    expect(object).toBe('chat.completion');
    const parts = [{ role: 'developer', content: [{ type: 'text', text: 'Be brief.' }] }, MESSAGES[1]];
    expect((await create({ messages: parts, max_tokens: undefined, max_completion_tokens: 8 })).choices).toEqual(
      choices,
    );
  });

  test('a stream begins with the role and ends with the reason', async () => {
    const whole = (await create()).choices[0].message.content;
    const deltas: Json[] = [];
    for await (const chunk of await create({ stream: true })) deltas.push(chunk.choices[0]);
    expect(deltas[0].delta.role).toBe('assistant');
    expect(deltas.map(({ delta }) => delta.content ?? '').join('')).toBe(whole);
    expect(deltas.at(-1).finish_reason).toBe('length');
    const final = await server.client.chat.completions
      .stream({ model: 'base', messages: MESSAGES, max_tokens: 8, temperature: 0 })
      .finalContent();
    expect(final).toBe(whole);
  });

  test('log-probabilities by token, with bytes', async () => {
    const { choices } = await create({ logprobs: true, top_logprobs: 2 });
    const { content } = choices[0].logprobs;
    expect(content).toHaveLength(8);
    expect(content.map(({ token }: Json) => token).join('')).toBe(choices[0].message.content);
    for (const { token, bytes, logprob, top_logprobs } of content) {
      expect(Buffer.from(bytes).toString()).toBe(token);
      expect(top_logprobs[0].logprob).toBe(logprob);
      expect(top_logprobs).toHaveLength(2);
    }
  });

  test('tool messages are refused where the template has none', async () => {
    const { status, body } = await server.post('/chat/completions', {
      messages: [...MESSAGES, { role: 'tool', content: '4', tool_call_id: 'x' }],
    });
    expect(status).toBe(400);
    expect(body.error).toMatchObject({
      message: "messages: the model's chat template has no tool messages.",
      param: 'messages',
      type: 'invalid_request_error',
    });
  });
});

describe('errors', () => {
  test.each([
    ['/completions', { prompt: 'a', max_tokens: 'x' }, 'max_tokens', 'max_tokens: expected number, received string.'],
    ['/completions', { prompt: 'a', temprature: 1 }, 'temprature', 'temprature: unknown; did you mean temperature?'],
    ['/completions', { prompt: 'a', best_of: 3 }, 'best_of', 'best_of: expected the value of n (1), found 3.'],
    ['/completions', { prompt: 'a', suffix: 'b' }, 'suffix', 'suffix: this server does not support it.'],
    ['/completions', { prompt: 'a', logprobs: 21 }, 'logprobs', 'logprobs: Too big'],
    ['/completions', { prompt: 'a', max_tokens: 0 }, 'max_tokens', 'max_tokens: expected at least 1'],
    ['/completions', { prompt: ['a', 3] }, 'prompt', 'prompt: expected a text, a list of texts'],
    ['/completions', { prompt: [] }, 'prompt', 'prompt: expected a text, a list of texts'],
    ['/completions', { prompt: [1e6] }, 'prompt', 'prompt: the model has no token 1000000'],
    ['/completions', { prompt: 'a', stop: [''] }, 'stop', 'stop: expected texts of at least one character.'],
    ['/completions', { prompt: 'a', n: 100 }, 'prompt', '100 answers in one request: expected at most 80 here.'],
    ['/completions', { prompt: 'word '.repeat(600) }, 'prompt', 'tokens: expected at most 511 here.'],
    [
      '/completions',
      { prompt: 'a', logit_bias: { 99999: 1 } },
      'logit_bias',
      'logit_bias: the model has no token 99999',
    ],
    ['/completions', {}, 'prompt', 'prompt: expected a text, a list of texts'],
    ['/chat/completions', { messages: [] }, 'messages', 'messages: Too small'],
    ['/chat/completions', { messages: [{ role: 'robot', content: 'x' }] }, 'messages[0].role', 'messages[0].role: '],
    [
      '/chat/completions',
      { messages: [{ role: 'user', content: 'x' }], response_format: { type: 'json_object' } },
      'response_format',
      'does not support it',
    ],
    ['/chat/completions', { messages: [{ role: 'user', content: 'x' }], tools: [{}] }, 'tools', 'does not support it'],
    [
      '/chat/completions',
      { messages: [{ role: 'user', content: 'x' }], top_logprobs: 3 },
      'top_logprobs',
      '"logprobs": true',
    ],
  ])('%s %j', async (route, request, param, message) => {
    const { status, body } = await server.post(route, request);
    expect(status).toBe(400);
    expect(body.error).toMatchObject({ param, type: 'invalid_request_error' });
    expect(body.error.message).toContain(message);
  });

  test('fields that ask for nothing are taken', async () => {
    const { status } = await server.post('/chat/completions', {
      messages: [{ role: 'user', content: 'x' }],
      max_tokens: 1,
      response_format: { type: 'text' },
      tools: [],
      user: 'me',
      stop: null,
    });
    expect(status).toBe(200);
  });

  test('no JSON, no content type, too large, another model, another route', async () => {
    expect(await server.post('/completions', '{"prompt": ')).toMatchObject({
      status: 400,
      body: { error: { message: /^the body is no JSON/ } },
    });
    expect(await server.post('/completions', '[1]')).toMatchObject({ status: 400 });
    expect(await server.post('/completions', '{}', { 'content-type': 'text/plain' })).toMatchObject({ status: 415 });
    expect(await server.post('/completions', { prompt: 'x'.repeat(5e6) })).toMatchObject({ status: 413 });
    expect(await server.post('/completions', { model: 'gpt', prompt: 'a' })).toMatchObject({
      status: 404,
      body: { error: { code: 'model_not_found', param: 'model' } },
    });
    expect(await server.post('/embeddings', {})).toMatchObject({ status: 404 });
    await expect(server.client.models.retrieve('nothing')).rejects.toMatchObject({ status: 404 });
  });
});

test('models, health and metrics', async () => {
  expect((await server.client.models.list()).data).toMatchObject([
    { id: 'base', object: 'model', owned_by: 'continuo' },
  ]);
  expect(await server.client.models.retrieve('base')).toMatchObject({ id: 'base' });
  const root = server.url.replace('/v1', '');
  expect(await (await fetch(`${root}/health`)).json()).toEqual({ status: 'ok' });
  const metrics = await (await fetch(`${root}/metrics`)).text();
  expect(metrics).toMatch(/^continuo_requests_total\{path="\/v1\/completions",status="200"\} \d+$/m);
  expect(metrics).toMatch(/^continuo_generated_tokens_total [1-9]\d*$/m);
  expect(metrics).toContain(`continuo_cache_tokens_max ${16 * 512}`);
});
