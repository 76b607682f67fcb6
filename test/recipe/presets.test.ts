// What each preset plans, and what a recipe of the user's own becomes.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseConfig } from '../../src/config/index.ts';
import {
  blendAt,
  explainPlan,
  jobPhases,
  lrAt,
  lrCurve,
  makePlan,
  type Plan,
  type PlanInputs,
} from '../../src/recipe/index.ts';
import { corpus, HANDBOOK, inputs, MODEL, QA, WEB } from './facts.ts';

const ALL = [HANDBOOK, WEB, QA];
const recipe = (text: string, corpora = ALL, model = MODEL): PlanInputs =>
  inputs(corpora, `budget: { tokens: 4M }\nrecipe: ${text}`, model);
const plan = (text: string, corpora = ALL, model = MODEL): Plan => makePlan(recipe(text, corpora, model));
const shares = ({ phases }: Plan) =>
  phases.map(({ blend }) =>
    Object.fromEntries(Object.entries(blend).map(([name, share]) => [name, Number(share.toFixed(4))])),
  );
const reason = ({ reasons }: Plan, what: string) => reasons.find((entry) => entry.what === what);

describe('domain-adaptation', () => {
  it('is nearly all domain, with a tenth of general and a little instruction text', () => {
    const made = plan('domain-adaptation');
    expect(shares(made)).toEqual([{ handbook: 0.87, web: 0.1, qa: 0.03 }]);
    // The geometric middle of 2e-4 and 2e-3.
    expect(made.schedule).toMatchObject({ kind: 'cosine', peakLr: 6.3e-4, floorLr: 6.3e-5 });
    expect(made.schedule.warmupSteps).toBe(Math.max(1, Math.round(0.01 * made.numSteps)));
  });

  it('guards by EWC where nothing speaks against it, and says why not where something does', () => {
    const facts = (more: string, corpora = [HANDBOOK, WEB], budget = '40M') =>
      inputs(corpora, `budget: { tokens: ${budget} }\nrecipe: domain-adaptation\n${more}`);
    const made = makePlan(facts(''));
    expect(made.guard).toMatchObject({ ewc: { strength: 100, sequences: 128 } });
    expect(reason(made, 'guard')?.value).toBe('EWC');
    const without: [PlanInputs, RegExp][] = [
      [facts('training: { lora: 8 }'), /most weights stay/],
      [facts('engine: torch'), /this run is for GPUs/],
      [facts('', [HANDBOOK]), /there is none/],
      [facts('', [HANDBOOK, WEB], '300k'), /more than 10 % of the run/],
      [{ ...facts(''), hardware: { memoryBytes: 50e6, source: 'a test' } }, /do not fit/],
    ];
    for (const [given, why] of without) {
      const plain = makePlan(given);
      expect(plain.guard).toBeUndefined();
      expect(reason(plain, 'guard')?.why).toMatch(why);
    }
    for (const said of ['guard: false', 'guard: {}', 'guard: { l2: { toward: base } }']) {
      const plain = makePlan(facts(said));
      expect(plain.guard?.ewc).toBeUndefined();
      expect(reason(plain, 'guard')).toBeUndefined();
    }
  });

  it('front-loads general text when asked to', () => {
    const made = plan('{ preset: domain-adaptation, replay: 0.02, frontLoad: { until: 0.1, replay: 0.5 } }', [
      HANDBOOK,
      WEB,
    ]);
    expect(shares(made)).toEqual([
      { handbook: 0.5, web: 0.5 },
      { handbook: 0.98, web: 0.02 },
    ]);
    expect(made.phases[1]!.firstStep).toBe(Math.round(0.1 * made.numSteps));
  });

  it('moves the blend gradually when asked to, and the job gets it in pieces that keep the tokens', () => {
    const made = plan('{ preset: domain-adaptation, startReplay: 0.5 }', [HANDBOOK, WEB]);
    const [phase] = made.phases;
    expect(made.phases).toHaveLength(1);
    expect(phase).toMatchObject({ blend: { handbook: 0.5, web: 0.5 }, blendTo: { handbook: 0.9, web: 0.1 } });
    expect(made.expected.tokensByCorpus.web! / made.totalTokens).toBeCloseTo(0.3, 4);
    const pieces = jobPhases(made);
    expect(pieces).toHaveLength(20);
    expect(pieces[0]!.firstStep).toBe(0);
    pieces.forEach((piece, i) => {
      const next = pieces[i + 1]?.firstStep ?? made.numSteps;
      expect(piece.firstStep + piece.numSteps).toBe(next);
      if (i > 0) expect(piece.blend.web!).toBeLessThan(pieces[i - 1]!.blend.web!);
    });
    const drawn = pieces.reduce((sum, piece) => sum + piece.numSteps * piece.blend.web!, 0) / made.numSteps;
    expect(drawn).toBeCloseTo(0.3, 3);
    expect(blendAt(phase!, 0.5).web).toBeCloseTo(0.3, 6);
  });
});

