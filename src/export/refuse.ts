// What of a plan no other framework does, or not all of them: refused where the result would silently be another model, else named.
import { ConfigError } from '../base/errors.ts';
import type { Plan } from '../recipe/index.ts';
import type { JobReader } from '../shards/index.ts';
import type { Carried, ExportSource } from './types.ts';

/** @throws ConfigError where the order of samples is decided while the run goes on */
export function refuseUndecided({ plan, job }: Pick<ExportSource, 'plan' | 'job'>): void {
  if (plan.mixing || !job.isOrdered(job.job.numSteps - 1))
    throw new ConfigError(
      'mixing: decides the order of samples while the run goes on, so there is no order yet that could be written. Take the key out, or set the weights that an earlier run arrived at (`continuo report` shows them).',
    );
}

/** What a writer keeps to, of what not every framework can. */
export type Ability = 'lora' | 'freeze' | 'embeddingLr';

/** @throws ConfigError for what trains other weights than planned */
export function refuseUnable({ plan, job }: ExportSource, framework: string, abilities: readonly Ability[] = []): void {
  const can = (ability: Ability) => abilities.includes(ability);
  const refuse = (key: string, why: string) => {
    throw new ConfigError(
      `${key}: ${why} \`continuo export --for ${framework}\` cannot carry it over. Take the key out, or train by \`continuo run\` (engine: torch for many GPUs, docs/torch.md).`,
    );
  };
  if (plan.lora && !can('lora')) refuse('training.lora', 'only adapters are to be trained.');
  if (plan.lora?.from) refuse('training.lora.from', 'the run begins with an adapter that was trained before.');
  if ((job.job.optimizer.embeddingLrFactor ?? 1) !== 1 && !can('embeddingLr'))
    refuse('training.embeddingLr', 'the embedding and output matrices have an LR of their own.');
  if (plan.freeze && !can('freeze')) refuse('training.freeze', 'some tensors are not to be trained.');
}

/** What `continuo run` does and no exported folder: all that the plan has of it. */
export function missingEverywhere(plan: Plan): Carried[] {
  const { guard, evaluation } = plan;
  const missing = (what: string, note: string): Carried => ({ what, how: 'missing', note });
  return [
    ...(guard?.ewc ? [missing('guard.ewc', 'no penalty holds the weights to what they were: more is forgotten')] : []),
    ...(guard?.l2 ? [missing('guard.l2', 'no penalty holds the weights to what they were: more is forgotten')] : []),
    ...(guard?.distill ? [missing('guard.distill', 'no teacher: more is forgotten')] : []),
    ...(plan.selectTokens ? [missing('training.selectTokens', 'all tokens bear loss')] : []),
    ...(plan.ema === undefined ? [] : [missing('training.ema', 'no average of the weights is kept')]),
    ...(plan.alarms ? [missing('alarms', 'nobody watches the run: look at loss and gradient norm yourself')] : []),
    missing(
      'held-out scores',
      `every ${evaluation.everySteps} steps in \`continuo run\`: score checkpoints by \`continuo eval\` (below)`,
    ),
    ...(evaluation.tasks
      ? [missing('evaluate.tasks', 'put the tasks to a checkpoint by `continuo eval MODEL --tasks NAMES`')]
      : []),
    ...(plan.checkpoint.best ? [missing('checkpoint.best', 'the best checkpoint is not looked for')] : []),
  ];
}

/** Of these, what changes the trained weights. */
export function missingWarnings(plan: Plan): string[] {
  const lost = [
    ...(plan.guard?.ewc ? ['guard.ewc'] : []),
    ...(plan.guard?.l2 ? ['guard.l2'] : []),
    ...(plan.guard?.distill ? ['guard.distill'] : []),
    ...(plan.selectTokens ? ['training.selectTokens'] : []),
    ...(plan.ema === undefined ? [] : ['training.ema']),
  ];
  return lost.length === 0
    ? []
    : [
        `Not carried over, and the trained weights will differ: ${lost.join(', ')}. \`continuo run\` has ${lost.length > 1 ? 'them' : 'it'} on many GPUs, too (engine: torch).`,
      ];
}

/** The phases in words: steps, cut, blend. */
export function describePhases({ job }: JobReader): string[] {
  return job.phases.map(({ name, firstStep, numSteps, blend, batch = job.batch, objective }) => {
    const shares = Object.entries(blend)
      .filter(([, share]) => share > 0)
      .map(([corpus, share]) => `${corpus} ${Number((100 * share).toPrecision(4))} %`);
    return `${name}: steps ${firstStep} to ${firstStep + numSteps - 1}, each of ${batch.sequencesPerStep} sequences of ${batch.seqLen} tokens; ${shares.join(', ')}${objective === 'answers' ? '; of conversations only answers bear loss' : ''}`;
  });
}
