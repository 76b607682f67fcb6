// A checkpoint as a LanguageModel: likelihoods are those of each request's whole text by itself, whatever is scored beside it; texts are
// cut into tokens as lm-evaluation-harness does it (its own numbers: test/python/test_eval_models.py).
import * as path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { Rng } from '../../../src/base/rng.ts';
import { openModel } from '../../../src/checkpoint/index.ts';
import { type LanguageModel, type LikelihoodRequest, nativeModel } from '../../../src/eval/index.ts';
import { RequestEncoder, type Scored } from '../../../src/eval/models/encode.ts';
import { score } from '../../../src/eval/models/score.ts';
import { pickKernels } from '../../../src/kernels/index.ts';
import { type Decoder, loadDecoder } from '../../../src/nn/index.ts';
import { tinyDecoder } from '../../nn/fixtures.ts';

const kernels = pickKernels(() => {});
const source = openModel(path.resolve('data/base-en-8m'));
const tokenizer = source.tokenizer();
const decoder = loadDecoder(source, 'f32', kernels, 'inference');
const encoder = new RequestEncoder(tokenizer, decoder.config.context);
afterAll(() => source.close());

/** f32 sums of a few hundred products in another order, over up to some hundred tokens. */
const TOLERANCE = 1e-3;

/** From the logits of all tokens of one request. */
function alone({ inputs, targets }: Scored, by: Decoder = decoder) {
  const none = new Int32Array(inputs.length);
  const logits = by.logits({ batch: 1, seqLen: inputs.length, inputs, targets: none, docStart: none });
  const vocab = by.config.vocabSize;
  let [logLikelihood, isGreedy] = [0, true];
  targets.forEach((target, i) => {
    const row = logits.subarray((inputs.length - targets.length + i) * vocab).subarray(0, vocab);
    const max = row.reduce((a, b) => Math.max(a, b));
    logLikelihood += row[target]! - max - Math.log(row.reduce((sum, x) => sum + Math.exp(x - max), 0));
    isGreedy &&= row.indexOf(max) === target;
  });
  return { logLikelihood, isGreedy, numTokens: targets.length };
}

async function expectAlone(model: LanguageModel, requests: readonly LikelihoodRequest[], by = encoder): Promise<void> {
  const found = await model.likelihoods(requests);
  expect(found).toHaveLength(requests.length);
  requests.forEach((request, i) => {
    const expected = alone(by.pair(request));
    expect(Math.abs(found[i]!.logLikelihood - expected.logLikelihood), JSON.stringify(request)).toBeLessThan(TOLERANCE);
    expect(found[i]).toMatchObject({ isGreedy: expected.isGreedy, numTokens: expected.numTokens });
  });
}

const SHOTS = Array.from(
  { length: 5 },
  (_, i) => `Question: What comes after ${i}?\nA. ${i}\nB. ${i + 1}\nC. nothing\nD. a horse\nAnswer: B\n\n`,
).join('');