it('instruct-domain keeps a low LR and instruction text from the first step', () => {
  const large = { ...MODEL, numParameters: 8e9, isInstruct: true, pretraining: undefined };
  const made = plan('instruct-domain', ALL, large);
  expect(made.schedule.peakLr).toBe(5e-6);
  expect(shares(made)).toEqual([{ handbook: 0.65, web: 0.1, qa: 0.25 }]);
  const annealedLow = { ...large, pretraining: { finalLr: 8e-7, source: 'report' } };
  expect(plan('instruct-domain', ALL, annealedLow).schedule.peakLr).toBe(8e-7);
});

describe('infinite-lr', () => {
  const made = plan('infinite-lr', [HANDBOOK, WEB]);
  const { schedule, numSteps } = made;

  it('warms up, cools down, stays, anneals', () => {
    expect(schedule).toMatchObject({ kind: 'infinite', peakLr: 2e-3, constantLr: 1.1e-3, floorLr: 2e-4 });
    const at = (share: number) => lrAt(schedule, Math.round(share * (numSteps - 1)));
    expect(at(0.75)).toBe(1.1e-3);
    expect(at(0.79)).toBe(1.1e-3);
    expect(at(1)).toBe(2e-4);
    // Half of the cool-down: the middle of peak and constant LR.
    expect(at(0.01 + 0.345)).toBeCloseTo((2e-3 + 1.1e-3) / 2, 4);
  });

  it('keeps the checkpoint before the anneal for ever', () => {
    const [step] = made.checkpoint.always!;
    expect(step).toBe(numSteps - Math.round(0.2 * numSteps));
    expect(lrAt(schedule, step! - 1)).toBe(1.1e-3);
    expect(lrAt(schedule, step!)).toBeLessThan(1.1e-3);
  });

  it('refuses shapes that cannot be', () => {
    expect(() => plan('{ preset: infinite-lr, constantLr: 1 }')).toThrow(
      'recipe.constantLr: expected between the final LR (2e-4) and the peak LR (2e-3), found 1.',
    );
    expect(() => plan('{ preset: infinite-lr, cooldownUntil: 0.9, anneal: 0.2 }')).toThrow(
      'the cool-down ends at 0.9 of the run, after the anneal begins (at 0.8)',
    );
  });
});

