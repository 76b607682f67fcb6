// A worker thread of deduplication: signs the documents of a part, or writes them again without what was found.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { workerData } from 'node:worker_threads';
import { readJson, writeJsonAtomic } from '../../base/files.ts';
import { serveBatches } from '../../base/worker-pool.ts';
import { type Duplicate, readDuplicates } from '../dedup/duplicates.ts';
import { LineCutter, LineWriter } from '../dedup/lines.ts';
import { SignatureWriter } from '../dedup/signatures.ts';
import { FingerprintWriter, SpanCutter, WindowWriter } from '../dedup/substrings.ts';
import { type WrittenPart, writePart } from './part.ts';
import { readPartFile } from './part-file.ts';
import { lineOptions, type Round, signatureOptions, substringOptions } from './rounds.ts';
import type { Step } from './types.ts';

export type DedupTask =
  | { do: 'sign'; round: Round; documents: string; output: string }
  | { do: 'windows'; round: Round; documents: string; candidates: string; output: string }
  | {
      do: 'write';
      round: Round;
      documents: string;
      /** What the comparison wrote for this part. */
      found: string;
      output: { documents: string; removed: string; summary: string };
    };

/** Documents of all parts, by position: copies name them. */
export interface DedupWorkerData {
  places: readonly string[];
}

const { places } = workerData as DedupWorkerData;

serveBatches(async (task: DedupTask) => ({ result: await perform(task) }));

async function perform(task: DedupTask): Promise<WrittenPart | undefined> {
  switch (task.do) {
    case 'sign':
      if (!fs.existsSync(task.output)) await sign(task);
      return undefined;
    case 'windows':
      if (!fs.existsSync(task.output)) await digestWindows(task);
      return undefined;
    case 'write': {
      const { output } = task;
      if (fs.existsSync(output.summary) && fs.existsSync(output.documents))
        return readJson<WrittenPart>(output.summary);
      const written = await writePart(readPartFile(task.documents), [stepOf(task)], output);
      writeJsonAtomic(output.summary, written);
      return written;
    }
  }
}

/** Conversations are compared as a whole, but no line of them is ever taken out. */
async function sign({ round, documents, output }: Extract<DedupTask, { do: 'sign' }>): Promise<void> {
  const writer = writerOf(round, output);
  try {
    for await (const { text, messages } of readPartFile(documents))
      writer.add(messages && round.kind !== 'copies' ? '' : text);
    writer.finish();
  } finally {
    writer.discard();
  }
}

function writerOf(round: Round, file: string): SignatureWriter | LineWriter | FingerprintWriter {
  switch (round.kind) {
    case 'copies':
      return new SignatureWriter(file, signatureOptions(round));
    case 'substrings':
      return new FingerprintWriter(file, substringOptions(round));
    default:
      return new LineWriter(file, lineOptions(round));
  }
}

async function digestWindows({
  round,
  documents,
  candidates,
  output,
}: Extract<DedupTask, { do: 'windows' }>): Promise<void> {
  const writer = new WindowWriter(
    output,
    candidates,
    substringOptions(round as Extract<Round, { kind: 'substrings' }>),
  );
  let index = 0;
  try {
    for await (const { text, messages } of readPartFile(documents)) {
      if (!messages) writer.add(index, text);
      index++;
    }
    writer.finish();
  } finally {
    writer.discard();
  }
}

/** Counts the documents that pass: it is for one part, from its first document on. */
function stepOf({ round, found }: Extract<DedupTask, { do: 'write' }>): Step {
  let index = -1;
  if (round.kind !== 'copies') {
    const cutter =
      round.kind === 'substrings'
        ? new SpanCutter(found, substringOptions(round))
        : new LineCutter(found, lineOptions(round));
    return {
      name: round.name,
      apply: ({ text, document }) => {
        index++;
        return document.messages ? undefined : cutter.edit(index, text);
      },
      finish: () => cutter.finish(),
    };
  }
  const duplicates = readDuplicates(found);
  let next = duplicates.next();
  return {
    name: round.name,
    apply: () => {
      index++;
      if (next.done || next.value.index !== index) return undefined;
      const { kind, copyOf }: Duplicate = next.value;
      next = duplicates.next();
      // Where the first one stands: a line of a part of the cleaned corpus.
      const file = places[copyOf.part]!;
      const place = path.join(path.basename(path.dirname(path.dirname(file))), 'documents', path.basename(file));
      return { removed: { reason: `${kind} copy`, copyOf: `${place}:${copyOf.index + 1}` } };
    },
  };
}
