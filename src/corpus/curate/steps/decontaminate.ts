// Documents that hold items of evaluation sets: what a model has read it cannot be examined on. GPT-3 cut what it found with 200 characters on
// each side, and left documents out that fell into more than 10 pieces (Brown et al. 2020, arXiv 2005.14165, appendix C); leaving
// the document out is simpler, and loses little.
import { type ContaminationIndex, type ContaminationMatch, loadContamination } from '../../dedup/contamination.ts';
import type { Edit, Removal, Step } from '../types.ts';
import type { TextView } from '../view.ts';

export interface DecontaminateOptions {
  /** What buildContamination made, or the file that it was written to. */
  index: ContaminationIndex | string;
  /** Of an item's n-grams, from which on a document holds it: 0 takes any single one, as GPT-3 did. */
  minShare: number;
  action: 'remove' | 'cut';
  /** cut: characters to go on each side, to the next white space. */
  margin: number;
  /** cut: a document that would fall into more pieces goes. */
  maxPieces: number;
  /** cut: shorter pieces, in characters, go. */
  minPieceChars: number;
}

/**
 * A quarter of an item's n-grams is an assumption: where each word is changed with probability 0.1, so many 13-grams are left whole
 * (0.9^13 = 0.25). The rest are GPT-3's.
 */
export const DECONTAMINATE = {
  minShare: 0.25,
  action: 'remove',
  margin: 200,
  maxPieces: 10,
  minPieceChars: 200,
} as const;

/** Of the words that are shown. */
const MAX_EVIDENCE_CHARS = 300;
const MAX_MATCHES_SHOWN = 5;

export function decontaminate(given: Pick<DecontaminateOptions, 'index'> & Partial<DecontaminateOptions>): Step {
  const options: DecontaminateOptions = { ...DECONTAMINATE, ...given };
  const index = typeof options.index === 'string' ? loadContamination(options.index) : options.index;
  return {
    name: 'decontaminate',
    apply(view) {
      const matches = index.match(view.text, options.minShare);
      if (matches.length === 0) return undefined;
      // Nothing can be cut out of a conversation: its text is what is said in its messages.
      const mustGo = options.action === 'remove' || view.document.messages !== undefined;
      return mustGo ? { removed: removalOf(view.text, matches, options) } : cut(view, matches, options);
    },
  };
}

function removalOf(text: string, matches: readonly ContaminationMatch[], { minShare }: DecontaminateOptions): Removal {
  const [best] = matches;
  return {
    reason: `holds an item of ${best.set}`,
    value: Number(best.share.toFixed(4)),
    limit: minShare,
    evidence: describe(text, matches),
  };
}

/** What was found, by set and number of the item, with the words. */
function describe(text: string, matches: readonly ContaminationMatch[]): string {
  const [best] = matches;
  const { start, end } = best.spans.reduce((a, b) => (b.end - b.start > a.end - a.start ? b : a));
  const words = text
    .slice(start, Math.min(end, start + MAX_EVIDENCE_CHARS))
    .replace(/[\ud800-\udbff]$/, '')
    .replace(/\s+/g, ' ');
  const names = matches.slice(0, MAX_MATCHES_SHOWN).map(({ set, item }) => `${set} #${item}`);
  const more = matches.length - names.length;
  return `${names.join(', ')}${more > 0 ? ` and ${more} more` : ''}: "${words}${end - start > MAX_EVIDENCE_CHARS ? ' ...' : ''}"`;
}

function cut(
  view: TextView,
  matches: readonly ContaminationMatch[],
  options: DecontaminateOptions,
): Edit | { removed: Removal } {
  const { text } = view;
  const spans = matches
    .flatMap((match) => match.spans)
    .map(({ start, end }) => ({
      start: wordStart(text, start - options.margin),
      end: wordEnd(text, end + options.margin),
    }))
    .sort((a, b) => a.start - b.start || a.end - b.end);
  const pieces: string[] = [];
  let from = 0;
  let numCut = 0;
  for (const { start, end } of spans) {
    if (start > from || numCut === 0) {
      pieces.push(text.slice(from, start));
      numCut++;
    }
    from = Math.max(from, end);
  }
  pieces.push(text.slice(from));
  const kept = pieces.map((piece) => piece.trim()).filter((piece) => piece.length >= options.minPieceChars);
  if (pieces.length > options.maxPieces || kept.length === 0) return { removed: removalOf(text, matches, options) };
  const sets = [...new Set(matches.map(({ set }) => set))].sort();
  return {
    text: kept.join('\n\n'),
    changes: Object.fromEntries(sets.map((set) => [`places with items of ${set}`, countSpans(matches, set)])),
    metadata: { contamination: describe(text, matches) },
  };
}

const countSpans = (matches: readonly ContaminationMatch[], set: string): number =>
  matches.filter((match) => match.set === set).reduce((sum, { spans }) => sum + spans.length, 0);

/** Text without white space for so long has no word ends to look for. */
const MAX_WORD_CHARS = 50;

/** The start of the word at `from`, or where a character begins. */
function wordStart(text: string, from: number): number {
  if (from <= 0) return 0;
  const space = text.slice(Math.max(0, from - MAX_WORD_CHARS), from).search(/\S*$/);
  if (from <= MAX_WORD_CHARS || space > 0) return Math.max(0, from - MAX_WORD_CHARS) + space;
  return isInsideCharacter(text, from) ? from - 1 : from;
}

/** The end of the word at `from`, or where a character ends. */
function wordEnd(text: string, from: number): number {
  if (from >= text.length) return text.length;
  const space = text.slice(from, from + MAX_WORD_CHARS).search(/\s/);
  if (space >= 0) return from + space;
  if (from + MAX_WORD_CHARS >= text.length) return text.length;
  return isInsideCharacter(text, from) ? from + 1 : from;
}

const isInsideCharacter = (text: string, at: number): boolean =>
  /^[\ud800-\udbff][\udc00-\udfff]/.test(text.slice(at - 1, at + 1));
