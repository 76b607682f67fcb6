// Texts -> token ids on worker threads, in the order of the texts, whatever the number of workers.
import { entryFile } from '../base/entry.ts';
import { mapOnWorkers } from '../base/worker-pool.ts';
import type { TokenizedBatch, TokenizeRequest } from './tokenize-worker.ts';

/**
 * Tokenises every batch of `batches` (any value with `texts` and `conversations`) and yields it with its result, in order.
 * @throws EngineError when a worker fails, with what it said
 */
export function tokenizeBatches<B extends TokenizeRequest>(
  batches: AsyncIterable<B>,
  { modelFolder, numWorkers }: { modelFolder: string; numWorkers: number },
): AsyncGenerator<{ batch: B; result: TokenizedBatch }> {
  return mapOnWorkers(batches, ({ texts, conversations }): TokenizeRequest => ({ texts, conversations }), {
    file: entryFile(import.meta.url, './tokenize-worker.ts'),
    workerData: { modelFolder },
    numWorkers,
    name: 'tokenizer',
  });
}
