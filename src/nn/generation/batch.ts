// Generation of several sequences at once. Each has a slot of the key-value cache from its first step to its last, so sequences join and
// leave at any step. A step reads some chunks of waiting prompts, each by itself and each prompt in its turn, and then a token of every sequence
// whose prompt is read. What stands beside a sequence changes no bit of a chunk, nor of a token among up to eight. A chunk behind the same
// tokens as one that a slot holds, or has held last, is copied from there instead of read: the same bits again.
import { ConfigError, internal } from '../../base/errors.ts';
import type { Decoder, Segment } from '../decoder.ts';
import { KeyValueCache } from './cache.ts';
import { Sampler, type SamplingOptions, type TokenLogprob, tokenLogprob } from './sampling.ts';

export interface SequenceOptions {
  /** Tokens after the prompt. 0: the prompt is read and no more, for its likelihoods. */
  maxTokens: number;
  /** Tokens that end the sequence; they are not part of it. */
  stopTokens: ReadonlySet<number>;
  sampling: SamplingOptions;
  /** Log-probabilities are wanted, with those of so many likeliest tokens. */
  numTop?: number;
  /** Of the prompt's tokens, too. */
  scorePrompt?: boolean;
  /** The same bits whatever else is generated, also among more than eight sequences: slower there. */
  isSteady?: boolean;
}

/** stop: a stop token came; length: maxTokens is reached, or the slot is full. */
export type FinishReason = 'stop' | 'length';

/** A prompt and what follows it, as far as it has come. */
export interface Sequence {
  readonly prompt: Int32Array;
  readonly tokens: readonly number[];
  readonly finished: FinishReason | undefined;
  /** The stop token that ended it. */
  readonly stopToken: number | undefined;
  /** Where wanted: of the prompt's tokens (none for the first, which follows nothing), of `tokens`, and of the stop token. */
  readonly promptLogprobs: readonly (TokenLogprob | undefined)[];
  readonly logprobs: readonly TokenLogprob[];
}

/** Tokens of a prompt that are read at once: enough for products at full speed, few enough that others wait little. */
const CHUNK_TOKENS = 512;
/** Rows that products take one by one, each with the same bits as alone (native/gemm). */
const ROWS_BY_THEMSELVES = 8;
/** Chunks that a step reads at most, where more prompts wait than sequences: these then wait longer for a token, but fewer times. */
const MAX_CHUNKS = 4;

class Running implements Sequence {
  readonly prompt: Int32Array;
  readonly tokens: number[] = [];
  readonly options: SequenceOptions;
  readonly sampler: Sampler;
  finished: FinishReason | undefined;
  stopToken: number | undefined;
  readonly promptLogprobs: (TokenLogprob | undefined)[] = [undefined];
  readonly logprobs: TokenLogprob[] = [];
  slot = -1;
  /** Tokens of the prompt in the cache. */
  numRead = 0;

  constructor(prompt: Int32Array, options: SequenceOptions) {
    this.prompt = prompt;
    this.options = options;
    this.sampler = new Sampler(options.sampling, prompt);
  }

  get isRead(): boolean {
    return this.numRead === this.prompt.length;
  }
}

export class GenerationBatch {
  private readonly decoder: Decoder;
  private readonly cache: KeyValueCache;
  private readonly chunkTokens: number;
  private readonly freeSlots: number[];
  /** By slot: a prompt, and how many of its tokens the slot holds in whole chunks. */
  private readonly held: { prompt: Int32Array; length: number }[];
  private waiting: Running[] = [];
  private running: Running[] = [];
  /** Those of `running` whose prompts are not read; the first one's turn is next. */
  private reading: Running[] = [];

  /**
   * @param numSlots sequences at once; others wait
   * @param capacity longest sequence, prompt included
   * @throws ConfigError where the model has no such positions, or memory is not to be had
   */
  constructor(decoder: Decoder, numSlots: number, capacity: number, chunkTokens = CHUNK_TOKENS) {
    this.decoder = decoder;
    this.cache = new KeyValueCache(decoder.config, decoder.precision, numSlots, capacity);
    this.chunkTokens = chunkTokens;
    this.freeSlots = Array.from({ length: numSlots }, (_, i) => numSlots - 1 - i);
    this.held = this.freeSlots.map(() => ({ prompt: new Int32Array(0), length: 0 }));
  }

