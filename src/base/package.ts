// Where this package lies and which version it is; the same from src/ and from dist/.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder that holds package.json. */
export function packageRoot(): string {
  return path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..', '..');
}

export function packageVersion(): string {
  const manifest = JSON.parse(fs.readFileSync(path.join(packageRoot(), 'package.json'), 'utf8')) as { version: string };
  return manifest.version;
}

/** Where models fetched or converted and stages' outputs are kept: $CONTINUO_CACHE, or .continuo-cache beside `folder`. */
export function cacheFolder(folder: string): string {
  return path.resolve(process.env.CONTINUO_CACHE ?? path.join(folder, '.continuo-cache'));
}

/** Where the output of a stage belongs, by the name of its corpus and the fingerprint of its inputs. */
export function stageFolder(cache: string, stage: string, name: string, fingerprint: string): string {
  return path.join(cache, `${stage}-${name.replace(/[^\w.-]/g, '_')}-${fingerprint}`);
}
