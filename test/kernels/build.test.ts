// What the machine's compiler makes of native/: old compilers, and tiles of machines that are not at hand. Skipped without a compiler.
import { execFileSync, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { createRequire } from 'node:module';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { packageRoot } from '../../src/base/package.ts';

const root = packageRoot();
const compiler = spawnSync('c++', ['--version']).status === 0 ? 'c++' : undefined;

let folder: string;
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-build-'));
});
afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

describe.skipIf(compiler === undefined)('native sources', () => {
  test('exponential, tanh and erfc are as accurate as simd.h says', { timeout: 240_000 }, () => {
    const program = path.join(folder, 'functions');
    const flags = ['-O1', '-std=c++17', '-ffp-contract=off', '-Wno-psabi', '-DCONTINUO_VARIANT=functions'];
    execFileSync(compiler!, [...flags, path.join(root, 'test/kernels/functions.cc'), '-o', program]);
    expect(spawnSync(program, { encoding: 'utf8' })).toMatchObject({ stdout: '', status: 0 });
  });

  test('attention sees no later key where a tile has more queries than a vector', { timeout: 240_000 }, () => {
    const program = path.join(folder, 'wide-tiles');
    const flags = ['-O1', '-std=c++17', '-pthread', '-Wno-psabi', '-DCONTINUO_VARIANT=wide', '-DCONTINUO_TILE_ROWS=8'];
    const sources = ['test/kernels/wide-tiles.cc', 'native/threads.cc'].map((name) => path.join(root, name));
    execFileSync(compiler!, [...flags, ...sources, '-o', program]);
    expect(spawnSync(program, { encoding: 'utf8' })).toMatchObject({ stdout: '', status: 0 });
  });

  // Run by test/native/run.mjs, which takes minutes; here they must fit the kernels' table.
  test('tests of the kernels in C++ compile', { timeout: 240_000 }, () => {
    const native = path.join(root, 'test', 'native');
    const sources = fs.readdirSync(native).filter((name) => name.endsWith('.cc'));
    execFileSync(compiler!, ['-fsyntax-only', '-std=c++17', ...sources.map((name) => path.join(native, name))]);
  });

  test.runIf(process.arch === 'x64')(
    'an instruction set that the compiler does not know is left out, the others are built',
    { timeout: 240_000 },
    () => {
      for (const name of ['native', 'scripts'])
        fs.cpSync(path.join(root, name), path.join(folder, name), {
          recursive: true,
          filter: (source) => path.basename(source) !== 'build',
        });
      fs.symlinkSync(path.join(root, 'node_modules'), path.join(folder, 'node_modules'));
      fs.writeFileSync(path.join(folder, 'package.json'), '{ "type": "module" }');
      const old = path.join(folder, 'old-compiler');
      fs.writeFileSync(
        old,
        `#!/bin/sh
for flag in "$@"; do
  case $flag in -mavx*) echo "error: unrecognized command-line option '$flag'" >&2; exit 1;; esac
done
exec ${compiler} "$@" -O0
`,
        { mode: 0o755 },
      );
      const output = execFileSync(process.execPath, [path.join(folder, 'scripts', 'build-native.mjs')], {
        encoding: 'utf8',
        env: { ...process.env, CXX: old },
      });
      expect(output).toContain(
        "cannot build the avx512bf16 kernels, which are left out (error: unrecognized command-line option '-mavx512f')",
      );
      expect(output).toContain('native kernels built in');
      const addon = createRequire(import.meta.url)(path.join(folder, 'native', 'build', 'continuo.node'));
      expect(addon.supported).toEqual(['portable']);
    },
  );
});
