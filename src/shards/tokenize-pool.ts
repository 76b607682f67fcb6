// Texts -> token ids on worker threads. Batches come back in the order in which they were given, whatever the number of workers; at most
// a few batches a worker are under way, so a fast reader waits for the tokenizer.
import { Worker } from 'node:worker_threads';
import { entryFile } from '../base/entry.ts';
import { EngineError } from '../base/errors.ts';
import type { TokenizeRequest, TokenizeResponse } from './tokenize-worker.ts';

export type TokenizedBatch = Extract<TokenizeResponse, { ids: Int32Array }>;

const BATCHES_PER_WORKER = 3;

/**
 * Tokenises every batch of `batches` (any value with `texts` and `conversations`) and yields it with its result, in order.
 * @throws EngineError when a worker fails, with what it said
 */
export async function* tokenizeBatches<B extends Omit<TokenizeRequest, 'batch'>>(
  batches: AsyncIterable<B>,
  options: { modelFolder: string; numWorkers: number },
): AsyncGenerator<{ batch: B; result: TokenizedBatch }> {
  const pool = new TokenizePool(options.modelFolder, options.numWorkers);
  const pending: { batch: B; result: Promise<TokenizedBatch> }[] = [];
  try {
    for await (const batch of batches) {
      pending.push({ batch, result: pool.tokenize(batch) });
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

interface Job {
  request: TokenizeRequest;
  resolve: (result: TokenizedBatch) => void;
  reject: (error: Error) => void;
}

class TokenizePool {
  private readonly workers: Worker[];
  private readonly idle: Worker[];
  private readonly running = new Map<Worker, Job>();
  private readonly queue: Job[] = [];
  private failure: Error | undefined;
  private numBatches = 0;

  constructor(modelFolder: string, numWorkers: number) {
    const file = entryFile(import.meta.url, './tokenize-worker.ts');
    this.workers = Array.from({ length: numWorkers }, () => new Worker(file, { workerData: { modelFolder } }));
    this.idle = [...this.workers];
    for (const worker of this.workers) {
      worker.on('message', (response: TokenizeResponse) => this.finish(worker, response));
      worker.on('error', (error) => this.fail(error.message));
      worker.on('exit', (code) => this.fail(`it ended with code ${code}`));
    }
  }

  tokenize({ texts, conversations }: Omit<TokenizeRequest, 'batch'>): Promise<TokenizedBatch> {
    const promise = new Promise<TokenizedBatch>((resolve, reject) => {
      this.queue.push({ request: { batch: this.numBatches++, texts, conversations }, resolve, reject });
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

  private finish(worker: Worker, response: TokenizeResponse): void {
    const job = this.running.get(worker)!;
    this.running.delete(worker);
    this.idle.push(worker);
    if ('error' in response) job.reject(workerError(response.error));
    else job.resolve(response);
    this.dispatch();
  }

  private fail(reason: string): void {
    this.failure ??= workerError(reason);
    this.rejectAll();
  }

  private rejectAll(): void {
    for (const job of [...this.running.values(), ...this.queue.splice(0)]) job.reject(this.failure!);
    this.running.clear();
  }

  async close(): Promise<void> {
    for (const worker of this.workers) worker.removeAllListeners('exit');
    await Promise.all(this.workers.map((worker) => worker.terminate()));
  }
}

function workerError(reason: string): EngineError {
  return new EngineError(`A tokenizer worker failed: ${reason}`);
}