  /** Slots that nobody has or waits for. */
  get numFree(): number {
    return Math.max(0, this.freeSlots.length - this.waiting.length);
  }

  /** Tokens in the cache, and what it has room for. */
  get numCached(): number {
    return this.running.reduce((sum, { numRead, tokens }) => sum + numRead + tokens.length, 0);
  }

  /** Whether a step would do anything. */
  get isBusy(): boolean {
    return this.waiting.length + this.running.length > 0;
  }

  /**
   * A sequence that begins as soon as a slot is free.
   * @throws ConfigError for a prompt that is empty or too long, and for sampling options out of range
   */
  add(prompt: Int32Array, options: SequenceOptions): Sequence {
    const { capacity } = this.cache;
    if (prompt.length === 0) throw new ConfigError('the prompt is empty: expected at least one token.');
    const room = options.maxTokens > 0 ? capacity - 1 : capacity;
    if (prompt.length > room)
      throw new ConfigError(
        `the prompt has ${prompt.length} tokens: expected at most ${room}, so that there is room for an answer. Shorten it.`,
      );
    const sequence = new Running(prompt, options);
    this.waiting.push(sequence);
    return sequence;
  }

  /** Takes a sequence out, finished or not; its slot is free for others. */
  remove(sequence: Sequence): void {
    this.waiting = this.waiting.filter((other) => other !== sequence);
    const found = this.running.find((other) => other === sequence);
    if (!found) return;
    this.running = this.running.filter((other) => other !== found);
    this.reading = this.reading.filter((other) => other !== found);
    this.cache.lengths[found.slot] = 0;
    this.freeSlots.push(found.slot);
  }

  /** Advances; returns the sequences that got a token or finished. Those that finished have left. */
  step(): Sequence[] {
    this.admit();
    const decoding = this.running.filter(({ isRead }) => isRead);
    const advanced = this.readPrompts();
    for (const group of this.groups(decoding)) this.decode(group);
    advanced.push(...decoding);
    for (const sequence of advanced) if (sequence.finished) this.remove(sequence);
    return advanced;
  }

  private admit(): void {
    while (this.freeSlots.length > 0 && this.waiting.length > 0) {
      const sequence = this.waiting.shift()!;
      sequence.slot = this.freeSlots.pop()!;
      this.running.push(sequence);
      this.reading.push(sequence);
    }
  }

  /** Whole chunks of its prompt that some slot holds become the sequence's own. The last token is left to be read: its logits are wanted. */
  private takeHeld(sequence: Running): void {
    const { slot, prompt, numRead, options } = sequence;
    if (options.scorePrompt) return;
    const shared = this.held.map((held) => commonLength(held.prompt, prompt, Math.min(held.length, prompt.length - 1)));
    const longest = Math.max(...shared);
    const to = longest - (longest % this.chunkTokens);
    if (to <= numRead) return;
    this.cache.copy(shared.indexOf(longest), slot, numRead, to);
    sequence.numRead = to;
    this.held[slot] = { prompt, length: to };
  }

  /**
   * Reads chunks of waiting prompts in turn: the tokens of one chunk, of more where many prompts wait beside few sequences.
   * @returns the sequences whose prompts ended
   */
  private readPrompts(): Running[] {
    const ended: Running[] = [];
    const numDecoding = this.running.length - this.reading.length;
    const numChunks = Math.ceil(this.reading.length / Math.max(1, numDecoding));
    let rest = Math.min(MAX_CHUNKS, numChunks) * this.chunkTokens;
    for (;;) {
      const sequence = this.reading[0];
      if (sequence) this.takeHeld(sequence);
      const size = sequence && this.nextChunk(sequence).length;
      if (size === undefined || size > rest) return ended;
      rest -= size;
      this.reading.shift();
      this.read(sequence!);
      if (sequence!.isRead) ended.push(sequence!);
      else this.reading.push(sequence!);
    }
  }

