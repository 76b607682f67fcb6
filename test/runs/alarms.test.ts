// Each alarm is provoked, and healthy records provoke none.
import { describe, expect, test } from 'vitest';
import { Rng } from '../../src/base/rng.ts';
import type { AlarmName } from '../../src/config/index.ts';
import type { WritingRecord } from '../../src/engine/index.ts';
import type { EvalResults } from '../../src/eval/index.ts';
import { Bigrams } from '../../src/runs/alarms/bigram.ts';
import { AlarmWatch, type StepRecord, type WatchFacts } from '../../src/runs/index.ts';
import { answers, madeResults } from '../eval/results.ts';

const LIMITS: Record<AlarmName, number> = {
  general: 3,
  tasks: 10,
  writing: 0,
  spike: 6,
  gradNorm: 5,
  nonFinite: 0,
  experts: 50,
  overtraining: 0.5,
  epochs: 4,
  speed: 50,
  disk: 2,
};

function makeWatch(facts: Partial<WatchFacts> = {}): AlarmWatch {
  const watch = Object.fromEntries(Object.entries(LIMITS).map(([name, limit]) => [name, { limit, actions: ['note'] }]));
  return new AlarmWatch(watch, {
    numEvaluations: 11,
    numSamplings: 11,
    tokensByCorpus: { manual: 100_000, web: 1_000_000 },
    blendOf: () => ({ manual: 0.5, web: 0.5 }),
    ...facts,
  });
}

/** A healthy run: the loss falls, with noise; 1000 tokens a step. */
function stepsOf(
  numSteps: number,
  change: (step: number, record: StepRecord) => Partial<StepRecord> = () => ({}),
): StepRecord[] {
  const rng = new Rng(3, 'steps');
  const noise = () => rng.float() + rng.float() + rng.float() + rng.float() - 2;
  return Array.from({ length: numSteps }, (_, step) => {
    const base = 2 + Math.exp(-step / 50);
    const manual = base + 0.2 * noise();
    const web = base + 1 + 0.2 * noise();
    const record: StepRecord = {
      step,
      loss: (manual + web) / 2,
      lossByCorpus: { manual, web },
      gradNorm: Math.exp(0.2 * noise()),
      tokens: 1000 * (step + 1),
      tokensPerSecond: 200 * (1 + 0.1 * noise()),
      stepMs: 5000,
      phase: 'only',
    };
    return { ...record, ...change(step, record) };
  });
}

const sounds = (watch: AlarmWatch, steps: readonly StepRecord[]) =>
  steps.flatMap((step) => watch.step(step)).map(({ alarm, subject, step }) => [alarm, subject ?? '', step]);

