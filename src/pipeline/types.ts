// What the pipeline takes and gives: the functions that commands call.
import type { LaunchTarget, Recompute } from '../config/index.ts';
import type { StepProfile } from '../engine/index.ts';
import type { Cluster, Plan } from '../recipe/index.ts';
import type { RunSummary } from '../runs/index.ts';

export interface PipelineOptions {
  /** No progress. */
  quiet?: boolean;
  json?: boolean;
  /** Threads for tokenising and training; all cores by default. */
  threads?: number;
  /** Run every stage again. */
  fresh?: boolean;
  /** Run layers again on the way back instead of keeping them; by default as the plan says. Changes no result. */
  recompute?: Recompute;
  /** Warnings of the plan count as errors. */
  strict?: boolean;
  /** False: the shift between domain and general text is not measured. */
  measure?: boolean;
  /** GPUs to plan for instead of this machine. */
  on?: Cluster;
  /** US dollars an hour: of one of these GPUs, or of this machine. */
  pricePerHour?: number;
  /** Training steps to trace. */
  profileSteps?: number;
  /** Where the PyTorch engine is to run; absent: on this machine. */
  launch?: LaunchTarget;
  /** One line for people. */
  log?: (line: string) => void;
}

export interface StageRecord {
  name: string;
  reused: boolean;
  seconds: number;
}

export interface PlanResult {
  plan: Plan;
  /** The page that explains it. */
  text: string;
  /** Where the run will be. */
  folder: string;
}

export interface RunResult {
  folder: string;
  plan: Plan;
  summary: RunSummary;
  /** Newest checkpoint. */
  checkpoint: string;
  /** Where a profile was asked for and the run had steps left to trace. */
  profile?: StepProfile;
  stages: StageRecord[];
}
