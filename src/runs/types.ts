// What a run folder holds, once read. The files themselves are described in docs/formats.md.
import type { BestRule } from '../config/index.ts';
import type { BestCheckpoint } from '../engine/index.ts';
import type { Plan } from '../recipe/index.ts';
import type { EvalSetRef, Job } from '../shards/index.ts';

export type EventType =
  | 'start'
  | 'resume'
  | 'phase'
  | 'amendment'
  | 'checkpoint'
  | 'eval'
  | 'stop'
  | 'finish'
  | 'alarm'
  | 'restart'
  | 'error';

/** A line of events.jsonl. What else a line carries depends on its type. */
export interface RunEvent {
  /** ISO 8601. */
  time: string;
  type: EventType;
  step?: number;
  message?: string;
  [more: string]: unknown;
}

export interface EvalScore {
  role: EvalSetRef['role'];
  lossNats: number;
  bitsPerByte: number;
  perplexity: number;
  numTokens: number;
  numBytes: number;
  numDocuments: number;
  /** Standard error of bitsPerByte over documents. */
  stderrBitsPerByte?: number;
}

/** evals/step-*.json: held-out scores after `step` optimiser steps; 0 is the model as it came. */
export interface EvalRecord {
  step: number;
  time?: string;
  sets: Record<string, EvalScore>;
  /** Of the average of the weights, where one is kept. */
  ema?: Record<string, EvalScore>;
}

/**
 * metrics.jsonl in columns: index = 0-based step, NaN where a step has no value. Eight bytes a number keep a million steps under
 * 100 MB; charts take `curve()` of a column.
 */
export interface Metrics {
  /** Steps recorded: one more than the last step. */
  numSteps: number;
  loss: Float64Array;
  lossByCorpus: Record<string, Float64Array>;
  /** Of each corpus, mean of what its tokens lose more than the reference model's, nats; empty without training.selectTokens. */
  excessByCorpus: Record<string, Float64Array>;
  lr: Float64Array;
  gradNorm: Float64Array;
  /** Tokens trained on so far, this step included. */
  tokens: Float64Array;
  tokensPerSecond: Float64Array;
  stepMs: Float64Array;
  rssBytes: Float64Array;
  /** Steps at which the corpora's gradients were compared, ascending. */
  gradients: { step: number; corpora: string[]; dots: number[][] }[];
  /** Divergence from the base of the tokens that are distilled, nats; NaN throughout where none are. */
  distillKl: Float64Array;
  /** What guards of the weights add to the loss, nats; NaN throughout where there are none. */
  penalty: Float64Array;
  /** Lines that could not be read (torn by a crash), skipped. */
  numSkippedLines: number;
}

export interface Checkpoint {
  step: number;
  /** Absolute. */
  path: string;
}

export interface Run {
  /** Absolute. */
  folder: string;
  name: string;
  plan: Plan | undefined;
  job: Job | undefined;
  /** LR of each step of the whole run, as the engine is handed it. */
  schedule: Float32Array | undefined;
  metrics: Metrics;
  events: RunEvent[];
  /** By step, ascending. */
  evals: EvalRecord[];
  /** Results of tasks (evals/tasks-step-*.json), by step, ascending. */
  taskEvals: { step: number; file: string }[];
  /** Complete checkpoints by step, ascending. */
  checkpoints: Checkpoint[];
}

/** A score before and after. Relative change is in percent of `first`. */
export interface Change {
  first: number;
  last: number;
  delta: number;
  deltaPercent: number;
  /**
   * Standard error of `delta`: over the pairs of documents where their losses were kept, else, where both scores have one, the root of the
   * sum of squares, an upper bound, since both come from the same documents.
   */
  stderr: number | undefined;
  /** The error is that of the pairs. */
  isPaired: boolean;
}

export interface SetChange extends Change {
  name: string;
  role: EvalSetRef['role'];
  numTokens: number;
  numBytes: number;
  numDocuments: number;
}

export type RunStatus = 'finished' | 'stopped' | 'failed' | 'unfinished';

/** A run in a few figures. Bits per byte of a role pool its sets, weighted by their bytes. */
export interface RunSummary {
  name: string;
  folder: string;
  status: RunStatus;
  numSteps: number;
  plannedSteps: number | undefined;
  tokens: number;
  domain: Change | undefined;
  general: Change | undefined;
  sets: SetChange[];
  /** Median over steps. */
  tokensPerSecond: number | undefined;
  /** Time spent in training steps. */
  trainSeconds: number;
  /** From the first event to the last one, pauses and evaluations included. */
  wallSeconds: number | undefined;
  /** Of the engine's process. */
  peakRssBytes: number | undefined;
  /** What the plan expected of it. */
  plannedMemoryBytes: number | undefined;
  /** Times that it was stopped in good order and went on later. */
  numStops: number;
  /** Times that it was resumed without having been stopped: crashed or killed. */
  numCrashes: number;
  alarms: string[];
  /** The newest complete checkpoint, absolute. */
  checkpoint: string | undefined;
  /** By the rule in checkpoints.best; absent without one. `folder` is undefined where no checkpoint keeps to it. */
  best?: { rule: BestRule; folder: string | undefined; values: BestCheckpoint['values'] };
}
