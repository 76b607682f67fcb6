// Where the loss lies: bits by corpus, source, kind of token, frequency in training and context, with the change against a base paired by
// document.
import { type Difference, pairedBitsPerByte } from '../stats/index.ts';
import type { Piece } from './align.ts';

export interface ScoredDocument {
  corpus: string;
  /** File that it came from, where known. */
  source?: string;
  pieces: readonly Piece[];
}

export interface LossGroup {
  name: string;
  numTokens: number;
  numBytes: number;
  bitsPerByte: number;
  /** Nats a token. */
  lossNats: number;
  /** Of all bits. */
  share: number;
  baseBitsPerByte?: number;
  /** Tuned minus base, bits per byte, over documents. */
  change?: Difference;
}

export interface LossTable {
  by: 'corpus' | 'source' | 'kind of token' | 'frequency in training' | 'context';
  groups: LossGroup[];
}

/** Tokens by how often they stand in the training shards, per million tokens there. */
export interface TokenCounts {
  counts: Float64Array;
  total: number;
}

/**
 * A table for each way of grouping that says more than the one before: not by source where each corpus has one.
 * @param frequencies of the tuned model's tokens in training
 */
export function lossTables(documents: readonly ScoredDocument[], frequencies?: TokenCounts): LossTable[] {
  const tables: LossTable[] = [
    { by: 'corpus', groups: groupBy(documents, (_, { corpus }) => corpus) },
    { by: 'source', groups: groupBy(documents, (_, { source }) => source) },
    { by: 'kind of token', groups: groupBy(documents, kindOf, KINDS) },
    {
      by: 'frequency in training',
      groups: frequencies
        ? groupBy(
            documents,
            (piece) => bandOf(piece, frequencies),
            BANDS.map(({ name }) => name),
          )
        : [],
    },
    {
      by: 'context',
      groups: groupBy(
        documents,
        contextOf,
        CONTEXTS.map(({ name }) => name),
      ),
    },
  ];
  const numCorpora = tables[0]!.groups.length;
  const least = { corpus: 1, source: numCorpora + 1 } as Partial<Record<LossTable['by'], number>>;
  return tables.filter(({ by, groups }) => groups.length >= (least[by] ?? 2));
}

function groupBy(
  documents: readonly ScoredDocument[],
  keyOf: (piece: Piece, document: ScoredDocument) => string | undefined,
  order?: readonly string[],
): LossGroup[] {
  const groups = new Map<string, Map<number, Sums>>();
  let allNats = 0;
  documents.forEach((document, index) => {
    for (const piece of document.pieces) {
      const key = keyOf(piece, document);
      if (key === undefined) continue;
      allNats += piece.nats;
      const ofGroup = groups.get(key) ?? new Map<number, Sums>();
      groups.set(key, ofGroup);
      const sums = ofGroup.get(index) ?? { nats: 0, base: 0, size: 0, numTokens: 0, isPaired: true };
      ofGroup.set(index, sums);
      sums.nats += piece.nats;
      sums.size += Buffer.byteLength(piece.text);
      sums.numTokens += piece.numTokens;
      if (piece.base) sums.base += piece.base.nats;
      else sums.isPaired = false;
    }
  });
  const names = order ? order.filter((name) => groups.has(name)) : [...groups.keys()];
  return names.map((name) => groupOf(name, [...groups.get(name)!.values()], allNats));
}

interface Sums {
  nats: number;
  base: number;
  size: number;
  numTokens: number;
  isPaired: boolean;
}

function groupOf(name: string, documents: readonly Sums[], allNats: number): LossGroup {
  const sum = (of: (document: Sums) => number): number => documents.reduce((total, one) => total + of(one), 0);
  const [nats, numBytes, numTokens] = [sum((d) => d.nats), sum((d) => d.size), sum((d) => d.numTokens)];
  const group: LossGroup = {
    name,
    numTokens,
    numBytes,
    bitsPerByte: nats / Math.LN2 / numBytes,
    lossNats: nats / numTokens,
    share: nats / allNats,
  };
  if (!documents.every(({ isPaired }) => isPaired)) return group;
  const pairs = documents.map(({ base, nats: tuned, size }) => ({ first: base, second: tuned, size }));
  return { ...group, baseBitsPerByte: sum((d) => d.base) / Math.LN2 / numBytes, change: pairedBitsPerByte(pairs) };
}

const KINDS = [
  'beginnings of words',
  'insides of words',
  'digits',
  'punctuation',
  'signs of code',
  'white space',
  'other',
];

/** By the token's first character that is no space. */
export function kindOf({ text }: { text: string }): string {
  const core = text.trim();
  if (core === '') return 'white space';
  const first = core[0]!;
  if (/\p{Nd}/u.test(first)) return 'digits';
  if (/[\p{L}\p{M}]/u.test(core)) return /^\s|^[\p{P}\p{S}]/u.test(text) ? 'beginnings of words' : 'insides of words';
  if (/[{}()[\]<>=+*/\\|&^%$#@~`_;]/.test(core)) return 'signs of code';
  return /[\p{P}\p{S}]/u.test(first) ? 'punctuation' : 'other';
}

/** Occurrences per million tokens of the training shards. */
const BANDS = [
  { name: '1,000 in a million or more', from: 1000 },
  { name: '100 to 1,000', from: 100 },
  { name: '10 to 100', from: 10 },
  { name: '1 to 10', from: 1 },
  { name: 'less than 1', from: Number.MIN_VALUE },
  { name: 'never', from: 0 },
];

function bandOf({ id }: Piece, { counts, total }: TokenCounts): string {
  const perMillion = (1e6 * (counts[id] ?? 0)) / Math.max(1, total);
  return BANDS.find(({ from }) => perMillion >= from)!.name;
}

const CONTEXTS = [1, 16, 64, 256, 1024, 4096, 16384, 65536].map((from, i, all) => ({
  name: all[i + 1] ? `${from} to ${all[i + 1]! - 1} tokens` : `${from} tokens or more`,
  from,
}));

function contextOf({ context }: Piece): string {
  return CONTEXTS.findLast(({ from }) => context >= from)!.name;
}
