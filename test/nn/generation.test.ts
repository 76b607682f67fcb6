// Generation: the cache gives the logits of a full forward pass, sequences beside each other do not change one another, sampling draws
// what its options leave, stops end texts where they should.
import * as path from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { ConfigError, EngineError } from '../../src/base/errors.ts';
import { Rng } from '../../src/base/rng.ts';
import { type Kernels, loadNative, referenceKernels } from '../../src/kernels/index.ts';
import {
  type Decoder,
  GenerationBatch,
  GREEDY,
  generateText,
  KeyValueCache,
  Sampler,
  type SamplingOptions,
  type SequenceOptions,
  StopTexts,
} from '../../src/nn/index.ts';
import { loadTokenizer } from '../../src/tokenizer/index.ts';
import { tinyDecoder, VOCAB } from './fixtures.ts';

const KERNELS: [string, Kernels][] = [['reference', referenceKernels]];
const native = loadNative();
if (native) KERNELS.push(['native', native]);

function randomTokens(length: number, seed: number, vocab = VOCAB): Int32Array {
  const rng = new Rng(seed, 'tokens');
  return Int32Array.from({ length }, () => rng.below(vocab));
}

function fullLogits(decoder: Decoder, tokens: Int32Array): Float32Array {
  const none = new Int32Array(tokens.length);
  return decoder.logits({ batch: 1, seqLen: tokens.length, inputs: tokens, targets: none, docStart: none });
}

describe.each(KERNELS)('a cache, %s kernels', (_name, kernels) => {
  test.each(['f32', 'bf16'] as const)('gives the logits of the whole text at once, %s', (precision) => {
    const decoder = tinyDecoder({}, precision, kernels);
    const tokens = randomTokens(40, 1);
    const expected = fullLogits(decoder, tokens);
    const cache = new KeyValueCache(decoder.config, precision, 3, 40);
    const found: number[] = [];
    let at = 0;
    for (const count of [11, 1, 1, 9, 1, 17]) {
      const segment = { slot: 1, tokens: tokens.subarray(at, at + count), logits: 'all' as const };
      // A stranger beside it, whose logits nobody wants.
      const other = { slot: 2, tokens: randomTokens(at % 3, at), logits: 'none' as const };
      found.push(...decoder.extend(cache, at % 2 ? [other, segment] : [segment, other]));
      at += count;
    }
    const largest = expected.reduce((max, x) => Math.max(max, Math.abs(x)), 0);
    const error = expected.reduce((max, x, i) => Math.max(max, Math.abs(x - found[i]!)), 0);
    // f32: another order of sums. bf16: that moves a rounding of an activation now and then, 2^-9 of its size.
    expect(error / largest).toBeLessThan(precision === 'f32' ? 1e-5 : 2e-2);
    expect([...cache.lengths]).toEqual([0, 40, expect.any(Number)]);
  });

  test('forgets the tokens behind a lowered length', () => {
    const decoder = tinyDecoder({}, 'f32', kernels);
    const cache = new KeyValueCache(decoder.config, 'f32', 1, 30);
    const [kept, forgotten, next] = [randomTokens(12, 1), randomTokens(9, 2), randomTokens(1, 3)];
    decoder.extend(cache, [{ slot: 0, tokens: kept, logits: 'none' }]);
    const before = decoder.extend(cache, [{ slot: 0, tokens: next, logits: 'last' }]).slice();
    decoder.extend(cache, [{ slot: 0, tokens: forgotten, logits: 'none' }]);
    cache.lengths[0] = 12;
    expect(decoder.extend(cache, [{ slot: 0, tokens: next, logits: 'last' }])).toEqual(before);
  });
});

test('a cache beyond learned positions is refused', () => {
  const decoder = tinyDecoder({
    model_type: 'gpt2',
    n_embd: 32,
    n_head: 4,
    n_layer: 1,
    n_positions: 16,
  });
  const cache = new KeyValueCache(decoder.config, 'f32', 1, 17);
  expect(() => decoder.extend(cache, [{ slot: 0, tokens: [1], logits: 'last' }])).toThrow(
    /learned positions for 16 tokens/,
  );
});

