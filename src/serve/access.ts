// Who may ask: loopback without a token, the network only with one; no page of a browser unless its origin is allowed.
import { createHash, timingSafeEqual } from 'node:crypto';
import { ConfigError } from '../base/errors.ts';
import { ApiError } from './errors.ts';

export interface AccessSettings {
  host: string;
  token: string | undefined;
  /** Origins of pages that may ask. */
  allowedOrigins: readonly string[];
}

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[?::1\]?)$/i;

/** @throws ConfigError for an address that others reach, without a token */
export function checkAccess({ host, token }: AccessSettings): void {
  if (token !== undefined && !/^[\x21-\x7e]{8,}$/.test(token))
    throw new ConfigError(
      'the token: expected at least 8 characters, none of them a space. Change the environment variable.',
    );
  if (LOOPBACK.test(host) || token !== undefined) return;
  throw new ConfigError(
    `--host ${host}: others reach this address, so a token is needed. Put one into the environment variable CONTINUO_SERVE_TOKEN ` +
      '(or into another one, named by --token-env); clients send it as their API key.',
  );
}

/** @throws ApiError: 403 for a page of another site or a name that is not ours, 401 without the token */
export function admit(headers: Headers, { host, token, allowedOrigins }: AccessSettings): void {
  // A page can point a name of its own at 127.0.0.1 (DNS rebinding); its requests carry that name.
  const name = (headers.get('host') ?? '').replace(/:\d+$/, '');
  if (LOOPBACK.test(host) && !LOOPBACK.test(name))
    throw new ApiError(403, `Host ${JSON.stringify(name)}: this server answers to localhost only.`, {
      code: 'host_not_allowed',
    });
  const origin = headers.get('origin');
  if (origin !== null && !allowedOrigins.includes(origin))
    throw new ApiError(
      403,
      `Origin ${JSON.stringify(origin)} is not allowed; the server's option --allow-origin names those that are.`,
      {
        code: 'origin_not_allowed',
      },
    );
  if (token !== undefined && !sameText(/^Bearer (.*)$/i.exec(headers.get('authorization') ?? '')?.[1] ?? '', token))
    throw new ApiError(401, 'The API key is missing or wrong.', {
      code: 'invalid_api_key',
      headers: { 'www-authenticate': 'Bearer' },
    });
}

/** In a time that says nothing about where they differ. */
function sameText(a: string, b: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}
