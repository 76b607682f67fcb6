// s3://bucket/key: AWS or any store with its interface (AWS_ENDPOINT_URL). Keys and region come from the usual environment variables; without
// keys requests are not signed, which public buckets accept.
import { AwsClient } from 'aws4fetch';
import { Parser } from 'htmlparser2';
import { ConfigError, DataError } from '../../base/errors.ts';
import { bodyOf, get, type Headers, type Remote, type Sign, unsigned } from './http.ts';

export interface RemoteEntry {
  /** As given by the user, with the part that the pattern stands for. */
  path: string;
  sizeBytes: number;
  modifiedMs: number;
  /** Changes with the content. */
  identity: string;
}

const MAX_LISTED = 10_000_000;

export interface S3Address {
  bucket: string;
  key: string;
}

/** @throws ConfigError */
export function parseS3(given: string): S3Address {
  const match = /^s3:\/\/([a-z0-9][a-z0-9._-]{1,62})(?:\/(.*))?$/i.exec(given);
  if (!match) throw new ConfigError(`${given}: expected s3://BUCKET/KEY, where the key may be a prefix or a pattern.`);
  return { bucket: match[1], key: match[2] ?? '' };
}

export function s3Object(given: string): Remote {
  const { bucket, key } = parseS3(given);
  const path = key.split('/').map(encodePart).join('/');
  return { name: given, url: `${bucketUrl(bucket)}/${path}`, sign: signer(), hint: hint() };
}

/** All objects whose key begins with `prefix`, in the order of keys. @throws as get */
export async function listS3(bucket: string, prefix: string): Promise<RemoteEntry[]> {
  const entries: RemoteEntry[] = [];
  let token: string | undefined;
  do {
    const query: [string, string][] = [
      ...(token === undefined ? [] : [['continuation-token', token] as [string, string]]),
      ['encoding-type', 'url'],
      ['list-type', '2'],
      ['prefix', prefix],
    ];
    const url = `${bucketUrl(bucket)}?${query.map(([name, value]) => `${name}=${encodePart(value)}`).join('&')}`;
    const name = `s3://${bucket}/${prefix}`;
    const response = await get({ name, url, sign: signer(), hint: hint() });
    const page = parseListing(await bodyOf(response), name);
    for (const { key, ...rest } of page.entries)
      if (!key.endsWith('/')) entries.push({ path: `s3://${bucket}/${key}`, ...rest });
    if (entries.length > MAX_LISTED)
      throw new ConfigError(`${name}: more than ${MAX_LISTED} objects. Give a longer prefix.`);
    if (page.next !== undefined && page.next === token)
      throw new DataError(name, 'the listing does not go on: the server gives the same page again.');
    token = page.next;
  } while (token !== undefined);
  return entries;
}

interface Listing {
  entries: { key: string; sizeBytes: number; modifiedMs: number; identity: string }[];
  next: string | undefined;
}

function parseListing(xml: string, name: string): Listing {
  const listing: Listing = { entries: [], next: undefined };
  let isListing = false;
  let isTruncated = false;
  let inside: Record<string, string> | undefined;
  let text = '';
  const parser = new Parser(
    {
      onopentag(tag) {
        text = '';
        if (tag === 'ListBucketResult') isListing = true;
        if (tag === 'Contents') inside = {};
      },
      ontext(part) {
        text += part;
      },
      onclosetag(tag) {
        if (tag === 'Contents' && inside) {
          const key = decodeURIComponent((inside.Key ?? '').replaceAll('+', '%20'));
          const sizeBytes = Number(inside.Size ?? 0);
          const modifiedMs = Date.parse(inside.LastModified ?? '') || 0;
          listing.entries.push({ key, sizeBytes, modifiedMs, identity: inside.ETag ?? '' });
          inside = undefined;
        } else if (inside) inside[tag] = text;
        else if (tag === 'IsTruncated') isTruncated = text.trim() === 'true';
        else if (tag === 'NextContinuationToken') listing.next = text;
        text = '';
      },
    },
    { xmlMode: true, decodeEntities: true },
  );
  parser.write(xml);
  parser.end();
  if (!isListing)
    throw new DataError(name, 'the server answered with something else than a listing: is this an S3 store?');
  if (!isTruncated) listing.next = undefined;
  return listing;
}

function bucketUrl(bucket: string): string {
  const endpoint = (process.env.AWS_ENDPOINT_URL_S3 ?? process.env.AWS_ENDPOINT_URL)?.trim().replace(/\/+$/, '');
  if (endpoint) {
    if (!/^https?:$/.test(URL.canParse(endpoint) ? new URL(endpoint).protocol : ''))
      throw new ConfigError(
        `AWS_ENDPOINT_URL: expected an address such as https://minio.example.org:9000, found ${endpoint}.`,
      );
    return `${endpoint}/${bucket}`;
  }
  // The certificate of AWS covers no dots.
  return bucket.includes('.')
    ? `https://s3.${region()}.amazonaws.com/${bucket}`
    : `https://${bucket}.s3.${region()}.amazonaws.com`;
}

function region(): string {
  return process.env.AWS_REGION ?? process.env.AWS_DEFAULT_REGION ?? 'us-east-1';
}

function signer(): Sign {
  const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey, AWS_SESSION_TOKEN } = process.env;
  if (!accessKeyId || !secretAccessKey) return unsigned;
  const client = new AwsClient({
    accessKeyId,
    secretAccessKey,
    ...(AWS_SESSION_TOKEN ? { sessionToken: AWS_SESSION_TOKEN } : {}),
    service: 's3',
    region: region(),
  });
  return async (url: string, headers: Headers) => {
    const request = await client.sign(url, { headers });
    return Object.fromEntries(request.headers);
  };
}

function hint(): string {
  return process.env.AWS_ACCESS_KEY_ID
    ? 'May the account of AWS_ACCESS_KEY_ID read and list it, and are AWS_SECRET_ACCESS_KEY and AWS_REGION right?'
    : 'Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_ENDPOINT_URL for another store than AWS.';
}

/** As the signature wants it: encodeURIComponent leaves five characters. */
function encodePart(part: string): string {
  return encodeURIComponent(part).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
}