const SAMPLED: SamplingOptions = { ...GREEDY, temperature: 0.8, topK: 20, topP: 0.95 };

function options(changes: Partial<SequenceOptions> = {}): SequenceOptions {
  return { maxTokens: 12, stopTokens: new Set(), sampling: GREEDY, ...changes };
}

function alone(decoder: Decoder, prompt: Int32Array, sequenceOptions: SequenceOptions, capacity: number): number[] {
  const batch = new GenerationBatch(decoder, 1, capacity, 8);
  const sequence = batch.add(prompt, sequenceOptions);
  while (batch.isBusy) batch.step();
  return [...sequence.tokens];
}

describe.each(KERNELS)('a batch, %s kernels', (_name, kernels) => {
  // Up to 8 rows a product takes a row by itself; the sums are the same, bit for bit, whatever stands beside it.
  test.each(['f32', 'bf16'] as const)('sequences that join and leave get what they get alone, %s', (precision) => {
    const decoder = tinyDecoder({}, precision, kernels);
    const batch = new GenerationBatch(decoder, 3, 40, 8);
    const cases = [3, 19, 8, 1, 11, 6].map((length, i) => ({
      prompt: randomTokens(length, i),
      options: options({ maxTokens: 5 + 3 * i, sampling: { ...SAMPLED, seed: i } }),
    }));
    const sequences = cases.slice(0, 4).map((each) => batch.add(each.prompt, each.options));
    for (let i = 0; i < 6; i++) batch.step();
    sequences.push(...cases.slice(4).map((each) => batch.add(each.prompt, each.options)));
    while (batch.isBusy) batch.step();
    cases.forEach((each, i) => {
      expect(sequences[i]!.tokens, `sequence ${i}`).toEqual(alone(decoder, each.prompt, each.options, 40));
      expect(sequences[i]!.finished).toBe('length');
      expect(sequences[i]!.tokens).toHaveLength(each.options.maxTokens);
    });
  });
});

describe.each(KERNELS)('log-probabilities, %s kernels', (_name, kernels) => {
  const decoder = tinyDecoder({}, 'f32', kernels);
  const prompt = randomTokens(21, 5);
  const run = (changes: Partial<SequenceOptions>, of = prompt) => {
    const batch = new GenerationBatch(decoder, 1, 40, 8);
    const sequence = batch.add(of, options(changes));
    while (batch.isBusy) batch.step();
    return sequence;
  };
  /** Log-softmax of the whole text's logits at a place. */
  const expected = (text: Int32Array, at: number) => {
    const row = fullLogits(decoder, text).subarray(at * VOCAB, (at + 1) * VOCAB);
    const shift = Math.log(row.reduce((sum, x) => sum + Math.exp(x), 0));
    return row.map((x) => x - shift);
  };

  test('of prompt and answer, with the likeliest, are those of the whole text', () => {
    const { tokens, logprobs, promptLogprobs } = run({ numTop: 3, scorePrompt: true, maxTokens: 4 });
    const text = Int32Array.from([...prompt, ...tokens]);
    expect(promptLogprobs).toHaveLength(prompt.length);
    expect(promptLogprobs[0]).toBeUndefined();
    for (const [i, found] of [...promptLogprobs, ...logprobs].entries()) {
      if (!found) continue;
      const row = expected(text, i - 1);
      const order = [...row.keys()].sort((a, b) => row[b]! - row[a]!);
      expect(found.token).toBe(text[i]);
      // f32 sums in another order.
      expect(Math.abs(found.logprob - row[text[i]!]!)).toBeLessThan(1e-4);
      expect(found.top.map(({ token }) => token)).toEqual(order.slice(0, 3));
      expect(found.top.every(({ token, logprob }) => Math.abs(logprob - row[token]!) < 1e-4)).toBe(true);
    }
  });

  test('without a token to generate the prompt alone is scored, up to the slot’s end', () => {
    const full = randomTokens(40, 6);
    const { tokens, finished, promptLogprobs } = run({ numTop: 0, scorePrompt: true, maxTokens: 0 }, full);
    expect([tokens, finished]).toEqual([[], 'length']);
    expect(promptLogprobs).toHaveLength(40);
    expect(() => run({}, full)).toThrow(/has 40 tokens: expected at most 39/);
  });

  test('are the model’s own, whatever the sampler makes of its logits, and told for the stop token', () => {
    const plain = run({ numTop: 1, maxTokens: 1 });
    const [first] = plain.tokens;
    const stopped = run({
      numTop: 1,
      stopTokens: new Set([first!]),
      sampling: { ...GREEDY, temperature: 0.01, repetitionPenalty: 1.0001 },
    });
    expect(stopped).toMatchObject({ tokens: [], finished: 'stop', stopToken: first });
    expect(stopped.logprobs).toEqual(plain.logprobs);
  });
});