describe('a recipe of the user', () => {
  it('begins phases by LR, tokens or step, with blends by corpus or by role', () => {
    const made = makePlan(
      inputs(
        ALL,
        [
          'budget: { steps: 1000 }',
          'recipe:',
          '  schedule: cosine',
          '  peakLr: 1e-3',
          '  finalLr: 1e-5',
          '  phases:',
          '    - { name: broad, blend: { web: 3, handbook: 1 } }',
          '    - { begins: { tokens: 0.3 }, shares: { domain: 0.9, instruction: 0.1 } }',
          '    - { begins: { step: 600 }, shares: { domain: 1 } }',
          '    - { name: last, begins: { lrShare: 0.2 }, blend: { qa: 1 } }',
        ].join('\n'),
      ),
    );
    expect(made.preset).toBe('custom');
    expect(made.phases.map(({ name, firstStep }) => [name, firstStep])).toEqual([
      ['broad', 0],
      ['phase 2', 300],
      ['phase 3', 600],
      // 71.1 % of 999 steps after the first.
      ['last', 711],
    ]);
    expect(shares(made)).toEqual([
      { handbook: 0.25, web: 0.75 },
      { handbook: 0.9, qa: 0.1 },
      { handbook: 1 },
      { qa: 1 },
    ]);
  });

  it('gives a phase sequences of its own length, in steps of as many tokens', () => {
    const phases = (seqLen: number) =>
      `{ phases: [{ blend: { web: 1 } }, { name: long, seqLen: ${seqLen}, begins: { tokens: 0.75 }, blend: { web: 1 } }] }`;
    const made = plan(phases(512), ALL, { ...MODEL, context: 512 });
    const short = plan(phases(512), ALL, { ...MODEL, context: 512 }).seqLen;
    const given = makePlan(
      inputs(ALL, `budget: { tokens: 4M }\nrecipe: ${phases(512)}\ntraining: { seqLen: 128, batchTokens: 10000 }`),
    );
    expect(short).toBe(512);
    expect(made.phases).toHaveLength(1);
    // 19 sequences of 512 are 9,728 tokens: 76 of 128.
    expect(given).toMatchObject({ tokensPerStep: 9728, sequencesPerStep: 76, seqLen: 128 });
    expect(given.phases.map(({ name, seqLen }) => [name, seqLen])).toEqual([
      ['phase 1', undefined],
      ['long', 512],
    ]);
    const [first, second] = jobPhases(given);
    expect(first!.batch).toBeUndefined();
    expect(second!.batch).toMatchObject({ seqLen: 512, sequencesPerStep: 19 });
    expect(reason(given, 'sequence length, "long"')!.value).toMatch(/^512 tokens, 19 a step, \d+ a pass$/);
    expect(reason(given, 'tokens a step')!.why).toBe('as you set it (10000), in whole sequences of every length');
    expect(explainPlan(given)).toContain('long (sequences of 512)');
    const limited = (seqLen: number, training: string) => () =>
      makePlan(inputs(ALL, `budget: { tokens: 4M }\nrecipe: ${phases(seqLen)}\ntraining: ${training}`));
    expect(limited(512, '{ seqLen: 128, batchTokens: 400 }')).toThrow(
      'training.batchTokens: expected at least 512, so that a step is made of whole sequences of 128 and of 512 tokens alike, found 400.',
    );
    expect(limited(511, '{ seqLen: 128 }')).toThrow(
      'recipe.phases: sequences of 128 and 511 tokens make up equal steps from 65408 tokens on alone.',
    );
    expect(limited(4096, '{ seqLen: 128 }')().warnings.map(({ id }) => id)).toContain('context-longer-than-trained');
  });

  it('costs more where sequences are longer, in time and in memory', () => {
    const of = (more: string) =>
      makePlan({
        ...inputs(
          ALL,
          `budget: { steps: 100 }\nrecipe: { phases: [{ blend: { web: 1 } }, { ${more} begins: { step: 50 }, blend: { qa: 1 } }] }\ntraining: { seqLen: 128, batchTokens: 1024, microBatch: 2 }`,
          { ...MODEL, numLayers: 4, attentionWidth: 256 },
        ),
        hardware: { tokensPerSecond: 1000, source: 'test' },
      });
    const [plain, long] = [of(''), of('seqLen: 512,')];
    expect(long.expected.seconds!).toBeGreaterThan(plain.expected.seconds!);
    expect(long.expected.cost!.trainFlops).toBeGreaterThan(plain.expected.cost!.trainFlops);
    // Attention alone depends on the length, which is 320 on average: 2.5 times as long.
    const attention = 6 * 4 * 256 * 128 * 100 * 1024;
    expect(long.expected.cost!.trainFlops - plain.expected.cost!.trainFlops).toBeCloseTo(1.5 * attention, -6);
    expect(long.expected.memory.activationBytes).toBeGreaterThan(plain.expected.memory.activationBytes);
  });

  it.each(['linear', 'exponential', '1-sqrt'] as const)('decays a WSD schedule as %s', (decay) => {
    const made = plan(
      `{ schedule: wsd, peakLr: 1e-3, finalLr: 1e-5, warmup: 0.1, decay: ${decay}, decayShare: 0.2, phases: [{ blend: { web: 1 } }] }`,
    );
    const { schedule, numSteps } = made;
    const decaySteps = Math.ceil(0.2 * numSteps);
    expect(lrAt(schedule, numSteps - decaySteps - 1)).toBe(1e-3);
    const x = 0.25;
    const expected = {
      linear: 1e-3 - (1e-3 - 1e-5) * x,
      exponential: 1e-3 * 0.01 ** x,
      '1-sqrt': 1e-5 + (1e-3 - 1e-5) * (1 - 0.5),
    }[decay];
    const step = numSteps - decaySteps + Math.round(x * decaySteps) - 1;
    expect(lrAt(schedule, step) / expected).toBeCloseTo(1, 1);
    expect(lrAt(schedule, numSteps - 1)).toBe(1e-5);
  });

  it('re-warms from an LR of its own', () => {
    const made = plan(
      '{ schedule: cosine, peakLr: 1e-3, warmup: 0.1, warmupFrom: 2e-4, phases: [{ blend: { web: 1 } }] }',
    );
    const { warmupSteps } = made.schedule;
    expect(lrAt(made.schedule, 0)).toBeCloseTo(2e-4 + 8e-4 / warmupSteps, 12);
    expect(lrAt(made.schedule, warmupSteps - 1)).toBe(1e-3);
  });

  it.each([
    [
      '{ schedule: cosine, decay: linear, phases: [{ blend: { web: 1 } }] }',
      'recipe.decay: means something for schedule: wsd alone, found cosine',
    ],
    [
      '{ schedule: wsd, decay: exponential, peakLr: 1, finalLr: 0, phases: [{ blend: { web: 1 } }] }',
      'an exponential decay never reaches 0',
    ],
    [
      '{ phases: [{ blend: { web: 1 } }, { blend: { qa: 1 } }] }',
      'expected begins with one of lrShare, tokens and step, found none',
    ],
    ['{ phases: [{ blend: { web: 1 }, begins: { step: 3 } }] }', 'the first phase begins with the run'],
    ['{ phases: [{ blend: { wob: 1 } }] }', 'no such corpus to train on; there are handbook, web, qa'],
    ['{ phases: [{ name: x }] }', 'expected either blend (weights by corpus) or shares (by role)'],
    ['custom', 'custom needs phases'],
    [
      '{ peakLr: 1, finalLr: 0.1, phases: [{ blend: { web: 1 } }, { name: b, begins: { lrShare: 0.2 }, blend: { qa: 1 } }, { name: c, begins: { tokens: 0.1 }, blend: { web: 1 } }] }',
      '"c" would begin at step',
    ],
  ])('refuses %s', (text, message) => {
    expect(() => plan(text)).toThrow(message);
  });
});

