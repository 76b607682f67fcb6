// Worked examples that some tasks always show first: documents of the data sets themselves (data/tasks/README.md has their licences).
import * as path from 'node:path';
import { readJson } from '../../base/files.ts';
import { packageRoot } from '../../base/package.ts';
import type { Doc } from './types.ts';

type ShotsOf = 'mbpp' | 'minerva_math' | 'leaderboard_math';

/** @returns a copy of their own for each caller */
export function shots(of: ShotsOf): Doc[] {
  return readJson<Record<ShotsOf, Doc[]>>(path.join(packageRoot(), 'data', 'tasks', 'shots.json'))[of];
}
