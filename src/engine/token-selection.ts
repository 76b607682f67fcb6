// Selective language modeling (RHO-1, Lin et al. 2024, arXiv 2404.07965): of each pass only the tokens with the highest excess loss over a
// frozen reference model bear loss. The reference's losses are kept on disk; it is opened where some are not there yet.
import * as path from 'node:path';
import { DataError } from '../base/errors.ts';
import { openModel } from '../checkpoint/index.ts';
import { type Batch, type Decoder, loadFrozen, sequenceOf } from '../nn/index.ts';
import type { Job, Sequence } from '../shards/index.ts';
import type { StepMetrics } from './protocol.ts';
import { SequenceCache } from './sequence-cache.ts';

type Settings = NonNullable<Job['selectTokens']>;

/** Means over the tokens that were kept, nats. */
export interface SelectionMetrics {
  loss: number;
  /** Over the reference's. */
  excess: number;
}

export class TokenSelection {
  private readonly settings: Settings;
  private readonly shards: Job['shards'];
  private readonly model: Decoder;
  private readonly caches = new Map<number, SequenceCache>();
  private reference: Decoder | undefined;
  private sums = { loss: 0, excess: 0, numTokens: 0 };
  private readonly byCorpus = new Map<string, { excess: number; numTokens: number }>();

  constructor(settings: Settings, { shards }: Job, model: Decoder) {
    this.settings = settings;
    this.shards = shards;
    this.model = model;
  }

  /** Of the tokens of a pass that predict something, how many are kept. */
  numKept(numTargets: number): number {
    return Math.ceil(this.settings.keep * numTargets);
  }

  /** What chooses the tokens of a pass, once their losses are known: sets the weights of those kept to `each`, of all others to 0. */
  chooser(
    batch: Batch,
    sequences: readonly Sequence[],
    weights: Float32Array,
    each: number,
  ): (losses: Float32Array) => void {
    const known = this.referenceLosses(batch);
    return (losses) => {
      const excess = losses.map((loss, row) => loss - known[row]!);
      const rows = [...batch.targets.keys()].filter((row) => batch.targets[row]! >= 0);
      for (const row of rows) this.count(sequences, batch.seqLen, row, excess[row]!);
      weights.fill(0);
      for (const row of highest(rows, excess, this.numKept(rows.length))) {
        weights[row] = each;
        this.sums.loss += losses[row]!;
        this.sums.excess += excess[row]!;
        this.sums.numTokens++;
      }
    };
  }

  private count(sequences: readonly Sequence[], seqLen: number, row: number, excess: number): void {
    const { corpus } = this.shards[sequences[Math.floor(row / seqLen)]!.shard[row % seqLen]!]!;
    const sum = this.byCorpus.get(corpus) ?? { excess: 0, numTokens: 0 };
    this.byCorpus.set(corpus, sum);
    // Token by token, as DoReMi does: where the reference is the worse one there is nothing to catch up with.
    sum.excess += Math.max(0, excess);
    sum.numTokens++;
  }

  /** Since the last call. */
  takeMeans(): Required<Pick<StepMetrics, 'selected' | 'excessByCorpus'>> {
    const { loss, excess, numTokens } = this.sums;
    const byCorpus = Array.from(this.byCorpus, ([corpus, sum]) => [corpus, sum.excess / sum.numTokens]);
    this.sums = { loss: 0, excess: 0, numTokens: 0 };
    this.byCorpus.clear();
    return {
      selected: { loss: loss / numTokens, excess: excess / numTokens },
      excessByCorpus: Object.fromEntries(byCorpus),
    };
  }

  private referenceLosses(batch: Batch): Float32Array {
    const { seqLen } = batch;
    const kept =
      this.caches.get(seqLen) ??
      new SequenceCache(path.join(this.settings.cache, this.model.kernels.variant), 4 * seqLen);
    this.caches.set(seqLen, kept);
    const losses = new Float32Array(batch.inputs.length);
    for (let i = 0; i < batch.batch; i++) {
      const sequence = sequenceOf(batch, i);
      const key = SequenceCache.key(sequence);
      const found = kept.read(key);
      const values = found
        ? Float32Array.from({ length: seqLen }, (_, t) => found.readFloatLE(4 * t))
        : this.score(sequence);
      if (!found) kept.write(key, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
      losses.set(values, i * seqLen);
    }
    return losses;
  }

  private score(sequence: Batch): Float32Array {
    this.reference ??= this.load();
    return this.reference.scoreBatch(sequence);
  }

  private load(): Decoder {
    const source = openModel(this.settings.model);
    const { precision, kernels, head } = this.model;
    const reference = loadFrozen(source, precision, kernels);
    source.close();
    if (reference.head.rows !== head.rows)
      throw new DataError(
        this.settings.model,
        `training.selectTokens.reference has a vocabulary of ${reference.head.rows}, the model one of ${head.rows}: expected the same tokenizer.`,
      );
    return reference;
  }
}

/** The `count` rows of the highest values, in the order of rows; of equal ones the first. */
export function highest(rows: readonly number[], values: ArrayLike<number>, count: number): number[] {
  return [...rows]
    .sort((a, b) => values[b]! - values[a]! || a - b)
    .slice(0, count)
    .sort((a, b) => a - b);
}
