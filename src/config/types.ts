// What continuo.yaml says, parsed: paths are absolute, counts are numbers, names are checked. Not yet decided here: anything that
// needs the model or the documents (learning rates, batch, steps); an absent value stays undefined and the planner fills it.

import type { AlarmsConfig } from './alarm-options.ts';
import type { CleanStepConfig } from './clean-options.ts';
import type { DecontaminateConfig, DedupConfig } from './dedup-options.ts';
import type { GuardConfig } from './guard-options.ts';
import type { LaunchConfig } from './launch-options.ts';
import type { MixingConfig } from './mixing-options.ts';
import type { RecipeConfig } from './recipe-options.ts';

export type CorpusRole = 'domain' | 'general' | 'instruction' | 'evaluation';

export interface NewModelConfig {
  hidden: number;
  layers: number;
  heads: number;
  kvHeads: number;
  /** Elements a head; even, since rotary embeddings pair them. */
  headDim: number;
  ffn: number;
  /** Longest sequence, tokens. */
  context: number;
  /** Entries of the tokenizer's vocabulary. */
  vocab: number;
  ropeTheta: number;
  /** Output matrix = embedding matrix. */
  tied: boolean;
  /** Absolute path of a tokenizer.json (or its folder) to use; undefined: one is trained on the corpora. */
  tokenizer?: string;
}

export type ModelConfig =
  | { kind: 'path'; path: string }
  /** "owner/name", with "@revision" where one was given. */
  | { kind: 'hub'; id: string }
  | { kind: 'new'; new: NewModelConfig };

export interface HeldOutConfig {
  /** Share of the corpus' documents, 0 to 0.5. */
  share?: number;
  documents?: number;
  tokens?: number;
}

export interface CorpusConfig {
  name: string;
  role: CorpusRole;
  /** Files, folders or globs, absolute; addresses (s3://, hub://, https://) stay as written. */
  paths: string[];
  /** Stop reading after this many tokens. */
  limitTokens?: number;
  /** Field of JSONL and Parquet rows that holds the text. */
  field?: string;
  /** What is split off before training; undefined: the corpus stage's default. */
  heldOut?: HeldOutConfig;
  /** Relative weight among the corpora of its role. All of a role have one, or none. */
  weight?: number;
  /** Factor on its weight, or on its size where there are no weights: above 1 for better text. */
  quality?: number;
  /** Passes over it beyond which its share is cut; default: the recipe's. */
  maxEpochs?: number;
  /** Share of unreadable documents, 0 to 1, beyond which the corpus is refused. */
  maxBadShare?: number;
  /** Longest line and largest file of those that are read whole, unpacked. */
  maxRecordBytes?: number;
  /** Steps that each document passes before it is used, in order; undefined: it is used as read. */
  clean?: CleanStepConfig[];
  /** Of cleaned documents, which stand in the place of what the file names: what they were made from. */
  sourceDigest?: string;
  /** Bits per byte under the base model, of a document's first `tokens` tokens, outside of which it goes. */
  bitsPerByte?: ScoreConfig;
  /** Instruction-following difficulty under the base model, of conversations. */
  ifd?: ScoreConfig;
  /** Text that the model itself writes before the run, in the place of files. */
  generated?: GeneratedConfig;
  /** Documents are read in the order of a number in their metadata, and not shuffled. */
  order?: OrderConfig;
}

export interface GeneratedConfig {
  /** Of all documents together, at least. */
  tokens: number;
  temperature?: number;
  /** Only the likeliest tokens that together reach this probability are drawn. */
  topP?: number;
  /** Of the longest document. */
  documentTokens?: number;
}

export interface ScoreConfig {
  min?: number;
  max?: number;
  tokens?: number;
}

export interface OrderConfig {
  /** bitsPerByte, ifd, quality, or another name of metadata. */
  by: string;
  first: 'low' | 'high';
}

export type BudgetConfig =
  | { kind: 'tokens'; tokens: number }
  /** Passes over the domain corpora (over all corpora when there is no domain). */
  | { kind: 'epochs'; epochs: number }
  | { kind: 'steps'; steps: number }
  | { kind: 'minutes'; minutes: number };

export type Precision = 'bf16' | 'f32';

/** How documents become sequences (src/shards/pack.ts). */
export const PACKINGS = ['fill', 'best-fit', 'concatenate', 'seamless'] as const;
export type Packing = (typeof PACKINGS)[number];

/** An adapter that is there already, in PEFT's format, is trained on. */
export interface GivenLoraConfig {
  /** Its folder, absolute. */
  from: string;
  /** Peak LR of the adapters; default: the run's. */
  lr?: number;
}

