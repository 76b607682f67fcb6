// A worker thread of curation: does parts of a corpus, one after the other.
import { workerData } from 'node:worker_threads';
import { serveBatches } from '../../base/worker-pool.ts';
import { curatePart, type PartTask } from './part.ts';
import type { Part } from './parts.ts';

const task = workerData as PartTask;

serveBatches(async (part: Part) => ({ result: await curatePart(part, task) }));
