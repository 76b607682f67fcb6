// Requests to an OpenAI-compatible API: so many at a time, again after a refusal that passes, with errors that say what the API said.
import { setTimeout as sleep } from 'node:timers/promises';
import { ConfigError, EngineError } from '../../base/errors.ts';

export interface ApiClientOptions {
  /** Up to and with /v1. */
  baseUrl: string;
  /** Sent as a bearer token, and in no message. */
  apiKey?: string;
  /** Requests under way at once. */
  concurrency: number;
  timeoutMs: number;
  /** Tries after the first, and the pause before the first of them, which doubles from one to the next. */
  retries: number;
  retryMs: number;
}

const MAX_PAUSE_MS = 60_000;
/** Characters of an answer that an error shows. */
const SHOWN = 500;

export class ApiClient {
  private readonly options: ApiClientOptions;

  /** @throws ConfigError for what is no address */
  constructor(options: ApiClientOptions) {
    const { baseUrl } = options;
    if (!URL.canParse(baseUrl) || !/^https?:/.test(baseUrl))
      throw new ConfigError(`${baseUrl}: expected the address of an API, such as http://127.0.0.1:8000/v1.`);
    this.options = { ...options, baseUrl: baseUrl.replace(/\/+$/, '') };
  }

  /** Calls `ask` for each item, a few at a time. @returns the answers in the items' order */
  async all<T, R>(items: readonly T[], ask: (item: T) => Promise<R>, tick: (done: number) => void): Promise<R[]> {
    const answers: R[] = new Array(items.length);
    let [next, done] = [0, 0];
    const work = async () => {
      while (next < items.length) {
        const i = next++;
        try {
          answers[i] = await ask(items[i]!);
        } catch (error) {
          // The others begin nothing more.
          next = items.length;
          throw error;
        }
        tick(++done);
      }
    };
    await Promise.all(Array.from({ length: Math.min(this.options.concurrency, items.length) }, work));
    return answers;
  }

  /**
   * @returns the answer's JSON
   * @throws ConfigError where the API refuses the request, EngineError where it fails or does not answer
   */
  async post(route: string, body: unknown): Promise<unknown> {
    const { retries, retryMs } = this.options;
    for (let tries = 0; ; tries++) {
      const outcome = await this.send(route, body);
      if (!(outcome instanceof Failure)) return outcome;
      if (!outcome.passes || tries >= retries) throw outcome.error(tries + 1);
      await sleep(Math.min(outcome.waitMs ?? retryMs * 2 ** tries, MAX_PAUSE_MS));
    }
  }

  private async send(route: string, body: unknown): Promise<unknown> {
    const { baseUrl, apiKey, timeoutMs } = this.options;
    const where = `POST ${baseUrl}${route}`;
    try {
      const response = await fetch(baseUrl + route, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...(apiKey && { authorization: `Bearer ${apiKey}` }) },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(timeoutMs),
      });
      const text = await response.text();
      if (response.ok) return JSON.parse(text);
      const wait = Number(response.headers.get('retry-after') ?? Number.NaN);
      const passes = response.status === 408 || response.status === 429 || response.status >= 500;
      const said = `${where}: status ${response.status}: ${this.withoutKey(text).slice(0, SHOWN) || 'an empty body'}`;
      return new Failure(said, passes, Number.isFinite(wait) ? wait * 1000 : undefined, !passes);
    } catch (error) {
      if (error instanceof SyntaxError) return new Failure(`${where}: the answer is no JSON: ${error.message}`, false);
      const { name, message, cause } = error as Error;
      const said =
        name === 'TimeoutError' ? `no answer within ${timeoutMs / 1000} s` : `${message} ${cause ?? ''}`.trim();
      return new Failure(`${where}: ${this.withoutKey(said)}`, true);
    }
  }

  private withoutKey(text: string): string {
    return this.options.apiKey ? text.replaceAll(this.options.apiKey, '***') : text;
  }
}

class Failure {
  private readonly said: string;
  /** Whether another try may help, and when. */
  readonly passes: boolean;
  readonly waitMs: number | undefined;
  private readonly isRefused: boolean;

  constructor(said: string, passes: boolean, waitMs?: number, isRefused = false) {
    this.said = said;
    this.passes = passes;
    this.waitMs = waitMs;
    this.isRefused = isRefused;
  }

  error(tries: number): Error {
    const said = `${this.said}${tries > 1 ? ` (after ${tries} tries)` : ''}`;
    return this.isRefused ? new ConfigError(said) : new EngineError(said);
  }
}
