// The thread that computes: one decoder, one batch. Between two steps it looks at what the server has sent meanwhile.
import { parentPort, workerData } from 'node:worker_threads';
import { isUserError } from '../base/errors.ts';
import { openModel } from '../checkpoint/index.ts';
import { GenerationBatch, loadForInference } from '../nn/index.ts';
import type { FromModel, ModelSettings, ToModel } from './model-thread.ts';
import { Scheduler } from './scheduler.ts';

const { model, threads, numSlots, capacity, chunkTokens } = workerData as ModelSettings;
const port = parentPort!;
const send = (message: FromModel) => port.postMessage(message);

let isStepping = false;

function start(): Scheduler {
  const source = openModel(model);
  const { decoder } = loadForInference(source, { threads });
  source.close();
  return new Scheduler(new GenerationBatch(decoder, numSlots, capacity, chunkTokens));
}

function step(scheduler: Scheduler): void {
  try {
    const events = scheduler.step();
    send({ type: 'events', events, load: scheduler.load });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    send({ type: 'failed', ids: scheduler.clear(), reason, isUserError: isUserError(error) });
  }
  isStepping = scheduler.isBusy;
  // A turn of the event loop, so that messages are received.
  if (isStepping) setImmediate(step, scheduler);
}

try {
  const scheduler = start();
  port.on('message', (message: ToModel) => {
    if (message.type === 'add') scheduler.add(message.sequences);
    else {
      scheduler.cancel(new Set(message.ids));
      send({ type: 'events', events: [], load: scheduler.load });
    }
    if (isStepping || !scheduler.isBusy) return;
    isStepping = true;
    setImmediate(step, scheduler);
  });
  send({ type: 'ready' });
} catch (error) {
  const reason = error instanceof Error ? error.message : String(error);
  send({ type: 'failed', ids: [], reason, isUserError: isUserError(error) });
}
