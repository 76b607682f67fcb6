// Fetching from a hub: a server on loopback stands in for it, so that its answers can be wrong in every way.
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import * as http from 'node:http';
import type { AddressInfo } from 'node:net';
import * as path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ConfigError } from '../../src/base/errors.ts';
import { fetchModel, openModel, resolveModel, saveModel } from '../../src/checkpoint/index.ts';
import { temporaryFolder } from './helpers.ts';
import { tinyModel } from './models.ts';

interface Request {
  path: string;
  range: string | undefined;
  token: string | undefined;
}

/** A hub with one model, whose files lie in `files`. */
class FakeHub {
  readonly files = new Map<string, Buffer>();
  readonly requests: Request[] = [];
  id = 'acme/tiny';
  revision = 'main';
  /** Answers every request with this status and message instead. */
  refusal: { status: number; message: string } | undefined;
  /** Cuts each answer with this name after so many bytes, once. */
  cut: { name: string; bytes: number } | undefined;
  private readonly server = http.createServer((request, response) => this.answer(request, response));

  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private answer(request: http.IncomingMessage, response: http.ServerResponse): void {
    const url = new URL(request.url!, 'http://hub');
    this.requests.push({ path: url.pathname, range: request.headers.range, token: request.headers.authorization });
    const json = (status: number, value: unknown) => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(value));
    };
    const prefix = `/${this.id}/resolve/${this.revision}/`;
    const name = url.pathname.slice(prefix.length);
    const bytes = url.pathname.startsWith(prefix) ? this.files.get(name) : undefined;
    if (this.refusal) json(this.refusal.status, { error: this.refusal.message });
    else if (url.pathname === `/api/models/${this.id}/tree/${this.revision}`) json(200, this.tree());
    else if (!bytes) json(404, { error: 'Repository not found' });
    else this.send(name, bytes, request, response);
  }

  private tree(): unknown[] {
    return [...this.files].map(([name, bytes]) => {
      const digest = createHash('sha256').update(bytes).digest('hex');
      const lfs = name.endsWith('.safetensors') ? { lfs: { oid: digest, size: bytes.length, pointerSize: 130 } } : {};
      return { type: 'file', path: name, size: bytes.length, oid: digest.slice(0, 40), ...lfs };
    });
  }

  private send(name: string, bytes: Buffer, request: http.IncomingMessage, response: http.ServerResponse): void {
    const range = /^bytes=(\d+)-(\d+)?$/.exec(request.headers.range ?? '');
    const start = range ? Number(range[1]) : 0;
    const end = range?.[2] ? Math.min(Number(range[2]) + 1, bytes.length) : bytes.length;
    response.writeHead(range ? 206 : 200, {
      etag: '"x"',
      'content-length': end - start,
      ...(range ? { 'content-range': `bytes ${start}-${end - 1}/${bytes.length}` } : {}),
    });
    if (this.cut?.name === name && end - start > this.cut.bytes) {
      response.write(bytes.subarray(start, start + this.cut.bytes), () => setTimeout(() => response.destroy(), 50));
      this.cut = undefined;
    } else response.end(bytes.subarray(start, end));
  }
}

const VARIABLES = ['HF_ENDPOINT', 'HF_TOKEN', 'HF_HUB_OFFLINE'];
const saved = Object.fromEntries(VARIABLES.map((name) => [name, process.env[name]]));
let hub: FakeHub;
let cache: string;

beforeEach(async () => {
  hub = new FakeHub();
  for (const name of VARIABLES) delete process.env[name];
  process.env.HF_ENDPOINT = await hub.start();
  cache = temporaryFolder();
});

afterEach(async () => {
  await hub.stop();
  for (const name of VARIABLES) {
    if (saved[name] === undefined) delete process.env[name];
    else process.env[name] = saved[name];
  }
});

async function publish(maxShardBytes?: number): Promise<void> {
  const folder = path.join(temporaryFolder(), 'model');
  await saveModel(folder, tinyModel(maxShardBytes === undefined ? {} : { maxShardBytes }));
  for (const name of fs.readdirSync(folder)) hub.files.set(name, fs.readFileSync(path.join(folder, name)));
}

const quiet = { quiet: true };

async function failure(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => expect.fail('expected a failure'),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(ConfigError);
  return (error as Error).message;
}

