// What selection remembers of each document (32 bytes), on disk, and the choice of those with the largest keys among them: memory does not
// depend on how many documents there are.
import * as fs from 'node:fs';
import { readExactly, writeAll } from '../../base/files.ts';
import { openNameless } from '../nameless.ts';

const FIELDS = 4;
const CHUNK = 1 << 13;
/** Bins of all strata together. */
const MAX_BINS = 1 << 18;
/** Documents at the edge of the choice that are sorted in memory. */
const MAX_SORTED = 1 << 18;

export interface DocumentRecord {
  /** In the order of reading, from 0. */
  document: number;
  /** The larger the better. */
  key: number;
  numBytes: number;
  /** Negative where it must not be chosen. */
  cluster: number;
  score: number;
}

export class DocumentRecords {
  length = 0;
  private readonly fd: number;
  private readonly file: string;
  private readonly buffer = new Float64Array(FIELDS * CHUNK);

  /** @param file the result beside which they lie */
  constructor(file: string) {
    ({ fd: this.fd, file: this.file } = openNameless(file, 'records', 'selecting documents'));
  }

  push({ key, numBytes, cluster, score }: Omit<DocumentRecord, 'document'>): void {
    const at = (this.length++ % CHUNK) * FIELDS;
    this.buffer[at] = key;
    this.buffer[at + 1] = numBytes;
    this.buffer[at + 2] = cluster;
    this.buffer[at + 3] = score;
    if (at + FIELDS === this.buffer.length) writeAll(this.fd, bytesOf(this.buffer));
  }

  /** In order. The object is the same each time. */
  *[Symbol.iterator](): Generator<Readonly<DocumentRecord>> {
    const chunk = new Float64Array(this.buffer.length);
    const record: DocumentRecord = { document: 0, key: 0, numBytes: 0, cluster: 0, score: 0 };
    for (let start = 0; start < this.length; start += CHUNK) {
      const isOpen = start + CHUNK > this.length;
      if (isOpen) chunk.set(this.buffer);
      else readExactly(this.fd, bytesOf(chunk), start * FIELDS * 8, this.file);
      const end = Math.min(this.length - start, CHUNK);
      for (let i = 0; i < end; i++) {
        record.document = start + i;
        record.key = chunk[i * FIELDS];
        record.numBytes = chunk[i * FIELDS + 1];
        record.cluster = chunk[i * FIELDS + 2];
        record.score = chunk[i * FIELDS + 3];
        yield record;
      }
    }
  }

  close(): void {
    fs.closeSync(this.fd);
  }
}

function bytesOf(values: Float64Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

/** By stratum: chosen are documents with a larger key, and those of this key up to this document. */
export interface Edges {
  keys: Float64Array;
  documents: Float64Array;
}

export function isChosen({ keys, documents }: Edges, stratum: number, key: number, document: number): boolean {
  return key > keys[stratum] || (key === keys[stratum] && document <= documents[stratum]);
}

/**
 * Of each stratum, the documents of the largest keys (of equal ones the first) until their amounts reach its quota; the last one is taken
 * where at least half of it fits.
 * @param stratumOf negative for documents that are out of the question; @param amountOf what counts against the quota
 */
export function findEdges(
  records: DocumentRecords,
  quotas: Float64Array,
  stratumOf: (record: DocumentRecord) => number,
  amountOf: (record: DocumentRecord) => number,
): Edges {
  const numStrata = quotas.length;
  const numBins = Math.max(16, Math.floor(MAX_BINS / numStrata));
  // The edge of a stratum lies among keys low to high, both included; what lies above is chosen already.
  const low = new Float64Array(numStrata).fill(Number.POSITIVE_INFINITY);
  const high = new Float64Array(numStrata).fill(Number.NEGATIVE_INFINITY);
  const above = new Float64Array(numStrata);
  let numOpen = 0;
  for (const record of records) {
    const stratum = stratumOf(record);
    if (stratum < 0) continue;
    numOpen++;
    low[stratum] = Math.min(low[stratum], record.key);
    high[stratum] = Math.max(high[stratum], record.key);
  }
  while (numOpen > MAX_SORTED) {
    const before = numOpen;
    numOpen = narrow();
    // Nothing but equal keys is left.
    if (numOpen === before) break;
  }
  return walk();

  function isOpen(stratum: number, key: number): boolean {
    return stratum >= 0 && key >= low[stratum] && key <= high[stratum];
  }

  /** Narrows low and high of each stratum to one bin of keys; returns how many documents are left between them. */
  function narrow(): number {
    const amounts = new Float64Array(numStrata * numBins);
    const counts = new Float64Array(numStrata * numBins);
    const least = new Float64Array(numStrata * numBins).fill(Number.POSITIVE_INFINITY);
    const most = new Float64Array(numStrata * numBins).fill(Number.NEGATIVE_INFINITY);
    for (const record of records) {
      const stratum = stratumOf(record);
      if (!isOpen(stratum, record.key)) continue;
      const span = high[stratum] - low[stratum];
      const place = span > 0 ? Math.floor(((record.key - low[stratum]) / span) * numBins) : 0;
      const bin = stratum * numBins + Math.min(place, numBins - 1);
      amounts[bin] += amountOf(record);
      counts[bin]++;
      least[bin] = Math.min(least[bin], record.key);
      most[bin] = Math.max(most[bin], record.key);
    }
    let left = 0;
    for (let stratum = 0; stratum < numStrata; stratum++) {
      let bin = (stratum + 1) * numBins - 1;
      while (bin > stratum * numBins && above[stratum] + amounts[bin] < quotas[stratum])
        above[stratum] += amounts[bin--];
      // An empty bin (of an empty stratum) has no keys between its ends.
      [low[stratum], high[stratum]] = [least[bin], most[bin]];
      left += counts[bin];
    }
    return left;
  }

  /** Takes documents one after another: as they stand where all keys are equal, else from the largest key down. */
  function walk(): Edges {
    const edges: Edges = { keys: new Float64Array(numStrata), documents: new Float64Array(numStrata).fill(-1) };
    for (let stratum = 0; stratum < numStrata; stratum++) edges.keys[stratum] = high[stratum];
    const isFull = new Uint8Array(numStrata);
    const take = (stratum: number, key: number, document: number, amount: number) => {
      if (isFull[stratum] || above[stratum] + amount / 2 > quotas[stratum]) {
        isFull[stratum] = 1;
        return;
      }
      above[stratum] += amount;
      edges.keys[stratum] = key;
      edges.documents[stratum] = document;
    };
    const open: { stratum: number; key: number; document: number; amount: number }[] = [];
    for (const record of records) {
      const stratum = stratumOf(record);
      const { key, document } = record;
      if (!isOpen(stratum, key)) continue;
      if (low[stratum] === high[stratum]) take(stratum, key, document, amountOf(record));
      else open.push({ stratum, key, document, amount: amountOf(record) });
    }
    open.sort((a, b) => b.key - a.key || a.document - b.document);
    for (const { stratum, key, document, amount } of open) take(stratum, key, document, amount);
    return edges;
  }
}
