// evals/documents-step-*.json: the loss of each held-out document, so that two evaluations are compared in pairs.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { readJson } from '../base/files.ts';
import { checkpointName, type EvalDocumentsResult } from '../engine/index.ts';
import type { ScoredPair } from '../eval/index.ts';

export type DocumentLosses = EvalDocumentsResult['sets'][string];

/** By held-out set; undefined where a run did not keep them. */
export function readDocuments(runFolder: string, step: number): EvalDocumentsResult['sets'] | undefined {
  const file = path.join(runFolder, 'evals', `documents-${checkpointName(step)}.json`);
  return fs.existsSync(file) ? readJson<EvalDocumentsResult>(file).sets : undefined;
}

/** The same documents at two evaluations; none where their number differs. */
export function documentPairs(first: DocumentLosses, second: DocumentLosses): ScoredPair[] {
  if (first.nats.length !== second.nats.length) return [];
  return first.nats.map((nats, i) => ({ first: nats, second: second.nats[i]!, size: first.bytes[i]! }));
}
