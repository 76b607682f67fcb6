// mixing: shares that are decided while the run goes on. The methods are in src/recipe/mixing, one file a method.
import { z } from 'zod';
import { count, map, oneOf, positive, shareBelowOne, text } from './fields.ts';

export const MIXING_METHODS = ['odm', 'ado', 'velocitune', 'ppl-change', 'doge', 'doremi'] as const;
export type MixingMethod = (typeof MIXING_METHODS)[number];

export interface MixingConfig {
  method: MixingMethod;
  /** Steps between two decisions. */
  every?: number;
  /** Steps at the planned blend before the first one. */
  warmup?: number;
  /** Least share of a corpus. */
  floor?: number;
  /** Least share of all general corpora together; absent: what is planned for the phase. */
  minReplay?: number;
  /** How far one decision goes, for the methods that have such a number. */
  rate?: number;
  /** velocitune: bits per byte that a corpus' held-out text shall come to. */
  targets?: Record<string, number>;
  /** doge: corpora that shall be learned; absent: all. */
  toward?: string[];
}

export const mixingSchema = map({
  method: oneOf([...MIXING_METHODS]),
  every: count('steps').optional(),
  warmup: count('steps').optional(),
  floor: shareBelowOne.optional(),
  minReplay: shareBelowOne.optional(),
  rate: positive.optional(),
  targets: z
    .record(z.string(), positive, {
      error: 'a map from corpus name to bits per byte of its held-out text, such as { code: 0.8 }',
    })
    .optional(),
  toward: z
    .array(text('the name of a corpus'), { error: 'a list of corpora such as [code]' })
    .min(1, { error: 'at least one corpus; leave the key out to learn all of them' })
    .optional(),
});

/** Keys that one method alone, or some, take. */
const TAKEN_BY: Readonly<Partial<Record<keyof MixingConfig, readonly MixingMethod[]>>> = {
  rate: ['velocitune', 'ppl-change', 'doge', 'doremi'],
  targets: ['velocitune'],
  toward: ['doge'],
};

/** What is wrong with keys that are each well formed. @param corpora those that are trained on @param hasReference for their tokens */
export function mixingProblems(
  mixing: MixingConfig,
  corpora: readonly string[],
  hasReference: boolean,
): { path: (string | number)[]; message: string }[] {
  const problems: { path: (string | number)[]; message: string }[] = [];
  for (const [key, methods] of Object.entries(TAKEN_BY))
    if (mixing[key as keyof MixingConfig] !== undefined && !methods.includes(mixing.method))
      problems.push({
        path: ['mixing', key],
        message: `expected only with ${methods.join(', ')}, found with ${mixing.method}: take this key out`,
      });
  if (mixing.method === 'ppl-change' && mixing.rate !== undefined && mixing.rate >= 1)
    problems.push({
      path: ['mixing', 'rate'],
      message: `expected a number below 1 with ppl-change, found ${mixing.rate}`,
    });
  for (const [i, name] of [...Object.keys(mixing.targets ?? {}).entries(), ...(mixing.toward ?? []).entries()])
    if (!corpora.includes(name))
      problems.push({
        path: mixing.targets ? ['mixing', 'targets', name] : ['mixing', 'toward', i],
        message: `expected a corpus that is trained on (${corpora.join(', ')}), found "${name}"`,
      });
  if (mixing.method === 'doremi' && !hasReference)
    problems.push({
      path: ['mixing', 'method'],
      message:
        'doremi compares losses with those of a reference model, but there is none: give training.selectTokens, such as { reference: runs/earlier/checkpoints/step-00000500, keep: 1 }; `continuo mix --method doremi` trains one and finds shares before the run',
    });
  if (corpora.length < 2)
    problems.push({
      path: ['mixing'],
      message: 'there is one corpus to train on, so there are no shares to move: take this key out',
    });
  return problems;
}
