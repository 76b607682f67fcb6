// Probe runs and the measured shift, on a tiny model: what is found, that it is found again, that killed series go on, that plans use it.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type FindResult, find, mixByDoremi, planRun, run } from '../../src/pipeline/index.ts';
import type { Plan } from '../../src/recipe/index.ts';
import { readRun, sharesOverTime } from '../../src/runs/index.ts';
import { runInProcess } from '../cli/in-process.ts';
import { writeCorpus, writeTinyModel } from '../engine/fixtures.ts';
import { makeProject, type Project, startCli } from './fixtures.ts';

const QUIET = { quiet: true, threads: 1 };
const projects: Project[] = [];
afterAll(() => {
  for (const { root } of projects) fs.rmSync(root, { recursive: true, force: true });
});

/** A random model to continue, and text enough for samples of token frequencies. */
async function project(changes: Record<string, unknown> = {}): Promise<Project> {
  const made = makeProject();
  projects.push(made);
  writeCorpus(path.join(made.root, 'domain.jsonl'), 1, 120);
  writeCorpus(path.join(made.root, 'general.jsonl'), 2, 200);
  const model = await writeTinyModel(path.join(made.root, 'model'));
  made.configure({ ...BASE, model, ...changes });
  return made;
}

const BASE = { recipe: { preset: 'reuse-dont-retrain', peakLr: 2e-3 }, budget: { steps: 24 } };
const TRAINING = { seqLen: 64, batchTokens: 256, microBatch: 2, precision: 'f32', seed: 3 };
const LRS = [5e-4, 2e-3, 8e-3];
const STEPS = 8;
const TOKENS = STEPS * 256;
/** What a probe leaves in its folder no longer than it is needed. */
const LARGE = ['checkpoints', 'job', 'model'];

function finished(result: FindResult) {
  if (!result.finished) throw new Error('stopped');
  return result;
}

function cached(p: Project, prefix: string): string[] {
  return fs.readdirSync(path.join(p.root, '.continuo-cache')).filter((name) => name.startsWith(prefix));
}

describe('find-lr', () => {
  let p: Project;
  let found: ReturnType<typeof finished>;
  const said: string[] = [];
  beforeAll(async () => {
    p = await project();
    const options = { ...QUIET, log: (line: string) => said.push(line) };
    found = finished(await find(p.config, { kind: 'lr', lrs: LRS, tokens: TOKENS, tolerance: 1 }, options));
  });

  test('says its cost before the first probe', () => {
    const cost = said.findIndex((line) => /^3 probes of 8 steps: 6\.1\dk tokens trained/.test(line));
    expect(cost).toBeGreaterThanOrEqual(0);
    expect(said.findIndex((line) => line.startsWith('Probe 1 of 3: peak LR 5e-4'))).toBeGreaterThan(cost);
  });

  test('measures each LR on the held-out text, and the model as it comes once', () => {
    const { points, base, numTokens, runTokens } = found.finding;
    expect(points.map(({ x }) => x)).toEqual(LRS);
    for (const { scores } of points) expect(scores!.domain).toBeLessThan(base.domain);
    expect(points[2]!.scores!.domain).toBeLessThan(points[0]!.scores!.domain);
    expect([numTokens, runTokens]).toEqual([TOKENS, 24 * 256]);
    expect(found.table.rows.map(([first]) => first)).toEqual(['as it comes', '5e-4', '2e-3', '8e-3']);
    const folders = cached(p, 'probe-').map((name) => path.join(p.root, '.continuo-cache', name));
    expect(folders).toHaveLength(3);
    // The base is scored in the first probe alone; the others have its file.
    const scored = folders.filter((folder) =>
      fs.readFileSync(path.join(folder, 'events.jsonl'), 'utf8').includes('"type":"eval","step":0'),
    );
    expect(scored).toHaveLength(1);
  });

  test('keeps no checkpoint and no job of a probe', () => {
    for (const name of cached(p, 'probe-')) {
      const folder = path.join(p.root, '.continuo-cache', name);
      expect(fs.readdirSync(folder)).toContain('result.json');
      expect(fs.existsSync(path.join(folder, 'checkpoints'))).toBe(false);
      expect(fs.existsSync(path.join(folder, 'job'))).toBe(false);
    }
  });

  test('asked again, nothing is trained; with another LR, only that', async () => {
    const lines: string[] = [];
    const options = { ...QUIET, log: (line: string) => lines.push(line) };
    const again = finished(await find(p.config, { kind: 'lr', lrs: LRS, tokens: TOKENS, tolerance: 1 }, options));
    expect(again.finding).toEqual(found.finding);
    expect(lines.filter((line) => line.startsWith('Probe'))).toEqual([]);
    const more = finished(await find(p.config, { kind: 'lr', lrs: [...LRS, 4e-3], tokens: TOKENS }, options));
    expect(lines.filter((line) => line.startsWith('Probe'))).toEqual(['Probe 3 of 4: peak LR 4e-3.']);
    expect(more.finding.points.filter(({ x }) => x !== 4e-3)).toEqual(found.finding.points);
    expect(more.finding.best).not.toBeNaN();
  });

  test('the plan recommends it, and follows it where the file says so', async () => {
    const { finding } = finished(await find(p.config, { kind: 'lr', lrs: LRS, tokens: TOKENS, tolerance: 1 }, QUIET));
    const recommended = await planRun(p.config, QUIET);
    expect(recommended.plan.schedule.peakLr).toBe(2e-3);
    expect(recommended.text).toContain('PROBES');
    const model = path.join(p.root, 'model');
    p.configure({ ...BASE, model, recipe: { preset: 'reuse-dont-retrain', peakLr: 'found' } });
    const { plan } = await planRun(p.config, QUIET);
    expect(plan.schedule.peakLr).toBe(finding.best);
    expect((await run(p.config, QUIET)).summary.status).toBe('finished');
    // Another batch was not probed.
    p.configure({
      ...BASE,
      model,
      training: { ...TRAINING, batchTokens: 512 },
      recipe: { preset: 'reuse-dont-retrain', peakLr: 'found' },
    });
    await expect(planRun(p.config, QUIET)).rejects.toThrow(/nothing is found yet .*--find-lr/);
  });
});

