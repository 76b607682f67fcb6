// The schedule of transformers (5.6.0, optimization.py) that comes nearest to a job's, for who trains without our script. None is the same
// in general: most begin a warm-up at 0, and a decay a step later.
import type { Schedule } from '../recipe/index.ts';
import type { ExportSource } from './types.ts';

export interface NearSchedule {
  /** lr_scheduler_type and lr_scheduler_kwargs. */
  type: string;
  options: Record<string, number | string>;
  warmupSteps: number;
  /** Greatest distance from the job's LR, as a share of the peak, and the step where it is. */
  worst: { share: number; step: number };
}

/** LR of a step as a share of the peak. */
type Curve = (step: number) => number;

export function nearestSchedule({ plan, job }: ExportSource): NearSchedule {
  const { schedule } = plan;
  const candidates = candidatesFor(schedule).map(({ type, options, curve }) => {
    const worst = { share: 0, step: 0 };
    for (let step = 0; step < schedule.numSteps; step++) {
      const share = Math.abs(curve(step) - job.lrAt(step) / schedule.peakLr);
      if (share > worst.share) Object.assign(worst, { share, step });
    }
    return { type, options, warmupSteps: schedule.warmupSteps, worst };
  });
  return candidates.reduce((best, next) => (next.worst.share < best.worst.share ? next : best));
}

function candidatesFor(schedule: Schedule): { type: string; options: NearSchedule['options']; curve: Curve }[] {
  const { numSteps, warmupSteps, peakLr } = schedule;
  const floor = schedule.kind === 'constant' ? 1 : schedule.floorLr / peakLr;
  const warmed =
    (decay: (progress: number, done: number) => number): Curve =>
    (step) =>
      step < warmupSteps
        ? step / warmupSteps
        : decay((step - warmupSteps) / (numSteps - warmupSteps), step - warmupSteps);
  const between = (share: number) => floor + (1 - floor) * share;
  const half = (progress: number) => 0.5 * (1 + Math.cos(Math.PI * progress));
  const decaySteps = schedule.kind === 'wsd' ? schedule.decaySteps : numSteps - warmupSteps;
  const stable = numSteps - warmupSteps - decaySteps;
  const wsd = (name: string, share: (progress: number) => number) => ({
    type: 'warmup_stable_decay',
    options: { num_stable_steps: stable, num_decay_steps: decaySteps, decay_type: name, min_lr_ratio: floor },
    curve: (step: number) => {
      if (step < warmupSteps) return between(step / warmupSteps);
      return between(step - warmupSteps < stable ? 1 : share((step - warmupSteps - stable) / decaySteps));
    },
  });
  return [
    { type: 'constant_with_warmup', options: {}, curve: warmed(() => 1) },
    {
      type: 'cosine_with_min_lr',
      options: { min_lr_rate: floor },
      curve: warmed((progress) => between(half(progress))),
    },
    {
      type: 'cosine_warmup_with_min_lr',
      options: { min_lr_rate: floor },
      curve: (step) =>
        step < warmupSteps
          ? (step + 1) / warmupSteps
          : between(half((step - warmupSteps + 1) / (numSteps - warmupSteps))),
    },
    {
      type: 'polynomial',
      options: { lr_end: floor * peakLr, power: 1 },
      curve: warmed((progress) => between(1 - progress)),
    },
    wsd('linear', (progress) => 1 - progress),
    wsd('1-sqrt', (progress) => 1 - Math.sqrt(progress)),
    wsd('cosine', half),
  ];
}
