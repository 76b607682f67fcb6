// Which documents are copies of which, from the signature files of all parts: exact copies by digest, near copies by MinHash LSH (Broder 1997;
// FineWeb's parameters, Penedo et al. 2024). Documents that meet in a band are connected, and of each connected component the first document in
// the order of the parts stays. Memory is bounded, whatever the number of documents: everything is sorted on disk and read in order. The
// result depends on the order of the documents alone, not on how they are cut into parts, nor on the memory.
import { ConfigError } from '../../base/errors.ts';
import { Components } from './components.ts';
import { breathe, Cursor, eachRecord } from './passes.ts';
import { countRecords, type RecordKind, RecordWriter, readRecords } from './record-file.ts';
import { RecordSorter, type SortSpace } from './record-sorter.ts';
import { DEFAULT_SIGNATURES, type SignatureOptions, signatureKind, signatureLayout } from './signatures.ts';

export interface PartFiles {
  /** What a SignatureWriter wrote. */
  signatures: string;
  /** To be written: which of the part's documents are copies (readDuplicates). */
  duplicates: string;
}

export interface FindDuplicatesOptions {
  /** In the order of precedence: of copies the first stays, so domain corpora come before general ones. */
  parts: readonly PartFiles[];
  /** Signature files of documents that stay whatever they are: a general corpus of another run, held-out text. They precede all parts. */
  against?: readonly string[];
  /** As the files were made with. */
  options?: SignatureOptions;
  /** Kinds to look for; those that the signatures have by default. */
  exact?: boolean;
  minHash?: boolean;
  /**
   * Near copies meet in a band, and count only when the similarity that all their hashes estimate is at least this. FineWeb takes every meeting
   * (the default). The estimate of similarity s from 112 hashes has a standard deviation of sqrt(s (1-s) / 112), 0.04 at 0.75.
   */
  minSimilarity?: number;
  /** For files in between, without a name: up to 170 bytes a document. */
  folder: string;
  /** 256 MiB by default. */
  memoryBytes?: number;
  /** Told what is done, and how many of so many files are behind. */
  onProgress?: (doing: string, numDone: number, numFiles: number) => void;
}

export type CopyKind = 'exact' | 'near';

export interface DuplicateSummary {
  /** Of the parts. */
  numDocuments: number;
  /** Documents to remove, by kind. */
  numExact: number;
  numNear: number;
  /** Of clusters that lose a document: how many there are of each size, with the documents that stay; by size. */
  clusterSizes: { size: number; numClusters: number }[];
  /** Pairs that met in a band but were not similar enough; 0 without minSimilarity. */
  numRejectedPairs: number;
}

/** A document to remove. */
export interface Duplicate {
  /** In its part. */
  index: number;
  kind: CopyKind;
  /** The document that stays: its part by position in `parts`, then in `against`, which go on counting; its index there. */
  copyOf: { part: number; index: number };
}

/** Records of readDuplicates: index, kind, part and index of what stays. */
export const DUPLICATES: RecordKind = { kind: 'duplicat', numWords: 4, options: {} };
const KINDS: readonly CopyKind[] = ['exact', 'near'];
const DEFAULT_MEMORY_BYTES = 256 << 20;
/** At most so many sorters hold records at a time. */
const MAX_SORTERS = 5;
/** Documents are numbered through all files, in 32 bits. */
const MAX_DOCUMENTS = 2 ** 32 - 1;

/**
 * Writes the `duplicates` file of every part.
 * @throws DataError for damaged signature files; ConfigError for files of other options, for kinds that they do not have, for too many documents
 */
export async function findDuplicates(options: FindDuplicatesOptions): Promise<DuplicateSummary> {
  const search = new Search(options);
  try {
    if (search.exact) await search.findExact();
    if (search.minHash) await search.findNear();
    return await search.write();
  } finally {
    search.close();
  }
}

/** The documents of a part to remove, ascending. @throws DataError for a damaged file */
export function* readDuplicates(file: string): Generator<Duplicate> {
  for (const words of readRecords(file, DUPLICATES))
    for (let at = 0; at < words.length; at += 4)
      yield {
        index: words[at],
        kind: KINDS[words[at + 1]],
        copyOf: { part: words[at + 2], index: words[at + 3] },
      };
}

class Search {
  readonly exact: boolean;
  readonly minHash: boolean;
  private readonly options: FindDuplicatesOptions;
  private readonly signatures: SignatureOptions;
  private readonly files: string[];
  private readonly numAgainst: number;
  /** Number of the first document of each file, and behind the last one. */
  private readonly starts: number[] = [0];
  private readonly space: SortSpace;
  private readonly connected: Components;
  /** (copy, first of the same text), by copy. */
  private readonly copies: RecordSorter;
  private readonly temporary = new Set<RecordSorter>();
  private numRejectedPairs = 0;

