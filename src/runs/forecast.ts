// What a run's held-out scores will be at its end, from what it had recorded at some step.
import { forecastLoss, pretrainingArea } from '../recipe/index.ts';
import type { EvalScore, Run } from './types.ts';

/** Of one held-out set. Bits per byte throughout. */
export interface SetForecast {
  name: string;
  role: EvalScore['role'];
  /** Numbers of steps done, from where it was made to the end, each with the 90 % interval; empty where nothing is determined. */
  points: { step: number; bitsPerByte: number; low: number; high: number }[];
  /** Why there are no points. */
  why: string | undefined;
}

export interface RunForecast {
  /** Steps done when it was made: only what had been recorded by then went into it. */
  madeAt: number;
  /** Steps of the whole run: what it is made for. */
  numSteps: number;
  sets: SetForecast[];
}

/** Points of a forecast, for a chart. */
const NUM_POINTS = 40;
/** Before this share of the run and this many steps its course cannot be told: some texts are learned slowly, then fast (experiments/annealing-law). */
const MIN_DONE = { share: 1 / 3, steps: 40 };

/**
 * The forecast at `madeAt` for the end of the run, by held-out set. The training loss of the corpus with the set's name is used as
 * long as the corpus is read for the first time.
 * @returns undefined where the run has no schedule, or no step is left at `madeAt`
 */
export function forecastRun(run: Run, madeAt: number): RunForecast | undefined {
  const { plan, schedule: lr, metrics } = run;
  const pretraining = plan?.model.pretraining;
  const numSteps = lr?.length ?? 0;
  if (!lr || madeAt >= numSteps) return undefined;
  const numPoints = Math.min(NUM_POINTS, numSteps - madeAt);
  const steps = Array.from({ length: numPoints + 1 }, (_, i) =>
    Math.round(madeAt + (i * (numSteps - madeAt)) / numPoints),
  );
  const known = run.evals.filter(({ step }) => step <= madeAt);
  const names = [...new Set(known.flatMap(({ sets }) => Object.keys(sets)))];
  const sets = names.map((name): SetForecast => {
    const scores = known.flatMap(({ step, sets }) => (sets[name] ? [{ step, ...sets[name] }] : []));
    const { role, bitsPerByte, lossNats, numTokens } = scores.at(-1)!;
    if (madeAt < Math.max(MIN_DONE.share * numSteps, MIN_DONE.steps))
      return { name, role, points: [], why: `less than a third of the run, or than ${MIN_DONE.steps} steps, is done` };
    const lastStep = Math.min(madeAt, firstPassSteps(run, name));
    const { points = [], why } = forecastLoss({
      heldOutTokens: numTokens,
      runs: [
        {
          lr,
          training: metrics.lossByCorpus[name]?.subarray(0, lastStep),
          heldOut: scores.map(({ step, lossNats }) => ({ step, loss: lossNats })),
        },
      ],
      lr,
      s1Before: plan?.recordsPretraining ? 0 : pretraining && pretrainingArea(pretraining),
      steps,
    });
    const scale = bitsPerByte / lossNats;
    const scaled = points.map(({ step, loss, low, high }) => ({
      step,
      bitsPerByte: scale * loss,
      low: scale * low,
      high: scale * high,
    }));
    return { name, role, points: scaled, why };
  });
  return { madeAt, numSteps, sets };
}

/** For a run that has ended, the forecast half-way, to be held against what came; for any other, the one at its last evaluation. */
export function reportedForecast(run: Run): RunForecast | undefined {
  const last = run.evals.at(-1)?.step ?? 0;
  const numSteps = run.schedule?.length ?? 0;
  return forecastRun(run, last >= numSteps ? numSteps >> 1 : last);
}

/** Steps until a corpus has been read once. */
function firstPassSteps({ plan, job }: Run, name: string): number {
  let left = plan?.corpora.find((corpus) => corpus.name === name)?.numTokens ?? 0;
  if (!job) return 0;
  const { phases, batch, numSteps } = job;
  for (const phase of phases) {
    const perStep = (phase.blend[name] ?? 0) * batch.seqLen * batch.sequencesPerStep;
    if (perStep * phase.numSteps > left) return phase.firstStep + Math.floor(left / perStep);
    left -= perStep * phase.numSteps;
  }
  return numSteps;
}
