// The k best documents of each query seen so far: bounded heaps in flat arrays, so that memory depends on queries and k alone.
// Documents must be offered in order; of equal scores the earlier document is the better one, and of equal texts only the first is taken.

/** Scores are handed to workers as whole numbers of this size: a shared integer is never read half written. */
export const SCORE_SCALE = 2 ** 30;

export class NearestDocuments {
  readonly sizes: Int32Array;
  private readonly top: number;
  /** Heaps of `top` entries a query, the worst one first. */
  private readonly scores: Float64Array;
  private readonly documents: Float64Array;
  private readonly hashes: Float64Array;

  constructor(numQueries: number, top: number) {
    this.top = top;
    this.sizes = new Int32Array(numQueries);
    this.scores = new Float64Array(numQueries * top);
    this.documents = new Float64Array(numQueries * top);
    this.hashes = new Float64Array(numQueries * top);
  }

  /**
   * @param document its number, above those of all documents offered before; @param hash of its text
   * @returns 'copy' where the query has this text already
   */
  offer(query: number, score: number, document: number, hash: number): 'taken' | 'copy' | 'too far' {
    const base = query * this.top;
    const size = this.sizes[query];
    if (size === this.top && score <= this.scores[base]) return 'too far';
    for (let i = base; i < base + size; i++) if (this.hashes[i] === hash && this.scores[i] === score) return 'copy';
    if (size < this.top) {
      this.sizes[query]++;
      this.moveUp(base, size, score, document, hash);
    } else this.moveDown(base, score, document, hash);
    return 'taken';
  }

  /** A score that a document must exceed to be taken; -1 while the query has room. */
  worstScore(query: number): number {
    return this.sizes[query] < this.top ? -1 : this.scores[query * this.top];
  }

  forEach(visit: (query: number, score: number, document: number, hash: number) => void): void {
    for (let query = 0; query < this.sizes.length; query++)
      for (let i = query * this.top; i < query * this.top + this.sizes[query]; i++)
        visit(query, this.scores[i], this.documents[i], this.hashes[i]);
  }

  /** Whether the entry at `i` is worse than the given one. */
  private isWorse(i: number, score: number, document: number): boolean {
    return this.scores[i] < score || (this.scores[i] === score && this.documents[i] > document);
  }

  private moveUp(base: number, from: number, score: number, document: number, hash: number): void {
    let i = from;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (this.isWorse(base + parent, score, document)) break;
      this.copy(base + parent, base + i);
      i = parent;
    }
    this.put(base + i, score, document, hash);
  }

  private moveDown(base: number, score: number, document: number, hash: number): void {
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= this.top) break;
      const right = base + child + 1;
      if (child + 1 < this.top && this.isWorse(right, this.scores[right - 1], this.documents[right - 1])) child++;
      if (!this.isWorse(base + child, score, document)) break;
      this.copy(base + child, base + i);
      i = child;
    }
    this.put(base + i, score, document, hash);
  }

  private copy(from: number, to: number): void {
    this.put(to, this.scores[from], this.documents[from], this.hashes[from]);
  }

  private put(i: number, score: number, document: number, hash: number): void {
    this.scores[i] = score;
    this.documents[i] = document;
    this.hashes[i] = hash;
  }
}

/** Documents that are near any query, each once, in the order in which they are read. */
export interface MinedDocuments {
  /** Numbers, ascending. */
  documents: Float64Array;
  /** Of the nearest query. */
  scores: Float64Array;
  nearest: Uint32Array;
  hashes: Float64Array;
  /** Queries whose k best it is among. */
  numNear: Uint32Array;
  /** Indices into the others, best first. */
  bestFirst: Uint32Array;
}

export function mergeNearest(heaps: NearestDocuments): MinedDocuments {
  const all = new Float64Array(heaps.sizes.reduce((sum, size) => sum + size, 0));
  let at = 0;
  heaps.forEach((_query, _score, document) => {
    all[at++] = document;
  });
  const documents = withoutRepeats(all.sort());
  const numDocuments = documents.length;
  const scores = new Float64Array(numDocuments).fill(-1);
  const nearest = new Uint32Array(numDocuments);
  const hashes = new Float64Array(numDocuments);
  const numNear = new Uint32Array(numDocuments);
  heaps.forEach((query, score, document, hash) => {
    const i = indexIn(documents, document);
    numNear[i]++;
    hashes[i] = hash;
    // Queries come in order, so that of equal scores the first one stays.
    if (score <= scores[i]) return;
    scores[i] = score;
    nearest[i] = query;
  });
  const bestFirst = Uint32Array.from({ length: numDocuments }, (_, i) => i).sort(
    (a, b) => scores[b] - scores[a] || a - b,
  );
  return { documents, scores, nearest, hashes, numNear, bestFirst };
}

function withoutRepeats(sorted: Float64Array): Float64Array {
  let length = 0;
  for (let i = 0; i < sorted.length; i++) if (i === 0 || sorted[i] !== sorted[i - 1]) sorted[length++] = sorted[i];
  return sorted.slice(0, length);
}

function indexIn(sorted: Float64Array, value: number): number {
  let low = 0;
  let high = sorted.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
