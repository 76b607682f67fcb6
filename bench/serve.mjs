// Serving beside llama.cpp's server on the same bf16 weights: tokens a second that 1, 8 and 64 clients get together, each asking for one completion
// after another. Both servers are programs of their own, asked over HTTP by the same code; before anything is timed their likelihoods and first
// tokens are compared.
import { execFileSync, spawn } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Rng } from '../dist/base/rng.js';
import { printTable, provenance, round, saveRecord } from './lib/machine.mjs';
import { modelFolder, modelNamed, python, root } from './lib/models.mjs';
import { readOptions } from './lib/options.mjs';

const USAGE = `Usage: npm run bench -- serve [options]

  --models LIST        of the Llama family: 135m, 360m, 1b (default: 135m)
  --clients LIST       at once (default: 1,8,64)
  --prompt N           tokens of a prompt, different ones for each request (default: 128)
  --tokens N           generated for each (default: 64)
  --requests N         of each client (default: 2)
  --threads N          of each server (default: all cores)
  --llama-server PATH  llama.cpp's program; without it ours alone
  --save               writes bench/results/serve.json
  --json               the record as the last line`;

/** Nats between the two servers' log-probabilities: both round activations to bf16, at different places. */
const TOLERANCE = 0.1;

const options = readOptions(USAGE, {
  models: '135m',
  clients: '1,8,64',
  prompt: '128',
  tokens: '64',
  requests: '2',
  threads: String(os.availableParallelism()),
  'llama-server': undefined,
});
const say = (line) => process.stderr.write(`${line}\n`);
const [promptLength, numTokens, numRequests, threads] = ['prompt', 'tokens', 'requests', 'threads'].map((name) =>
  Number(options[name]),
);
const clientCounts = options.clients.split(',').map(Number);
const numSlots = Math.max(...clientCounts);
const capacity = promptLength + numTokens;

/** Starts a server and waits until it answers. */
async function start(command, args, health) {
  const child = spawn(command, args, {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, CONTINUO_SERVE_TOKEN: '' },
  });
  let ended = false;
  child.once('exit', () => {
    ended = true;
  });
  for (let tries = 0; tries < 600; tries++) {
    if (ended) throw new Error(`${command} has ended`);
    const response = await fetch(health).catch(() => undefined);
    if (response?.ok) return child;
    await sleep(200);
  }
  throw new Error(`${health} does not answer`);
}

async function post(url, body) {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(`${url}: ${JSON.stringify(answer)}`);
  return answer;
}

/** A completion as either server takes it: token ids in, greedy, exactly so many tokens. */
const request = (prompt) => ({ prompt, max_tokens: numTokens, temperature: 0, ignore_eos: true, stream: false });

const SIDES = {
  continuo: {
    extra: {},
    start: (port, { folder }) =>
      start(
        process.execPath,
        [
          'dist/cli/main.js',
          'serve',
          folder,
          '--port',
          port,
          '--threads',
          threads,
          '--max-batch',
          numSlots,
          '--max-tokens',
          capacity,
          '--quiet',
        ].map(String),
        `http://127.0.0.1:${port}/health`,
      ),
    likeliest: async (url, prompt) => {
      const { choices } = await post(`${url}/v1/completions`, { ...request(prompt), max_tokens: 1, logprobs: 1 });
      return choices[0].logprobs.token_logprobs[0];
    },
  },
  'llama.cpp': {
    // No prompt is asked twice; what is kept of an earlier one would not help.
    extra: { cache_prompt: false },
    start: (port, { gguf }) =>
      start(
        options['llama-server'],
        [
          '-m',
          gguf,
          '--port',
          port,
          '-t',
          threads,
          '-tb',
          threads,
          '-np',
          numSlots,
          '-c',
          capacity * numSlots,
          '-b',
          512,
          '--no-webui',
          '--log-disable',
        ].map(String),
        `http://127.0.0.1:${port}/health`,
      ),
    likeliest: async (url, prompt) => {
      const answer = await post(`${url}/completion`, {
        prompt,
        n_predict: 1,
        temperature: 0,
        n_probs: 1,
        cache_prompt: false,
      });
      return answer.completion_probabilities[0].logprob;
    },
  },
};

