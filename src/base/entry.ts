// Worker threads and child processes start from compiled JavaScript. Run from dist/ this is the file beside the caller; run from
// src/ (under the test runner) it is its twin in dist/, which `npm test` builds first.

import * as path from 'node:path';
import { fileURLToPath } from 'node:url';
import { packageRoot } from './package.ts';

/** @param metaUrl the caller's import.meta.url; @param relative the module's path from there, with its .ts ending */
export function entryFile(metaUrl: string, relative: string): string {
  const file = fileURLToPath(new URL(relative, metaUrl));
  const source = path.join(packageRoot(), 'src') + path.sep;
  const compiled = file.startsWith(source) ? path.join(packageRoot(), 'dist', file.slice(source.length)) : file;
  return compiled.replace(/\.ts$/, '.js');
}
