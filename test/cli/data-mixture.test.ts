// continuo data mixture: a run's topics and their next shares.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { temporaryFolder, writeRunFolder } from '../runs/fixture.ts';
import { runInProcess } from './in-process.ts';

const root = temporaryFolder();
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));
const run = path.join(root, 'handbook');
writeRunFolder(run);
const mixture = (...args: string[]) => runInProcess(['data', 'mixture', run, ...args]);

test('shows how shares move, with the lines of continuo.yaml', async () => {
  const both = ['--corpus', 'handbook', '--corpus', 'web', '--from', '0'];
  const { code, out, err } = await mixture(...both);
  expect({ code, err }).toEqual({ code: 0, err: '' });
  expect(out).toMatch(/topic +perplexity at 0 +at 400 +change +factor +share +next/);
  const json = JSON.parse((await mixture(...both, '--json')).out);
  const [handbook, web] = json.topics;
  // The second blend of the run; the handbook fell, the web rose.
  expect([handbook.share, web.share].map((share) => Number(share.toFixed(6)))).toEqual([0.8, 0.2]);
  expect(handbook.change).toBeLessThan(0);
  expect(web.newShare).toBeGreaterThan(0.2);
  expect(out).toContain(`  web: { weight: ${web.newShare.toFixed(4)} }`);
});

test.each([
  [[], /a mixture of 1 has no shares to move/i],
  [['--corpus', 'hanbook'], /--corpus hanbook: no corpus of that name .* Did you mean handbook\?/],
  [['--from', '400'], /two evaluations are compared, found those after steps 0, /],
  [['--to', '7'], /--to: no evaluation after step 7/],
])('refuses %j', async (args, message) => {
  const { code, err } = await mixture(...args);
  expect(code).toBe(2);
  expect(err).toMatch(message);
});
