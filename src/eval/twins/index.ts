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
  let best: { twins: Twins; length: number; stars: number } | undefined;
  for (const [pattern, twins] of Object.entries(FOLDERS)) {
    const wanted = pattern.split('/');
    const tail = parts.slice(-wanted.length);
    if (tail.length !== wanted.length || !wanted.every((name, i) => name === '*' || name === tail[i])) continue;
    const stars = wanted.filter((name) => name === '*').length;
    if (!best || wanted.length > best.length || (wanted.length === best.length && stars < best.stars))
      best = { twins, length: wanted.length, stars };
  }
  return best?.twins;
}
