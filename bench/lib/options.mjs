// The command line of a benchmark.
import { parseArgs } from 'node:util';

/**
 * Options by their defaults: text (undefined: none), or false for a flag. --save, --json and --help are every benchmark's.
 * Ends the program after --help, and for a command line that is none of this.
 * @param {string} usage
 * @param {Record<string, string | false | undefined>} defaults
 */
export function readOptions(usage, defaults) {
  const option = (value) =>
    value === false
      ? { type: 'boolean', default: false }
      : { type: 'string', ...(value !== undefined && { default: value }) };
  const all = { ...defaults, save: false, json: false, help: false };
  const { values } = parseArgs({
    options: Object.fromEntries(Object.entries(all).map(([name, value]) => [name, option(value)])),
  });
  if (values.help) refuse(usage, 0);
  return values;
}

/** Prints how the benchmark is called, and ends. */
export function refuse(usage, code = 2) {
  console.error(usage);
  process.exit(code);
}
