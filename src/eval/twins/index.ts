// Twins of the functions of common tasks, by the folder that their task files lie in.
import { FOLDERS } from './folders.ts';
import type { Twins } from './types.ts';

export type { CodeResult, DatasetArguments, Doc, MetricArguments, RunCode, Twin, TwinFilter, Twins } from './types.ts';

/**
 * Twins for the functions that a task file in this folder names; undefined where there are none.
 *
 * @param folder path of the folder of the file that says `!function` (an included file's, where that says it): its last parts are compared with
 *   the folders of lm-evaluation-harness 0.4.13, and the longest that fits is taken, so ".../tasks/leaderboard/gpqa" is not ".../tasks/gpqa".
 */
export function twinsOf(folder: string): Twins | undefined {
  const parts = folder.split(/[\\/]+/).filter(Boolean);
  for (let from = Math.max(0, parts.length - 4); from < parts.length; from++) {
    const tail = parts.slice(from);
    const exact = FOLDERS[tail.join('/')];
    if (exact) return exact;
    for (let keep = tail.length - 1; keep > 0; keep--) {
      const pattern = FOLDERS[[...tail.slice(0, keep), ...tail.slice(keep).map(() => '*')].join('/')];
      if (pattern) return pattern;
    }
  }
  return undefined;
}
