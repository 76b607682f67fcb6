// A server on the embedded base in this process, its model thread included; and the same model with a chat template.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { OpenAI } from 'openai';
import { packageRoot } from '../../src/base/package.ts';
import { type RunningServer, type ServeSettings, startServer } from '../../src/serve/index.ts';
import { temporaryFolder } from '../engine/fixtures.ts';

export const BASE = path.join(packageRoot(), 'data', 'base-en-8m');

export const TEMPLATE =
  "{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}{{ raise_exception('unknown role ' + m.role) }}{% endif %}" +
  '{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}';

/** The embedded base with a chat template. */
export function chatModel(): string {
  const folder = temporaryFolder('serve');
  for (const file of ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'])
    fs.copyFileSync(path.join(BASE, file), path.join(folder, file));
  fs.writeFileSync(path.join(folder, 'chat_template.jinja'), TEMPLATE);
  return folder;
}

/** What came as JSON; a test says what it expects of it. */
export type Json = ReturnType<typeof JSON.parse>;

export interface TestServer extends RunningServer {
  client: OpenAI;
  log: string[];
  /** A request as it is, without a client that retries. */
  post(path: string, body: unknown, headers?: Record<string, string>): Promise<{ status: number; body: Json }>;
}

export async function serveForTest(changes: Partial<ServeSettings> = {}): Promise<TestServer> {
  const log: string[] = [];
  const server = await startServer({
    model: BASE,
    name: 'base',
    host: '127.0.0.1',
    port: 0,
    allowedOrigins: [],
    threads: 1,
    maxBatch: 16,
    maxQueue: 64,
    log: (line) => log.push(line),
    ...changes,
  });
  const client = new OpenAI({ baseURL: server.url, apiKey: changes.token ?? 'none', maxRetries: 0 });
  const post: TestServer['post'] = async (route, body, headers = {}) => {
    const response = await fetch(`${server.url}${route}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });
    return { status: response.status, body: await response.json() };
  };
  return { ...server, client, log, post };
}
