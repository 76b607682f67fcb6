// A worker thread of curation: does parts of a corpus, one after the other.
import { workerData } from 'node:worker_threads';
import { serveBatches } from '../../base/worker-pool.ts';
import { curatePart, type PartTask, stepsOf } from './part.ts';
import type { Part } from './parts.ts';

const task = workerData as PartTask;

/** Made with the first part, so that what is wrong with them is told as that part's error. */
let steps: ReturnType<typeof stepsOf> | undefined;

serveBatches(async (part: Part) => {
  steps ??= stepsOf(task);
  return { result: await curatePart(part, task, await steps) };
});
