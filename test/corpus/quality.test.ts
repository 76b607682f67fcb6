import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Rng } from '../../src/base/rng.ts';
import { classifyQuality } from '../../src/corpus/index.ts';
import { featuresOf } from '../../src/corpus/quality/features.ts';
import { loadQualityModel, scoreText } from '../../src/corpus/quality/model.ts';
import { areaUnderCurve, reportOn } from '../../src/corpus/quality/report.ts';
import { runInProcess } from '../cli/in-process.ts';
import { make, run } from './steps/helpers.ts';

let folder: string;
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-quality-'));
});
afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

const COMMON = 'the of and to in is that it for on with as was at by this from are or an be'.split(' ');
const GOOD = 'theorem proof lemma define measure function space integral limit bound'.split(' ');
const BAD = 'buy cheap click offer win free deal order now bonus'.split(' ');

/** Sentences of common words, a fifth of them of one kind, a twentieth of the other. */
function texts(kind: readonly string[], other: readonly string[], n: number, seed: number): string[] {
  const rng = new Rng(seed);
  const word = () => {
    const x = rng.float();
    const list = x < 0.2 ? kind : x < 0.25 ? other : COMMON;
    return list[rng.below(list.length)]!;
  };
  return Array.from({ length: n }, () => Array.from({ length: 20 + rng.below(60) }, word).join(' '));
}

const good = texts(GOOD, BAD, 200, 1);
const bad = texts(BAD, GOOD, 300, 2);

function write(name: string, records: readonly object[]): string {
  const file = path.join(folder, name);
  fs.writeFileSync(file, records.map((record) => `${JSON.stringify(record)}\n`).join(''));
  return file;
}

const asText = (list: readonly string[]) => list.map((text) => ({ text }));

function sets(name = 'model.json') {
  return {
    good: [write('good.jsonl', asText(good))],
    bad: [write('bad.jsonl', asText(bad))],
    out: path.join(folder, name),
  };
}

describe('a quality classifier', () => {
  it('tells good from bad documents that it has not seen, and says how sure it is', async () => {
    const { model, numGood, numBad } = await classifyQuality(sets());
    expect([numGood, numBad]).toEqual([200, 300]);
    expect(model.report).toMatchObject({ numTrained: 160 + 240, numGood: 20, numBad: 30 });
    // 600 pairs of held-out documents: some of the short ones hold hardly a word of their kind.
    expect(model.report.auc).toBeGreaterThan(0.95);
    const fresh = { good: texts(GOOD, BAD, 300, 3), bad: texts(BAD, GOOD, 300, 4) };
    const scored = (['good', 'bad'] as const).flatMap((kind) =>
      fresh[kind].map((text) => ({ score: scoreText(model, text), isGood: kind === 'good' })),
    );
    const report = reportOn(scored, 0);
    expect(report.accuracy).toBeGreaterThan(0.95);
    // Far from both ends calibration rests on few documents.
    expect(report.calibrationError).toBeLessThan(0.1);
  });

  it('is the same file for the same documents, whatever their order, and another for another seed', async () => {
    const first = sets('a.json');
    await classifyQuality(first);
    await classifyQuality({
      ...{ good: [write('1.jsonl', asText(good.slice(100))), write('0.jsonl', asText(good.slice(0, 100).reverse()))] },
      ...{ bad: first.bad, out: path.join(folder, 'b.json') },
    });
    await classifyQuality({ ...first, seed: 2, out: path.join(folder, 'c.json') });
    const [a, b, c] = ['a', 'b', 'c'].map((name) => fs.readFileSync(path.join(folder, `${name}.json`), 'utf8'));
    expect(b).toBe(a);
    expect(c).not.toBe(a);
  });

  it('reads labels', async () => {
    await classifyQuality(sets('sets.json'));
    const labelled = write('all.jsonl', [
      ...good.map((text, i) => ({ body: text, mark: ['good', 1, true][i % 3] })),
      ...bad.map((text, i) => ({ body: text, mark: ['bad', 0, false][i % 3] })),
    ]);
    await classifyQuality({
      labelled: [labelled],
      label: 'mark',
      field: 'body',
      out: path.join(folder, 'labels.json'),
    });
    expect(fs.readFileSync(path.join(folder, 'labels.json'))).toEqual(fs.readFileSync(path.join(folder, 'sets.json')));
    const odd = write('odd.jsonl', [{ text: 'x', label: 'middling' }]);
    await expect(classifyQuality({ labelled: [odd], out: 'x' })).rejects.toThrow(/odd\.jsonl:1: label is "middling"/);
  });

  it('counts copies and what is in both sets, once each', async () => {
    const both = write('both.jsonl', asText([...bad, bad[0]!, good[0]!]));
    const summary = await classifyQuality({ ...sets(), bad: [both] });
    expect(summary).toMatchObject({ numGood: 199, numBad: 300, numCopies: 1, numInBoth: 1 });
  });

  it('takes so many documents of each kind, the same whatever their order', async () => {
    const few = { ...sets('a.json'), maxDocuments: 60 };
    expect(await classifyQuality(few)).toMatchObject({ numGood: 60, numBad: 60 });
    await classifyQuality({
      ...few,
      bad: [write('bad2.jsonl', asText([...bad].reverse()))],
      out: path.join(folder, 'b.json'),
    });
    expect(fs.readFileSync(path.join(folder, 'b.json'))).toEqual(fs.readFileSync(path.join(folder, 'a.json')));
  });

  it('refuses too few documents, or one kind alone', async () => {
    const one = write('one.jsonl', asText(good.slice(0, 49)));
    await expect(classifyQuality({ ...sets(), good: [one] })).rejects.toThrow(/at least 50 different ones, found 49/);
    await expect(classifyQuality({ good: [one], out: 'x' })).rejects.toThrow(/--bad/);
  });
});

