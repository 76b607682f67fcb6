// What a request may hold, checked field by field. A field that is not known is refused by name: one that was ignored would change what the
// client believes it got.
import { z } from 'zod';
import { nearestName } from '../base/errors.ts';
import { badRequest } from './errors.ts';

/** Likeliest tokens that can be asked for at a place, as many as OpenAI's chat has. */
export const MAX_TOP_LOGPROBS = 20;
const MAX_STOPS = 64;
/** Answers to one prompt. */
const MAX_CHOICES = 128;

const whole = z.int();
const id = z.int().min(0);

const common = {
  model: z.string().optional(),
  temperature: z.number().min(0).default(1),
  top_p: z.number().gt(0).max(1).default(1),
  n: whole.min(1).max(MAX_CHOICES).default(1),
  stop: z
    .union([z.string(), z.array(z.string()).max(MAX_STOPS)], {
      error: `expected a text or a list of at most ${MAX_STOPS} texts`,
    })
    .default([]),
  seed: whole.optional(),
  stream: z.boolean().default(false),
  stream_options: z.object({ include_usage: z.boolean().optional() }).optional(),
  presence_penalty: z.number().min(-2).max(2).default(0),
  frequency_penalty: z.number().min(-2).max(2).default(0),
  logit_bias: z.record(z.string().regex(/^\d+$/), z.number().min(-100).max(100)).default({}),
  // Extensions, named as in vLLM.
  top_k: whole.min(-1).default(0),
  min_p: z.number().min(0).max(1).default(0),
  repetition_penalty: z.number().gt(0).default(1),
  ignore_eos: z.boolean().default(false),
};

const completion = z.strictObject({
  ...common,
  prompt: z.union([z.string(), z.array(z.string()).min(1), z.array(id).min(1), z.array(z.array(id)).min(1)], {
    error: 'expected a text, a list of texts, a list of token ids, or a list of such lists',
  }),
  max_tokens: whole.min(0).default(16),
  best_of: whole.optional(),
  echo: z.boolean().default(false),
  logprobs: whole.min(0).max(MAX_TOP_LOGPROBS).optional(),
  add_special_tokens: z.boolean().default(true),
});

const message = z.object({
  role: z.enum(['system', 'developer', 'user', 'assistant', 'tool']),
  content: z.union([z.string(), z.array(z.object({ type: z.literal('text'), text: z.string() }))], {
    error: 'expected a text, or a list of parts of type "text"',
  }),
});

const chat = z.strictObject({
  ...common,
  messages: z.array(message).min(1),
  max_tokens: whole.min(1).optional(),
  max_completion_tokens: whole.min(1).optional(),
  logprobs: z.boolean().default(false),
  top_logprobs: whole.min(0).max(MAX_TOP_LOGPROBS).optional(),
});

export type CompletionRequest = z.infer<typeof completion>;
export type ChatRequest = z.infer<typeof chat>;
export type CommonRequest = Omit<z.infer<z.ZodObject<typeof common>>, 'model'>;

/** Fields that say something about the client and change no answer. */
const IGNORED = ['user', 'metadata', 'store', 'service_tier', 'safety_identifier', 'prompt_cache_key'];
/** Fields that this server does not have, in the form in which they ask for nothing. */
const NEUTRAL: Record<string, (value: unknown) => boolean> = {
  response_format: (value) => (value as { type?: unknown })?.type === 'text',
  tools: (value) => Array.isArray(value) && value.length === 0,
  tool_choice: (value) => value === 'none',
  functions: (value) => Array.isArray(value) && value.length === 0,
  modalities: (value) => Array.isArray(value) && value.every((one) => one === 'text'),
  suffix: (value) => value === '',
};

/** @throws ApiError that names the field */
export function parseCompletion(body: unknown): CompletionRequest {
  const request = parse(completion, body);
  if (request.best_of !== undefined && request.best_of !== request.n)
    throw badRequest(
      'best_of',
      `best_of: expected the value of n (${request.n}), found ${request.best_of}. This server does not choose among answers.`,
    );
  if (request.max_tokens === 0 && !request.echo)
    throw badRequest(
      'max_tokens',
      'max_tokens: expected at least 1 (0 only with echo, for the likelihoods of the prompt).',
    );
  return request;
}

/** @throws ApiError that names the field */
export function parseChat(body: unknown): ChatRequest {
  const request = parse(chat, body);
  if (request.top_logprobs !== undefined && !request.logprobs)
    throw badRequest('top_logprobs', 'top_logprobs: expected "logprobs": true beside it.');
  return request;
}

function parse<T extends z.ZodObject>(schema: T, body: unknown): z.infer<T> {
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    throw badRequest(
      undefined,
      `expected a JSON object, found ${body === null ? 'null' : Array.isArray(body) ? 'a list' : `a ${typeof body}`}.`,
    );
  const asked = Object.entries(body).filter(
    ([name, value]) => value !== null && !IGNORED.includes(name) && !NEUTRAL[name]?.(value),
  );
  const known = Object.keys(schema.shape);
  for (const [name] of asked) if (!known.includes(name)) throw unknownField(name, known);
  const parsed = schema.safeParse(Object.fromEntries(asked));
  if (parsed.success) return parsed.data;
  const { path, message: reason } = parsed.error.issues[0]!;
  const param = path
    .map((step, i) => (typeof step === 'number' ? `[${step}]` : i > 0 ? `.${String(step)}` : String(step)))
    .join('');
  throw badRequest(param, `${param}: ${reason.replace(/^Invalid input: /, '')}.`);
}

function unknownField(name: string, known: readonly string[]) {
  const near = nearestName(name, known);
  if (name in NEUTRAL || !near)
    return badRequest(name, `${name}: this server does not support it.`, 'unsupported_parameter');
  return badRequest(name, `${name}: unknown; did you mean ${near}?`, 'unknown_parameter');
}
