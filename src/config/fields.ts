// Building blocks of the schema. A field's error text is a description of what is expected; problems.ts adds the place, the name and
// what was found, so that every message has one form. Not here: the keys themselves (schema.ts, recipe-options.ts).
import { z } from 'zod';
import { parseCount } from '../base/units.ts';

/** An object that refuses unknown keys. For those, the message is the comma-separated list of known keys (problems.ts reads it). */
export function map<T extends z.ZodRawShape>(shape: T, what = 'a map') {
  const keys = Object.keys(shape).join(', ');
  return z.strictObject(shape, {
    error: (issue) => (issue.code === 'unrecognized_keys' ? keys : `${what} with the keys ${keys}`),
  });
}

export function text(what: string) {
  return z.string({ error: what }).refine((value) => value.trim() !== '', { error: what });
}

export function number(what: string, accepts: (value: number) => boolean) {
  return z.number({ error: what }).refine(accepts, { error: what });
}

export const positive = number('a number above 0', (x) => x > 0);
export const notNegative = number('a number of at least 0', (x) => x >= 0);
export const share = number('a share between 0 and 1', (x) => x >= 0 && x <= 1);
export const shareBelowOne = number('a share from 0 to below 1', (x) => x >= 0 && x < 1);
export const whole = number('a whole number of at least 1', (x) => Number.isSafeInteger(x) && x >= 1);
export const truth = z.boolean({ error: 'true or false' });

/** How much is computed again on the way back: none and full are other words for false and true. */
export const recompute = z
  .union([z.boolean(), z.enum(['none', 'selective', 'full'])], { error: 'one of none, selective, full' })
  .transform((value) => (value === 'selective' ? value : value === true || value === 'full'));

export function oneOf<const T extends readonly [string, ...string[]]>(names: T) {
  return z.enum(names, { error: `one of ${names.join(', ')}` });
}

/** "20M", "50M tokens", 300000: a count of at least 1. Another unit than `unit` is refused. */
export function count(unit: 'tokens' | 'steps' | 'documents' | 'bytes') {
  const what = `a count of ${unit} such as 300000, 20k or "1.5M ${unit}"`;
  return z.union([z.string(), z.number()], { error: what }).transform((value, context) => {
    const word = typeof value === 'string' ? /[a-z]{2,}\s*$/i.exec(value)?.[0].trim().toLowerCase() : undefined;
    const known = word === undefined || [unit, unit.slice(0, -1)].includes(word.replace(/^doc(s?)$/, 'document$1'));
    try {
      const parsed = parseCount(value, unit);
      if (known && Number.isSafeInteger(parsed) && parsed >= 1) return parsed;
    } catch {
      // Worded below, with the place in the file.
    }
    context.issues.push({ code: 'custom', message: what, input: value });
    return z.NEVER;
  });
}

/** Relative weights by corpus name. */
export const weights = z
  .record(z.string(), notNegative, { error: 'a map from corpus name to weight, such as { handbook: 0.8, web: 0.2 }' })
  .refine((value) => Object.values(value).some((weight) => weight > 0), { error: 'at least one weight above 0' });
