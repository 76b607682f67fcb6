// What a task file names by `!function module.name` is Python. Twins are the same functions in TypeScript, for tasks that are common.

/** Takes and gives what the Python function does: (doc), (docs), (doc, responses) or (items), by the key that names it. */
// biome-ignore lint/suspicious/noExplicitAny: each key of a task file calls it with other arguments
export type Twin = (...args: any[]) => unknown;

/** Twins of one task, by "module.name" as its files write it after `!function`, such as "utils.process_docs". */
export type Twins = Readonly<Record<string, Twin>>;
