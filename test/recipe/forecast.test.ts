import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { forecastLoss, type LossLaw, lrCurve, type ObservedRun, predictCurve } from '../../src/recipe/index.ts';

const NUM_STEPS = 400;
const lr = lrCurve({ kind: 'cosine', numSteps: NUM_STEPS, peakLr: 5e-4, floorLr: 5e-6, warmupSteps: 0 });
const TOTAL = lr.reduce((sum, x) => sum + x, 0);

/** A base in the middle of nowhere, a domain that is learned and a general text that is forgotten. */
const BASE = { l0: 2.9, a: 1.5, alpha: 0.4, c: 0.8, lambda: 0.996, s1Before: 1.3 };
const DOMAIN: LossLaw = { ...BASE, shift: { b: -1.4, e: 8 / TOTAL, beta: 0.5 } };
const GENERAL: LossLaw = { ...BASE, shift: { b: 0.3, e: 5 / TOTAL, beta: 0.5 } };

/** Roughly normal, from a fixed generator. */
function noise(seed: number): () => number {
  let state = (seed * 2654435761) >>> 0;
  const next = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  return () => (next() + next() + next() + next() - 2) * Math.sqrt(3);
}

interface Observed {
  law: LossLaw;
  until: number;
  every?: number;
  seed?: number;
  ratio?: number;
  noTraining?: boolean;
}

/** What a run of that law has recorded: batches with 4 % of noise, scores with 0.1 %. */
function observed({ law, until, every = 50, seed = 1, ratio = 0.95, noTraining }: Observed) {
  const curve = predictCurve(law, lr);
  const next = noise(seed);
  const heldOutAt = (step: number) => 4.1 + ratio * (curve[step]! - curve[0]!);
  const heldOut = [];
  for (let step = 0; step <= until; step += every)
    heldOut.push({ step, loss: heldOutAt(step) * Math.exp(0.001 * next()) });
  const training = noTraining ? undefined : Array.from(curve.subarray(0, until), (x) => x * Math.exp(0.04 * next()));
  return { run: { lr, training, heldOut }, came: heldOutAt(NUM_STEPS) };
}

const STEPS = [200, NUM_STEPS];
const forecast = (run: ObservedRun, s1Before?: number) =>
  forecastLoss({ runs: [run], lr: run.lr, s1Before, steps: STEPS });

describe('a forecast from half of a run', () => {
  it.each([
    ['a domain that is learned', DOMAIN],
    ['general text that is forgotten', GENERAL],
  ])('holds the end of %s', (_, law) => {
    const { run, came } = observed({ law, until: 200 });
    const { points } = forecast(run);
    const end = points!.at(-1)!;
    expect(end.step).toBe(NUM_STEPS);
    expect(end.low).toBeLessThan(came);
    expect(end.high).toBeGreaterThan(came);
    expect((end.high - end.low) / 2).toBeLessThan(0.04 * came);
  });

  it('has intervals that hold nine ends of ten', () => {
    let [held, given] = [0, 0];
    for (let seed = 1; seed <= 24; seed++) {
      const ratio = [0.85, 0.95, 1.05][seed % 3]!;
      const { run, came } = observed({ law: seed % 2 ? DOMAIN : GENERAL, until: 200, seed, ratio });
      const end = forecast(run).points?.at(-1);
      if (!end) continue;
      given++;
      if (came >= end.low && came <= end.high) held++;
    }
    expect(given).toBeGreaterThan(18);
    // Binomial: of 24 with 0.9, fewer than 18 come in one of a thousand cases.
    expect(held / given).toBeGreaterThan(0.75);
  });

  it('narrows as the run goes on', () => {
    const widths = [100, 200, 350].map((until) => {
      const end = forecast(observed({ law: DOMAIN, until }).run).points!.at(-1)!;
      return end.high - end.low;
    });
    expect(widths[1]).toBeLessThan(widths[0]!);
    expect(widths[2]).toBeLessThan(widths[1]!);
  });

  it('goes on from where the run is', () => {
    const { run } = observed({ law: DOMAIN, until: 200 });
    const now = forecast(run).points![0]!;
    expect(now.loss / run.heldOut.at(-1)!.loss).toBeCloseTo(1, 2);
  });

  it('works from scores alone, and then takes four of them', () => {
    const scores = (every: number) => observed({ law: GENERAL, until: 240, every, noTraining: true });
    const { run, came } = scores(40);
    const end = forecast(run).points!.at(-1)!;
    expect(end.low).toBeLessThan(came);
    expect(end.high).toBeGreaterThan(came);
    expect(forecast(scores(120).run).why).toMatch(/scored 3 of the 4 times/);
  });

  it('of a WSD run comes from two cosine runs', () => {
    const wsd = lrCurve({
      kind: 'wsd',
      decay: 'linear',
      numSteps: 300,
      peakLr: 5e-4,
      floorLr: 0,
      warmupSteps: 0,
      decaySteps: 60,
    });
    const runs = [400, 250].map((numSteps) => {
      const schedule = lrCurve({ kind: 'cosine', numSteps, peakLr: 5e-4, floorLr: 5e-6, warmupSteps: 0 });
      const curve = predictCurve(DOMAIN, schedule);
      return {
        lr: schedule,
        heldOut: Array.from({ length: 11 }, (_, i) => (i * numSteps) / 10).map((step) => ({
          step,
          loss: curve[step]!,
        })),
      };
    });
    const steps = [50, 100, 150, 200, 240, 270, 300];
    const { points } = forecastLoss({ runs, lr: wsd, steps });
    const came = predictCurve(DOMAIN, wsd);
    for (const { step, loss, low, high } of points!) {
      expect(low).toBeLessThan(came[step]!);
      expect(high).toBeGreaterThan(came[step]!);
      // The interval is at least what scores scatter, 0.5 %.
      expect(Math.abs(loss / came[step]! - 1)).toBeLessThan(0.005);
    }
  });

  it('follows random weights by the first law', () => {
    const from = lrCurve({ kind: 'cosine', numSteps: NUM_STEPS, peakLr: 2e-3, floorLr: 2e-4, warmupSteps: 8 });
    const curve = predictCurve({ l0: 2, a: 2.4, alpha: 0.3, c: 0.9, lambda: 0.996, s1Before: 0 }, from);
    const next = noise(5);
    const training = Array.from(curve.subarray(0, 240), (x) => x * Math.exp(0.02 * next()));
    training[0] = 9;
    const heldOut = [0, 60, 120, 180, 240].map((step) => ({ step, loss: step === 0 ? 9 : curve[step]! + 0.1 }));
    const end = forecast({ lr: from, training, heldOut }, 0).points!.at(-1)!;
    const came = curve[NUM_STEPS]! + 0.1;
    expect(end.low).toBeLessThan(came);
    expect(end.high).toBeGreaterThan(came);
    expect((end.high - end.low) / 2).toBeLessThan(0.08 * came);
  });
});

