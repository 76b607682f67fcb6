// The next mixture of a run's topics, from what its held-out sets say of the last interval.
import { ConfigError, nearestName } from '../base/errors.ts';
import { blendOfStep, moveMixture, type TopicMove } from '../recipe/index.ts';
import { type EvalRecord, type Run, readRun } from '../runs/index.ts';

export interface MixtureRequest {
  /** A run folder. */
  run: string;
  /** Corpora that are topics; all domain corpora by default. */
  corpora?: string[];
  /** Steps of two evaluations; the last two by default. */
  from?: number;
  to?: number;
  rate?: number;
}

export interface MixtureResult {
  from: number;
  to: number;
  topics: (TopicMove & { before: number; after: number })[];
}

/** @throws ConfigError where the run has too few evaluations or topics */
export function nextMixture({ run: folder, corpora, from, to, rate }: MixtureRequest): MixtureResult {
  const run = readRun(folder);
  const last = evaluationAt(run, to, '--to') ?? run.evals.at(-1);
  const first = evaluationAt(run, from, '--from') ?? run.evals.findLast(({ step }) => step < (last?.step ?? 0));
  if (!first || !last || first.step >= last.step)
    throw new ConfigError(
      `${folder}: two evaluations are compared, found ${run.evals.length === 0 ? 'none' : `those after steps ${run.evals.map(({ step }) => step).join(', ')}`}. ` +
        'Set evaluate.every to more than two in a run, and --from below --to.',
    );
  const blend = blendBefore(run, last.step);
  const names = corpora ?? Object.keys(blend).filter((name) => last.sets[name]?.role === 'domain');
  const topics = names.map((name) => {
    const [before, after] = [first, last].map((record) => record.sets[name]?.perplexity);
    if (before === undefined || after === undefined || !blend[name]) {
      const nearest = nearestName(name, Object.keys(blend));
      throw new ConfigError(
        `--corpus ${name}: no corpus of that name is trained on at step ${last.step} and measured, found ${Object.keys(blend).join(', ')}.` +
          `${nearest && nearest !== name ? ` Did you mean ${nearest}?` : ''}`,
      );
    }
    return { name, share: blend[name], before, after };
  });
  const moves = moveMixture(topics, rate);
  return {
    from: first.step,
    to: last.step,
    topics: moves.map((move, i) => ({ ...move, before: topics[i]!.before, after: topics[i]!.after })),
  };
}

function evaluationAt({ evals }: Run, step: number | undefined, option: string): EvalRecord | undefined {
  const found = evals.find((record) => record.step === step);
  if (step !== undefined && !found)
    throw new ConfigError(`${option}: no evaluation after step ${step}, found ${evals.map((e) => e.step).join(', ')}.`);
  return found;
}

/** Shares of the step before this one. */
function blendBefore({ plan, folder }: Run, step: number) {
  if (!plan) throw new ConfigError(`${folder}: has no plan.json, so the shares of its corpora are not known.`);
  return blendOfStep(plan.phases, step - 1);
}
