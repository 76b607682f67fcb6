// The files of a compiled job: what an engine consumes, and all it consumes. docs/formats-data.md has the bytes.
import type { BestRule, Packing } from '../config/index.ts';
import type { LoraPlan } from '../recipe/index.ts';

/** A .bin/.idx pair (Megatron's MMIDIDX, version 1): documents of token ids. `prefix` is the path without ending. */
export interface ShardRef {
  prefix: string;
  corpus: string;
}

/** A shard as a job records it: enough to notice that it was replaced. Held-out shards are in the list too; eval orders point at them. */
export interface JobShard extends ShardRef {
  split: 'train' | 'heldOut';
  numTokens: number;
  /** SHA-256 of the .idx file. */
  indexDigest: string;
  /** Of the .mask file, where there is one. */
  maskDigest?: string;
  /** Its documents are read as they lie; absent: shuffled. */
  inOrder?: true;
}

/**
 * `length` (input, target) pairs of one document: inputs are tokens first .. first+length-1 of the shard, targets first+1 .. first+length.
 * Positions restart at 0 and attention does not cross into the neighbouring segments, unless the phase says otherwise.
 */
export interface Segment {
  shard: number;
  first: number;
  length: number;
}

export interface OrderFileRef {
  /** Relative to the job folder. */
  file: string;
  firstSequence: number;
  numSequences: number;
}

/** A held-out set, scored by the engine before, during and after. */
export interface EvalSetRef {
  name: string;
  role: 'domain' | 'general' | 'instruction' | 'evaluation';
  order: OrderFileRef;
  /** UTF-8 bytes of the documents' text, for bits per byte. */
  numBytes: number;
  /** Tokens that are predicted: the documents' text, not the start token. */
  numTokens: number;
  numDocuments: number;
}

/** How a step's tokens are cut; every step of a job has as many. */
export interface JobBatch {
  seqLen: number;
  sequencesPerStep: number;
  sequencesPerMicroBatch: number;
}

export interface JobPhase {
  name: string;
  firstStep: number;
  numSteps: number;
  /** Share of tokens by corpus, summing to 1. */
  blend: Record<string, number>;
  /** answers: in shards with a mask, only what the mask marks bears loss. Absent: every token does. */
  objective?: 'answers';
  /** Where its sequences have a length of their own. Absent: the job's. */
  batch?: JobBatch;
}

/** Penalties of a job: half of the strength times the squared distance of each weight from its anchor, with ewc times its Fisher too. */
export interface JobGuard {
  /** Anchors are the weights of the job's model. `fisher`: safetensors with BF16 tensors under the model's names, relative to the job folder. */
  ewc?: { strength: number; fisher: string };
  /** Anchors are the weights of the job's model, or drawn as a new model's are with the job's seed. */
  l2?: { toward: 'base' | 'init'; strength: number };
  /** The loss of the corpora's tokens is joined by weight * temperature^2 * KL(model as it came || model) at the temperature. */
  distill?: {
    corpora: string[];
    weight: number;
    temperature: number;
    /** Of the teacher only its k likeliest tokens are taken, and kept in the folder `cache`, absolute. Absent: all its logits, live. */
    top?: { k: number; cache: string };
  };
}

