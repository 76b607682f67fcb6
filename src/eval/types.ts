// The contracts of evaluation: what a task asks of a model, and what comes of it.

/** The likelihood of `continuation` after `context` (which may be empty: then after the start of a document). */
export interface LikelihoodRequest {
  context: string;
  continuation: string;
}

export interface Likelihood {
  /** Sum over the continuation's tokens, nats. */
  logLikelihood: number;
  /** Every token of the continuation is the likeliest one at its place. */
  isGreedy: boolean;
  numTokens: number;
}

export interface TextRequest {
  prompt: string;
  /** Texts that end the answer; they are not part of it. The model's own end tokens end it, too. */
  until: readonly string[];
  maxTokens: number;
  /** 0 (greedy) unless given. */
  temperature?: number;
  topP?: number;
  topK?: number;
  seed?: number;
}

export interface ChatMessage {
  role: 'system' | 'user' | 'assistant';
  content: string;
}

/** Called with the number of requests that are done. */
export type Tick = (done: number) => void;

/**
 * Anything that tasks can be put to: a checkpoint in this process, or a model behind an API. Requests are answered in the order in which they
 * are given, whatever the order in which they are computed; what it cannot do (likelihoods behind a chat API) is refused with a ConfigError.
 */
export interface LanguageModel {
  readonly name: string;
  /** Tokens that a request and its answer have room for; longer contexts lose their beginning. */
  readonly maxTokens: number;
  /** Fingerprint of the weights, tokenizer and precision: results are kept under it. */
  readonly fingerprint: string;
  likelihoods(requests: readonly LikelihoodRequest[], tick?: Tick): Promise<Likelihood[]>;
  /** Of whole texts from their start, in windows that share no predicted token. @returns nats, one sum a text */
  rollingLikelihoods(texts: readonly string[], tick?: Tick): Promise<number[]>;
  generate(requests: readonly TextRequest[], tick?: Tick): Promise<string[]>;
  /** A conversation as the model's chat template writes it, an answer's beginning at its end. @throws ConfigError where it has none */
  renderChat(messages: readonly ChatMessage[]): string;
  close(): void;
}

/** One metric of a task after one filter, named as lm-evaluation-harness names it: "acc", "none". */
export interface MetricResult {
  metric: string;
  filter: string;
  value: number;
  /** Absent where it is not known. */
  stderr?: number;
  higherIsBetter: boolean;
}

/** A document of a task, what was asked and answered, and how that scores. */
export interface Sample {
  /** Place in the task's evaluated split. */
  docId: number;
  doc: Record<string, unknown>;
  /** Fingerprint of the document: samples of two results are paired by it. */
  docHash: string;
  target: string | number | readonly (string | number)[];
  /** Arguments of the requests, and the answers: a likelihood with its greediness, a rolling likelihood, or a text. */
  requests: readonly (readonly unknown[])[];
  responses: readonly unknown[];
  /** By filter: answers after it. */
  filtered: Record<string, unknown>;
  /** "metric,filter" -> this document's score; a number wherever the metric is a mean over documents. */
  scores: Record<string, unknown>;
}

export interface TaskResult {
  task: string;
  /** As shown in a table. */
  alias: string;
  /** Groups and tags that it was asked for by. */
  groups: readonly string[];
  version: string;
  outputType: 'loglikelihood' | 'loglikelihood_rolling' | 'multiple_choice' | 'generate_until';
  numFewShot: number;
  numDocs: number;
  /** Fingerprint of the task's definition and documents. */
  fingerprint: string;
  /** The first is the one to be looked at. */
  metrics: readonly MetricResult[];
}

/** evals/NAME.json; samples lie beside it, a JSONL file a task. */
export interface EvalReport {
  version: 1;
  model: string;
  modelFingerprint: string;
  createdAt: string;
  seconds: number;
  tasks: readonly TaskResult[];
  /** Means over a group's tasks. */
  groups: readonly { group: string; tasks: readonly string[]; metrics: readonly MetricResult[] }[];
}
