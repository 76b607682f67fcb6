// The routes: who may ask, what is asked, and the answer. Errors leave as OpenAI writes them.
import { Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { cors } from 'hono/cors';
import { TokenTexts } from '../tokenizer/index.ts';
import { type AccessSettings, admit } from './access.ts';
import { ChatCompletion } from './chat-completions.ts';
import { Completion } from './completions.ts';
import { ApiError, errorResponse, toApiError } from './errors.ts';
import { Generation, type Served } from './generation.ts';
import { Metrics } from './metrics.ts';
import { type CommonRequest, parseChat, parseCompletion } from './requests.ts';
import { type Format, respondStream, respondWhole } from './respond.ts';

export interface AppSettings {
  access: AccessSettings;
  maxBodyBytes: number;
  /** Tokens that the key-value cache has room for. */
  numSlotTokens: number;
  /** One line a request. */
  log: (line: string) => void;
}

/** What the server asks the routes, and tells them. */
export interface AppState {
  /** Requests under way. */
  numOpen: number;
  /** No new ones are taken. */
  isDraining: boolean;
}

export function createApp(served: Served, settings: AppSettings, state: AppState): Hono {
  const app = new Hono();
  const metrics = new Metrics();
  const texts = new TokenTexts(served.tokenizer);
  const { access } = settings;

  app.use(async (c, next) => {
    await next();
    metrics.countRequest(c.res.status === 404 ? 'other' : c.req.path, c.res.status);
  });
  if (access.allowedOrigins.length > 0) app.use(cors({ origin: [...access.allowedOrigins], maxAge: 600 }));
  app.get('/health', (c) => {
    const problem = served.thread.failure?.message ?? (state.isDraining ? 'shutting down' : undefined);
    return problem ? c.json({ status: problem }, 503) : c.json({ status: 'ok' });
  });
  app.use(async (c, next) => {
    admit(c.req.raw.headers, access);
    await next();
  });
  app.get('/metrics', (c) => c.text(metrics.text(served.thread.load, settings.numSlotTokens)));
  app.get('/v1/models', (c) => c.json({ object: 'list', data: [describe(served)] }));
  // Names of the hub hold a slash.
  app.get('/v1/models/:name{.+}', (c) => {
    checkName(served, c.req.param('name'));
    return c.json(describe(served));
  });
  app.use(
    '/v1/*',
    bodyLimit({
      maxSize: settings.maxBodyBytes,
      onError: () =>
        errorResponse(new ApiError(413, `The request is too large: expected at most ${settings.maxBodyBytes} bytes.`)),
    }),
  );

  const route = (
    path: string,
    read: (body: unknown) => { model?: string; common: CommonRequest; format: () => Format },
  ) =>
    app.post(path, async (c) => {
      if (state.isDraining) throw draining();
      const body = await readJson(c.req.raw);
      const { model, common, format: makeFormat } = read(body);
      checkName(served, model);
      const format = makeFormat();
      if (state.isDraining) throw draining();
      const generation = new Generation(served, format.generation);
      const startedAt = performance.now();
      state.numOpen++;
      const end = (error?: ApiError) => {
        state.numOpen--;
        metrics.countTokens(generation.usage);
        const { prompt_tokens, completion_tokens } = generation.usage;
        const seconds = ((performance.now() - startedAt) / 1000).toFixed(2);
        settings.log(
          `${path} ${prompt_tokens} + ${completion_tokens} tokens, ${seconds} s${error ? `: ${error.message}` : ''}`,
        );
      };
      if (common.stream) {
        const includeUsage = common.stream_options?.include_usage ?? false;
        return respondStream(format, generation, served.name, includeUsage, once(end));
      }
      const { signal } = c.req.raw;
      signal.addEventListener('abort', () => generation.close(), { once: true });
      if (signal.aborted) generation.close();
      try {
        const response = await respondWhole(format, generation, served.name);
        end();
        return response;
      } catch (error) {
        end(toApiError(error));
        throw error;
      }
    });

  route('/v1/completions', (body) => {
    const request = parseCompletion(body);
    return { model: request.model, common: request, format: () => new Completion(served, texts, request) };
  });
  route('/v1/chat/completions', (body) => {
    const request = parseChat(body);
    return { model: request.model, common: request, format: () => new ChatCompletion(served, texts, request) };
  });

  app.notFound((c) =>
    errorResponse(
      new ApiError(404, `${c.req.method} ${c.req.path}: no such route on this server.`, { code: 'not_found' }),
    ),
  );
  app.onError((error) => {
    const known = toApiError(error);
    if (known.status >= 500) settings.log(`${known.message} ${error.message}`);
    return errorResponse(known);
  });
  return app;
}

function describe({ name, startedAt, capacity }: Served) {
  return { id: name, object: 'model', created: startedAt, owned_by: 'continuo', max_model_len: capacity };
}

function checkName({ name }: Served, asked: string | undefined): void {
  if (asked !== undefined && asked !== name)
    throw new ApiError(404, `model: this server has ${JSON.stringify(name)}, found ${JSON.stringify(asked)}.`, {
      param: 'model',
      code: 'model_not_found',
    });
}

async function readJson(request: Request): Promise<unknown> {
  // A page of another site can send plain forms and texts without being asked whether it may.
  if (!/^application\/json\b/i.test(request.headers.get('content-type') ?? ''))
    throw new ApiError(415, 'expected the header "Content-Type: application/json".');
  const text = await request.text();
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new ApiError(400, `the body is no JSON: ${(error as Error).message}.`);
  }
}

function draining(): ApiError {
  return new ApiError(503, 'The server is shutting down.', { code: 'shutting_down', headers: { connection: 'close' } });
}

function once<T extends unknown[]>(call: (...args: T) => void): (...args: T) => void {
  let isDone = false;
  return (...args) => {
    if (!isDone) call(...args);
    isDone = true;
  };
}
