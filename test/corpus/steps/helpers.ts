// Steps run as curation runs them.
import type { CleanOptions, CleanStepName } from '../../../src/config/index.ts';
import { makeSteps } from '../../../src/corpus/curate/steps/index.ts';
import type { Removal, Step } from '../../../src/corpus/curate/types.ts';
import { TextView } from '../../../src/corpus/curate/view.ts';

export async function make<N extends CleanStepName>(name: N, options = {} as CleanOptions<N>): Promise<Step> {
  const [step] = await makeSteps([{ name, options } as Parameters<typeof makeSteps>[0][number]]);
  return step!;
}

export interface Outcome {
  text: string;
  removed?: Removal;
  changes: Readonly<Record<string, number>>;
  metadata: Readonly<Record<string, unknown>>;
}

export function run(step: Step, text: string, metadata: Record<string, unknown> = {}): Outcome {
  const view = new TextView({ id: 'd', source: 's', text, metadata });
  const result = step.apply(view);
  if (result === undefined) return { text, changes: {}, metadata };
  if ('removed' in result) return { text, removed: result.removed, changes: {}, metadata };
  view.accept(result);
  return { text: view.text, changes: result.changes ?? {}, metadata: view.metadata };
}

/** The reason for which it is removed, or undefined. */
export function reason(step: Step, text: string, metadata?: Record<string, unknown>): string | undefined {
  return run(step, text, metadata).removed?.reason;
}

/** n different words of five letters, in a fixed order. */
export function words(n: number, first = 0): string[] {
  return Array.from({ length: n }, (_, i) => {
    let number = i + first;
    let word = '';
    for (let j = 0; j < 5; j++) {
      word += String.fromCharCode(0x61 + (number % 26));
      number = Math.floor(number / 26);
    }
    return word;
  });
}