describe('steps', () => {
  test('a healthy run of 600 steps is silent', () => {
    expect(sounds(makeWatch(), stepsOf(600))).toEqual([]);
  });

  test('a loss spike is heard at its second step, once, and names the batches', () => {
    const spike = (step: number, { loss, lossByCorpus }: StepRecord) =>
      step >= 100 && step < 106
        ? { loss: loss + 2, lossByCorpus: { manual: lossByCorpus.manual! + 2, web: lossByCorpus.web! + 2 } }
        : {};
    const watch = makeWatch();
    const alarms = stepsOf(300, spike).flatMap((step) => watch.step(step));
    expect(alarms.map(({ alarm }) => alarm)).toEqual(['spike']);
    expect(alarms[0]!.step).toBeLessThanOrEqual(102);
    expect(alarms[0]!.steps!.first).toBe(100);
    expect(alarms[0]!.steps!.last).toBe(alarms[0]!.step - 1);
  });

  test('a blend that moves raises the loss of the batch, and is no spike', () => {
    const moved = (step: number, { loss }: StepRecord) => (step >= 100 ? { loss: loss + 0.5 } : {});
    expect(sounds(makeWatch(), stepsOf(200, moved))).toEqual([]);
  });

  test('another phase is held against its own steps', () => {
    const next = (step: number, { loss, lossByCorpus: { manual, web } }: StepRecord) =>
      step >= 100 ? { phase: 'next', loss: loss + 2, lossByCorpus: { manual: manual! + 2, web: web! + 2 } } : {};
    expect(sounds(makeWatch(), stepsOf(200, next))).toEqual([]);
  });

  test('a gradient norm that grows tenfold', () => {
    const grown = (step: number, { gradNorm }: StepRecord) => (step >= 80 ? { gradNorm: 10 * gradNorm } : {});
    const [first, ...rest] = sounds(makeWatch(), stepsOf(120, grown));
    expect(first!.slice(0, 2)).toEqual(['gradNorm', '']);
    expect(first![2]).toBeLessThanOrEqual(83);
    expect(rest).toEqual([]);
  });

  test('a corpus read more often than its limit, at the step that it happens', () => {
    // Half of 1000 tokens a step: 100,000 tokens are read four times after 800 steps; 1 % is let pass.
    const steps = stepsOf(820);
    expect(sounds(makeWatch(), steps)).toEqual([['epochs', 'manual', 809]]);
    expect(sounds(makeWatch({ maxEpochs: { manual: 5 } }), steps)).toEqual([]);
  });

  test('a machine that slows to a third, after a minute', () => {
    const slow = (step: number, { tokensPerSecond, stepMs }: StepRecord) =>
      step >= 100 ? { tokensPerSecond: tokensPerSecond / 3, stepMs: 3 * stepMs } : {};
    const [[alarm, , step]] = sounds(makeWatch(), stepsOf(200, slow)) as [[string, string, number]];
    expect(alarm).toBe('speed');
    // Looked at every 20 steps: at 121 the 20 newest were slow.
    expect(step).toBe(121);
  });

  test('an expert that takes all, and one that gets nothing; not where the model came so', () => {
    const load = (maxLoad: number, minLoad: number): Partial<StepRecord> => ({
      experts: {
        maxLoad,
        minLoad,
        entropy: 1,
        auxLoss: 0,
        zLoss: 0,
        byLayer: { maxLoad: [], minLoad: [], entropy: [] },
      },
    });
    const experts = { num: 8, perToken: 2 };
    const collapsing = stepsOf(300, (step) => (step < 100 ? load(1.5, 0.5) : load(3.8, 0)));
    // A median over 100 steps turns after 50 of them; of an even 25 %, 95 %: most of the way.
    expect(sounds(makeWatch({ experts }), collapsing)).toEqual([
      ['experts', 'overloaded', 150],
      ['experts', 'dead', 151],
    ]);
    expect(
      sounds(
        makeWatch({ experts }),
        stepsOf(300, () => load(3.8, 0)),
      ),
    ).toEqual([]);
    // The jump at a change of data comes back.
    const jump = stepsOf(300, (step) => (step < 100 || step > 140 ? load(1.5, 0.5) : load(3.8, 0)));
    expect(sounds(makeWatch({ experts }), jump)).toEqual([]);
  });

  test('an alarm that goes on sounds again only when it is twice as bad', () => {
    const watch = makeWatch();
    const free = (gigabytes: number, i: number) => watch.disk(30 * i, gigabytes * 1e9, 1e9).length;
    expect([5, 1.9, 1.8, 1, 0.9, 0.4].map(free)).toEqual([0, 1, 0, 0, 1, 1]);
    // Gone, and back: a new one, unless it is within 20 steps.
    expect([watch.disk(160, 5e9, 1e9), watch.disk(165, 1e9, 1e9), watch.disk(190, 5e9, 1e9)].flat()).toEqual([]);
    expect(watch.disk(200, 1e9, 1e9)).toHaveLength(1);
  });
});

const NUM_DOCUMENTS = 60;

