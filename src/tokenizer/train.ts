// Byte-level BPE training (Sennrich et al. 2016, on bytes as GPT-2): texts -> tokenizer.json. Not an encoder.
// All distinct words lie in one array of symbols linked to their neighbours; each pair keeps the list of its positions, so a merge
// costs its occurrences, however long a word is. Ties go to the lower pair of ids: the result depends on the texts alone, and equals
// that of Hugging Face's BpeTrainer.
import { ConfigError } from '../base/errors.ts';
import type { Component } from './format.ts';
import { specialToken } from './load.ts';
import { byteLevel, digits, LLAMA3_PATTERN, O200K_PATTERN, QWEN2_PATTERN, sequence, splits } from './patterns.ts';
import { compilePreTokenizer, planPreTokenizer } from './pre-tokenizer.ts';
import type { TokenizerJson } from './types.ts';
import { BYTE_CHARS, detach, toWellFormed } from './unicode.ts';

export interface TrainOptions {
  /** Exact size: 256 bytes, the special tokens, and merges for the rest. */
  vocabSize: number;
  /** First ids, in this order; <|endoftext|> is put first and added where it is missing. */
  specialTokens: string[];
  /** How text is cut into words; gpt2 by default. */
  pattern?: 'gpt2' | 'llama3' | 'qwen2' | 'o200k';
  /** Every digit alone, before the gpt2 pattern (SmolLM's way); false by default. */
  digits?: boolean;
}

export interface TrainedTokenizer {
  'tokenizer.json': TokenizerJson;
  'tokenizer_config.json': Record<string, unknown>;
}

export const END_OF_TEXT = '<|endoftext|>';

/**
 * Trains a tokenizer. @throws ConfigError where the options contradict each other or the texts hold too few distinct words for
 * vocabSize
 */
export function trainBpe(texts: Iterable<string>, options: TrainOptions): TrainedTokenizer {
  const special = [END_OF_TEXT, ...options.specialTokens.filter((token) => token !== END_OF_TEXT)];
  const alphabet = [...BYTE_CHARS].sort();
  const numMerges = options.vocabSize - 256 - special.length;
  if (!Number.isInteger(options.vocabSize) || numMerges < 0)
    throw new ConfigError(
      `tokenizer training: a vocabulary of ${options.vocabSize} was asked for; expected a whole number of at least ` +
        `${256 + special.length} (256 bytes and ${special.length} special tokens).`,
    );
  if (new Set([...special, ...alphabet]).size < special.length + 256 || special.includes(''))
    throw new ConfigError(
      `tokenizer training: special tokens must be distinct, longer than one character and not empty, found ${special.join(', ')}.`,
    );
  const preTokenizer = preTokenizerOf(options);
  const words = countWords(texts, preTokenizer);
  const tokens = [...special, ...alphabet];
  const merges = new MergeTrainer(byteSymbols(words, tokens), tokens, options.vocabSize).run();
  if (tokens.length < options.vocabSize)
    throw new ConfigError(
      `tokenizer training: the texts are too small: their ${words.size} distinct words allow a vocabulary of ${tokens.length}, ` +
        `but ${options.vocabSize} was asked for. Give more text or ask for a smaller vocabulary.`,
    );
  return tokenizerFiles(special, tokens, merges, preTokenizer);
}

function preTokenizerOf({ pattern = 'gpt2', digits: splitDigits = false }: TrainOptions): Component {
  if (pattern !== 'gpt2' && splitDigits)
    throw new ConfigError(
      `tokenizer training: "digits" goes with the pattern gpt2; ${pattern} has its own rule for digits.`,
    );
  switch (pattern) {
    case 'gpt2':
      return splitDigits ? sequence(digits(true), byteLevel(true)) : byteLevel(true);
    case 'llama3':
      return splits(LLAMA3_PATTERN);
    case 'qwen2':
      return splits(QWEN2_PATTERN);
    case 'o200k':
      return splits(O200K_PATTERN);
    default:
      return pattern satisfies never;
  }
}

