// Cleaned documents in the order of a number that they have in their metadata, such as their bits per byte under a model: a curriculum.
// Sorted on disk; of a document 24 bytes are sorted, its text is fetched once.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { DataError } from '../../base/errors.ts';
import { makeFolder, readExactly, readJson, writeJsonAtomic } from '../../base/files.ts';
import { fingerprint } from '../../base/hash.ts';
import { stageFolder } from '../../base/package.ts';
import type { OrderConfig } from '../../config/index.ts';
import { readBytes } from '../bytes.ts';
import { RecordSorter } from '../dedup/record-sorter.ts';
import { splitLines } from '../lines.ts';
import type { Document } from '../types.ts';
import { addAmount, nothing } from './amount.ts';
import { type CuratedCorpus, type CuratedManifest, documentFiles } from './curate.ts';
import { partFiles, writePart } from './part.ts';
import { documentOf } from './part-file.ts';
import { partName } from './parts.ts';

const STAGE_VERSION = 1;
const SORT_BYTES = 64 << 20;
/** Key, part, place, length. */
const NUM_WORDS = 6;
const NUM_KEY_WORDS = 2;

export interface OrderOptions extends OrderConfig {
  cacheFolder: string;
  fresh?: boolean;
}

/**
 * Documents of equal values stay as they were; those without the number come last.
 * @throws DataError where no document has the number
 */
export async function orderCorpus(
  corpus: CuratedCorpus,
  { by, first, cacheFolder, fresh }: OrderOptions,
): Promise<CuratedCorpus> {
  const { name, fingerprint: given } = corpus.manifest;
  const identity = `${given}-${fingerprint({ stage: 'ordered', version: STAGE_VERSION, by, first })}`;
  const folder = stageFolder(cacheFolder, 'ordered', name, identity);
  const manifestFile = path.join(folder, 'manifest.json');
  if (fs.existsSync(manifestFile) && !fresh) {
    const manifest = readJson<CuratedManifest>(manifestFile);
    return { folder, reused: true, manifest, files: documentFiles(folder, manifest) };
  }
  makeFolder(folder, 'making the folder of documents');
  const start = performance.now();
  const places = new RecordSorter(NUM_WORDS, { folder, memoryBytes: SORT_BYTES }, NUM_KEY_WORDS);
  const kept = nothing();
  const parts: CuratedManifest['parts'] = [];
  try {
    const numValues = await findPlaces(corpus.files, by, first, places);
    if (numValues === 0)
      throw new DataError(
        corpus.files[0]!,
        `corpus "${name}" is to be ordered by ${by}, but no document has that number in its metadata. bitsPerByte and ifd are measured by the ` +
          'base model, quality is written by the cleaning step of that name.',
      );
    const partBytes = Math.ceil(corpus.manifest.kept.numBytes / corpus.files.length);
    const documents = fetchDocuments(corpus.files, places);
    for (let next = documents.next(); !next.done; next = documents.next()) {
      const files = partFiles(folder, parts.length);
      const written = await writePart(takeWhole(documents, next.value, partBytes), [], files);
      addAmount(kept, written.kept);
      const file = path.join('documents', `${partName(parts.length)}.jsonl`);
      parts.push({ file, ...written.kept, digest: written.digest });
    }
  } finally {
    places.close();
  }
  const manifest: CuratedManifest = {
    ...corpus.manifest,
    fingerprint: identity,
    ...{ kept, parts, cleaned: corpus.folder },
    createdAt: new Date().toISOString(),
    seconds: corpus.manifest.seconds + Number(((performance.now() - start) / 1000).toFixed(3)),
  };
  writeJsonAtomic(manifestFile, manifest);
  return { folder, reused: false, manifest, files: documentFiles(folder, manifest) };
}

/** @returns how many documents have a value */
async function findPlaces(
  files: readonly string[],
  by: string,
  first: OrderConfig['first'],
  places: RecordSorter,
): Promise<number> {
  const key = new DataView(new ArrayBuffer(8));
  let numValues = 0;
  for (const [part, file] of files.entries())
    for await (const { bytes, offset, lengthBytes } of splitLines(
      readBytes({ path: file, compression: 'none' }, () => {}),
      Number.POSITIVE_INFINITY,
    )) {
      const { metadata } = JSON.parse(Buffer.from(bytes!).toString('utf8')) as Document;
      const value = metadata?.[by];
      const isNumber = typeof value === 'number' && Number.isFinite(value);
      if (isNumber) numValues++;
      key.setFloat64(0, isNumber ? (first === 'low' ? value : -value) + 0 : Number.POSITIVE_INFINITY);
      // Bits that compare as unsigned numbers like the doubles they are of.
      const [high, low] = [key.getUint32(0), key.getUint32(4)];
      const isNegative = high >>> 31 === 1;
      const at = places.next();
      places.words[at] = isNegative ? ~high : high | 0x80000000;
      places.words[at + 1] = isNegative ? ~low : low;
      places.words[at + 2] = part;
      places.words[at + 3] = Math.floor(offset / 2 ** 32);
      places.words[at + 4] = offset >>> 0;
      places.words[at + 5] = lengthBytes;
    }
  return numValues;
}

function* fetchDocuments(files: readonly string[], places: RecordSorter): Generator<Document> {
  const open = files.map((file) => fs.openSync(file, 'r'));
  try {
    for (const block of places.blocks())
      for (let at = 0; at < block.length; at += NUM_WORDS) {
        const part = block[at + 2]!;
        const line = Buffer.allocUnsafe(block[at + 5]!);
        readExactly(open[part]!, line, block[at + 3]! * 2 ** 32 + block[at + 4]!, files[part]!);
        yield documentOf(JSON.parse(line.toString('utf8')) as Document);
      }
  } finally {
    for (const fd of open) fs.closeSync(fd);
  }
}

/** This document and those after it, of about so many bytes of text. */
async function* takeWhole(
  documents: Generator<Document>,
  document: Document,
  partBytes: number,
): AsyncGenerator<Document> {
  yield document;
  for (let left = partBytes - Buffer.byteLength(document.text); left > 0; ) {
    const next = documents.next();
    if (next.done) return;
    left -= Buffer.byteLength(next.value.text);
    yield next.value;
  }
}
