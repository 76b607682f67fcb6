// One part of a corpus: read, passed through the steps, written. Nothing but the part and the task decides the result, so it does not
// matter where or when it is done. parts/NAME.json is written last: a part without it is done again.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { writeJsonAtomic } from '../../base/files.ts';
import type { CleanStepConfig } from '../../config/index.ts';
import { noCounts, readFiles } from '../read.ts';
import type { BadRecord, Document, ReadCounts } from '../types.ts';
import { type Amount, addAmount, nothing } from './amount.ts';
import { PartFile, recordOf } from './part-file.ts';
import { type Part, partName } from './parts.ts';
import { decontaminate } from './steps/decontaminate.ts';
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
  /** How documents are searched for items of evaluation sets. */
  contamination?: Parameters<typeof decontaminate>[0];
}

/** What came of a part's documents. */
export interface WrittenPart {
  kept: Amount;
  /** SHA-256 of documents/NAME.jsonl. */
  digest: string;
  steps: StepCounts[];
}

export interface PartSummary extends WrittenPart {
  index: number;
  read: ReadCounts;
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

/** What the documents of all parts pass through. Some steps read files and tables first. */
export async function stepsOf({ steps, contamination }: PartTask): Promise<Step[]> {
  return [...(await makeSteps(steps)), ...(contamination ? [decontaminate(contamination)] : [])];
}

/** Does a part and says what came of it. @param steps of the task */
export async function curatePart(part: Part, task: PartTask, steps: readonly Step[]): Promise<PartSummary> {
  const files = partFiles(task.folder, part.index);
  const bad = new PartFile(files.bad);
  const badExamples: BadRecord[] = [];
  let damage: BadRecord | undefined;
  const read = { ...noCounts(), numBytesRead: part.numBytes };
  const documents = readFiles(
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
      onLeftOut: () => {
        read.numLeftOut++;
      },
    },
  );
  try {
    const written = await writePart(counted(documents, read), steps, files);
    read.numRecords = read.numDocuments + read.numEmptyDocuments + read.numBadRecords;
    if (bad.numLines > 0) bad.finish();
    const summary: PartSummary = { index: part.index, read, ...written, badExamples, ...(damage && { damage }) };
    writeJsonAtomic(files.summary, summary);
    return summary;
  } finally {
    bad.abandon();
  }
}

async function* counted(documents: AsyncIterable<Document>, read: ReadCounts): AsyncGenerator<Document> {
  for await (const document of documents) {
    read.numDocuments++;
    yield document;
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

/** Passes documents through steps: what stays into one file, what goes, with the reason, into another. */
export async function writePart(
  documents: AsyncIterable<Document>,
  steps: readonly Step[],
  files: { documents: string; removed: string },
): Promise<WrittenPart> {
  const counts = steps.map(({ name }) => emptyCounts(name));
  const kept = nothing();
  const stays = new PartFile(files.documents);
  const goes = new PartFile(files.removed);
  try {
    for await (const document of documents) {
      const result = passThrough(document, steps, counts);
      if ('removed' in result) goes.writeLine(result.removed);
      else {
        addAmount(kept, { numDocuments: 1, numBytes: Buffer.byteLength(result.text) });
        stays.writeLine(recordOf(result));
      }
    }
    for (const step of steps) step.finish?.();
    if (goes.numLines > 0) goes.finish();
    return { kept, digest: stays.finish(), steps: counts };
  } finally {
    stays.abandon();
    goes.abandon();
  }
}

function emptyCounts(name: string): StepCounts {
  return { name, removed: nothing(), reasons: {}, changed: nothing(), changes: {} };
}

function passThrough(
  document: Document,
  steps: readonly Step[],
  counts: readonly StepCounts[],
): Document | { removed: RemovedDocument } {
  let current = document;
  const view = new TextView(document);
  for (const [i, step] of steps.entries()) {
    const before = view.text;
    const outcome = step.apply(view);
    if (outcome === undefined) continue;
    const count = counts[i]!;
    const removal = 'removed' in outcome ? outcome.removed : emptied(outcome);
    if (removal) {
      const one: Amount = { numDocuments: 1, numBytes: Buffer.byteLength(before) };
      addAmount(count.removed, one);
      count.reasons[removal.reason] = addAmount(count.reasons[removal.reason] ?? nothing(), one);
      return { removed: describeRemoval(current, before, step.name, removal) };
    }
    const { text, changes = {} } = outcome as Edit;
    current = edit(current, view, step, outcome as Edit);
    for (const [what, n] of Object.entries(changes)) count.changes[what] = (count.changes[what] ?? 0) + n;
    if (text !== undefined)
      addAmount(count.changed, {
        numDocuments: 1,
        numBytes: Buffer.byteLength(before) - Buffer.byteLength(view.text),
      });
  }
  return current;
}

function emptied({ text }: Edit): Removal | undefined {
  return text !== undefined && text.trim() === '' ? { reason: 'nothing left' } : undefined;
}

/** The document as a step leaves it. Of a conversation, each message is edited by itself. */
function edit(document: Document, view: TextView, step: Step, { text, metadata }: Edit): Document {
  const more = metadata ? { metadata: { ...document.metadata, ...metadata } } : {};
  view.accept({ metadata });
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