/** Low-rank adapters instead of all weights. */
export interface LoraConfig {
  rank: number;
  /** The adapters' product is scaled by alpha / rank; default: twice the rank. */
  alpha?: number;
  /** Last parts of module names, e.g. q_proj; default: every matrix of the layers. */
  targets?: string[];
  /** Scale by alpha / sqrt(rank) instead. */
  rsLora?: boolean;
  /** Each row's length is learned by itself. */
  dora?: boolean;
  /** Peak LR of the adapters; default: the run's. */
  lr?: number;
  /** Train the embedding and output matrices too, in full. */
  embeddings?: boolean;
}

/** Whether the layers are run again on the way back, their inputs alone being kept; selective (the PyTorch engine): some of each, cheaply. */
export type Recompute = boolean | 'selective';

export interface TrainingConfig {
  seqLen?: number;
  /** Tokens an optimizer step. */
  batchTokens?: number;
  /** Sequences a forward pass. */
  microBatch?: number;
  precision?: Precision;
  packing?: Packing;
  seed?: number;
  weightDecay?: number;
  beta1?: number;
  beta2?: number;
  eps?: number;
  lora?: LoraConfig | GivenLoraConfig;
  /** Patterns of the names of tensors that are not trained, the last that fits deciding. */
  freeze?: string[];
  /** New layers that begin as nothing; they alone are trained. */
  expand?: number;
  /** Coefficients of the losses of routers, in models with experts. */
  routerAuxLoss?: number;
  routerZLoss?: number;
  /** Peak LR of the embedding and output matrices; 0 keeps them as they are. */
  embeddingLr?: number;
  /** Keep an exponential moving average of the weights: the share of the old average that a step leaves. */
  ema?: number;
  recompute?: Recompute;
  /** Only tokens whose loss exceeds a reference model's the most bear loss. */
  selectTokens?: {
    reference: Exclude<ModelConfig, { kind: 'new' }>;
    /** Of the tokens of a forward pass. */
    keep?: number;
  };
  /** Largest gradient norm; 0 does not clip. */
  clip?: number;
  threads?: number;
}

/** Tasks that the model is put to before and after a run, and on the way. */
export interface TasksConfig {
  /** Tasks, groups or tags. */
  names: string[];
  /** Of task files besides the bundled ones, absolute. */
  folders: string[];
  /** Absent: only before the first step and after the last. */
  everySteps?: number;
  /** Documents of a task. */
  limit?: number;
  /** Absent: as each task says. */
  fewShot?: number;
  /** While the training goes on, instead of between its steps; absent: as the machine's cores suggest. */
  beside?: boolean;
}

/** Which checkpoint is the best one, and is therefore kept. */
export interface BestRule {
  /** A role or corpus, by its held-out bits per byte, or a task, by its first metric. */
  of: string;
  /** What may at most be lost against the model as it came, percent, by role, corpus or task. */
  within: Record<string, number>;
}

export type EngineConfig =
  | { name: 'native' }
  | {
      name: 'torch';
      /** Processes on each of `nodes` machines, one a GPU. */
      gpus: number;
      nodes: number;
      /** What each GPU is, for the plan. */
      gpu?: string;
      /** A model's own Python files may be run. */
      trustRemoteCode: boolean;
      launch: LaunchConfig;
    };

export interface Config {
  /** The file it came from, absolute. */
  file: string;
  /** Folder of that file: what relative paths were resolved against. */
  folder: string;
  name: string;
  model: ModelConfig;
  /** In the order of the file. */
  corpora: CorpusConfig[];
  /** What is looked for that the corpora hold more than once. */
  dedup?: DedupConfig;
  /** How items of evaluation corpora are looked for in the others; absent: they are not. */
  decontaminate?: DecontaminateConfig;
  recipe: RecipeConfig;
  /** Shares are decided while the run goes on; absent: they are as planned. */
  mixing?: MixingConfig;
  budget: BudgetConfig;
  training: TrainingConfig;
  /** What holds the model to what it knew, beside replay. */
  guard?: GuardConfig;
  evaluate: {
    everySteps?: number;
    tokensPerSet?: number;
    /** Besides held-out text; absent: none. */
    tasks?: TasksConfig;
  };
  checkpoints: { everySteps?: number; keep?: number; best?: BestRule };
  /** Absent: the run is not watched. */
  alarms?: AlarmsConfig;
  engine: EngineConfig;
  /** Folder of runs, absolute. */
  output: string;
}
