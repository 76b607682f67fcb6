// Batches on worker threads. They come back in the order in which they were given, whatever the number of workers; at most a few batches a
// worker are under way, so a fast reader waits for the workers. A worker is a module that calls serveBatches.
import { setTimeout as sleep } from 'node:timers/promises';
import { parentPort, Worker } from 'node:worker_threads';
import { ConfigError, DataError, EngineError, isUserError } from './errors.ts';

const BATCHES_PER_WORKER = 3;
/**
 * Node 20 aborts the whole process where a worker ends while V8 still compiles for it in the background (its isolate is unregistered before
 * it is disposed of); a worker that has nothing to do is soon through with that.
 */
const CALM_MS = 50;

export interface WorkerPoolOptions {
  /** Compiled module of the worker (see entryFile). */
  file: string;
  workerData: unknown;
  numWorkers: number;
  /** For messages, e.g. "tokenizer". */
  name: string;
}

/**
 * Sends `toRequest(batch)` of every batch to a worker and yields the batch with the worker's result, in order.
 * @throws ConfigError or DataError that a worker threw; EngineError when it fails otherwise, with what it said
 */
export async function* mapOnWorkers<Batch, Result>(
  batches: AsyncIterable<Batch> | Iterable<Batch>,
  toRequest: (batch: Batch) => unknown,
  options: WorkerPoolOptions,
): AsyncGenerator<{ batch: Batch; result: Result }> {
  const pool = new WorkerPool<Result>(options);
  const pending: { batch: Batch; result: Promise<Result> }[] = [];
  try {
    for await (const batch of batches) {
      pending.push({ batch, result: pool.submit(toRequest(batch)) });
      if (pending.length >= options.numWorkers * BATCHES_PER_WORKER) {
        const { batch: first, result } = pending.shift()!;
        yield { batch: first, result: await result };
      }
    }
    for (const { batch, result } of pending.splice(0)) yield { batch, result: await result };
  } finally {
    await pool.close();
  }
}

/** In a worker: answers each request. `transfer`: buffers of the result that are handed over instead of copied. */
export function serveBatches<Request, Result>(
  handle: (request: Request) => Handled<Result> | Promise<Handled<Result>>,
): void {
  const port = parentPort!;
  port.on('message', async (request: Request) => {
    try {
      const { result, transfer = [] } = await handle(request);
      port.postMessage({ result } satisfies Response<Result>, transfer);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      const of = isUserError(error) ? error.name : undefined;
      port.postMessage({ error: message, of } satisfies Response<Result>);
    }
  });
}

interface Handled<Result> {
  result: Result;
  transfer?: ArrayBuffer[];
}

/** `of`: the name of a user's error. */
type Response<Result> = { result: Result } | { error: string; of: string | undefined };

interface Job<Result> {
  request: unknown;
  resolve: (result: Result) => void;
  reject: (error: Error) => void;
}

class WorkerPool<Result> {
  private readonly workers: Worker[];
  private readonly idle: Worker[];
  private readonly running = new Map<Worker, Job<Result>>();
  private readonly queue: Job<Result>[] = [];
  private readonly name: string;
  private failure: Error | undefined;

  constructor({ file, workerData, numWorkers, name }: WorkerPoolOptions) {
    this.name = name;
    this.workers = Array.from({ length: numWorkers }, () => new Worker(file, { workerData }));
    this.idle = [...this.workers];
    for (const worker of this.workers) {
      worker.on('message', (response: Response<Result>) => this.finish(worker, response));
      worker.on('error', (error) => this.fail(error.message));
      worker.on('exit', (code) => this.fail(`it ended with code ${code}`));
    }
  }

  submit(request: unknown): Promise<Result> {
    const promise = new Promise<Result>((resolve, reject) => {
      this.queue.push({ request, resolve, reject });
    });
    // A batch behind a failed one is never awaited; its rejection is no news.
    promise.catch(() => {});
    if (this.failure) this.rejectAll();
    else this.dispatch();
    return promise;
  }

  private dispatch(): void {
    while (this.idle.length > 0 && this.queue.length > 0) {
      const worker = this.idle.pop()!;
      const job = this.queue.shift()!;
      this.running.set(worker, job);
      worker.postMessage(job.request);
    }
  }

  private finish(worker: Worker, response: Response<Result>): void {
    const job = this.running.get(worker);
    // Given up when another worker failed.
    if (!job) return;
    this.running.delete(worker);
    this.idle.push(worker);
    if ('error' in response) job.reject(this.explain(response));
    else job.resolve(response.result);
    this.dispatch();
  }

  private fail(reason: string): void {
    this.failure ??= this.workerError(reason);
    this.rejectAll();
  }

  private rejectAll(): void {
    for (const job of [...this.running.values(), ...this.queue.splice(0)]) job.reject(this.failure!);
    this.running.clear();
  }

  private explain({ error, of }: { error: string; of: string | undefined }): Error {
    if (of === 'ConfigError') return new ConfigError(error);
    // Its message names the file already.
    if (of === 'DataError') return Object.assign(new DataError('', ''), { message: error });
    return this.workerError(error);
  }

  private workerError(reason: string): EngineError {
    return new EngineError(`A ${this.name} worker failed: ${reason}`);
  }

  async close(): Promise<void> {
    for (const worker of this.workers) worker.removeAllListeners('exit');
    await sleep(CALM_MS);
    await Promise.all(this.workers.map((worker) => worker.terminate()));
  }
}