/** Every client asks one request after another; all begin at once. */
async function load(url, extra, prompts, numClients) {
  const first = [];
  const start = performance.now();
  const times = await Promise.all(
    Array.from({ length: numClients }, async (_, client) => {
      for (let i = 0; i < numRequests; i++) {
        const answer = await post(`${url}/v1/completions`, { ...request(prompts[client * numRequests + i]), ...extra });
        if (answer.usage.completion_tokens !== numTokens)
          throw new Error(`${answer.usage.completion_tokens} tokens instead of ${numTokens}`);
        if (i === 0) first.push((performance.now() - start) / 1000);
      }
      return (performance.now() - start) / 1000;
    }),
  );
  const seconds = Math.max(...times);
  return {
    seconds,
    tokensPerSecond: (numClients * numRequests * numTokens) / seconds,
    firstAnswer: [Math.min(...first), Math.max(...first)],
  };
}

function ggufOf(folder) {
  const file = `${folder}.gguf`;
  if (!fs.existsSync(file)) execFileSync(python(), [path.join(root, 'bench/llama-cpp/to_gguf.py'), folder, file]);
  return file;
}

const results = [];
for (const name of options.models.split(',')) {
  const model = modelNamed(name);
  const folder = modelFolder(model);
  const sides = options['llama-server'] ? Object.keys(SIDES) : ['continuo'];
  const files = { folder, gguf: options['llama-server'] && ggufOf(folder) };
  const rng = new Rng(3);
  const prompts = Array.from({ length: numSlots * numRequests }, () =>
    Array.from({ length: promptLength }, () => 3 + rng.below(model.vocab - 3)),
  );
  const logprobs = {};
  const rows = [];
  for (const [i, side] of sides.entries()) {
    const port = 18400 + i;
    const url = `http://127.0.0.1:${port}`;
    const child = await SIDES[side].start(port, files);
    try {
      logprobs[side] = [];
      for (const prompt of prompts.slice(0, 4)) logprobs[side].push(await SIDES[side].likeliest(url, prompt));
      const worst = Math.max(...logprobs[side].map((value, at) => Math.abs(value - logprobs.continuo[at])));
      if (!(worst <= TOLERANCE))
        throw new Error(`${name}: log-probabilities of ${side} are up to ${worst} nats from ours`);
      for (const numClients of clientCounts) {
        const { tokensPerSecond, firstAnswer } = await load(url, SIDES[side].extra, prompts, numClients);
        rows.push({
          side,
          clients: numClients,
          tokensPerSecond: round(tokensPerSecond, 1),
          firstAnswer: firstAnswer.map((seconds) => round(seconds, 2)),
          logProbabilityDifference: round(worst, 4),
        });
        say(`${name}, ${side}, ${numClients} clients: ${tokensPerSecond.toFixed(1)} tokens/s`);
      }
    } finally {
      child.kill('SIGTERM');
      await new Promise((resolve) => child.once('exit', resolve));
    }
  }
  results.push({ model: name, promptLength, numTokens, numRequests, threads, rows });
}

for (const { model, rows } of results) {
  const of = (side, clients) => rows.find((row) => row.side === side && row.clients === clients)?.tokensPerSecond;
  printTable([
    [model, 'clients', 'tokens/s', 'first answers after', 'difference of log p', 'ours / theirs'],
    ...rows.map((r) => [
      r.side,
      r.clients,
      r.tokensPerSecond,
      `${r.firstAnswer[0]} to ${r.firstAnswer[1]} s`,
      r.logProbabilityDifference,
      r.side === 'continuo' && of('llama.cpp', r.clients)
        ? round(r.tokensPerSecond / of('llama.cpp', r.clients), 2)
        : '',
    ]),
  ]);
}
const record = { bench: 'serve', ...provenance('serve'), results };
if (options.save) saveRecord('serve', record);
if (options.json) console.log(JSON.stringify(record));