describe('fetching', () => {
  it.each([undefined, 500])(
    'brings a model that opens, and asks no second time (shards of %s)',
    async (maxShardBytes) => {
      await publish(maxShardBytes);
      hub.files.set('pytorch_model.bin', Buffer.from('pickle'));
      hub.files.set('onnx/model.safetensors', Buffer.from('other'));
      hub.files.set('../evil.json', Buffer.from('outside'));
      const folder = await resolveModel('acme/tiny', cache, quiet);
      expect(folder).toBe(path.join(cache, 'models', 'acme--tiny'));
      const source = openModel(folder);
      expect(source.readF32('model.norm.weight')).toHaveLength(8);
      expect(source.tokenizer().vocabSize).toBe(28);
      source.close();
      const names = fs.readdirSync(folder);
      expect(names).not.toContain('pytorch_model.bin');
      expect(names).toContain('continuo-source.json');
      expect(fs.readdirSync(path.dirname(folder))).toEqual(['acme--tiny']);
      const asked = hub.requests.length;
      expect(await fetchModel('acme/tiny', cache, quiet)).toBe(folder);
      expect(hub.requests.length).toBe(asked);
    },
  );

  it('fetches a revision into a folder of its own', async () => {
    await publish();
    hub.revision = 'v1.0';
    const folder = await resolveModel('acme/tiny@v1.0', cache, quiet);
    expect(folder).toBe(path.join(cache, 'models', 'acme--tiny@v1.0'));
    openModel(folder).close();
    expect(JSON.parse(fs.readFileSync(path.join(folder, 'continuo-source.json'), 'utf8'))).toMatchObject({
      id: 'acme/tiny',
      revision: 'v1.0',
    });
    expect(await failure(resolveModel('acme/tiny@v2', cache, quiet))).toContain('no such model at revision v2');
  });

  it('goes on where a broken download stopped', async () => {
    await publish();
    hub.cut = { name: 'model.safetensors', bytes: 1000 };
    expect(await failure(fetchModel('acme/tiny', cache, quiet))).toMatch(
      /the connection to .* broke \(.*\) while fetching model\.safetensors\. Run the same command again: it goes on/,
    );
    expect(fs.existsSync(path.join(cache, 'models', 'acme--tiny'))).toBe(false);
    const kept = fs.statSync(path.join(cache, 'models', 'acme--tiny.part', 'model.safetensors.incomplete')).size;
    expect(kept).toBe(1000);
    hub.requests.length = 0;
    const folder = await fetchModel('acme/tiny', cache, quiet);
    const ranges = hub.requests
      .filter((request) => request.path.endsWith('/model.safetensors'))
      .map((request) => request.range);
    expect(ranges).toContain(`bytes=1000-${hub.files.get('model.safetensors')!.length - 1}`);
    expect(fs.readFileSync(path.join(folder, 'model.safetensors')).equals(hub.files.get('model.safetensors')!)).toBe(
      true,
    );
  });

  it('refuses content that is not what was announced, and starts that file afresh', async () => {
    await publish();
    const part = path.join(cache, 'models', 'acme--tiny.part');
    fs.mkdirSync(part, { recursive: true });
    fs.writeFileSync(path.join(part, 'model.safetensors.incomplete'), Buffer.alloc(100, 1));
    await expect(fetchModel('acme/tiny', cache, quiet)).rejects.toThrow(
      /does not match what the hub announced .* Run the same command again/,
    );
    const folder = await fetchModel('acme/tiny', cache, quiet);
    openModel(folder).close();
  });

  it('sends the token of the environment and keeps it out of the cache', async () => {
    await publish();
    process.env.HF_TOKEN = 'hf_secret';
    const folder = await fetchModel('acme/tiny', cache, quiet);
    expect(hub.requests.every((request) => request.token === 'Bearer hf_secret')).toBe(true);
    for (const name of fs.readdirSync(folder))
      expect(fs.readFileSync(path.join(folder, name)).includes('hf_secret')).toBe(false);
  });
});