describe('the step', () => {
  it('scores, and removes below its limit', async () => {
    const { out } = sets();
    await classifyQuality({ ...sets(), out });
    const scores = await make('quality', { model: out });
    const strict = await make('quality', { model: out, min: 0.5 });
    expect(run(scores, good[0]!).metadata.quality).toBeGreaterThan(0.5);
    expect(run(scores, bad[0]!).removed).toBeUndefined();
    expect(run(strict, good[0]!).removed).toBeUndefined();
    expect(run(strict, bad[0]!).removed).toMatchObject({ reason: 'low quality', limit: 0.5 });
    expect(scoreText(loadQualityModel(out), good[0]!)).toBeCloseTo(run(scores, good[0]!).metadata.quality as number, 4);
  });

  it('names a file that is no model', async () => {
    const file = path.join(folder, 'm.json');
    await expect(async () => make('quality', { model: file })).rejects.toThrow(file);
    fs.writeFileSync(file, '{"format":"other"}');
    await expect(async () => make('quality', { model: file })).rejects.toThrow(/not a quality model.*found "other"/);
    const { out } = sets();
    await classifyQuality({ ...sets(), out });
    const model = JSON.parse(fs.readFileSync(out, 'utf8')) as Record<string, unknown>;
    for (const [key, value] of [
      ['weights', (model.weights as string).slice(0, 1000)],
      ['bits', 40],
      ['bias', null],
      ['report', undefined],
    ] as const) {
      fs.writeFileSync(file, JSON.stringify({ ...model, [key]: value }));
      await expect(async () => make('quality', { model: file })).rejects.toThrow(/not a quality model/);
    }
  });
});

describe('features', () => {
  const shape = { bits: 18, charNgram: 0 };

  it('are words and pairs of words, without case and with digits as places', () => {
    expect(featuresOf('One two', shape)).toHaveLength(4);
    expect(featuresOf('ONE  two', shape)).toEqual(featuresOf('one two', shape));
    expect(featuresOf('in 1984', shape)).toEqual(featuresOf('in 2026', shape));
    expect(featuresOf('two one', shape)).not.toEqual(featuresOf('one two', shape));
    expect(featuresOf('今天', shape)).toHaveLength(4);
  });

  it('add n-grams of characters', () => {
    expect(featuresOf('abcdef', { ...shape, charNgram: 4 })).toHaveLength(2 + 2);
  });

  it('are bounded in long texts, and see their end', () => {
    const long = 'word '.repeat(100_000);
    expect(featuresOf(long, shape).length).toBeLessThan(4 * 4096);
    expect(featuresOf(`${long} fin`, shape).at(-2)).toBe(featuresOf('fin', shape)[0]);
  });
});

describe('the report', () => {
  it('has the area under the curve by ranks', () => {
    const scored = (goods: number[], bads: number[]) => [
      ...goods.map((score) => ({ score, isGood: true })),
      ...bads.map((score) => ({ score, isGood: false })),
    ];
    expect(areaUnderCurve(scored([0.9, 0.8], [0.1, 0.2]))).toBe(1);
    expect(areaUnderCurve(scored([0.1], [0.9]))).toBe(0);
    expect(areaUnderCurve(scored([0.5, 0.5], [0.5]))).toBe(0.5);
    expect(areaUnderCurve(scored([0.9, 0.3], [0.5, 0.1]))).toBe(0.75);
  });

  it('weighs both kinds the same', () => {
    const report = reportOn(
      [{ score: 0.9, isGood: true }, ...Array.from({ length: 9 }, () => ({ score: 0.9, isGood: false }))],
      0,
    );
    expect(report.accuracy).toBe(0.5);
    expect(report.calibrationError).toBeCloseTo(0.4, 12);
  });
});

describe('continuo data classify', () => {
  it('trains, writes the model and says what to do with it', async () => {
    const { good, bad, out } = sets();
    const args = ['data', 'classify', '--good', good[0]!, '--bad', bad[0]!, '--out', out];
    const ran = await runInProcess(args);
    expect(ran).toMatchObject({ code: 0, err: '' });
    expect(ran.out).toMatch(/held out\s+20 good, 30 bad: \d+\.\d % right at 0\.5, AUC [01]\.\d{4}/);
    expect(ran.out).toContain(`clean: [web, { quality: { model: ${out}, min: 0.5 } }]`);
    const json = await runInProcess([...args, '--json']);
    expect(JSON.parse(json.out)).toMatchObject({ numGood: 200, numBad: 300, report: { numTrained: 400 } });
    expect(await runInProcess(args.filter((arg, i) => arg !== '--bad' && args[i - 1] !== '--bad'))).toMatchObject({
      code: 2,
      err: expect.stringContaining('--labelled'),
    });
  });
});
