// hub://OWNER/NAME[@REVISION]/PATTERN: files of a data set on a Hugging Face hub (HF_ENDPOINT, HF_TOKEN). Listed by the hub's client, read by
// plain requests, which can go on where one broke off.
import { HUB_URL, HubApiError, listFiles } from '@huggingface/hub';
import { ConfigError } from '../../base/errors.ts';
import { bodyOf, get, type Remote, unsigned } from './http.ts';
import type { RemoteEntry } from './s3.ts';

export interface HubAddress {
  id: string;
  revision: string;
  path: string;
}

/** @throws ConfigError */
export function parseHub(given: string): HubAddress {
  const match = /^hub:\/\/([\w.-]+\/[\w.-]+)(?:@([^/]+))?(?:\/(.*))?$/.exec(given);
  if (!match)
    throw new ConfigError(
      `${given}: expected hub://OWNER/NAME/PATH, where the path may be a pattern and @REVISION may follow the name.`,
    );
  // A branch such as refs/convert/parquet has its slashes written as %2F.
  return { id: match[1], revision: decodeURIComponent(match[2] ?? 'main'), path: match[3] ?? '' };
}

export function hubFile(given: string): Remote {
  const { id, revision, path } = parseHub(given);
  const parts = path.split('/').map(encodeURIComponent).join('/');
  const url = `${hubUrl()}/datasets/${id}/resolve/${encodeURIComponent(revision)}/${parts}`;
  const token = accessToken();
  // fetch drops this header where the hub redirects to another host, as it must.
  const sign = token
    ? async (_: string, headers: Record<string, string>) => ({ ...headers, authorization: `Bearer ${token}` })
    : unsigned;
  return { name: given, url, sign, hint: hint(id) };
}

/** Files below a folder; none where it does not exist. @throws ConfigError, DataError */
export async function listHub({ id, revision }: HubAddress, folder: string): Promise<RemoteEntry[]> {
  const token = accessToken();
  const prefix = `hub://${id}${revision === 'main' ? '' : `@${encodeURIComponent(revision)}`}`;
  const remote: Remote = { name: prefix, url: '', sign: unsigned, hint: hint(id) };
  const entries: RemoteEntry[] = [];
  const listing = listFiles({
    repo: { type: 'dataset', name: id },
    revision,
    hubUrl: hubUrl(),
    recursive: true,
    ...(folder === '' ? {} : { path: folder }),
    ...(token ? { accessToken: token } : {}),
    // What fails in passing is tried again.
    fetch: async (input, init) => {
      const response = await get({ ...remote, url: String(input) }, Object.fromEntries(new Headers(init?.headers)));
      const headers = Object.entries(response.headers).map(([name, value]): [string, string] => [name, String(value)]);
      return new Response(await bodyOf(response), { status: 200, headers });
    },
  });
  try {
    for await (const { type, path, size, oid, lfs } of listing)
      if (type === 'file')
        entries.push({ path: `${prefix}/${path}`, sizeBytes: size, modifiedMs: 0, identity: lfs?.oid ?? oid ?? '' });
  } catch (error) {
    if (error instanceof HubApiError)
      throw new ConfigError(`${prefix}: the hub answered with status ${error.statusCode}. ${hint(id)}`);
    throw error;
  }
  return entries;
}

function hubUrl(): string {
  return (process.env.HF_ENDPOINT?.trim() || HUB_URL).replace(/\/+$/, '');
}

function accessToken(): string | undefined {
  return process.env.HF_TOKEN?.trim() || undefined;
}

function hint(id: string): string {
  return accessToken()
    ? `May the account of HF_TOKEN read ${id}? A gated one asks for consent first, at ${hubUrl()}/datasets/${id}.`
    : `Is ${id} spelt right (capitals count)? For a private or gated one put an access token into HF_TOKEN.`;
}