/** A set whose documents' bits per byte differ much among each other, and little from evaluation to evaluation. */
function measured(step: number, general: number, domain: number, noise = 0.01) {
  const rng = new Rng(step, 'documents');
  const bytes = Array.from({ length: NUM_DOCUMENTS }, (_, i) => 1000 + 10 * i);
  const set = (bitsPerByte: number, role: 'general' | 'domain') => {
    const nats = bytes.map(
      (size, i) => (bitsPerByte + 0.3 * Math.sin(i) + noise * (rng.float() - 0.5)) * size * Math.LN2,
    );
    const total = bytes.reduce((sum, size) => sum + size, 0);
    const score = { role, lossNats: 0, perplexity: 0, numTokens: 1, numBytes: total, numDocuments: NUM_DOCUMENTS };
    return {
      score: { ...score, bitsPerByte: nats.reduce((sum, x) => sum + x, 0) / total / Math.LN2 },
      documents: { bytes, nats },
    };
  };
  const [web, manual] = [set(general, 'general'), set(domain, 'domain')];
  return {
    record: { step, sets: { web: web.score, manual: manual.score } },
    documents: { web: web.documents, manual: manual.documents },
  };
}

describe('held-out text', () => {
  const sequence = (generals: readonly number[], domains: readonly number[], noise?: number) => {
    const watch = makeWatch();
    return generals.flatMap((general, i) => {
      const { record, documents } = measured(100 * i, general, domains[i]!, noise);
      return watch.evaluated(record, documents).map(({ alarm, subject, step }) => [alarm, subject, step]);
    });
  };
  const falling = [2, 1.9, 1.8, 1.75, 1.7, 1.68];

  test('general text above its band, at the first evaluation where it is', () => {
    expect(sequence([1.7, 1.72, 1.74, 1.78, 1.8, 1.82], falling)).toEqual([['general', 'web', 300]]);
  });

  test('within the band, or beyond it within the noise, nothing sounds', () => {
    expect(sequence([1.7, 1.72, 1.74, 1.745, 1.74, 1.73], falling)).toEqual([]);
    expect(sequence([1.7, 1.76, 1.76, 1.76, 1.76, 1.76], falling, 1)).toEqual([]);
  });

  test('domain text that gets worse while its training loss falls', () => {
    const watch = makeWatch();
    const turning = [2, 1.9, 1.85, 1.84, 1.86, 1.87];
    const steps = stepsOf(501, (step, { loss }) => ({ lossByCorpus: { manual: loss - step / 500, web: loss } }));
    const alarms = turning.flatMap((domain, i) => {
      const { record, documents } = measured(100 * i, 1.7, domain);
      const found = watch.evaluated(record, documents);
      for (const step of steps.slice(100 * i, 100 * (i + 1))) watch.step(step);
      return found;
    });
    expect(alarms.map(({ alarm, subject, step }) => [alarm, subject, step])).toEqual([['overtraining', 'manual', 400]]);
    // Where the training loss stands still, the set alone got harder: another matter.
    expect(sequence([1.7, 1.7, 1.7, 1.7], [2, 1.9, 1.95, 2])).toEqual([]);
  });
});

