// Answers an engine that asks for the order of its next steps: what the run has shown so far goes into the plan's method of mixing, and the
// job is amended by what comes out. All that a decision rests on is in the run folder, so a run that was killed decides the same again.
import * as path from 'node:path';
import {
  decideMix,
  formatShare,
  MIX_METHODS,
  type MixHistory,
  type MixInputs,
  type MixState,
  type Plan,
  type PlanMixing,
} from '../recipe/index.ts';
import { readRun } from '../runs/index.ts';
import { type AmendedJob, JobAmender } from '../shards/index.ts';

/** @returns what superviseEngine takes as onOrderWanted; undefined where the plan decides all */
export function mixWhileTraining(
  runFolder: string,
  { mixing, corpora, tokensPerStep }: Plan,
  log: (line: string) => void = () => {},
): ((step: number) => Promise<void>) | undefined {
  if (!mixing) return undefined;
  let amender: JobAmender | undefined;
  return async (step) => {
    amender ??= new JobAmender(path.join(runFolder, 'job'));
    const { job, amendments, ...view } = viewOf(amender.view);
    const blended = corpora.filter(({ name }) => job.phases.some(({ blend }) => (blend[name] ?? 0) > 0));
    const last = amendments.findLast(({ fromStep, state }) => fromStep < step && state !== undefined);
    const names = blended.map(({ name }) => name);
    const history = historyOf(runFolder, names, step, last?.fromStep ?? 0, view.blends(step));
    const inputs: MixInputs = {
      mixing,
      corpora: blended.map(({ name, role }, k) => ({
        name,
        role: role as MixInputs['corpora'][number]['role'],
        usedTokens: tokensPerStep * history.shares[k]!.reduce((sum: number, share) => sum + share, 0),
      })),
      phases: job.phases,
      numSteps: job.numSteps,
      tokensPerStep,
      history,
      ...(last && { state: last.state as MixState }),
    };
    const { parts, state, isNew } = decideMix(inputs);
    const reason = explain(mixing, parts[0]!.blend, isNew);
    amender.amend({ fromStep: step, parts, state, reason });
    log(`step ${step}: ${reason}`);
  };
}

function viewOf(view: AmendedJob) {
  return {
    job: view.job,
    amendments: view.amendments,
    blends: (numSteps: number) => Array.from({ length: numSteps }, (_, t) => view.blendAt(t)),
  };
}

function historyOf(
  runFolder: string,
  names: readonly string[],
  step: number,
  since: number,
  blends: readonly Record<string, number>[],
): MixHistory & { shares: readonly Float64Array[] } {
  const { metrics, evals, schedule } = readRun(runFolder);
  const none = new Float64Array(0);
  const columnsOf = (byCorpus: Record<string, Float64Array>) =>
    names.map((name) => byCorpus[name]?.subarray(0, step) ?? none);
  return {
    ...{ step, since },
    losses: columnsOf(metrics.lossByCorpus),
    excess: columnsOf(metrics.excessByCorpus),
    shares: names.map((name) => Float64Array.from(blends, (blend) => blend[name] ?? 0)),
    lrs: schedule ?? none,
    heldOut: evals
      .filter((measured) => measured.step <= step)
      .map((measured) => ({
        step: measured.step,
        bitsPerByte: names.map((name) => measured.sets[name]?.bitsPerByte ?? Number.NaN),
      })),
    gradients: metrics.gradients
      .filter((compared) => compared.step >= since && compared.step < step)
      .map(({ step: at, corpora, dots }) => ({
        step: at,
        dots: names.map((a) => names.map((b) => dots[corpora.indexOf(a)]?.[corpora.indexOf(b)] ?? Number.NaN)),
      })),
  };
}

/** "odm: docs 62 %, web 38 %" */
function explain({ method }: PlanMixing, blend: Record<string, number>, isNew: boolean): string {
  const shares = Object.entries(blend).map(([name, share]) => `${name} ${formatShare(share)}`);
  const why = isNew ? '' : `, as before: ${MISSING[MIX_METHODS[method].reads]}`;
  return `${method}: ${shares.join(', ')}${why}`;
}

const MISSING = {
  losses: 'no corpus has a loss yet',
  heldOut: 'held-out text was not measured twice yet',
  gradients: 'no gradients were compared',
  excess: 'no corpus was compared with the reference yet',
} as const;
