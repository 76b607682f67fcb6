import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { lrAt, lrCurve, type Schedule, switchStep } from '../../src/recipe/index.ts';

const cosine = (numSteps: number, warmupSteps = 0): Schedule => ({
  kind: 'cosine',
  numSteps,
  warmupSteps,
  peakLr: 4.5e-5,
  floorLr: 4.5e-7,
});

describe('cosine with a floor of a hundredth', () => {
  it('is the formula of the paper, from the peak in the first step to the floor in the last', () => {
    const schedule = cosine(101);
    expect(lrAt(schedule, 0)).toBe(4.5e-5);
    expect(lrAt(schedule, 50)).toBeCloseTo((4.5e-5 + 4.5e-7) / 2, 15);
    expect(lrAt(schedule, 25)).toBeCloseTo(4.5e-7 + 0.5 * (4.5e-5 - 4.5e-7) * (1 + Math.SQRT1_2), 15);
    expect(lrAt(schedule, 100)).toBe(4.5e-7);
  });

  // Shares of the run by p = acos((x - 0.01) / 0.495 - 1) / pi.
  it.each([
    [1 / 2, 0.503],
    [1 / 5, 0.711],
    [1 / 10, 0.805],
    [1 / 50, 0.936],
  ])('falls to %f of its peak after %f of the run', (fraction, share) => {
    expect(switchStep(cosine(100_001), fraction) / 100_000).toBeCloseTo(share, 3);
  });

  it('switches at the first step at or below the fraction', () => {
    const schedule = cosine(305);
    const step = switchStep(schedule, 0.2);
    expect(lrAt(schedule, step)).toBeLessThanOrEqual(0.2 * 4.5e-5);
    expect(lrAt(schedule, step - 1)).toBeGreaterThan(0.2 * 4.5e-5);
    expect(step).toBe(217);
  });
});

describe('every schedule', () => {
  const schedules = fc
    .record({
      kind: fc.constantFrom('constant', 'cosine', 'linear', 'wsd'),
      numSteps: fc.integer({ min: 1, max: 400 }),
      warmup: fc.double({ min: 0, max: 0.5, noNaN: true }),
      peakLr: fc.double({ min: 1e-6, max: 1e-2, noNaN: true }),
      floorShare: fc.double({ min: 0, max: 1, noNaN: true }),
      decayShare: fc.double({ min: 0.01, max: 1, noNaN: true }),
    })
    .map(({ kind, numSteps, warmup, peakLr, floorShare, decayShare }): Schedule => {
      const common = { numSteps, peakLr, warmupSteps: Math.floor(warmup * numSteps) };
      if (kind === 'constant') return { kind, ...common };
      const floorLr = peakLr * floorShare;
      return kind === 'wsd'
        ? { kind, ...common, floorLr, decaySteps: Math.ceil(decayShare * numSteps), decay: 'linear' }
        : { kind: kind as 'cosine', ...common, floorLr };
    });

  it('rises to its peak, never rises again, stays between peak and floor and ends on the floor', () => {
    fc.assert(
      fc.property(schedules, (schedule) => {
        const lrs = lrCurve(schedule);
        const { warmupSteps, peakLr, numSteps } = schedule;
        const slack = peakLr * 1e-12;
        if (warmupSteps > 0) expect(lrs[warmupSteps - 1]).toBe(peakLr);
        for (let t = 1; t < warmupSteps; t++) expect(lrs[t]).toBeGreaterThan(lrs[t - 1]!);
        for (let t = warmupSteps + 1; t < numSteps; t++) expect(lrs[t]! - lrs[t - 1]!).toBeLessThanOrEqual(slack);
        if (schedule.kind === 'constant') return;
        for (const lr of lrs.slice(warmupSteps)) {
          expect(lr).toBeLessThanOrEqual(peakLr + slack);
          expect(lr).toBeGreaterThanOrEqual(schedule.floorLr - slack);
        }
        if (numSteps - warmupSteps > 1)
          expect(Math.abs(lrs[numSteps - 1]! - schedule.floorLr)).toBeLessThanOrEqual(slack);
      }),
    );
  });

  it('has its switch where a search step by step finds it', () => {
    fc.assert(
      fc.property(schedules, fc.double({ min: 0.01, max: 1, noNaN: true }), (schedule, fraction) => {
        const lrs = lrCurve(schedule);
        let expected = schedule.warmupSteps;
        while (expected < schedule.numSteps && lrs[expected]! > schedule.peakLr * fraction * (1 + 1e-9)) expected++;
        expect(switchStep(schedule, fraction)).toBe(expected);
      }),
    );
  });
});

it('wsd holds its peak, then decays linearly over the last steps', () => {
  const schedule: Schedule = {
    kind: 'wsd',
    numSteps: 10,
    warmupSteps: 2,
    peakLr: 1,
    floorLr: 0,
    decaySteps: 4,
    decay: 'linear',
  };
  expect([...lrCurve(schedule)]).toEqual([0.5, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0]);
});