describe.each(KERNELS)('prompts that begin alike, %s kernels', (_name, kernels) => {
  test.each(['f32', 'bf16'] as const)('are read once, with the bits of being read alone, %s', (precision) => {
    const decoder = tinyDecoder({}, precision, kernels);
    const counted = vi.spyOn(decoder, 'extend');
    const shots = randomTokens(37, 1);
    const cases = [3, 11, 3, 20].map((length, i) => ({
      prompt: Int32Array.from([...shots.subarray(0, 37 - 3 * i), ...randomTokens(length, 10 + i)]),
      options: options({ sampling: { ...SAMPLED, seed: i } }),
    }));
    // Side by side, behind each other in the same slot, and the same prompt again.
    const batch = new GenerationBatch(decoder, 2, 80, 8);
    const all = [...cases, cases[1]!];
    const sequences = all.map((each) => batch.add(each.prompt, each.options));
    while (batch.isBusy) batch.step();
    const numRead = counted.mock.calls.reduce(
      (sum, [, segments]) =>
        sum + segments.reduce((rows, { tokens }) => rows + (tokens.length > 1 ? tokens.length : 0), 0),
      0,
    );
    counted.mockRestore();
    all.forEach((each, i) => {
      expect(sequences[i]!.tokens, `sequence ${i}`).toEqual(alone(decoder, each.prompt, each.options, 80));
    });
    const numTokens = all.reduce((sum, { prompt }) => sum + prompt.length, 0);
    expect(numRead).toBeLessThan(numTokens - 3 * 24);
  });
});