test('an LR at which training diverges is a result, not a failure', async () => {
  const p = await project();
  const { finding } = finished(
    await find(p.config, { kind: 'lr', lrs: [1e-3, 2e-3, 1e35], tokens: TOKENS, tolerance: 1 }, QUIET),
  );
  expect(finding.points.map(({ scores }) => scores === undefined)).toEqual([false, false, true]);
  expect(finding.best).toBe(2e-3);
});

test('killed at several moments, the same command goes on and finds the same', async () => {
  const args = ['plan', '--find-lr', '--probe-lrs', LRS.join(), '--probe-tokens', String(TOKENS), '--threads', '1'];
  const undisturbed = await project();
  const whole = await startCli(undisturbed, ...args, '--json').ended;
  expect(whole.code, whole.err).toBe(0);
  const p = await project();
  const probes = () => (fs.existsSync(path.join(p.root, '.continuo-cache')) ? cached(p, 'probe-').length : 0);
  const pause = () => new Promise((resolve) => setTimeout(resolve, 5));
  let numKilled = 0;
  // Each life is killed when another probe has begun: the one before it is done, this one is not.
  for (let life = 1; life <= 2; life++) {
    const cli = startCli(p, ...args);
    let ended = false;
    void cli.ended.then(() => {
      ended = true;
    });
    while (!ended && probes() < life) await pause();
    cli.kill('SIGKILL');
    if ((await cli.ended).signal === 'SIGKILL') numKilled++;
  }
  expect(numKilled).toBe(2);
  const last = await startCli(p, ...args, '--json').ended;
  expect(last.code, last.err).toBe(0);
  expect(JSON.parse(last.out)).toEqual(JSON.parse(whole.out));
}, 120_000);

test('Ctrl-C: exit 130, and the same command goes on', async () => {
  const p = await project({ budget: { steps: 400 } });
  const args = ['plan', '--find-lr', '--probe-lrs', '1e-3', '--probe-tokens', String(200 * 256), '--threads', '1'];
  const cli = startCli(p, ...args);
  const metrics = () =>
    cached(p, 'probe-').some((name) => fs.existsSync(path.join(p.root, '.continuo-cache', name, 'metrics.jsonl')));
  while (!fs.existsSync(path.join(p.root, '.continuo-cache')) || !metrics())
    await new Promise((resolve) => setTimeout(resolve, 5));
  cli.kill('SIGINT');
  const ended = await cli.ended;
  expect(ended.code, ended.err).toBe(130);
  expect(ended.err).toContain('The same command goes on from here.');
  const last = await startCli(p, ...args).ended;
  expect(last.code, last.err).toBe(0);
  expect(last.out).toContain('Recommended: peak LR 1e-3');
}, 120_000);

