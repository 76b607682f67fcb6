// Twins of the functions of common tasks, by the folder that their task files lie in.
import type { Twins } from './types.ts';

export type { Twin, Twins } from './types.ts';

const FOLDERS: Readonly<Record<string, Twins>> = {};

/** Twins for task files in a folder of this name ("hellaswag"); undefined where there are none. */
export function twinsOf(folder: string): Twins | undefined {
  return FOLDERS[folder];
}