describe('a batch', () => {
  const decoder = tinyDecoder({}, 'f32', native ?? referenceKernels);
  const prompt = randomTokens(5, 9);

  test('frees the slot of a sequence that is taken out', () => {
    const batch = new GenerationBatch(decoder, 1, 40);
    const [first, second] = [batch.add(prompt, options()), batch.add(prompt, options())];
    batch.step();
    batch.step();
    batch.remove(first);
    while (batch.isBusy) batch.step();
    expect(first.tokens).toHaveLength(2);
    expect(first.finished).toBeUndefined();
    expect(second.tokens).toEqual(alone(decoder, prompt, options(), 40));
  });

  test('ends before a stop token, and where the slot is full', () => {
    const tokens = alone(decoder, prompt, options(), 40);
    const stop = tokens[4]!;
    const stopTokens = new Set([stop, VOCAB + 1]);
    expect(alone(decoder, prompt, options({ stopTokens }), 40)).toEqual(tokens.slice(0, tokens.indexOf(stop)));
    expect(alone(decoder, prompt, options(), 12)).toEqual(tokens.slice(0, 7));
  });

  test('gives steady sequences the same bits among many', () => {
    const bf16 = tinyDecoder({}, 'bf16', native ?? referenceKernels);
    const steady = options({ isSteady: true, maxTokens: 20, sampling: { ...SAMPLED, seed: 3 } });
    const batch = new GenerationBatch(bf16, 21, 40, 64);
    const others = Array.from({ length: 18 }, (_, i) =>
      batch.add(randomTokens(4 + i, i), options({ maxTokens: 10 + (i % 7) })),
    );
    const found = [5, 7, 30].map((length) => batch.add(randomTokens(length, 50), { ...steady, maxTokens: 10 }));
    while (batch.isBusy) batch.step();
    expect(others.every(({ finished }) => finished)).toBe(true);
    for (const { prompt: each, tokens } of found)
      expect(tokens).toEqual(alone(bf16, each, { ...steady, maxTokens: 10 }, 40));
  });

  test('reads long prompts in turns: a short one behind two long ones does not wait for them', () => {
    const batch = new GenerationBatch(decoder, 3, 40, 8);
    const [long, , short] = [32, 33, 6].map((length) => batch.add(randomTokens(length, length), options()));
    for (let i = 0; i < 3; i++) batch.step();
    // Three chunks in the first step, while nobody else is there to wait.
    expect(short!.tokens).toHaveLength(3);
    expect(long!.tokens).toHaveLength(0);
    while (batch.isBusy) batch.step();
    expect(long!.tokens).toEqual(alone(decoder, long!.prompt, options(), 40));
  });

  test('refuses prompts without room for an answer', () => {
    const batch = new GenerationBatch(decoder, 1, 5);
    expect(() => batch.add(prompt, options())).toThrow(/has 5 tokens: expected at most 4/);
    expect(() => batch.add(new Int32Array(0), options())).toThrow(ConfigError);
    expect(batch.isBusy).toBe(false);
  });
});

