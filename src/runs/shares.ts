// The shares that a run drew from its corpora, as its engine announced them: at each phase, and where they were decided while it went on.
import type { Run } from './types.ts';

export interface SharesFrom {
  /** First step that has these shares. */
  step: number;
  blend: Record<string, number>;
}

/** Ascending. An engine that went on from an earlier step announces again what followed: the last word on a step counts. */
export function sharesOverTime({ events }: Pick<Run, 'events'>): SharesFrom[] {
  let shares: SharesFrom[] = [];
  for (const { type, step, blend } of events) {
    if ((type !== 'phase' && type !== 'amendment') || step === undefined || !blend) continue;
    shares = shares.filter((earlier) => earlier.step < step);
    shares.push({ step, blend: blend as Record<string, number> });
  }
  return shares;
}

/** By corpus, over the steps from `from` to before `to`. */
export function meanShares(run: Pick<Run, 'events'>, from: number, to: number): Record<string, number> {
  const shares = sharesOverTime(run);
  const means: Record<string, number> = {};
  for (const [i, { step, blend }] of shares.entries()) {
    const length = Math.max(0, Math.min(to, shares[i + 1]?.step ?? to) - Math.max(from, step));
    for (const [name, share] of Object.entries(blend))
      means[name] = (means[name] ?? 0) + (share * length) / (to - from);
  }
  return means;
}

/** Some of its shares were decided while it went on. */
export function hasDecidedShares({ events }: Pick<Run, 'events'>): boolean {
  return events.some(({ type, blend }) => type === 'amendment' && blend !== undefined);
}
