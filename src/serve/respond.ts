// A request's answer as HTTP: one JSON object at the end, or server-sent events as the text comes.
import { randomUUID } from 'node:crypto';
import { EngineError } from '../base/errors.ts';
import { ApiError, errorBody, toApiError } from './errors.ts';
import type { ChoiceDelta, Generation, GenerationRequest, Usage } from './generation.ts';

/** What the two APIs differ in: how a part of an answer and a whole one are written. */
export interface Format<Chunk = unknown> {
  kind: 'text_completion' | 'chat.completion';
  generation: GenerationRequest;
  chunk(delta: ChoiceDelta, isFirst: boolean): Chunk;
  choice(parts: readonly Chunk[]): unknown;
}

/** A reader that takes nothing for so long is given up. */
const STALLED_MS = 60_000;

export interface Ended {
  usage: Usage;
  /** Until the first token, milliseconds; undefined where there was none. */
  firstTokenMs: number | undefined;
}

/** @throws what the generation throws */
export async function respondWhole(format: Format, generation: Generation, model: string): Promise<Response> {
  const head = headOf(format, model);
  const parts = new Map<number, unknown[]>();
  for await (const delta of generation) {
    const list = parts.get(delta.index) ?? [];
    parts.set(delta.index, list);
    list.push(format.chunk(delta, list.length === 0));
  }
  const choices = [...parts.entries()].sort(([a], [b]) => a - b).map(([, list]) => format.choice(list));
  return Response.json({ ...head, object: format.kind, choices, usage: generation.usage });
}

/**
 * Events are made as the reader takes them; a reader that goes away, or takes nothing for a minute, ends the generation.
 * @param onEnd called once, when the last event is written or the reader has gone
 */
export function respondStream(
  format: Format,
  generation: Generation,
  model: string,
  includeUsage: boolean,
  onEnd: (error?: ApiError) => void,
  stalledMs = STALLED_MS,
): Response {
  const events = encodeEvents(format, generation, model, includeUsage);
  const encoder = new TextEncoder();
  let stalled: NodeJS.Timeout | undefined;
  let failed: ApiError | undefined;
  const stop = () => {
    clearTimeout(stalled);
    generation.close();
    onEnd(failed);
  };
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        clearTimeout(stalled);
        try {
          const { done, value } = await events.next();
          if (done) {
            controller.close();
            return stop();
          }
          controller.enqueue(encoder.encode(value));
        } catch (error) {
          failed = toApiError(error);
          controller.enqueue(encoder.encode(`data: ${JSON.stringify(errorBody(failed))}\n\n`));
          controller.close();
          return stop();
        }
        stalled = setTimeout(() => {
          failed = new ApiError(408, 'The reader took nothing for too long.');
          controller.error(new EngineError(failed.message));
          stop();
        }, stalledMs);
      },
      cancel: stop,
    },
    { highWaterMark: 1 },
  );
  return new Response(body, {
    headers: {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache',
      'x-accel-buffering': 'no',
    },
  });
}

async function* encodeEvents(format: Format, generation: Generation, model: string, includeUsage: boolean) {
  const object = format.kind === 'chat.completion' ? 'chat.completion.chunk' : format.kind;
  const head = { ...headOf(format, model), object };
  const begun = new Set<number>();
  const event = (value: object) => `data: ${JSON.stringify(value)}\n\n`;
  const noUsage = includeUsage ? { usage: null } : {};
  for await (const delta of generation) {
    const isFirst = !begun.has(delta.index);
    const isEmpty = !delta.text && delta.tokens.length === 0 && !delta.finished && !delta.promptLogprobs;
    // Part of a character, or what may begin a stop text.
    if (isEmpty && !isFirst) continue;
    begun.add(delta.index);
    yield event({ ...head, choices: [format.chunk(delta, isFirst)], ...noUsage });
  }
  if (includeUsage) yield event({ ...head, choices: [], usage: generation.usage });
  yield 'data: [DONE]\n\n';
}

function headOf({ kind }: Format, model: string) {
  const prefix = kind === 'chat.completion' ? 'chatcmpl' : 'cmpl';
  return { id: `${prefix}-${randomUUID()}`, object: kind, created: Math.floor(Date.now() / 1000), model };
}
