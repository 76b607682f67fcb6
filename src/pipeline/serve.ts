// A server from its start to its end: the model resolved, the token taken from the environment, signals obeyed.
import * as path from 'node:path';
import { ConfigError } from '../base/errors.ts';
import { cacheFolder } from '../base/package.ts';
import { formatBytes, formatCount } from '../base/units.ts';
import { resolveModel } from '../checkpoint/index.ts';
import { type RunningServer, type ServeSettings, startServer } from '../serve/index.ts';
import type { PipelineOptions } from './types.ts';

export interface ServeRequest extends Omit<ServeSettings, 'model' | 'name' | 'token' | 'log'> {
  /** What clients call the model; else its hub id or its folder's name. */
  name?: string;
  /** Environment variable that holds the token. */
  tokenEnv?: string;
  /** How long requests under way may take to finish at the end. */
  graceMs: number;
}

const TOKEN_ENV = 'CONTINUO_SERVE_TOKEN';

/**
 * Serves until SIGINT or SIGTERM; requests under way are finished first, and a second signal ends at once.
 * @param onStart called when requests are taken
 * @throws ConfigError, DataError, EngineError, also when the model's thread dies
 */
export async function serve(
  model: string,
  request: ServeRequest,
  onStart: (server: RunningServer & { name: string }) => void,
  options: PipelineOptions = {},
): Promise<void> {
  const say = options.log ?? (() => {});
  const target = await resolveModel(model, cacheFolder(process.cwd()), { quiet: options.quiet });
  const name =
    request.name ?? (path.resolve(target) === path.resolve(model) ? path.basename(path.resolve(model)) : model);
  const signal = firstSignal();
  try {
    const token = tokenOf(request.tokenEnv);
    const server = await startServer({ ...request, model: target, name, token, log: say, threads: options.threads });
    const { plan, precision } = server;
    say(
      `${name} in ${precision}: up to ${plan.numSlots} sequences of ${formatCount(plan.capacity)} tokens at once, in ${formatBytes(plan.sizeBytes)}; ` +
        `${request.maxQueue} more may wait. ${token === undefined ? 'This machine only, without a token.' : 'A token is needed.'}`,
    );
    onStart({ ...server, name });
    const failure = await Promise.race([signal.promise, server.failed]);
    if (!failure) say('Finishing what is under way; a second signal ends at once.');
    const cutOff = await server.drain(failure ? 0 : request.graceMs);
    if (failure) throw failure;
    if (cutOff > 0) say(`${cutOff} requests were cut off.`);
  } finally {
    signal.forget();
  }
}

/** @throws ConfigError where a variable is named and empty */
function tokenOf(named: string | undefined): string | undefined {
  const token = process.env[named ?? TOKEN_ENV] || undefined;
  if (named !== undefined && token === undefined)
    throw new ConfigError(`--token-env ${named}: expected a token in this environment variable, found nothing.`);
  return token;
}

/** Resolves with the first SIGINT or SIGTERM; the second ends the process. */
function firstSignal() {
  const signals = ['SIGINT', 'SIGTERM'] as const;
  let received = false;
  let resolve = () => {};
  const promise = new Promise<undefined>((done) => {
    resolve = () => done(undefined);
  });
  const onSignal = () => {
    if (received) process.exit(130);
    received = true;
    resolve();
  };
  for (const signal of signals) process.on(signal, onSignal);
  return {
    promise,
    forget() {
      for (const signal of signals) process.off(signal, onSignal);
    },
  };
}