describe('find-mix', () => {
  test('recommends a share, and the plan takes it as replay', async () => {
    const p = await project();
    const { finding, text } = finished(
      await find(p.config, { kind: 'mix', shares: [0.3, 0.6, 0.9], tokens: TOKENS, tolerance: 0.5 }, QUIET),
    );
    expect(finding.points.map(({ x }) => x)).toEqual([0.3, 0.6, 0.9]);
    const [low, , high] = finding.points.map(({ scores }) => scores!);
    expect(high!.domain).toBeLessThan(low!.domain);
    expect(high!.general).toBeGreaterThan(low!.general!);
    expect(finding).toMatchObject({ kind: 'mix', best: 0.9, holds: true, edge: 'highest' });
    expect(text.join('\n')).toContain('replay: found }, or replay: 0.1.');
    p.configure({ ...BASE, model: path.join(p.root, 'model'), recipe: { preset: 'rewarm-replay', replay: 'found' } });
    expect((await planRun(p.config, QUIET)).plan.phases[0]!.blend.general).toBeCloseTo(0.1, 6);
  });

  test('needs general text', async () => {
    const p = await project({
      corpora: {
        domain: { path: 'domain.jsonl', role: 'domain', heldOut: { documents: 4 } },
        exam: { path: 'exam.jsonl', role: 'evaluation' },
      },
    });
    await expect(find(p.config, { kind: 'mix' }, QUIET)).rejects.toThrow(
      /--find-mix: expected domain and general text/,
    );
  });
});