describe('how corpora of a role share', () => {
  const small = corpus('small', 'domain', 1_000_000);
  const large = corpus('large', 'domain', 100_000_000);
  const domains = [small, large, WEB];
  const of = (options: string, more = '', budget = '4M') =>
    makePlan(
      inputs(
        domains,
        `budget: { tokens: ${budget} }\nrecipe: { preset: domain-adaptation, replay: 0, ${options} }${more}`,
      ),
    );

  it('by size, by temperature, evenly up to the epochs', () => {
    expect(shares(of('sampling: size'))[0]!.small).toBeCloseTo(1 / 101, 4);
    // 1 : 100 to the power of a half is 1 : 10.
    expect(shares(of('sampling: { temperature: 2 }'))[0]!.small).toBeCloseTo(1 / 11, 4);
    expect(shares(of('sampling: unimax'))[0]!.small).toBeCloseTo(0.5, 4);
    const capped = of('sampling: unimax, maxEpochs: 2', '', '40M');
    expect(capped.expected.epochsByCorpus.small).toBeCloseTo(2, 2);
  });

  const weighted = (options: string, weights: [number, number], quality = '') => {
    const [a, b] = weights;
    const corpora = `corpora:\n  small: { path: a, role: domain, weight: ${a}${quality} }\n  large: { path: b, role: domain, weight: ${b} }\n`;
    const given = inputs(domains, `budget: { tokens: 1M }\nrecipe: { preset: naive, ${options} }`);
    const text = `name: x\nmodel: owner/small-base\n${corpora}budget: { tokens: 1M }\nrecipe: { preset: naive, ${options} }\n`;
    return makePlan({ ...given, corpora: [small, large], config: parse(text) });
  };

  it('by weights that count tokens or documents', () => {
    expect(shares(weighted('weightsBy: tokens', [1, 1]))).toEqual([{ small: 0.5, large: 0.5 }]);
    const long = { ...large, numDocuments: small.numDocuments };
    const config = parse(
      'name: x\nmodel: owner/small-base\ncorpora:\n  small: { path: a, role: domain, weight: 1 }\n  large: { path: b, role: domain, weight: 1 }\nbudget: { tokens: 1M }\nrecipe: { preset: naive, weightsBy: documents }\n',
    );
    const made = makePlan({ ...inputs(domains), corpora: [small, long], config });
    // As many documents of each; those of the large corpus are a hundred times as long.
    expect(made.phases[0]!.blend.small).toBeCloseTo(1 / 101, 4);
  });

  it('multiplies by quality', () => {
    expect(shares(weighted('maxEpochs: 4', [1, 1], ', quality: 3'))).toEqual([{ small: 0.75, large: 0.25 }]);
  });

  it('caps the passes over one corpus', () => {
    const config = parse(
      'name: x\nmodel: owner/small-base\ncorpora:\n  small: { path: a, role: domain, maxEpochs: 1.5 }\n  large: { path: b, role: domain }\nbudget: { tokens: 40M }\nrecipe: { preset: naive, sampling: unimax }\n',
    );
    const made = makePlan({ ...inputs(domains), corpora: [small, large], config });
    expect(made.expected.epochsByCorpus.small).toBeCloseTo(1.5, 2);
    expect(reason(made, 'share of small')!.why).toContain('corpora.small.maxEpochs');
  });

  it('refuses weights beside a way of sampling', () => {
    expect(() => weighted('sampling: unimax', [1, 1])).toThrow('corpora.small.weight: recipe.sampling says');
  });
});

