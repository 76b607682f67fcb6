// The steps by name. Each is a function of its options; what it takes and the named lists are in src/config/clean-options.ts.
import type { CleanOptions, CleanStepConfig, CleanStepName } from '../../../config/index.ts';
import type { Step } from '../types.ts';
import { boilerplate } from './boilerplate.ts';
import { c4 } from './c4.ts';
import { code } from './code.ts';
import { fineweb } from './fineweb.ts';
import { gopherQuality } from './gopher-quality.ts';
import { gopherRepetition } from './gopher-repetition.ts';
import { language } from './language.ts';
import { length } from './length.ts';
import { pii } from './pii.ts';
import { quality } from './quality.ts';
import { symbols } from './symbols.ts';
import { unicode } from './unicode.ts';

/** Some read a file or a large table first. */
type MakeStep<N extends CleanStepName> = (options: CleanOptions<N>) => Step | Promise<Step>;

export const STEPS = {
  unicode: { make: unicode },
  boilerplate: { make: boilerplate },
  language: { make: language },
  'gopher-quality': { make: gopherQuality },
  'gopher-repetition': { make: gopherRepetition },
  c4: { make: c4 },
  fineweb: { make: fineweb },
  length: { make: length },
  symbols: { make: symbols },
  code: { make: code },
  pii: { make: pii },
  quality: { make: quality },
} satisfies { [N in CleanStepName]: { make: MakeStep<N> } };

/** The steps of a configuration, ready to use. @throws ConfigError or DataError for files among their options */
export async function makeSteps(list: readonly CleanStepConfig[]): Promise<Step[]> {
  return Promise.all(list.map(({ name, options }) => (STEPS[name].make as MakeStep<CleanStepName>)(options)));
}