  constructor(options: FindDuplicatesOptions) {
    this.options = options;
    this.signatures = options.options ?? DEFAULT_SIGNATURES;
    const against = options.against ?? [];
    this.files = [...against, ...options.parts.map((part) => part.signatures)];
    this.numAgainst = against.length;
    this.exact = options.exact ?? this.signatures.exact;
    this.minHash = options.minHash ?? this.signatures.minHash !== undefined;
    if ((this.exact && !this.signatures.exact) || (this.minHash && !this.signatures.minHash))
      throw new ConfigError(
        `${this.files[0] ?? options.folder}: signatures ${this.exact && !this.signatures.exact ? 'of exact copies' : 'of near copies'} ` +
          'are asked for, but were not made. Make the parts with them.',
      );
    for (const file of this.files) {
      const numDocuments = this.starts.at(-1)! + countRecords(file, signatureKind(this.signatures));
      if (numDocuments > MAX_DOCUMENTS)
        throw new ConfigError(
          `${file}: more than ${MAX_DOCUMENTS} documents together, which is the limit of one search. Search corpus by corpus.`,
        );
      this.starts.push(numDocuments);
    }
    const memoryBytes = (options.memoryBytes ?? DEFAULT_MEMORY_BYTES) / MAX_SORTERS;
    this.space = { folder: options.folder, memoryBytes };
    this.connected = new Components(this.space);
    this.copies = new RecordSorter(2, this.space);
  }

  /** Number of the first document that may be removed. */
  private get firstOwn(): number {
    return this.starts[this.numAgainst];
  }

  async findExact(): Promise<void> {
    const { digest } = signatureLayout(this.signatures);
    const sorter = this.sorter(5);
    await this.eachSignature('reading digests', (words, at, document) => {
      const to = sorter.next();
      for (let i = 0; i < 4; i++) sorter.words[to + i] = words[at + digest + i];
      sorter.words[to + 4] = document;
    });
    const { firstOwn } = this;
    const first = new Float64Array(5).fill(-1);
    await eachRecord(sorter, 5, (words, at) => {
      let isSame = true;
      for (let i = 0; i < 4 && isSame; i++) isSame = words[at + i] === first[i];
      if (!isSame) for (let i = 0; i < 5; i++) first[i] = words[at + i];
      else {
        const document = words[at + 4];
        this.copies.push2(document, first[4]);
        if (document >= firstOwn) this.connected.addEdge(document, first[4]);
      }
    });
    this.release(sorter);
  }

  async findNear(): Promise<void> {
    const layout = signatureLayout(this.signatures);
    const { bands } = this.signatures.minHash!;
    const sorter = this.sorter(3);
    const copies = new Cursor(this.copies.blocks());
    await this.eachSignature('reading bands', (words, at, document) => {
      // What agrees in everything with an earlier document would meet the same ones.
      if (copies.isAt(document) || words[at + layout.numNgrams] === 0) return;
      for (let band = 0; band < bands; band++) {
        const from = at + layout.bands + 2 * band;
        sorter.push3(words[from], words[from + 1], document);
      }
    });
    const pairs = this.options.minSimilarity === undefined ? undefined : this.sorter(2);
    const { firstOwn } = this;
    let [high, low, leader, previous] = [-1, -1, -1, -1];
    await eachRecord(sorter, 3, (words, at) => {
      const document = words[at + 2];
      if (words[at] !== high || words[at + 1] !== low) {
        high = words[at];
        low = words[at + 1];
        leader = document;
      } else if (document >= firstOwn) {
        if (!pairs) this.connected.addEdge(leader, document);
        else {
          pairs.push2(leader, document);
          // Where the leader is another text, neighbours may still be copies of each other.
          if (previous !== leader) pairs.push2(previous, document);
        }
      }
      previous = document;
    });
    this.release(sorter);
    if (pairs) await this.verify(pairs, this.options.minSimilarity!);
  }

