// The words of the recipe: facts that go into a plan, and the plan that comes out. A plan is complete (no default is left open) and is
// plain data: it is written to plan.json as it stands.

import type {
  BestRule,
  Config,
  CorpusRole,
  Packing,
  Precision,
  PresetName,
  Recompute,
  TasksConfig,
} from '../config/index.ts';
import type { Advice } from './advisor.ts';
import type { AlarmPlan } from './alarms.ts';
import type { CostEstimate } from './cost.ts';
import type { GuardPlan } from './guards.ts';
import type { Cluster } from './hardware.ts';
import type { MemoryEstimate } from './memory.ts';
import type { PlanMixing } from './mixing/index.ts';
import type { ProbeResults } from './probes.ts';
import type { SamplePlan, SampleShape } from './samples.ts';
import type { Schedule, ScheduleDesign } from './schedules.ts';
import type { Shift } from './shift.ts';

export interface PretrainingFacts {
  /** LR of the last step of pretraining; 0 where the schedule ended there. */
  finalLr?: number;
  peakLr?: number;
  /** Tokens seen. */
  tokens?: number;
  /** Tokens an optimizer step. */
  batchTokens?: number;
  /** Length of its sequences, before an extension of the context. */
  seqLen?: number;
  /** Where these were read, e.g. "config.json". */
  source: string;
  /** Found in the literature (known-models.ts), not in the checkpoint's own files. */
  published?: boolean;
}

/** What decides how much memory training takes. */
export interface TrainingShape {
  /** Sequences a forward pass. */
  batch: number;
  seqLen: number;
  precision: Precision;
  lora?: LoraPlan;
  freeze?: readonly string[];
  /** An average of the weights is kept. */
  ema: boolean;
  /** Layers are run again on the way back instead of being kept. */
  recompute: boolean;
  /** A penalty holds the weights near anchors, alike or by their Fisher information. */
  penalty?: 'alike' | 'fisher';
  /** A frozen copy of the model is read beside it: all of its logits, or its likeliest tokens. */
  distill?: { topK?: number };
  /** A reference model is read beside it. */
  selectTokens?: boolean;
  /** At evaluations it writes samples. */
  writes?: SampleShape;
}

/** Likewise on each GPU of the PyTorch engine. */
export interface GpuShape extends Omit<TrainingShape, 'recompute' | 'writes'> {
  ranks: number;
  recompute: Recompute;
}

/** Bytes of the rank that has the most, at the peak of a step. */
export interface GpuMemory {
  /** Its part of the weights, of their gradients, of AdamW's moments. */
  weightBytes: number;
  gradientBytes: number;
  momentBytes: number;
  /** Its part of averages, anchors, Fisher information and models that are read beside. */
  besideBytes: number;
  /** Whole weights and gradients. */
  gatheredBytes: number;
  activationBytes: number;
  logitBytes: number;
  totalBytes: number;
}

/** Of a model with experts. */
export interface ExpertFacts {
  num: number;
  /** Experts that a token passes. */
  perToken: number;
  /** Parameters that a token passes. */
  numActive: number;
  /** Coefficient of the load-balancing loss, from config.json. */
  balanceLoss: number;
}

export interface ModelFactsForPlan {
  name: string;
  /** config.json's model_type. */
  family?: string;
  tokenizer?: { kind: string; vocabSize: number; hasChatTemplate: boolean };
  numParameters: number;
  numNonEmbedding: number;
  /** Longest sequence that it was trained on, tokens. */
  context: number;
  vocabSize: number;
  /** Width of the residual stream. */
  hidden: number;
  /** Layers, and heads times width of a head: what attention costs. Absent: attention is not counted. */
  numLayers?: number;
  attentionWidth?: number;
  experts?: ExpertFacts;
  /** The native engine does not know its family. */
  onlyByTorch?: boolean;
  /** Tensors, such as these, of layers that carry a state from token to token, whatever stands between. */
  carriesState?: string;
  /** Files of Python that come with it and that config.json names. */
  ownCode?: string[];
  isInstruct: boolean;
  /** Why it is taken for an instruct or a base model. */
  isInstructWhy: string;
  pretraining?: PretrainingFacts;
  /** Tokens a step of the run that is planned, once they are known: an LR belongs to steps of a size. */
  stepTokens?: number;
  /** As which known model it was recognised, and the hub ids of that one's base and tuned version. */
  known?: { names: string[]; base?: string; instruct?: string };
}

