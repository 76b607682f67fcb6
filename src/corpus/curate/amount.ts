// How much text: of a part, of a step, of all.

export interface Amount {
  numDocuments: number;
  /** UTF-8. */
  numBytes: number;
}

export const nothing = (): Amount => ({ numDocuments: 0, numBytes: 0 });

/** Adds to `sum`, which it returns. */
export function addAmount(sum: Amount, { numDocuments, numBytes }: Amount): Amount {
  sum.numDocuments += numDocuments;
  sum.numBytes += numBytes;
  return sum;
}