  private nextChunk({ prompt, numRead }: Running): Int32Array {
    return prompt.subarray(numRead, numRead + this.chunkTokens);
  }

  /** Those who may share their products. */
  private groups(decoding: readonly Running[]): Running[][] {
    if (decoding.length <= ROWS_BY_THEMSELVES) return decoding.length > 0 ? [[...decoding]] : [];
    const steady = decoding.filter(({ options }) => options.isSteady);
    const others = decoding.filter(({ options }) => !options.isSteady);
    const groups = others.length > 0 ? [others] : [];
    for (let i = 0; i < steady.length; i += ROWS_BY_THEMSELVES) groups.push(steady.slice(i, i + ROWS_BY_THEMSELVES));
    return groups;
  }

  private read(sequence: Running): void {
    const { slot, prompt, numRead, options } = sequence;
    const tokens = this.nextChunk(sequence);
    sequence.numRead += tokens.length;
    // What the slot held before is overwritten.
    if (numRead === 0) this.held[slot] = { prompt, length: 0 };
    if (options.scorePrompt) this.score(sequence, tokens, numRead);
    else {
      const isWanted = sequence.isRead && options.maxTokens > 0;
      const logits = this.decoder.extend(this.cache, [{ slot, tokens, logits: isWanted ? 'last' : 'none' }]);
      if (tokens.length === this.chunkTokens) this.held[slot]!.length = sequence.numRead;
      if (isWanted) this.accept(sequence, logits);
    }
    if (sequence.isRead && options.maxTokens === 0) sequence.finished = 'length';
  }

  /** Reads a chunk whose tokens' likelihoods are wanted; those of the last one go to the sampler. */
  private score(sequence: Running, tokens: Int32Array, from: number): void {
    const { slot, prompt, options } = sequence;
    const vocab = this.decoder.config.vocabSize;
    let next = from + 1;
    this.decoder.extendInChunks(this.cache, [{ slot, tokens, logits: 'all' }], (logits, numRows) => {
      for (let i = 0; i < numRows; i++, next++) {
        const row = logits.subarray(i * vocab, (i + 1) * vocab);
        if (next < prompt.length) sequence.promptLogprobs.push(tokenLogprob(row, prompt[next]!, options.numTop ?? 0));
        else if (options.maxTokens > 0) this.accept(sequence, row);
      }
    });
  }

  private decode(sequences: readonly Running[]): void {
    const segments = sequences.map(
      ({ slot, tokens }): Segment => ({ slot, tokens: [tokens.at(-1) ?? internal('no token')], logits: 'last' }),
    );
    const vocab = this.decoder.config.vocabSize;
    let at = 0;
    const take = (logits: Float32Array, numRows: number) => {
      for (let i = 0; i < numRows; i++) this.accept(sequences[at++]!, logits.subarray(i * vocab, (i + 1) * vocab));
    };
    // A buffer of logits for every number of sequences would add up, where there are many.
    if (sequences.length <= ROWS_BY_THEMSELVES) take(this.decoder.extend(this.cache, segments), sequences.length);
    else this.decoder.extendInChunks(this.cache, segments, take);
  }

  private accept(sequence: Running, logits: Float32Array): void {
    const { tokens, prompt, options } = sequence;
    // The sampler may change the logits.
    const predicted = options.numTop === undefined ? undefined : logits.slice();
    const token = sequence.sampler.next(logits);
    if (predicted) sequence.logprobs.push(tokenLogprob(predicted, token, options.numTop!));
    if (options.stopTokens.has(token)) {
      sequence.finished = 'stop';
      sequence.stopToken = token;
    } else {
      tokens.push(token);
      if (tokens.length >= options.maxTokens || prompt.length + tokens.length >= this.cache.capacity)
        sequence.finished = 'length';
    }
  }
}

/** Of the first tokens, so many at most, those that are alike. */
function commonLength(a: Int32Array, b: Int32Array, most: number): number {
  let length = 0;
  while (length < most && a[length] === b[length]) length++;
  return length;
}
