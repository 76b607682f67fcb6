// What an engine says on stdout, one JSON object a line, and how it ends. See docs/formats.md, "The engine contract".

import type { StepProfile } from './profile.ts';
import type { SelectionMetrics } from './token-selection.ts';

export const PROTOCOL_VERSION = 1;

/** Exit codes of an engine. */
export const EXIT_FINISHED = 0;
/** The engine said a `fatal` message: starting it again would end the same way. */
export const EXIT_FATAL = 4;
/** Asked to stop: checkpointed and left. */
export const EXIT_STOPPED = 130;

/** Of an engine's command line. */
export function recomputeFlag(recompute: true | 'selective'): string {
  return recompute === true ? '--recompute' : `--recompute=${recompute}`;
}

export interface StepMetrics {
  /** 0-based. */
  step: number;
  /** Mean over the step's predicted tokens, nats. */
  loss: number;
  lossByCorpus: Record<string, number>;
  lr: number;
  /** Before clipping. */
  gradNorm: number;
  /** What guards of the weights add to the loss, nats; not in `loss`. Only of a run that has some. */
  penalty?: number;
  /** Tokens trained so far, this step included. */
  tokens: number;
  tokensPerSecond: number;
  stepMs: number;
  /** Of it, what was waited for the step's tokens; of the PyTorch engine, as the next two. */
  dataMs?: number;
  /** Share of the GPUs' bf16 peak that the model's operations take. */
  mfu?: number;
  /** Of the GPU's memory, taken after the step. */
  deviceBytes?: number;
  rssBytes: number;
  phase: string;
  /** Mean divergence from the teacher over the tokens that have one, nats, at the temperature; only with guard.distill. */
  distillKl?: number;
  /** Means over the tokens that bore loss, nats; only with training.selectTokens. `loss` and `lossByCorpus` are of all tokens. */
  selected?: SelectionMetrics;
  /** Likewise: of each corpus, mean over all of its tokens of what they lose more than the reference, of those that lose less 0, nats. */
  excessByCorpus?: Record<string, number>;
  /** Inner products of the corpora's mean gradients, at steps where they are compared. */
  gradients?: { corpora: string[]; dots: number[][] };
  /** Only of a model with experts. */
  experts?: ExpertMetrics;
}

/** Loads of experts are multiples of the mean load; entropy is that of the loads over that of equal loads. */
export interface ExpertMetrics {
  /** Extremes over all layers, entropy the mean over layers. */
  maxLoad: number;
  minLoad: number;
  entropy: number;
  /** Without their coefficients; not in `loss`. */
  auxLoss: number;
  zLoss: number;
  /** One entry a layer with experts. */
  byLayer: { maxLoad: number[]; minLoad: number[]; entropy: number[] };
}

export interface EvalSetResult {
  role: string;
  /** Mean over predicted tokens. */
  lossNats: number;
  bitsPerByte: number;
  perplexity: number;
  numTokens: number;
  numBytes: number;
  numDocuments: number;
  /** Over documents, of bitsPerByte; absent for a single one. */
  stderrBitsPerByte?: number;
}

/** evals/writing-step-*.json: what the model wrote on from fixed prompts after `step` steps. */
export interface WritingRecord {
  step: number;
  samples: WritingSample[];
}

export interface WritingSample {
  prompt: string;
  /** The prompt's last token, which the first one follows. */
  lastOfPrompt: number;
  tokens: number[];
  text: string;
  /** It ended by itself, before its tokens ran out. */
  ended: boolean;
}

/** evals/documents-step-*.json: by held-out set, of each of its documents the UTF-8 bytes of its text and its loss. */
export interface EvalDocumentsResult {
  step: number;
  sets: Record<string, { bytes: number[]; nats: number[] }>;
}

export interface EvalResult {
  step: number;
  time: string;
  sets: Record<string, EvalSetResult>;
  /** Of the average of the weights, where one is kept. */
  ema?: Record<string, EvalSetResult>;
}

export type EngineMessage =
  | { type: 'hello'; protocol: number; engine: string; kernels: string; threads: number; pid: number }
  | { type: 'start' | 'resume'; step: number; numSteps: number }
  | ({ type: 'step' } & StepMetrics)
  | ({ type: 'eval' } & EvalResult)
  | { type: 'evalProgress'; step: number; done: number; total: number }
  /** `seconds` that training stood still; where it was written beside the training also those until the folder was there. */
  | { type: 'checkpoint'; step: number; folder: string; seconds: number; secondsUntilSafe?: number }
  /** Waits for the line "continue" on stdin: the checkpoint is to be measured by somebody else. */
  | { type: 'paused'; step: number; folder: string }
  /** Waits for the line "continue" on stdin: the order of samples from this step on is to be decided. */
  | { type: 'orderWanted'; step: number }
  | ({ type: 'profile' } & StepProfile)
  | { type: 'stopped'; step: number }
  | { type: 'finished'; step: number; folder: string }
  | {
      type: 'fatal';
      kind: 'ConfigError' | 'DataError' | 'EngineError';
      message: string;
      /** The step whose loss or gradient was not a number; it has changed no weight. */
      nonFiniteStep?: number;
    };
