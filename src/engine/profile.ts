// A profile of some training steps: trace.json, which chrome://tracing and Perfetto open (Trace Event Format), and profile.json, the
// share of a step by what the time went into.
import * as path from 'node:path';
import { writeFileAtomic, writeJsonAtomic } from '../base/files.ts';
import { collectSpans, type Slice, span } from '../base/trace.ts';
import { KERNEL_KINDS } from '../kernels/index.ts';

export interface ProfilePart {
  part: string;
  msPerStep: number;
  /** Of the step. */
  share: number;
  callsPerStep: number;
  /** Matrix products only. */
  gflopsPerSecond?: number;
}

export interface StepProfile {
  formatVersion: 1;
  /** 0-based steps of the run that were traced. */
  steps: number[];
  kernels: string;
  threads: number;
  tokensPerStep: number;
  /** Mean over the traced steps. */
  msPerStep: number;
  /** By what was computed; adds up to the step. */
  parts: ProfilePart[];
  /** By the stage of the step. */
  phases: ProfilePart[];
}

/** What the engine does in a step, in order; each is a span of this category. */
export const STEP_PHASES = ['data', 'forward', 'backward', 'gradient norm', 'optimizer'] as const;

/** A span of the engine's own. */
export function phase<T>(name: (typeof STEP_PHASES)[number], body: () => T): T {
  return span(name, 'phase', body);
}

interface Facts {
  kernels: string;
  threads: number;
  tokensPerStep: number;
}

export class Profiler {
  private readonly slices: Slice[] = [];
  private readonly steps: number[] = [];
  /** The first step of a process touches all of its memory for the first time: it is left out where there are others. */
  private numSkipped: number;
  private readonly numSteps: number;
  private readonly facts: Facts;

  /** @param numSteps to trace @param numLeft steps that the run has left */
  constructor(numSteps: number, numLeft: number, facts: Facts) {
    this.numSteps = Math.min(numSteps, numLeft);
    this.numSkipped = Math.min(1, numLeft - this.numSteps);
    this.facts = facts;
  }

  /** Runs a step, traced when it is one of those to trace. */
  step<T>(step: number, body: () => T): T {
    if (this.isComplete || this.numSkipped-- > 0) return body();
    this.steps.push(step);
    return collectSpans(this.slices, () => span(`step ${step}`, 'step', body));
  }

  /** All steps are traced that were asked for. */
  get isComplete(): boolean {
    return this.steps.length >= this.numSteps;
  }

  /** Runs what is rare enough to be recorded always: loading, a checkpoint, an evaluation. */
  async rare<T>(name: string, body: () => Promise<T>): Promise<T> {
    const startMs = performance.now();
    try {
      return await body();
    } finally {
      this.slices.push({ name, category: 'phase', startMs, durationMs: performance.now() - startMs });
    }
  }

  /** Writes both files with what there is so far. */
  write(runFolder: string): StepProfile {
    const profile = summarise(this.slices, this.steps, this.facts);
    writeFileAtomic(path.join(runFolder, 'trace.json'), JSON.stringify(toTraceEvents(this.slices, this.facts)));
    writeJsonAtomic(path.join(runFolder, 'profile.json'), profile);
    return profile;
  }
}

function summarise(slices: readonly Slice[], steps: readonly number[], facts: Facts): StepProfile {
  const inSteps = slices.filter(({ category, name }) => category !== 'phase' || isStepPhase(name));
  const total = sumMs(inSteps.filter(({ category }) => category === 'step'));
  const part = (name: string, chosen: readonly Slice[]): ProfilePart => ({
    part: name,
    msPerStep: sumMs(chosen) / steps.length,
    share: sumMs(chosen) / total,
    callsPerStep: chosen.length / steps.length,
  });
  const parts: ProfilePart[] = KERNEL_KINDS.map((kind) => {
    const chosen = inSteps.filter(({ category }) => category === kind);
    if (kind !== 'gemm') return part(kind, chosen);
    const flops = chosen.reduce((sum, { args }) => sum + Number(args?.flops ?? 0), 0);
    return { ...part(kind, chosen), gflopsPerSecond: flops / sumMs(chosen) / 1e6 };
  });
  parts.push(
    part(
      'data',
      inSteps.filter(({ name, category }) => category === 'phase' && name === 'data'),
    ),
  );
  const msPerStep = total / steps.length;
  const rest = msPerStep - parts.reduce((sum, p) => sum + p.msPerStep, 0);
  parts.push({ part: 'rest (JavaScript)', msPerStep: rest, share: rest / msPerStep, callsPerStep: 0 });
  const phases = STEP_PHASES.map((name) =>
    part(
      name,
      inSteps.filter((slice) => slice.category === 'phase' && slice.name === name),
    ),
  );
  return { formatVersion: 1, steps: [...steps], ...facts, msPerStep, parts, phases };
}

function isStepPhase(name: string): boolean {
  return (STEP_PHASES as readonly string[]).includes(name);
}

function sumMs(slices: readonly Slice[]): number {
  return slices.reduce((sum, { durationMs }) => sum + durationMs, 0);
}

/** "X" (complete) events in microseconds; events of one thread that lie inside each other are drawn nested. */
function toTraceEvents(slices: readonly Slice[], { kernels, threads }: Facts) {
  const [pid, tid] = [1, 1];
  const name = (what: string, text: string) => ({ name: what, ph: 'M', pid, tid, args: { name: text } });
  const micro = (ms: number) => Math.round(ms * 1e3 * 1e3) / 1e3;
  return {
    displayTimeUnit: 'ms',
    traceEvents: [
      name('process_name', `continuo native engine (${kernels}, ${threads} threads)`),
      name('thread_name', 'engine'),
      ...[...slices]
        .sort((a, b) => a.startMs - b.startMs || b.durationMs - a.durationMs)
        .map(({ name: text, category, startMs, durationMs, args }) => ({
          name: text,
          cat: category,
          ph: 'X',
          ts: micro(startMs),
          dur: micro(durationMs),
          pid,
          tid,
          ...(args ? { args } : {}),
        })),
    ],
  };
}
