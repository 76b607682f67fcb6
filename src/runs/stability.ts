// The stability gap: soon after continued training begins, a model is worse than it was, and recovers later (De Lange et al. 2023, arXiv
// 2205.13452; of language models Guo et al. 2024, arXiv 2406.14833). Found in a run's evaluations, and stated only where the documents' own
// losses tell both the rise and the recovery from chance.
import { type Difference, pairedBitsPerByte } from '../eval/index.ts';
import { documentPairs, readDocuments } from './documents.ts';
import type { Run } from './types.ts';

export interface StabilityGap {
  /** Held-out set. */
  set: string;
  /** Of the worst evaluation, and of the first and the last. */
  step: number;
  firstStep: number;
  lastStep: number;
  /** Bits per byte at the three of them. */
  first: number;
  worst: number;
  last: number;
  /** From the first to the worst evaluation, and from there to the last. Undefined where losses of documents were not kept. */
  rise: Difference | undefined;
  recovery: Difference | undefined;
  /** Both are told from chance, the choice of the worst among all evaluations considered. */
  isShown: boolean;
}

/** Of each held-out set that was ever worse between its first and its last evaluation than at both. */
export function stabilityGaps(run: Run): StabilityGap[] {
  const { evals } = run;
  const [begin, end] = [evals[0], evals.at(-1)];
  if (evals.length < 3) return [];
  return Object.keys(begin!.sets).flatMap((set) => {
    const between = evals.slice(1, -1).filter((record) => Number.isFinite(record.sets[set]?.bitsPerByte));
    const [first, last] = [begin!.sets[set]?.bitsPerByte, end!.sets[set]?.bitsPerByte];
    if (between.length === 0 || first === undefined || last === undefined) return [];
    const record = between.reduce((a, b) => (b.sets[set]!.bitsPerByte > a.sets[set]!.bitsPerByte ? b : a));
    const worst = record.sets[set]!.bitsPerByte;
    if (worst <= Math.max(first, last)) return [];
    const [before, at, after] = [begin!, record, end!].map(({ step }) => readDocuments(run.folder, step)?.[set]);
    const rise = before && at && pairedBitsPerByte(documentPairs(before, at));
    const recovery = at && after && pairedBitsPerByte(documentPairs(at, after));
    // The worst of several is chosen for being it (Bonferroni).
    const isReal = (difference: Difference | undefined): boolean =>
      difference !== undefined && difference.p * between.length < 0.05;
    return [
      {
        set,
        step: record.step,
        firstStep: begin!.step,
        lastStep: end!.step,
        first,
        worst,
        last,
        rise,
        recovery,
        isShown: isReal(rise) && isReal(recovery),
      },
    ];
  });
}
