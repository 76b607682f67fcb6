// The order of the layers, checked on every import: a folder imports only from folders above it, and only through their doors.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { describe, expect, it } from 'vitest';

const SOURCE = path.resolve(import.meta.dirname, '..', 'src');
/** Top to bottom, as in docs/architecture.md. */
const LAYERS = [
  'base',
  'config',
  'recipe',
  'kernels',
  'tokenizer',
  'corpus',
  'shards',
  'checkpoint',
  'nn',
  'surgery',
  'export',
  'engine',
  'eval',
  'serve',
  'runs',
  'report',
  'pipeline',
  'cli',
];

interface Import {
  from: string;
  to: string;
}

function imports(): Import[] {
  const files = fs.readdirSync(SOURCE, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
  return files.flatMap((file) => {
    const text = fs.readFileSync(path.join(SOURCE, file), 'utf8');
    return [...text.matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)].map((match) => ({
      from: file,
      to: path.relative(SOURCE, path.resolve(SOURCE, path.dirname(file), match[1]!)),
    }));
  });
}

const layerOf = (file: string) => file.split(path.sep)[0]!;

describe('layers', () => {
  const all = imports();

  it('finds the imports', () => {
    expect(all.length).toBeGreaterThan(100);
  });

  it('has every folder of src in the order', () => {
    const folders = fs.readdirSync(SOURCE).filter((name) => fs.statSync(path.join(SOURCE, name)).isDirectory());
    expect(folders.filter((name) => !LAYERS.includes(name))).toEqual([]);
  });

  it('imports only from layers above', () => {
    const upward = all.filter(({ from, to }) => LAYERS.indexOf(layerOf(to)) > LAYERS.indexOf(layerOf(from)));
    expect(upward).toEqual([]);
  });

  it('enters another layer through its index.ts; base is open', () => {
    const sideways = all.filter(
      ({ from, to }) => layerOf(from) !== layerOf(to) && layerOf(to) !== 'base' && path.basename(to) !== 'index.ts',
    );
    expect(sideways).toEqual([]);
  });
});
