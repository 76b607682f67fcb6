// Documents scored by the base model: values that do not depend on what stands beside them, and a band that is kept.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { packageRoot } from '../../src/base/package.ts';
import { openModel } from '../../src/checkpoint/index.ts';
import { loadConfig } from '../../src/config/index.ts';
import { toBatch } from '../../src/engine/index.ts';
import { loadForInference } from '../../src/nn/index.ts';
import { cleanCorpora } from '../../src/pipeline/corpora.ts';
import { evaluate } from '../../src/pipeline/index.ts';
import { compile } from '../../src/pipeline/run.ts';
import { prepare } from '../../src/pipeline/stages.ts';
import { scoreCorpora } from '../../src/pipeline/surprise.ts';
import { sequenceOf } from '../../src/pipeline/texts.ts';
import { openJob } from '../../src/shards/index.ts';
import { encodeConversation, type Tokenizer } from '../../src/tokenizer/index.ts';
import { runInProcess } from '../cli/in-process.ts';
import { temporaryFolder } from '../runs/fixture.ts';

const root = temporaryFolder();
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));
const MODEL = path.join(packageRoot(), 'data/base-en-8m');

const PROSE =
  'It was the first day of the year, and the men of the house went out into the street to see what had become of the world. ';
const TEXTS = [
  PROSE.repeat(3),
  'qz9 xv#7 ~~kw0 pj1! 3f8a zzq vbn92 @@ lkj8 wq7 mxz0 5tr qpl vv93 ##as 0zx kd8 plm2 qw!'.repeat(2),
  'The king spoke to the people, and they were silent for a long time before any of them answered him.',
  PROSE.repeat(40),
];

function configWith(band: string): ReturnType<typeof loadConfig> {
  const file = path.join(root, 'continuo.yaml');
  fs.writeFileSync(path.join(root, 'docs.jsonl'), TEXTS.map((text) => `${JSON.stringify({ text })}\n`).join(''));
  fs.writeFileSync(
    file,
    `model: ${MODEL}\ncorpora:\n  docs: { path: docs.jsonl, role: domain, bitsPerByte: ${band} }\nbudget: { steps: 1 }\n`,
  );
  return loadConfig(file);
}

async function scored(band: string) {
  const config = configWith(band);
  const cache = path.join(root, 'cache');
  const { curated } = await cleanCorpora(config, cache, { quiet: true });
  const corpus = (await scoreCorpora(config, curated, { model: MODEL, context: 512, cache }, { quiet: true })).get(
    'docs',
  )!;
  const lines = corpus.files.flatMap((file) => fs.readFileSync(file, 'utf8').split('\n').filter(Boolean));
  return {
    corpus,
    documents: lines.map((line) => JSON.parse(line) as { text: string; metadata: { bitsPerByte: number } }),
  };
}

test('each document has the score that it has alone', async () => {
  const { documents } = await scored('{}');
  expect(documents.map(({ text }) => text)).toEqual(TEXTS);
  for (const [i, { metadata }] of documents.entries()) {
    if (i === 3) continue;
    const file = path.join(root, `alone-${i}.jsonl`);
    fs.writeFileSync(file, `${JSON.stringify({ text: TEXTS[i] })}\n`);
    const { rows } = await evaluate(MODEL, { data: [file] }, { quiet: true });
    // The same sums in another batch; the value is kept to four digits.
    expect(metadata.bitsPerByte).toBeCloseTo(rows[0]!.bitsPerByte, 3);
  }
  // Of a long document the beginning is scored: many repeats are foretold well.
  expect(documents[3]!.metadata.bitsPerByte).toBeLessThan(documents[0]!.metadata.bitsPerByte);
});

test('what lies outside the band goes, with its value', async () => {
  const { documents: all } = await scored('{}');
  const values = all.map(({ metadata }) => metadata.bitsPerByte);
  const [known, prose, other, noise] = [values[3]!, values[0]!, values[2]!, values[1]!];
  expect(noise).toBeGreaterThan(Math.max(prose, other));
  const band = `{ min: ${((known + Math.min(prose, other)) / 2).toFixed(3)}, max: ${((noise + Math.max(prose, other)) / 2).toFixed(3)} }`;
  const { corpus, documents } = await scored(band);
  expect(documents.map(({ text }) => text)).toEqual([TEXTS[0], TEXTS[2]]);
  expect(corpus.manifest.steps.at(-1)).toMatchObject({
    name: 'bits-per-byte',
    reasons: { 'too well known': { numDocuments: 1 }, 'too surprising': { numDocuments: 1 } },
  });
});

test('a band that is none, and a model that knows nothing, are refused', () => {
  expect(() => configWith('{ min: 2, max: 1 }')).toThrow('expected min below max, found 2 and 1');
});

const QUESTION = 'What did the king say to the people of the city on the first day of the year?';
const ANSWER = 'The king said to the people of the city that the first day of the year was a day of peace.';
const CONVERSATIONS = [
  { messages: turns(QUESTION, ANSWER) },
  { messages: turns(`Repeat these words. ${ANSWER}`, ANSWER) },
  { text: PROSE },
  { messages: turns('zz9 #q ~~ 0x3f kk jq vv', ANSWER) },
  { messages: [{ role: 'user', content: 'Nobody answers this.' }] },
  ...Array.from({ length: 20 }, (_, i) => ({ text: `${PROSE} ${i}` })),
];

function turns(question: string, answer: string) {
  return [
    { role: 'user' as const, content: question },
    { role: 'assistant' as const, content: answer },
  ];
}