export interface Job {
  formatVersion: 1;
  /** Digest of everything below and of order and schedule files: an edited job is refused. */
  fingerprint: string;
  /** Hugging Face folder, absolute. */
  model: string;
  precision: 'bf16' | 'f32';
  seed: number;
  numSteps: number;
  /** Of phases without their own, and of held-out sets. */
  batch: JobBatch;
  optimizer: {
    name: 'adamw';
    beta1: number;
    beta2: number;
    eps: number;
    weightDecay: number;
    clipNorm: number;
    /** LR of the embedding and output matrices as a share of the step's; 1 when absent. */
    embeddingLrFactor?: number;
  };
  /** Low-rank adapters are trained, the weights are frozen; absent: the weights are trained. */
  lora?: LoraPlan;
  /** Patterns of the names of tensors that are not trained, the last that fits deciding; absent: none. */
  freeze?: string[];
  /** Decay a step of the exponential moving average of the weights; absent: none is kept. */
  ema?: number;
  /** Coefficients of what routers add to the loss: load balancing, z-loss; none of either when absent. */
  routers?: { balance: number; z: number };
  /** What holds the weights to what they were. */
  guard?: JobGuard;
  /** Of each forward pass the share `keep` of the tokens with the highest excess loss over `model` bears loss; its losses are kept in `cache`. */
  selectTokens?: { model: string; keep: number; cache: string };
  phases: JobPhase[];
  shards: JobShard[];
  /** How documents become sequences; absent: fill. An amendment's sequences are made in the same way. */
  packing?: Packing;
  order: OrderFileRef[];
  /** Steps that `order` covers; what follows is decided while the run goes on (amendments.jsonl). Absent: all. */
  numOrderedSteps?: number;
  /** The engine compares the gradients of the corpora at the last steps of every so many; absent: it does not. */
  gradientDots?: { everySteps: number };
  /** By corpus, what the order leaves out because other corpora hold the same text out or are evaluated on it; only corpora with some. */
  heldOutElsewhere: Record<string, { numDocuments: number; numTokens: number }>;
  /** One LR a step, little-endian f32, relative to the job folder. */
  schedule: string;
  /** `always`: steps completed at which a checkpoint is made that is never removed. */
  checkpoint: {
    everySteps: number;
    keep: number;
    always?: number[];
    /** Which of the evaluated steps is the best one: its checkpoint is kept, too, and so every evaluated step has one. */
    best?: BestRule;
  };
  evaluation: {
    everySteps: number;
    sets: EvalSetRef[];
    /** Steps completed after which the engine makes a checkpoint and waits while somebody else measures it. */
    pauses?: number[];
    /** What the model goes on writing from before the first step, every so many steps, and after the last; prompt i with the seed `seed` + i. */
    samples?: {
      everySteps: number;
      prompts: { text: string; tokens: number[] }[];
      maxTokens: number;
      temperature: number;
      seed: number;
    };
  };
  /** SHA-256 by file name (order files, schedule, eval order files). */
  digests: Record<string, string>;
  /** Written into each checkpoint's config.json under "continuo": how it was made. */
  record: Record<string, unknown>;
  /** Likewise, but only into the last one: what is true of the finished run alone, such as a pretraining's final LR. */
  recordAtEnd: Record<string, unknown>;
  /** What the user's plan was called, for messages. */
  name: string;
}

/** A line of amendments.jsonl: what was decided about a job while it ran, for the steps from `fromStep` on. */
export interface Amendment {
  fromStep: number;
  /** Why, for people. */
  reason: string;
  /** A new order of samples; what was to come from `fromStep` on no longer holds. */
  order?: {
    /** One after the other, the first from `fromStep` on. */
    parts: { numSteps: number; blend: Record<string, number> }[];
    files: OrderFileRef[];
    /** SHA-256 by file name. */
    digests: Record<string, string>;
    /** Taken from the corpora before these parts and not trained on: sequences by corpus and length. */
    skipped?: { seqLen: number; numSequences: Record<string, number> }[];
  };
  /** The schedule's LRs are multiplied with it. */
  lrFactor?: number;
  /** What whoever decided needs for its next decision. */
  state?: unknown;
  /** Fingerprint of the line before, of the job for the first line. */
  previous: string;
  fingerprint: string;
}

/** One sequence, ready for a model. All arrays have length seqLen. */
export interface Sequence {
  inputs: Int32Array;
  /** -1 where nothing is to be predicted (padding, masked tokens). */
  targets: Int32Array;
  /** Index inside the sequence where the token's document begins. */
  docStart: Int32Array;
  /** Index into the job's shards; -1 on padding. */
  shard: Int32Array;
}