export interface CorpusFacts {
  name: string;
  role: CorpusRole;
  /** To train on: held-out documents are not in these three. */
  numTokens: number;
  numDocuments: number;
  numBytes: number;
  heldOut: { numTokens: number; numDocuments: number };
  /** Of instruction text: whether it is conversations, written by the model's chat template. */
  hasChatMarkup?: boolean;
  /** Documents of these whose text stands earlier in the corpus as well; they are kept. */
  numCopies?: number;
  /** Words between spaces. */
  numWords?: number;
  /** Tokens of the text, without those that separate documents, a word. */
  tokensPerWord?: number;
  /** Language -> share of the bytes, largest first; "unknown" where there is no clear sign. */
  languages?: Record<string, number>;
}

export interface HardwareFacts {
  /** Training speed measured for this model, or estimated. */
  tokensPerSecond?: number;
  memoryBytes?: number;
  source: string;
}

/** Blocks that were put into the model and begin as nothing. */
export interface ExpansionFacts {
  /** Their numbers in the larger model. */
  newLayers: number[];
  /** Patterns by which they alone are trained. */
  freeze: string[];
}

/** An adapter that is trained on. */
export interface AdapterFacts {
  rank: number;
  alpha: number;
  rsLora: boolean;
  dora: boolean;
  /** Last parts of the names of its modules. */
  targets: string[];
  /** It holds embeddings or output matrix, trained whole. */
  embeddings: boolean;
}

/** Low-rank adapters, with nothing left open. */
export interface LoraPlan {
  rank: number;
  alpha: number;
  targets?: string[];
  rsLora: boolean;
  /** Rows' lengths are learned by themselves. */
  dora?: boolean;
  embeddings: boolean;
  /** LR of the adapters as a share of the step's; 1 when absent. */
  lrFactor?: number;
  /** Folder of PEFT's files with the adapter that the run begins with, absolute; absent: a new one. */
  from?: string;
}

export interface PlanInputs {
  config: Config;
  model: ModelFactsForPlan;
  corpora: readonly CorpusFacts[];
  hardware?: HardwareFacts;
  /** GPUs that the plan is for, instead of this machine. */
  on?: Cluster;
  /** US dollars an hour: of one of these GPUs, or of this machine. */
  pricePerHour?: number;
  /** The new blocks that training.expand put in. */
  expansion?: ExpansionFacts;
  /** The adapter that training.lora.from names. */
  adapter?: AdapterFacts;
  /** Counts the bytes of weights, gradients and moments, and of activations, and what is trained. @throws ConfigError for names that the model does not have */
  countMemory: (shape: TrainingShape) => { stateBytes: number; activationBytes: number; numTrained: number };
  /** Likewise of each GPU of the PyTorch engine. */
  countWorkerMemory: (shape: GpuShape) => GpuMemory;
  /** Between the domain and what the model knows, where it was measured. */
  shift?: Shift;
  /** What probe runs found, where there were any. */
  probes?: ProbeResults;
}

export interface Reason {
  /** The number that is explained, e.g. "peak LR". */
  what: string;
  value: string;
  why: string;
  /** A paper with its table or section, "continuo.yaml", or "assumption". */
  source: string;
}

export type Severity = 'error' | 'warning' | 'note';

export interface PlanWarning {
  id: string;
  /** error: `continuo run` refuses to start. */
  severity: Severity;
  message: string;
  /** The numbers that made the rule fire. */
  evidence: string;
  fix: string;
  source: string;
}

/** Corpus name -> share of tokens. Shares are above 0 and their sum, added in order, is exactly 1. */
export type Blend = Record<string, number>;

export interface PlanPhase {
  name: string;
  firstStep: number;
  numSteps: number;
  numTokens: number;
  blend: Blend;
  /** Blend at its end, to which it moves evenly; absent: the blend stays. */
  blendTo?: Blend;
  /** Of conversations, only what the assistant says bears loss; absent: every token does. */
  objective?: 'answers';
  /** Where its sequences are not as long as the run's; a step has as many tokens. */
  seqLen?: number;
  /** LR of its first and of its last step. */
  lrFrom: number;
  lrTo: number;
}

