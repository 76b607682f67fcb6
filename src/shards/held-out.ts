// Which documents are kept from training. The choice is made by the hash of a document's text: it needs no state, gives the same set on
// every machine, and puts exact copies on one side. Of several copies of a held-out text one is scored and none is trained on.

export interface HeldOutOptions {
  /** Share of the documents; 0.02 by default. */
  share: number;
  /** At least this many documents; 8 by default. */
  minDocuments: number;
  /** At most this many tokens of text; 200 000 by default. */
  maxTokens: number;
}

export const DEFAULT_HELD_OUT: HeldOutOptions = { share: 0.02, minDocuments: 8, maxTokens: 200_000 };

export interface HeldOutChoice {
  /** Indices of held-out documents, by ascending hash: any prefix is a random sample. */
  heldOut: number[];
  /** Indices of further copies of held-out documents, which are dropped. */
  copies: Set<number>;
}

/** Texts with more copies than this share of the corpus are boilerplate: holding them out would throw too much away. */
const MAX_COPIES_SHARE = 0.01;

/** The longest document that may be held out, so that the token limit never gets in the way of the smallest number of documents. */
export function maxHeldOutLength({ minDocuments, maxTokens }: HeldOutOptions): number {
  return Math.floor(maxTokens / minDocuments);
}

/**
 * @param hashes content hashes in [0, 1); @param lengths tokens a document
 * @returns fewer than `minDocuments` only where the corpus has no more that qualify
 */
export function chooseHeldOut(
  hashes: Float64Array,
  lengths: ArrayLike<number>,
  options: HeldOutOptions,
): HeldOutChoice {
  const target = Math.max(options.minDocuments, Math.round(options.share * hashes.length));
  // Candidates are those below a bound that is raised until there are enough: sorting 10^7 documents to keep 200 would be waste.
  for (let bound = Math.min(1, (2 * target + 1000) / hashes.length); ; bound = Math.min(1, 4 * bound)) {
    const choice = chooseBelow(bound, target, hashes, lengths, options);
    if (choice.enough || bound === 1) return choice;
  }
}

function chooseBelow(
  bound: number,
  target: number,
  hashes: Float64Array,
  lengths: ArrayLike<number>,
  options: HeldOutOptions,
): HeldOutChoice & { enough: boolean } {
  const candidates: number[] = [];
  for (let i = 0; i < hashes.length; i++) if (hashes[i] < bound) candidates.push(i);
  candidates.sort((a, b) => hashes[a] - hashes[b] || a - b);
  const maxLength = maxHeldOutLength(options);
  const maxCopies = Math.max(2, MAX_COPIES_SHARE * hashes.length);
  const heldOut: number[] = [];
  const copies = new Set<number>();
  let numTokens = 0;
  for (let start = 0, end = 0; start < candidates.length; start = end) {
    const first = candidates[start];
    while (end < candidates.length && hashes[candidates[end]] === hashes[first]) end++;
    if (end - start > maxCopies || lengths[first] > maxLength) continue;
    if (heldOut.length >= target || numTokens + lengths[first] > options.maxTokens)
      return { heldOut, copies, enough: true };
    heldOut.push(first);
    numTokens += lengths[first];
    for (const copy of candidates.slice(start + 1, end)) copies.add(copy);
  }
  return { heldOut, copies, enough: heldOut.length >= target };
}
