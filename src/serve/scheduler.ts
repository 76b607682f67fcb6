// Who computes next. Requests come first come first served; one with many sequences takes one slot in its turn, so that it does not shut out
// those behind it. Inside the batch long prompts are read chunk by chunk in turns, beside everybody's next token (nn/generation/batch.ts).
import type { FinishReason, GenerationBatch, Sequence, SequenceOptions, TokenLogprob } from '../nn/index.ts';

export interface SequenceRequest {
  id: number;
  prompt: Int32Array;
  options: SequenceOptions;
}

/** What a step brought one sequence. */
export interface SequenceEvent {
  id: number;
  /** With the first event, where asked for. */
  promptLogprobs?: readonly (TokenLogprob | undefined)[];
  token?: number;
  /** Of the token, or of the stop token that ended it. */
  logprob?: TokenLogprob;
  finished?: FinishReason;
}

export interface Load {
  numRunning: number;
  numWaiting: number;
  /** Tokens in the key-value cache. */
  numCached: number;
}

interface Started {
  id: number;
  sequence: Sequence;
  /** Tokens that were told. */
  numTold: number;
}

export class Scheduler {
  private readonly batch: GenerationBatch;
  /** Sequences of each request that have not begun, in order. */
  private waiting: SequenceRequest[][] = [];
  private readonly started = new Map<Sequence, Started>();

  constructor(batch: GenerationBatch) {
    this.batch = batch;
  }

  get isBusy(): boolean {
    return this.started.size + this.waiting.length > 0;
  }

  get load(): Load {
    const numWaiting = this.waiting.reduce((sum, request) => sum + request.length, 0);
    return { numRunning: this.started.size, numWaiting, numCached: this.batch.numCached };
  }

  add(sequences: readonly SequenceRequest[]): void {
    this.waiting.push([...sequences]);
  }

  /** Takes sequences out at once, begun or not. */
  cancel(ids: ReadonlySet<number>): void {
    this.waiting = this.waiting
      .map((request) => request.filter(({ id }) => !ids.has(id)))
      .filter((request) => request.length > 0);
    for (const { id, sequence } of [...this.started.values()]) if (ids.has(id)) this.forget(sequence);
  }

  /** Forgets everything, after a step that failed. @returns whom it concerned */
  clear(): number[] {
    const ids = [...this.started.values()].map(({ id }) => id);
    for (const { sequence } of [...this.started.values()]) this.forget(sequence);
    return ids;
  }

  step(): SequenceEvent[] {
    this.admit();
    return this.batch.step().map((sequence) => this.tell(this.started.get(sequence)!));
  }

  private admit(): void {
    while (this.batch.numFree > 0 && this.waiting.length > 0) {
      const request = this.waiting.shift()!;
      const { id, prompt, options } = request.shift()!;
      const sequence = this.batch.add(prompt, options);
      this.started.set(sequence, { id, sequence, numTold: 0 });
      if (request.length > 0) this.waiting.push(request);
    }
  }

  private tell(entry: Started): SequenceEvent {
    const { id, sequence } = entry;
    const { tokens, logprobs, finished, promptLogprobs } = sequence;
    const isFirst = entry.numTold === 0 && promptLogprobs.length > 1;
    const event: SequenceEvent = { id, finished, logprob: logprobs[entry.numTold] };
    if (isFirst) event.promptLogprobs = promptLogprobs;
    if (tokens.length > entry.numTold) event.token = tokens[entry.numTold++];
    if (finished) this.started.delete(sequence);
    return event;
  }

  private forget(sequence: Sequence): void {
    this.batch.remove(sequence);
    this.started.delete(sequence);
  }
}
