// Generation of several sequences at once. Each has a slot of the key-value cache from its first step to its last, so sequences join and
// leave at any step. A step reads one chunk of one waiting prompt, by itself, and then a token of every sequence whose prompt is read: what
// stands beside a sequence never changes the rows that its own products are made of.
import { ConfigError, internal } from '../../base/errors.ts';
import type { Decoder } from '../decoder.ts';
import { KeyValueCache } from './cache.ts';
import { Sampler, type SamplingOptions } from './sampling.ts';

export interface SequenceOptions {
  /** Tokens after the prompt. */
  maxTokens: number;
  /** Tokens that end the sequence; they are not part of it. */
  stopTokens: ReadonlySet<number>;
  sampling: SamplingOptions;
}

/** stop: a stop token came; length: maxTokens is reached, or the slot is full. */
export type FinishReason = 'stop' | 'length';

/** A prompt and what follows it, as far as it has come. */
export interface Sequence {
  readonly prompt: Int32Array;
  readonly tokens: readonly number[];
  readonly finished: FinishReason | undefined;
}

/** Tokens of a prompt that are read at once: enough for products at full speed, few enough that others wait little. */
const CHUNK_TOKENS = 512;

class Running implements Sequence {
  readonly prompt: Int32Array;
  readonly tokens: number[] = [];
  readonly options: SequenceOptions;
  readonly sampler: Sampler;
  finished: FinishReason | undefined;
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
  private waiting: Running[] = [];
  private running: Running[] = [];

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
    if (prompt.length >= capacity)
      throw new ConfigError(
        `the prompt has ${prompt.length} tokens: expected fewer than ${capacity}, so that there is room for an answer. Shorten it.`,
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
    this.cache.lengths[found.slot] = 0;
    this.freeSlots.push(found.slot);
  }

  /** Advances; returns the sequences that got a token or finished. Those that finished have left. */
  step(): Sequence[] {
    this.admit();
    const decoding = this.running.filter(({ isRead }) => isRead);
    const advanced: Running[] = [];
    const reading = this.running.find(({ isRead }) => !isRead);
    if (reading && this.read(reading)) advanced.push(reading);
    if (decoding.length > 0) this.decode(decoding);
    advanced.push(...decoding);
    for (const sequence of advanced) if (sequence.finished) this.remove(sequence);
    return advanced;
  }

  private admit(): void {
    while (this.freeSlots.length > 0 && this.waiting.length > 0) {
      const sequence = this.waiting.shift()!;
      sequence.slot = this.freeSlots.pop()!;
      this.running.push(sequence);
    }
  }

  /** Reads a chunk of the prompt. @returns whether it was the last, and gave a token */
  private read(sequence: Running): boolean {
    const { slot, prompt, numRead } = sequence;
    const tokens = prompt.subarray(numRead, numRead + this.chunkTokens);
    sequence.numRead += tokens.length;
    const logits = this.decoder.extend(this.cache, [{ slot, tokens, logits: sequence.isRead ? 'last' : 'none' }]);
    if (sequence.isRead) this.accept(sequence, logits);
    return sequence.isRead;
  }

  private decode(sequences: readonly Running[]): void {
    const logits = this.decoder.extend(
      this.cache,
      sequences.map(({ slot, tokens }) => ({ slot, tokens: [tokens.at(-1) ?? internal('no token')], logits: 'last' })),
    );
    const vocab = this.decoder.config.vocabSize;
    sequences.forEach((sequence, i) => {
      this.accept(sequence, logits.subarray(i * vocab, (i + 1) * vocab));
    });
  }

  private accept(sequence: Running, logits: Float32Array): void {
    const { tokens, prompt, options } = sequence;
    const token = sequence.sampler.next(logits);
    if (options.stopTokens.has(token)) sequence.finished = 'stop';
    else {
      tokens.push(token);
      if (tokens.length >= options.maxTokens || prompt.length + tokens.length >= this.cache.capacity)
        sequence.finished = 'length';
    }
  }
}
