// Learning rate schedules as data, and the LR of a step as a pure function of them.
//
// Steps are counted t = 0 .. numSteps-1. After W warm-up steps, the decay runs over t' = t - W = 0 .. T with T = numSteps - W - 1, so
// the first step after warm-up trains at the peak and the last step of the run exactly at the floor: the final LR that a model's
// configuration records is one that was used.

interface Common {
  numSteps: number;
  peakLr: number;
  /** Steps that rise linearly: step t of them has peakLr * (t + 1) / warmupSteps. */
  warmupSteps: number;
}

export type Schedule =
  | ({ kind: 'constant' } & Common)
  /** floor + (peak - floor) / 2 * (1 + cos(pi t'/T)) (Parmar et al. 2024). */
  | ({ kind: 'cosine'; floorLr: number } & Common)
  | ({ kind: 'linear'; floorLr: number } & Common)
  /** Warm-up, peak, then a linear decay over the last `decaySteps` steps. */
  | ({ kind: 'wsd'; floorLr: number; decaySteps: number } & Common);

/** @param step 0-based, below numSteps */
export function lrAt(schedule: Schedule, step: number): number {
  const { peakLr, warmupSteps, numSteps } = schedule;
  if (step < warmupSteps) return peakLr * ((step + 1) / warmupSteps);
  if (schedule.kind === 'constant') return peakLr;
  const { floorLr } = schedule;
  if (schedule.kind === 'wsd') {
    const decayStart = Math.max(warmupSteps, numSteps - schedule.decaySteps);
    // The first decay step is already below the peak: its share is 1 / decaySteps.
    const share = step < decayStart ? 0 : (step - decayStart + 1) / (numSteps - decayStart);
    return peakLr + (floorLr - peakLr) * share;
  }
  const last = numSteps - warmupSteps - 1;
  const share = last > 0 ? (step - warmupSteps) / last : 0;
  if (schedule.kind === 'linear') return peakLr + (floorLr - peakLr) * share;
  return floorLr + 0.5 * (peakLr - floorLr) * (1 + Math.cos(Math.PI * share));
}

/**
 * The first step after warm-up whose LR is at most `fraction` of the peak; numSteps where the schedule never falls so low.
 * LRs never rise after warm-up, so it is found by bisection.
 */
export function switchStep(schedule: Schedule, fraction: number): number {
  // A billionth of slack: a schedule that ends exactly at the fraction shall not miss it by rounding.
  const threshold = schedule.peakLr * fraction * (1 + 1e-9);
  let low = Math.min(schedule.warmupSteps, schedule.numSteps);
  let high = schedule.numSteps;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (lrAt(schedule, middle) <= threshold) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** One LR a step. */
export function lrCurve(schedule: Schedule): Float64Array {
  return Float64Array.from({ length: schedule.numSteps }, (_, step) => lrAt(schedule, step));
}
