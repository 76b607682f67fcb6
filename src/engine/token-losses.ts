// What the tokens of a step are trained on: their own loss, of those chosen alone where tokens are chosen, and a teacher beside it where
// there is one. Weights of a step's tokens add up to 1 over the passes.
import type { Batch, Decoder, TrainExtras } from '../nn/index.ts';
import type { Job, Sequence } from '../shards/index.ts';
import { Distillation } from './distillation.ts';
import type { StepMetrics } from './protocol.ts';
import { TokenSelection } from './token-selection.ts';

export class TokenLosses {
  private readonly distillation: Distillation | undefined;
  private readonly selection: TokenSelection | undefined;

  /** @param decoder as it came: before a step, and before a checkpoint is put into it */
  constructor(job: Job, decoder: Decoder) {
    const distill = job.guard?.distill;
    this.distillation = distill && new Distillation(distill, job, decoder);
    this.selection = job.selectTokens && new TokenSelection(job.selectTokens, job, decoder);
  }

  /** How many of a step's tokens bear loss. @param passes its sequences, as they are cut into passes */
  countKept(passes: readonly (readonly Sequence[])[]): number {
    const { selection } = this;
    return passes.map(countTargets).reduce((sum, count) => sum + (selection ? selection.numKept(count) : count), 0);
  }

  /**
   * What one pass of a step is trained with. Call `done` after it.
   * @param numTargets places of the step where something is predicted @param numKept as countKept has it
   */
  prepare(batch: Batch, sequences: readonly Sequence[], numTargets: number, numKept: number) {
    // By which routers weigh their losses, too; where tokens are chosen, theirs come later.
    const weights = new Float32Array(batch.inputs.length).fill(1 / numTargets);
    const taught = this.distillation?.teach(batch, sequences, numTargets);
    const extras: TrainExtras = {
      teacher: taught?.rows,
      select: this.selection?.chooser(batch, sequences, weights, 1 / numKept),
    };
    return { weights, extras, done: () => taught?.done() };
  }

  /** Of the step, once all its passes are done. */
  takeMetrics(): Pick<StepMetrics, 'distillKl' | 'selected' | 'excessByCorpus'> {
    const kl = this.distillation?.takeMean();
    return {
      ...(kl === undefined ? {} : { distillKl: kl }),
      ...this.selection?.takeMeans(),
    };
  }
}

export function countTargets(sequences: readonly Sequence[]): number {
  let count = 0;
  for (const { targets } of sequences) for (let t = 0; t < targets.length; t++) if (targets[t]! >= 0) count++;
  return count;
}