describe('likelihoods', () => {
  const model = nativeModel(source, decoder);

  it('are those of each request alone: few-shot questions with choices of one token', async () => {
    const questions = ['How many legs has a horse?', 'What is the sea?', 'What is the sea made of?'];
    const requests = questions.flatMap((question) =>
      [' A', ' B', ' C', ' D'].map((continuation) => ({
        context: `${SHOTS}Question: ${question}\nA. one\nB. two\nC. water\nD. wood\nAnswer:`,
        continuation,
      })),
    );
    await expectAlone(model, requests);
  });

  it('are those of each request alone: long choices, equal ones, one that begins another, none shared', async () => {
    const context = 'The men went down to the harbour in the evening. They';
    const choices = [' looked at the ships', ' looked at the ships and the sea', ' sang', ' looked at the ships'];
    const requests = [
      ...choices.map((continuation) => ({ context, continuation })),
      { context: `${context} looked at`, continuation: ' the ships' },
      { context: 'Something else altogether:', continuation: ' 1, 2, 3' },
    ];
    await expectAlone(model, requests);
    const [first, , , equal] = await model.likelihoods(requests);
    expect(equal).toEqual(first);
  });

  it('take an empty context, spaces at its end, and any script', async () => {
    await expectAlone(model, [
      { context: '', continuation: 'The beginning of a document' },
      { context: '', continuation: '<|endoftext|>The beginning' },
      { context: 'A word ', continuation: 'follows' },
      { context: ' \n', continuation: 'after nothing but spaces' },
      { context: 'Grüße aus', continuation: ' Köln, 東京 и Москва 🙂' },
      { context: 'e', continuation: '\u0301' },
    ]);
    const spaced = await model.likelihoods([
      { context: 'A word ', continuation: 'follows' },
      { context: 'A word', continuation: ' follows' },
    ]);
    expect(spaced[0]).toEqual(spaced[1]);
  });

  it('lose the beginning of what is too long', async () => {
    const small = nativeModel(source, decoder, { maxTokens: 20 });
    const by = new RequestEncoder(tokenizer, 20);
    const requests = ['now', 'now then', 'in the morning the sea was calm again'].map((continuation) => ({
      context: SHOTS,
      continuation: ` ${continuation}`,
    }));
    for (const request of requests) expect(by.pair(request).inputs).toHaveLength(20);
    await expectAlone(small, requests, by);
    await expect(small.likelihoods([{ context: 'a', continuation: ' a'.repeat(21) }])).rejects.toThrow(
      /expected 1 to 20 tokens, found 21/,
    );
    await expect(small.likelihoods([{ context: 'a', continuation: '' }])).rejects.toThrow(/none of its own/);
  });

  it('do not depend on the number of threads, bit for bit', async () => {
    const requests = [...'ABCDEFGHIJKL'].map((letter, i) => ({
      context: `${SHOTS.slice(0, 60 * i)}Answer:`,
      continuation: ` ${letter} and so on`,
    }));
    const before = kernels.numThreads;
    const byThreads = [];
    for (const threads of [1, 2, 3]) {
      kernels.setNumThreads(threads);
      byThreads.push(await model.likelihoods(requests));
    }
    kernels.setNumThreads(before);
    expect(byThreads[1]).toEqual(byThreads[0]);
    expect(byThreads[2]).toEqual(byThreads[0]);
  });
});

describe('scoring', () => {
  it('reads random trees of prefixes as it reads each sequence', async () => {
    const rng = new Rng(4, 'trees');
    const requests: Scored[] = [];
    const grow = (path: number[], depth: number) => {
      const own = [...path, ...Array.from({ length: 1 + rng.below(40) }, () => rng.below(50))];
      if (depth === 0 || rng.below(4) === 0) {
        const count = 1 + rng.below(own.length);
        const targets = own.slice(own.length - count + 1).concat(rng.below(50));
        requests.push({ inputs: Int32Array.from(own), targets: Int32Array.from(targets) });
      }
      if (depth > 0) for (let i = rng.below(4); i >= 0; i--) grow(own, depth - 1);
    };
    for (let i = 0; i < 4; i++) grow([], 4);
    const tiny = tinyDecoder({}, 'f32', kernels);
    let ticks = 0;
    const found = await score(tiny, requests, true, (done) => {
      ticks = done;
    });
    expect(ticks).toBe(requests.length);
    requests.forEach((request, i) => {
      const expected = alone(request, tiny);
      expect(Math.abs(found[i]!.logLikelihood - expected.logLikelihood), `request ${i}`).toBeLessThan(TOLERANCE);
      expect(found[i]!.isGreedy).toBe(expected.isGreedy);
    });
  });

  it('knows a greedy continuation', async () => {
    const model = nativeModel(source, decoder);
    const [answer] = await model.generate([{ prompt: 'The old man', until: [], maxTokens: 6 }]);
    const [exact, other] = await model.likelihoods([
      { context: 'The old man', continuation: answer! },
      { context: 'The old man', continuation: ` xylophone${answer}` },
    ]);
    expect(exact!.isGreedy).toBe(true);
    expect(other!.isGreedy).toBe(false);
  });
});