describe('doremi', () => {
  const STEPS = 20;
  let p: Project;
  beforeAll(async () => {
    p = await project({ recipe: { preset: 'rewarm-replay', replay: 0.25, peakLr: 2e-3 } });
  });
  const search = async (rounds = 1) => {
    const lines: string[] = [];
    const options = { ...QUIET, log: (line: string) => lines.push(line) };
    const result = await mixByDoremi(p.config, { rounds, tokens: STEPS * 256, tolerance: 0 }, options);
    if (!result.finished) throw new Error('stopped');
    return { result, probes: lines.filter((line) => line.startsWith('Probe')) };
  };

  test('finds shares by a reference and a proxy, and measures them; a round more goes on from there', async () => {
    const args = ['mix', '--method', 'doremi', '--probe-tokens', String(STEPS * 256), '--threads', '1'];
    // Killed while the proxy decides: that goes on, and the reference stays as it is.
    const killed = startCli(p, ...args);
    const decides = () =>
      cached(p, 'probe-').some((name) =>
        fs.existsSync(path.join(p.root, '.continuo-cache', name, 'job', 'amendments.jsonl')),
      );
    while (!fs.existsSync(path.join(p.root, '.continuo-cache')) || !decides())
      await new Promise((resolve) => setTimeout(resolve, 5));
    killed.kill('SIGKILL');
    expect((await killed.ended).signal).toBe('SIGKILL');
    const { result, probes } = await search();
    expect(probes).toEqual([
      expect.stringMatching(/^Probe 2 of 3: shares that are decided, first domain 75 %, general 25 %/),
      expect.stringMatching(/^Probe 3 of 3: domain \d/),
    ]);
    const { corpora, sets, numRounds } = result;
    expect(corpora.reduce((sum, { found }) => sum + found, 0)).toBeCloseTo(1, 5);
    expect(corpora[0]!.found).not.toBeCloseTo(corpora[0]!.planned, 3);
    // Both are learned: the proxy is behind at its half, and at its end nearly where the reference ended.
    for (const { excess } of corpora) expect(excess).toBeGreaterThan(0);
    expect(sets.map(({ name }) => name)).toEqual(['domain', 'general']);
    for (const { base, planned, found } of sets) for (const after of [planned, found]) expect(after).toBeLessThan(base);
    expect([numRounds, result.exceeds]).toEqual([1, undefined]);
    // The proxy's shares are decided at each of its last ten steps, and its text is not the reference's.
    const folders = cached(p, 'probe-').map((name) => path.join(p.root, '.continuo-cache', name));
    const plans = folders.map((folder) => JSON.parse(fs.readFileSync(path.join(folder, 'plan.json'), 'utf8')) as Plan);
    expect(plans.map(({ seed }) => seed).sort()).toEqual([3, 3, 4]);
    const proxy = folders[plans.findIndex(({ mixing }) => mixing)]!;
    const shares = sharesOverTime(readRun(proxy));
    expect(shares.map(({ step }) => step)).toEqual([0, ...Array.from({ length: 10 }, (_, i) => 10 + i)]);
    const mean = shares.slice(1).reduce((sum, { blend }) => sum + blend.domain! / 10, 0);
    expect(corpora[0]!.found).toBeCloseTo(mean, 9);
    // Large things are gone: the reference, and what it said.
    for (const folder of folders) expect(fs.readdirSync(folder).filter((name) => LARGE.includes(name))).toEqual([]);
    expect(cached(p, 'said-')).toEqual([]);

    expect(await search()).toEqual({ result, probes: [] });
    const page = await runInProcess([...args, p.config]);
    expect(page.out).toContain(`phases: [{ blend: { domain: ${corpora[0]!.found.toFixed(4)}, general: `);
    const more = await search(2);
    // The run that measured the first round's shares is made again for its model, which had not been kept.
    expect(more.probes.map((line) => line.slice(0, 12))).toEqual(['Probe 3 of 5', 'Probe 4 of 5', 'Probe 5 of 5']);
    expect(more.result).toMatchObject({ numRounds: 2, sets: sets.map(({ planned }) => ({ planned })) });
  }, 120_000);

  test('refuses what it cannot compare', async () => {
    const model = path.join(p.root, 'model');
    const options = { ...QUIET, measure: false };
    p.configure({ ...BASE, model, training: { ...TRAINING, selectTokens: { reference: model } } });
    await expect(mixByDoremi(p.config, {}, options)).rejects.toThrow(
      /training\.selectTokens: DoReMi compares all tokens/,
    );
    p.configure({ ...BASE, model, engine: 'torch' });
    await expect(mixByDoremi(p.config, {}, options)).rejects.toThrow(/engine: DoReMi compares tokens/);
    const domain = { path: 'domain.jsonl', role: 'domain', heldOut: { documents: 4 } };
    p.configure({
      ...BASE,
      model,
      recipe: 'naive',
      corpora: { domain, exam: { path: 'exam.jsonl', role: 'evaluation' } },
    });
    await expect(mixByDoremi(p.config, {}, options)).rejects.toThrow('no shares to find');
  });
});

describe('the shift', () => {
  test('is measured once, drives replay, and is left out on request', async () => {
    const p = await project({ recipe: 'reuse-dont-retrain' });
    const said: string[] = [];
    const options = { ...QUIET, log: (line: string) => said.push(line) };
    const { plan, text } = await planRun(p.config, options);
    const [domain] = plan.shift!.corpora;
    expect(domain!.bitsPerByte!.corpus).toBeGreaterThan(0);
    // Other words, as far as pieces of 40 random words each can be apart, but the same letters for a tokenizer of bytes.
    const { divergence, baseline, sampleTokens } = domain!.frequencies!;
    expect(divergence).toBeGreaterThan(baseline);
    expect(sampleTokens).toBeGreaterThanOrEqual(9984);
    expect(text).toContain('SHIFT');
    expect(plan.reasons.map(({ what }) => what)).toContain('re-warming');
    expect(said.filter((line) => line.startsWith('Measuring how far'))).toHaveLength(1);
    said.length = 0;
    const again = await planRun(p.config, options);
    expect(again.plan.shift).toEqual(plan.shift);
    expect(said.filter((line) => line.startsWith('Measuring how far'))).toEqual([]);
    expect((await planRun(p.config, { ...QUIET, measure: false })).plan.shift).toBeUndefined();
  });

  test('a corpus compared with itself has none', async () => {
    const p = await project({ recipe: 'reuse-dont-retrain' });
    fs.copyFileSync(path.join(p.root, 'general.jsonl'), path.join(p.root, 'domain.jsonl'));
    const { plan } = await planRun(p.config, QUIET);
    expect(plan.shift!.verdict).toBe('none');
    expect(plan.phases[0]!.blend.general).toBe(0.05);
  });
});