function countWords(texts: Iterable<string>, component: Component): Map<string, number> {
  const preTokenizer = compilePreTokenizer(planPreTokenizer(component));
  const counts = new Map<string, number>();
  for (const text of texts)
    preTokenizer.split(toWellFormed(text), true, (word) => {
      const count = counts.get(word);
      if (count === undefined) counts.set(detach(word), 1);
      else counts.set(word, count + 1);
    });
  return counts;
}

function tokenizerFiles(
  special: string[],
  tokens: string[],
  merges: [string, string][],
  pre: Component,
): TrainedTokenizer {
  const json: TokenizerJson = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: special.map((content, id) => specialToken(id, content)),
    normalizer: null,
    pre_tokenizer: pre,
    post_processor: null,
    decoder: byteLevel(true),
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: merges.map(([left, right]) => `${left} ${right}`),
    },
  };
  const config = {
    tokenizer_class: 'PreTrainedTokenizerFast',
    bos_token: END_OF_TEXT,
    eos_token: END_OF_TEXT,
    unk_token: END_OF_TEXT,
    add_prefix_space: false,
    clean_up_tokenization_spaces: false,
  };
  return { 'tokenizer.json': json, 'tokenizer_config.json': config };
}

/** A word as the ids of its symbols, and how often it occurs. */
export interface SymbolWord {
  symbols: ArrayLike<number>;
  count: number;
}

function byteSymbols(words: ReadonlyMap<string, number>, tokens: readonly string[]): SymbolWord[] {
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const byteIds = BYTE_CHARS.map((char) => ids.get(char)!);
  const encoder = new TextEncoder();
  return Array.from(words, ([word, count]) => ({
    symbols: Int32Array.from(encoder.encode(word), (byte) => byteIds[byte]!),
    count,
  }));
}

interface Pair {
  left: number;
  right: number;
  count: number;
  /** Positions of the left symbol; some may be stale. */
  positions: number[];
}

/** What may become of a pair: merges that spell a known token give that token, or are not made. */
type KnownTokens = 'reused' | 'left out';

/** Chooses merges by count, on words that are cut into symbols already. */
export class MergeTrainer {
  private readonly tokens: (string | undefined)[];
  /** Also the span of a pair's key, left * vocabSize + right. */
  private readonly vocabSize: number;
  private readonly known: KnownTokens;
  private readonly ids: Map<string, number>;
  private readonly symbols: Int32Array;
  private readonly next: Int32Array;
  private readonly previous: Int32Array;
  /** How often the word at this position occurs. */
  private readonly weights: Float64Array;
  private readonly pairs = new Map<number, Pair>();
  private readonly queue = new PairQueue();

  /** @param tokens spellings by id; grows by one entry a new token, up to `vocabSize` */
  constructor(
    words: readonly SymbolWord[],
    tokens: (string | undefined)[],
    vocabSize: number,
    known: KnownTokens = 'reused',
  ) {
    this.tokens = tokens;
    this.vocabSize = vocabSize;
    this.known = known;
    this.ids = new Map(tokens.flatMap((token, id) => (token === undefined ? [] : [[token, id]])));
    const size = words.reduce((sum, { symbols }) => sum + symbols.length, 0);
    this.symbols = new Int32Array(size);
    this.next = new Int32Array(size).fill(-1);
    this.previous = new Int32Array(size).fill(-1);
    this.weights = new Float64Array(size);
    let position = 0;
    for (const { symbols, count } of words)
      for (let i = 0; i < symbols.length; i++, position++) {
        this.symbols[position] = symbols[i]!;
        this.weights[position] = count;
        if (i > 0) {
          this.previous[position] = position - 1;
          this.next[position - 1] = position;
        }
      }
    for (let left = 0; left < size; left++) if (this.next[left]! >= 0) this.count(left, this.weights[left]!);
    for (const pair of this.pairs.values()) this.queue.push(pair, pair.count);
  }

  /** @param minCount a pair that occurs less often is not merged */
  run(minCount = 1): [string, string][] {
    const merges: [string, string][] = [];
    while (this.tokens.length < this.vocabSize) {
      const best = this.queue.pop();
      if (!best || best.count < minCount) break;
      const [left, right] = [this.tokens[best.left]!, this.tokens[best.right]!];
      if (this.known === 'left out' && this.ids.has(left + right)) continue;
      merges.push([left, right]);
      this.merge(best, this.idOf(left + right));
    }
    return merges;
  }