describe('sampling', () => {
  // Probabilities 0.5, 0.25, 0.125, 0.0625, 0.0625, shuffled among tokens that never come.
  const PROBABILITIES = new Map([
    [7, 0.5],
    [2, 0.25],
    [11, 0.125],
    [0, 0.0625],
    [5, 0.0625],
  ]);
  const logits = () => Float32Array.from({ length: 13 }, (_, id) => Math.log(PROBABILITIES.get(id) ?? 0) + 3);
  const frequencies = (changes: Partial<SamplingOptions>, draws = 4000) => {
    const sampler = new Sampler({ ...GREEDY, temperature: 1, seed: 4, ...changes }, []);
    const counts = new Map<number, number>();
    for (let i = 0; i < draws; i++) {
      const id = sampler.next(logits());
      counts.set(id, (counts.get(id) ?? 0) + 1 / draws);
    }
    return counts;
  };
  /** Drawn are exactly these tokens, each as often as its share says. */
  const expectShares = (found: Map<number, number>, ids: number[], power = 1) => {
    expect([...found.keys()].sort((a, b) => a - b)).toEqual(ids.toSorted((a, b) => a - b));
    const total = ids.reduce((sum, id) => sum + PROBABILITIES.get(id)! ** power, 0);
    // Four standard errors of 4000 draws are at most 0.032.
    for (const id of ids)
      expect(Math.abs(found.get(id)! - PROBABILITIES.get(id)! ** power / total)).toBeLessThan(0.032);
  };

  test('draws what the model predicts', () => expectShares(frequencies({}), [7, 2, 11, 0, 5]));
  test('temperature', () => expectShares(frequencies({ temperature: 0.5 }), [7, 2, 11, 0, 5], 2));
  test('top-k', () => expectShares(frequencies({ topK: 3 }), [7, 2, 11]));
  test('top-k beyond the vocabulary', () => expectShares(frequencies({ topK: 100 }), [7, 2, 11, 0, 5]));
  test('top-p takes the token that reaches it', () => {
    expectShares(frequencies({ topP: 0.5 }), [7]);
    expectShares(frequencies({ topP: 0.51 }), [7, 2]);
  });
  test('top-p counts what top-k left', () => expectShares(frequencies({ topK: 2, topP: 0.6 }), [7]));
  test('min-p', () => {
    expectShares(frequencies({ minP: 0.2 }), [7, 2, 11]);
    expectShares(frequencies({ minP: 0.4, topP: 0.99 }), [7, 2]);
  });

  test('greedy takes the lowest of equals', () => {
    expect(new Sampler(GREEDY, []).next(Float32Array.of(1, 3, 2, 3))).toBe(1);
  });

  test('repetition penalty: positive logits are divided, negative ones multiplied, in prompt and answer', () => {
    const sampler = new Sampler({ ...GREEDY, repetitionPenalty: 2 }, [1]);
    const row = () => Float32Array.of(2.2, 4, 2.1, -1);
    expect([sampler.next(row()), sampler.next(row()), sampler.next(row())]).toEqual([0, 2, 1]);
    expect(new Sampler({ ...GREEDY, repetitionPenalty: 2 }, [0]).next(Float32Array.of(-1, -1.5))).toBe(1);
  });

  test('presence and frequency penalties count the answer alone, biases are added', () => {
    const row = () => Float32Array.of(3, 2.5, 2, 1);
    const draw = (changes: Partial<SamplingOptions>, count: number) => {
      const sampler = new Sampler({ ...GREEDY, ...changes }, [0, 0, 1]);
      return Array.from({ length: count }, () => sampler.next(row()));
    };
    expect(draw({ presencePenalty: 0.7 }, 4)).toEqual([0, 1, 0, 0]);
    expect(draw({ frequencyPenalty: 0.7 }, 4)).toEqual([0, 1, 0, 2]);
    expect(draw({ logitBias: new Map([[3, 5]]) }, 1)).toEqual([3]);
    expect(draw({ logitBias: new Map([[0, -100]]) }, 1)).toEqual([1]);
  });

  test('the same seed gives the same tokens, another seed others', () => {
    const draw = (seed: number) => {
      const sampler = new Sampler({ ...GREEDY, temperature: 1, seed }, []);
      return Array.from({ length: 40 }, () => sampler.next(logits()));
    };
    expect(draw(1)).toEqual(draw(1));
    expect(draw(1)).not.toEqual(draw(2));
  });

  test('the likeliest of a large vocabulary are those of a full sort', () => {
    const rng = new Rng(8);
    for (const [spread, topK, topP] of [
      [1, 50, 1],
      [8, 500, 1],
      [60, 3000, 1],
      [1, 0, 0.9],
      [6, 0, 0.99],
    ] as const) {
      const row = Float32Array.from({ length: 5000 }, () => rng.normal() * spread);
      const order = Array.from(row.keys()).sort((a, b) => row[b]! - row[a]! || a - b);
      const weights = order.map((id) => Math.exp(row[id]! - row[order[0]!]!));
      const total = weights.reduce((a, b) => a + b, 0);
      let numKept = topK;
      for (let mass = 0; topK === 0 && mass < topP * total; numKept++) mass += weights[numKept]!;
      const kept = new Set(order.slice(0, numKept));
      const sampler = new Sampler({ ...GREEDY, temperature: 1, topK, topP }, []);
      const drawn = Array.from({ length: 60 }, () => sampler.next(row.slice()));
      expect(drawn.every((id) => kept.has(id))).toBe(true);
      expect(new Set(drawn).size).toBeGreaterThan(spread === 1 ? 20 : 0);
    }
  });

  test.each([
    [{ temperature: -1 }, 'temperature: expected a number from 0, found -1.'],
    [{ topK: 1.5 }, 'top-k: expected a whole number from 0, found 1.5.'],
    [{ topP: 0 }, 'top-p: expected a number above 0, at most 1, found 0.'],
    [{ minP: 2 }, 'min-p: expected a number from 0 to 1, found 2.'],
    [{ repetitionPenalty: 0 }, 'repetition-penalty: expected a positive number, found 0.'],
    [{ seed: 0.5 }, 'seed: expected a whole number, found 0.5.'],
  ])('%j is refused', (changes, message) => {
    expect(() => new Sampler({ ...GREEDY, ...changes }, [])).toThrow(new ConfigError(message));
  });

  test('logits that are no numbers are an error', () => {
    const broken = () => new Float32Array(4).fill(Number.NaN);
    expect(() => new Sampler(GREEDY, []).next(broken())).toThrow(EngineError);
    expect(() => new Sampler(GREEDY, []).next(Float32Array.of(1, Infinity))).toThrow(EngineError);
  });
});