describe('what a user is told', () => {
  it('on a machine that cannot reach the hub', async () => {
    await hub.stop();
    const message = await failure(fetchModel('acme/tiny', cache, quiet));
    expect(message).toMatch(/^acme\/tiny: this machine cannot reach http:\/\/127\.0\.0\.1:\d+ \(ECONNREFUSED\)/);
    expect(message).toContain('`hf download acme/tiny --local-dir FOLDER` (older: huggingface-cli)');
    hub = new FakeHub();
    await hub.start();
  });

  it('when told to stay offline', async () => {
    process.env.HF_HUB_OFFLINE = '1';
    expect(await failure(fetchModel('acme/tiny', cache, quiet))).toContain('(HF_HUB_OFFLINE is set)');
    expect(hub.requests).toEqual([]);
  });

  it('about a model that is unknown', async () => {
    hub.refusal = { status: 401, message: 'Invalid username or password.' };
    expect(await failure(fetchModel('acme/tinny', cache, quiet))).toMatch(
      /has no such model, or it is private. Check the spelling .* put an access token into HF_TOKEN/,
    );
  });

  it('about a model that is gated', async () => {
    hub.refusal = { status: 403, message: 'Access to model acme/tiny is restricted.' };
    expect(await failure(fetchModel('acme/tiny', cache, quiet))).toMatch(
      /is gated: .* Accept the terms at http:.*acme\/tiny, then put an access token/,
    );
    process.env.HF_TOKEN = 'hf_x';
    expect(await failure(fetchModel('acme/tiny', cache, quiet))).toContain(
      'with the account whose token HF_TOKEN holds',
    );
  });

  it('about a hub in trouble, a senseless token and a senseless address', async () => {
    hub.refusal = { status: 503, message: 'busy' };
    expect(await failure(fetchModel('acme/tiny', cache, quiet))).toMatch(
      /answered with status 503 while listing its files/,
    );
    process.env.HF_TOKEN = 'secret';
    expect(await failure(fetchModel('acme/tiny', cache, quiet))).toBe(
      'HF_TOKEN: expected a token that begins with "hf_". Correct or unset it.',
    );
    delete process.env.HF_TOKEN;
    process.env.HF_ENDPOINT = 'nowhere';
    expect(await failure(fetchModel('acme/tiny', cache, quiet))).toMatch(/HF_ENDPOINT: expected an address such as/);
  });

  it('about repositories that cannot be used', async () => {
    hub.files.set('config.json', Buffer.from('{}'));
    hub.files.set('pytorch_model.bin', Buffer.from('pickle'));
    expect(await failure(fetchModel('acme/tiny', cache, quiet))).toContain('its weights are pickles');
    hub.files.set('tiny.Q4_K_M.gguf', Buffer.from('GGUF'));
    expect(await failure(fetchModel('acme/tiny', cache, quiet))).toContain('hf download acme/tiny tiny.Q4_K_M.gguf');
    hub.files.clear();
    hub.files.set('data.csv', Buffer.from('x'));
    expect(await failure(fetchModel('acme/tiny', cache, quiet))).toMatch(
      /is not a language model in safetensors: .* found data\.csv/,
    );
  });
});

describe('resolving', () => {
  it('takes an existing path as it is', async () => {
    expect(await resolveModel(cache, cache)).toBe(cache);
    expect(hub.requests).toEqual([]);
  });

  it('names the nearest neighbour of a path that does not exist', async () => {
    fs.mkdirSync(path.join(cache, 'SmolLM2-135M'));
    expect(await failure(resolveModel(path.join(cache, 'SmolLM-135M'), cache))).toBe(
      `${path.join(cache, 'SmolLM-135M')}: no such file or folder. Did you mean ${path.join(cache, 'SmolLM2-135M')}?`,
    );
    expect(await failure(resolveModel('./no.gguf', cache))).toContain('./no.gguf: no such file or folder.');
    expect(await failure(resolveModel('~/model', cache))).toContain('"~" is not expanded here');
  });

  it('says what a hub id looks like', async () => {
    for (const spec of ['smollm', 'a/b/c', '../x/y z', 'acme/..'])
      expect(await failure(resolveModel(spec, cache))).toMatch(/no such file or folder/);
    expect(await failure(resolveModel('smollm', cache))).toContain(
      'not a hub id, which has the form organisation/name',
    );
    expect(await failure(resolveModel(' ', cache))).toContain('found nothing');
    expect(hub.requests).toEqual([]);
  });
});