describe('rolling likelihoods', () => {
  it('predict every token once, in windows that are full from the second on', async () => {
    const small = nativeModel(source, decoder, { maxTokens: 16 });
    const by = new RequestEncoder(tokenizer, 16);
    const texts = [SHOTS.slice(0, 150), '', 'Short.', SHOTS.slice(0, 31)];
    const found = await small.rollingLikelihoods(texts);
    texts.forEach((text, i) => {
      const windows = by.windows(text);
      expect(windows.flatMap(({ targets }) => [...targets])).toEqual(by.encode(text));
      for (const { inputs } of windows.slice(1)) expect(inputs).toHaveLength(16);
      const expected = windows.reduce((sum, window) => sum + alone(window).logLikelihood, 0);
      expect(Math.abs(found[i]! - expected)).toBeLessThan(TOLERANCE);
    });
    expect(found[1]).toBe(0);
  });
});

describe('generation', () => {
  const model = nativeModel(source, decoder);
  const prompts = ['The old man', 'Once there was', 'In the', 'She said', 'A', 'It was', 'We', 'They', 'Of all', 'No'];

  it('gives what each prompt gives alone', async () => {
    const requests = prompts.map((prompt, i) => ({ prompt, until: ['.', '\n'], maxTokens: 4 + 3 * i }));
    const found = await model.generate(requests);
    for (const [i, request] of requests.entries()) expect(await model.generate([request])).toEqual([found[i]]);
    for (const text of found) expect(text).not.toMatch(/[.\n]/);
  });

  it('cuts at the first of several endings, also inside a token', async () => {
    const [whole] = await model.generate([{ prompt: 'The old man', until: [], maxTokens: 12 }]);
    expect(whole!.length).toBeGreaterThan(12);
    const [middle, later] = [whole!.slice(5, 8), whole!.slice(10, 12)];
    const [cut] = await model.generate([{ prompt: 'The old man', until: [later, middle], maxTokens: 12 }]);
    expect(cut).toBe(whole!.split(later)[0]!.split(middle)[0]);
  });

  it('leaves room for the answer', async () => {
    const small = nativeModel(source, decoder, { maxTokens: 24 });
    const by = new RequestEncoder(tokenizer, 24);
    const end = tokenizer.decode(by.prompt(SHOTS, 8));
    expect(by.prompt(SHOTS, 8)).toHaveLength(16);
    const [long, short] = await small.generate([
      { prompt: SHOTS, until: [], maxTokens: 8 },
      { prompt: end, until: [], maxTokens: 8 },
    ]);
    expect(long).toBe(short);
    await expect(small.generate([{ prompt: 'a', until: [], maxTokens: 24 }])).rejects.toThrow(/expected fewer than/);
  });

  it('draws by seed where a temperature is given', async () => {
    const ask = (seed: number) => model.generate([{ prompt: 'The', until: [], maxTokens: 20, temperature: 1, seed }]);
    expect(await ask(1)).toEqual(await ask(1));
    expect(await ask(1)).not.toEqual(await ask(2));
  });
});

it('is known by weights, precision and room', () => {
  const of = (by: Decoder, maxTokens?: number) => nativeModel(source, by, { maxTokens }).fingerprint;
  expect(of(decoder)).toBe(of(decoder));
  expect(of(decoder, 100)).not.toBe(of(decoder));
  expect(of(loadDecoder(source, 'bf16', kernels, 'inference'))).not.toBe(of(decoder));
  expect(() => nativeModel(source, decoder, { maxTokens: 513 })).toThrow(/expected 1 to the model's context of 512/);
  expect(() => nativeModel(source, decoder).renderChat([{ role: 'user', content: 'Hello' }])).toThrow(
    /no chat template/,
  );
});