  /** Two merges can spell the same token; it keeps one id. */
  private idOf(token: string): number {
    const known = this.ids.get(token);
    if (known !== undefined) return known;
    const id = this.tokens.push(token) - 1;
    this.ids.set(token, id);
    return id;
  }

  /** Counts the pair whose left symbol lies at `left` and remembers the place. */
  private count(left: number, weight: number): Pair {
    const [a, b] = [this.symbols[left]!, this.symbols[this.next[left]!]!];
    const key = a * this.vocabSize + b;
    let pair = this.pairs.get(key);
    if (!pair) {
      pair = { left: a, right: b, count: 0, positions: [] };
      this.pairs.set(key, pair);
    }
    pair.count += weight;
    pair.positions.push(left);
    return pair;
  }

  private uncount(left: number, right: number, weight: number): void {
    const pair = this.pairs.get(left * this.vocabSize + right);
    if (pair) pair.count -= weight;
  }

  private merge(pair: Pair, newId: number): void {
    const { symbols, next, previous, weights } = this;
    const grown = new Set<Pair>();
    const { left: a, right: b } = pair;
    this.pairs.delete(a * this.vocabSize + b);
    pair.count = 0;
    for (const left of Int32Array.from(pair.positions).sort()) {
      const right = next[left]!;
      if (symbols[left] !== a || right < 0 || symbols[right] !== b) continue;
      const weight = weights[left]!;
      const [before, after] = [previous[left]!, next[right]!];
      if (before >= 0) this.uncount(symbols[before]!, a, weight);
      if (after >= 0) this.uncount(b, symbols[after]!, weight);
      symbols[left] = newId;
      symbols[right] = -1;
      next[right] = -1;
      next[left] = after;
      if (after >= 0) {
        previous[after] = left;
        grown.add(this.count(left, weight));
      }
      if (before >= 0) grown.add(this.count(before, weight));
    }
    for (const each of grown) if (each.count > 0) this.queue.push(each, each.count);
  }
}

/**
 * A max-heap by count, then by lower pair of ids. An entry holds the count of when it was pushed; on its way out an entry whose pair
 * has shrunk since goes back in with the true count.
 */
class PairQueue {
  private readonly pairs: Pair[] = [];
  private readonly counts: number[] = [];

  push(pair: Pair, count: number): void {
    const { pairs, counts } = this;
    let i = pairs.push(pair) - 1;
    counts.push(count);
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!isBefore(pair, count, pairs[parent]!, counts[parent]!)) break;
      pairs[i] = pairs[parent]!;
      counts[i] = counts[parent]!;
      i = parent;
    }
    pairs[i] = pair;
    counts[i] = count;
  }

  /** The best pair with its current count. */
  pop(): Pair | undefined {
    for (;;) {
      const top = this.take();
      if (!top) return undefined;
      if (top.count === top.pair.count) return top.pair;
      if (top.pair.count > 0) this.push(top.pair, top.pair.count);
    }
  }

  private take(): { pair: Pair; count: number } | undefined {
    const { pairs, counts } = this;
    if (pairs.length === 0) return undefined;
    const top = { pair: pairs[0]!, count: counts[0]! };
    const [lastPair, lastCount] = [pairs.pop()!, counts.pop()!];
    if (pairs.length === 0) return top;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= pairs.length) break;
      if (child + 1 < pairs.length && isBefore(pairs[child + 1]!, counts[child + 1]!, pairs[child]!, counts[child]!))
        child++;
      if (!isBefore(pairs[child]!, counts[child]!, lastPair, lastCount)) break;
      pairs[i] = pairs[child]!;
      counts[i] = counts[child]!;
      i = child;
    }
    pairs[i] = lastPair;
    counts[i] = lastCount;
    return top;
  }
}

function isBefore(a: Pair, countA: number, b: Pair, countB: number): boolean {
  if (countA !== countB) return countA > countB;
  return a.left !== b.left ? a.left < b.left : a.right < b.right;
}
