// npm run bench -- NAME [options]: one benchmark by name. Each prints a table for people and, with --json, a last line of JSON.
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const known = fs
  .readdirSync(here)
  .filter((f) => f.endsWith('.mjs') && f !== 'run.mjs')
  .map((f) => f.slice(0, -4))
  .sort();
const [name, ...rest] = process.argv.slice(2);
if (!known.includes(name)) {
  console.error(`Usage: npm run bench -- NAME [--json]   where NAME is one of: ${known.join(', ')}`);
  process.exit(2);
}
process.exit(spawnSync(process.execPath, [path.join(here, `${name}.mjs`), ...rest], { stdio: 'inherit' }).status ?? 1);
