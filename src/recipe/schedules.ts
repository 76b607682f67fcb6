// Learning rate schedules as data, and the LR of a step as a pure function of them.
//
// Steps are counted t = 0 .. numSteps-1. After W warm-up steps, a decay runs over t' = t - W = 0 .. T with T = numSteps - W - 1, so
// the first step after warm-up trains at the peak and the last step of the run exactly at the floor: the final LR that a model's
// configuration records is one that was used.

interface Common {
  numSteps: number;
  peakLr: number;
  /** Steps that rise linearly: step t of them has from + (peak - from) * (t + 1) / warmupSteps. */
  warmupSteps: number;
  /** Where the warm-up starts; 0 when absent. A re-warmed run may start at the LR at which pretraining ended. */
  warmupFromLr?: number;
}

/** How the last part of a `wsd` schedule falls, x from 0 to 1: linearly, as floor^x, or as 1 - sqrt(x) (Hägele et al. 2024, arXiv 2405.18392). */
export const DECAYS = ['linear', 'exponential', '1-sqrt'] as const;
export type Decay = (typeof DECAYS)[number];

export type Schedule =
  | ({ kind: 'constant' } & Common)
  /** floor + (peak - floor) / 2 * (1 + cos(pi t'/T)) (Parmar et al. 2024). */
  | ({ kind: 'cosine'; floorLr: number } & Common)
  | ({ kind: 'linear'; floorLr: number } & Common)
  /** Warm-up, peak, then a decay over the last `decaySteps` steps. */
  | ({ kind: 'wsd'; floorLr: number; decaySteps: number; decay: Decay } & Common)
  /**
   * Warm-up, a cosine from the peak to `constantLr` over `cooldownSteps`, that LR for as long as it takes, then an exponential anneal to
   * the floor over the last `annealSteps` (Singh et al. 2025, arXiv 2503.02844, Eq. 1; its exponent would reach the floor after
   * annealSteps + the anneal's own first step: here it does after annealSteps). The checkpoint before the anneal is the one to go on from.
   */
  | ({ kind: 'infinite'; floorLr: number; constantLr: number; cooldownSteps: number; annealSteps: number } & Common);

/** @param step 0-based, below numSteps */
export function lrAt(schedule: Schedule, step: number): number {
  const { peakLr, warmupSteps, warmupFromLr = 0, numSteps } = schedule;
  if (step < warmupSteps) {
    const share = (step + 1) / warmupSteps;
    return share === 1 ? peakLr : warmupFromLr + (peakLr - warmupFromLr) * share;
  }
  switch (schedule.kind) {
    case 'constant':
      return peakLr;
    case 'cosine':
      return cosine(peakLr, schedule.floorLr, shareOf(step - warmupSteps, numSteps - warmupSteps - 1));
    case 'linear':
      return peakLr + (schedule.floorLr - peakLr) * shareOf(step - warmupSteps, numSteps - warmupSteps - 1);
    case 'wsd': {
      const { decay, floorLr } = schedule;
      return decayed(decay, peakLr, floorLr, shareOfEnd(schedule, schedule.decaySteps, step));
    }
    case 'infinite': {
      const { constantLr, cooldownSteps, annealSteps, floorLr } = schedule;
      if (step < annealStart(schedule) && step < warmupSteps + cooldownSteps)
        return cosine(peakLr, constantLr, (step - warmupSteps) / cooldownSteps);
      return decayed('exponential', constantLr, floorLr, shareOfEnd(schedule, annealSteps, step));
    }
    default:
      return schedule satisfies never;
  }
}

const shareOf = (part: number, whole: number) => (whole > 0 ? part / whole : 0);

function cosine(from: number, to: number, share: number): number {
  return to + 0.5 * (from - to) * (1 + Math.cos(Math.PI * share));
}

/** How far the last `length` steps have come: 0 before them, 1 in the last. The first of them is already below what was before. */
function shareOfEnd({ numSteps, warmupSteps }: Common, length: number, step: number): number {
  const start = Math.max(warmupSteps, numSteps - length);
  return step < start ? 0 : (step - start + 1) / (numSteps - start);
}

function decayed(decay: Decay, from: number, to: number, share: number): number {
  if (share === 0) return from;
  if (share === 1) return to;
  switch (decay) {
    case 'linear':
      return from + (to - from) * share;
    case 'exponential':
      return from * (to / from) ** share;
    case '1-sqrt':
      return to + (from - to) * (1 - Math.sqrt(share));
    default:
      return decay satisfies never;
  }
}

/** First step of the anneal of an `infinite` schedule: the checkpoint before it is not annealed. */
export function annealStart({ numSteps, warmupSteps, annealSteps }: Extract<Schedule, { kind: 'infinite' }>): number {
  return Math.max(warmupSteps, numSteps - annealSteps);
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
    const middle = Math.floor((low + high) / 2);
    if (lrAt(schedule, middle) <= threshold) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** One LR a step. */
export function lrCurve(schedule: Schedule): Float64Array {
  return Float64Array.from({ length: schedule.numSteps }, (_, step) => lrAt(schedule, step));
}

/** What a method says of its schedule before the number of steps is known: shares of the run. */
export interface ScheduleDesign {
  kind: Schedule['kind'];
  peakLr: number;
  finalLr: number;
  warmupShare: number;
  warmupFromLr?: number;
  /** wsd. */
  decayShare?: number;
  decay?: Decay;
  /** infinite; the rest of the run between cool-down and anneal is constant. */
  constantLr?: number;
  cooldownShare?: number;
  annealShare?: number;
}

/** Usual last part of a WSD schedule: OLMo-core's default. */
const DEFAULT_DECAY_SHARE = 0.1;

export function makeSchedule(design: ScheduleDesign, numSteps: number): Schedule {
  const { kind, peakLr, finalLr, warmupShare, warmupFromLr } = design;
  const stepsOf = (share: number) => Math.max(1, Math.round(share * numSteps));
  const common = {
    numSteps,
    peakLr,
    warmupSteps: warmupShare > 0 ? Math.min(numSteps - 1, stepsOf(warmupShare)) : 0,
    ...(warmupFromLr && warmupShare > 0 ? { warmupFromLr } : {}),
  };
  switch (kind) {
    case 'constant':
      return { kind, ...common };
    case 'cosine':
    case 'linear':
      return { kind, ...common, floorLr: finalLr };
    case 'wsd': {
      const { decay = 'linear', decayShare = DEFAULT_DECAY_SHARE } = design;
      return { kind, ...common, floorLr: finalLr, decaySteps: Math.ceil(numSteps * decayShare), decay };
    }
    case 'infinite': {
      const { constantLr = peakLr, cooldownShare = 0, annealShare = DEFAULT_DECAY_SHARE } = design;
      const annealSteps = Math.min(numSteps, stepsOf(annealShare));
      const cooldownSteps = Math.max(0, Math.min(stepsOf(cooldownShare), numSteps - annealSteps - common.warmupSteps));
      return { kind, ...common, floorLr: finalLr, constantLr, cooldownSteps, annealSteps };
    }
    default:
      return kind satisfies never;
  }
}
