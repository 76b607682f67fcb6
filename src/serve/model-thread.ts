// The server's side of the thread that computes: sequences go there, events come back to whoever asked.
import { Worker } from 'node:worker_threads';
import { entryFile } from '../base/entry.ts';
import { ConfigError, EngineError } from '../base/errors.ts';
import type { Load, SequenceEvent, SequenceRequest } from './scheduler.ts';

export interface ModelSettings {
  /** Folder or GGUF file. */
  model: string;
  threads: number | undefined;
  /** Sequences at once. */
  numSlots: number;
  /** Longest sequence, tokens. */
  capacity: number;
  /** Tokens of a prompt that are read at once. */
  chunkTokens: number;
}

export type ToModel = { type: 'add'; sequences: SequenceRequest[] } | { type: 'cancel'; ids: number[] };

export type FromModel =
  | { type: 'ready' }
  | { type: 'events'; events: SequenceEvent[]; load: Load }
  | { type: 'failed'; ids: number[]; reason: string; isUserError: boolean };

export type EventListener = (event: SequenceEvent | Error) => void;

export class ModelThread {
  private readonly worker: Worker;
  private readonly listeners = new Map<number, EventListener>();
  private nextId = 0;
  private isClosed = false;
  /** As of the last step. */
  load: Load = { numRunning: 0, numWaiting: 0, numCached: 0 };
  /** Set when the thread has died. */
  failure: Error | undefined;
  readonly whenFailed: Promise<Error>;
  /** Whether the model is loaded. */
  private readonly first: Promise<FromModel>;
  private announceFailure!: (failure: Error) => void;

  private constructor(worker: Worker) {
    this.worker = worker;
    this.whenFailed = new Promise((resolve) => {
      this.announceFailure = resolve;
    });
    this.first = new Promise((resolve) => worker.once('message', resolve));
    worker.on('message', (message: FromModel) => this.receive(message));
    worker.on('error', (error) => this.fail(error.message));
    worker.on('exit', (code) => this.fail(`it ended with code ${code}`));
  }

  /** @throws ConfigError, EngineError where the model cannot be loaded */
  static async start(settings: ModelSettings): Promise<ModelThread> {
    const worker = new Worker(entryFile(import.meta.url, './model-worker.ts'), { workerData: settings });
    const thread = new ModelThread(worker);
    const first = await Promise.race([thread.first, thread.whenFailed]);
    if (first instanceof Error) throw first;
    if (first.type !== 'failed') return thread;
    await thread.close();
    throw first.isUserError
      ? new ConfigError(first.reason)
      : new EngineError(`The model cannot be loaded: ${first.reason}`);
  }

  /** Sequences that are waiting or running. */
  get numOpen(): number {
    return this.listeners.size;
  }

  /** @returns the ids, for cancel() */
  add(sequences: readonly { request: Omit<SequenceRequest, 'id'>; listener: EventListener }[]): number[] {
    if (this.failure) throw this.failure;
    const ids = sequences.map(({ listener }) => {
      this.listeners.set(this.nextId, listener);
      return this.nextId++;
    });
    this.send({ type: 'add', sequences: sequences.map(({ request }, i) => ({ ...request, id: ids[i]! })) });
    return ids;
  }

  /** Those that have ended already are left alone. */
  cancel(ids: readonly number[]): void {
    const open = ids.filter((id) => this.listeners.delete(id));
    if (open.length > 0 && !this.failure) this.send({ type: 'cancel', ids: open });
  }

  async close(): Promise<void> {
    this.isClosed = true;
    await this.worker.terminate();
  }

  private send(message: ToModel): void {
    this.worker.postMessage(message);
  }

  private receive(message: FromModel): void {
    if (message.type === 'events') {
      this.load = message.load;
      for (const event of message.events) this.tell(event.id, event, event.finished !== undefined);
    } else if (message.type === 'failed')
      for (const id of message.ids) this.tell(id, new EngineError(message.reason), true);
  }

  private tell(id: number, event: SequenceEvent | Error, isLast: boolean): void {
    const listener = this.listeners.get(id);
    if (isLast) this.listeners.delete(id);
    listener?.(event);
  }

  private fail(reason: string): void {
    if (this.isClosed) return;
    this.failure ??= new EngineError(`The model's thread failed: ${reason}.`);
    for (const id of [...this.listeners.keys()]) this.tell(id, this.failure, true);
    this.announceFailure(this.failure);
  }
}
