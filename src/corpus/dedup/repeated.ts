// Hashes that occur often, over all parts: the middle of line and of substring deduplication.

import { DUPLICATES } from './duplicates.ts';
import { breathe, Cursor, eachRecord } from './passes.ts';
import { type RecordKind, RecordWriter, readRecords } from './record-file.ts';
import { RecordSorter } from './record-sorter.ts';

export interface RepeatedSummary {
  /** Hashes of documents that are not gone. */
  numHashes: number;
  /** Different ones that occur more often than allowed. */
  numRepeated: number;
  /** Places where they are to be taken out. */
  numPlaces: number;
}

export interface RepeatedOptions {
  parts: readonly { hashes: string; duplicates?: string; repeated: string }[];
  /** Records (index, high, low), by index. */
  from: RecordKind;
  to: RecordKind;
  /** Of places; what occurs more often is repeated. */
  maxCount: number;
  /** The first place is not listed. */
  keepsFirst: boolean;
  folder: string;
  memoryBytes?: number;
}

const DEFAULT_MEMORY_BYTES = 256 << 20;

/** Writes (index, high, low) of every place of a repeated hash, by index, once each. */
export async function findRepeated(options: RepeatedOptions): Promise<RepeatedSummary> {
  const { parts, from, maxCount, keepsFirst, folder } = options;
  const space = { folder, memoryBytes: (options.memoryBytes ?? DEFAULT_MEMORY_BYTES) / 2 };
  const summary: RepeatedSummary = { numHashes: 0, numRepeated: 0, numPlaces: 0 };
  // A part and an index in it; a part has less than 2^32 documents, and all of them together may have more.
  const all = new RecordSorter(4, space);
  const places = new RecordSorter(4, space);
  try {
    for (const [part, { hashes, duplicates }] of parts.entries()) {
      const gone = duplicates === undefined ? undefined : new Cursor(readRecords(duplicates, DUPLICATES), 4);
      for (const words of readRecords(hashes, from)) {
        for (let at = 0; at < words.length; at += 3) {
          if (gone?.isAt(words[at])) continue;
          const to = all.next();
          const target = all.words;
          target[to] = words[at + 1];
          target[to + 1] = words[at + 2];
          target[to + 2] = part;
          target[to + 3] = words[at];
          summary.numHashes++;
        }
        await breathe();
      }
      gone?.close();
    }
    const list = (high: number, low: number, part: number, index: number) => {
      const to = places.next();
      const target = places.words;
      target[to] = part;
      target[to + 1] = index;
      target[to + 2] = high;
      target[to + 3] = low;
      summary.numPlaces++;
    };
    /** The first places of the current hash, until it is known whether they are too many. */
    let waiting: number[] = [];
    let [high, low, count] = [-1, -1, 0];
    await eachRecord(all, 4, (words, at) => {
      if (words[at] !== high || words[at + 1] !== low) {
        high = words[at];
        low = words[at + 1];
        count = 0;
        waiting = [];
      }
      count++;
      if (count <= maxCount) {
        if (count > 1 || !keepsFirst) waiting.push(words[at + 2], words[at + 3]);
        return;
      }
      if (count === maxCount + 1) {
        summary.numRepeated++;
        for (let i = 0; i < waiting.length; i += 2) list(high, low, waiting[i], waiting[i + 1]);
        waiting = [];
      }
      list(high, low, words[at + 2], words[at + 3]);
    });
    all.close();
    await writeParts(
      places,
      4,
      parts.map(({ repeated }) => repeated),
      options.to,
    );
    return summary;
  } finally {
    all.close();
    places.close();
  }
}

/** Writes sorted records (part, ...) to a file a part, without the part; of equal ones the first. */
export async function writeParts(
  sorter: RecordSorter,
  numWords: number,
  files: readonly string[],
  kind: RecordKind,
): Promise<void> {
  let part = -1;
  let writer: RecordWriter | undefined;
  const last = new Float64Array(numWords).fill(-1);
  try {
    await eachRecord(sorter, numWords, (words, at) => {
      let isNew = false;
      for (let i = 0; i < numWords; i++) {
        if (words[at + i] !== last[i]) isNew = true;
        last[i] = words[at + i];
      }
      if (!isNew) return;
      while (part < words[at]) {
        writer?.finish();
        writer = new RecordWriter(files[++part], kind);
      }
      const { words: target, at: to } = writer!.next();
      for (let i = 1; i < numWords; i++) target[to + i - 1] = words[at + i];
    });
    writer?.finish();
    writer = undefined;
    while (++part < files.length) new RecordWriter(files[part], kind).finish();
  } finally {
    writer?.discard();
  }
}
