// Unigram segmentation of one piece of text (Kudo 2018): the path of highest summed score. The arithmetic (doubles, in order), the order
// of candidates (shorter first) and the ties (a later one wins only if it is better) are those of Hugging Face tokenizers.
import { byteToken } from './bpe.ts';
import { detach } from './unicode.ts';

export interface UnigramOptions {
  /** Id of what no token spells. */
  unknownId: number;
  /** Unknown text becomes <0xNN> tokens where all of them exist. */
  byteFallback: boolean;
}

interface TrieNode {
  id: number;
  children: Map<number, TrieNode>;
}

/** SentencePiece's penalty of an unknown character below the least likely token. */
const UNKNOWN_PENALTY = 10;
const CACHED_LENGTH = 128;
const CACHE_LIMIT = 400_000;

const encoder = new TextEncoder();

export class Unigram {
  private readonly root: TrieNode = { id: -1, children: new Map() };
  private readonly scores: readonly number[];
  private readonly ids: ReadonlyMap<string, number>;
  private readonly unknownScore: number;
  private readonly options: UnigramOptions;
  private readonly cache = new Map<string, number[]>();

  /** @param vocab tokens with their scores; ids are positions, and of equal tokens the last counts */
  constructor(vocab: readonly (readonly [string, number])[], options: UnigramOptions) {
    this.options = options;
    this.scores = vocab.map(([, score]) => score);
    this.ids = new Map(vocab.map(([token], id) => [token, id]));
    this.unknownScore = this.scores.reduce((least, score) => Math.min(least, score)) - UNKNOWN_PENALTY;
    for (const [token, id] of this.ids) if (token !== '') this.insert(token, id);
  }

  private insert(token: string, id: number): void {
    let node = this.root;
    for (let i = 0; i < token.length; i++) {
      const unit = token.charCodeAt(i);
      let child = node.children.get(unit);
      if (!child) {
        child = { id: -1, children: new Map() };
        node.children.set(unit, child);
      }
      node = child;
    }
    node.id = id;
  }

  /** Appends the piece's ids to `out`. `piece` is well-formed. */
  encode(piece: string, out: number[]): void {
    let ids = this.cache.get(piece);
    if (!ids) {
      ids = this.encodeAfresh(piece);
      if (piece.length <= CACHED_LENGTH) {
        if (this.cache.size >= CACHE_LIMIT) this.cache.clear();
        this.cache.set(detach(piece), ids);
      }
    }
    for (let i = 0; i < ids.length; i++) out.push(ids[i]!);
  }

  private encodeAfresh(piece: string): number[] {
    const { unknownId } = this.options;
    const n = piece.length;
    const best = new Float64Array(n + 1);
    const starts = new Int32Array(n + 1).fill(-1);
    const ids = new Int32Array(n + 1);
    const offer = (end: number, score: number, start: number, id: number): void => {
      if (starts[end]! >= 0 && !(score > best[end]!)) return;
      best[end] = score;
      starts[end] = start;
      ids[end] = id;
    };
    for (let start = 0; start < n; ) {
      const charEnd = start + (piece.codePointAt(start)! > 0xffff ? 2 : 1);
      let isToken = false;
      let node = this.root.children.get(piece.charCodeAt(start));
      for (let end = start + 1; node; node = end < n ? node.children.get(piece.charCodeAt(end++)) : undefined) {
        if (node.id < 0) continue;
        offer(end, this.scores[node.id]! + best[start]!, start, node.id);
        isToken ||= end === charEnd;
      }
      if (!isToken) offer(charEnd, this.unknownScore + best[start]!, start, unknownId);
      start = charEnd;
    }
    const tokens: string[] = [];
    let unknownBehind = false;
    for (let end = n; end > 0; end = starts[end]!) {
      const token = piece.slice(starts[end], end);
      const isUnknown = ids[end] === unknownId;
      if (isUnknown && unknownBehind) tokens[tokens.length - 1] = token + tokens.at(-1)!;
      else tokens.push(token);
      unknownBehind = isUnknown;
    }
    return tokens.reverse().flatMap((token) => this.idsOf(token));
  }

  private idsOf(token: string): number[] {
    const id = this.ids.get(token);
    if (id !== undefined) return [id];
    if (!this.options.byteFallback) return [this.options.unknownId];
    const bytes = Array.from(encoder.encode(token), (byte) => this.ids.get(byteToken(byte)));
    return bytes.includes(undefined) ? [this.options.unknownId] : (bytes as number[]);
  }
}
