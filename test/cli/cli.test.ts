import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { parseInstructionSets } from '../../src/base/machine.ts';
import { createProgram, displayWidth, formatFacts, formatTable, makePaint, wantsColor } from '../../src/cli/index.ts';
import { temporaryFolder, writeRunFolder } from '../runs/fixture.ts';
import { type Ran, runInProcess } from './in-process.ts';

const root = temporaryFolder();
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

async function continuo(...args: string[]): Promise<Ran> {
  const ran = await runInProcess(args);
  return { ...ran, out: ran.out.replace(/\n$/, '') };
}

const NAMES = [
  'init',
  'inspect',
  'data',
  'mine',
  'vocab',
  'merge',
  'perturb',
  'adapter',
  'plan',
  'mix',
  'lint',
  'run',
  'launch',
  'export',
  'train',
  'eval',
  'probes',
  'eval-diff',
  'eval-long',
  'eval-writing',
  'eval-loss',
  'generate',
  'chat',
  'serve',
  'report',
  'compare',
  'demo',
  'torch',
  'doctor',
];

describe('help', () => {
  test('lists every command', async () => {
    const { code, out } = await continuo('--help');
    expect(code).toBe(0);
    for (const name of NAMES) expect(out).toMatch(new RegExp(`^  ${name}\\b`, 'm'));
    expect(out).toContain('Example:');
  });

  test.each(NAMES)('%s has an example that names the command', async (name) => {
    const { code, out } = await continuo(name, '--help');
    expect(code).toBe(0);
    expect(out).toMatch(new RegExp(`Example:\\n  continuo ${name}`));
  });

  test('docs/cli.md names every command and option', () => {
    const text = fs.readFileSync(path.join(import.meta.dirname, '../../docs/cli.md'), 'utf8');
    const program = createProgram({ print: () => {}, write: () => {}, note: () => {}, paint: makePaint(false) });
    expect(program.commands.map((command) => command.name())).toEqual(NAMES);
    for (const command of program.commands) {
      expect(text).toContain(`continuo ${command.name()}`);
      for (const option of command.options) expect(text, `${command.name()} ${option.long}`).toContain(option.long!);
    }
  });

  test('--version prints the package version', async () => {
    const { code, out } = await continuo('--version');
    expect(code).toBe(0);
    expect(out).toMatch(/^\d+\.\d+\.\d+$/);
  });
});

describe('slips', () => {
  test('an unknown command names the nearest one', async () => {
    const { code, err } = await continuo('inspct', 'model');
    expect(code).toBe(2);
    expect(err).toContain("unknown command 'inspct'");
    expect(err).toContain('Did you mean inspect?');
  });

  test('an unknown option names the nearest one', async () => {
    const { code, err } = await continuo('run', '--thread', '2');
    expect(code).toBe(2);
    expect(err).toContain("unknown option '--thread'");
    expect(err).toContain('Did you mean --threads?');
  });

  test('options of probes: lists, shares, and where they belong', async () => {
    expect(await continuo('plan', '--probe-lrs', '1e-4,x', '--find-lr')).toMatchObject({
      code: 2,
      err: expect.stringContaining('Expected numbers above 0 with commas between them'),
    });
    expect(await continuo('plan', '--find-mix', '--tolerance', '2')).toMatchObject({
      code: 2,
      err: expect.stringContaining('Expected a share from 0 to 1'),
    });
    expect(await continuo('plan', '--probe-tokens', '1M')).toMatchObject({
      code: 2,
      err: expect.stringContaining('--probe-tokens: belongs to --find-lr or --find-mix'),
    });
    expect((await continuo('plan', '--find-lr', '--find-mix')).code).toBe(2);
  });

  test('a missing argument, and a number that is none', async () => {
    expect(await continuo('inspect')).toMatchObject({
      code: 2,
      err: expect.stringContaining("missing required argument 'model'"),
    });
    expect(await continuo('run', '--threads', 'two')).toMatchObject({
      code: 2,
      err: expect.stringContaining('Expected a whole number from 1.'),
    });
    expect(await continuo('eval', 'm', '--tokens', 'many')).toMatchObject({
      code: 2,
      err: expect.stringContaining('such as 300000 or 20M'),
    });
  });
});

describe('inspect', () => {
  test('a path that is not there', async () => {
    const { code, err } = await continuo('inspect', path.join(root, 'absent'));
    expect(code).toBe(2);
    expect(err).toMatch(/^error: .*absent: no such file or folder/);
    expect(err).not.toContain('    at ');
  });

  test('a folder that is no model, and a file that only pretends to be one', async () => {
    const folder = path.join(root, 'empty');
    fs.mkdirSync(folder);
    const empty = await continuo('inspect', folder);
    expect(empty.code).toBe(2);
    expect(empty.err).toContain('config.json');
    const file = path.join(root, 'broken.gguf');
    fs.writeFileSync(file, 'GGUF nothing');
    const broken = await continuo('inspect', file);
    expect(broken.code).toBe(3);
    expect(broken.err).toContain('broken.gguf');
    expect(broken.err).not.toContain('internal:');
  });
});

describe('plan', () => {
  test('refuses a GPU that is not in the table, and a price that is none, before it reads anything', async () => {
    const gpu = await continuo('plan', path.join(root, 'absent.yaml'), '--on', 'h10x8');
    expect(gpu.code).toBe(2);
    expect(gpu.err).toContain('--on: no GPU "h10x8" is known. Is h100 meant?');
    const price = await continuo('plan', path.join(root, 'absent.yaml'), '--price', 'cheap');
    expect(price.code).toBe(2);
    expect(price.err).toContain('Expected US dollars an hour, such as 2.5.');
  });
});