describe('replay on top of the budget', () => {
  it('counts new text alone', () => {
    const options = 'preset: domain-adaptation, replay: 0.2';
    const replacing = plan(`{ ${options} }`, [HANDBOOK, WEB]);
    const added = plan(`{ ${options}, replayTokens: added }`, [HANDBOOK, WEB]);
    expect(replacing.totalTokens).toBeLessThanOrEqual(4e6);
    expect(added.expected.tokensByCorpus.handbook! / 4e6).toBeCloseTo(1, 2);
    expect(added.totalTokens / 4e6).toBeCloseTo(1.25, 2);
    expect(reason(added, 'replayed tokens')!.value).toBe('come on top of the budget');
  });
});

describe('weakness of the base', () => {
  const stem = corpus('stem', 'instruction', 10e6);
  const code = corpus('code', 'instruction', 10e6);
  const text = '{ preset: reuse-dont-retrain, baseScores: { stem: 0.3, code: 0.7 } }';

  it('up-weights the weakest in the last phase alone', () => {
    const made = plan(text, [HANDBOOK, WEB, stem, code]);
    const [, second] = made.phases;
    expect(second!.blend.stem! / second!.blend.code!).toBeCloseTo(2.3, 3);
    expect(second!.blend.stem! + second!.blend.code!).toBeCloseTo(0.1, 4);
    expect(reason(made, 'weakness of the base')!.value).toBe('stem x 2.3, code x 1');
  });

  it('leaves the first phase as it is', () => {
    const withDomains = plan('{ preset: reuse-dont-retrain, baseScores: { handbook: 0.3, other: 0.7 } }', [
      HANDBOOK,
      { ...HANDBOOK, name: 'other' },
      WEB,
    ]);
    const [first, second] = withDomains.phases;
    expect(first!.blend.handbook).toBeCloseTo(first!.blend.other!, 5);
    expect(second!.blend.handbook! / second!.blend.other!).toBeCloseTo(2.3, 2);
  });
});