describe('writing', () => {
  const rng = new Rng(5, 'writing');
  const WORDS = 'the river and a town of stone where people lived by trade until one day it rained for weeks'.split(
    ' ',
  );
  const prose = (): number[] => Array.from({ length: 60 }, (_, i) => (i * 7 + rng.below(3)) % WORDS.length);
  const record = (step: number, tokensOf: (i: number) => number[], ended = false): WritingRecord => ({
    step,
    samples: Array.from({ length: 32 }, (_, i) => {
      const tokens = tokensOf(i);
      return { prompt: `prompt ${i}`, text: tokens.map((id) => WORDS[id]).join(' '), lastOfPrompt: 0, tokens, ended };
    }),
  });
  const reference = new Bigrams();
  for (let i = 0; i < 50; i++) reference.add(prose());
  const heard = (next: WritingRecord, first = record(0, prose)) => {
    const watch = makeWatch({ reference: () => reference });
    watch.wrote(first);
    return watch.wrote(next).map(({ alarm, subject }) => [alarm, subject]);
  };

  test("other samples of the same kind are like the base's", () => {
    expect(heard(record(100, prose))).toEqual([]);
  });

  test('loops are repetition', () => {
    expect(heard(record(100, () => Array.from({ length: 60 }, (_, i) => i % 4)))).toContainEqual([
      'writing',
      'repetition',
    ]);
  });

  test('words in no order are incoherence', () => {
    const salad = () => Array.from({ length: 60 }, () => rng.below(WORDS.length));
    expect(heard(record(100, salad))).toEqual([['writing', 'incoherence']]);
  });

  test('samples in another language than their prompts, where the base kept to it', () => {
    const sentences = {
      english:
        'the river runs through the town, and the people who live there go to the market every morning to buy bread',
      german:
        'der Fluss fließt durch die Stadt, und die Leute, die dort wohnen, gehen jeden Morgen auf den Markt und kaufen Brot',
    };
    // Tokens alike, so that language alone differs.
    const written = (step: number, languageOf: (i: number) => keyof typeof sentences): WritingRecord => {
      const { samples } = record(step, () => [0, 1, 2, 3]);
      return {
        step,
        samples: samples.map((sample, i) => ({
          ...sample,
          prompt: `When the sun had set, the people of the village number ${i} went home and`,
          text: sentences[languageOf(i)],
        })),
      };
    };
    const base = written(0, () => 'english');
    expect(
      heard(
        written(100, (i) => (i % 3 === 0 ? 'english' : 'german')),
        base,
      ),
    ).toEqual([['writing', 'language']]);
    // One in five is under a quarter.
    expect(
      heard(
        written(100, (i) => (i % 5 === 0 ? 'german' : 'english')),
        base,
      ),
    ).toEqual([]);
    // A base that did so before: nothing was lost.
    const mixed = written(0, (i) => (i % 3 === 0 ? 'english' : 'german'));
    expect(
      heard(
        written(100, (i) => (i % 3 === 0 ? 'english' : 'german')),
        mixed,
      ),
    ).toEqual([]);
  });

  test('nothing written, and answers that no longer end', () => {
    expect(heard(record(100, () => []))).toContainEqual(['writing', 'empty']);
    expect(heard(record(100, prose), record(0, prose, true))).toEqual([['writing', 'endless']]);
  });
});

describe('tasks', () => {
  // Like IFEval: instructions that are followed or not, and a second task that stays.
  const measured = (numFollowed: number, numKnown = 150) =>
    madeResults('model', [
      { task: 'instructions', metric: 'inst_level_strict_acc', scores: answers(200, numFollowed) },
      { task: 'knowledge', scores: answers(200, numKnown) },
    ]);
  const heard = (...results: EvalResults[]) => {
    const watch = makeWatch();
    return results.flatMap((result, i) =>
      watch.measured(100 * i, result).map(({ alarm, subject, step, message }) => [alarm, subject, step, message]),
    );
  };

  test('instructions that are no longer followed are heard, at the measurement where it is so, once', () => {
    const [first, ...rest] = heard(measured(160), measured(158), measured(120), measured(118));
    expect(first!.slice(0, 3)).toEqual(['tasks', 'instructions', 200]);
    expect(first![3]).toMatch(/^instructions: inst_level_strict_acc 0\.6, the base's 0\.8: 25 % below, limit 10 %/);
    expect(rest).toEqual([]);
  });

  test('a fall within the limit, or one that chance explains, is none', () => {
    expect(heard(measured(160), measured(150), measured(155))).toEqual([]);
    const few = (numRight: number) => madeResults('model', [{ task: 'instructions', scores: answers(10, numRight) }]);
    expect(heard(few(8), few(6))).toEqual([]);
  });

  test('perplexity falls upwards', () => {
    const texts = (nats: number) =>
      madeResults('model', [
        {
          task: 'texts',
          metric: 'word_perplexity',
          higherIsBetter: false,
          scores: Array.from({ length: 60 }, (_, i): [number, number] => [-nats * (100 + i), 100 + i]),
        },
      ]);
    expect(heard(texts(2), texts(2.4)).map((alarm) => alarm.slice(0, 3))).toEqual([['tasks', 'texts', 100]]);
    expect(heard(texts(2), texts(1.5))).toEqual([]);
  });
});
