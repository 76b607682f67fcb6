// Which texts a shard holds, by content hash: PREFIX.hashes, f64 each, so that a job can see when one corpus trains on what another one
// holds out. A training shard has one hash a document, in order; a held-out one has those of its documents and of the whole documents
// that they are parts of. Only equal texts have equal hashes: near copies are not found.
import * as fs from 'node:fs';
import { DataError } from '../base/errors.ts';
import { explainSystemError, writeFileAtomic } from '../base/files.ts';

export function writeHashes(prefix: string, hashes: Float64Array): void {
  writeFileAtomic(`${prefix}.hashes`, new Uint8Array(hashes.buffer, hashes.byteOffset, hashes.byteLength));
}

/** Undefined where there is no such file, as beside shards of other tools. @throws DataError when it cannot be read */
export function readHashes(prefix: string): Float64Array | undefined {
  const file = `${prefix}.hashes`;
  if (!fs.existsSync(file)) return undefined;
  let bytes: Buffer;
  try {
    bytes = fs.readFileSync(file);
  } catch (error) {
    throw explainSystemError(error, file, 'looking for copies of held-out documents');
  }
  if (bytes.length % 8 !== 0) throw new DataError(file, `${bytes.length} bytes, not a multiple of 8. Is it truncated?`);
  return new Float64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
}

/** Texts that a job holds out, and whose they are. */
export class HeldOutTexts {
  /** The corpus that holds the text out; undefined where several do. */
  private readonly owners = new Map<number, string | undefined>();

  constructor(sets: Iterable<{ prefix: string; corpus: string }>) {
    for (const { prefix, corpus } of sets)
      for (const hash of readHashes(prefix) ?? [])
        this.owners.set(hash, this.owners.has(hash) && this.owners.get(hash) !== corpus ? undefined : corpus);
  }

  /**
   * Marks the documents of a training shard that another corpus holds out. Its own corpus was split already, and keeps the rest of a
   * document of which it holds out a part.
   * @returns 1 for each such document; undefined where there is none
   */
  copiesIn(shard: { prefix: string; corpus: string }, numDocuments: number): Uint8Array | undefined {
    const hashes = this.owners.size > 0 ? readHashes(shard.prefix) : undefined;
    if (!hashes) return undefined;
    if (hashes.length !== numDocuments)
      throw new DataError(
        `${shard.prefix}.hashes`,
        `${8 * hashes.length} bytes, expected ${8 * numDocuments} (8 for each of ${numDocuments} documents).`,
      );
    const copies = new Uint8Array(numDocuments);
    hashes.forEach((hash, i) => {
      if (this.owners.has(hash) && this.owners.get(hash) !== shard.corpus) copies[i] = 1;
    });
    return copies.includes(1) ? copies : undefined;
  }
}
