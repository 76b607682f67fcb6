// Documents -> pieces. Normally a piece is a document. In a corpus of a few long documents (one book, say) there would be nothing to hold
// out, so there documents are cut at paragraph ends; pieces that stay in training side by side are joined again afterwards. The decision
// is by characters, before anything is tokenised; where tokens prove it wrong, prepare.ts asks for smaller parts.
import { hashFraction } from '../base/hash.ts';
import type { Document } from '../corpus/index.ts';
import { type HeldOutOptions, maxHeldOutLength } from './held-out.ts';

export interface Piece {
  text: string;
  /** It follows the previous piece in the same document. */
  continues: boolean;
  /** Content hash of the whole document, where it is cut. */
  documentHash?: number;
  /** Of a conversation, which is never cut. */
  document?: Document;
}

/** How many characters a part has at most: a few pages. */
const PART_CHARS = 16384;
const MIN_PART_CHARS = 256;
/** How much text is looked at before deciding that the documents are few and long. */
const PROBE_CHARS = 64 << 20;
/** Parts that a small corpus is cut into for each document that is to be held out. */
const PARTS_PER_HELD_OUT = 4;
/** A token is a byte or more, a UTF-16 unit at most three bytes, and the last part of a document up to half again as long as the others. */
const MAX_TOKENS_PER_PART_CHAR = 3 * 1.5;

/** Length of parts that are short enough to be held out whatever the tokenizer and the script. @param numChars of the corpus */
export function safePartChars(options: HeldOutOptions, numChars: number): number {
  const aim = Math.floor(numChars / (PARTS_PER_HELD_OUT * options.minDocuments));
  const safe = Math.floor(maxHeldOutLength(options) / MAX_TOKENS_PER_PART_CHAR);
  return Math.max(MIN_PART_CHARS, Math.min(PART_CHARS, safe, aim));
}

/** @param decision `partChars` is set where documents are cut; given with it, they are cut so */
export async function* toPieces(
  documents: AsyncIterable<Document>,
  options: HeldOutOptions,
  decision: { partChars?: number },
): AsyncGenerator<Piece> {
  const numWanted = 2 * options.minDocuments;
  // In ASCII a token is a character or more, so this many characters never exceed the longest held-out document.
  const shortChars = maxHeldOutLength(options);
  const probe: Document[] = [];
  let probeChars = 0;
  let numShort = 0;
  let decided = decision.partChars !== undefined;
  const decide = () => {
    decided = true;
    if (numShort >= numWanted) return;
    const aim = Math.floor(probeChars / (PARTS_PER_HELD_OUT * options.minDocuments));
    decision.partChars = Math.max(MIN_PART_CHARS, Math.min(PART_CHARS, shortChars, aim));
  };
  for await (const document of documents) {
    if (decided) {
      yield* cut(document, decision.partChars);
      continue;
    }
    probe.push(document);
    probeChars += document.text.length;
    if (document.text.length <= shortChars) numShort++;
    if (numShort < numWanted && probeChars < PROBE_CHARS) continue;
    decide();
    for (const held of probe.splice(0)) yield* cut(held, decision.partChars);
  }
  if (!decided) decide();
  for (const held of probe) yield* cut(held, decision.partChars);
}

function* cut(document: Document, partChars: number | undefined): Generator<Piece> {
  const { text, messages } = document;
  const documentHash = partChars === undefined ? undefined : hashFraction(text);
  if (messages) return yield { text, continues: false, documentHash, document };
  if (partChars === undefined) return yield { text, continues: false };
  let start = 0;
  for (const part of cutText(text, partChars)) {
    yield { text: part, continues: start > 0, documentHash };
    start += part.length;
  }
}

/** Cuts at the last blank line, else line end, else space, in the second half of each stretch of `partChars`; joined, the parts are the text. */
export function cutText(text: string, partChars: number): string[] {
  const parts: string[] = [];
  let start = 0;
  while (text.length - start > partChars * 1.5) {
    const limit = start + partChars;
    const end =
      cutAfter(text, '\n\n', start, limit) ??
      cutAfter(text, '\n', start, limit) ??
      cutAfter(text, ' ', start, limit) ??
      limit;
    const code = text.charCodeAt(end);
    const inPair = code >= 0xdc00 && code <= 0xdfff;
    parts.push(text.slice(start, inPair ? end + 1 : end));
    start = inPair ? end + 1 : end;
  }
  parts.push(text.slice(start));
  return parts;
}

function cutAfter(text: string, mark: string, start: number, limit: number): number | undefined {
  const at = text.lastIndexOf(mark, limit - mark.length);
  return at > (start + limit) / 2 ? at + mark.length : undefined;
}