describe('no forecast', () => {
  const { run } = observed({ law: DOMAIN, until: 200 });

  it('before the first score, and after one alone', () => {
    expect(forecast({ ...run, heldOut: [] }).why).toMatch(/scored 0 of the 2 times/);
    expect(forecast({ ...run, heldOut: run.heldOut.slice(0, 1) }).why).toMatch(/scored 1 of the 2 times/);
  });

  it('where nothing moved', () => {
    const heldOut = run.heldOut.map(({ step }) => ({ step, loss: 4 }));
    expect(forecast({ ...run, heldOut }).why).toMatch(/has not moved/);
  });

  it('of scores that are no numbers', () => {
    const heldOut = run.heldOut.map(({ step }) => ({ step, loss: Number.NaN }));
    expect(forecast({ ...run, heldOut }).why).toMatch(/scored 0/);
  });

  it('where the end is far and the beginning moved little', () => {
    const slow = { ...BASE, shift: { b: 0.9, e: 0.3 / TOTAL, beta: 0.5 } };
    const { why } = forecast(observed({ law: slow, until: 30, every: 15 }).run);
    expect(why).toMatch(/wider than all that the score has moved/);
  });

  it('is still one where some training losses are missing', () => {
    const training = run.training!.map((x, i) => (i % 3 === 0 ? Number.NaN : x));
    expect(forecast({ ...run, training }).points).toHaveLength(2);
  });

  it('throws nothing, and gives nothing but ordered finite numbers, whatever it is given', () => {
    const losses = fc.oneof(fc.double(), fc.double({ min: 0.1, max: 10, noNaN: true }));
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0, max: 1e-2, noNaN: true }), { minLength: 1, maxLength: 60 }),
        fc.array(losses, { maxLength: 70 }),
        fc.array(fc.record({ step: fc.nat(80), loss: losses }), { maxLength: 8 }),
        fc.constantFrom(0, undefined, 1.3),
        (rates, training, heldOut, s1Before) => {
          const steps = [Math.floor(rates.length / 2), rates.length];
          const { points, why } = forecastLoss({
            runs: [{ lr: rates, training, heldOut }],
            lr: rates,
            s1Before,
            steps,
          });
          expect(points === undefined).toBe(why !== undefined);
          for (const { loss, low, high } of points?.slice(-1) ?? []) {
            expect(Number.isFinite(low) && Number.isFinite(high)).toBe(true);
            expect(low).toBeLessThanOrEqual(loss);
            expect(loss).toBeLessThanOrEqual(high);
          }
        },
      ),
      { numRuns: 60 },
    );
  });
});
