// `continuo data clean --on`: what is no address, and what Python's side may report. With Ray itself: test/python/test_ray.py.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { packageRoot } from '../../src/base/package.ts';
import { temporaryFolder } from '../runs/fixture.ts';
import { runInProcess } from './in-process.ts';

const root = temporaryFolder();
const config = path.join(root, 'continuo.yaml');
beforeAll(() => {
  fs.writeFileSync(path.join(root, 'docs.jsonl'), `${JSON.stringify({ text: 'Six words that are to stay.' })}\n`);
  const corpus = 'docs: { path: docs.jsonl, role: domain, clean: [{ length: { minWords: 3 } }] }';
  const model = path.join(packageRoot(), 'data/base-en-8m');
  fs.writeFileSync(config, `model: ${model}\ncorpora:\n  ${corpus}\nbudget: { steps: 1 }\n`);
});
beforeEach(() => fs.rmSync(path.join(root, '.continuo-cache'), { recursive: true, force: true }));
afterAll(() => {
  vi.unstubAllEnvs();
  fs.rmSync(root, { recursive: true, force: true });
});

const clean = (...args: string[]) => runInProcess(['data', 'clean', config, ...args]);

/** A program in Python's place that keeps the job that it is given and prints these lines. */
function pythonThatSays(...lines: object[]): string {
  const file = path.join(root, 'python');
  const said = lines.map((line) => `${JSON.stringify(line)}\n`).join('');
  fs.writeFileSync(path.join(root, 'said'), said);
  fs.writeFileSync(
    file,
    `#!/bin/sh\nread -r job\nprintf '%s' "$job" > '${root}/job'\ncat '${root}/said'\necho last words >&2\n`,
  );
  fs.chmodSync(file, 0o755);
  vi.stubEnv('CONTINUO_PYTHON', file);
  return file;
}

const done = { type: 'done', share: 0, machine: 'node-7', code: 0, output: '{"corpora":[],"shared":[]}', error: '' };

describe('continuo data clean --on', () => {
  it('hands over the shares, and does here what nobody did', async () => {
    pythonThatSays({ type: 'ready', numMachines: 2, numCpus: 9 }, { type: 'lost', machine: 'node-3' }, done);
    const { code, out, err } = await clean('--on', 'ray://auto', '--corpus', 'docs', '--threads', '1');
    expect(code).toBe(0);
    expect(err).toContain('Ray: 2 machines with 9 CPUs for 1 shares.');
    expect(err).toContain('Ray lost node-3');
    expect(out).toContain('docs: 1 of 1 documents');
    expect(JSON.parse(fs.readFileSync(path.join(root, 'job'), 'utf8'))).toMatchObject({
      address: 'auto',
      args: ['data', 'clean', config, '--corpus', 'docs', '--threads', '1', '--json', '--quiet'],
      shares: [0],
      numShares: 1,
      environment: { CONTINUO_CACHE: path.join(root, '.continuo-cache') },
    });
  });

  it.each([
    ['ray://:10001', 'Expected auto, HOST:PORT or ray://HOST:PORT'],
    ['head', 'Expected auto'],
    ['http://head:10001', 'Expected auto'],
  ])('refuses the address %s', async (address, message) => {
    const { code, err } = await clean('--on', address);
    expect([code, err]).toEqual([2, expect.stringContaining(message)]);
  });

  it('is not for one share', async () => {
    const { code, err } = await clean('--on', 'auto', '--part', '0/2');
    expect([code, err]).toEqual([2, expect.stringContaining("'--part <i/n>'")]);
  });

  it('says what to install and what to start', async () => {
    vi.stubEnv('CONTINUO_PYTHON', path.join(root, 'no-python'));
    const missing = await clean('--on', 'auto');
    expect([missing.code, missing.err]).toEqual([2, expect.stringContaining('cannot start')]);
    const python = pythonThatSays({ type: 'failed', what: 'package', detail: "No module named 'ray'" });
    const without = await clean('--on', 'auto');
    expect(without).toMatchObject({ code: 2, err: expect.stringContaining('pip install "ray[client]') });
    expect(without.err).toContain(python);
    pythonThatSays({ type: 'failed', what: 'cluster', detail: 'refused' });
    expect(await clean('--on', 'head:6379')).toMatchObject({ code: 2, err: expect.stringContaining('ray start') });
  });

  it("ends with a share's own error, named by its machine", async () => {
    const error = 'a warning\nerror: docs.jsonl: too many bad records.\n';
    pythonThatSays({ ...done, code: 3, error });
    const failed = await clean('--on', 'auto', '--quiet');
    expect(failed).toMatchObject({ code: 3, err: 'error: on node-7: docs.jsonl: too many bad records.' });
    pythonThatSays({ ...done, code: null });
    expect(await clean('--on', 'auto')).toMatchObject({
      code: 2,
      err: expect.stringContaining('node-7 has no continuo'),
    });
    const output = JSON.stringify({ shared: [{ name: 'docs', folder: '/elsewhere' }] });
    pythonThatSays({ ...done, output });
    expect((await clean('--on', 'auto')).err).toContain('node-7 worked on corpus "docs" in /elsewhere, expected');
  });

  it('is an error of the engine where Ray gives a share up', async () => {
    pythonThatSays({ type: 'failed', what: 'task', detail: 'The worker died unexpectedly' });
    const { code, err } = await clean('--on', 'auto', '--quiet');
    expect([code, err]).toEqual([4, expect.stringContaining('Ray cluster: The worker died unexpectedly')]);
  });

  it('says the last words of a Python that ends early', async () => {
    pythonThatSays();
    const { code, err } = await clean('--on', 'auto', '--quiet');
    expect([code, err]).toEqual([4, expect.stringMatching(/ended after 0 of 1 shares. Its last words:\nlast words/)]);
  });
});
