// Documents scored by the base model: values that do not depend on what stands beside them, and a band that is kept.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { packageRoot } from '../../src/base/package.ts';
import { loadConfig } from '../../src/config/index.ts';
import { cleanCorpora } from '../../src/pipeline/corpora.ts';
import { evaluate } from '../../src/pipeline/index.ts';
import { scoreCorpora } from '../../src/pipeline/surprise.ts';
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