function parse(text: string) {
  return parseConfig(text, '/nowhere/continuo.yaml');
}

describe('any plan', () => {
  const presets = fc.constantFrom(
    'reuse-dont-retrain',
    'domain-adaptation',
    'instruct-domain',
    'rewarm-replay',
    'infinite-lr',
    'naive',
    '{ preset: domain-adaptation, startReplay: 0.6 }',
    '{ preset: reuse-dont-retrain, sampling: unimax }',
    '{ preset: domain-adaptation, sampling: { temperature: 3 }, replayTokens: added }',
  );
  const facts = fc.array(
    fc.record({
      role: fc.constantFrom('domain' as const, 'general' as const, 'instruction' as const),
      numTokens: fc.integer({ min: 20_000, max: 50_000_000 }),
    }),
    { minLength: 1, maxLength: 12 },
  );

  it('has blends that sum to one, tokens that add up to the run, epochs within the cap, and positive LRs', () => {
    fc.assert(
      fc.property(presets, facts, fc.integer({ min: 500_000, max: 20_000_000 }), (preset, given, budget) => {
        const corpora = given.map(({ role, numTokens }, i) => corpus(`c${i}`, role, numTokens));
        if (preset.includes('added') && corpora.every(({ role }) => role === 'general')) return;
        const made = makePlan(inputs(corpora, `budget: { tokens: ${budget} }\nrecipe: ${preset}`));
        for (const { blend, blendTo } of made.phases)
          for (const one of [blend, blendTo ?? blend]) {
            expect(Object.values(one).reduce((sum, share) => sum + share, 0)).toBe(1);
            expect(Math.min(...Object.values(one))).toBeGreaterThan(0);
          }
        expect(made.phases.reduce((sum, { numSteps }) => sum + numSteps, 0)).toBe(made.numSteps);
        const tokens = Object.values(made.expected.tokensByCorpus);
        expect(tokens.reduce((sum, n) => sum + n, 0)).toBe(made.totalTokens);
        const curve = lrCurve(made.schedule);
        expect(Math.min(...curve)).toBeGreaterThan(0);
        // A corpus is read more often than the cap only where its role has nothing else.
        for (const role of ['domain', 'general', 'instruction'] as const) {
          const ofRole = corpora.filter((one) => one.role === role);
          const over = ofRole.filter(({ name }) => made.expected.epochsByCorpus[name]! > 4.05);
          if (over.length === 0) continue;
          for (const { name } of ofRole) expect(made.expected.epochsByCorpus[name]!).toBeGreaterThan(3.9);
        }
      }),
      { numRuns: 60 },
    );
  });

  it('is made in seconds for ten thousand corpora and 10^13 tokens', () => {
    const roles = ['domain', 'general', 'instruction'] as const;
    const corpora = Array.from({ length: 10_000 }, (_, i) => corpus(`c${i}`, roles[i % 3]!, 1e6 * (1 + (i % 997))));
    const made = makePlan(
      inputs(corpora, 'budget: { tokens: 10T }\ntraining: { batchTokens: 4M }\nrecipe: domain-adaptation'),
    );
    expect(made.totalTokens).toBeGreaterThan(9.99e12);
    expect(Object.keys(made.phases[0]!.blend).length).toBeGreaterThan(9_000);
    // And told on a page, not on thousands of lines.
    expect(explainPlan(made).split('\n').length).toBeLessThan(200);
  });
});
