// GET over HTTP that gives all bytes or says why not: what fails in passing is tried again after a pause, and a body that breaks off goes on
// with a Range request where it stopped, as long as it is the same file. Not by fetch: that undoes a Content-Encoding, and then neither sizes
// nor ranges are those of what is stored.
import * as http from 'node:http';
import * as https from 'node:https';
import { ConfigError, DataError } from '../../base/errors.ts';

/** Pauses double from half a second: 31 s in all. */
const MAX_ATTEMPTS = 7;
const FIRST_PAUSE_MS = 500;
const MAX_PAUSE_MS = 30_000;
/** Without a byte for so long a connection is given up. */
const MAX_SILENCE_MS = 60_000;
const MAX_REDIRECTS = 10;

export type Headers = Record<string, string>;

/** Headers of a request, signed anew for each attempt where that is needed. */
export type Sign = (url: string, headers: Headers) => Promise<Headers>;

export interface Remote {
  /** For messages: without what is secret. */
  name: string;
  url: string;
  sign: Sign;
  /** What to do about a refusal (401, 403). */
  hint: string;
}

export async function unsigned(_url: string, headers: Headers): Promise<Headers> {
  return headers;
}

/**
 * The answer to a GET, of status 200 or 206.
 * @throws ConfigError for a refusal and a missing file, DataError where the server fails again and again or cannot be reached
 */
export async function get(remote: Remote, given: Headers = {}): Promise<http.IncomingMessage> {
  for (let attempt = 1; ; attempt++) {
    let reason: string;
    let pauseMs = 0;
    try {
      const response = await request(remote.url, await remote.sign(remote.url, given));
      const status = response.statusCode ?? 0;
      if (status === 200 || status === 206) return response;
      response.destroy();
      // Nothing at or after the byte asked for.
      if (status === 416) return response;
      reason = `status ${status}`;
      if (!isPassing(status)) throw refusal(remote, response);
      pauseMs = 1000 * Number(response.headers['retry-after'] ?? 0) || 0;
    } catch (error) {
      if (error instanceof ConfigError) throw error;
      reason = reasonOf(error);
    }
    // No such host, or no network: waiting for it helps nobody.
    if (reason === 'ENOTFOUND')
      throw new DataError(
        remote.name,
        `there is no way to ${new URL(remote.url).host} (${reason}): check the address and the network.`,
      );
    if (attempt === MAX_ATTEMPTS) throw unreachable(remote, reason);
    await pause(attempt, pauseMs);
  }
}

async function request(url: string, headers: Headers, numRedirects = 0): Promise<http.IncomingMessage> {
  const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
    const client = url.startsWith('https:') ? https : http;
    const outgoing = client.get(url, { headers: { 'user-agent': 'continuo', ...headers } }, resolve);
    outgoing.on('error', reject);
    outgoing.setTimeout(MAX_SILENCE_MS, () => outgoing.destroy(new Error(`no answer for ${MAX_SILENCE_MS / 1000} s`)));
  });
  const { location } = response.headers;
  if (![301, 302, 303, 307, 308].includes(response.statusCode ?? 0) || location === undefined) return response;
  response.destroy();
  const next = new URL(location, url);
  if (numRedirects === MAX_REDIRECTS || !/^https?:$/.test(next.protocol)) throw new Error('redirected without end');
  const { authorization, ...rest } = headers;
  const isSameHost = next.host === new URL(url).host;
  return request(next.href, isSameHost && authorization !== undefined ? headers : rest, numRedirects + 1);
}

/** All of a small answer. */
export async function bodyOf(response: http.IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of response) pieces.push(piece as Buffer);
  return Buffer.concat(pieces).toString('utf8');
}

function isPassing(status: number): boolean {
  return status >= 500 || status === 429 || status === 408;
}

function refusal({ name, hint }: Remote, { statusCode: status, headers }: http.IncomingMessage): ConfigError {
  const region = headers['x-amz-bucket-region'];
  if (status === 404) return new ConfigError(`${name}: no such file or folder there. Check the address.`);
  if ((status === 301 || status === 400) && region)
    return new ConfigError(`${name}: the bucket is in the region ${region}. Set AWS_REGION to it.`);
  if (status === 401 || status === 403) return new ConfigError(`${name}: access refused (status ${status}). ${hint}`);
  return new ConfigError(`${name}: the server answered with status ${status}. Check the address.`);
}

function unreachable({ name }: Remote, reason: string): DataError {
  return new DataError(
    name,
    `cannot be fetched: ${reason}, ${MAX_ATTEMPTS} times in a row. Check the network and run the same command again.`,
  );
}

/** What fetch says, however deep it has wrapped it. */
function reasonOf(error: unknown): string {
  const { cause, message, code } = error as { cause?: unknown; message?: string; code?: string };
  if (cause) return reasonOf(cause);
  return code ?? message ?? String(error);
}

function pause(attempt: number, leastMs: number): Promise<void> {
  const ms = Math.min(MAX_PAUSE_MS, Math.max(leastMs, FIRST_PAUSE_MS * 2 ** (attempt - 1)));
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/**
 * The bytes of a file from `start` on.
 * @param sizeBytes as listed; undefined where nobody said it
 * @throws as get; DataError also for a file that changed meanwhile
 */
export async function* getBytes(
  remote: Remote,
  start: number,
  sizeBytes: number | undefined,
): AsyncGenerator<Uint8Array> {
  let position = start;
  let etag: string | undefined;
  let numFailures = 0;
  for (;;) {
    const isWhole = position === 0;
    const response = await get(remote, isWhole ? {} : { range: `bytes=${position}-` });
    const { statusCode, headers } = response;
    if (statusCode === 416) {
      if (sizeBytes !== undefined && position < sizeBytes) throw changed(remote, position);
      return;
    }
    const found = headers.etag;
    if (etag !== undefined && found !== undefined && found !== etag) throw changed(remote, position);
    etag ??= found;
    // A server that knows no ranges begins anew.
    let skip = statusCode === 206 ? 0 : position;
    const announced = Number(headers['content-length'] ?? Number.NaN);
    const end = Number.isNaN(announced) ? sizeBytes : announced + (statusCode === 206 ? position : 0);
    let reason = 'the connection ended early';
    try {
      for await (const chunk of response) {
        const bytes = chunk as Uint8Array;
        const fresh = bytes.subarray(Math.min(skip, bytes.length));
        skip -= bytes.length - fresh.length;
        if (fresh.length === 0) continue;
        position += fresh.length;
        numFailures = 0;
        yield fresh;
      }
      if (end === undefined || position >= end) {
        if (sizeBytes !== undefined && position !== sizeBytes) throw changed(remote, position);
        return;
      }
    } catch (error) {
      if (error instanceof DataError) throw error;
      reason = reasonOf(error);
    }
    if (++numFailures === MAX_ATTEMPTS) throw unreachable(remote, reason);
    await pause(numFailures, 0);
  }
}

function changed({ name }: Remote, position: number): DataError {
  return new DataError(name, 'changed while it was read. Run the same command again.', position);
}