  /** Connects the pairs that are similar enough: the sketches are fetched in the order of one side, then of the other. */
  private async verify(pairs: RecordSorter, minSimilarity: number): Promise<void> {
    const { sketch, sketchWords } = signatureLayout(this.signatures);
    const { bands, rows } = this.signatures.minHash!;
    const width = 2 + sketchWords;
    const fetched = this.sorter(width, 2);
    const wanted = new Cursor(pairs.blocks());
    await this.eachSignature('comparing signatures', (words, at, document) => {
      for (let last = -1; wanted.isAt(document); wanted.advance()) {
        const { second } = wanted;
        if (second === last) continue;
        last = second;
        const to = fetched.next();
        fetched.words[to] = second;
        fetched.words[to + 1] = document;
        for (let i = 0; i < sketchWords; i++) fetched.words[to + 2 + i] = words[at + sketch + i];
      }
    });
    this.release(pairs);
    const other = new Cursor(fetched.blocks(), width);
    await this.eachSignature('comparing signatures', (words, at, document) => {
      for (; other.isAt(document); other.advance()) {
        const similarity = estimateSimilarity(bands * rows, words, at + sketch, other.words, other.at + 2);
        if (similarity >= minSimilarity) this.connected.addEdge(document, other.second);
        else this.numRejectedPairs++;
      }
    });
    this.release(fetched);
  }

  async write(): Promise<DuplicateSummary> {
    const { parts } = this.options;
    this.options.onProgress?.('joining clusters', 0, 1);
    await breathe();
    this.connected.connect();
    const { firstOwn, starts, numAgainst } = this;
    const summary = { numDocuments: starts.at(-1)! - firstOwn, numExact: 0, numNear: 0 };
    const members = this.sorter(2);
    const copies = new Cursor(this.copies.blocks());
    let part = -1;
    let writer: RecordWriter | undefined;
    try {
      for (const { node, root } of this.connected.roots()) {
        if (node < firstOwn) continue;
        while (part < 0 || node >= starts[numAgainst + part + 1]) {
          writer?.finish();
          writer = new RecordWriter(parts[++part].duplicates, DUPLICATES);
        }
        members.push2(root, node);
        const isExact = copies.isAt(node);
        summary[isExact ? 'numExact' : 'numNear']++;
        const keeper = fileOf(starts, root);
        const keeperPart = keeper < numAgainst ? parts.length + keeper : keeper - numAgainst;
        writer!.push(node - starts[numAgainst + part], Number(!isExact), keeperPart, root - starts[keeper]);
      }
      writer?.finish();
      while (++part < parts.length) new RecordWriter(parts[part].duplicates, DUPLICATES).finish();
    } finally {
      writer?.discard();
    }
    const clusterSizes = await countClusters(members);
    this.release(members);
    return { ...summary, clusterSizes, numRejectedPairs: this.numRejectedPairs };
  }

  /** The records of all files; `document` counts through them. */
  private async eachSignature(doing: string, visit: (words: Uint32Array, at: number, document: number) => void) {
    const kind = signatureKind(this.signatures);
    let document = 0;
    for (const [i, file] of this.files.entries()) {
      this.options.onProgress?.(doing, i, this.files.length);
      for (const words of readRecords(file, kind)) {
        for (let at = 0; at < words.length; at += kind.numWords) visit(words, at, document++);
        await breathe();
      }
    }
  }

  private sorter(numWords: number, numKeyWords?: number): RecordSorter {
    const sorter = new RecordSorter(numWords, this.space, numKeyWords);
    this.temporary.add(sorter);
    return sorter;
  }

  private release(sorter: RecordSorter): void {
    sorter.close();
    this.temporary.delete(sorter);
  }

  close(): void {
    for (const sorter of [...this.temporary, this.copies]) sorter.close();
    this.connected.close();
  }
}

/** From the low bytes of two documents' hashes (Li & König 2010): of unequal hashes one in 256 agrees there. */
function estimateSimilarity(numHashes: number, a: Uint32Array, atA: number, b: Uint32Array, atB: number): number {
  let numSame = 0;
  for (let hash = 0; hash < numHashes; hash++) {
    const difference = a[atA + (hash >> 2)] ^ b[atB + (hash >> 2)];
    if (((difference >>> (8 * (hash & 3))) & 0xff) === 0) numSame++;
  }
  return (numSame / numHashes - 1 / 256) / (1 - 1 / 256);
}

/** The file that holds a document, by binary search. */
function fileOf(starts: readonly number[], document: number): number {
  let [low, high] = [0, starts.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (starts[middle] <= document) low = middle;
    else high = middle;
  }
  return low;
}

/** Sizes of clusters from (document that stays, document that goes). */
async function countClusters(members: RecordSorter): Promise<DuplicateSummary['clusterSizes']> {
  const counts = new Map<number, number>();
  let [root, size] = [-1, 1];
  const end = () => size > 1 && counts.set(size, (counts.get(size) ?? 0) + 1);
  await eachRecord(members, 2, (words, at) => {
    if (words[at] !== root) {
      end();
      root = words[at];
      size = 1;
    }
    size++;
  });
  end();
  return [...counts].map(([size, numClusters]) => ({ size, numClusters })).sort((a, b) => a.size - b.size);
}