describe('report', () => {
  test('writes both files and prints the headline', async () => {
    const folder = writeRunFolder(path.join(root, 'run'));
    const { code, out } = await continuo('report', folder);
    expect(code).toBe(0);
    expect(out).toContain('Domain bits per byte fell from 1.620 to 1.310');
    expect(fs.existsSync(path.join(folder, 'report.html'))).toBe(true);
    const json = JSON.parse((await continuo('report', folder, '--json')).out);
    expect(json).toMatchObject({ html: path.join(folder, 'report.html'), md: path.join(folder, 'report.md') });
  });

  test('refuses what is no run folder', async () => {
    const { code, err } = await continuo('report', root);
    expect(code).toBe(2);
    expect(err).toContain('not a run folder');
  });
});

describe('init', () => {
  const file = path.join(root, 'continuo.yaml');
  const args = [
    '--model',
    root,
    '--domain',
    'docs/**/*.md',
    '--general',
    'general',
    '--tokens',
    '20M',
    '--yes',
    '--out',
    file,
  ];

  test('writes a file that names what was given, and never over another one unasked', async () => {
    const first = await continuo('init', ...args);
    expect(first).toMatchObject({ code: 0, err: '' });
    const text = fs.readFileSync(file, 'utf8');
    expect(text).toContain(root);
    expect(text).toContain('20M');
    expect(text).toContain(path.relative(root, path.resolve('docs/**/*.md')));
    fs.appendFileSync(file, '# mine\n');
    const second = await continuo('init', ...args);
    expect(second.code).toBe(2);
    expect(second.err).toContain('exists already');
    expect(fs.readFileSync(file, 'utf8')).toContain('# mine');
    expect((await continuo('init', ...args, '--force')).code).toBe(0);
    expect(fs.readFileSync(file, 'utf8')).not.toContain('# mine');
  });

  test('says what is missing', async () => {
    const { code, err } = await continuo('init', '--domain', 'docs', '--yes', '--out', path.join(root, 'other.yaml'));
    expect(code).toBe(2);
    expect(err).toContain('No model was given. Give --model');
  });

  test('an unknown recipe is refused with the known ones', async () => {
    const { code, err } = await continuo('init', ...args, '--force', '--recipe', 'reuse-dont-retran');
    expect(code).toBe(2);
    expect(err).toContain('reuse-dont-retrain');
  });
});

describe('doctor', () => {
  let report: Record<string, never>;
  beforeAll(async () => {
    report = JSON.parse((await continuo('doctor', '--json')).out);
  }, 30_000);

  test('says what the machine has', () => {
    expect(report).toMatchObject({
      machine: { numCores: expect.any(Number), memoryBytes: expect.any(Number), node: process.versions.node },
      kernels: { variant: expect.any(String), native: expect.any(Boolean) },
    });
  });

  test('says which versions of PyTorch differ from those that were tested, and which are too old', async () => {
    const python = path.join(root, 'python');
    const found = {
      protocol: 1,
      python: '3.12.1',
      torch: '2.99.0+cu132',
      transformers: '5.23.0',
      missing: [] as string[],
    };
    const gpus = [{ name: 'H100', memoryBytes: 80 * 2 ** 30, bf16: true }];
    const told = async (missing: string[]) => {
      const json = JSON.stringify({ ...found, missing, cuda: '13.2', rocm: null, mps: false, gpus });
      fs.writeFileSync(python, `#!/bin/sh\necho '${json}'\n`, { mode: 0o755 });
      vi.stubEnv('CONTINUO_PYTHON', python);
      const { out } = await continuo('doctor');
      vi.unstubAllEnvs();
      return out;
    };
    const works = await told([]);
    expect(works).toContain(`torch 2.99.0+cu132, transformers 5.23.0, Python 3.12.1, CUDA 13.2 (${python})`);
    expect(works).toContain('H100, 80 GiB, bf16');
    expect(works).toMatch(
      /Found torch 2.99.0\+cu132 and transformers 5.23.0; tested with torch 2\.\d+\.0 and transformers/,
    );
    expect(await told(['transformers 5 or newer'])).toMatch(
      /does not work: .*lacks transformers 5 or newer. Found torch/,
    );
  });

  test('reads the instruction sets of x86 and of Arm', () => {
    expect(parseInstructionSets('model name\t: x\nflags\t\t: fpu avx2 fma avx512f avx512_bf16\n')).toEqual([
      'avx2',
      'fma',
      'avx512f',
      'avx512_bf16',
    ]);
    expect(parseInstructionSets('Features\t: fp asimd bf16\n')).toEqual(['asimd', 'bf16']);
    expect(parseInstructionSets('')).toEqual([]);
  });
});

describe('plain text tables', () => {
  test('align by what is seen, not by code units', () => {
    expect(
      formatTable(
        [{ title: 'name' }, { title: 'n', align: 'right' }],
        [
          ['日本', '1'],
          ['\x1b[1mab\x1b[22m', '10'],
        ],
      ),
    ).toBe('name   n\n────  ──\n日本   1\n\x1b[1mab\x1b[22m    10');
    expect(displayWidth('e\u0301👍')).toBe(3);
  });

  test('facts align, further lines too', () => {
    expect(
      formatFacts([
        ['a', '1'],
        ['bcd', 'x\ny'],
      ]),
    ).toBe('a    1\nbcd  x\n     y');
  });
});

test('colour is for terminals that want it', () => {
  expect(wantsColor({ isTTY: true }, {})).toBe(true);
  expect(wantsColor({ isTTY: true }, { NO_COLOR: '1' })).toBe(false);
  expect(wantsColor({}, {})).toBe(false);
  expect(makePaint(false).red('x')).toBe('x');
});
