// One part of a corpus: read, cleaned, written. Nothing but the part and the task decides the result, so it does not matter where or when
// it is done. parts/NAME.json is written last: a part without it is done again.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { writeJsonAtomic } from '../../base/files.ts';
import type { CleanStepConfig } from '../../config/index.ts';
import { readFiles } from '../read.ts';
import type { BadRecord, Document, ReadCounts } from '../types.ts';
import { type Amount, addAmount, nothing } from './amount.ts';
import { PartFile } from './part-file.ts';
import { type Part, partName } from './parts.ts';
import { makeSteps } from './steps/index.ts';
import type { Edit, Removal, RemovedDocument, Step, StepCounts } from './types.ts';
import { TextView } from './view.ts';

const REMOVED_CHARS = 1000;
const NUM_BAD_EXAMPLES = 5;

/** What is the same for all parts of a corpus. */
export interface PartTask {
  /** Of the curated corpus. */
  folder: string;
  field?: string;
  maxRecordBytes?: number;
  steps: readonly CleanStepConfig[];
}

export interface PartSummary {
  index: number;
  read: ReadCounts;
  kept: Amount;
  /** SHA-256 of documents/NAME.jsonl. */
  digest: string;
  steps: StepCounts[];
  badExamples: BadRecord[];
  /** The first damaged container. */
  damage?: BadRecord;
}

export const partFiles = (folder: string, index: number) => ({
  summary: path.join(folder, 'parts', `${partName(index)}.json`),
  documents: path.join(folder, 'documents', `${partName(index)}.jsonl`),
  removed: path.join(folder, 'removed', `${partName(index)}.jsonl`),
  bad: path.join(folder, 'bad-records', `${partName(index)}.jsonl`),
});

/** Does a part and says what came of it. */
export async function curatePart(part: Part, task: PartTask): Promise<PartSummary> {
  const files = partFiles(task.folder, part.index);
  const steps = await makeSteps(task.steps);
  const counts = steps.map(({ name }) => emptyCounts(name));
  const kept = nothing();
  const [documents, removed, bad] = [files.documents, files.removed, files.bad].map((file) => new PartFile(file)) as [
    PartFile,
    PartFile,
    PartFile,
  ];
  const badExamples: BadRecord[] = [];
  let damage: BadRecord | undefined;
  const read: ReadCounts = {
    numRecords: 0,
    numDocuments: 0,
    numBadRecords: 0,
    numEmptyDocuments: 0,
    numBytesRead: part.numBytes,
  };
  try {
    const documentsRead = readFiles(
      part.files,
      { field: task.field, maxRecordBytes: task.maxRecordBytes, maxBadShare: 1 },
      {
        onBadRecord: (record) => {
          bad.writeLine(record);
          read.numBadRecords++;
          if (badExamples.length < NUM_BAD_EXAMPLES) badExamples.push(record);
          if (record.losesRest) damage ??= record;
        },
        onEmptyDocument: () => {
          read.numEmptyDocuments++;
        },
      },
    );
    for await (const document of documentsRead) {
      read.numDocuments++;
      const result = clean(document, steps, counts);
      if ('removed' in result) {
        removed.writeLine(result.removed);
        continue;
      }
      addAmount(kept, { numDocuments: 1, numBytes: Buffer.byteLength(result.text) });
      documents.writeLine(record(result));
    }
    read.numRecords = read.numDocuments + read.numEmptyDocuments + read.numBadRecords;
    const digest = documents.finish();
    for (const file of [removed, bad]) {
      if (file.numLines > 0) file.finish();
      else file.abandon();
    }
    const summary: PartSummary = {
      index: part.index,
      ...{ read, kept, digest, steps: counts, badExamples },
      ...(damage && { damage }),
    };
    writeJsonAtomic(files.summary, summary);
    return summary;
  } catch (error) {
    for (const file of [documents, removed, bad]) file.abandon();
    throw error;
  }
}

/** What was found out about a part before, if it is done. */
export function readPart(folder: string, index: number): PartSummary | undefined {
  const { summary, documents } = partFiles(folder, index);
  if (!fs.existsSync(summary) || !fs.existsSync(documents)) return undefined;
  try {
    return JSON.parse(fs.readFileSync(summary, 'utf8')) as PartSummary;
  } catch {
    return undefined;
  }
}

function emptyCounts(name: string): StepCounts {
  return { name, removed: nothing(), reasons: {}, changed: nothing(), changes: {} };
}

/** A curated document as a line; of a conversation, what is said stands in its messages alone. */
function record({ id, text, source, messages, metadata }: Document): object {
  return { id, ...(messages ? { messages } : { text }), source, ...(metadata && { metadata }) };
}

function clean(
  document: Document,
  steps: readonly Step[],
  counts: readonly StepCounts[],
): Document | { removed: RemovedDocument } {
  let current = document;
  const view = new TextView(document);
  for (const [i, step] of steps.entries()) {
    const before = Buffer.byteLength(view.text);
    const outcome = step.apply(view);
    if (outcome === undefined) continue;
    const count = counts[i]!;
    const removal = 'removed' in outcome ? outcome.removed : emptied(outcome);
    if (removal) {
      const one: Amount = { numDocuments: 1, numBytes: before };
      addAmount(count.removed, one);
      count.reasons[removal.reason] = addAmount(count.reasons[removal.reason] ?? nothing(), one);
      return { removed: describeRemoval(current, view.text, step.name, removal) };
    }
    current = edit(current, view, step, outcome as Edit);
    for (const [what, n] of Object.entries((outcome as Edit).changes ?? {}))
      count.changes[what] = (count.changes[what] ?? 0) + n;
    const after = Buffer.byteLength(view.text);
    if ((outcome as Edit).text !== undefined) addAmount(count.changed, { numDocuments: 1, numBytes: before - after });
  }
  return current;
}

function emptied({ text }: Edit): Removal | undefined {
  return text !== undefined && text.trim() === '' ? { reason: 'nothing left' } : undefined;
}

/** The document as a step leaves it. Of a conversation, each message is edited by itself. */
function edit(document: Document, view: TextView, step: Step, { text, metadata }: Edit): Document {
  const more = metadata ? { metadata: { ...document.metadata, ...metadata } } : {};
  if (text === undefined) return { ...document, ...more };
  if (!document.messages) {
    view.text = text;
    return { ...document, text, ...more };
  }
  const messages = document.messages.map((message) => {
    const outcome = step.apply(new TextView({ ...document, text: message.content, messages: undefined }));
    return outcome && 'text' in outcome && outcome.text !== undefined ? { ...message, content: outcome.text } : message;
  });
  const joined = messages.map(({ content }) => content).join('\n\n');
  view.text = joined;
  return { ...document, text: joined, messages, ...more };
}

function describeRemoval(document: Document, text: string, step: string, removal: Removal): RemovedDocument {
  const { id, source } = document;
  return { id, source, step, ...removal, text: text.slice(0, REMOVED_CHARS) };
}
