// What a task file names by `!function module.name` is Python. Twins are the same functions in TypeScript, for tasks that are common.

/**
 * Takes and gives what the Python function does, by the key of the task file that names it. Anything may be a promise.
 *
 * | key | called with | gives |
 * |---|---|---|
 * | process_docs, fewshot_config.process_docs | (docs) | docs (a new array; documents are not changed) |
 * | doc_to_text, doc_to_target, doc_to_choice | (doc) | text, number or list |
 * | process_results | (doc, results) | { metric: score } |
 * | fewshot_config.samples | () | docs |
 * | metric_list[].metric | ({@link MetricArguments}), which holds what Python is given by keyword | score, or { metric: score } |
 * | metric_list[].aggregation | (items) | number |
 * | filter_list[].filter[].function | (options), the other keys of that filter | {@link TwinFilter} |
 * | filter_list[].filter[].filter_fn | (responses, docs), as {@link TwinFilter}'s apply | filtered answers |
 * | custom_dataset | ({@link DatasetArguments}) | { split: docs } |
 * | class | (the task's configuration) | the configuration that does the same; functions stand where a file would write `!function` |
 *
 * A metric's function without a name of its own ("metric: !function utils.pass_at_k") is called by the last part of its name.
 */
// biome-ignore lint/suspicious/noExplicitAny: each key of a task file calls it with other arguments
export type Twin = (...args: any[]) => unknown;

/** Twins of one folder of task files, by "module.name" as its files write it after `!function`, such as "utils.process_docs". */
export type Twins = Readonly<Record<string, Twin>>;

// biome-ignore lint/suspicious/noExplicitAny: fields of documents are what a data set holds
export type Doc = Record<string, any>;

/** A filter with its options set: answers of each document's requests in, filtered answers out. */
export interface TwinFilter {
  apply(responses: readonly (readonly string[])[], docs: readonly Doc[]): unknown[][];
}

/** What a metric is called with: the target and the filtered answer of one document, each in a list of one, and the metric's other keys. */
export interface MetricArguments {
  references: readonly unknown[];
  predictions: readonly unknown[];
  /** Runs a generated program (`pythonSandbox()` of ../sandbox.ts): present only where the user allowed it by `--run-generated-code`. */
  runCode?: RunCode;
  [option: string]: unknown;
}

/** What a data set that is made, not loaded, is made from: the task's metadata and dataset_kwargs, and the model's tokenizer. */
export interface DatasetArguments {
  /** Tokens of a text, as the model under evaluation reads it, without special tokens. */
  countTokens: (text: string) => number;
  /** RULER: lengths of prompts with their answers, tokens; [4096] unless given. */
  max_seq_lengths?: readonly number[];
  [option: string]: unknown;
}

/** @returns how the program ended: it passed when it exited with 0 in time */
export type RunCode = (program: string, options?: { timeoutSeconds?: number }) => Promise<CodeResult>;

export interface CodeResult {
  passed: boolean;
  /** "passed", "timed out", or the last line that the program wrote to standard error. */
  result: string;
}
