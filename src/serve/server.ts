// A checkpoint behind an OpenAI-compatible HTTP server: this process answers, a thread computes.
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import * as os from 'node:os';
import { createAdaptorServer } from '@hono/node-server';
import { ConfigError } from '../base/errors.ts';
import { openModel } from '../checkpoint/index.ts';
import { findFamily, precisionOf, stopTokens } from '../nn/index.ts';
import { checkAccess } from './access.ts';
import { type AppState, createApp } from './app.ts';
import type { Served } from './generation.ts';
import { ModelThread } from './model-thread.ts';
import { type CachePlan, planCache } from './plan.ts';

export interface ServeSettings {
  /** Folder or GGUF file. */
  model: string;
  /** What clients call it. */
  name: string;
  host: string;
  /** 0: any free one. */
  port: number;
  token?: string;
  /** Origins of pages in browsers that may ask. */
  allowedOrigins: readonly string[];
  threads?: number;
  /** Sequences at once, and the longest one, tokens; planned from free memory unless given. */
  maxBatch?: number;
  maxTokens?: number;
  /** Sequences that may wait; requests beyond are refused with 429. */
  maxQueue: number;
  /** One line a request. */
  log: (line: string) => void;
}

export interface RunningServer {
  url: string;
  plan: CachePlan;
  precision: 'bf16' | 'f32';
  /** Resolves with an error when the thread that computes has died. */
  failed: Promise<Error>;
  /** Takes no new requests, waits up to `graceMs` for those under way, and ends. @returns how many were cut off */
  drain(graceMs: number): Promise<number>;
}

const MAX_BODY_BYTES = 4 * 2 ** 20;
/** A request's headers and body have to be there by then: slow ones hold no connection. */
const [HEADERS_MS, REQUEST_MS] = [10_000, 30_000];
const MAX_CONNECTIONS = 1024;
/** Of free memory, beside the weights: the rest is for activations and for others. An assumption. */
const CACHE_SHARE = 0.5;

/** @throws ConfigError, DataError, EngineError */
export async function startServer(settings: ServeSettings): Promise<RunningServer> {
  const { host, port, token, allowedOrigins } = settings;
  const access = { host, token, allowedOrigins };
  checkAccess(access);
  const { served, plan, precision } = await load(settings);
  const state: AppState = { numOpen: 0, isDraining: false };
  const numSlotTokens = plan.numSlots * plan.capacity;
  const app = createApp(served, { access, maxBodyBytes: MAX_BODY_BYTES, numSlotTokens, log: settings.log }, state);
  const server = createAdaptorServer({
    fetch: app.fetch,
    overrideGlobalObjects: false,
    serverOptions: { headersTimeout: HEADERS_MS, requestTimeout: REQUEST_MS, connectionsCheckingInterval: 2000 },
  }) as Server;
  server.maxConnections = MAX_CONNECTIONS;
  try {
    await listen(server, host, port);
  } catch (error) {
    await served.thread.close();
    throw error;
  }
  const address = server.address() as AddressInfo;
  const shown = address.family === 'IPv6' ? `[${address.address}]` : address.address;
  return {
    url: `http://${shown}:${address.port}/v1`,
    plan,
    precision,
    failed: served.thread.whenFailed,
    async drain(graceMs) {
      state.isDraining = true;
      const until = Date.now() + graceMs;
      while (state.numOpen > 0 && Date.now() < until) await new Promise((resolve) => setTimeout(resolve, 20));
      const cutOff = state.numOpen;
      server.close();
      // Answers that are written go out; idle connections hold nothing up.
      server.closeIdleConnections();
      if (cutOff > 0) server.closeAllConnections();
      await served.thread.close();
      setTimeout(() => server.closeAllConnections(), 1000).unref();
      return cutOff;
    },
  };
}

async function load({ model, name, threads, maxBatch, maxTokens, maxQueue }: ServeSettings) {
  const source = openModel(model);
  try {
    const tokenizer = source.tokenizer();
    const config = findFamily(source.config).parse(source.config);
    const precision = precisionOf(source);
    const tensors = [...source.tensors.values()];
    const numParameters = tensors.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
    const free = (process.availableMemory?.() ?? os.freemem()) - numParameters * (precision === 'bf16' ? 2 : 4);
    const budgetBytes = Math.max(0, free) * CACHE_SHARE;
    const plan = planCache(config, precision, numParameters, { maxBatch, maxTokens, budgetBytes });
    const thread = await ModelThread.start({ model, threads, ...plan });
    let longestToken = 1;
    for (let id = 0; id < tokenizer.vocabSize; id++)
      longestToken = Math.max(longestToken, tokenizer.idToToken(id)?.length ?? 0);
    const served: Served = {
      name,
      tokenizer,
      thread,
      stopTokens: stopTokens(source),
      vocabSize: config.vocabSize,
      capacity: plan.capacity,
      maxOpen: plan.numSlots + maxQueue,
      longestToken,
      startedAt: Math.floor(Date.now() / 1000),
    };
    return { served, plan, precision };
  } finally {
    source.close();
  }
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        new ConfigError(
          error.code === 'EADDRINUSE'
            ? `--port ${port}: another program listens there. Give another port, or 0 for any free one.`
            : `${host}:${port}: cannot listen there (${error.code ?? error.message}).`,
        ),
      ),
    );
    server.listen(port, host, () => resolve());
  });
}