/** By one forward pass each, without anything beside it. */
function meanLosses({ messages }: { messages: ReturnType<typeof turns> }) {
  const source = openModel(MODEL);
  const { decoder } = loadForInference(source, {});
  const tokenizer: Tokenizer = source.tokenizer();
  source.close();
  const { ids, answers } = encodeConversation(tokenizer, messages);
  const answer = ids.filter((_, i) => answers[i] === 1);
  const lossesOf = (list: readonly number[]) => {
    const piece = { ids: Int32Array.from([tokenizer.documentStart, ...list]) };
    return decoder.scoreBatch(toBatch([sequenceOf([piece], list.length)]));
  };
  const mean = (list: ArrayLike<number>) => Array.from(list).reduce((a, b) => a + b, 0) / answer.length;
  return [mean(lossesOf(ids).filter((_, i) => answers[i] === 1)), mean(lossesOf(answer))] as const;
}

test('the difficulty of an answer is its loss after the question over its loss alone', async () => {
  fs.writeFileSync(path.join(root, 'qa.jsonl'), CONVERSATIONS.map((row) => `${JSON.stringify(row)}\n`).join(''));
  const out = path.join(root, 'chosen.jsonl');
  const from = ['--from', path.join(root, 'qa.jsonl'), '--out', out, '--json', '--quiet'];
  process.env.CONTINUO_CACHE = path.join(root, 'cache');
  try {
    const select = ['data', 'select', ...from, '--method', 'ifd', '--model', MODEL, '--clusters', '2'];
    const { code, out: printed, err } = await runInProcess([...select, '--documents', '1']);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    const summary = JSON.parse(printed);
    const [chosen] = fs
      .readFileSync(out, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    const [fits, repeated, , misled] = CONVERSATIONS.map((row) => {
      if (row.messages?.length !== 2) return 0;
      const [withQuestion, alone] = meanLosses({ messages: row.messages as ReturnType<typeof turns> });
      return withQuestion / alone;
    });
    // A question that holds the answer gives it away; noise in the place of a question is none.
    expect(repeated).toBeLessThan(fits!);
    expect(misled).toBeGreaterThan(fits!);
    const best = [fits!, repeated!, misled!].filter((value) => value < 1).sort((a, b) => b - a)[0]!;
    // The value is kept to four digits; the sums are of another batch.
    expect(chosen.weight).toBeCloseTo(best, 3);
    expect(chosen.metadata.ifd).toBe(chosen.weight);
    expect(chosen.id).toBe(`${path.join(root, 'qa.jsonl')}:${best === fits ? 1 : best === repeated ? 2 : 4}`);
    expect(summary.numUndecided).toBe(22 + [fits!, repeated!, misled!].filter((value) => value >= 1).length);
  } finally {
    delete process.env.CONTINUO_CACHE;
  }
});

test('an ordered corpus is read from easy to hard, or from hard to easy, the same way each time', async () => {
  process.env.CONTINUO_CACHE = path.join(root, 'cache');
  const rows = Array.from({ length: 30 }, (_, i) => {
    const noise = 'qz9 xv#7 ~~kw0 pj1! 3f8a zzq vbn92 @@ '.repeat(i % 7);
    return { text: `${PROSE.repeat(1 + (i % 3))}${noise} ${i}` };
  });
  fs.writeFileSync(path.join(root, 'many.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  const orders = [];
  // The third finds all but its job in the cache.
  for (const first of ['low', 'high', 'low']) {
    const folder = path.join(root, `${first}-${orders.length}`);
    fs.mkdirSync(folder);
    const config = path.join(folder, 'continuo.yaml');
    fs.writeFileSync(
      config,
      `model: ${MODEL}\ncorpora:\n  many: { path: ../many.jsonl, role: domain, heldOut: { documents: 2 }, order: { by: bitsPerByte, first: ${first} } }\n` +
        'recipe: naive\nbudget: { epochs: 1 }\ntraining: { seqLen: 512, batchTokens: 512, precision: f32 }\n',
    );
    const prepared = await prepare(config, { quiet: true, measure: false });
    expect(prepared.corpora[0]!.inOrder).toBe(true);
    await compile(prepared, prepared.plan, { quiet: true });
    const job = openJob(path.join(prepared.runFolder, 'job'));
    const source = openModel(MODEL);
    const tokenizer = source.tokenizer();
    source.close();
    const texts: string[] = [];
    for (let i = 0; i < job.job.numSteps * job.job.batch.sequencesPerStep; i++) {
      const { inputs, docStart } = job.sequence(i);
      for (let t = 0; t < inputs.length; t++)
        if (docStart[t] === t && inputs[t] === tokenizer.documentStart) {
          let end = t + 1;
          while (end < inputs.length && docStart[end] === t) end++;
          texts.push(tokenizer.decode([...inputs.subarray(t + 1, end)]));
        }
    }
    job.close();
    orders.push(texts);
  }
  delete process.env.CONTINUO_CACHE;
  const noiseOf = (text: string) => text.split('@@').length - 1;
  const [rising, falling, again] = orders;
  expect(again).toEqual(rising);
  expect(noiseOf(rising![0]!)).toBe(0);
  expect(noiseOf(falling![0]!)).toBeGreaterThan(3);
  // Each document comes once: the last of one order are the first of the other, but for ties.
  const third = Math.floor(rising!.length / 3);
  const mean = (texts: readonly string[]) => texts.reduce((sum, text) => sum + noiseOf(text), 0) / texts.length;
  expect(mean(rising!.slice(0, third))).toBeLessThan(mean(rising!.slice(third, 2 * third)));
  expect(mean(rising!.slice(third, 2 * third))).toBeLessThan(mean(rising!.slice(2 * third)));
});