export interface Plan {
  formatVersion: 1;
  name: string;
  preset: PresetName;
  /** One line on the method, with its paper. */
  presetTitle: string;
  model: Pick<
    ModelFactsForPlan,
    | 'name'
    | 'family'
    | 'tokenizer'
    | 'numParameters'
    | 'numNonEmbedding'
    | 'context'
    | 'isInstruct'
    | 'isInstructWhy'
    | 'experts'
    | 'pretraining'
    | 'known'
  >;
  corpora: CorpusFacts[];
  numSteps: number;
  tokensPerStep: number;
  seqLen: number;
  sequencesPerStep: number;
  sequencesPerMicroBatch: number;
  totalTokens: number;
  precision: Precision;
  /** Absent: fill. */
  packing?: Packing;
  /** Layers are run again on the way back instead of being kept; changes no result. Absent: they are kept. */
  recompute?: Recompute;
  optimizer: {
    beta1: number;
    beta2: number;
    eps: number;
    weightDecay: number;
    clipNorm: number;
    /** LR of the embedding and output matrices as a share of all others'. */
    embeddingLrFactor: number;
  };
  /** Adapters are trained, the model's own weights stay; absent: all weights are trained. */
  lora?: LoraPlan;
  /** Patterns of the names of tensors that are not trained, the last that fits deciding; absent: all are trained. */
  freeze?: string[];
  /** Elements that are trained; where adapters are, or where tensors are frozen. */
  numTrained?: number;
  /** Coefficients of what routers add to the loss: load balancing, z-loss. Only where there are experts. */
  routers?: { balance: number; z: number };
  /** Decay a step of the exponential moving average of the weights; absent: none is kept. */
  ema?: number;
  /** What holds the model to what it knew, beside replay. */
  guard?: GuardPlan;
  /** Of each forward pass, the share `keep` of the tokens with the highest excess loss over the reference bears loss; absent: all do. */
  selectTokens?: { reference: string; keep: number };
  /** PyTorch's, with a process for each of so many GPUs on each of `nodes` machines (absent: one); absent: the native one. */
  engine?: { name: 'torch'; gpus: number; nodes?: number; trustRemoteCode?: boolean };
  schedule: Schedule;
  phases: PlanPhase[];
  /** Shares are decided while the run goes on, and the phases' blends are where they begin; absent: they are as planned. */
  mixing?: PlanMixing;
  checkpoint: {
    everySteps: number;
    keep: number;
    /** Steps completed at which a checkpoint is made that is never removed. */
    always?: number[];
    /** How the best one is found, which is kept, too. */
    best?: BestRule;
  };
  evaluation: {
    everySteps: number;
    tokensPerSet: number;
    /** Besides held-out text: before the first step, after the last, and after those of `atSteps`. */
    tasks?: Omit<TasksConfig, 'everySteps'> & { atSteps: number[] };
    /** What is written on, as samples of the model's writing. */
    samples?: SamplePlan;
  };
  /** What the run is watched for; absent: it is not. */
  alarms?: AlarmPlan;
  seed: number;
  reasons: Reason[];
  expected: {
    /** Whole tokens; they add up to totalTokens. */
    tokensByCorpus: Record<string, number>;
    epochsByCorpus: Record<string, number>;
    /** Of training and measuring, on this machine or on the GPUs that the plan is for. */
    seconds?: number;
    /** On this machine. */
    memory: MemoryEstimate;
    cost?: CostEstimate;
  };
  /** Whether to train the base or the instruct model; absent where there is no such question. */
  advice?: Advice;
  warnings: PlanWarning[];
  /** Between the domain and what the model knows, where it was measured. */
  shift?: Shift;
  /** What probe runs found; the plan follows it where the configuration says "found". */
  probes?: ProbeResults;
  /** What the trained model's configuration shall record about this run, where the run is a pretraining. */
  recordsPretraining?: Required<Omit<PretrainingFacts, 'seqLen' | 'published'>>;
}

// --- What a preset gives to the planner

export type BlendRule =
  /** Shares by role; a role without a corpus leaves its share to the others. Inside a role: by weight, else by tokens. */
  | { kind: 'roles'; shares: { domain: number; general: number; instruction: number } }
  /** Weights by corpus, as the user gave them. */
  | { kind: 'corpora'; weights: Record<string, number> }
  /** All corpora together: by weight, else by tokens. */
  | { kind: 'natural' };

export type PhaseBegin =
  | { kind: 'step'; step: number }
  /** When the LR has fallen to this share of the peak. */
  | { kind: 'lrShare'; share: number }
  /** When this share of the run's tokens is trained on. */
  | { kind: 'tokens'; share: number };

export interface DesignPhase {
  name: string;
  blend: BlendRule;
  /** The blend at the phase's end, where it moves. */
  to?: BlendRule;
  objective?: 'answers';
  /** Absent: the run's. */
  seqLen?: number;
  begins: PhaseBegin;
}

export interface Design {
  lr: ScheduleDesign;
  phases: DesignPhase[];
  /** The batch is chosen so that the run has at least this many steps, where the budget allows. */
  minSteps: number;
  reasons: Reason[];
  /** The result's configuration shall record this run as its pretraining. */
  recordsPretraining: boolean;
  /** EWC, where continuo.yaml has no guard and nothing speaks against it. */
  guardsByEwc?: boolean;
}