describe('stop texts', () => {
  const run = (stops: string[], pieces: string[]) => {
    const finder = new StopTexts(stops);
    const out: string[] = [];
    for (const piece of pieces) {
      out.push(finder.push(piece));
      if (finder.found) return { out, found: true };
    }
    return { out: [...out, finder.end()], found: false };
  };

  test('are found across pieces and cut off', () => {
    expect(run(['\n\n'], ['one\n', '\ntwo'])).toEqual({ out: ['one', ''], found: true });
  });
  test('the first of several', () => {
    expect(run(['three', 'wo'], ['one two three'])).toEqual({ out: ['one t'], found: true });
  });
  test('a beginning that comes to nothing is given back', () => {
    expect(run(['END'], ['aE', 'N', 'Ex', 'EN'])).toEqual({ out: ['a', '', 'ENEx', '', 'EN'], found: false });
  });
  test('none', () => expect(run([], ['a', 'b'])).toEqual({ out: ['a', 'b', ''], found: false }));
  test('an empty one is refused', () => expect(() => new StopTexts([''])).toThrow(ConfigError));
});

describe('text', () => {
  const tokenizer = loadTokenizer(path.join(import.meta.dirname, '../fixtures/byte-tokenizer'));
  const decoder = tinyDecoder({ vocab_size: 257 }, 'f32', native ?? referenceKernels);
  const prompt = Int32Array.from([tokenizer.documentStart, ...tokenizer.encode('Grüße')]);
  const sampling = { ...SAMPLED, temperature: 1.5, topK: 0, topP: 1 };
  const request = { maxTokens: 40, stop: [] as string[], stopTokens: new Set<number>(), sampling };

  async function collect(changes: Partial<typeof request> = {}) {
    const pieces: string[] = [];
    const generator = generateText(decoder, tokenizer, prompt, { ...request, ...changes });
    for (;;) {
      const { done, value } = await generator.next();
      if (done) return { pieces, ...value };
      pieces.push(value);
    }
  }

  test('comes in pieces that make up the whole, which is that of the tokens', async () => {
    const { pieces, text, tokens, finishReason } = await collect();
    expect(tokens).toHaveLength(40);
    expect(finishReason).toBe('length');
    expect(pieces.length).toBeGreaterThan(5);
    expect(pieces.join('')).toBe(text);
    expect(text).toBe(tokenizer.decode(tokens));
  });

  test('the same seed gives the same text', async () => {
    const [first, second, other] = [
      await collect(),
      await collect(),
      await collect({ sampling: { ...sampling, seed: 9 } }),
    ];
    expect(second.text).toBe(first.text);
    expect(other.text).not.toBe(first.text);
  });

  test('ends before a stop text', async () => {
    const { text } = await collect();
    const stop = text.slice(6, 9);
    const stopped = await collect({ stop: [stop] });
    expect(stopped.text).toBe(text.slice(0, text.indexOf(stop)));
    expect(stopped.pieces.join('')).toBe(stopped.text);
    expect(stopped.finishReason).toBe('stop');
  });

  test('is refused where the prompt fills the context', async () => {
    const long = new Int32Array(64);
    await expect(generateText(decoder, tokenizer, long, request).next()).rejects.toThrow(
      /the prompt has 64 tokens, the model's context 64: no room/,
    );
  });
});
