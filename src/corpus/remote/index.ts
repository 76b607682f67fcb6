// Files elsewhere: s3://, hub://, http(s)://. Found with size and identity, so that a corpus has a fingerprint before anything is fetched;
// read as a stream that survives breaks.
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { ConfigError } from '../../base/errors.ts';
import { explainSystemError, writeAll } from '../../base/files.ts';
import { globMatcher, hasGlobMagic } from '../glob.ts';
import type { InputFile } from '../types.ts';
import { get, getBytes, type Remote, unsigned } from './http.ts';
import { hubFile, listHub, parseHub } from './hub.ts';
import { listS3, parseS3, type RemoteEntry, s3Object } from './s3.ts';

export interface FoundRemote {
  entries: (RemoteEntry & { address?: string; mediaType?: string })[];
  /** One file was named, not a folder or a pattern. */
  named: boolean;
}

export function isRemote(given: string): boolean {
  return /^[a-z][a-z0-9+.-]+:\/\//i.test(given);
}

/** @throws ConfigError for an address that cannot be read, DataError where a server fails */
export async function findRemote(given: string): Promise<FoundRemote> {
  if (given.startsWith('s3://')) {
    const { bucket, key } = parseS3(given);
    return choose(key, (prefix) => listS3(bucket, prefix), `s3://${bucket}/`);
  }
  if (given.startsWith('hub://')) {
    const address = parseHub(given);
    const root = given.slice(0, given.length - address.path.length).replace(/\/?$/, '/');
    return choose(address.path, (prefix) => listHub(address, prefix.replace(/\/?[^/]*$/, '')), root);
  }
  if (/^https?:\/\//i.test(given)) return { entries: [await findWeb(given)], named: true };
  throw new ConfigError(
    `${given}: cannot be read from there. Expected a local path, s3://, hub://, https:// or http://.`,
  );
}

/** What a key stands for: an object, else a pattern, else a folder. */
async function choose(
  key: string,
  list: (prefix: string) => Promise<RemoteEntry[]>,
  root: string,
): Promise<FoundRemote> {
  const nameOf = (entry: RemoteEntry) => entry.path.slice(root.length);
  const prefix = hasGlobMagic(key) ? key.slice(0, key.search(/[*?[\]{}]/)) : key;
  const listed = await list(prefix);
  const exact = listed.find((entry) => nameOf(entry) === key);
  if (exact) return { entries: [exact], named: true };
  if (hasGlobMagic(key)) {
    const matches = globMatcher(key);
    return { entries: listed.filter((entry) => matches(nameOf(entry))), named: false };
  }
  const folder = key === '' || key.endsWith('/') ? key : `${key}/`;
  const isInside = (name: string) => name.startsWith(folder) && !/(^|\/)\./.test(name.slice(folder.length));
  return { entries: listed.filter((entry) => isInside(nameOf(entry))), named: false };
}

/** One byte is asked for: unlike HEAD this works with addresses that are signed for reading. */
async function findWeb(given: string): Promise<FoundRemote['entries'][number]> {
  if (!URL.canParse(given)) throw new ConfigError(`${given}: is not an address.`);
  const url = new URL(given);
  if (url.username || url.password)
    throw new ConfigError(
      `${url.host}: an address with a name and a password cannot be read, since it would be written down.`,
    );
  const name = `${url.origin}${url.pathname}`;
  const response = await get(web(given), { range: 'bytes=0-0' });
  response.destroy();
  const { headers } = response;
  const length = Number(
    response.statusCode === 206 ? headers['content-range']?.split('/')[1] : headers['content-length'],
  );
  const modified = headers['last-modified'] ?? '';
  return {
    path: name,
    sizeBytes: Number.isSafeInteger(length) && length >= 0 ? length : 0,
    modifiedMs: Date.parse(modified) || 0,
    identity: headers.etag ?? modified,
    ...(given === name ? {} : { address: given }),
    mediaType: headers['content-type']?.split(';', 1)[0].trim().toLowerCase(),
  };
}

function web(address: string): Remote {
  const { origin, pathname } = new URL(address);
  return { name: `${origin}${pathname}`, url: address, sign: unsigned, hint: 'Only what needs no log-in can be read.' };
}

/** The bytes of a remote file. @throws ConfigError, DataError */
export async function* readRemote(
  file: Pick<InputFile, 'path' | 'address'> & { sizeBytes?: number },
  start: number,
  onBytes: (n: number) => void,
): AsyncGenerator<Uint8Array> {
  const { path: name } = file;
  const remote = name.startsWith('s3://')
    ? s3Object(name)
    : name.startsWith('hub://')
      ? hubFile(name)
      : web(file.address ?? name);
  for await (const bytes of getBytes(remote, start, file.sizeBytes || undefined)) {
    onBytes(bytes.length);
    yield bytes;
  }
}

/** For readers that jump about in a file: a copy of it in the folder for temporary files (TMPDIR), which `use` has to itself. */
export async function* withLocalCopy<Item>(
  file: InputFile,
  onBytes: (n: number) => void,
  use: (copy: string) => AsyncIterable<Item>,
): AsyncGenerator<Item> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-remote-'));
  try {
    const copy = path.join(folder, 'copy');
    try {
      const fd = fs.openSync(copy, 'w');
      try {
        for await (const bytes of readRemote(file, 0, onBytes)) writeAll(fd, bytes);
      } finally {
        fs.closeSync(fd);
      }
    } catch (error) {
      throw explainSystemError(error, copy, `copying ${file.path}`);
    }
    yield* use(copy);
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}
